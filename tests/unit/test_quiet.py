"""Quieting a server: what is set, what is stopped, and that nothing is written that lasts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab.hosts.physical import parse_quiet
from lab.remote import scripts

PROGRAMS = {
    "xenpm": 'echo "xenpm $*" >> LOG\n'
    'case "$1" in get-cpufreq-para) printf "cpu id               : 0\\ncurrent_governor     : performance\\n'
    'turbo mode           : disabled\\n" ;; esac',
    "xl": 'printf "nr_cpus                : 8\\nthreads_per_core       : 2\\n"',
    "systemctl": 'echo "systemctl $*" >> LOG\n'
    'case "$*" in "--quiet is-active apt-daily.timer" | "stop apt-daily.timer") exit 0 ;; *) exit 3 ;; esac',
    # Two screens, of which the first is of programs' whole lives.
    "top": 'head="  PID USER PR NI VIRT RES SHR S %%CPU %%MEM TIME+ COMMAND\\n"\n'
    'row="  7 root 20 0 9 9 9 S %s 0.1 0:01.00 %s\\n"\n'
    'printf "$head$row" 90.0 old\n'
    'printf "\\ntop - 1:00\\n$head$row$row$row" 93.0 mprime 6.5 sshd-session 0.1 systemd',
}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A folder with the programs of a server, and its /sys."""
    for name, body in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{body}\n".replace("LOG", str(tmp_path / "log")))
        program.chmod(0o755)
    huge = tmp_path / "sys" / "kernel" / "mm" / "transparent_hugepage" / "enabled"
    huge.parent.mkdir(parents=True)
    huge.write_text("always [madvise] never\n")
    tables = tmp_path / "sys" / "class" / "dmi" / "id"
    tables.mkdir(parents=True)
    (tables / "sys_vendor").write_text("QEMU\n")
    (tables / "product_name").write_text("Standard PC (Q35 + ICH9, 2009)\n")
    return tmp_path


def quiet(folder: Path) -> dict[str, object]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    script = scripts.command("quiet.sh", str(folder / "sys"), str(folder / "stopped"))
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return parse_quiet(done.stdout)


def test_what_is_found_and_made_of_it_is_told(server: Path) -> None:
    found = quiet(server)
    assert (found["governor"], found["turbo"], found["threads_per_core"]) == ("performance", "disabled", "2")
    assert found["stopped"] == ["apt-daily.timer"]
    assert found["busy"] == ["mprime 93.0 %"]
    assert (found["vendor"], found["product"]) == ("QEMU", "Standard PC (Q35 + ICH9, 2009)")
    assert str(found["load"]).count(" ") == 2


def test_settings_are_made_and_nothing_that_lasts(server: Path) -> None:
    quiet(server)
    assert (server / "sys/kernel/mm/transparent_hugepage/enabled").read_text() == "never\n"
    log = (server / "log").read_text()
    assert "xenpm set-scaling-governor performance" in log
    assert "xenpm disable-turbo-mode" in log
    assert "systemctl stop apt-daily.timer" in log
    assert "disable " not in log
    assert "mask" not in log


def test_a_kernel_without_large_pages_makes_none(server: Path) -> None:
    """As a paravirtual dom0's, to which Xen shows none."""
    huge = server / "sys/kernel/mm/transparent_hugepage"
    (huge / "enabled").unlink()
    huge.rmdir()
    assert quiet(server)["dom0_thp"] == "never"


def test_what_a_server_lacks_is_none_and_no_failure(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "systemctl"  # before this machine's own
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 4\n")
    program.chmod(0o755)
    found = quiet(tmp_path)
    assert (found["governor"], found["turbo"], found["dom0_thp"], found["threads_per_core"]) == (None, None, None, None)
    assert found["stopped"] == []
