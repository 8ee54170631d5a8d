"""The Ansible runner: real ansible-playbook runs of tiny playbooks on this machine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from common.errors import BuildError, LabError, MissingError
from lab import paths
from lab.build import ansible, orphans
from lab.remote.ssh import UnreachableError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OVERCOMMIT_TEST_SECRET", "swordfish")


def playbook(folder: Path, tasks: str) -> Path:
    path = folder / "book.yml"
    path.write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}")
    return path


FAILING = """\
    - name: Fetch the thing
      ansible.builtin.command: {argv: [sh, -c, 'echo chatter; echo "no such thing" >&2; exit 3']}
"""


def test_variables_reach_the_run_progress_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    book = playbook(
        tmp_path,
        '    - name: Write it\n      ansible.builtin.copy: {content: "{{ text }}", dest: "{{ dest }}", mode: "0600"}\n',
    )
    told: list[str] = []
    variables = {"text": "a 'quoted' \"text\"", "dest": str(tmp_path / "out")}
    result = ansible.run(book, extravars=variables, progress=told.append)
    assert (tmp_path / "out").read_text() == "a 'quoted' \"text\""
    assert told == ["Write it"]
    assert (result.ok, result.changed) == (1, 1)
    assert ansible.run(book, extravars=variables).changed == 0
    assert list((paths.tmp() / "ansible").iterdir()) == []


def test_what_a_run_would_change_is_told_with_differences_and_is_not_changed(tmp_path: Path) -> None:
    book = playbook(
        tmp_path,
        f"""\
    - name: Write them
      ansible.builtin.copy: {{content: "{{{{ item }}}}\\n", dest: "{tmp_path}/{{{{ item }}}}", mode: "0600"}}
      loop: [same, other]
    - name: Start it
      ansible.builtin.command: touch {tmp_path}/started
    - name: Made before
      ansible.builtin.command: {{cmd: touch {tmp_path}/same, creates: {tmp_path}/same}}
""",
    )
    (tmp_path / "same").write_text("same\n")
    (tmp_path / "same").chmod(0o600)
    result = ansible.run(book, check=True)
    assert [(each.task, each.item) for each in result.changes] == [("Write them", "other"), ("Start it", "")]
    assert "+other" in result.changes[0].difference
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "started").exists()
    done = ansible.run(book)
    assert [(each.task, each.item) for each in done.changes] == [("Write them", "other"), ("Start it", "")]
    assert (tmp_path / "started").exists()


def test_a_host_that_cannot_be_reached_has_an_error_of_its_own(tmp_path: Path) -> None:
    inventory = tmp_path / "lab.yml"
    inventory.write_text("all: {hosts: {xen1: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_user: root}}}\n")
    book = playbook(tmp_path, "    - name: Ask it\n      ansible.builtin.ping:\n")
    with pytest.raises(UnreachableError) as caught:
        ansible.run(book, inventory=inventory, error=LabError, unreachable=UnreachableError)
    assert "Connection refused" in caught.value.why
    with pytest.raises(LabError) as other:
        ansible.run(playbook(tmp_path, FAILING), error=LabError, unreachable=UnreachableError)
    assert not isinstance(other.value, UnreachableError)


def test_ansibles_ssh_reads_what_the_inventory_says_and_no_file_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\nexit 255\n')
    (tmp_path / "ssh").chmod(0o755)
    inventory = tmp_path / "lab.yml"
    said = f"ansible_ssh_executable: {tmp_path}/ssh, ansible_ssh_common_args: -o ProxyJump=gate"
    inventory.write_text(f"all: {{hosts: {{xen1: {{{said}}}}}}}\n")
    book = playbook(tmp_path, "    - name: Ask it\n      ansible.builtin.ping:\n")
    with pytest.raises(UnreachableError):
        ansible.run(book, inventory=inventory, error=LabError, unreachable=UnreachableError)
    words = (tmp_path / "asked").read_text().splitlines()
    assert words[words.index("-F") + 1] == "/dev/null"
    assert {"ControlMaster=auto", "ControlPersist=60s", "ProxyJump=gate"} <= set(words)


def test_an_inventory_may_be_named_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ansible-runner takes a relative path for the text of an inventory."""
    monkeypatch.chdir(tmp_path)
    words = "ansible_connection: local, ansible_python_interpreter: '{{ ansible_playbook_python }}'"
    Path("labs.yml").write_text("all: {hosts: {xen1: {" + words + "}}}\n")
    book = tmp_path / "book.yml"
    book.write_text(
        "- hosts: xen1\n  gather_facts: false\n  tasks: [{ansible.builtin.file: {path: %s, state: touch}}]\n"
        % (tmp_path / "made")
    )
    ansible.run(book, inventory=Path("labs.yml"), limit="xen1")
    assert (tmp_path / "made").exists()


def test_a_failure_names_the_task_its_line_the_command_and_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "KEPT_LOGS", 1)
    old = paths.logs() / "20200101T000000-book-0.log"
    old.touch()
    with pytest.raises(BuildError) as caught:
        ansible.run(playbook(tmp_path, FAILING), error=BuildError)
    error = caught.value
    assert "'Fetch the thing'" in error.what
    assert f"{tmp_path}/book.yml:4" in error.where
    assert "echo chatter" in error.where
    assert error.why == "no such thing"
    [log] = paths.logs().iterdir()  # of the older ones only so many are kept
    assert log != old
    assert str(log) in error.remedy
    assert "no such thing" in log.read_text()
    # Nothing of the environment is kept, secrets least of all.
    kept = [path for path in paths.cache().rglob("*") if path.is_file()]
    assert log in kept
    assert not [path for path in kept if "swordfish" in path.read_text(errors="replace")]


