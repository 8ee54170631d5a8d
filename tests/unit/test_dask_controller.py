"""What a controller makes of a scheduler that is lost and of workers that go at the worst time; and
a worker of two controllers. No Dask: what of it is asked is made here.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, cast

import pytest

from campaigns import remote, worker
from campaigns.crew import Lost, News, Task
from campaigns.hands import Place, Sealed
from campaigns.records import CampaignRecord
from common.errors import LabError
from common.needs import NOTHING, Needs

OTHER = Needs(("memcached",))


class Future:
    """Of a task that has ended; its result went with its worker."""

    status = "finished"
    cancelled = False
    error: Exception = TimeoutError()

    def done(self) -> bool:
        return True

    def cancel(self) -> None:
        self.cancelled = True

    def result(self, timeout: float) -> object:
        assert timeout > 0
        raise self.error


class Client:
    """A scheduler's, with one worker."""

    def __init__(self, *addresses: str) -> None:
        self.status = "running"
        self.workers = dict.fromkeys(addresses, "")
        self.interrupted: list[str] = []

    def scheduler_info(self, n_workers: int) -> dict[str, object]:
        assert n_workers == -1
        return {"workers": self.workers}

    def run(self, what: object, run: str, *, workers: list[str], on_error: str) -> None:
        assert (what, bool(run), on_error) == (worker.interrupt, True, "ignore")
        self.interrupted += workers

    def close(self) -> None:
        self.status = "closed"


def crew(monkeypatch: pytest.MonkeyPatch, client: Client) -> remote.Workers:
    """A controller whose worker at `a` has the host `one`, and a cell."""
    monkeypatch.setattr(remote, "LOOK_S", 0.01)
    made = remote.Workers("127.0.0.1:8786", NOTHING)
    made._client = client
    made._hosts, made._given = {"a": "one"}, {"one": ("a", Future())}
    return made


def test_a_scheduler_that_is_gone_is_told_though_dask_only_repeats_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client("a")
    made, heard = crew(monkeypatch, client), list[News]()
    client.status = "connecting"
    made.wait(heard.append)
    assert heard == [], "what is cancelled meanwhile says nothing of a worker"
    client.status = "closed"
    with pytest.raises(LabError, match="the scheduler is gone") as caught:
        made.wait(heard.append)
    assert "what is complete stays" in caught.value.remedy
    made.__exit__()
    assert client.interrupted == []


@pytest.mark.parametrize("error", [TimeoutError(), CancelledError()], ids=["worker", "scheduler"])
def test_a_worker_that_goes_before_its_files_are_fetched_is_lost(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    client = Client("a")
    made, heard = crew(monkeypatch, client), list[News]()
    (_, future) = made._given["one"]
    future.error = error
    made.wait(heard.append)
    assert heard == [], "it is there yet, and may only be slow"
    client.workers.clear()
    made.wait(heard.append)
    assert heard[0] == Lost("one", "its worker is gone")
    assert future.cancelled


# --- A worker of two controllers ----------------------------------------------------------------


class FakeHand:
    """A child that has run its cell already."""

    def __init__(self, place: Any) -> None:
        self.place, self.sent = place, list[object]()
        self.interrupted = 0
        self.process = self

    def is_alive(self) -> bool:
        return True

    def send(self, message: object) -> None:
        self.sent.append(message)

    def interrupt(self) -> None:
        self.interrupted += 1


def serving(monkeypatch: pytest.MonkeyPatch, needs: Needs) -> tuple[worker._Post, list[Needs]]:
    opened: list[Needs] = []
    post = worker._Post(lambda wanted: cast("Place", wanted), Path("/nowhere"))
    post.needs, post.hand = needs, cast("Any", FakeHand(None))

    def reopen(self: worker._Post, wanted: Needs, _tell: object) -> None:
        opened.append(wanted)
        self.needs = wanted

    monkeypatch.setattr(worker._Post, "open", reopen)
    monkeypatch.setattr(worker._Post, "_next", lambda _self: Sealed(Path("/nowhere"), cast("Any", None)))
    monkeypatch.setattr(worker.parcels, "pack", lambda _directory: b"files")
    monkeypatch.setattr(worker, "_posts", [post])
    return post, opened


@pytest.mark.parametrize(("had", "opened"), [(NOTHING, []), (OTHER, [NOTHING])])
def test_a_cell_has_what_its_controller_asked_for_whoever_had_the_host_meanwhile(
    monkeypatch: pytest.MonkeyPatch, had: Needs, opened: list[Needs]
) -> None:
    _, seen = serving(monkeypatch, had)
    parcel = worker.run_cell(cast("CampaignRecord", None), cast("Task", None), NOTHING, "first")
    assert parcel.files == b"files"
    assert seen == opened


def test_a_controller_that_goes_interrupts_no_cell_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    post, _ = serving(monkeypatch, NOTHING)
    hand = cast("FakeHand", post.hand)
    post.busy_for = "first"
    worker.interrupt("second")
    assert hand.interrupted == 0
    worker.interrupt("first")
    assert hand.interrupted == 1
    worker.run_cell(cast("CampaignRecord", None), cast("Task", None), NOTHING, "first")
    worker.interrupt("first")
    assert hand.interrupted == 1, "it is at nothing by now"
