"""Whether a line of a kernel's log says that something broke: by itself, whatever stands before it,
in both directions.
"""

from __future__ import annotations

import time

import pytest

from campaigns import kernel_log
from campaigns.kernel_log_rules import ALLOWED, FORBIDDEN, FORBIDDEN_PROGRAM, FORBIDDEN_XEN
from campaigns.kernel_log_storage import KINDS
from lab.hosts.kernel_logs import LOST, new_since
from tests.unit.workloads_local import DATA

FOLDER = DATA / "kernel_log"


def lines(*names: str) -> list[str]:
    texts = [(FOLDER / f"{name}.txt").read_text() for name in names]
    return [line for text in texts for line in text.split("\n") if line.strip()]


@pytest.mark.parametrize("line", lines("invalid", "broken"))
def test_each_line_of_breakage_is_found_alone(line: str) -> None:
    (found,) = kernel_log.findings({"guest1": f"[    1.0] fine\n{line}\n[    2.0] fine\n"})
    assert (found.source, found.number, found.line) == ("guest1", 2, line.strip())
    assert found.kind in KINDS
    assert found.reason


@pytest.mark.parametrize("line", lines("valid", "harmless"))
def test_each_harmless_line_is_none(line: str) -> None:
    assert kernel_log.findings({"guest1": line}) == []


@pytest.mark.parametrize("line", lines("prefixes"))
def test_whatever_stands_before_a_message_it_is_found(line: str) -> None:
    assert kernel_log.classify(line) is not None
    assert kernel_log._message(line).text.startswith(("BUG kmalloc", "domain_crash", "mm.c"))


@pytest.mark.parametrize(
    "prefix",
    [
        "[   12.345678][  T812] ",
        "2026-11-28T05:12:51,123456+00:00 ",
        "[2026-11-28 05:12:51] [   12.345678] ",
        "Nov 28 05:12:51 host kernel: ",
        "guest1 login: [   12.345678] ",
    ],
)
def test_what_is_broken_stays_broken_behind_every_prefix(prefix: str) -> None:
    """`XFS (xvda1): ` and `EDAC MC0: ` were taken for a host and its program."""
    whole = [kernel_log._message(line) for line in lines("broken") if line.startswith("[")]
    messages = [message.text for message in whole if not message.xen and not message.program]
    assert len(messages) > 200
    assert [message for message in messages if kernel_log.classify(prefix + message) is None] == []


@pytest.mark.parametrize(("device", "unused"), [("fd0", True), ("fd0u1440", True), ("fd00", False), ("fd01", False)])
def test_the_number_of_a_volume_is_no_floppy(device: str, unused: bool) -> None:
    """Xen's back end names a guest's disk by its number, and that of a volume begins with fd."""
    found = kernel_log.classify(f"xen-blkback: access denied: write of [8,16] on dev={device}")
    assert (found is None) == unused


@pytest.mark.parametrize(
    "prefix", ["[   12.345678] ", "Nov 28 05:12:51 host kernel: ", "<3>", "kern  :err   : [   12.345678] "]
)
def test_what_is_harmless_stays_harmless_behind_every_prefix(prefix: str) -> None:
    messages = [kernel_log._message(line).text for line in lines("harmless") if line.startswith("[")]
    assert [message for message in messages if kernel_log.classify(prefix + message)] == []


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        *(
            (device, "disk")
            for device in ("xvda", "xvdb1", "vda", "vdab", "sda", "sdaa3", "nvme0n1p2", "dm-0", "md0", "drbd0")
        ),
        *((device, None) for device in ("fd0", "sr0", "sr1", "loop0", "loop12p1", "mmcblk0boot0", "nbd3", "ram0")),
        *((device, None) for device in ("rbd0", "rbd12p1", "ubiblock0_0")),
    ],
)
@pytest.mark.parametrize(
    "line",
    [
        "end_request: I/O error, dev {}, sector 0",
        "blk_update_request: I/O error, dev {}, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0",
        "print_req_error: critical medium error, dev {}, sector 8",
        "Buffer I/O error on dev {}, logical block 0, async page read",
        "Buffer I/O error on device {}, logical block 0",
        "lost page write due to I/O error on {}",
        "critical space allocation error, dev {}, sector 8 op 0x1:(WRITE) flags 0x0",
        "{}: rw=0, want=68, limit=4",
        "{}: rw=4096, sector=68, nr_sectors = 8 limit=4",
        "mount: attempt to access beyond end of device\\x0a{}: rw=0, want=68, limit=4",
    ],
)
def test_an_error_counts_where_an_experiment_has_its_disks(line: str, device: str, kind: str | None) -> None:
    found = kernel_log.classify(f"[   41.600639] {line.format(device)}")
    assert (found.kind if found else None) == kind


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("#PF: supervisor instruction fetch in kernel mode", "cpu"),
        ("vcpu restore failed for cpu=1 err=-22. System will hang.", "cpu"),
        ("EDAC igen6 MC0: HANDLING IBECC MEMORY ERROR", "memory"),
        ("zswap: alloc failed, zswap disabled for swap type 0", "memory"),
        ("psi: inconsistent task state! task=812:cc1 cpu=0 psi_flags=4 clear=1 set=0", "kernel"),
        ("__jbd2_log_wait_for_space: no way to get more journal space in xvda-8", "file system"),
        ("gnttab unmap failed: rc=0 st0=-3 st1=0", "disk"),
        ("hpsa 0000:03:00.0: Controller lockup detected: 0x00130000 after 30", "disk"),
        ("(XEN) CMCI occurred on CPU 3.", "hypervisor"),
        ("(XEN) d3v0 Guest switching to user mode with no user page tables", "guest"),
    ],
)
def test_what_broke_is_told_as_of_others_of_its_kind(line: str, kind: str) -> None:
    found = kernel_log.classify(line)
    assert found is not None
    assert found.kind == kind


