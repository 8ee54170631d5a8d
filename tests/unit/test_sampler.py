"""The sampler, compiled here and run on made-up trees: what it reads, the lines that
lab.counters.parse reads, its beat and its own cost.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sampler as made_up
from test_counters import TMEM

from lab.counters import names, parse

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.build(tmp_path_factory.mktemp("sampler"))


class Session:
    """One sampler that runs, and its answers."""

    def __init__(self, *command: object) -> None:
        self.process = subprocess.Popen(
            [str(each) for each in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.answer() == ["ready"]

    def answer(self) -> list[str]:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            if line == b"== end\n":
                return lines
            lines.append(line.decode().rstrip("\n"))
        raise AssertionError(f"it ended after {lines}")

    def ask(self, line: str) -> list[str]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        return self.answer()


@pytest.fixture
def linux(program: Path, tmp_path: Path) -> Iterator[Session]:
    made_up.linux_tree(tmp_path)
    session = Session(program, "--root", tmp_path, "linux", *names.ASKED)
    yield session
    session.process.communicate()
    assert session.process.returncode == 0


@pytest.fixture
def xen(program: Path, tmp_path: Path) -> Iterator[Session]:
    made_up.xen_tree(tmp_path, json.dumps(TMEM))
    session = Session(program, "--root", tmp_path, "xen")
    yield session
    session.process.communicate()
    assert session.process.returncode == 0


def by_hand(root: Path) -> dict[str, int]:
    """The same counters, read from the tree by other means."""
    found = {f"vmstat.{name}": value for name, value in made_up.VMSTAT.items()}
    found |= {f"meminfo.{name}": value for name, value in made_up.MEMINFO.items()}
    for path in (root / "proc/pressure").iterdir():
        for extent, total in re.findall(r"^(\w+) .*total=(\d+)$", path.read_text(), re.MULTILINE):
            found[f"psi.{path.name}.{extent}"] = int(total)
    for path in (root / "sys/kernel/debug").glob("*/*"):
        found[f"{path.parent.name}.{path.name}"] = int(path.read_text())
    return found


def values(samples: list[Any]) -> dict[tuple[str, str], Any]:
    return {(sample.source, sample.counter): sample.value for sample in samples}


def test_every_counter_of_a_guest_is_read_by_the_name_that_it_was_asked_for(linux: Session, tmp_path: Path) -> None:
    samples, cost = parse.parse_guest("guest1", linux.ask("once"))
    found = values(samples)
    wanted = by_hand(tmp_path)
    for word, counter in names.LINUX.items():
        assert found["guest1", counter.name] == counter.value(wanted.get(word)), word
    assert found["guest1", "vmstat.pgfault"] == 2**53 + 1
    assert found["guest1", "frontswap_loads"] is None
    assert found["guest1", names.SAMPLING.name] > 0
    assert cost is None
    assert abs(samples[0].time - time.time()) < 5


def test_words_of_a_line_are_read_by_their_numbers(linux: Session, tmp_path: Path) -> None:
    ours = {counter.name for counter in names.IN_MEMORY.values()}
    found = values(parse.parse_guest("guest1", linux.ask("once"))[0])
    assert {name: value for (_, name), value in found.items() if name in ours} == {
        "zswap_held": 12,
        "zram_held": 10,
        "zram_compressed": 5000,
        "zram_memory": 4,
        "zram_memory_most": 5,
        "zram_same_pages": 3,
        "zram_hits": 7,
        "zram_stores": 10,
        "ramdisk_held": 256,
    }
    # a line that is too short, a device that is gone
    made_up.write(tmp_path / "sys/block/zram0/mm_stat", "40960 5000\n")
    made_up.write(tmp_path / "proc/swaps", "Filename Type Size Used Priority\n")
    found = values(parse.parse_guest("guest1", linux.ask("once"))[0])
    assert found["guest1", "zram_compressed"] == 5000
    assert {"zram_memory", "ramdisk_held"}.isdisjoint(name for _, name in found)


@pytest.mark.parametrize("name", ["block.zram0.stat.none", "swaps.ram0.x", "swaps.ram0.0"])
def test_a_name_without_the_number_of_a_word_is_refused(program: Path, name: str) -> None:
    done = subprocess.run([program, "linux", name], input=b"", capture_output=True, check=False)
    assert done.returncode != 0
    assert f"{name} is no counter" in done.stderr.decode()


def test_the_names_of_counters_stand_in_one_place() -> None:
    text = "".join(path.read_text() for path in made_up.SOURCE.glob("*.[ch]"))
    words = [word for word in names.LINUX if not word.startswith("psi.")]
    assert [word for word in words if re.search(rf"\b{re.escape(word.split('.')[-1])}\b", text)] == []


def test_files_are_kept_open_and_yet_read_anew(linux: Session, tmp_path: Path) -> None:
    linux.ask("once")
    descriptors = Path(f"/proc/{linux.process.pid}/fd")
    held = len(list(descriptors.iterdir()))
    puts = tmp_path / "sys/kernel/debug/cleancache/puts"
    with puts.open("r+") as file:
        file.write("1001")
    # the driver's module is loaded after the sampler was started
    made_up.write(tmp_path / "sys/kernel/debug/frontswap/loads", "3\n")
    for _ in range(3):
        found = values(parse.parse_guest("guest1", linux.ask("once"))[0])
        assert found["guest1", "cleancache_puts"] == 1001
        assert found["guest1", "frontswap_loads"] == 3
    assert len(list(descriptors.iterdir())) == held + 1


def test_a_reading_of_xen_is_parsed_as_it_always_was(xen: Session) -> None:
    (line,) = xen.ask("once")
    reading = json.loads(line)
    assert reading["free"] == 1234
    assert reading["domains"] == [
        {"id": 0, "name": "Domain-0", "cpu_ns": 2_500_000_000, "pages": 98304},
        {"id": 1, "name": "guest1", "cpu_ns": 1_000_000, "pages": 40960},
        {"id": 2, "name": "guest2", "cpu_ns": 2_000_000, "pages": 40961},
        {"id": 7, "name": "guest3", "cpu_ns": 3, "pages": 4},
        {"id": 9, "name": "", "cpu_ns": 1, "pages": 2},
    ]
    assert reading["tmem"] == TMEM
    assert reading["vbd"] == {
        "1": {
            "51712": {"rd_req": 10, "wr_req": 1, "rd_sect": 80, "wr_sect": 2**40},
            "51728": {"rd_req": 1, "wr_req": 0, "rd_sect": 16, "wr_sect": 0},
        },
        "2": {"51712": {"rd_req": 1, "wr_req": 1, "rd_sect": 8}},
    }
    samples, cost = parse.parse_host([line], ["guest1", "guest2", "guest3"])
    found = values(samples)
    assert cost is None
    assert found["dom0", "vcpu_seconds"] == 2.5
    assert found["dom0", names.SAMPLING.name] > 0
    assert found["guest1", "sectors_read"] == 96
    assert found["guest2", "sectors_written"] is None
    assert found["guest3", "sectors_read"] is None
    assert found["guest1", "tmem_ephemeral_hits"] == 12


def test_without_tmem_the_reading_says_why(program: Path, tmp_path: Path) -> None:
    made_up.xen_tree(tmp_path, None)
    reading = json.loads(Session(program, "--root", tmp_path, "xen").ask("once")[0])
    assert reading["tmem"] is None
    assert reading["tmem_error"] == "reading counters: No such device"


def test_guests_and_disks_come_and_go_while_it_runs(xen: Session, tmp_path: Path) -> None:
    descriptors = Path(f"/proc/{xen.process.pid}/fd")
    xen.ask("once")
    held = len(list(descriptors.iterdir()))
    shutil.rmtree(tmp_path / "sys/bus/xen-backend/devices/vbd-1-51728")
    made_up.disk(tmp_path, 3, 51712, rd_req=4, wr_req=4, rd_sect=4, wr_sect=4)
    made_up.write(tmp_path / "xen", "free 1\n0 9 9 Domain-0\n1 5 5 renamed\n3 1 1 guest3\n")
    for _ in range(2):
        reading = json.loads(xen.ask("once")[0])
        assert list(reading["vbd"]) == ["1", "2", "3"]
        assert list(reading["vbd"]["1"]) == ["51712"]
        assert [domain["name"] for domain in reading["domains"]] == ["Domain-0", "renamed", "guest3"]
        assert len(list(descriptors.iterdir())) == held
    shutil.rmtree(tmp_path / "sys/bus")
    assert json.loads(xen.ask("once")[0])["vbd"] == {}


def test_a_name_that_is_no_name_breaks_no_json(program: Path, tmp_path: Path) -> None:
    made_up.write(tmp_path / "xen", 'free 1\n1 5 5 a"b\\c\td\n')
    reading = json.loads(Session(program, "--root", tmp_path, "xen").ask("once")[0])
    assert reading["domains"][0]["name"] == 'a"b\\c\td'


@pytest.mark.parametrize("kind", ["linux", "xen"])
def test_it_samples_on_its_beat_and_tells_what_it_took(kind: str, request: pytest.FixtureRequest) -> None:
    session: Session = request.getfixturevalue(kind)
    assert session.ask("start 0.2") == ["started"]
    time.sleep(1.5)
    lines = session.ask("stop")
    if kind == "linux":
        samples, cost = parse.parse_guest("guest1", lines)
    else:
        samples, cost = parse.parse_host(lines, ["guest1"])
    times = sorted({sample.time for sample in samples})
    # On a busy machine a beat may be late or left out; none is early, and none is made up.
    assert 2 <= len(times) <= 9
    assert len(lines) == len(times) + 1
    assert cost is not None
    assert cost > 0
    own = [sample.value or 0 for sample in samples if sample.counter == names.SAMPLING.name]
    assert own == sorted(own)
    assert session.ask("stop") == (["cost 0.000000 0.000 0"] if kind == "linux" else [])


def test_it_refuses_what_it_cannot_do(linux: Session) -> None:
    assert linux.ask("start -1") == ["no interval: -1"]
    assert linux.ask("start nan") == ["no interval: nan"]
    assert linux.ask("dance") == ["unknown: dance"]
    assert linux.ask("x" * 5000)[0].startswith("unknown: x")


def test_wrong_usage(program: Path, tmp_path: Path) -> None:
    for arguments in ([], ["xen", "more"], ["guest"]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage" in done.stderr
    for name in ("pgfault", "../etc.passwd", ".x"):
        done = subprocess.run([program, "linux", name], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "is no counter" in done.stderr
    done = subprocess.run([program, "--root", tmp_path, "xen"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


# --- For managers -------------------------------------------------------------------------------


def test_a_reading_of_memory_asks_for_nothing_else(program: Path, tmp_path: Path) -> None:
    made_up.xen_tree(tmp_path, json.dumps(TMEM))
    made_up.write(tmp_path / "freeable", "77\n")
    reading = json.loads(Session(program, "--root", tmp_path, "memory").ask("once")[0])
    assert set(reading) == {"time", "total", "free", "freeable", "domains", "sampler.cpu"}
    assert (reading["total"], reading["free"], reading["freeable"]) == (2**17, 1234, 77)
    assert reading["domains"][1] == {"id": 1, "name": "guest1", "pages": 40960, "dying": False}
    (tmp_path / "freeable").unlink()
    with_tmem = json.loads(Session(program, "--root", tmp_path, "memory", "tmem").ask("once")[0])
    assert with_tmem["tmem"] == TMEM
    assert with_tmem["freeable"] is None


def reporter(program: Path, root: Path, *moves: str, alive: int = 60) -> Session:
    made_up.linux_tree(root)
    return Session(program, "--root", root, "report", "report", alive, *moves)


def reports(root: Path) -> list[str]:
    return (root / "report").read_text().splitlines()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_reporter_writes_when_something_moved_and_no_more(program: Path, tmp_path: Path) -> None:
    session = reporter(program, tmp_path, "meminfo.MemFree=100", "psi.memory.some=10")
    assert session.ask("start 0.05") == ["started"]
    until(lambda: reports(tmp_path) == [" meminfo.MemFree=4096 psi.memory.some=123456"])
    path = tmp_path / "proc/meminfo"

    def move(free: int) -> None:
        text = re.sub(r"(MemFree:\s+)\d+", rf"\g<1>{free}", path.read_text())
        with path.open("r+b", buffering=0) as file:  # at once: a file that is empty for a moment may be seen
            file.write(text.encode())

    move(4195)
    time.sleep(0.5)
    assert len(reports(tmp_path)) == 1, "99 KiB are less than asked for"
    move(4196)
    until(lambda: len(reports(tmp_path)) == 2)
    move(4095)
    until(lambda: len(reports(tmp_path)) == 3)
    assert reports(tmp_path)[2] == " meminfo.MemFree=4095 psi.memory.some=123456"
    (line,) = session.ask("stop")
    assert line.split()[0] == "cost"
    assert line.split()[4] == "3"
    assert int(line.split()[3]) > 3


def test_a_reporter_says_now_and_then_that_it_lives(program: Path, tmp_path: Path) -> None:
    session = reporter(program, tmp_path, "meminfo.MemFree=100", alive=1)
    session.ask("start 0.05")
    until(lambda: len(reports(tmp_path)) >= 3)
    assert len(set(reports(tmp_path))) == 1


def test_a_counter_that_goes_is_reported_and_is_missing(program: Path, tmp_path: Path) -> None:
    session = reporter(program, tmp_path, "meminfo.MemFree=100", "psi.memory.some=10")
    session.ask("start 0.05")
    until(lambda: len(reports(tmp_path)) == 1)
    (tmp_path / "proc/pressure/memory").write_text("")
    until(lambda: len(reports(tmp_path)) == 2)
    assert reports(tmp_path)[1] == " meminfo.MemFree=4096"


def test_a_reporter_that_cannot_report_says_so(program: Path, tmp_path: Path) -> None:
    made_up.linux_tree(tmp_path)
    session = Session(program, "--root", tmp_path, "report", "no/such/folder", 60, "meminfo.MemFree=100")
    assert session.process.stdin is not None
    session.process.stdin.write(b"start 0.05\n")
    session.process.stdin.flush()
    _, said = session.process.communicate(timeout=20)
    assert session.process.returncode == 1
    assert b"xenstore does not take no/such/folder" in said
    for wrong in ("meminfo.MemFree", "meminfo.MemFree=", "meminfo.MemFree=-1", "meminfo.MemFree=0", "MemFree=1"):
        done = subprocess.run([program, "report", "report", "60", wrong], capture_output=True, text=True, check=False)
        assert done.returncode == 1, wrong


def test_the_newest_reading_can_be_looked_at_and_stays_kept(linux: Session) -> None:
    assert linux.ask("last") == []
    assert linux.ask("start 0.05") == ["started"]
    (first,) = linux.ask("last")
    while (newer := linux.ask("last")) == [first]:
        time.sleep(0.02)
    *kept, _cost = linux.ask("stop")
    assert kept[0] == first
    assert newer[0] in kept[1:]
