"""One workload on one machine, without a barrier, a policy or a campaign: for trying things out
and for the lab's tests.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.errors import WorkloadError
from common.machines import Machine, tail
from workloads import machines
from workloads.base import P, Workload, WorkloadResult


def run(
    machine: Machine, workload: Workload[P], params: P, raw_dir: Path, *, timeout_s: float = 3600
) -> WorkloadResult:
    """Prepare, run, collect. The raw outputs land in raw_dir, made if missing. WorkloadError for
    everything that goes wrong on the machine.

    timeout_s: seconds that the timed part may take.
    """
    raw_dir.mkdir(parents=True, exist_ok=True)
    facts = workload.prepare(machine, params)
    finished = machines.run_script(machine, workload.script(params), what=f"run {workload.name}", timeout_s=timeout_s)
    result = workload.collect(machine, params, raw_dir)
    if finished.status:
        # collect should have explained it; a status without an explanation is still a failure
        raise WorkloadError(
            f"{workload.name} ended with exit status {finished.status}",
            where=machines.name_of(machine),
            why=tail(finished.stderr),
        )
    return replace(result, facts=facts)
