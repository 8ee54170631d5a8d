"""Nothing, for a while: the guest that others take memory from, and the control of every policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.errors import OutputsError
from common.machines import Machine
from common.metrics import MetricSpec
from workloads import complaints, machines, scripts
from workloads.base import Duration, Workload, WorkloadParameters, WorkloadResult, parameter


class IdleParameters(WorkloadParameters):
    """How long."""

    length: Annotated[Duration, Field(gt=0)] = parameter(10.0, "how long nothing is done", unit="duration")
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)


class Idle(Workload[IdleParameters]):
    """Do nothing: what a guest costs, and gives away, that has no work."""

    name = "idle"
    Parameters = IdleParameters
    metrics = (
        MetricSpec("wall_seconds", "s", "neither", "wall clock of the sleep"),
        MetricSpec("late_seconds", "s", "lower", "how much later than asked for it woke up, to a hundredth"),
    )

    def prepare(self, machine: Machine, params: IdleParameters) -> dict[str, str]:
        """Memory alone. No facts of its own."""
        script = scripts.prepare("", reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what="prepare idle", timeout_s=600))

    def script(self, params: IdleParameters) -> str:
        """A sleep."""
        said = 'echo "$1" && exec sleep "$1"'
        return scripts.timed(scripts.command("idle", ["sh", "-c", said, "idle", f"{params.length:.3f}"]))

    def collect(self, machine: Machine, params: IdleParameters, raw_dir: Path) -> WorkloadResult:
        """Its time."""
        machines.fetch_raw(machine, raw_dir)
        return self.read(params, raw_dir)

    def read(self, params: IdleParameters, raw_dir: Path) -> WorkloadResult:
        """Its time, and what of it was not asked for."""
        timing = scripts.read_timing(raw_dir, "idle", "idle")
        complaints.require_none(raw_dir / "idle.err", "idle")
        asked = machines.raw_text(raw_dir, "idle.out").strip()
        if asked != f"{params.length:.3f}":
            raise OutputsError(
                "the sleep was of another length than is taken for it",
                where=str(raw_dir / "idle.out"),
                why=f"{asked or 'nothing'} instead of {params.length:.3f} s",
            )
        late = round(timing.wall_seconds - params.length, 2)
        return WorkloadResult(self.measured({"wall_seconds": timing.wall_seconds, "late_seconds": late}), {})

    def told(self, raw_dir: Path) -> dict[str, object]:
        """How long it was to be."""
        match = scripts.told(raw_dir, "idle.out", r"\A(\d{1,9}\.\d{3})$")
        return {"length": f"{match[1]} s"} if match else {}

    def expected_seconds(self, params: IdleParameters, slowdown: float) -> float:  # noqa: ARG002  (sleep is as long anywhere)
        """As long as was asked for."""
        return params.length
