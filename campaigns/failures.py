"""Why cells fail, as classes with a retry policy and its reason. Data: nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FailureClass:
    """kind: the name in cell.json. retries: further attempts within the same run, where the
    experiment does not say (`retries`). reason: why so many.

    A later run attempts every cell again that has no complete or invalid record, whatever its
    class. Cells whose gates failed are not attempted again unless asked for by name: repeating
    until the gates pass would choose the results.
    """

    kind: str
    means: str
    retries: int
    reason: str


CLASSES = {
    failure.kind: failure
    for failure in (
        FailureClass(
            "lab",
            "the host could not be brought to its known state, or a policy or a counter could not be set or read",
            retries=1,
            reason=(
                "the next attempt starts from the known state again, which "
                "mends what a previous cell or a passing disturbance left"
            ),
        ),
        FailureClass(
            "guest_lost",
            "a guest died or could not be reached while the workload ran",
            retries=1,
            reason=(
                "a lost connection is passing; a guest that dies twice under "
                "the same policy is a finding, and both attempts are kept"
            ),
        ),
        FailureClass(
            "barrier",
            "a guest did not get ready for the barrier in time",
            retries=1,
            reason="a machine busy with something else makes guests late; the known state does not",
        ),
        FailureClass(
            "timeout",
            "the workload did not end in the time it was given",
            retries=0,
            reason="the same load takes as long again; raise timeouts.run or lower the load",
        ),
        FailureClass(
            "stuck",
            "the guests' processor time, disks and output stood still",
            retries=1,
            reason="what hangs once may be the emulator's or a back end's slip; a load that hangs twice is a finding",
        ),
        FailureClass(
            "workload",
            "the workload reported an error of its own",
            retries=0,
            reason="the same load fails in the same way; its output says why",
        ),
    )
}
