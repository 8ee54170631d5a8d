"""Release several guests at the same moment, run a load in each, and know when each was released,
started and ended.

The scripts are uploaded. Then a shell in each guest (lab/remote/barrier.sh) says that it is ready,
waits for a line on its input, lets the policy take effect, and runs the load under a time limit: at
once, some time after the release, or when other guests have ended. Times are the guest's clock in
epoch nanoseconds; all clocks of a host are Xen's. Guests that are ready wait in read(2), so
releasing them costs one line each; the skew is what is left.
"""

from __future__ import annotations

import math
import queue
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from campaigns import schedule
from campaigns.records import BarrierRecord
from campaigns.schedule import Start
from common import bounded
from common.errors import LabError, UserError, WorkloadError
from common.machines import TAIL_LINES, Machine, Process, command_errors, explain, tail
from lab.remote import scripts

T = TypeVar("T")

DIRECTORY = "/run/overcommit"
"""Where a guest keeps what belongs to a run; in memory, and gone with the next reset."""

_KILL_AFTER_S = 10
_GRACE_S = 30.0


class GuestLostError(LabError):
    """A guest died or could not be reached while it was needed."""


class NotReadyError(LabError):
    """A guest did not get ready for the barrier in time."""


class RunTimeoutError(LabError):
    """A workload did not end in the time it was given. late: the guests whose work may still go on
    in a thread (`in_parallel`).
    """

    late: tuple[str, ...] = ()


class ScriptError(WorkloadError):
    """A workload's script ended with an error. guest: where."""

    def __init__(self, guest: str, status: int, why: str) -> None:
        super().__init__(f"the workload in {guest} ended with status {status}", where=guest, why=why)
        self.guest = guest


@dataclass(frozen=True)
class Part:
    """What a guest does at the barrier. script: its load, and when it starts. release: what the
    guest runs first, when it is released.
    """

    script: str
    release: str = ""
    start: Start = field(default_factory=Start)


@dataclass
class _Member:
    """A guest at the barrier: its process, and what it has said so far (mark -> epoch ns).
    waits: for the end of these guests. flooded: it said so much that nobody listens any more.
    """

    name: str
    process: Process
    part: Part
    waits: set[str] = field(default_factory=set)
    marks: dict[str, int] = field(default_factory=dict)
    status: int | None = None
    flooded: bool = False
    said: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    complaints: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    overhearing: threading.Thread | None = None


def run(
    machines: Mapping[str, Machine],
    parts: Mapping[str, Part],
    *,
    ready_s: float,
    run_s: float,
    before_release: Callable[[], None] = lambda: None,
    after_release: Callable[[], None] = lambda: None,
    watch: Callable[[list[str]], None] = lambda _unfinished: None,
    watch_s: float = math.inf,
    log: Path | None = None,
) -> BarrierRecord:
    """Release all guests at once, and wait until each has done its part. parts: guest -> its own.

    watch: called every watch_s with the guests that are at work, so neither those that have ended
    nor those that wait for their time; whatever it raises ends the run. log: a file for what the
    guests said, one line each (`read_log`).

    ready_s: limit for every guest to get ready. run_s: limit for a load, from its own start.
    before_release: called when all are ready and wait. after_release: called when all were
    released. GuestLostError, NotReadyError, RunTimeoutError or ScriptError name the guest; the
    others are stopped then, as after an interruption.
    """
    starts = {name: part.start for name, part in parts.items()}
    longest_s = max(schedule.ends(starts, dict.fromkeys(parts, run_s)).values())
    # whoever is late is named by in_parallel; the sessions end a little later
    upload_s = ready_s + _GRACE_S
    in_parallel(machines, lambda name, machine: _upload(machine, parts[name], upload_s), limit_s=ready_s)
    said: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    members: dict[str, _Member] = {}
    try:
        for name, machine in machines.items():
            members[name] = _spawn(name, machine, parts[name], run_s, said)
        _wait(members, said, "READY", ready_s)
        before_release()
        for member in members.values():
            _release(member)
        after_release()
        patience_s = longest_s + _KILL_AFTER_S + _GRACE_S
        _wait(members, said, "DONE", patience_s, limit_s=run_s, watch=watch, watch_s=watch_s)
        for member in members.values():
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(timeout=_GRACE_S)
    finally:
        for member in members.values():
            _stop(member.process)
    lines = [f"{name} {mark} {time}\n" for name, member in members.items() for mark, time in member.marks.items()]
    if log is not None:
        log.write_text("".join(lines), encoding="utf-8")
    return read_log(lines)


def read_log(lines: Iterable[str]) -> BarrierRecord:
    """The record from lines `guest mark nanoseconds`. ValueError when one is none or is told
    twice, KeyError when a guest lacks a mark.

    Logs of older campaigns have no START: a load then started when its guest was released.
    """
    marks: dict[str, dict[str, int]] = {}
    for line in lines:
        name, mark, time_ns = line.split()
        if mark in marks.setdefault(name, {}):
            raise ValueError(f"{name} has the mark {mark} twice")
        marks[name][mark] = int(time_ns)
    released = min(each["GO"] for each in marks.values())

    def since(mark: str) -> dict[str, float]:
        return {name: (each[mark] - released) / 1e9 for name, each in marks.items()}

    told = any("START" in each for each in marks.values())
    return BarrierRecord(
        skew_seconds=(max(each["GO"] for each in marks.values()) - released) / 1e9,
        released_at=released / 1e9,
        starts=since("START" if told else "GO"),
        ends=since("DONE"),
        releases=since("GO") if told else {},
    )


