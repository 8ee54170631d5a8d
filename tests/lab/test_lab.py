"""The emulated host itself: its known state, policies, counters, and what becomes of it when
something is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from reach import reached

from common.errors import LabError
from common.units import PAGE_BYTES, SECTOR_BYTES
from lab.api import Sample
from lab.build import builder
from lab.build.recipes import HYPERVISORS
from lab.emulator.process import UNLIMITED, GoneError
from lab.hosts import clocks, guests
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab
from policies import apply
from policies import registry as policies
from policies.base import Tuning

pytestmark = pytest.mark.lab

PAGES_PER_MIB = 2**20 // PAGE_BYTES
SHARE_MIB = DEFAULT_HOST.guest_memory_mib // DEFAULT_GUESTS.count
TMEM_READY_S = 60


def value(samples: Iterable[Sample], source: str, counter: str) -> float:
    """The last value of a counter, which has to be there."""
    found = [sample.value for sample in samples if sample.source == source and sample.counter == counter]
    assert found, f"no counter {counter} of {source}"
    assert found[-1] is not None, f"{counter} of {source} could not be read"
    return found[-1]


def test_every_guest_can_be_reached_by_its_name(host: EmulatedHost) -> None:
    assert list(host.guests) == ["guest1", "guest2", "guest3"]
    for name, guest in host.guests.items():
        assert guest.machine["hostname"]().strip() == name
    assert "Domain-0" in host.dom0["xl"]("list")


def test_a_guest_reaches_dom0_and_no_other_guest(host: EmulatedHost) -> None:
    """Not by that network, which has no uplink either."""
    dom0 = str(guests.bridge().ip)
    assert reached(host, "guest1", [dom0, guests.address(2), guests.address(3)]) == [dom0]


def test_the_host_has_the_memory_of_its_sizing(host: EmulatedHost) -> None:
    samples = host.read_counters()
    held = sum(value(samples, name, "memory") for name in host.guests)
    total = (value(samples, "hypervisor", "free_memory") + held) / PAGES_PER_MIB
    assert total == pytest.approx(DEFAULT_HOST.guest_memory_mib, rel=0.03)


def test_clocks_agree(host: EmulatedHost) -> None:
    for name, offset in clocks.offsets(host.connections, list(host.guests)).items():
        assert abs(offset) < 0.5, f"{name} is {offset:.2f} s from dom0"


def test_a_healthy_guest_has_every_counter(host: EmulatedHost) -> None:
    missing = [f"{sample.source} {sample.counter}" for sample in host.read_counters() if sample.value is None]
    assert missing == []


def test_the_sampler_reads_what_xen_s_own_tools_say(host: EmulatedHost) -> None:
    """The guests idle, so nothing moves between the sampler's reading and theirs but what time
    itself moves.
    """
    host.agents.start(list(host.guests))
    answers = host.agents.ask(dict.fromkeys(["dom0", *host.guests], "once"))
    reading = json.loads(answers["dom0"][0])
    tools = host.run("dom0", "tmemctl list -l --json; xl info | sed -n 's/^free_memory *: //p'; xl list").splitlines()
    tmem = json.loads(tools[0])
    assert reading["tmem"].keys() == tmem.keys()
    assert reading["tmem"]["global"].keys() == tmem["global"].keys()
    assert reading["tmem"]["global"]["Fc"] == tmem["global"]["Fc"]
    assert abs(reading["free"] // 256 - int(tools[1])) <= 1
    listed = [line.split()[:2] for line in tools[3:]]
    assert [[domain["name"], str(domain["id"])] for domain in reading["domains"]] == listed
    for name in host.guests:
        told = dict(word.split("=") for word in answers[name][0].split()[1:])
        wanted = host.run(name, "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").split()
        assert told["meminfo.MemTotal"] == wanted[0]
        assert int(told["sampler.cpu"]) > 0


def test_sectors_are_counted_exactly_and_disks_are_as_slow_as_declared(host: EmulatedHost) -> None:
    mib = 8
    before = host.read_counters()
    script = (
        "cat /proc/uptime; dd if=/dev/xvdb of=/dev/null bs=64k "
        f"count={mib * 16} iflag=direct status=none; cat /proc/uptime"
    )
    first, last = host.run("guest2", script, timeout=120).splitlines()
    seconds = float(last.split()[0]) - float(first.split()[0])
    after = host.read_counters()
    counter = "swap_sectors_read"
    sectors = value(after, "guest2", counter) - value(before, "guest2", counter)
    assert sectors == mib * 2**20 / SECTOR_BYTES
    bandwidth, iops = host.settings.disk_bandwidth, host.settings.disk_iops
    assert bandwidth is not None
    assert iops is not None
    # QEMU lets a tenth of a second pass before it throttles.
    assert seconds >= 0.8 * max(mib * 2**20 / bandwidth, mib * 16 / iops)


def test_an_observation_samples_on_its_beat_and_tells_its_cost(host: EmulatedHost, tmp_path: Path) -> None:
    observation = host.observe(1.5)
    observation.start()
    time.sleep(8)
    samples = observation.stop(tmp_path / "observation")
    counters = {"dom0": "vcpu_seconds", **dict.fromkeys(host.guests, "meminfo.MemFree")}
    for source, counter in counters.items():
        times = [sample.time for sample in samples if sample.source == source and sample.counter == counter]
        assert 2 <= len(times) <= 7, f"{len(times)} readings of {source} in 8 s"
        assert times == sorted(set(times))
        cost = observation.cost.get(source)
        assert cost is not None
        # No bound from above: it depends on what else this machine does. Every cell reports it.
        assert cost > 0
    assert sorted(path.name for path in (tmp_path / "observation").iterdir()) == [
        "dom0.samples.jsonl",
        *(f"{name}.samples.txt" for name in host.guests),
    ]


def test_the_kernel_log_begins_at_the_reset(host: EmulatedHost) -> None:
    host.run("guest3", "echo overcommit-mark > /dev/kmsg")
    logs = host.kernel_log()
    assert set(logs) == {"hypervisor", "dom0", *host.guests}
    assert "overcommit-mark" in logs["guest3"]
    assert "Linux version" not in logs["guest3"], "the guest's boot belongs to the time before"


def test_provenance_tells_what_ran(host: EmulatedHost) -> None:
    found = host.provenance()
    assert found["accelerator"] in {"kvm", "tcg"}
    assert "tmem" in found["xen"]["info"]["xen_commandline"]  # type: ignore[index]
    guest = found["guests"]["guest1"]  # type: ignore[index]
    assert guest["kernel"].startswith("Linux 5.")
    assert len(guest["kernel_config_sha256"]) == 64
    chosen = HYPERVISORS[host.settings.hypervisor]
    wanted = {chosen.artifact, chosen.host_image, "guest_image", "guest_kernel"}
    assert set(found["artifacts"]) >= wanted  # type: ignore[call-overload]
    assert "PRIVATE KEY" not in str(found)


def test_the_host_runs_the_hypervisor_that_its_inventory_names(host: EmulatedHost) -> None:
    built = builder.artifact(host.settings.hypervisor)
    info = host.provenance()["xen"]["info"]  # type: ignore[index]
    assert built.versions["xen"].startswith(f"{info['xen_major']}.{info['xen_minor']}.")
    # The hypervisor carries the configuration that it was built with, so a variant cannot be taken
    # for another.
    config = host.dom0["xenhypfs"]("cat", "/buildinfo/config")
    # xenhypfs ends it with a line feed of its own.
    assert config.rstrip("\n") == built.outputs["xen.config"].read_text().rstrip("\n")


def test_a_reset_brings_back_memory_and_disks(host: EmulatedHost) -> None:
    host.run("guest1", "echo here > /root/file; echo here > /run/file; sync")
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    assert host.run("guest1", "ls /root/file /run/file 2> /dev/null || true") == ""


def test_a_killed_qemu_is_noticed_and_replaced(host: EmulatedHost) -> None:
    host.read_counters()
    process = host.emulator.process()
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(LabError):
        host.read_counters()
    with pytest.raises(LabError, match="QEMU is gone"):
        host.kernel_log()
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    assert host.run("guest1", "hostname").strip() == "guest1"


def test_a_qemu_lost_during_a_reset_is_replaced_once(host: EmulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    resume = host.emulator.resume
    to_lose, lost = 1, 0

    def lose() -> None:
        nonlocal lost
        resume()
        process = host.emulator.process()
        assert process is not None
        if lost < to_lose:
            os.kill(process.pid, signal.SIGKILL)
            lost += 1

    monkeypatch.setattr(host.emulator, "resume", lose)
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    assert lost == 1
    assert host.run("guest1", "hostname").strip() == "guest1"

    to_lose, lost = 3, 0
    with pytest.raises(GoneError, match="ended by SIGKILL"):
        host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    assert lost == 2
    assert host.emulator.serial.with_suffix(".lost").exists(), "what was said is kept"
    monkeypatch.undo()
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)


def test_a_host_is_locked_while_it_is_used(lab: OpenLab, host: EmulatedHost, inventory_path: Path) -> None:
    program = f"""
