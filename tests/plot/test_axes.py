"""Words in figures of every size: none meets another, and one rule says which are left out in small ones."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot import data_figure, figure_of, plot_selection
from gmmcli.plot.axes import LEAST, Size, named, set_axis, write_words
from gmmcli.plot.style import SMALL, width_of
from tests.plot.conftest import finish, mixture, panels, rows_of
from tests.plot.test_selection import FAITHFUL

SLACK = 0.5  # pixels by which words may meet
NAMES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def picture(dims: int, size: Size) -> Figure:
    plain = mixture(dims)
    model = GaussianMixture(plain.weights, plain.means * 1000, plain.inner_scale * 1000, columns=NAMES[:dims])
    return data_figure(rows_of(model, 60), model, size=size)


def selection(size: Size) -> Figure:
    return figure_of(plot_selection(FAITHFUL, "bic", size=size))


def titles(ax: Axes) -> list[Text]:
    """The captions of some axes."""
    return [
        text for text in ax.get_children() if isinstance(text, Text) and re.search("rows|better", text.get_text())
    ]


def axis_words(ax: Axes) -> list[Any]:
    """Extents of the names and numbers of all axes that are shown."""
    found = []
    for one in [panel for row in panels(ax) for panel in row] or [ax]:
        for axis in (one.xaxis, one.yaxis):
            labels = axis.get_ticklabels() if axis.get_visible() else []
            low, high = sorted(axis.get_view_interval())
            ticks = [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high and labels]
            found += [
                text.get_window_extent() for text in [*ticks, axis.label] if text.get_visible() and text.get_text()
            ]
    return found


@pytest.mark.parametrize("dims", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(2.0, 1.5), (3.0, 3.0), (2.5, 6.0), (9.0, 2.0), (6.0, 6.0)])
def test_numbers_and_names_of_axes_meet_no_other_at_any_size(dims: int, size: Size) -> None:
    if dims > 2 and min(size[0] or 0, size[1] or 0) < 3:
        pytest.skip("panels are too small for numbers")
    ax = finish(picture(dims, size).axes[0])
    boxes = axis_words(ax)
    assert len(boxes) >= 4
    assert not any(one.padded(-SLACK).overlaps(other) for one, other in combinations(boxes, 2))
    assert all(figure_of(ax).bbox.x0 <= box.x0 and box.x1 <= figure_of(ax).bbox.x1 for box in boxes)


def test_the_legend_goes_first_then_the_caption() -> None:
    left_out = []
    for size in ((7.6, 5.2), (2.5, 2.4), (2.0, 1.5)):
        ax = finish(picture(2, size).axes[0])
        (title,) = titles(ax)
        legend = ax.get_legend()
        assert legend is not None
        left_out.append((not legend.get_visible(), not title.get_visible()))
        width, height = (inches / figure_of(ax).dpi for inches in ax.get_window_extent().size)
        assert size[0] < 2.5 or (width >= LEAST[0] and height >= LEAST[1])
        assert title.get_window_extent().x1 <= figure_of(ax).bbox.x1
    assert left_out == [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize("dims", [1, 2, 3, 4])
def test_a_figure_of_its_own_size_leaves_nothing_out(dims: int) -> None:
    for figure in (picture(dims, (None, None)), selection((None, None))):
        (ax,) = figure.axes
        legend, (title,) = ax.get_legend(), titles(ax)
        assert legend is not None
        assert legend.get_visible()
        assert title.get_visible()
        assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_captions_have_lines_of_the_length_at_hand() -> None:
    figure = Figure(figsize=(4, 3))
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    text = "a caption of some words · " * 6 + "end"
    lines = write_words(ax, text, []).get_text().split("\n")
    assert re.sub(r"\s", " ", " ".join(lines)) == text
    assert not any(line.startswith("·") for line in lines)
    room = ax.get_window_extent().width * 72 / figure.dpi
    assert room / 2 < max(width_of(line, SMALL) for line in lines) <= room * 1.05


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [
        (0.0, 100.0, "time"),
        (1.6e9 - 1, 1.6e9 + 1, "time (+1.6e9)"),
        (0.0, 3.2e7, "time (1e7)"),
        (-2e-30, 2e-30, "time (1e−30)"),
    ],
)
def test_names_say_how_numbers_are_shifted_and_scaled(low: float, high: float, name: str) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    set_axis(ax.xaxis, low, high)
    assert named(ax.xaxis, "time") == name
