"""Figures as the bytes of their files, the same each time; of large campaigns in a second process,
while the first writes tables and the report.

Imports matplotlib and nothing else that is slow: the second process begins with this module.
"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

Files = Mapping[str, bytes]
"""Format -> the bytes of a figure in it."""

_METADATA: Mapping[str, Mapping[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


_NOT_ITS_OWN = {"backend", "image.cmap"}
"""Settings that a figure does not need, and that a process has its own way with: windows, and a map
of colours that only seaborn knows.
"""


def rendered(figure: Figure, formats: Sequence[str], settings: Mapping[str, Any]) -> Files:
    """A figure in these formats, under these of matplotlib's settings (`rcParams`)."""
    found = {}
    with mpl.rc_context():
        current: Any = mpl.rcParams
        current.update(settings)
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # where everything stands is known now, and the same in every format
        for kind in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=settings["savefig.dpi"], metadata=dict(_METADATA[kind]))
            found[kind] = buffer.getvalue()
    return found


class Beside:
    """A second process that renders one figure after the other, asked and answering in pickles. It
    is started by this module's name: multiprocessing would run the caller's script in it once more.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
            start_new_session=True,  # Ctrl-C on the terminal is for this process, which ends that one
        )
        self._asks = ThreadPoolExecutor(1)

    def submit(self, figure: Figure, formats: Sequence[str], settings: Mapping[str, Any]) -> Future[Files]:
        """Begin with a figure when all before it are done."""
        return self._asks.submit(self._ask, (figure, formats, settings))

    def _ask(self, question: object) -> Files:
        if self.process.stdin is None or self.process.stdout is None:
            raise EOFError
        pickle.dump(question, self.process.stdin)
        self.process.stdin.flush()
        answer: Files = pickle.load(self.process.stdout)
        return answer

    def close(self) -> None:
        """End it."""
        self._asks.shutdown(cancel_futures=True)
        self.process.kill()
        self.process.communicate()


def main() -> None:
    """Answer until nothing is asked any more."""
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(rendered(*question), sys.stdout.buffer)
        sys.stdout.buffer.flush()


@dataclass(frozen=True)
class Renderer:
    """Where figures are rendered: here and at once, or in a process beside, to be written at the
    end.
    """

    beside: Beside | None = None
    waiting: list[tuple[Future[Files], Callable[[], Files], Callable[[Files], None]]] = field(default_factory=list)

    def render(self, figure: Figure, formats: Sequence[str], write: Callable[[Files], None]) -> None:
        """Render a figure that nobody changes any more, under the settings of now, and write it."""
        now: Any = mpl.rcParams
        settings: dict[str, Any] = {name: now[name] for name in now if name not in _NOT_ITS_OWN}
        if self.beside is None:
            write(rendered(figure, formats, settings))
            return
        begun = self.beside.submit(figure, formats, settings)
        self.waiting.append((begun, lambda: rendered(figure, formats, settings), write))

    def finish(self) -> None:
        """Write what was rendered beside; what was not, because that process was killed, is
        rendered here.
        """
        for begun, again, write in self.waiting:
            try:
                files = begun.result()
            except (OSError, EOFError, pickle.UnpicklingError):
                files = again()
            write(files)


@contextmanager
def renderer(*, beside: bool) -> Iterator[Renderer]:
    """A renderer that has written everything at the end."""
    if not beside:
        yield Renderer()
        return
    process = Beside()
    try:
        made = Renderer(process)
        yield made
        made.finish()
    finally:
        process.close()


if __name__ == "__main__":
    main()
