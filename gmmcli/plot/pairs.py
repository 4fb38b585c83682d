"""The pair grid: every two columns of a mixture in a panel below the diagonal, each column alone on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gmmcli.plot.axes import Names, set_axis, widened
from gmmcli.plot.coordinates import marginal
from gmmcli.plot.labels import Planes
from gmmcli.plot.panels import draw_line, draw_plane
from gmmcli.plot.picture import Picture
from gmmcli.plot.style import tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.09  # between panels, of a panel's side
TICKS = 3  # of an axis, at most


def draw_pairs(ax: Axes, picture: Picture, limits: np.ndarray) -> tuple[Names, Planes]:
    """Draws the grid as inset axes of `ax`, row by row; returns the axes that have names, and the panels of pairs.

    limits: (2, d) of each column, the same in all its panels. The corner above the diagonal stays free.
    """
    ax.set_axis_off()
    dims, labels = picture.dims, picture.coordinates.labels
    side = 1 / (dims + (dims - 1) * GAP)
    step = side * (1 + GAP)
    size = max(0.45, 0.85 - 0.05 * dims)
    sides = [widened(*pair) for pair in limits.T.tolist()]
    names: Names = []
    planes: Planes = []
    for row in range(dims):
        for column in range(row + 1):
            panel = ax.inset_axes((column * step, (dims - 1 - row) * step, side, side))
            tidy(panel, left=column < row)
            set_axis(panel.xaxis, *sides[column], TICKS, short=True)
            panel.tick_params(labelbottom=row == dims - 1, labelleft=not column)
            if row == dims - 1:
                names.append((panel.xaxis, labels[column]))
            if column == row:
                values, alone = picture.points[:, row], marginal(picture.mixture, [row])
                highest = draw_line(panel, alone, values, picture.weights, sides[row], thin=True)
                panel.set_ylim(0.0, highest * 1.12 if highest > 0 else 1.0)
                panel.yaxis.set_visible(False)
                continue
            set_axis(panel.yaxis, *sides[row], TICKS, short=True)
            if not column:
                names.append((panel.yaxis, labels[row]))
            both, pair = marginal(picture.mixture, (column, row)), picture.points[:, [column, row]]
            draw_plane(panel, both, pair, picture.components, picture.weights, size=size)
            panel.set(xlim=sides[column], ylim=sides[row])
            planes.append((panel, both))
    return names, planes
