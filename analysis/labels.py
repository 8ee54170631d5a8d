"""Names beside points, so that none lies on another, on a point, or outside of its panel.

Every name is tried at places around its point, near ones first; the first that is free is taken, or
else the one that covers the least. No chance is in it: the same points give the same places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from analysis import style

Place = tuple[float, float]
"""In the units of the axes."""

_DISTANCES = (5.0, 9.0, 14.0, 20.0, 27.0, 35.0, 45.0, 57.0)
"""From a point to its name [pt]."""
_DIRECTIONS = 16
_POINT = 3.4
"""Half of a point's width, with its rim [pt]."""
_LED = 10.0
"""A name farther away than this is led to its point by a line [pt]."""
_MARGIN = 0.8
_DOT = 0.7
"""Half of a line's width, and of what is looked at of it at a time [pt]."""


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: _Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0

    def outside(self, other: _Box) -> float:
        """How much of it lies outside of another."""
        return (self.right - self.left) * (self.top - self.bottom) - self.overlap(other)


def place(
    axes: Axes, names: Mapping[str, Place], occupied: Sequence[Place], lines: Sequence[tuple[Place, Place]] = ()
) -> None:
    """Write names at their points. occupied, lines: all points of the panel, and what joins them.
    The figure has been laid out, and the axes' limits stay as they are.
    """
    figure = axes.figure
    assert isinstance(figure.canvas, FigureCanvasAgg)
    renderer = figure.canvas.get_renderer()  # type: ignore[no-untyped-call]
    pixels = figure.dpi / 72
    frame = _of(axes.get_window_extent(renderer))
    at = {name: _pixel(axes, where) for name, where in names.items()}
    points = [_around(x, y, _POINT * pixels, _POINT * pixels) for x, y in (_pixel(axes, each) for each in occupied)]
    for start, end in lines:
        points += _along(_pixel(axes, start), _pixel(axes, end), pixels)
    taken: list[_Box] = []
    for name in sorted(names, key=lambda each: (-at[each][1], at[each][0], each)):
        x, y = at[name]
        text = axes.text(0, 0, name, fontsize=style.SMALL, zorder=6)
        size = text.get_window_extent(renderer)
        text.remove()
        half = (size.width / 2 + _MARGIN * pixels, size.height / 2 + _MARGIN * pixels)
        best = min(
            _candidates(x, y, half, pixels),
            key=lambda each: (
                round(math.fsum(map(each[0].overlap, [*taken, *points])) + each[0].outside(frame), 3),
                each[1],
            ),
        )
        box, distance = best
        taken.append(box)
        # in points from the point, so that it is the same at every resolution
        away = ((box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y)
        written = axes.annotate(
            name,
            names[name],
            xytext=(away[0] / pixels, away[1] / pixels),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=style.SMALL,
            zorder=6,
            arrowprops={"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 3}
            if distance > _LED
            else None,
        )
        written.set_in_layout(False)


def _candidates(x: float, y: float, half: tuple[float, float], pixels: float) -> list[tuple[_Box, float]]:
    """Boxes around a point, and how far away each is [pt]: the right side first."""
    found = []
    for distance in _DISTANCES:
        for turn in range(_DIRECTIONS):
            step = (turn + 1) // 2 * (1 if turn % 2 else -1)
            angle = 2 * math.pi * step / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            reach = distance * pixels
            found.append(_shifted(x + across * (reach + half[0]), y + up * (reach + half[1]), half, distance))
    return found


def _shifted(x: float, y: float, half: tuple[float, float], distance: float) -> tuple[_Box, float]:
    return _around(x, y, *half), distance


def _around(x: float, y: float, across: float, up: float) -> _Box:
    return _Box(x - across, y - up, x + across, y + up)


def _along(start: Place, end: Place, pixels: float) -> list[_Box]:
    """Small boxes along a line: a name on it covers some of them."""
    count = max(1, round(math.dist(start, end) / (_DOT * 4 * pixels)))
    parts = [index / count for index in range(1, count)]
    places = [(start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])) for part in parts]
    return [_around(x, y, _DOT * pixels, _DOT * pixels) for x, y in places]


def _of(box: Bbox) -> _Box:
    return _Box(box.x0, box.y0, box.x1, box.y1)


def _pixel(axes: Axes, where: Place) -> Place:
    x, y = axes.transData.transform(where)
    return float(x), float(y)
