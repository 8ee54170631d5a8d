"""The one table of what a command on a machine can raise (common/machines.py)."""

from __future__ import annotations

import pytest
from plumbum import CommandNotFound, ProcessExecutionError, ProcessTimedOut, SshMachine, local
from plumbum.machines.session import SSHCommsError

from common import machines

CASES: list[tuple[Exception, machines.Trouble | None]] = [
    (CommandNotFound("gcc", []), "no program"),
    (ProcessTimedOut("too long", ["make"]), "too late"),
    (ProcessExecutionError(["ssh"], 255, "", "closed"), "failed"),
    (SSHCommsError(["ssh"], 255, "", "refused"), "failed"),
    (EOFError("the session ended"), "broken"),
    (BrokenPipeError("the session ended"), "broken"),
    (TimeoutError("no answer"), "broken"),
    (OSError("the controller's own"), None),
    (ZeroDivisionError("a defect"), None),
]


@pytest.mark.parametrize(("error", "kind"), CASES, ids=lambda each: type(each).__name__)
def test_what_a_command_raises_is_told_apart(error: Exception, kind: machines.Trouble | None) -> None:
    assert machines.trouble(error) == kind
    assert isinstance(error, machines.command_errors()) == (kind is not None)


def test_a_caller_may_expect_more() -> None:
    assert isinstance(OSError("x"), machines.command_errors(OSError))


def test_an_error_is_explained_by_its_last_words() -> None:
    said = "\n".join(f"line {number}" for number in range(100))
    assert machines.explain(ProcessExecutionError(["x"], 1, "", said)).splitlines() == said.splitlines()[-20:]
    assert machines.explain(ProcessExecutionError(["x"], 1, "only printed\n", "")) == "only printed"
    assert machines.explain(EOFError("gone")) == "gone"


def test_plumbums_machines_have_what_a_machine_has() -> None:
    assert hasattr(SshMachine, "__getitem__")
    command = local["true"]
    for name in ("__getitem__", "__lshift__", "__call__", "run", "popen"):
        assert hasattr(command["x"], name)