def test_the_record_of_a_device_that_is_too_small_is_about_the_device_in_its_second_line() -> None:
    """The first names none, so a CD that was cut short invalidated."""
    record = "[   12.345678] mount: attempt to access beyond end of device\n{}: rw=0, want=68, limit=4\n"
    assert kernel_log.findings({"guest1": record.format("sr0")}) == []
    (found,) = kernel_log.findings({"guest1": record.format("xvda")})
    assert (found.kind, found.number) == ("disk", 2)
    journal = '{"_TRANSPORT":"kernel","MESSAGE":"mount: attempt to access beyond end of device\\n%s: rw=0, want=68"}'
    assert kernel_log.classify(journal % "sr0") is None
    assert kernel_log.classify(journal % "sda")


def test_long_lines_and_foreign_bytes_hide_nothing() -> None:
    end = "BUG: Bad page state in process cc1  pfn:12345"
    assert kernel_log.classify("x" * 20_000 + " " + end)
    assert kernel_log.classify("[    1.0] \ufffd\ufffd " + end + "\r")
    (found,) = kernel_log.findings({"a": f"one\x0bhalf\x85two\r\n[    1.0] {end}\r\n"})
    assert found.number == 2, "lines end where an editor ends them"


@pytest.mark.parametrize(
    "line",
    [
        '{"MESSAGE": ["a"]}',
        '{"MESSAGE": 3}',
        "{[" * 30_000,
        '{"a": ' + "1" * 5000 + "}",
        '{"_TRANSPORT": ["a"], "MESSAGE": "a"}',
    ],
    ids=["list", "number", "deep", "long", "listed"],
)
def test_json_that_is_no_line_of_a_journal_hides_nothing(line: str) -> None:
    assert kernel_log.classify(line) is None
    assert kernel_log.classify(line + " BUG: Bad page state in process cc1  pfn:12345")


def test_a_gap_in_a_log_is_a_finding() -> None:
    """Named after a full ring, which hid a crash: what cannot be known is not good."""
    assert new_since("[1] a\n", "[9] b\n").marked().startswith(LOST)
    (found,) = kernel_log.findings({"dom0": new_since("[1] a\n", "[9] b\n").marked()})
    assert found.kind == "lost"


def test_every_rule_has_a_reason_and_a_kind() -> None:
    for rule in (*FORBIDDEN, *FORBIDDEN_XEN, *FORBIDDEN_PROGRAM):
        assert rule.reason
        assert rule.kind in KINDS
    assert all(rule.reason and not rule.kind for rule in ALLOWED)


@pytest.mark.parametrize("unit", ["a", "1", "(a", "a-", "a(", "[1", "d1v", "/", ": ", "[ 1.0] "])
def test_a_file_that_is_one_line_of_megabytes_takes_no_time_to_speak_of(unit: str) -> None:
    """Half a second for each four thousand characters made a minute and more of such a file."""
    began = time.process_time()
    assert kernel_log.classify(unit * (200_000 // len(unit))) is None
    assert time.process_time() - began < 10
