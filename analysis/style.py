"""How figures look, and how they are saved with the same bytes each time. The one module that knows
seaborn.

seaborn supplies the colours and the axes style; its own error bars (an unseeded bootstrap) and its
jitter (unseeded) are never used: intervals come from `statistics`, points are spread by position.
Its deprecation warnings with current pandas and matplotlib are contained here. No global state of
matplotlib is touched, and a user's matplotlibrc has no say.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from analysis.tables import replace


@dataclass(frozen=True)
class Layout:
    """Where a figure is to stand in a paper. width [inch]: its own, so that text is printed at the
    size it has here.

    suffix: of the file names. columns: of panels.
    """

    name: str
    suffix: str
    width: float
    columns: int


TWO_COLUMNS = Layout("two-column", "", 7.0, 2)
ONE_COLUMN = Layout("one-column", ".column", 3.3, 1)
LAYOUTS = (TWO_COLUMNS, ONE_COLUMN)

SMALL, NORMAL, LARGE = 7.0, 7.5, 8.0
"""Sizes of text [pt]. Nothing else is used: below 7 pt print is not read, above 9 pt it shouts."""

_BELOW = 27.0
"""From a panel to a key below it, past ticks and the axis' name [pt]."""

_DIGITS = 6
"""Of a panel's place in its figure, as a part of it: a thousandth of a point."""

DPI = 200
FORMATS = ("png", "pdf", "svg")

INK, MUTED, FAINT = "#222222", "#666666", "#d9d9d9"

_LINES: Sequence[Any] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (3, 1, 1, 1, 1, 1)))
_HATCHES = ("", "////", "\\\\\\\\", "xxxx", "----")
_MARKERS = ("o", "s", "D", "^", "v")

_FIXED = {"static": 7, "fixed": 7, "selfballoon": 1, "selfballoon+tmem": 0}
"""Places in seaborn's colour-blind palette: grey for what is left alone, orange, blue."""
_OTHERS = (2, 3, 5, 8, 6)

