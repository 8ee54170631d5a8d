"""One way to run a playbook: fresh state per run, progress as text, and an error that says where it
went wrong.

Traps that shape this module: ansible-runner keeps extra variables in a reused private folder, so
each run has its own; a timeout or a cancelled run has rc 254; a playbook that cannot be read has
`failed` and no statistics, with the reason on stdout only; the artifact file `command` holds the
whole environment, so it is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from common import files
from common.console import Tell
from common.errors import MissingError, UserError
from common.units import format_duration
from lab import paths
from lab.build import changes
from lab.build.changes import Change
from lab.build.orphans import end_processes_of, wait_for_packages

TAIL_LINES = 25
"""Lines of a failed command's output that an error shows."""

SSH_ARGUMENTS = "-F /dev/null -C -o ControlMaster=auto -o ControlPersist=60s"
"""Of Ansible's ssh: its defaults, and no ssh_config of the user's or the machine's, as for ours.
What an inventory says (ansible_ssh_common_args) comes beside it.
"""

FINISHES_PACKAGES = "finishes-packages"
"""File in a run's folder: whoever ends the run waits for packages that are being installed."""


class PlaybookError(UserError):
    """A playbook failed, did not end in time, or could not be read. Callers give it the exit code
    of what they were doing.
    """

    exit_code: ClassVar[int] = 6


def needs_sudo() -> bool:
    """Whether this user's playbooks need sudo to be root here. MissingError when they cannot be:
    they would stop at a question that nobody sees.
    """
    if os.geteuid() == 0:
        return False
    if shutil.which("sudo") is None:
        raise MissingError(
            "this user is not root, and there is no sudo",
            why="packages are installed, and images built, as root",
            remedy="Become root, or install sudo.",
        )
    # -k: a password that was given in this terminal does not hold for what Ansible starts.
    if subprocess.run(["sudo", "-k", "-n", "true"], capture_output=True, check=False).returncode:
        raise MissingError(
            "sudo asks for a password, or denies this user",
            why="packages are installed, and images built, as root, by playbooks that cannot answer",
            remedy="Run the command as root (sudo ./inv ...), or let this user use sudo without a password.",
        )
    return True


@dataclass(frozen=True)
class FailedTask:
    """The task that ended a run. task_path: file:line; command and output as far as the module told
    them.
    """

    host: str
    task: str
    task_path: str
    command: str
    output: str
    unreachable: bool


@dataclass(frozen=True)
class RunResult:
    """A run that succeeded. changed and ok: number of tasks over all hosts. duration in seconds.
    changes: what was changed, or with `check` would be.
    """

    playbook: str
    ok: int
    changed: int
    duration: float
    changes: tuple[Change, ...] = ()


