"""One panel each: `draw_line`, a histogram under the densities of one coordinate, and `draw_plane`, of two.

They draw data, components and density on given axes, without ticks, names, caption and legend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.coordinates import marginal
from gmmcli.plot.picture import ELLIPSES, MESH, density, ellipses, levels, mesh_of, moments
from gmmcli.plot.style import BARS, INK, QUIET, colour, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE = 600  # points of a density along the axis, and
PEAK = np.linspace(-6, 6, 91)  # standard deviations from each mean where it has more
BINS = (8, 30, 80)  # of a histogram: fewest of few rows, fewest of many, most
ROWS_SEEN = 20  # of a component for which bars are narrow enough
RIM, RIM_CROWDED = 0.55, 0.95  # opacity of the white beside an ellipse, and where it stands on very many points
RIM_WIDTH = 0.7  # points, at least, on either side
FAINTEST = 0.15  # opacity of a row next to which the heaviest weighs any number of times more
VECTOR_POINTS = 2_000  # more are pixels in an SVG or PDF too
DASHES = (0, (4, 2))  # of a background
SUM = "all components"


def draw_line(
    ax: Axes,
    mixture: GaussianMixture,
    values: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,)
    limits: tuple[float, float],
    *,
    thin: bool = False,
) -> float:
    """Draws one coordinate; returns the highest density drawn. thin: lines for a small panel."""
    highest, shares = 0.0, mixture.weights.detach().numpy()
    means, std = moments(mixture)
    present = np.isfinite(values)
    if present.any():
        values, weights = values[present], weights[present]
        seen = std[shares * _effective(weights) >= ROWS_SEEN]
        bins = bin_edges(values, weights, float(seen.min(initial=np.inf)))
        heights, edges = np.histogram(values, bins=bins, weights=weights, density=True)
        ax.stairs(heights, edges, fill=True, color=BARS, zorder=1, label="data")
        ax.stairs(heights, edges, color="white", linewidth=0.4, zorder=1.1)
        highest = float(heights.max())
    x = np.union1d(np.linspace(*limits, CURVE), means[:, 0] + PEAK[:, None] * std[:, 0])
    x = x[(x >= limits[0]) & (x <= limits[1])]
    total = density(mixture, x[:, None])
    with torch.no_grad():
        parts = total * mixture.responsibilities(torch.as_tensor(x)[:, None]).mT.numpy()  # π_k N(x | μ_k, σ_k²)
    for k, opacity in enumerate(opacities(shares)):
        ax.fill_between(x, parts[k], color=colour(k), alpha=opacity, linewidth=0, zorder=2)
        name, width = label(k, shares[k]), 1.0 if thin else 1.5
        ax.plot(x, parts[k], color=colour(k), linewidth=width, zorder=3, label=name)
    if mixture.background is not None and mixture.box is not None:
        low, high = mixture.box[:, 0].tolist()
        weight = mixture.background.item()
        uniform = [weight / (high - low)] * 2
        ax.plot([low, high], uniform, color=colour(-1), linewidth=1.2, linestyle=DASHES, label=label(-1, weight))
    if len(shares) > 1 or mixture.box is not None:
        ax.plot(x, total, color=INK, linewidth=0.9 if thin else 1.2, zorder=3.5, label=SUM)
    return max(highest, float(total.max()))


def draw_plane(
    ax: Axes,
    mixture: GaussianMixture,
    points: np.ndarray,  # (B, 2)
    components: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) against the heaviest
    *,
    contours: np.ndarray | None = None,
    size: float = 1.0,
) -> None:
    """Draws two coordinates.

    contours: least and greatest coordinates (2, 2) between which contours are drawn, None for none. size: of points
    and lines, against those of a picture of one plane.
    """
    from matplotlib.patches import Polygon, Rectangle
    from matplotlib.patheffects import withStroke

    if contours is not None:
        _draw_contours(ax, marginal(mixture, (0, 1), background=False), contours)
    present = np.isfinite(points).all(1)
    if present.any():
        _draw_points(ax, points[present], components[present], weights[present], size)
    if mixture.box is not None:
        low, high = mixture.box.numpy()
        box = Rectangle(tuple(low), *(high - low), fill=False, edgecolor=colour(-1), linestyle=DASHES, zorder=1.2)
        box.set(linewidth=0.8 * size, gid="background")
        ax.add_patch(box)
    crowd = crowding(int(present.sum()))
    filled = opacities(mixture.weights.detach().numpy())
    for radius in ELLIPSES:
        inner = radius == min(ELLIPSES)
        line = (1.7 if inner else 1.1) * size
        rim = max(2.6 * size, line + 2 * RIM_WIDTH * crowd)
        halo = [withStroke(linewidth=rim, foreground="white", alpha=RIM + (RIM_CROWDED - RIM) * crowd)]
        for k, curve in enumerate(ellipses(mixture, radius)):
            if inner:
                ax.add_patch(Polygon(curve, facecolor=colour(k), alpha=filled[k], linewidth=0, zorder=3.9))
            outline = Polygon(curve, fill=False, edgecolor=colour(k), path_effects=halo, zorder=4)
            outline.set(linewidth=line, gid=f"component {k}, {radius:g} std")
            ax.add_patch(outline)


def _draw_contours(ax: Axes, mixture: GaussianMixture, limits: np.ndarray) -> None:
    """Draws the contours of the density; a component between two cells of the mesh has none."""
    sides, mesh = mesh_of(limits, MESH)
    values = density(mixture, mesh).reshape(MESH, MESH)
    heights = levels(mixture)
    heights = heights[heights < values.max()]
    if len(heights):
        ax.contour(*sides, values, heights, colors=QUIET, linewidths=0.6, alpha=0.75, zorder=2.5)


def _draw_points(
    ax: Axes,
    points: np.ndarray,  # (B, 2)
    components: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) against the heaviest
    size: float,
) -> None:
    """Draws the rows in the colours of their components.

    The more rows there are, the smaller and fainter they are; light rows are fainter than heavy ones.
    """
    crowd = crowding(len(points))
    opacity = 0.75 * (1 - crowd) + 0.3 * crowd
    colours = [colour(k) for k in components.tolist()]
    opaque = (FAINTEST + (opacity - FAINTEST) * weights).tolist()
    area = size * (17 * (1 - crowd) + 2.2 * crowd)
    pixels = len(points) > VECTOR_POINTS
    ax.scatter(*points.T, s=area, c=colours, alpha=opaque, linewidths=0, zorder=2, rasterized=pixels)


def crowding(rows: int) -> float:
    """How crowded a plane of so many rows is, 0 to 1."""
    return float(np.clip(np.log10(max(rows, 1) / 150) / np.log10(20_000 / 150), 0, 1))


def opacities(weights: np.ndarray) -> np.ndarray:
    """Opacities (K,) with which components are filled, by their weight against the heaviest."""
    return 0.06 + 0.26 * weights / weights.max()


def bin_edges(
    values: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) above 0
    widest: float = np.inf,
) -> np.ndarray:
    """Edges of the bars of a histogram; for whole numbers each bar holds equally many of them.

    The rule is Freedman and Diaconis', with at least about √N bars, since quartiles of a mixture describe no one
    component. widest: a bar, as far as the greatest number of bars allows it. N is the effective number of rows.
    """
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * abs(high):
        half = abs(low) * 0.05 or 0.5
        return np.array([low - half, low + half])
    rows, (least, enough, most) = _effective(weights), BINS
    quartiles = np.quantile(values, [0.25, 0.75], weights=weights, method="inverted_cdf")
    fewest = int(np.clip(1.3 * rows**0.5, least, enough))
    width = min(2 * (quartiles[1] - quartiles[0]) / rows ** (1 / 3), widest)
    width = float(np.clip(width, (high - low) / most, (high - low) / fewest))
    if high - low >= fewest and (values == np.round(values)).all():
        width = max(1.0, round(width))
        return np.arange(low - 0.5, high + 0.5 + width, width)
    return np.linspace(low, high, int(np.ceil((high - low) / width)) + 1)


def _effective(weights: np.ndarray) -> float:
    """Kish's effective number of rows, (Σw)²/Σw²: a few heavy rows fill no more bars than equally many alike."""
    return weights.sum() ** 2 / np.square(weights).sum()