def test_the_failing_item_of_a_loop_is_what_the_error_shows(tmp_path: Path) -> None:
    tasks = (
        "    - name: Loop\n      ansible.builtin.command: sh -c 'test {{ "
        "item }} != 2 || { echo item two >&2; exit 1; }'\n      loop: [1, 2]\n"
    )
    with pytest.raises(ansible.PlaybookError) as caught:
        ansible.run(playbook(tmp_path, tasks))
    assert caught.value.why == "item two"


def test_a_playbook_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ansible.PlaybookError, match="could not be run") as caught:
        ansible.run(tmp_path / "none.yml")
    assert "could not be found" in caught.value.why


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    book = playbook(tmp_path, "    - name: Sleep\n      ansible.builtin.command: sleep 60\n")
    with pytest.raises(ansible.PlaybookError, match=r"did not end within 4\.0 s"):
        ansible.run(book, timeout=4)


def test_a_cancelled_run_ends_with_its_commands(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = f"sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60'"
    book = playbook(tmp_path, f"    - name: Sleep\n      ansible.builtin.command: {command}\n")
    cancel = threading.Event()

    def cancel_once_it_runs() -> None:
        while not pid.exists():
            time.sleep(0.05)
        cancel.set()

    watcher = threading.Thread(target=cancel_once_it_runs)
    watcher.start()
    with pytest.raises(ansible.PlaybookError, match="was cancelled"):
        ansible.run(book, cancel=cancel, timeout=60)
    watcher.join()
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not state.exists() or " Z " in state.read_text()


DPKG = """\
#!/bin/sh
touch "$0.began"
sleep 1
touch "$0.done"
"""


@pytest.fixture
def dpkg(tmp_path: Path) -> Path:
    """A program of that name that takes a second; it leaves dpkg.began, then dpkg.done."""
    path = tmp_path / "dpkg"
    path.write_text(DPKG)
    path.chmod(0o755)
    return path


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_packages_that_are_being_installed_are_waited_for(tmp_path: Path, dpkg: Path) -> None:
    """A dpkg that is killed leaves a machine on which apt refuses to do anything."""
    book = playbook(tmp_path, f"    - name: Install\n      ansible.builtin.command: {dpkg}\n")

    def interrupt_once_it_runs() -> None:
        wait_for(dpkg.with_suffix(".began"))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    watcher = threading.Thread(target=interrupt_once_it_runs)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        ansible.run(book, finish_packages=True)
    watcher.join()
    assert dpkg.with_suffix(".done").exists()


def test_packages_that_a_killed_run_installs_are_waited_for(tmp_path: Path, dpkg: Path) -> None:
    private = paths.tmp() / "ansible" / "killed"
    private.mkdir(parents=True)
    for name in ("lock", ansible.FINISHES_PACKAGES):
        (private / name).touch()
    with subprocess.Popen([dpkg], env={**os.environ, "ANSIBLE_CONFIG": f"{private}/ansible.cfg"}):
        wait_for(dpkg.with_suffix(".began"))
        ansible.remove_stale()
    assert dpkg.with_suffix(".done").exists()
    assert not private.exists()


def test_a_run_that_begins_is_not_taken_for_one_whose_owner_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may look for those at any moment, the one before this run has its lock
    above all.
    """
    flock = fcntl.flock

    def late(lock: IO[str], how: int) -> None:
        if how == fcntl.LOCK_EX:
            ansible.remove_stale()
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    book = playbook(tmp_path, "    - name: Nothing\n      ansible.builtin.command: 'true'\n")
    assert ansible.run(book).ok == 1


def test_what_sudo_started_is_ended_through_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may neither end root's processes nor see their environment. What they started does
    not always name the folder.
    """
    fake_sudo(tmp_path, 'shift; exec "$@"')
    folder = tmp_path / "run-0123abcd"
    child = tmp_path / "child"
    command = f"env -i sleep 60 & echo $! > {child}.new; mv {child}.new {child}; wait"
    with subprocess.Popen(["sh", "-c", command], env={**os.environ, "CHROOT_BINDS": f"{folder}/work:mnt"}) as process:
        wait_for(child)
        with monkeypatch.context() as patched:
            patched.setattr("os.geteuid", lambda: 1000)
            patched.setattr("os.kill", lambda *_: (_ for _ in ()).throw(PermissionError()))
            patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
            orphans.end_processes_of(folder)
        assert process.wait(timeout=5) == -9
    state = Path(f"/proc/{child.read_text().strip()}/stat")
    # a killed process comes to its end when it next has a processor
    deadline = time.monotonic() + 10
    while state.exists() and " Z " not in state.read_text():
        assert time.monotonic() < deadline, "it was not ended"
        time.sleep(0.01)


def test_root_needs_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert ansible.needs_sudo() is False


@pytest.mark.parametrize(("script", "told"), [(None, "there is no sudo"), ("exit 1", "asks for a password")])
def test_who_cannot_become_root_is_told_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, told: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    if script:
        fake_sudo(tmp_path, script)
    with pytest.raises(MissingError, match=told):
        ansible.needs_sudo()


def test_sudo_without_a_question_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_sudo(tmp_path, '[ "$*" = "-k -n true" ]')  # a password given a minute ago does not count
    assert ansible.needs_sudo() is True


def fake_sudo(folder: Path, script: str) -> None:
    path = folder / "sudo"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
