"""Labs without hosts: locks, states, and that looking at a lab changes nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from campaigns import launch
from campaigns.places import LabPlace
from common.errors import InvalidFileError, LabError, UsageError
from common.needs import Needs
from lab import lifecycle, paths
from lab.build import recipes
from lab.build.artifacts import Artifact
from lab.emulator import accelerator
from lab.emulator.monitor import MonitorError
from lab.emulator.process import Emulator, Images, Process
from lab.hosts import provenance
from lab.inventory import Emulated
from lab.remote import ssh

TEXT = "xen_hosts:\n  hosts:\n    xen1: {lab_kind: emulated, lab_accelerator: tcg}\n"


@pytest.fixture
def inventory_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.yml"
    path.write_text(TEXT)
    return path


def no_images(_settings: Emulated) -> Images:
    raise AssertionError("opening a lab asks for no artifacts")


def test_a_lab_is_opened_without_starting_anything(inventory_path: Path) -> None:
    with lifecycle.open_lab(inventory_path, images=no_images) as lab:
        assert lab.name == "mine"
        (host,) = lab.hosts
        assert (host.name, host.kind, host.accelerator) == ("xen1", "emulated", "tcg")
        assert dict(host.guests) == {}
        (row,) = lifecycle.status(inventory_path)
        assert row["state"] == "down"
        assert row["used_by"] == os.getpid()
    (row,) = lifecycle.status(inventory_path)
    assert row["used_by"] is None


def test_what_a_host_is_made_from_is_known_before_it_starts(inventory_path: Path, tmp_path: Path) -> None:
    asked: list[Emulated] = []

    def images(settings: Emulated) -> Images:
        asked.append(settings)
        return Images(*[tmp_path] * 5, tmemctl=None, keys={"xen": "a key"})

    inventory_path.write_text(TEXT.replace("tcg}", "tcg, lab_disk_iops: 100, lab_disk_bandwidth: none}"))
    with lifecycle.open_lab(inventory_path, images=images) as lab:
        (host,) = lab.hosts
        for _ in range(2):
            assert lab.basis(host) == {
                "name": "xen1",
                "kind": "emulated",
                "accelerator": "tcg",
                "artifacts": {"xen": "a key"},
                "emulator.disk_iops": 100,
                "emulator.disk_bytes_per_second": None,
                "emulator.cpu_model": "qemu64",
                "emulator.icount": False,
            }
    assert len(asked) == 1


def test_a_lab_has_one_user_at_a_time(inventory_path: Path) -> None:
    with (
        lifecycle.open_lab(inventory_path, images=no_images),
        pytest.raises(LabError, match="the host xen1 of lab mine is in use") as raised,
        lifecycle.open_lab(inventory_path, images=no_images),
    ):
        raise AssertionError("two users")
    assert str(os.getpid()) in raised.value.why
    with lifecycle.open_lab(inventory_path, images=no_images):
        pass


def test_a_load_waits_for_the_campaign_that_has_its_host(inventory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would empty the swap of a guest whose cell is being measured, and run beside it."""
    config = inventory_path.with_name("ssh_config")
    config.write_text(ssh.ssh_config([ssh.Endpoint("guest1", "127.0.0.1")], Path("/run")))
    monkeypatch.setattr(lifecycle, "status", lambda _path: [{"host": "xen1", "ssh_config": str(config)}])
    monkeypatch.setattr(lifecycle.Connections, "machine", lambda _self, name: name)
    said: list[str] = []
    reached = []

    def load() -> None:
        with lifecycle.machine(inventory_path, "guest1", said.append) as machine:
            reached.append(machine)
            with pytest.raises(LabError, match="is in use"), lifecycle.open_lab(inventory_path, images=no_images):
                raise AssertionError("a campaign beside a load")

    with lifecycle.open_lab(inventory_path, images=no_images):
        thread = threading.Thread(target=load)
        thread.start()
        while not said:
            assert thread.is_alive() or said, "it did not wait"
            time.sleep(0.01)
        assert not reached
    thread.join(timeout=60)
    assert reached == ["guest1"]
    assert "waiting for the host xen1 of lab mine" in said[0]


def test_who_waits_for_a_lab_has_it_next(inventory_path: Path) -> None:
    """Two demos at once on one machine: the second says what it waits for, and then goes on."""
    said: list[str] = []
    opened = []

    def second() -> None:
        with lifecycle.open_lab(inventory_path, images=no_images, progress=said.append, wait=True):
            opened.append(time.monotonic())

    with lifecycle.open_lab(inventory_path, images=no_images):
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            time.sleep(0.01)
        time.sleep(0.1)
        assert not opened
    thread.join(timeout=60)
    assert opened
    (text,) = said
    assert "waiting for the host xen1 of lab mine" in text
    assert f"process {os.getpid()}" in text


