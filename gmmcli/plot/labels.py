"""Numbers of components beside their ellipses, where components are too many for the words of a legend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.picture import moments
from gmmcli.plot.style import colour, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAD = 1.0  # points around a number
GAPS = (0.0, 5.0, 11.0, 20.0, 30.0, 42.0, 56.0)  # points between a mean and its number
DIRECTIONS = 16
LEADER_FROM = 11.0  # points from which on a line leads from a mean to its number

Planes = list[tuple["Axes", GaussianMixture]]  # axes, and the mixture of two coordinates that each shows


def number_components(planes: Planes, size: float) -> None:
    """Writes the number of each component at its mean or, where another number is, nearby.

    Heavy components come first; one without a free position gets no number. The axes have their limits and extents
    already. size: of the letters, in points.
    """
    for ax, mixture in planes:
        means, taken = moments(mixture)[0], []
        for k in mixture.weights.argsort(descending=True, stable=True).tolist():
            _number(ax, k, means[k], size, taken)


def _number(
    ax: Axes,
    component: int,
    mean: np.ndarray,  # (2,)
    size: float,
    taken: list[Any],
) -> None:
    """Writes a number where it meets none of the boxes that are taken, and adds its own; all of them in pixels."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    style: dict[str, Any] = {"fontsize": size, "fontweight": "bold", "color": colour(component)}
    unit, area, point = figure_of(ax).dpi / 72, ax.get_window_extent(), ax.transData.transform(mean)
    probe = Text(0, 0, str(component), figure=figure_of(ax), **style)
    half = np.array(probe.get_window_extent().size) / 2 + PAD * unit
    for offset in _offsets():
        edge = half * offset / max(np.abs(offset).max(), 1e-9)  # from the middle of the number to its edge
        centre = np.clip(point + offset * unit + edge, area.min + half, area.max - half)
        box = Bbox([centre - half, centre + half])
        if not taken or not box.count_overlaps(taken):
            break
    else:
        return
    taken.append(box)
    far = np.linalg.norm(np.maximum(np.abs(centre - point) - half, 0)) > LEADER_FROM * unit
    leader = {"arrowstyle": "-", "color": colour(component), "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    style |= {"path_effects": [withStroke(linewidth=2.6, foreground="white")], "arrowprops": leader if far else None}
    position: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "zorder": 6}
    ax.annotate(str(component), tuple(mean), xytext=(centre - point) / unit, **position, **style)


def _offsets() -> Iterator[np.ndarray]:
    """Offsets (2,) from a mean to the edge of its number, in points: none, then in all directions, near first."""
    yield np.zeros(2)
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    for gap in GAPS:
        yield from max(gap, 1e-6) * np.stack([np.cos(angles), np.sin(angles)], 1)