def in_parallel(machines: Mapping[str, Machine], work: Callable[[str, Machine], T], *, limit_s: float) -> dict[str, T]:
    """Call work(name, machine) for all guests at once; guest -> result. RunTimeoutError names the
    guests that are not done in limit_s.

    The first guest's error is raised, after all guests have ended or time is up. The threads are
    daemons, so that an interruption is not held up.
    """
    done: queue.SimpleQueue[tuple[str, T | None, BaseException | None]] = queue.SimpleQueue()

    def call(name: str, machine: Machine) -> None:
        try:
            done.put((name, work(name, machine), None))
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            done.put((name, None, error))

    for name, machine in machines.items():
        threading.Thread(target=call, args=(name, machine), daemon=True, name=f"guest {name}").start()
    deadline = time.monotonic() + limit_s
    results: dict[str, T] = {}
    errors: dict[str, BaseException] = {}
    while len(results) + len(errors) < len(machines):
        try:
            name, result, error = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            late = [name for name in machines if name not in results and name not in errors]
            timeout = RunTimeoutError(
                f"{', '.join(late)} did not finish within {limit_s:.0f} s", why=_first_error(machines, errors)
            )
            timeout.late = tuple(late)
            raise timeout from None
        if error is None:
            results[name] = result  # type: ignore[assignment]
        else:
            errors[name] = error
    for name in machines:
        if name in errors:
            raise errors[name]
    return {name: results[name] for name in machines}  # whichever ended first: what is made of them has one order


def _first_error(machines: Mapping[str, Machine], errors: Mapping[str, BaseException]) -> str:
    return next((f"{name}: {explain(errors[name])}" for name in machines if name in errors), "")


def _upload(machine: Machine, part: Part, limit_s: float) -> None:
    """Write the scripts into DIRECTORY: a load's through a shell's input, which has no limit of
    size. Both in one session, since each costs an emulated guest a good part of a second.
    """
    shell = scripts.command("barrier-upload.sh", DIRECTORY, part.release)
    what, where = "a guest could not be given its script", str(machine)
    try:
        process = (machine["sh"]["-c", shell] << part.script).popen()
        _, err = bounded.communicate(process, seconds=limit_s)
    except subprocess.TimeoutExpired:
        raise GuestLostError(what, where=where, why=f"no answer within {limit_s:.0f} s") from None
    except bounded.TooMuchError as error:
        raise GuestLostError(what, where=where, why=error.why, remedy=error.remedy) from None
    except command_errors() as error:
        raise GuestLostError(what, where=where, why=explain(error)) from None
    if process.returncode:
        why = tail(err.decode(errors="replace")) or f"its shell ended with status {process.returncode}"
        raise GuestLostError(what, where=where, why=why)


