"""What tasks print: messages with the time since the start, tables, and one live line with the time
left on a terminal.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.text import harmless, wrapped
from common.units import format_duration

TIMELINE = "OVERCOMMIT_TIMELINE"
"""Environment variable: a file to which every line is appended as JSON with its time, for
benchmarks/stages.py.
"""


Tell = Callable[[str], None]
"""Takes a line for people about what is going on now."""


class Reporter:
    """Prints one line per event, and on a terminal keeps the newest step and the time left on a
    line of its own below.
    """

    def __init__(self) -> None:
        from rich.console import Console

        class Output(Console):
            """Rich's console, which leaves a reader that has gone to common/program.py."""

            def on_broken_pipe(self) -> None:
                self.quiet = True
                raise BrokenPipeError(errno.EPIPE, "nobody reads the output any more")

        self._console = Output(stderr=False, highlight=False, soft_wrap=True)
        self._timeline = os.environ.get(TIMELINE)
        self._status: Any = None
        self._began = time.monotonic()

    def say(self, text: str, left: float | None = None) -> None:
        """A line that stays."""
        if self._timeline:
            with Path(self._timeline).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"seconds": time.monotonic() - self._began, "text": text}) + "\n")
        self._console.print(harmless(f"{self._clock()} {text}{_left(left)}"), markup=False)

    def step(self, text: str, left: float | None = None) -> None:
        """What is going on now: replaced by the next step on a terminal, not shown at all in a
        file.
        """
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(harmless(f"{text}{_left(left)}")))

    @contextmanager
    def live(self) -> Iterator[None]:
        """While it lasts, step() shows its text."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status("") as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def plain(self, text: str = "") -> None:
        """Text as it is, without a clock."""
        self._console.print(harmless(text), markup=False)

    def warning(self, text: str) -> None:
        """What is allowed, and probably not meant, in lines that fit a terminal."""
        for line in wrapped(f"warning: {text}"):
            self.plain(line)

    def show(self, frames: Iterable[Sequence[str]], every_s: float) -> None:
        """Frames of lines, each in the place of the one before, until there are no more; without a
        terminal, the first alone.
        """
        from rich.live import Live
        from rich.text import Text

        if not self._console.is_terminal:
            for line in next(iter(frames), ()):
                self.plain(line)
            return
        with Live(console=self._console, auto_refresh=False, screen=False) as live:
            for lines in frames:
                live.update(Text("\n".join(harmless(line) for line in lines)), refresh=True)
                time.sleep(every_s)

    def pause(self, seconds: float) -> None:
        """Time to read a warning and to interrupt: where a person looks at it."""
        if self._console.is_terminal:
            time.sleep(seconds)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
        """A table of texts; all columns but the first are set flush right. A long one has no frame:
        Rich would take seconds for it.
        """
        from rich.table import Table
        from rich.text import Text

        rows = [[harmless(cell) for cell in row] for row in rows]
        if len(rows) > MOST_FRAMED:
            self.plain(
                "\n".join([*([title] if title else []), *aligned([[harmless(each) for each in columns], *rows])])
            )
            return
        table = Table(title=Text(harmless(title)) if title else None, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(Text(harmless(column)), justify="left" if number == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def json(self, value: object) -> None:
        """Machine-readable output, and nothing else, on standard output."""
        sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"[{minutes:3d}:{seconds:02d}]"


MOST_UPRIGHT = 4
MOST_FRAMED = 500
"""Rows of a table that has a frame."""


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, their columns one below the other; all but the first are set flush right."""
    from rich.cells import cell_len, set_cell_size

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [set_cell_size(first, widths[0])]
            + [" " * (width - cell_len(cell)) + cell for cell, width in zip(rest, widths[1:], strict=True)]
        )
        for first, *rest in rows
    ]


def upright(
    columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """A table with rows and columns exchanged when it has few rows, so that long headings and many
    figures fit a narrow terminal.
    """
    if len(rows) > MOST_UPRIGHT:
        return tuple(columns), tuple(tuple(row) for row in rows)
    turned = list(zip(columns, *rows, strict=True))
    return turned[0], tuple(turned[1:])


def _left(seconds: float | None) -> str:
    return f" (about {format_duration(seconds)} left)" if seconds else ""
