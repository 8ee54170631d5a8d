"""The workers of a Dask scheduler as the hosts of a campaign, from the controller's side.

Dask carries a cell to the worker that it is meant for, and its files back; which worker that is, is
decided as among hosts of one machine (campaigns/sharing.py). The controller alone writes the store.
A worker that goes takes nothing with it but the attempt that it was at. Whoever reaches the
scheduler may run code on its workers, so all of it belongs on a network that is trusted.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import uuid
from collections.abc import Collection, Mapping
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any, Self

from campaigns import parcels, provenance, store, worker
from campaigns.crew import Ended, Hear, Lost, News, Said, Stage, Task
from campaigns.records import CampaignRecord, CellRecord
from campaigns.store import CampaignStore
from common.errors import LabError, UserError
from common.needs import Needs

LOOK_S = 1.0
"""Between looks for workers that have come or gone."""

CONNECT_S = 10
"""For a scheduler to answer, and to answer again when it was lost."""

FETCH_S = 60.0
"""For a cell's files to come, before its worker is looked after."""

_WORKER = "another worker"


class Workers:
    """The crew of a scheduler. Use as a context: at its end, what still runs is interrupted."""

    def __init__(self, address: str, needs: Needs) -> None:
        self.address = address
        self.needs = needs
        self._run = uuid.uuid4().hex
        self._heard: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._hosts: dict[str, str] = {}
        self._asked: dict[str, Any] = {}
        self._given: dict[str, tuple[str, Any]] = {}
        self._silent = False
        self._store: CampaignStore | None = None
        self._record: CampaignRecord | None = None

    def __enter__(self) -> Self:
        dask = worker.distributed()
        try:
            self._client = dask.Client(self.address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise LabError(
                "no scheduler answers",
                where=self.address,
                why=str(error),
                remedy="start one, and workers for it: ./inv campaign.scheduler, ./inv campaign.worker --help",
            ) from None
        self._client.subscribe_topic(worker.TOPIC, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            busy = [address for address, _ in self._given.values()]
            if busy and self._client.status == "running":
                self._client.run(worker.interrupt, self._run, workers=busy, on_error="ignore")
        self._client.close()

    def begin(self, stored: CampaignStore, record: CampaignRecord) -> None:
        self._store, self._record = stored, record

    def give(self, host: str, task: Task) -> None:
        assert self._record is not None
        record = replace(self._record, cells=(task.planned,))  # of thousands, it needs to know its own
        address = self._address(host)
        self._given[host] = (address, self._submit(address, worker.run_cell, record, task, self.needs, self._run))

    def dismiss(self, host: str) -> None:
        """It stays a worker of the scheduler, and gets no cells of this run."""
        self._hosts[self._address(host)] = ""

    def awaited(self) -> Collection[str]:
        """A worker may always come."""
        return (_WORKER,)

    def wait(self, hear: Hear) -> None:
        try:
            news = self._heard.get(timeout=LOOK_S)
        except queue.Empty:
            news = None
        if news is not None:
            hear(news)
            return
        if not self._reached():
            return
        for address, future in [each for each in self._asked.items() if each[1].done()]:
            del self._asked[address]
            self._described(address, future, hear)
        for host, (_, future) in list(self._given.items()):
            if future.done():
                del self._given[host]
                self._ended(host, future, hear)
        self._look(hear)

    def _reached(self) -> bool:
        """Whether the scheduler is there. One that is lost is waited for as Dask does; what ran is
        cancelled meanwhile, so futures say nothing of their workers, and scheduler_info what it
        said before. LabError when Dask has given up.
        """
        if self._client.status in ("closing", "closed"):
            raise LabError(
                "the scheduler is gone",
                where=self.address,
                why=f"it did not answer again within {CONNECT_S} s",
                remedy="start it and its workers again, then the same command: what is complete stays",
            )
        return bool(self._client.status == "running")

    def _look(self, hear: Hear) -> None:
        """See which workers have come and gone."""
        there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        for address in there - self._hosts.keys():
            self._hosts[address] = ""
            self._asked[address] = self._submit(address, worker.describe, self.needs, self._run)
        for address in self._hosts.keys() - there:
            host = self._hosts.pop(address)
            self._asked.pop(address, None)
            if host:
                if (given := self._given.pop(host, None)) is not None:
                    given[1].cancel()
                hear(Lost(host, "its worker is gone"))
        if not there and not self._silent:
            hear(Said(f"waiting for a worker to join {self.address} (Ctrl-C ends the waiting)"))
        self._silent = not there

    def _described(self, address: str, future: Any, hear: Hear) -> None:  # noqa: ANN401
        if future.status != "finished":
            why = future.exception() if future.status == "error" else future.status
            hear(Said(f"the worker at {address} is not used: {why}"))
            return
        try:
            found = future.result(timeout=FETCH_S)
        except (TimeoutError, CancelledError):  # it went with its answer; who is still there answers yet
            self._asked[address] = future
            return
        host, ours = found.joined.host, provenance.commit()[0]
        if found.commit != ours:
            hear(Said(f"{host} is not used: its testbed is of commit {found.commit}, this one of {ours}"))
        elif host in self._hosts.values():
            hear(Said(f"a second {host}, at {address}, is not used: name it otherwise in its inventory"))
        else:
            self._hosts[address] = host
            hear(found.joined)

    def _ended(self, host: str, future: Any, hear: Hear) -> None:  # noqa: ANN401
        if future.status == "finished":
            address = self._address(host)
            try:
                parcel = future.result(timeout=FETCH_S)
            except (TimeoutError, CancelledError):
                # Its worker went before they were fetched: Dask would have it make them again, and
                # waits for it. _look sees that it is gone.
                self._given[host] = (address, future)
                return
            self._admit(parcel.record, parcel.files)
            hear(Ended(host, parcel.record))
            return
        error = future.exception() if future.status == "error" else None
        if error is not None and not isinstance(error, UserError | self._dask_errors()):
            raise error
        self.dismiss(host)
        hear(Lost(host, str(error) if error is not None else f"its cell was {future.status}"))

    @staticmethod
    def _dask_errors() -> type[Exception]:
        found: type[Exception] = worker.distributed().scheduler.KilledWorker
        return found

    def _admit(self, record: CellRecord, files: bytes) -> None:
        assert self._store is not None
        directory = store.unfinished(self._store.directory, record.cell)
        try:
            parcels.unpack(files, directory)
            self._store.admit(directory, record)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def _told(self, event: tuple[object, Mapping[str, Any]]) -> None:
        """What a worker says, in a thread of Dask's."""
        _, what = event
        if what.get("run") != self._run:
            return
        if "said" in what:
            self._heard.put(Said(str(what["said"])))
        else:
            stage = (what[key] for key in ("host", "cell", "stage", "expected_s", "accelerator"))
            self._heard.put(Stage(*stage))

    def _submit(self, address: str, what: Any, *arguments: object) -> Any:  # noqa: ANN401
        """Have one worker do something, once."""
        future = self._client.submit(
            what, *arguments, workers=[address], allow_other_workers=False, pure=False, retries=0
        )
        future.add_done_callback(lambda _: self._heard.put(None))
        return future

    def _address(self, host: str) -> str:
        return next(address for address, name in self._hosts.items() if name == host)