def test_down_and_destroy_of_a_lab_that_is_down(inventory_path: Path) -> None:
    assert lifecycle.down(inventory_path) == []
    folder = paths.host_dir("mine", "xen1")
    (folder / "machine-1").mkdir()
    (folder / "machine-1" / "dom0.qcow2").write_bytes(b"x" * 2**20)
    (removed,) = lifecycle.destroy(inventory_path)
    assert removed.path == folder / "machine-1"
    assert removed.size >= 2**20
    assert not folder.exists()


def test_a_lab_is_made_of_what_its_inventory_names(tmp_path: Path) -> None:
    """The default lab needs what ./inv build makes, and no more; another hypervisor brings the
    dom0 that it takes.
    """
    assert set(lifecycle.artifacts_for()) == set(recipes.PUBLISHED)
    for name, chosen in recipes.HYPERVISORS.items():
        path = tmp_path / "mine.yml"
        path.write_text(TEXT.replace("tcg}", f"tcg, lab_hypervisor: {name}}}"))
        found = set(lifecycle.artifacts_for(path))
        assert found - {"guest_image", "guest_kernel", "tmemctl", "sampler"} == {chosen.artifact, chosen.host_image}
    physical = paths.INVENTORY / "physical.example.yml"
    assert set(lifecycle.artifacts_for(physical)) == {*lifecycle.PROVISIONED, "sampler"}


def test_a_host_boots_the_hypervisor_of_its_inventory(
    inventory_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(name: str, _needs: Needs) -> Artifact:
        outputs = {each: tmp_path / name / each for each in recipes.RECIPES[name].outputs}
        return Artifact(name, f"key of {name}", tmp_path / name, outputs, {}, tmp_path / "manifest.json")

    monkeypatch.setattr(lifecycle.builder, "artifact", built)
    images = lifecycle.artifact_images(Emulated(kind="emulated", hypervisor="xen_4_17"))
    assert images.hypervisor == tmp_path / "xen_4_17" / "xen.elf32"
    assert images.host_disk == tmp_path / "host_image_12" / "host.qcow2"
    assert images.keys["xen_4_17"] == "key of xen_4_17"
    assert "xen" not in images.keys
    assert images.guest_disk == tmp_path / "guest_image" / "guest.qcow2"
    loads = lifecycle.artifact_images(Emulated(kind="emulated"), Needs(("memcached",)))
    assert loads.guest_disk == tmp_path / "guest_image_loads" / "guest.qcow2"
    assert "guest_image" not in loads.keys


def test_guests_that_need_more_have_an_image_of_their_own(tmp_path: Path) -> None:
    found = set(lifecycle.artifacts_for(needs=Needs(programs=("memload",))))
    assert found == {*recipes.PUBLISHED, "guest_image_loads"} - {"guest_image"}
    physical = set(lifecycle.artifacts_for(paths.INVENTORY / "physical.example.yml", Needs(("memcached",))))
    assert physical == {*lifecycle.PROVISIONED, "sampler", "guest_image_loads"} - {"guest_image"}


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        ({"guests": replace(lifecycle.DEFAULT_GUESTS, count=13)}, "guests.count", "at most 12"),
        ({"host": replace(lifecycle.DEFAULT_HOST, vcpus=1024)}, "host.vcpus", "at most 255"),
        ({"host": replace(lifecycle.DEFAULT_HOST, dom0_memory_mib=8)}, "host.dom0_memory", "at least 192 MiB"),
    ],
)
def test_what_no_emulated_host_can_be_is_refused_with_its_key(
    inventory_path: Path, change: dict[str, Any], where: str, why: str
) -> None:
    with pytest.raises(InvalidFileError) as raised:
        lifecycle.up(inventory_path, images=no_images, **change)
    assert where in raised.value.where
    assert why in raised.value.why


