"""Tables, figures and report of a campaign against what its cells make now: whoever edited one of
them is found out.

Only what is there is compared; all of it may be deleted and made again (`./inv figures`, `report`,
`results.latex`). report.pdf is not: how its lines fall is the making machine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis import figures, latex, load, page, report, tables
from common.errors import UserError

PLACES = (tables.TABLES_DIR, figures.FIGURES_DIR, report.REPORT_FILE, page.PAGE_FILE, latex.LATEX_DIR)

_TASKS = {page.PAGE_FILE: "report", latex.LATEX_DIR: "results.latex"}
"""What makes a place anew, where it is not ./inv figures."""


def differences(directory: Path) -> Iterator[tuple[str, str]]:
    """(path relative to the campaign's directory, what is wrong with it), in the order of the
    paths.
    """
    present = sorted(path for place in PLACES for path in _files(directory / place))
    if not present:
        return
    with TemporaryDirectory(prefix="overcommit-") as scratch:
        into = Path(scratch)
        try:
            results = load.load(directory)
            summary = report.summarised(results, into)
            if directory / page.PAGE_FILE in present:
                page.write(results, summary, into)
            if (directory / latex.LATEX_DIR).is_dir():
                latex.write(results, summary, into)
        except UserError as error:
            yield "", f"tables, figures and report cannot be made again: {error.what}"
            return
        for path in present:
            name = path.relative_to(directory)
            made = into / name
            if not made.is_file():
                yield name.as_posix(), "was added: nothing in the cells makes it"
            elif made.read_bytes() != _content(path):
                task = _TASKS.get(name.parts[0], "figures")
                yield name.as_posix(), f"is not what the cells make; ./inv {task} makes it anew"


def _content(path: Path) -> bytes | None:
    """None for what cannot be read, such as a link that leads nowhere."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        yield from (path for path in place.rglob("*") if not path.is_dir())
