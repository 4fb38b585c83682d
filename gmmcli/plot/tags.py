"""Numbers beside ellipses, where components are too many for a legend: `tag_components` puts each where none is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gmmcli.plot.marginal import Marginal
from gmmcli.plot.places import Taken, best_place
from gmmcli.plot.style import SMALL, colour, figure_of
from gmmcli.plot.text import text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE = 1.5  # of the size of the letters
_RINGS = (0.0, 1.0, 1.8, 2.6, 3.4, 4.4, 5.6)  # distances to try, in lines
_DIRECTIONS = 12
PAD = 2.0  # points beside a number
LEADER_FROM = 2.0  # lines: a number farther from its mean gets a line to it


def tag_components(ax: Axes, marginal: Marginal, size: float = SMALL) -> None:
    """Writes each component's number at its mean or, where another number is, nearby.

    Heavy components come first; one for which there is no room is left out. A number far from its mean has a line to
    it. size: of the letters. To be called when the axes have their limits and their size.
    """
    from matplotlib.patheffects import Normal, Stroke

    per_point = figure_of(ax).dpi / 72
    box = ax.get_window_extent()
    places = ax.transData.transform(marginal.means) / per_point  # in points
    taken = Taken(np.array([box.x0, box.y0]) / per_point, np.array([box.x1, box.y1]) / per_point)
    halo = [Stroke(linewidth=2.6, foreground="white"), Normal()]
    for k in np.argsort(-marginal.weights, kind="stable"):
        width = text_size(figure_of(ax), str(k), size, fontweight="bold")[0]
        half = np.array([width + PAD, _LINE * size]) / 2
        found, covered = best_place(_around(places[k], size), partial(taken.covered, half=half))
        if covered:
            continue
        taken.add_box(found, half)
        away = np.linalg.norm(found - places[k]) > LEADER_FROM * _LINE * size
        ax.annotate(
            str(k),
            xy=tuple(marginal.means[k]),
            xytext=tuple(found - places[k]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold",
            color=colour(int(k)),
            path_effects=halo,
            arrowprops={"arrowstyle": "-", "color": colour(int(k)), "linewidth": 0.7, "shrinkA": 3} if away else None,
            zorder=6,
        )


def _around(
    middle: np.ndarray,  # (2,)
    size: float,
) -> Iterator[np.ndarray]:
    """Places to try, the nearest first."""
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    for ring in _RINGS:
        for angle in angles if ring else angles[:1]:
            yield middle + ring * _LINE * size * np.array([np.cos(angle), np.sin(angle)])