from pathlib import Path
from lab import lifecycle
with lifecycle.open_lab(Path({str(inventory_path)!r})):
    print("opened")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"the host {host.name} of lab {lab.name} is in use" in done.stderr
    assert f"process {os.getpid()}" in done.stderr


def test_the_host_of_a_killed_controller_is_found_again(host: EmulatedHost) -> None:
    """Its record is all that a new controller has; without the record, its command line."""
    other = EmulatedHost(host.folder.parent.name, host.name, host.settings, host._images, lambda _text: None)
    found = other.emulator.process()
    assert found is not None
    assert found == host.emulator.process()
    (host.folder / "qemu.json").unlink()
    assert other.emulator.process() is None, "an unrecorded QEMU cannot be used"
    assert host.emulator.process() is None
    assert not Path(f"/proc/{found.pid}").exists() or "Z" in Path(f"/proc/{found.pid}/stat").read_text(), "it was ended"
    # Whatever comes next has to start another: here the next test's reset.


def prepare(host: EmulatedHost, policy: str, tuning: Tuning | None = None) -> None:
    apply.prepare(policies.parse(policy), tuning or Tuning(), host, DEFAULT_HOST, DEFAULT_GUESTS)


def test_static_keeps_even_shares_and_loads_no_driver(host: EmulatedHost) -> None:
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    prepare(host, "static")
    samples = host.read_counters()
    for name in host.guests:
        assert value(samples, name, "memory") / PAGES_PER_MIB == pytest.approx(SHARE_MIB, abs=1.5)
        assert "tmem" not in host.run(name, "cat /proc/modules")


