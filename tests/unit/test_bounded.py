"""What a guest says and sends has a bound, whoever reads it: a guest fills neither the memory nor
the disk of who asked it, and its cell says why it failed.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, FakeLoad, FakeMachine, leftovers, write_experiment
from plumbum import local
from workloads_local import write_program

from campaigns import barrier, cell
from campaigns.run import run
from campaigns.stuck import Watch
from common import bounded
from common.errors import WorkloadError
from common.machines import Process, tail
from lab.api import Activity
from lab.remote import ssh
from lab.remote.ssh import CommandError, Connections, Programs
from workloads import fio_output, machines, registry, scripts, unpacking

FLOOD = "head -c 100000000 /dev/zero"
"""Sh that says more than any bound here. Where nobody stops it, it ends, and the test fails."""


def started(script: str) -> Process:
    pipe = subprocess.PIPE
    return cast("Process", subprocess.Popen(["sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe))


def test_all_that_is_said_arrives_and_all_that_is_sent() -> None:
    sent = bytes(range(256)) * 4096
    out, err = bounded.communicate(started("cat; echo done >&2"), sent, seconds=60)
    assert (out, err) == (sent, b"done\n")
    process = started("exec 0<&-; sleep 0.2; exit 3")  # it reads nothing of it
    assert bounded.communicate(process, sent, seconds=60) == (b"", b"")
    assert process.returncode == 3


@pytest.mark.parametrize("script", [FLOOD, f"{FLOOD} >&2", "head -c 600000 /dev/zero; head -c 600000 /dev/zero >&2"])
def test_who_says_more_is_ended(script: str) -> None:
    process = started(script)
    with pytest.raises(bounded.TooMuchError) as caught:
        bounded.communicate(process, seconds=60, most=1 << 20)
    assert process.poll() is not None
    said = int(caught.value.why.split()[3])
    assert 1 << 20 < said <= (1 << 20) + bounded.CHUNK
    assert caught.value.why.endswith("; 1 MiB are read")
    assert bounded.communicate(started("head -c 1048576 /dev/zero"), seconds=60, most=1 << 20)[0] == bytes(1 << 20)


def test_who_says_little_for_too_long_is_ended() -> None:
    process = started("exec sleep 60")
    with pytest.raises(subprocess.TimeoutExpired):
        bounded.communicate(process, seconds=0.2)
    assert process.poll() is not None


def test_a_command_is_given_up_though_another_process_has_its_pipes() -> None:
    began = time.monotonic()
    with pytest.raises(bounded.TooMuchError):
        bounded.communicate(started(f"sleep 30 & {FLOOD}"), seconds=60, most=1000)
    assert time.monotonic() - began < 20


def test_an_error_shows_little_of_a_long_line() -> None:
    assert len(tail("x" * 10**6)) < 10_000
    assert tail("x" * 10**6 + "\nits end").endswith("\nits end")


# --- over SSH -------------------------------------------------------------------------------------


def test_a_machine_that_says_more_and_more_is_told_with_all_that_matters(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_SAID", 1 << 20)
    with pytest.raises(CommandError) as caught:
        connections.run("guest1", FLOOD, step="reading its log")
    assert caught.value.what == "a command on guest1 said more than is read of it"
    assert caught.value.where == "guest1: reading its log"
    assert "1 MiB are read" in caught.value.why
    assert caught.value.remedy
    assert connections.run("guest1", "echo well") == "well\n"
    with pytest.raises(CommandError, match="said more than is read of it"):
        connections.run_all({"guest1": "true", "guest2": FLOOD})


def test_a_failure_shows_little_of_what_was_said(connections: Connections) -> None:
    with pytest.raises(CommandError) as caught:
        connections.run("guest1", "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 3")
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("told", ["echo '/tmp/x; reboot'", "printf '\\377\\n'", "true", "head -c 90000 /dev/zero"])
def test_a_machine_that_names_no_file_for_a_long_command_is_refused(
    told: str, connections: Connections, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ssh, "_KEEP", f"cat > /dev/null; {told}")
    with pytest.raises(CommandError, match="did not say where it keeps a command"):
        connections.run("guest1", f"echo {'x' * 9000}")
    with local.env(PATH=f"{tmp_path / 'bin'}:{local.env['PATH']}"):
        command = Programs("guest1", tmp_path / "ssh_config")["echo"]["x" * 9000]
        with pytest.raises(CommandError, match="did not say where it keeps a command"):
            command.popen()


# --- from a workload ------------------------------------------------------------------------------


def test_a_step_that_says_more_and_more_is_the_workloads_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST_SAID", 1 << 20)
    with pytest.raises(WorkloadError) as caught:
        machines.run_script(local, FLOOD, what="fill the database", timeout_s=60)
    assert caught.value.what == "could not fill the database: it said more than is read of it"
    assert (caught.value.where, bool(caught.value.remedy)) == ("this machine", True)
    finished = machines.run_script(local, "printf '\\377'; echo oh >&2; exit 4", what="look", timeout_s=60)
    assert finished == machines.Finished(4, "\ufffd", "oh\n")


def test_a_look_at_a_guest_that_says_more_and_more_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.remote.scripts.command", lambda *_: FLOOD)
    monkeypatch.setattr(bounded, "LAST_WORDS", 1 << 16)
    watch = Watch(
        lambda: {"guest1": Activity(1.0, 1)},
        {"guest1": FakeMachine(tmp_path)},
        "raw",
        1.0,
        clock=iter((0, 900)).__next__,
    )
    watch(["guest1"])
    assert [look.output for look in watch.looks] == [{}]


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(members: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


GOOD = [
    member("./", type=tarfile.DIRTYPE),
    member("./empty"),
    member("./full", b"x" * 1000),
    member("even", b"y" * 512),
]


@pytest.mark.parametrize("size", [1, 100, 512, 513, 1 << 16])
def test_an_archive_may_come_in_any_parts(size: int, tmp_path: Path) -> None:
    content = archive(GOOD)
    with unpacking.Unpacking(tmp_path, "guest1") as taken:
        for start in range(0, len(content), size):
            taken.take(content[start : start + size])
    taken.require_whole()
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"empty": b"", "full": b"x" * 1000, "even": b"y" * 512}


def negative() -> bytes:
    header = bytearray(member("negative")[0].tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]  # type: ignore[attr-defined]
    return bytes(header)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a way up": lambda: archive([member("../escaped", b"x")]),
    "a way up behind a dot": lambda: archive([member("./../escaped", b"x")]),
    "dots": lambda: archive([member("..", b"x")]),
    "an absolute path": lambda: archive([member("/tmp/escaped", b"x")]),
    "a file in a folder": lambda: archive([member("deep/escaped", b"x")]),
    "a folder": lambda: archive([member("deep", type=tarfile.DIRTYPE)]),
    "a link": lambda: archive([member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")]),
    "another name of a file": lambda: archive([member("link", type=tarfile.LNKTYPE, linkname="full")]),
    "a device": lambda: archive([member("device", type=tarfile.BLKTYPE, devmajor=8, devminor=0)]),
    "a terminal": lambda: archive([member("device", type=tarfile.CHRTYPE, devmajor=5, devminor=0)]),
    "a pipe": lambda: archive([member("pipe", type=tarfile.FIFOTYPE)]),
    "a file with holes": lambda: archive([member("sparse", b"x", type=tarfile.GNUTYPE_SPARSE)]),
    "a long name": lambda: archive([member("x" * 5000, b"x")]),
    "a header of any length": lambda: archive([member("x", b"x", pax_headers={"a": "b" * 9000})], tarfile.PAX_FORMAT),
    "a size below nothing": negative,
    "a wrong sum": lambda: b"x" + archive(GOOD)[1:],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_plain_file_is_refused_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    with (
        pytest.raises(WorkloadError, match=r"^unexpected '|^the raw outputs did not arrive whole") as caught,
        unpacking.Unpacking(folder, "guest1:/raw") as taken,
    ):
        taken.take(HOSTILE[kind]())
    assert caught.value.where == "guest1:/raw"
    assert [path for path in tmp_path.rglob("*") if path != folder] == []


@pytest.mark.parametrize("kept", [0, 300, 512 * 4, 512 * 5 + 7])
def test_an_archive_without_its_end_is_not_whole(kept: int, tmp_path: Path) -> None:
    with unpacking.Unpacking(tmp_path, "guest1") as taken:
        taken.take(archive(GOOD)[:kept])
    with pytest.raises(WorkloadError, match="did not arrive whole"):
        taken.require_whole()


def test_there_is_a_bound_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FILES", 10)
    with (
        pytest.raises(WorkloadError, match="too many raw outputs") as caught,
        unpacking.Unpacking(tmp_path, "guest1") as taken,
    ):
        taken.take(archive(member(f"file{number}") for number in range(11)))
    assert caught.value.why == "more than 10 files"
    assert len(list(tmp_path.iterdir())) == 10


@pytest.fixture
def tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has this machine's tar be another program, in sh."""
    monkeypatch.setattr(scripts, "RAW", str(tmp_path))

    def replace(body: str) -> None:
        write_program(tmp_path / "bin", "tar", body)
        monkeypatch.setitem(cast("Any", local.env), "PATH", f"{tmp_path / 'bin'}:{local.env['PATH']}")

    return replace


