"""Models and rows for pictures, and ways to find the parts of a picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Polygon
from torch import Tensor

from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.synthetic import random_mixture
from gmmcli.plot.style import figure_of


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Matplotlib warns of glyphs, layouts and limits that it cannot do: no picture may have one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def mixture(dims: int, components: int = 3, **more: Any) -> GaussianMixture:
    return random_mixture(dims=dims, components=components, seed=1, **more)


def rows_of(model: GaussianMixture, count: int = 200) -> Tensor:
    return model.sample(count, generator=torch.Generator().manual_seed(0))


def finish(ax: Axes) -> Axes:
    """Draws the figure, which is when warnings come."""
    figure_of(ax).canvas.draw()
    return ax


def outlines(ax: Axes) -> list[Polygon]:
    """The ellipses' outlines, of 1 standard deviation first."""
    return [patch for patch in ax.patches if isinstance(patch, Polygon) and " std" in str(patch.get_gid())]


def points(ax: Axes) -> np.ndarray:
    """Positions of the rows drawn, (B, 2)."""
    return np.asarray(_scatter(ax).get_offsets())


def point_opacities(ax: Axes) -> np.ndarray:
    """Opacities of the rows drawn, (B,)."""
    return np.atleast_2d(np.asarray(_scatter(ax).get_facecolor()))[:, 3]


def point_colours(ax: Axes) -> list[str]:
    """Colours of the rows drawn."""
    return [to_hex(c) for c in np.atleast_2d(np.asarray(_scatter(ax).get_facecolor()))]


def _scatter(ax: Axes) -> PathCollection:
    (found,) = [c for c in ax.collections if isinstance(c, PathCollection)]
    return found


def title_of(ax: Axes) -> str:
    """The caption on one line."""
    return ax.get_title(loc="left").replace("\u00a0", " ").replace("\n", " ")


def legend_texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def line_colours(ax: Axes) -> dict[str, str]:
    """The colours of the lines by their labels."""
    return {str(line.get_label()): to_hex(line.get_color()) for line in ax.lines}


def panels(ax: Axes) -> list[list[Axes]]:
    """The panels of a grid, row by row."""
    found = [child for child in ax.child_axes if isinstance(child, Axes)]
    grid, size = [], 1
    while found:
        grid.append(found[:size])
        found, size = found[size:], size + 1
    return grid


def lines(ax: Axes, gid: str) -> list[Any]:
    """The lines of this name."""
    return [line for line in ax.lines if line.get_gid() == gid]
