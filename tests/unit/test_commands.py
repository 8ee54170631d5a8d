"""The one table of what a command on a machine can raise (common/machines.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from plumbum import CommandNotFound, ProcessExecutionError, ProcessTimedOut, local
from plumbum.machines.session import SSHCommsError
from ssh_fakes import fake_ssh

from common import machines
from lab.remote.ssh import Programs

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


def test_the_programs_beyond_ssh_are_run_without_asking_the_machine_anything(tmp_path: Path) -> None:
    with local.env(PATH=f"{fake_ssh(tmp_path)}:{local.env['PATH']}"):
        machine = Programs("guest1", tmp_path / "config")
        said = machine["printf"]["[%s]", "a  b", "$HOME", "it's", "*"]()
        assert said == "[a  b][$HOME][it's][*]"
        assert (machine["cat"] << "from here")() == "from here"
        status, out, complaint = machine["sh"]["-c", "echo told; echo why >&2; exit 3"].run(retcode=None)
        assert (status, out, complaint) == (3, "told\n", "why\n")
        with pytest.raises(ProcessExecutionError) as caught:
            machine["no-such-program"]()
    assert caught.value.retcode == 127
    assert (machine.host, str(machine)) == ("guest1", "ssh://guest1")
    ran = (tmp_path / "sessions").read_text().splitlines()
    assert len(ran) == 4
    assert all(line.startswith(f"-F {tmp_path}/config guest1 ") for line in ran)


def test_plumbums_machines_have_what_a_machine_has() -> None:
    command = local["true"]
    for name in ("__getitem__", "__lshift__", "__call__", "run", "popen"):
        assert hasattr(command["x"], name)