def test_an_archive_without_end_fills_no_disk(tar: Callable[[str], None], tmp_path: Path) -> None:
    head = tmp_path / "head"
    head.write_bytes(member("endless", size=1 << 32)[0].tobuf(tarfile.GNU_FORMAT))
    tar(f"cat {head}; {FLOOD}")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(WorkloadError) as caught:
        machines.fetch_raw(local, into, most=1 << 20)
    assert caught.value.what == "could not copy the raw outputs: it said more than is read of it"
    assert "1 MiB are read" in caught.value.why
    assert (into / "endless").stat().st_size <= 1 << 20


def test_complaints_without_end_are_not_listened_to(tar: Callable[[str], None], tmp_path: Path) -> None:
    tar(f"{FLOOD} >&2")
    with pytest.raises(WorkloadError, match="said more than is read of it"):
        machines.fetch_raw(local, tmp_path, most=1 << 20)


def test_a_full_disk_is_no_fault_of_the_workload(
    tar: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    whole.write_bytes(archive(GOOD))
    tar(f"exec cat {whole}")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacking.Unpacking, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        machines.fetch_raw(local, tmp_path)


def test_a_document_of_fio_has_a_bound_and_empty_lines_are_soon_searched(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="longer than is read"):
        fio_output.read_document("{" + "[]," * fio_output.MOST_DOCUMENT, tmp_path)
    began = time.monotonic()
    with pytest.raises(WorkloadError, match="wrote no JSON"):
        fio_output.read_document("\n" * (1 << 17), tmp_path)
    assert time.monotonic() - began < 30


# --- in a campaign --------------------------------------------------------------------------------


def test_a_cell_whose_guest_sends_too_much_fails_and_the_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    collected: list[str] = []

    class Archived:
        """A guest's machine, whose raw outputs are where this one says."""

        host = "guest2"

        def __init__(self, root: Path) -> None:
            self.root = root

        def __getitem__(self, program: str) -> object:
            return local[program]

    honest = FakeLoad.collect

    def collect(self: FakeLoad, machine: Any, params: Any, raw_dir: Path) -> Any:
        collected.append(raw_dir.name)
        if raw_dir.name == "guest2" and collected.count("guest2") == 1:
            (machine.root / "raw" / "big").write_bytes(bytes(3 << 20))
            monkeypatch.setattr(scripts, "RAW", str(machine.root / "raw"))
            machines.fetch_raw(cast("Any", Archived(machine.root)), raw_dir, most=1 << 20)
        return honest(self, machine, params, raw_dir)

    monkeypatch.setattr(FakeLoad, "collect", collect)
    made = write_experiment(tmp_path, EXPERIMENT.replace("repetitions: 2", "repetitions: 1"))
    outcome = run(made, FakeHost(tmp_path / "host"), results=tmp_path / "results")
    first, *others = outcome.records
    assert (first.status, first.failure and first.failure.kind) == ("failed", "workload")
    assert first.failure is not None
    assert "could not copy the raw outputs: it said more than is read of it" in first.failure.message
    assert "where: guest2" in first.failure.message
    assert [record.status for record in others] == ["complete", "complete"]
    sizes = [path.stat().st_size for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert max(sizes) < 2 << 20
    assert leftovers(tmp_path / "results") == []


def test_a_campaign_goes_on_when_a_guest_floods_the_barrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    here = FakeMachine.here
    flooded: list[str] = []

    def hostile(machine: FakeMachine, text: str) -> str:
        if machine.root.name == "guest2" and 'echo "READY' in text and len(flooded) < 2:  # when it is tried again, too
            flooded.append(text)
            return "exec yes SAID more"
        return here(machine, text)

    monkeypatch.setattr(FakeMachine, "here", hostile)
    made = write_experiment(tmp_path, EXPERIMENT.replace("repetitions: 2", "repetitions: 1"))
    outcome = run(made, FakeHost(tmp_path / "host"), results=tmp_path / "results")
    assert [record.status for record in outcome.records] == ["failed", "failed", "complete", "complete"]
    failure = outcome.records[0].failure
    assert failure is not None
    assert failure.kind == "guest_lost"
    assert "guest2 said more at the barrier than is listened to" in failure.message
    assert f"it said more than {bounded.shown(barrier.MOST_HEARD)}" in failure.message


def test_who_forgets_to_say_where_ends_a_cell_and_no_campaign() -> None:
    assert cell.kind_of(bounded.TooMuchError(2, 1), "collect") == "lab"