FEW = 8
"""Policies up to this many have their looks by their places; more have them by family, which is
what stands before the first `+`.
"""
_FAMILY_MARKERS: Sequence[Any] = (
    *("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "d"),
    *((4, 1, 0), (3, 1, 0), "h", (6, 1, 0)),
)
_FAMILY_COLOURS = (
    *((2, 0.0), (3, 0.0), (4, 0.0), (5, 0.0), (8, 0.2), (6, 0.0), (9, 0.0)),
    *((2, 0.5), (3, 0.5), (4, 0.5), (5, 0.5), (8, 0.6), (6, 0.5), (9, 0.5)),
)
"""Places in the palette, and how much black is mixed in."""
_NOT_STATIC = 0.5
"""Black in the grey of `fixed` where `static` has it, too."""
_MEMBER = 0.3
"""Black in the colour of each further member of a family."""

_METADATA: Mapping[str, Mapping[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}

_RC: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has this very file
    "font.size": NORMAL,
    "axes.titlesize": LARGE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": NORMAL,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
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
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "text.color": INK,
    "svg.hashsalt": "xen-overcommit",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "axes.formatter.use_locale": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults, seaborn's white style and ours on top, for the time of drawing and
    saving.
    """
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
    """A colour per policy: the same for the same policies in every figure, distinct for the
    colour-blind. Of more than FEW, of a hue for each family, and darker for its further members.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import seaborn as sns

        palette: list[str] = list(sns.color_palette("colorblind").as_hex())
    if len(policies) > FEW:
        return _family_colours(policies, palette)
    others = [name for name in policies if name not in _FIXED]
    places = _FIXED | {name: _OTHERS[index % len(_OTHERS)] for index, name in enumerate(others)}
    return {name: palette[places[name]] for name in policies}


def _family_colours(policies: Sequence[str], palette: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    others = [family for family in _families(policies) if family not in _FIXED]
    for family, members in _families(policies).items():
        if family in _FIXED:
            place, black = _FIXED[family], _NOT_STATIC if family == "fixed" and "static" in policies else 0.0
        else:
            place, black = _FAMILY_COLOURS[others.index(family) % len(_FAMILY_COLOURS)]
        for number, name in enumerate(members):
            own = name in _FIXED and name != family
            colour = palette[_FIXED[name]] if own else shade(palette[place], black)
            found[name] = colour if own else shade(colour, min(0.9, _MEMBER * number))
    return {name: found[name] for name in policies}


def _families(policies: Sequence[str]) -> dict[str, list[str]]:
    """Policies with the same beginning of their names, in order."""
    found: dict[str, list[str]] = {}
    for name in policies:
        found.setdefault(name.split("+")[0], []).append(name)
    return found


def shade(colour: str, black: float) -> str:
    """A colour with so much black mixed in."""
    red, green, blue = ((1 - black) * part for part in to_rgb(colour))
    return to_hex((red, green, blue))


@dataclass(frozen=True)
class Look:
    """How a policy is drawn, so that it is told from the others without colours, too."""

    colour: str
    line: Any
    hatch: str
    marker: Any


EPHEMERAL = Look("#56b4e9", "-", "", "")
PERSISTENT = Look("#8f3a84", (0, (3, 1.2)), "xxxx", "")
"""Kinds of pages in tmem: a light area and a dark, hatched one."""


def looks(policies: Sequence[str]) -> dict[str, Look]:
    """A look per policy, by its place among the policies of the experiment; of more than FEW with
    a marker for each family, and a line for each of its members.
    """
    colours = policy_colours(policies)
    if len(policies) > FEW:
        return {
            name: Look(
                colours[name],
                _LINES[(number + family // len(_FAMILY_MARKERS)) % len(_LINES)],
                _HATCHES[number % len(_HATCHES)],
                _FAMILY_MARKERS[family % len(_FAMILY_MARKERS)],
            )
            for family, members in enumerate(_families(policies).values())
            for number, name in enumerate(members)
        }
    return {
        name: Look(
            colours[name],
            _LINES[index % len(_LINES)],
            _HATCHES[index % len(_HATCHES)],
            _MARKERS[index % len(_MARKERS)],
        )
        for index, name in enumerate(policies)
    }


def tint(colour: str, strength: float = 0.55) -> str:
    """A colour mixed with white, opaque: what transparency would look like without the grid
    shining through.
    """
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
    axes.text(0.5, 0.5, textwrap.fill(text, 30), transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.set_axis_off()


def say(axes: Axes, text: str) -> None:
    """Say in the middle of a panel that keeps its axes why nothing is drawn."""
    axes.text(0.5, 0.5, textwrap.fill(text, 14), transform=axes.transAxes, ha="center", va="center", color=MUTED)


def key(figure: Figure, handles: Sequence[Any], *, columns: int) -> None:
    """A key above the panels, in so many columns."""
    figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, handlelength=2.2, columnspacing=1.2)


def key_below(axes: Axes, handles: Sequence[Artist]) -> None:
    """A key in two columns below a panel, its ticks and its axis' name."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    axes.legend(
        handles=list(handles),
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -_BELOW / 72, figure.dpi_scale_trans),
        borderaxespad=0,
        ncols=2,
        handlelength=2.2,
        handletextpad=0.6,
        columnspacing=1.0,
    )


NAME = 18
"""Characters of a policy's name that stand beside a row; longer ones take several lines."""


def wrapped(name: str, most: int = NAME) -> str:
    """A policy's name, broken before a `+` wherever its lines would be longer than that."""
    first, *parts = name.split("+")
    lines = [first]
    for part in parts:
        if len(lines[-1]) + len(part) < most:
            lines[-1] += f"+{part}"
        else:
            lines.append(f"+{part}")
    return "\n".join(lines)


def lines_of(names: Sequence[str]) -> int:
    """Of the tallest of some names."""
    return max((name.count("\n") + 1 for name in names), default=1)


def percent(fraction: float) -> str:
    """A fraction as whole per cent, but never 100 % of what is not all nor 0 % of what is not
    nothing.
    """
    whole = f"{100 * fraction:.0f}"
    if (whole == "100" and fraction != 1) or (whole == "0" and fraction != 0):
        whole = f"{100 * fraction:.3g}"
    return f"{whole} %"


def stamp(figure: Figure, text: str) -> None:
    """Large letters across everything: nobody can take the figure for another one, nor cut them
    off.
    """
    stamped = figure.text(
        0.5, 0.5, text, ha="center", va="center", rotation=20, fontsize=36, fontweight="bold", color="red", alpha=0.35
    )
    stamped.set_in_layout(False)


def settle(figure: Figure) -> None:
    """Lay a figure out for good: everything stands where it stands in every format, and each time.

    The solver of matplotlib's constraints takes them in the order of their addresses, so that its
    last digits differ from one run to the next; SVG's names of areas are made of all digits.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    for axes in figure.axes:
        left, bottom, width, height = (round(each, _DIGITS) for each in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))


def save(figure: Figure, stem: Path, caption: Sequence[str]) -> list[Path]:
    """The figure as PNG, PDF and SVG beside each other, and its caption as text, a paragraph a
    line; the paths.

    Nothing of the caption is in the picture: a paper has its own.
    """
    settle(figure)
    paths = []
    for kind in FORMATS:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dict(_METADATA[kind]))
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        replace(paths[-1], buffer.getvalue())
    paths.append(stem.with_name(f"{stem.name}.txt"))
    replace(paths[-1], "".join(f"{line}\n" for line in caption).encode())
    return paths
