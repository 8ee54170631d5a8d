"""Errors that a user can act on, and the exit codes of every task.

Exit codes: 0 success; 1 a defect of the testbed (a traceback is shown); 2 wrong usage; 3 something
this machine lacks; 4 an invalid file (inventory, experiment); 5 a build failed; 6 a lab, host,
guest or workload failed; 7 cells failed or were invalid, or their outputs differ; 8 stored results
are damaged or incomplete; 130 interrupted; 141 nobody reads the output any more (`| head`).
"""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """An error whose cause lies outside the code. Shown without a traceback.

    what: what went wrong, in one clause. where: file and key, host, or command. why: the cause as
    far as known. remedy: what to do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("where", self.where), ("why", self.why), ("do", self.remedy)):
            if text:
                first, *rest = text.splitlines()
                lines.append(f"  {label + ':':<7}{first}")
                lines.extend(f"  {'':<7}{line}" for line in rest)
        return "\n".join(lines)


class UsageError(UserError):
    """A task was called with options that it does not understand."""

    exit_code = 2


class MissingError(UserError):
    """A program, package, permission, port or disk space that this machine lacks."""

    exit_code = 3


class InvalidFileError(UserError):
    """An inventory, experiment or other input file that cannot be used."""

    exit_code = 4


class BuildError(UserError):
    """An artifact could not be fetched or built."""

    exit_code = 5


class LabError(UserError):
    """A host or guest did not do what was asked of it."""

    exit_code = 6


class WorkloadError(LabError):
    """A workload could not be prepared, failed, or left outputs that cannot be read."""


class OutputsError(WorkloadError):
    """Raw outputs of a workload that are missing, cut short, or of a form that its reader does not
    know.
    """


class CampaignError(UserError):
    """Cells failed or were invalid, or outputs differ between guests or policies; what was complete
    is kept.
    """

    exit_code = 7


class ResultsError(UserError):
    """Stored results are damaged, incomplete or of an unknown schema."""

    exit_code = 8
