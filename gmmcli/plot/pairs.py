"""The pair grid: every two columns of a mixture in a panel below the diagonal, each column alone on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.plot.axes import describe, hide_density_axis, widened
from gmmcli.plot.panels import draw_line, draw_plane
from gmmcli.plot.picture import Picture
from gmmcli.plot.style import SMALL, figure_of, tidy
from gmmcli.plot.tags import tag_components
from gmmcli.plot.text import text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.09  # between panels, of a panel's side
TAG = 6.0  # points, of the numbers of components
TICKS = 3  # of an axis, at most
LABEL_GAP = 15.0  # points between a panel and its label, besides the longest label of a tick


def draw_pairs(ax: Axes, picture: Picture, limits: np.ndarray) -> list[list[Axes]]:
    """Draws the grid as inset axes of `ax`, whose own frame goes; returns row i's panels, those of columns 0 to i.

    limits: (2, d) of each column, the same in all its panels. The corner above the diagonal stays free. Ticks and
    names come by describe_pairs.
    """
    ax.set_axis_off()
    dims = picture.dims
    side = 1 / (dims + (dims - 1) * GAP)
    step = side * (1 + GAP)
    size = max(0.45, 0.85 - 0.05 * dims)
    sides = [widened(*pair) for pair in limits.T.tolist()]
    grid: list[list[Axes]] = []
    for row in range(dims):
        grid.append([])
        for column in range(row + 1):
            panel = ax.inset_axes((column * step, (dims - 1 - row) * step, side, side))
            grid[row].append(panel)
            tidy(panel, left=column < row)
            own, other = sides[column], sides[row]
            panel.set_xlim(own)
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
                panel.set_ylim(other)
    return grid


def describe_pairs(grid: list[list[Axes]], names: Sequence[str]) -> None:
    """Sets the ticks of all panels by their size, and names the columns below and beside the grid."""
    for row, panels in enumerate(grid):
        for column, panel in enumerate(panels):
            low, high = panel.get_xlim()
            lowest = row == len(grid) - 1
            describe(panel, "x", low, high, names[column] if lowest else "", ticks=TICKS, inset=True)
            panel.tick_params(labelbottom=lowest)
            if column < row:
                low, high = panel.get_ylim()
                describe(panel, "y", low, high, "" if column else names[row], ticks=TICKS, inset=True)
                panel.tick_params(labelleft=not column)
            if not lowest:
                panel.set_xlabel("")
            if column:
                panel.set_ylabel("")
    _align([panels[0] for panels in grid[1:]])


def tag_pairs(ax: Axes, picture: Picture) -> None:
    """Numbers the components in the panels of pairs, as far as there is room."""
    places = [(row, column) for row in range(picture.dims) for column in range(row + 1)]
    panels: list[Any] = ax.child_axes
    for (row, column), panel in zip(places, panels, strict=True):
        if column < row:
            tag_components(panel, picture.marginal.take(column, row), TAG)


def _align(panels: list[Axes]) -> None:
    """Puts the labels of the panels of the first column at one distance, which their longest tick label needs."""
    widths = [
        text_size(figure_of(panel), text, SMALL)[0]
        for panel in panels
        for text in panel.yaxis.get_major_formatter().format_ticks(panel.get_yticks().tolist())
    ]
    points = LABEL_GAP + max(widths, default=0.0)
    for panel in panels:
        width = panel.get_window_extent().width / figure_of(panel).dpi * 72
        panel.yaxis.set_label_coords(-points / width, 0.5)
