"""The legend of a picture of data and a mixture: `key_of` says what it has and where it stands, `Key` draws it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.plot.pairs import GAP
from gmmcli.plot.panels import SUM
from gmmcli.plot.picture import Picture
from gmmcli.plot.style import (
    BARS,
    BETWEEN_COLUMNS,
    BETWEEN_LINES,
    HANDLE,
    INK,
    LEGEND_ENTRIES,
    QUIET,
    SMALL,
    colour,
    label,
    legend,
)
from gmmcli.plot.text import text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 54  # components, heaviest first, that are named
LONGEST = 18  # entries of a column beside the axes
SIGN = HANDLE + 0.8  # of the size of the letters: what an entry has before its name
DATA, DATA_WEIGHTED = "data", "data, weighted"
ELLIPSE = "1 and 2 std. deviations"
CONTOUR = "density: 10, 30, … 90 % inside"
ONE_DENSITY, SUM_DENSITY = "density of a component", "density of all"


@dataclass(frozen=True)
class Key:
    """Entries in columns of `longest`, within the axes or, where they have no room for it, beside them.

    width: how wide it is, in inches.
    """

    handles: Sequence[Any]
    title: str
    longest: int
    inside: bool
    width: float

    def draw(self, ax: Axes) -> None:
        """Puts it on the axes."""
        legend(ax, self.handles, title=self.title, inside=self.inside, longest=self.longest)


def many(shown: Picture) -> bool:
    """Whether components are too many for a legend that names each in a column."""
    return len(shown.marginal.weights) > LEGEND_ENTRIES


def key_of(
    shown: Picture,
    side: float,
    figure: Figure,
) -> Key:
    """The legend of a picture on a figure. side: inches, of the square that the panels of a grid fill.

    A grid has it above its diagonal, if need be without what is on the diagonal.
    """
    title = "component" if many(shown) else ""
    components = list(_components(shown))
    others = list(_others(shown))
    if shown.dims <= 2:
        handles = [*components, *others]
        return Key(handles, title, LONGEST, inside=False, width=_width(figure, handles, -(-len(handles) // LONGEST)))
    diagonal = list(_diagonal(shown))
    line = (text_size(figure, "lp", SMALL)[1] + BETWEEN_LINES * SMALL) / 72
    for handles in ([*components, *others, *diagonal], [*components, *others]):
        for columns in range(1, len(handles) + 1):
            longest, width = -(-len(handles) // columns), _width(figure, handles, columns)
            if _has_room(shown.dims, side, width, line * (longest + bool(title))):
                return Key(handles, title, longest, inside=True, width=width)
    handles = [*components, *others, *diagonal]
    longest = max(LEGEND_ENTRIES, int(side / line) - 1)
    width = _width(figure, handles, -(-len(handles) // longest))
    return Key(handles, title, longest, inside=False, width=width)


def _has_room(dims: int, side: float, width: float, height: float) -> bool:
    """Whether a legend in the upper right corner of a grid meets no panel."""
    step = side * (1 + GAP) / (dims + (dims - 1) * GAP)  # from one panel to the next
    rows = next((row for row in range(1, dims) if height <= row * step), dims)
    return width <= (dims - rows) * step - 0.05


def _width(figure: Figure, handles: Sequence[Any], columns: int) -> float:
    """Inches of entries in columns, of which the first are the longer ones."""
    names = [text_size(figure, handle.get_label(), SMALL)[0] for handle in handles]
    parts = [SIGN * SMALL + max(part, default=0.0) for part in np.array_split(names, columns)]
    return float(sum(parts) + BETWEEN_COLUMNS * SMALL * (columns - 1)) / 72


def _components(shown: Picture) -> Iterator[Any]:
    """A dot for each component and the background."""
    from matplotlib.lines import Line2D

    def dot(component: int, weight: float) -> Line2D:
        name = label(component, weight, short=many(shown))
        return Line2D([], [], linestyle="none", marker="o", markersize=6, color=colour(component), label=name)

    weights = shown.marginal.weights
    for component, weight in enumerate(weights[:MOST]):
        yield dot(component, float(weight))
    if len(weights) > MOST:
        yield Line2D([], [], linestyle="none", label=f"and {len(weights) - MOST} more")
    if shown.marginal.background:
        yield dot(-1, shown.marginal.background)


def _others(shown: Picture) -> Iterator[Any]:
    """What else is drawn, but for the diagonal of a grid."""
    from matplotlib.lines import Line2D

    if shown.dims == 1:
        if _summed(shown):
            yield Line2D([], [], color=INK, linewidth=1.2, label=SUM)
        yield from _bars(shown)
        return
    yield Line2D([], [], linestyle="none", marker="o", markersize=7, color=INK, markerfacecolor="none",
                 markeredgewidth=1.1, label=ELLIPSE)  # fmt: skip
    if shown.dims == 2:
        yield Line2D([], [], color=QUIET, linewidth=0.6, label=CONTOUR)


def _diagonal(shown: Picture) -> Iterator[Any]:
    """What the diagonal of a grid shows."""
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    yield Patch(facecolor=to_rgba(QUIET, 0.3), edgecolor=QUIET, linewidth=1.0, label=ONE_DENSITY)
    if _summed(shown):
        yield Line2D([], [], color=INK, linewidth=0.9, label=SUM_DENSITY)
    yield from _bars(shown)


def _bars(shown: Picture) -> Iterator[Any]:
    """The histogram, where there is one."""
    from matplotlib.patches import Patch

    if len(shown.points):
        yield Patch(color=BARS, label=DATA_WEIGHTED if shown.weighted else DATA)


def _summed(shown: Picture) -> bool:
    """Whether panels of one coordinate have a curve of all components."""
    return len(shown.marginal.weights) > 1 or shown.marginal.box is not None
