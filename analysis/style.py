"""How figures look, and how they are saved with the same bytes each time. The one module that knows seaborn.

seaborn supplies the colours and the axes style; its own error bars (an unseeded bootstrap) and its jitter (unseeded)
are never used: intervals come from `statistics`, points are spread by position. Its deprecation warnings with current
pandas and matplotlib are contained here. No global state of matplotlib is touched, and a user's matplotlibrc has no say.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from analysis.tables import replace

COLUMN_WIDTH = 3.4
"""Width of one column of a two-column paper [inch]; text stays readable at it."""
TEXT_WIDTH = 7.0
"""Width of both columns [inch]."""

DPI = 200
FORMATS = ("png", "pdf", "svg")

INK, MUTED, FAINT = "#222222", "#666666", "#d9d9d9"
EPHEMERAL_COLOUR, PERSISTENT_COLOUR = "#56b4e9", "#cc78bc"

_FIXED = {"static": 7, "selfballoon": 1, "selfballoon+tmem": 0}
"""Places in seaborn's colour-blind palette: grey for what is left alone, orange, blue."""
_OTHERS = (2, 3, 5, 8, 6)

_METADATA: Mapping[str, Mapping[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}

_RC: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has this very file
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.bottom": True,
    "ytick.left": True,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "text.color": INK,
    "svg.hashsalt": "xen-overcommit",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "axes.formatter.use_locale": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults, seaborn's white style and ours on top, for the time of drawing and saving."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        import seaborn as sns

        style = dict(sns.axes_style("white"))
        with mpl.rc_context():
            mpl.rcdefaults()
            settings: Any = mpl.rcParams
            settings.update(style | dict(_RC))
            yield


def policy_colours(policies: Sequence[str]) -> dict[str, str]:
    """A colour per policy: the same for the same policies in every figure, distinct for the colour-blind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import seaborn as sns

        palette: list[str] = list(sns.color_palette("colorblind").as_hex())
    others = [name for name in policies if name not in _FIXED]
    places = _FIXED | {name: _OTHERS[index % len(_OTHERS)] for index, name in enumerate(others)}
    return {name: palette[places[name]] for name in policies}


def tint(colour: str, strength: float = 0.55) -> str:
    """A colour mixed with white, opaque: what transparency would look like without the grid shining through."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches, laid out by constraints, bound to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def clean(axes: Axes, *, grid: Literal["x", "y"] | None = None) -> None:
    """Leave only the axes that carry a scale, and a faint grid along it."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if grid:
        axes.set_axisbelow(True)
        axes.grid(visible=True, axis=grid, color=FAINT, linewidth=0.5)


def empty(axes: Axes, text: str) -> None:
    """Say why a panel has nothing to show, instead of showing a zero."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.set_axis_off()


def key(figure: Figure, entries: Sequence[tuple[str, str, Literal["line", "area"]]]) -> None:
    """A row of colours and their names under the title, which must end in an empty line to leave the room."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=colour, label=name) if kind == "line" else Patch(color=colour, linewidth=0, label=name)
        for colour, name, kind in entries
    ]
    top = 1 - 0.17 / figure.get_figheight()
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, top),
        ncols=len(handles),
        handlelength=1.4,
        borderpad=0.3,
    )
    legend.set_in_layout(False)


def percent(fraction: float) -> str:
    """A fraction as whole per cent, but never 100 % of what is not all nor 0 % of what is not nothing."""
    whole = f"{100 * fraction:.0f}"
    if (whole == "100" and fraction != 1) or (whole == "0" and fraction != 0):
        whole = f"{100 * fraction:.3g}"
    return f"{whole} %"


def footnote(figure: Figure, lines: Sequence[str]) -> None:
    """Small print below the panels: kind of host first, then what points, bars and lines are."""
    characters = int(figure.get_figwidth() * 19)
    text = "\n".join(textwrap.fill(line, characters, break_on_hyphens=False) for line in lines)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=6, color=MUTED)


def stamp(figure: Figure, text: str) -> None:
    """Large letters across everything: nobody can take the figure for another one, nor cut them off."""
    stamped = figure.text(
        0.5, 0.5, text, ha="center", va="center", rotation=20, fontsize=36, fontweight="bold", color="red", alpha=0.35
    )
    stamped.set_in_layout(False)


def save(figure: Figure, stem: Path) -> list[Path]:
    """The figure as PNG, PDF and SVG beside each other; the paths."""
    paths = []
    for kind in FORMATS:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dict(_METADATA[kind]))
        path = stem.with_name(f"{stem.name}.{kind}")
        replace(path, buffer.getvalue())
        paths.append(path)
    return paths