def _spawn(
    name: str, machine: Machine, part: Part, run_s: float, said: queue.SimpleQueue[tuple[str, str | None]]
) -> _Member:
    limit = max(1, math.ceil(run_s))
    plan = (int(bool(part.release)), round(part.start.delay_s * 1e9), int(bool(part.start.after)))
    shell = scripts.command("barrier.sh", DIRECTORY, _KILL_AFTER_S, limit, TAIL_LINES, *plan)
    try:
        process = machine["sh"]["-c", shell].popen(
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except command_errors() as error:
        raise GuestLostError(f"{name} could not be reached", where=name, why=explain(error)) from None
    member = _Member(name, process, part, set(part.start.after))

    def listen() -> None:
        heard = 0
        while line := process.stdout.readline(LONGEST_LINE):
            heard += len(line)
            if heard > MOST_HEARD:
                member.flooded = True
                break
            said.put((name, line.decode(errors="replace").rstrip("\n")))
        said.put((name, None))

    def overhear() -> None:
        while line := process.stderr.readline(LONGEST_LINE):
            member.complaints.append(line.decode(errors="replace").rstrip())

    member.overhearing = threading.Thread(target=overhear, daemon=True, name=f"barrier {name}")
    for thread in (threading.Thread(target=listen, daemon=True, name=f"barrier {name}"), member.overhearing):
        thread.start()
    return member


LONGEST_LINE = 1 << 16
MOST_HEARD = 1 << 20
"""Bytes that a guest may say at the barrier: four marks, and of a load that failed the end of its
output, of which barrier.sh sends 64 KiB. What is heard waits in memory for who asks for it.
"""

_NUMBERS = {"READY": 1, "GO": 1, "START": 1, "DONE": 2}
"""Mark -> how many numbers follow it at least."""
_NUMBER = re.compile(r"[0-9]{1,19}")

OVERDUE_S = 5.0
"""After the deadline, for what is in the queue already."""


def _wait(
    members: Mapping[str, _Member],
    said: queue.SimpleQueue[tuple[str, str | None]],
    mark: str,
    patience_s: float,
    *,
    limit_s: float = 0.0,
    watch: Callable[[list[str]], None] = lambda _unfinished: None,
    watch_s: float = math.inf,
) -> None:
    """Listen until every member has said the mark and, when the mark is DONE, nothing went
    wrong.
    """
    deadline = time.monotonic() + patience_s
    look = time.monotonic() + watch_s
    while missing := [name for name, member in members.items() if mark not in member.marks]:
        try:
            # What is in the queue is heard, but a guest that says more and more holds nothing up.
            now = time.monotonic()
            if look <= now < deadline or now >= deadline + OVERDUE_S:
                raise queue.Empty
            name, line = said.get(timeout=max(0.0, min(deadline, look) - now))
        except queue.Empty:
            if time.monotonic() < deadline:
                watch([name for name in missing if members[name].part.start.at_once or "START" in members[name].marks])
                look = time.monotonic() + watch_s
                continue
            if mark == "READY":
                raise NotReadyError(
                    f"{', '.join(missing)} did not get ready within {patience_s:.0f} s", where=", ".join(missing)
                ) from None
            raise GuestLostError(
                f"{', '.join(missing)} did not report the end of the workload", where=", ".join(missing)
            ) from None
        member = members[name]
        if line is None:
            _ended(member, mark)
        else:
            _note(member, line)
        if member.status:
            _collect_tail(member, said)
            raise _verdict(member, limit_s)
        if member.status == 0 and line is not None:
            _let_others_start(members.values(), name)


def _let_others_start(members: Iterable[_Member], ended: str) -> None:
    """Release the loads that have waited for this guest, and for no other any more."""
    for member in members:
        if ended in member.waits:
            member.waits.discard(ended)
            if not member.waits:
                _release(member)


def _note(member: _Member, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "SAID":
        member.said.append(rest)
        return
    numbers = rest.split()
    known = len(numbers) >= _NUMBERS.get(word, math.inf) and all(_NUMBER.fullmatch(number) for number in numbers)
    if not known or _out_of_order(member, word, *map(int, numbers[:2])):
        raise GuestLostError(f"{member.name} said what no barrier says", where=member.name, why=line[:200])
    member.marks[word] = int(numbers[0])
    if word == "DONE":
        member.status = int(numbers[1])


def _out_of_order(member: _Member, word: str, time_ns: int, status: int = 0) -> bool:
    """Whether a mark is told twice, or before the one that it follows. A script that fails may end
    before its load has started.
    """
    follows = {"START": "GO", "DONE": "GO" if status else "START"}.get(word)
    earlier = [at for mark, at in member.marks.items() if mark != "READY"]
    return (
        word in member.marks
        or (follows is not None and follows not in member.marks)
        or time_ns < max(earlier, default=0)
    )


def _ended(member: _Member, mark: str) -> None:
    """A member's output has ended: harmless once it has said all that is waited for."""
    if member.flooded:
        raise GuestLostError(
            f"{member.name} said more at the barrier than is listened to",
            where=member.name,
            why=f"it said more than {bounded.shown(MOST_HEARD)}, where a few lines are expected",
            remedy=bounded.REMEDY,
        )
    if mark in member.marks:
        return
    with suppress(subprocess.TimeoutExpired):
        member.process.wait(timeout=5)
    if member.overhearing is not None:
        member.overhearing.join(timeout=5)  # its last words are the ones that say why
    why = tail("\n".join(member.complaints)) or f"its shell ended with status {member.process.returncode}"
    raise GuestLostError(f"{member.name} was lost before it said {mark}", where=member.name, why=why)


def _collect_tail(member: _Member, said: queue.SimpleQueue[tuple[str, str | None]]) -> None:
    deadline = time.monotonic() + 5
    with suppress(queue.Empty):
        while True:
            name, line = said.get(timeout=max(0.0, deadline - time.monotonic()))
            if name == member.name:
                if line is None:
                    return
                _note(member, line)


def _verdict(member: _Member, limit_s: float) -> UserError:
    taken = (member.marks["DONE"] - member.marks.get("START", member.marks["GO"])) / 1e9
    last = tail("\n".join(member.said))
    if taken >= limit_s and member.status in (124, 137):
        remedy = "raise timeouts.run in the experiment, or lower the load"
        return RunTimeoutError(
            f"the workload in {member.name} did not end within {limit_s:.0f} s",
            where=member.name,
            why=last,
            remedy=remedy,
        )
    return ScriptError(member.name, member.status or 0, last)


def _release(member: _Member) -> None:
    try:
        member.process.stdin.write(b"go\n")
        member.process.stdin.flush()
    except OSError as error:
        raise GuestLostError(f"{member.name} was lost at the barrier", where=member.name, why=explain(error)) from None


def _stop(process: Process) -> None:
    """End a process that may still run; the guest's own time limit ends what is left there."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        if process.poll() is None:
            process.kill()
