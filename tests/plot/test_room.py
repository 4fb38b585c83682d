"""Words in figures of every size: none meets another, and what has no room is left out by one rule."""

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
from gmmcli.plot import crowded, data_figure, figure_of, plot_selection, roomy_size
from gmmcli.plot.room import LEAST, SLACK, Size
from gmmcli.plot.text import text_size, within, wrapped
from tests.plot.conftest import finish, mixture, panels, rows_of
from tests.plot.test_selection import FAITHFUL

NAMES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def picture(dims: int, size: Size) -> Figure:
    plain = mixture(dims)
    model = GaussianMixture(plain.weights, plain.means * 1000, plain.inner_scale * 1000, columns=NAMES[:dims])
    return data_figure(rows_of(model, 60), model, size=size)


def selection(size: Size) -> Figure:
    return figure_of(plot_selection(FAITHFUL, "bic", size=size))


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
        pytest.skip("panels that have no room for numbers: crowded, of which there is a warning")
    ax = finish(picture(dims, size).axes[0])
    boxes = axis_words(ax)
    assert len(boxes) >= 4
    assert not any(one.padded(-SLACK).overlaps(other) for one, other in combinations(boxes, 2))
    assert all(figure_of(ax).bbox.x0 <= box.x0 and box.x1 <= figure_of(ax).bbox.x1 for box in boxes)


def test_the_legend_goes_first_then_the_caption() -> None:
    left_out = []
    for size in ((7.6, 5.2), (2.5, 2.4), (2.0, 1.5)):
        ax = finish(picture(2, size).axes[0])
        (title,) = (text for text in ax.get_children() if isinstance(text, Text) and "rows" in text.get_text())
        legend = ax.get_legend()
        assert legend is not None
        left_out.append((not legend.get_visible(), not title.get_visible()))
        width, height = (inches / figure_of(ax).dpi for inches in ax.get_window_extent().size)
        assert size[0] < 2.5 or (width >= LEAST[0] and height >= LEAST[1])
        assert title.get_window_extent().x1 <= figure_of(ax).bbox.x1
    assert left_out == [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize("dims", [1, 2, 3, 4])
def test_a_figure_of_its_own_size_is_not_crowded(dims: int) -> None:
    assert not crowded(picture(dims, (None, None)))
    assert not crowded(selection((None, None)))


@pytest.mark.parametrize("size", [(3.0, 3.0), (2.0, None)])
def test_a_size_that_has_room_is_found_for_one_that_has_none(size: Size) -> None:
    for draw in (lambda own: picture(4, own), selection):
        assert crowded(draw(size))
        roomy = roomy_size(draw, size)
        assert roomy is not None
        assert not crowded(draw(roomy))
        assert (draw((None, None)).get_size_inches() + 0.1 >= roomy).all()


def test_texts_that_meet_or_leave_the_paper_are_crowded() -> None:
    figure = Figure(figsize=(4, 3))
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    ax.text(0.5, 0.5, "one")
    assert not crowded(figure)
    other = ax.text(0.51, 0.5, "two")
    assert crowded(figure)
    other.set_position((0.1, 0.1))
    assert not crowded(figure)
    other.set_position((3.0, 0.5))
    assert crowded(figure)
    other.set_position((0.1, 0.1))
    other.set_visible(False)
    assert crowded(figure)


def test_lines_are_as_long_as_they_may_be() -> None:
    figure = Figure(dpi=160)
    FigureCanvasAgg(figure)
    text = "WWW iii · " * 12 + "WWW"
    lines = wrapped(text, within(figure, 90.0, 8.0)).split("\n")
    assert re.sub(r"\s", " ", " ".join(lines)) == text
    widths = [text_size(figure, line, 8.0)[0] for line in lines]
    assert max(widths) <= 90 < min(widths[:-1]) + text_size(figure, " WWW iii ·", 8.0)[0]
    assert not any(line.startswith("·") for line in lines)
