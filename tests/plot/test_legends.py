"""Legends: their entries, and their position beside everything else."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot import data_figure, plot_data_and_model
from gmmcli.plot.axes import settle
from gmmcli.plot.style import BARS, INK, figure_of, label
from tests.plot.conftest import finish, legend_texts, mixture, panels, rows_of


def clear(ax: Axes) -> bool:
    """Whether the legend is on the figure and meets no panel."""
    legend = ax.get_legend()
    assert legend is not None
    box = legend.get_window_extent()
    others = [panel for row in panels(ax) for panel in row] or [ax]
    whole = figure_of(ax).bbox
    inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    return inside and not any(box.overlaps(other.get_window_extent()) for other in others)


def with_background(model: GaussianMixture) -> GaussianMixture:
    box = [[-30.0] * model.dims, [30.0] * model.dims]
    return GaussianMixture(model.weights * 0.8, model.means, model.inner_scale, background=0.2, box=box)


@pytest.mark.parametrize(
    ("dims", "components", "background"),
    [
        (1, 13, True),
        (1, 80, False),
        (3, 1, False),
        (3, 3, True),
        (3, 12, False),
        (3, 12, True),
        (3, 13, False),
        (3, 30, True),
        (4, 12, True),
        (4, 30, False),
        (6, 20, False),
    ],
)
def test_a_legend_meets_no_panel(dims: int, components: int, background: bool) -> None:
    model = mixture(dims, components=components, radius=14.0)
    ax = plot_data_and_model(rows_of(model, 30), with_background(model) if background else model)
    settle(figure_of(ax))
    assert clear(ax)
    assert "data" in legend_texts(ax) or components > 12
    assert dims == 1 or "1 and 2 std. deviations" in legend_texts(ax)
    if components > 12 and not background:
        assert legend_texts(ax)[:2] == [label(k, model.weights[k].item(), short=True) for k in range(2)]


@pytest.mark.parametrize("size", [(5.0, 5.0), (9.0, 5.0), (6.0, None)])
def test_a_legend_of_a_figure_of_any_size(size: tuple[float, float | None]) -> None:
    model = mixture(4, components=8)
    ax = data_figure(rows_of(model, 30), model, size=size).axes[0]
    settle(figure_of(ax))
    assert clear(ax)


@pytest.mark.parametrize("size", [(None, None), (5.0, 5.0), (9.0, 4.0), (4.0, 9.0)])
def test_labels_of_a_grid_of_any_size_meet_no_other(size: tuple[float | None, float | None]) -> None:
    plain = mixture(4)
    names = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_in_g"]
    model = GaussianMixture(plain.weights, plain.means, plain.inner_scale, columns=names)
    ax = data_figure(rows_of(model, 30), model, size=size).axes[0]
    settle(figure_of(ax))
    grid = panels(ax)
    below = [panel.xaxis.label.get_window_extent() for panel in grid[-1]]
    beside = [row[0].yaxis.label.get_window_extent() for row in grid[1:]]
    assert not any(a.overlaps(b) for line in (below, beside) for a, b in pairwise(line))


def test_a_grid_says_what_its_diagonal_shows() -> None:
    model = mixture(3)
    ax = finish(plot_data_and_model(rows_of(model), model, weights=torch.linspace(0.1, 1, 200)))
    legend = ax.get_legend()
    assert legend is not None
    signs = dict(zip(legend_texts(ax), legend.legend_handles, strict=True))
    ellipse, one, both, bars = (signs[name] for name in legend_texts(ax)[3:])
    assert legend_texts(ax)[3:] == [
        "1 and 2 std. deviations",
        "density of a component",
        "density of all",
        "data, weighted",
    ]
    assert isinstance(ellipse, Line2D)
    assert (ellipse.get_marker(), ellipse.get_markerfacecolor()) == ("o", "none")
    assert isinstance(both, Line2D)
    assert to_hex(both.get_color()) == INK == to_hex(panels(ax)[0][0].lines[3].get_color())
    assert isinstance(one, Patch)
    assert isinstance(bars, Patch)
    assert to_hex(bars.get_facecolor()) == BARS


def test_a_legend_has_nothing_that_is_not_drawn() -> None:
    ax = finish(plot_data_and_model(None, mixture(3, components=1)))
    assert legend_texts(ax) == ["component 0 · 100 %", "1 and 2 std. deviations", "density of a component"]
    line = finish(plot_data_and_model(None, mixture(1, components=1)))
    assert legend_texts(line) == ["component 0 · 100 %"]


def test_on_small_axes_the_legend_is_the_shorter_one() -> None:
    figure = Figure(figsize=(12, 4))
    FigureCanvasAgg(figure)
    ax = figure.subplots(1, 3)[0]
    model = mixture(3)
    plot_data_and_model(rows_of(model), model, ax=ax)
    figure.canvas.draw()
    assert legend_texts(ax)[3:] == ["1 and 2 std. deviations"]
    assert clear(ax)
