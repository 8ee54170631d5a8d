"""Logs in files, of this testbed or of any other machine, read as a cell's logs are: which lines
say that something broke.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from campaigns import kernel_log
from campaigns.kernel_log import Breakage
from common.errors import InvalidFileError
from lab.hosts import kernel_logs

STDIN = "-"

_HOLE = re.compile(rb"\0{16,}")
"""What a machine that crashed leaves where it was writing a log: the blocks, and not what was in
them. Fewer bytes of 0 are those of binary files and of UTF-16.
"""

_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Checked:
    """One log. lines: how many were looked at; lost: whether messages may be missing before them;
    findings: with their line numbers in the file.
    """

    file: str
    lines: int
    lost: bool
    findings: tuple[Breakage, ...]

    @property
    def valid(self) -> bool:
        """Whether a cell with this log would count."""
        return not self.findings

    def text(self) -> Iterator[str]:
        """For people: each finding with its line, then one line about the file."""
        for each in self.findings:
            yield f"{self.file}:{each.number}: {each.kind}: {shown(each.line)}\n    {each.reason}"
        found = (
            f"{len(self.findings)} of {self.lines} lines invalidate" if self.findings else f"valid, {self.lines} lines"
        )
        yield f"{self.file}: {found}"

    def json(self) -> list[dict[str, object]]:
        """Each finding as a record."""
        return [
            {"file": self.file, "line": each.number, "text": each.line, "kind": each.kind, "what": each.reason}
            for each in self.findings
        ]

    def summary(self) -> dict[str, object]:
        """The file as a record."""
        return {
            "file": self.file,
            "valid": self.valid,
            "lines": self.lines,
            "invalidating": len(self.findings),
            "lost": self.lost,
        }


def check(files: Sequence[str], before: str | None = None) -> list[Checked]:
    """Look at logs; with `before`, an earlier reading of the same log, only at what is new since.
    InvalidFileError for a file that cannot be read as text.
    """
    known = None if before is None else read(before)
    return [_check(file, read(file), known) for file in files]


def read(file: str) -> str:
    """A log as text, whatever its encoding, with one character 0 for each hole; `-` is standard
    input. InvalidFileError when it cannot be read, or is no text.
    """
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise InvalidFileError("the log cannot be read", where=file, why=error.strerror or str(error)) from None
    except ValueError as error:
        raise InvalidFileError("the log cannot be read", where=repr(file), why=str(error)) from None
    packed = next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)
    if packed:
        raise InvalidFileError("the log is compressed", where=file, why=f"by {packed}", remedy="Unpack it first.")
    if b"\0" in _HOLE.sub(b"", content):
        why = "it holds bytes of 0, as binary files and UTF-16 do"
        raise InvalidFileError("the log is no text", where=file, why=why)
    return _HOLE.sub(b"\0", content).decode("utf-8", errors="replace")


def shown(line: str) -> str:
    """A line that a terminal can be given: control characters are written out."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line)


def as_json(checked: Sequence[Checked]) -> dict[str, object]:
    """Everything for machines: `valid` of all, a summary of each file, and each finding."""
    return {
        "valid": all(each.valid for each in checked),
        "files": [each.summary() for each in checked],
        "findings": [record for each in checked for record in each.json()],
    }


def _check(file: str, text: str, before: str | None) -> Checked:
    text = text.replace("\r\n", "\n")
    skipped, lost = 0, False
    if before is not None:
        delta = kernel_logs.new_since(before, text)
        skipped, lost = text[: len(text) - len(delta.text)].count("\n"), delta.lost
        text = delta.text
    why = "nobody knows what the missing messages said"
    gap = [Breakage(file, kernel_logs.LOST, why, "lost", 0)] if lost else []
    gap += [
        Breakage(file, line.replace("\0", "<zeros>"), why, "lost", skipped + number)
        for number, line in enumerate(text.split("\n"), 1)
        if "\0" in line
    ]
    text = text.replace("\0", " ")
    found = [
        Breakage(**{**asdict(each), "number": each.number + skipped}) for each in kernel_log.findings({file: text})
    ]
    lines = text.count("\n") + (not text.endswith("\n") and bool(text))
    return Checked(file, lines, lost, (*gap, *found))
