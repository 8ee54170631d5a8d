"""Reaching machines: the configuration that ssh really reads, time limits, and errors that say
where.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import processes
from lab.remote.ssh import CommandError, Connections, Endpoint, UnreachableError, abandon, ssh_config

ENDPOINTS = [
    Endpoint("dom0", "127.0.0.1", port=2222, key=Path("/keys/a b")),
    Endpoint("guest1", "10.77.0.11", key=Path("/keys/a b"), jump=True),
    Endpoint("server1", "192.0.2.1", check_host_key=True),
]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh")
def test_ssh_understands_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(ssh_config(ENDPOINTS, tmp_path))

    def asked(machine: str) -> dict[str, str]:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(config), machine],
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    dom0, guest = asked("dom0"), asked("guest1")
    assert (dom0["hostname"], dom0["port"], dom0["user"]) == ("127.0.0.1", "2222", "root")
    assert dom0["identityfile"] == "/keys/a b"
    assert dom0["controlpath"] == f"{tmp_path}/dom0"
    assert guest["proxyjump"] == "dom0"
    assert guest["hostname"] == "10.77.0.11"
    assert {dom0["batchmode"], guest["batchmode"]} == {"yes"}
    # one that withstands quantum computers takes an emulated processor seconds; servers' is theirs
    assert {dom0["kexalgorithms"], guest["kexalgorithms"]} == {"curve25519-sha256"}
    assert "," in asked("server1")["kexalgorithms"]


def test_output_and_input_go_through(connections: Connections) -> None:
    assert connections.run("guest1", "printf '%s' \"$0 a  b\"; cat", stdin=b"in").endswith("a  bin")


def test_a_script_that_is_too_long_for_the_server_goes_through_a_file(
    connections: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "there"))
    comment = "# it's long\n" * 1000
    assert connections.run("guest1", f'{comment}cat; echo "$((1 + 1))"', stdin=b"in") == "in2\n"
    with pytest.raises(CommandError, match="failed with code 3"):
        connections.run("guest1", f"{comment}exit 3")
    assert not list((tmp_path / "there").iterdir())
    with pytest.raises(UnreachableError):
        connections.run("lost", comment)


def test_a_failing_command_is_named_with_its_words(connections: Connections) -> None:
    with pytest.raises(CommandError, match="failed with code 3") as raised:
        connections.run("guest1", "echo why >&2; exit 3")
    assert raised.value.where == "guest1: echo why >&2; exit 3"
    assert raised.value.why == "why"


def test_a_command_ends_with_everything_that_it_started(connections: Connections) -> None:
    with pytest.raises(CommandError, match=r"did not end within 0\.5 s"):
        connections.run("guest1", "sleep 987654 & sleep 987654", timeout=0.5)
    assert ["sleep", "987654"] not in list(running())


def running() -> Iterator[list[str]]:
    """The arguments of every process; a minimal system has no ps."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace").rstrip("\0").split("\0")


def test_a_lost_machine_is_told_apart_from_a_failing_command(connections: Connections) -> None:
    with pytest.raises(UnreachableError) as raised:
        connections.run("lost", "true")
    assert raised.value.why == "Connection refused"


def test_waiting_ends_when_nobody_will_answer(connections: Connections) -> None:
    def gone() -> None:
        raise RuntimeError("QEMU is gone")

    with pytest.raises(RuntimeError, match="QEMU is gone"):
        connections.wait("lost", 60, pause=0.01, alive=gone)
    with pytest.raises(UnreachableError):
        connections.wait("lost", 0.05, pause=0.01)
    connections.wait("guest1", 1)


def test_all_machines_run_at_the_same_time(connections: Connections, tmp_path: Path) -> None:
    meet = "touch {dir}/{own}; while [ ! -e {dir}/{other} ]; do sleep 0.02; done; echo {own}"
    scripts = {
        own: meet.format(dir=tmp_path, own=own, other=other)
        for own, other in (("guest1", "guest2"), ("guest2", "guest1"))
    }
    assert connections.run_all(scripts, timeout=120) == {"guest1": "guest1\n", "guest2": "guest2\n"}


def test_ctrl_c_does_not_wait_for_what_runs_on_the_machines(connections: Connections) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        # Were they waited for, the test would not end.
        connections.run_all({"guest1": "sleep 987655", "guest2": "sleep 987655"})
    connections.drop()
    assert connections.run("guest1", "echo again") == "again\n"


def test_a_command_is_abandoned_though_another_process_has_its_pipes() -> None:
    """As the shared connection has, which holds on to a dead guest for minutes."""
    process = subprocess.Popen(
        ["sh", "-c", "setsid sleep 60 & echo $!; exec sleep 60"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    holder = int(process.stdout.readline())
    try:
        abandon(process)
        assert process.returncode == -signal.SIGKILL
        os.kill(holder, 0)  # it lives, and was not waited for
    finally:
        os.kill(holder, signal.SIGKILL)


MASTER = """\
#!{python} -I
# As ssh with a shared connection: a process that listens at a socket, which is left when it is killed. Without one a
# command goes by itself. Nobody answers while the file `gone` is there.
import os, socket, sys
words, folder = sys.argv[1:], {folder!r}
if "dom0" in words:
    sys.exit(0)
with open(folder + "/sessions", "a") as log:
    print("connect" if "-N" in words else "command", file=log)
if os.path.exists(folder + "/gone"):
    sys.exit("Connection refused")
if "-N" in words:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(folder + "/guest1")
    listening.listen()
    if os.fork():
        sys.exit(0)
    with open(folder + "/pid", "w") as file:
        file.write(str(os.getpid()))
    while True:
        listening.accept()[0].close()
os.execvp("bash", ["bash", "-c", words[-1]])
"""


def test_a_shared_connection_whose_process_was_killed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket stays, and proves nothing."""
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(MASTER.format(python=sys.executable, folder=str(tmp_path)))
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    connections = Connections(tmp_path / "ssh_config", tmp_path)

    def kill() -> None:
        master = int(wait_for(tmp_path / "pid"))
        os.kill(master, signal.SIGKILL)
        while processes.start_time(master) is not None:
            time.sleep(0.01)
        (tmp_path / "pid").unlink()
        assert (tmp_path / "guest1").is_socket()

    assert connections.run("guest1", "echo 1") == "1\n"
    assert connections.run("guest1", "echo 2") == "2\n"
    kill()
    assert connections.run("guest1", "echo 3") == "3\n"
    assert (tmp_path / "sessions").read_text().split() == ["connect", "command", "command", "connect", "command"]
    kill()
    (tmp_path / "gone").touch()
    with pytest.raises(UnreachableError, match="guest1 cannot be reached"):
        connections.wait("guest1", 0.05, pause=0.01, connection=True)
    (tmp_path / "gone").unlink()
    connections.wait("guest1", 60, connection=True)
    kill()


def wait_for(path: Path) -> str:
    """What is in a file, as soon as there is something."""
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return path.read_text()
