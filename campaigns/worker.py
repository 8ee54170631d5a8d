"""A worker of a Dask scheduler: it has one host, runs the cells that a controller gives it, and
hands their files back. It knows nothing of a campaign's store.

The host is a child's, as on the controller's own machine (campaigns/hands.py): whatever becomes of
this process, the child puts its host in order. `distributed` is an extra: ./inv setup --dask.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaigns import parcels, provenance
from campaigns.crew import Joined, Said, Stage, Task
from campaigns.hands import ENDING_S, Begin, Hand, Place, Raised, Sealed, ending
from campaigns.records import CampaignRecord, CellRecord
from common.console import Tell
from common.errors import LabError, MissingError
from common.needs import Needs
from lab.lifecycle import uninterrupted

TOPIC = "overcommit"
"""Under which a worker tells a controller what it is at."""


CONNECT_S = 30
"""For a scheduler to take a worker."""


@dataclass(frozen=True)
class Described:
    """What a worker is: its host, and its testbed's commit."""

    joined: Joined
    commit: str | None


@dataclass(frozen=True)
class Parcel:
    """A cell that has ended."""

    record: CellRecord
    files: bytes


def distributed() -> Any:  # noqa: ANN401
    """The library. MissingError when it is not installed."""
    try:
        import distributed as found
    except ImportError:
        raise MissingError(
            "the library distributed (Dask) is not installed",
            why="it is needed only to spread a campaign over machines",
            remedy="./inv setup --dask",
        ) from None
    return found


@dataclass
class _Post:
    """The host of this process, opened when it is first needed. busy_for: the run, of one of a
    scheduler's controllers, whose cell it is at.
    """

    place_for: Callable[[Needs], Place]
    directory: Path
    needs: Needs | None = None
    hand: Hand | None = None
    joined: Joined | None = None
    busy_for: str = ""

    def open(self, needs: Needs, tell: Tell) -> Joined:
        """Have the host, with guests that have what is needed."""
        if self.hand is not None and self.needs == needs and self.hand.process.is_alive():
            assert self.joined is not None
            return self.joined
        self.close()
        self.hand, self.needs = Hand(self.place_for(needs)), needs
        while not isinstance(news := self._next(), Joined):
            if isinstance(news, Said):
                tell(news.text)
        self.joined = news
        return news

    def run(
        self, record: CampaignRecord, task: Task, needs: Needs, stage: Callable[[Stage], None], tell: Tell
    ) -> Parcel:
        """Run a cell; its files. needs: what its guests have to have, should another controller
        have had the host with something else meanwhile.
        """
        if self.hand is None:
            raise LabError("the worker has no host any more")
        if self.needs != needs:
            self.open(needs, tell)
        self.hand.send(Begin(record, self.directory))
        self.hand.send(task)
        while not isinstance(news := self._next(), Sealed):
            if isinstance(news, Stage):
                stage(news)
            elif isinstance(news, Said):
                tell(news.text)
        parcel = parcels.pack(news.directory)
        shutil.rmtree(news.directory, ignore_errors=True)  # a worker may serve for days
        return Parcel(news.record, parcel)

    def _next(self) -> object:
        assert self.hand is not None
        hand = self.hand
        try:
            news = hand.hear()
        except EOFError:
            self.close()
            raise LabError(
                f"the process that had {hand.place.name} ended {ending(hand.process.exitcode)}", where=hand.place.name
            ) from None
        if isinstance(news, Raised):
            self.close()
            raise news.error
        return news

    def interrupt(self) -> None:
        """End what runs, in order."""
        if self.hand is not None:
            self.hand.interrupt()

    def close(self) -> None:
        """Give the host back."""
        if (hand := self.hand) is None:
            return
        self.hand = None
        with uninterrupted():
            hand.send(None)
            hand.interrupt()
            hand.end(time.monotonic() + ENDING_S)
            with contextlib.suppress(LabError):
                hand.place.recover()


_posts: list[_Post] = []
"""The one of this process, while it serves."""


def describe(needs: Needs, run: str) -> Described:
    """What this worker is, for a controller's run."""
    joined = _posts[0].open(needs, lambda text: _tell(run, {"said": text}))
    return Described(joined, provenance.commit()[0])


def run_cell(record: CampaignRecord, task: Task, needs: Needs, run: str) -> Parcel:
    """Run a cell on this worker's host."""

    def stage(news: Stage) -> None:
        _tell(run, {"host": news.host, "cell": news.cell, "stage": news.stage, "expected_s": news.expected_s,
                    "accelerator": news.accelerator})  # fmt: skip

    post = _posts[0]
    post.busy_for = run
    try:
        return post.run(record, task, needs, stage, lambda text: _tell(run, {"said": text}))
    finally:
        post.busy_for = ""


def interrupt(run: str) -> None:
    """End what this worker runs for a controller that is gone, and not what it runs for another."""
    for post in _posts:
        if post.busy_for == run:
            post.interrupt()


def _tell(run: str, what: Mapping[str, object]) -> None:
    distributed().get_worker().log_event(TOPIC, {"run": run, **what})


def serve(address: str, host: str, place_for: Callable[[Needs], Place], tell: Tell) -> None:
    """Be a worker of a scheduler, until that is gone or this is interrupted. host: this worker's
    name. LabError when there is no scheduler, or it has a worker of that name.
    """
    dask = distributed()
    with tempfile.TemporaryDirectory(prefix="overcommit-") as folder:
        post = _Post(place_for, Path(folder))
        _posts[:] = [post]

        async def work() -> None:
            async with dask.Worker(
                address,
                nthreads=1,
                name=host,
                memory_limit=0,  # what it holds is a cell's files
                death_timeout=CONNECT_S,
                dashboard=False,
                dashboard_address="127.0.0.1:0",
                local_directory=folder,
            ) as worker:
                tell(f"{host} works for {address} (Ctrl-C ends it)")
                await worker.finished()

        try:
            asyncio.run(work())
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            raise LabError(
                "the scheduler does not take this worker",
                where=address,
                why=str(error.__cause__ or error),
                remedy="is it there (./inv campaign.scheduler), and has it no worker of this name?",
            ) from None
        finally:
            post.close()
            _posts.clear()
    tell("the scheduler has gone")


def schedule(address: str, tell: Tell) -> None:
    """Be a scheduler, until interrupted. address: HOST:PORT that it listens at. MissingError when
    it cannot.
    """
    dask = distributed()
    host, _, port = address.rpartition(":")

    async def work() -> None:
        async with dask.Scheduler(host=host, port=int(port), dashboard=False, dashboard_address="127.0.0.1:0") as made:
            tell(f"the scheduler listens at {made.address} (Ctrl-C ends it)")
            await made.finished()

    try:
        asyncio.run(work())
    except (OSError, RuntimeError) as error:
        raise MissingError("the scheduler cannot listen", where=address, why=str(error.__cause__ or error)) from None
