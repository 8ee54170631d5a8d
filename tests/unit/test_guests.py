"""What dom0 is told: configurations, memory, and that even shares never overcommit."""

from __future__ import annotations

import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.api import GuestSizing, HostSizing, TmemSettings, even_share_mib
from lab.hosts import guests, host
from lab.hosts.emulated import XEN_SHARE, guests_tag, memory_mib
from lab.hosts.guests import Disks

SHARES = {"guest1": 160, "guest2": 160, "guest3": 160}
SIZING = GuestSizing(count=3, vcpus=1, memory_max_mib=256, memory_start_mib=160, swap_mib=256)


@pytest.fixture
def xl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `xl` that notes how it is called; `xl list` shows the guests with the memory in the file
    `memory`.
    """
    program = tmp_path / "xl"
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
[ "$1" = list ] && {{ echo "Name ID Mem VCPUs State Time"; echo "Domain-0 0 384 2 r 1"; cat {tmp_path}/memory; }}
exit 0
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def write(path: Path, text: str) -> None:
    """A program."""
    path.write_text(text)
    path.chmod(0o755)


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


def test_a_configuration() -> None:
    lines = guests.configuration(2, SIZING, Disks("/dev/vdc", "/dev/vdf")).splitlines()
    assert 'name = "guest2"' in lines
    assert "memory = 160" in lines
    assert "maxmem = 256" in lines
    assert (
        'disk = ["phy:/dev/vdc,xvda,w,script=block-overcommit", "phy:/dev/vdf,xvdb,w,script=block-overcommit"]' in lines
    )
    assert any("ip=10.77.0.12::10.77.0.1:255.255.255.0:guest2:eth0:off" in line for line in lines)
    assert not any("tsc_mode" in line for line in lines)
    native = guests.configuration(2, SIZING, Disks("/dev/vdc", "/dev/vdf"), native_tsc=True)
    assert 'tsc_mode = "native"' in native


def test_a_guest_without_swap_has_one_disk() -> None:
    text = guests.configuration(1, GuestSizing(1, 1, 256, 160, 0), Disks("/dev/vdb", "/dev/vdc"))
    assert "xvdb" not in text


def test_a_static_guest_is_limited_to_its_share(xl: Path) -> None:
    (xl / "memory").write_text("guest1 1 160 1 b 1\nguest2 2 161 1 b 1\nguest3 3 160 1 b 1\n")
    done = run(host.memory_script(SHARES, SHARES))
    assert done.returncode == 0, done.stderr
    calls = (xl / "calls").read_text().splitlines()
    assert sorted(calls[:3]) == ["mem-set guest1 160m", "mem-set guest2 160m", "mem-set guest3 160m"]  # all at once
    assert calls[3:] == ["list"]


def test_a_self_ballooning_guest_may_have_its_maximum(xl: Path) -> None:
    (xl / "memory").write_text("guest1 1 160 1 b 1\n")
    done = run(host.memory_script({"guest1": 160}, {"guest1": 256}))
    assert done.returncode == 0, done.stderr
    assert (xl / "calls").read_text().splitlines()[-1] == "mem-max guest1 256m"


def test_a_guest_that_keeps_its_memory_is_named(xl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "BALLOON_SECONDS", 0)
    (xl / "memory").write_text("guest1 1 160 1 b 1\nguest2 2 200 1 b 1\nguest3 3 160 1 b 1\n")
    done = run(host.memory_script(SHARES, SHARES))
    assert done.returncode == 1
    assert "guest2 200" in done.stderr
    assert "guest1" not in done.stderr


@given(st.integers(64, 65536), st.integers(1, 12), st.integers(32, 8192))
def test_even_shares_fit(memory: int, count: int, most: int) -> None:
    share = even_share_mib(HostSizing(memory, 384, 2), GuestSizing(count, 1, most, 32, 0))
    assert share * count <= memory
    assert share <= most


@given(st.integers(64, 65536), st.integers(256, 4096), st.integers(1, 12))
def test_the_emulators_memory_leaves_the_guests_theirs(memory: int, dom0: int, count: int) -> None:
    ram = memory_mib(HostSizing(memory, dom0, 2), replace(SIZING, count=count))
    assert ram * (1 - XEN_SHARE) - dom0 >= memory


def test_a_snapshot_is_for_one_sizing() -> None:
    assert guests_tag(SIZING) == guests_tag(GuestSizing(3, 1, 256, 160, 256))
    assert guests_tag(SIZING) != guests_tag(GuestSizing(3, 1, 257, 160, 256))


def test_the_driver_script_notices_a_parameter_that_was_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modprobe = tmp_path / "modprobe"
    modprobe.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    modprobe.chmod(modprobe.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script = host.driver_script({"cleancache": True, "frontswap": False}).replace(
        "/sys/module/tmem/parameters", str(tmp_path)
    )
    (tmp_path / "cleancache").write_text("Y\n")
    (tmp_path / "frontswap").write_text("N\n")
    assert run(script).returncode == 0
    assert (tmp_path / "called").read_text() == "tmem cleancache=1 frontswap=0\n"
    (tmp_path / "frontswap").write_text("Y\n")
    done = run(script)
    assert (done.returncode, done.stderr.strip()) == (1, "frontswap is not N")


def test_a_setting_that_a_guest_does_not_take_is_named(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    script = host.sysctl_script({"vm.page-cluster": 0}).replace("/proc/sys", str(tmp_path))
    assert run(script).returncode == 0
    assert (tmp_path / "vm" / "page-cluster").read_text() == "0\n"
    (tmp_path / "vm" / "page-cluster").unlink()
    (tmp_path / "vm" / "page-cluster").symlink_to("/dev/null")
    done = run(script)
    assert done.returncode == 1
    assert "page-cluster does not take 0" in done.stderr


DISKS = [Disks("/dev/vdb", "/dev/vde"), Disks("/dev/vdc", "/dev/vdf"), Disks("/dev/vdd", "/dev/vdg")]


@dataclass
class FakeDom0:
    """dom0 with programs that note how they are called."""

    folder: Path
    free: int = 20
    freeable: int = 500
    tmem: int = 0
    """Exit code of tmemctl."""
    create: str = "exit 0"
    """What `xl create` does."""

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        programs = {
            "xl": f'echo "xl $1" >> {self.folder}/calls\n'
            f'[ "$1" = info ] && {{ echo "total_memory : 1024"; echo "free_memory            : {self.free}"; }}\n'
            f'[ "$1" = create ] && {{ {self.create}; }}\nexit 0\n',
            "tmemctl": f'[ {self.tmem} = 0 ] || exit {self.tmem}\necho "tmemctl $*" >> {self.folder}/calls\n'
            f'[ "$1" = freeable ] && echo {self.freeable}\nexit 0\n',
        }
        for name, text in programs.items():
            path = self.folder / name
            path.write_text(f"#!/bin/sh\n{text}")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{self.folder}:/usr/bin:/bin")
        monkeypatch.setattr(guests, "STATE", str(self.folder / "state"))


def changes(dom0: FakeDom0) -> list[str]:
    """The calls that change something."""
    return [call for call in dom0.calls() if call not in {"xl info", "tmemctl freeable"}]


def test_guests_start_where_tmem_holds_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dom0 = FakeDom0(tmp_path)
    dom0.write(monkeypatch)
    done = run(guests.create_script(SIZING, DISKS, only=[2]))
    assert done.returncode == 0, done.stderr
    # 160 MiB, 8 for Xen's own needs, 5 that Xen keeps back; 20 are free.
    missing = (160 + 8 + 5 - 20) * 256
    assert changes(dom0) == ["tmemctl freeze all", f"tmemctl flush all {missing}", "xl create", "tmemctl thaw all"]
    assert 'name = "guest2"' in (tmp_path / "state" / "guests" / "guest2.cfg").read_text()


def test_nothing_is_flushed_where_memory_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dom0 = FakeDom0(tmp_path, free=173)
    dom0.write(monkeypatch)
    assert run(guests.create_script(SIZING, DISKS)).returncode == 0
    assert changes(dom0) == ["tmemctl freeze all", *["xl create"] * 3, "tmemctl thaw all"]


def test_a_guest_without_room_is_refused_before_anything_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dom0 = FakeDom0(tmp_path, freeable=139)
    dom0.write(monkeypatch)
    done = run(guests.create_script(SIZING, DISKS))
    assert done.returncode != 0
    assert "no room for guest1: it needs 160 MiB, 20 MiB are free, and tmem would give back 139 MiB" in done.stderr
    assert changes(dom0) == ["tmemctl freeze all", "tmemctl thaw all"]


def test_a_failed_start_thaws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dom0 = FakeDom0(tmp_path, free=400, create="exit 5")
    dom0.write(monkeypatch)
    assert run(guests.create_script(SIZING, DISKS)).returncode == 5
    assert changes(dom0) == ["tmemctl freeze all", "xl create", "tmemctl thaw all"]


@pytest.mark.parametrize("sent", ["INT", "TERM", "HUP"])
def test_an_interrupted_start_thaws(sent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The signal goes to the shell that runs the script: the parent of xl.
    dom0 = FakeDom0(tmp_path, free=400, create=f"kill -{sent} $PPID")
    dom0.write(monkeypatch)
    assert run(guests.create_script(SIZING, DISKS)).returncode == {"HUP": 129, "INT": 130, "TERM": 143}[sent]
    assert changes(dom0) == ["tmemctl freeze all", "xl create", "tmemctl thaw all"]


@pytest.mark.parametrize("code", [3, 127])
def test_guests_start_without_tmem(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dom0 = FakeDom0(tmp_path, tmem=code)
    dom0.write(monkeypatch)
    done = run(guests.create_script(SIZING, DISKS))
    assert done.returncode == 0, done.stderr
    assert dom0.calls() == ["xl create"] * 3


def test_guests_do_not_start_where_tmem_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dom0 = FakeDom0(tmp_path, tmem=1)
    dom0.write(monkeypatch)
    assert run(guests.create_script(SIZING, DISKS)).returncode == 1
    assert not (tmp_path / "calls").exists()


def test_tmem_is_told_about_each_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.tmem_script(TmemSettings(), ["guest1"]) == ""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write(tmp_path / "xl", '#!/bin/sh\n[ "$1" = domid ] && echo "${2#guest}7"\n')
    write(tmp_path / "tmemctl", f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    script = host.tmem_script(TmemSettings(True, False, {"guest2": 3}, {"guest1": 100}), ["guest1", "guest2"])
    assert run(script).returncode == 0
    assert (tmp_path / "told").read_text().splitlines() == [
        "set 17 --compress 1 --dedup 0 --cap 100",
        "set 27 --compress 1 --dedup 0 --weight 3",
    ]
    write(tmp_path / "tmemctl", "#!/bin/sh\nexit 5\n")
    assert run(script).returncode == 5


ENDING = """#!/bin/sh
[ "$1" = destroy ] && { echo "$2" >> FOLDER/destroyed; exit 0; }
echo "Name ID Mem VCPUs State Time(s)"
echo "Domain-0 0 384 2 r----- 120.0"
echo "(null) 7 1 1 --psr- 3.0"
echo "database 8 512 1 -b---- 3.0"
if [ -e FOLDER/destroyed ]; then
    [ -e FOLDER/gone ] || echo "(null) 3 1 1 --psr- 3.0"
else
    echo "guest1 3 160 1 -b---- 3.0"
fi
"""


@pytest.mark.parametrize("gone", [True, False])
def test_only_our_own_domains_are_waited_for(gone: bool, xl: Path) -> None:
    """Another's that cannot end, and so has no name any more, held up every campaign of that
    host.
    """
    (xl / "xl").write_text(ENDING.replace("FOLDER", str(xl)))
    if gone:
        (xl / "gone").touch()
    done = run(guests.destroy_script().replace("sleep 1", "true"))
    assert (xl / "destroyed").read_text().split() == ["3"]
    assert done.returncode == (0 if gone else 1), done.stderr
    assert gone or "domains 3" in done.stderr