def run(
    playbook: str | Path,
    *,
    inventory: str | Path | None = None,
    extravars: Mapping[str, object] | None = None,
    tags: Sequence[str] = (),
    limit: str | None = None,
    progress: Tell | None = None,
    timeout: float | None = None,
    cancel: threading.Event | None = None,
    finish_packages: bool = False,
    check: bool = False,
    error: type[UserError] = PlaybookError,
    unreachable: type[UserError] | None = None,
) -> RunResult:
    """Run a playbook, named by its path or by its file name below playbooks/.

    inventory: a path; without it, the controller itself (local connection). progress gets one line
    per task. timeout in seconds.
    cancel: setting it ends the run. KeyboardInterrupt does too, and is raised again.
    finish_packages: an installation of packages on this machine that has begun is not ended but
    waited for, however the run ends. check: change nothing, and tell what would be (Ansible's
    --check --diff). Raises `error` (a UserError class) with the task's file:line, host, command and
    the tail of its output; unreachable: instead, when the connection with a host broke.
    """
    import ansible_runner

    book = Path(playbook) if Path(playbook).is_absolute() else paths.PLAYBOOKS / playbook
    ident = f"{time.strftime('%Y%m%dT%H%M%S')}-{book.stem}-{uuid.uuid4().hex[:8]}"
    remove_stale(progress)
    private = paths.tmp() / "ansible" / ident
    private.mkdir(parents=True, mode=0o700)
    if finish_packages:
        (private / FINISHES_PACKAGES).touch()
    lock = _take_lock(private)
    recorder = _Recorder(progress)
    stop = cancel or threading.Event()
    began = time.monotonic()
    kept = False
    try:
        outcome = ansible_runner.run(
            private_data_dir=str(private),
            project_dir=str(book.parent),
            playbook=str(book),
            # A relative path would be taken for the text of an inventory.
            inventory=str(Path(inventory if inventory is not None else _controller_inventory(private)).absolute()),
            extravars=dict(extravars or {}),
            tags=",".join(tags) or None,
            cmdline="--check --diff -v" if check else None,
            limit=limit,
            ident=ident,
            quiet=True,
            suppress_env_files=True,
            envvars=_environment(private),
            event_handler=recorder.handle,
            cancel_callback=stop.is_set,
            timeout=int(timeout) if timeout is not None else None,
        )
        duration = time.monotonic() - began
        if outcome.status != "successful":
            kept = True
            lost = recorder.failure is not None and recorder.failure.unreachable
            raise _explain(
                unreachable or error if lost else error,
                book,
                outcome,
                recorder.failure,
                _keep_log(private, ident),
                cancelled=stop.is_set(),
                timeout=timeout,
            )
        return RunResult(book.name, recorder.ok, recorder.changed, duration, tuple(recorder.changes))
    finally:
        _end(private, finish_packages, progress)
        lock.close()
        if not kept:
            shutil.rmtree(private, ignore_errors=True)


def _take_lock(private: Path) -> IO[str]:
    """Locked before it has its name: by that it is found, and whoever finds it free removes the
    folder.
    """
    new = private / "lock.new"
    lock = files.lock(new)
    new.rename(private / "lock")
    return lock


def _end(private: Path, finish_packages: bool, progress: Tell | None) -> None:
    """End what the run left working. Who waits for longer than a moment is told why."""
    if finish_packages:
        told = threading.Timer(
            1.0, progress or (lambda _text: None), ["finishing the installation of packages that has begun"]
        )
        told.start()
        try:
            wait_for_packages(private)
        finally:
            told.cancel()
    end_processes_of(private)


def remove_stale(progress: Tell | None = None) -> None:
    """End and remove runs whose owner was killed. A folder too young to have its lock yet is left
    alone.
    """
    for lock_path in (paths.tmp() / "ansible").glob("*/lock"):
        with contextlib.suppress(OSError), files.lock(lock_path, wait=False):
            _end(lock_path.parent, (lock_path.parent / FINISHES_PACKAGES).exists(), progress)
            shutil.rmtree(lock_path.parent, ignore_errors=True)


class _Recorder:
    """Counts tasks, tells their names, and remembers the failure that ended the run."""

    def __init__(self, progress: Tell | None) -> None:
        self._progress = progress
        self.failure: FailedTask | None = None
        self.ok = 0
        self.changed = 0
        self.changes: list[Change] = []

    def handle(self, event: Mapping[str, Any]) -> bool:
        kind = event.get("event")
        data: Mapping[str, Any] = event.get("event_data") or {}
        if (change := changes.of_event(event)) is not None:
            self.changes.append(change)
        if kind == "playbook_on_task_start" and self._progress is not None:
            self._progress(str(data.get("name") or data.get("task") or ""))
        elif kind == "runner_on_ok":
            self.ok += 1
            self.changed += bool((data.get("res") or {}).get("changed"))
        elif kind in {"runner_on_failed", "runner_item_on_failed", "runner_on_unreachable"}:
            self._failed(data, unreachable=kind == "runner_on_unreachable", summary=kind == "runner_on_failed")
        return True

    def _failed(self, data: Mapping[str, Any], *, unreachable: bool, summary: bool) -> None:
        if data.get("ignore_errors"):
            return
        result: Mapping[str, Any] = data.get("res") or {}
        path = str(data.get("task_path") or "")
        # A loop ends with a summary that says no more than "one item failed": the item itself was
        # kept before.
        if summary and "results" in result and self.failure is not None and self.failure.task_path == path:
            return
        command = result.get("cmd") or ""
        if isinstance(command, list):
            command = " ".join(str(word) for word in command)
        self.failure = FailedTask(
            host=str(data.get("host") or ""),
            task=str(data.get("task") or ""),
            task_path=path,
            command=str(command),
            output=_output(result),
            unreachable=unreachable,
        )