def test_a_campaign_on_a_lab_of_several_hosts_has_all_of_them(
    inventory_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory_path.write_text(TEXT + "    xen2: {lab_kind: emulated}\n")
    request = launch.ask("demo", inventory_path, results=tmp_path)
    opened: list[str] = []

    @contextlib.contextmanager
    def hands(places: list[LabPlace]) -> Iterator[None]:
        opened.extend(place.name for place in places)
        yield

    monkeypatch.setattr(launch, "Hands", hands)
    monkeypatch.setattr(launch.run, "run_with", lambda _experiment, _crew, *, hosts, **_: hosts)
    assert launch.execute(request, [], results=tmp_path) == ["xen1", "xen2"]
    assert opened == ["xen1", "xen2"]


def test_only_machines_of_the_lab_are_reached(inventory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: dict[str, str | None] = dict.fromkeys(("xen1", "xen2", "xen3"))
    monkeypatch.setattr(
        lifecycle, "status", lambda _path: [{"host": host, "ssh_config": config} for host, config in configs.items()]
    )

    def come_up(host: str, guests: int) -> None:
        config = inventory_path.with_name(f"ssh_config.{host}")
        names = ["dom0", *(f"guest{number + 1}" for number in range(guests))]
        config.write_text(ssh.ssh_config([ssh.Endpoint(name, "127.0.0.1") for name in names], Path("/run")))
        configs[host] = str(config)

    def refused(machine: str, host: str | None = None) -> str:
        with pytest.raises(UsageError) as raised:
            lifecycle.ssh_command(inventory_path, machine, host)
        return str(raised.value)

    assert f"./inv lab.up --inventory {inventory_path}" in refused("dom0")
    come_up("xen1", 1)
    assert lifecycle.ssh_command(inventory_path, "guest1") == ["ssh", "-F", configs["xen1"], "guest1"]
    assert "Machines are: dom0, guest1." in refused("guest9")
    assert "no machine '*'" in refused("*")
    come_up("xen2", 3)
    assert "--host: xen1, xen2." in refused("dom0")
    assert lifecycle.ssh_command(inventory_path, "guest3", "xen2") == ["ssh", "-F", configs["xen2"], "guest3"]
    assert "xen3 is not up" in refused("dom0", "xen3")
    assert "Hosts are: xen1, xen2, xen3." in refused("dom0", "xen4")


def test_signals_wait_until_a_lab_is_closed() -> None:
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(each) for each in signals]
    with lifecycle.uninterrupted():
        assert [signal.getsignal(each) for each in signals] == [signal.SIG_IGN] * 3
    assert [signal.getsignal(each) for each in signals] == before


@pytest.mark.parametrize("where", ["kvm", "auto"])
def test_status_tells_what_is_known_where_kvm_is_wanted_and_does_not_work(
    inventory_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(accelerator, "_kept", lambda: accelerator.Choice("tcg", "there is no /dev/kvm"))
    inventory_path.write_text(TEXT.replace("lab_accelerator: tcg", f"lab_accelerator: {where}"))
    (row,) = lifecycle.status(inventory_path)
    assert row["accelerator"] == {"kvm": None, "auto": "tcg"}[where]
    assert "there is no /dev/kvm" in row["accelerator_why"]
    assert (row["state"], row["drives"]) == ("down", [])
    row["drives"] = [{"folder": "machine-0", "memory_mib": 900, "disk_bytes": 2**28, "snapshots": {"booted": {}}}]
    first, *_, last = lifecycle.lines_of(row)
    assert first == "xen1 (emulated): down"
    assert last.endswith("drives for 900 MiB: 256 MiB; snapshots: booted")


def test_status_does_not_fail_where_a_monitor_is_not_there_yet(
    inventory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_self: Emulator) -> str:
        raise MonitorError("QEMU's monitor refused", where="monitor.qmp: query-status", why="no such file")

    started = Process(os.getpid(), 1, "boot", 4022, "digest", [], 0.0)
    monkeypatch.setattr(Emulator, "recorded", lambda _self: started)
    monkeypatch.setattr(Emulator, "condition", silent)
    (row,) = lifecycle.status(inventory_path)
    assert (row["state"], row["pid"]) == ("silent", os.getpid())


def test_a_wrong_inventory_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError):
        lifecycle.status(tmp_path / "nosuch.yml")


def test_provenance_of_a_guest_is_parsed_by_section() -> None:
    fixed = provenance.parse_guest_fixed(
        "== uname\nLinux 5.10.223 #1 x86_64\n== cmdline\nroot=/dev/xvda psi=1\n== meminfo\nMemTotal:  147000 kB\n"
        "== cpu\nmodel name\t: QEMU Virtual CPU\n== disks\nxvda 8388608 \n== config\nabc123  -\n"
    )
    assert fixed["kernel"] == "Linux 5.10.223 #1 x86_64"
    assert fixed["memory"] == {"MemTotal": "147000 kB"}
    assert fixed["cpu"] == {"model": "QEMU Virtual CPU", "microcode": None}
    assert fixed["kernel_config_sha256"] == "abc123"
    changing = provenance.parse_changing(
        "== clock\n1000.5\n== sysctl\nvm/swappiness:60\n== swaps\nFilename Type\n== driver\n"
        "/sys/module/tmem/parameters/cleancache:Y\n== selfballoon\nselfballoon_interval:5\n"
    )
    assert changing["sysctl"] == {"vm.swappiness": "60"}
    assert changing["driver"] == {"cleancache": "Y"}
    assert changing["selfballoon"] == {"selfballoon_interval": "5"}
    assert provenance.parse_changing("== clock\n== driver\n")["driver"] == {}


def test_provenance_holds_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "do-not-store")
    assert "do-not-store" not in str(provenance.controller())
    assert provenance.controller()["cpus"]