def test_the_driver_is_loaded_once(host: EmulatedHost) -> None:
    """On the host as the test before leaves it: without the driver."""
    prepare(host, "static+tmem")
    with pytest.raises(LabError, match="loaded already"):
        prepare(host, "static+tmem")


def test_a_policy_leaves_the_guests_alone_until_their_release(host: EmulatedHost) -> None:
    """Self-ballooning ticks every second here: loaded and not released, it must not have begun
    after three ticks.
    """
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    prepare(host, "selfballoon", Tuning(selfballoon={"selfballoon_interval": 1}))
    time.sleep(4)
    for name in host.guests:
        assert value(host.read_counters(), name, "memory") / PAGES_PER_MIB == pytest.approx(SHARE_MIB, abs=1.5)


def test_tmem_takes_what_guests_give_up_and_gives_it_back(host: EmulatedHost) -> None:
    """The whole path: self-ballooning frees memory, evicted pages go to Xen, reads come from
    there, and nothing is left afterwards.
    """
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    free_before = value(host.read_counters(), "hypervisor", "free_memory")
    held_before = sum(value(host.read_counters(), name, "memory") for name in host.guests)
    prepare(host, "selfballoon+tmem")
    for name in host.guests:
        host.run(name, apply.release_script(policies.parse("selfballoon+tmem")))
    parameters = host.run("guest1", "cd /sys/module/tmem/parameters; grep . *")
    assert parameters.split() == [
        f"{name}:Y" for name in ("cleancache", "frontswap", "selfballooning", "selfshrinking")
    ]
    deadline = time.monotonic() + TMEM_READY_S
    while value(samples := host.read_counters(), "guest1", "memory") >= held_before / 3 - 4 * PAGES_PER_MIB:
        assert time.monotonic() < deadline, "self-ballooning gave nothing back"
        time.sleep(3)
    # More file pages than the guest keeps, read twice: the second time some come from Xen.
    host.run(
        "guest1",
        "dd if=/dev/urandom of=/root/data bs=1M count=96 status=none; sync; cat /root/data > /dev/null",
        timeout=300,
    )
    first = host.read_counters()
    host.run("guest1", "cat /root/data > /dev/null", timeout=300)
    samples = host.read_counters()
    hits = value(samples, "guest1", "tmem_ephemeral_hits") - value(first, "guest1", "tmem_ephemeral_hits")
    assert hits > 0
    assert value(samples, "guest1", "cleancache_hits") >= hits
    assert value(samples, "hypervisor", "tmem_ephemeral_pages") > 0
    host.agents.close()
    host.run("dom0", guests.destroy_script(), timeout=180)
    gone = host.run("dom0", "sleep 3; tmemctl list -l; xl info | grep free_memory")
    assert "C=" not in gone, "a client outlived its domain"
    free_after = int(gone.rsplit(":", 1)[1]) * PAGES_PER_MIB
    # Xen counts free memory in whole MiB here, and has a few of its own for each guest.
    assert free_after >= free_before + held_before - PAGES_PER_MIB
