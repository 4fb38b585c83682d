"""The pair grid: every two columns of a mixture in a panel below the diagonal, each column alone on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gmmcli.plot.axes import describe, hide_density_axis, widened
from gmmcli.plot.panels import draw_line, draw_plane
from gmmcli.plot.picture import Picture
from gmmcli.plot.style import SMALL, figure_of, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.09  # between panels, of a panel's side
LETTER = 5.0  # points, about, of the labels


def draw_pairs(ax: Axes, picture: Picture, limits: np.ndarray) -> list[list[Axes]]:
    """Draws the grid as inset axes of `ax`, whose own frame goes; returns row i's panels, those of columns 0 to i.

    limits: (2, d) of each column, the same in all its panels. The corner above the diagonal stays free.
    """
    ax.set_axis_off()
    dims = picture.dims
    side = 1 / (dims + (dims - 1) * GAP)
    step = side * (1 + GAP)
    size = max(0.45, 0.85 - 0.05 * dims)
    wide, high = (_letters(ax, extent * side, dims) for extent in ax.get_window_extent().size)
    sides = [widened(*pair) for pair in limits.T.tolist()]
    grid: list[list[Axes]] = []
    for row in range(dims):
        grid.append([])
        for column in range(row + 1):
            panel = ax.inset_axes((column * step, (dims - 1 - row) * step, side, side))
            grid[row].append(panel)
            tidy(panel, left=column < row)
            name = picture.coordinates.labels[column]
            own, other = sides[column], sides[row]
            describe(panel, "x", own[0], own[1], name, ticks=3, inset=True, width=wide)
            if column == row:
                values = picture.points[:, row]
                alone = picture.marginal.take(row)
                hide_density_axis(panel, draw_line(panel, alone, values, picture.weights, np.array(own), thin=True))
            else:
                pair = picture.points[:, [column, row]]
                both = np.array([own, other]).T
                marginal = picture.marginal.take(column, row)
                rows = picture.components, picture.weights
                draw_plane(panel, marginal, pair, *rows, both, contours=False, size=size)
                describe(
                    panel,
                    "y",
                    other[0],
                    other[1],
                    picture.coordinates.labels[row],
                    ticks=3,
                    inset=True,
                    width=high,
                )
            if row < dims - 1:
                panel.tick_params(labelbottom=False)
                panel.set_xlabel("")
            if column > 0:
                panel.tick_params(labelleft=False)
                panel.set_ylabel("")
    _align([panels[0] for panels in grid[1:]])
    return grid


def _letters(ax: Axes, pixels: float, dims: int) -> int:
    """Of a line of a label beside a panel of this length: as many as fit, and not too many."""
    fitting = int(pixels / figure_of(ax).dpi * 72 / LETTER)
    return min(max(12, 30 - 2 * dims), max(5, fitting))


def _align(panels: list[Axes]) -> None:
    """Puts the labels of the panels of the first column at one distance, which their longest tick label needs."""
    labels = [
        text
        for panel in panels
        for text in panel.yaxis.get_major_formatter().format_ticks(panel.get_yticks().tolist())
    ]
    points = 10 + 0.64 * SMALL * max(map(len, labels), default=0)
    for panel in panels:
        width = panel.get_window_extent().width / panel.figure.dpi * 72
        panel.yaxis.set_label_coords(-points / width, 0.5)