def _output(result: Mapping[str, Any]) -> str:
    """The tail of what a failed task said: stderr, else stdout, else its message; the message first
    when it adds something.
    """
    parts: list[str] = []
    message = str(result.get("msg") or "").strip()
    if message and message != "non-zero return code":
        parts.append(message)
    for key in ("stderr", "module_stderr", "stdout", "module_stdout"):
        text = str(result.get(key) or "").strip()
        if text and text not in message:
            parts.append("\n".join(text.splitlines()[-TAIL_LINES:]))
            break
    return "\n".join(parts)


def _explain(
    error: type[UserError],
    book: Path,
    outcome: Any,  # noqa: ANN401  ansible-runner has no types
    failure: FailedTask | None,
    log: Path,
    *,
    cancelled: bool,
    timeout: float | None,
) -> UserError:
    if outcome.status in {"timeout", "canceled"}:
        if cancelled or timeout is None:
            return error(f"playbook {book.name} was cancelled", where=str(book))
        return error(
            f"playbook {book.name} did not end within {format_duration(timeout)}",
            where=failure.task_path if failure else str(book),
            remedy=f"Its log is {log}.",
        )
    if failure is None:
        return error(
            f"playbook {book.name} could not be run",
            where=str(book),
            why="\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:]),
            remedy=f"Its log is {log}.",
        )
    what = "could not reach" if failure.unreachable else f"task {failure.task!r} failed on"
    where = [_relative(failure.task_path), f"host {failure.host}"]
    if failure.command:
        where.append(f"command {failure.command}")
    return error(
        f"playbook {book.name}: {what} {failure.host}",
        where="\n".join(where),
        why=failure.output,
        remedy=f"The whole log is {log}.",
    )


def _relative(task_path: str) -> str:
    prefix = f"{paths.REPO}/"
    return task_path.removeprefix(prefix)


def _controller_inventory(private: Path) -> Path:
    """The controller alone, with the interpreter that runs us: connection plugins and modules need
    no other Python.
    """
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path = private / "controller.yml"
    path.write_text(json.dumps({"all": {"hosts": {"controller": variables}}}))
    return path


def _environment(private: Path) -> dict[str, str]:
    """Settings of every run; there is no ansible.cfg, so that a user's own one does not matter
    either.
    """
    settings = private / "ansible.cfg"
    settings.write_text("")
    bin_dir = str(Path(sys.executable).parent)
    return {
        "PATH": f"{bin_dir}:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin",
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_SSH_ARGS": SSH_ARGUMENTS,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_LOCAL_TEMP": str(private / "local"),
        "LC_ALL": "C.UTF-8",
    }


def _keep_log(private: Path, ident: str) -> Path:
    """Move a failed run's text log to the cache; everything else, the environment above all,
    goes.
    """
    kept = paths.logs() / f"{ident}.log"
    source = private / "artifacts" / ident / "stdout"
    if source.exists():
        shutil.move(source, kept)
    else:
        kept.write_text("(the run ended before it printed anything)\n")
    shutil.rmtree(private, ignore_errors=True)
    for old in sorted(paths.logs().glob("*.log"))[: -paths.KEPT_LOGS]:
        old.unlink(missing_ok=True)
    return kept
