"""A criterion by number of components: its lines, the part of its range that is shown, and the name of the best."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from gmmcli.errors import InputError, UsageError
from gmmcli.families import FAMILIES
from gmmcli.plot import plot_selection, write_figure
from gmmcli.plot.selection import telling_span
from gmmcli.plot.style import PALETTE, figure_of
from tests.plot.conftest import finish, legend_texts, lines, title_of


def cell(family: str, components: int, bic: float | None, icl: float | None = None, **more: Any) -> dict[str, Any]:
    return {"family": family, "components": components, "bic": bic, "icl": icl, "chosen": None, "reason": "", **more}


GRID = [
    cell("full", 1, 300.0, 300.0, holdout=-5.0),
    cell("full", 2, 200.0, 220.0, holdout=-4.0),
    cell("full", 3, 150.0, 160.0, holdout=-4.5, reason="component 2 on 3 rows"),
    cell("full", 4, None),
    cell("tied", 1, 300.0, 300.0, holdout=-5.0),
    cell("tied", 2, 250.0, 215.0, holdout=-4.8),
    cell("tied", 3, 240.0, 230.0, holdout=-4.9),
    cell("tied", 4, None),
]
FAITHFUL = [  # the good families of Old Faithful and a bad one
    *(cell("tied", k + 1, v) for k, v in enumerate([2607.6, 2325.2, 2314.3, 2320.1, 2327.6, 2340.1])),
    *(cell("full", k + 1, v) for k, v in enumerate([2607.6, 2322.2, 2333.7, 2341.0, 2367.8, 2390.5])),
    *(cell("isotropic", k + 1, v) for k, v in enumerate([4024.7, 3458.3, 3336.5])),
]


def covered(ax: Axes) -> int:
    """How many points of lines and middles of markers lie under the text, on the paper."""
    (text,) = ax.texts
    box = Text.get_window_extent(text)
    found = 0
    for line in ax.lines:
        places = line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float))
        if line.get_linestyle() != "None" and len(places) > 1:
            steps = np.linspace(0, 1, 2000)[:, None]
            places = np.concatenate(
                [a + (b - a) * steps for a, b in pairwise(places)],
            )
        found += int(((places > [box.x0, box.y0]) & (places < [box.x1, box.y1])).all(1).sum())
    return found


def test_a_line_for_each_family_the_best_ringed() -> None:
    ax = finish(plot_selection(GRID, "bic"))
    (full,) = lines(ax, "family full")
    np.testing.assert_array_equal(full.get_ydata(), [300, 200, 150, np.nan])
    assert len(lines(ax, "family tied")) == 1
    (ring,) = lines(ax, "best")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 200)  # the lowest is not to be trusted
    assert [text.get_text() for text in ax.texts] == ["full, 2 components: 200"]
    assert legend_texts(ax) == ["full", "tied", "not to be trusted", "failed"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("components", "BIC")
    assert all(float(text.get_text()).is_integer() for text in ax.get_xticklabels())
    assert title_of(ax) == "the lower the better · the best sound fit ringed, 40 ahead"


def test_a_family_has_one_colour_and_marker_whatever_is_best() -> None:
    others = [cell("mine", 1, 100.0, 290.0), cell("mine", 2, 90.0, 280.0)]
    looks = []
    for rows, criterion in ((GRID, "bic"), (GRID, "icl"), (GRID[::-1], "bic"), ([*others, *GRID], "bic")):
        ax = finish(plot_selection(rows, criterion))
        legend = ax.get_legend()
        assert legend is not None
        keys = {str(key.get_label()): key for key in legend.legend_handles if isinstance(key, Line2D)}
        looks.append({name: (to_hex(key.get_color()), key.get_marker()) for name, key in keys.items()})
        for name in ("full", "tied"):
            assert to_hex(lines(ax, f"family {name}")[0].get_color()) == looks[-1][name][0]
    first = {name: looks[0][name] for name in ("full", "tied")}
    assert all(look[name] == first[name] for look in looks for name in first)
    assert len({looks[-1][name] for name in ("full", "tied", "mine")}) == 3


def test_unsound_cells_are_hollow_and_failed_ones_crosses() -> None:
    ax = finish(plot_selection(GRID, "bic"))
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [np.asarray(line.get_xydata()).tolist() for line in hollow] == [[[3.0, 150.0]]]
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [line.get_gid() for line in crosses] == ["failed tied", "failed full"]
    places = [line.get_transform().transform(line.get_xydata())[0] for line in crosses]
    assert places[0][0] == places[1][0] == pytest.approx(ax.transData.transform((4, 0))[0])
    assert places[0][1] - places[1][1] > 4  # one above the other
    assert ax.get_window_extent().contains(*places[0])


def test_the_criterion_is_the_one_that_chose() -> None:
    chosen = [{**row, "chosen": float(row["family"] == "tied" and row["components"] == 2)} for row in GRID]
    assert finish(plot_selection(chosen)).get_ylabel() == "ICL"
    assert plot_selection(GRID).get_ylabel() == "BIC"
    chosen = [{**row, "chosen": float(row["family"] == "full" and row["components"] == 2)} for row in GRID]
    assert "held-out" in plot_selection(chosen).get_ylabel()  # it is the best by BIC as well
    assert plot_selection([{**row, "holdout": None} for row in chosen]).get_ylabel() == "BIC"


def test_of_the_holdout_the_highest_is_best() -> None:
    ax = finish(plot_selection(GRID, "holdout"))
    (ring,) = lines(ax, "best")
    assert ring.get_ydata()[0] == -4.0
    assert "the higher the better" in title_of(ax)
    (failed,) = lines(ax, "failed full")
    assert failed.get_transform().transform(failed.get_xydata())[0, 1] < ax.transAxes.transform((0, 0.1))[1]


def test_values_far_beyond_are_left_off_the_axis_and_marked() -> None:
    ax = finish(plot_selection(FAITHFUL, "bic"))
    assert ax.get_ylim()[1] < 2450
    title = title_of(ax)
    assert title == "the lower the better · the best sound fit ringed, 5.8 ahead · 5 of 15 fits above the axis"
    arrows = {str(line.get_gid()): line for line in ax.lines if str(line.get_gid()).startswith("beyond")}
    assert {name: len(np.asarray(line.get_xdata())) for name, line in arrows.items()} == {
        "beyond isotropic": 3,
        "beyond full": 1,
        "beyond tied": 1,
    }
    shades = {name: PALETTE[list(FAMILIES).index(name)] for name in ("tied", "full", "isotropic")}
    area = ax.get_window_extent()
    heights = []
    for name, line in arrows.items():
        assert line.get_marker() == "^"
        assert to_hex(line.get_color()) == shades[name.removeprefix("beyond ")]
        places = line.get_transform().transform(line.get_xydata())
        assert (places[:, 1] > area.y1 - 30).all()
        assert all(area.contains(*place) for place in places)
        heights.append(places[0, 1])
    assert min(np.diff(np.sort(heights))) > 6  # no two at one place
    assert legend_texts(ax)[-1] == "above the axis"


def test_lines_and_ticks_end_where_the_axis_does() -> None:
    ax = finish(plot_selection(FAITHFUL, "bic"))
    low, high = ax.spines["left"].get_bounds() or (0, 0)
    assert 2390.5 < high < ax.get_ylim()[1]
    assert all(low <= tick <= high for tick in ax.get_yticks())
    for name in ("tied", "full", "isotropic"):
        (line,) = lines(ax, f"family {name}")
        clip = line.get_clip_box()
        assert clip is not None
        assert ax.transData.transform((0, 2390.5))[1] < clip.y1 < ax.transData.transform((0, high))[1]


def test_without_values_beyond_the_axis_is_whole() -> None:
    ax = finish(plot_selection([row for row in FAITHFUL if row["components"] > 1 and row["bic"] < 3000], "bic"))
    assert ax.spines["left"].get_bounds() is None
    assert not [line for line in ax.lines if str(line.get_gid()).startswith("beyond")]
    assert "the axis" not in title_of(ax)


def test_an_unsound_value_that_is_far_too_good_does_not_stretch_the_axis() -> None:
    spurious = cell("full", 7, -9000.0, reason="component 3 on 2 rows")
    ax = finish(plot_selection([*FAITHFUL, spurious], "bic"))
    assert ax.get_ylim()[0] > 2200
    (arrow,) = (line for line in lines(ax, "beyond full") if line.get_marker() == "v")
    assert arrow.get_markerfacecolor() == "white"
    assert title_of(ax).endswith("above the axis · 1 of 16 fits below the axis")
    assert legend_texts(ax)[-3:] == ["not to be trusted", "above the axis", "below the axis"]


@pytest.mark.parametrize(
    ("sound", "others", "span"),
    [
        ([1.0], [], (0.5, 1.5)),
        ([1.0, 500.0], [], (1, 500)),  # of two, none is far
        ([1.0, 500.0], [-700.0], (-700, 500)),
        ([], [1.0, 500.0, 501.0], (1, 501)),
        ([0.0, 20, 40, 60, 5000], [], (0, 60)),
        ([0.0, 1, 40, 60, 85], [], (0, 85)),  # hardly farther
        ([float(i * i) for i in range(50)], [], (0, 841)),  # on and on
        ([0.0, 20, 40, 60, 450], [], (0, 450)),  # where the lead can be seen
        ([0.0, 0, 0, 8, 900], [], (0, 8)),  # of which `least` is 10
        ([0.0, 20, 40, 60, 5000], [-30, -4000.0], (-30, 60)),
        ([0.0, 20, 40, 60, 5000], [50, 9000.0], (0, 60)),
        ([5.0, 5.0, 5.0], [], (4.5, 5.5)),
    ],
)
def test_the_part_that_is_shown(sound: list[float], others: list[float], span: tuple[float, float]) -> None:
    assert telling_span(sound, others, 10.0) == span


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("criterion", ["bic", "holdout"])
def test_the_name_of_the_best_covers_nothing(seed: int, criterion: str) -> None:
    draw = np.random.default_rng(seed)
    rows = []
    for family in ("full", "tied", "shared_diagonal", "isotropic")[: 1 + seed % 4]:
        for k in range(1, int(draw.integers(2, 30))):
            value = 1000 + 40 * draw.standard_normal() ** 3 + 300 * (k == 1)
            rows.append(cell(family, k, value, holdout=-value, reason="few rows" * int(draw.random() < 0.3)))
    rows.append(cell("full", 31, 999.0, holdout=-999.0))
    ax = finish(plot_selection(rows, criterion))
    assert not covered(ax)
    (text,) = ax.texts
    area, box = ax.get_window_extent(), Text.get_window_extent(text)
    assert area.x0 <= box.x0 <= box.x1 <= area.x1
    assert area.y0 <= box.y0 <= box.y1 <= area.y1


def test_in_a_small_figure_words_stay_in_their_place() -> None:
    ax = finish(plot_selection(FAITHFUL, "bic", size=(4.0, 3.0)))
    (text,) = ax.texts
    area, box = ax.get_window_extent(), Text.get_window_extent(text)
    assert area.x0 <= box.x0 <= box.x1 <= area.x1
    assert not covered(ax)
    title = next(child for child in ax.get_children() if isinstance(child, Text) and "the better" in child.get_text())
    assert title.get_text().count("\n") == 1
    assert title.get_window_extent().x1 < figure_of(ax).bbox.x1


def test_a_name_away_from_its_point_has_a_line_to_it() -> None:
    rows = [cell("full", k, 100.0 + 10 * k, reason="" if k == 5 else "few rows") for k in range(1, 10)]
    ax = finish(plot_selection(rows, "bic"))
    (text,) = ax.texts
    assert not covered(ax)
    assert getattr(text, "arrow_patch", None) is not None
    assert getattr(finish(plot_selection(FAITHFUL, "bic")).texts[0], "arrow_patch", None) is None


def test_two_cells_that_are_as_good_look_as_good() -> None:
    ax = finish(plot_selection([cell("full", 2, 2322.1901), cell("tied", 2, 2322.1907)], "bic"))
    low, high = ax.get_ylim()
    assert high - low > 1
    assert ax.get_ylabel() == "BIC"
    assert "0.0006 ahead" in title_of(ax)
    assert lines(ax, "family full")[0].get_zorder() == lines(ax, "family tied")[0].get_zorder()
    assert ax.lines.index(lines(ax, "family full")[0]) > ax.lines.index(lines(ax, "family tied")[0])  # on top


def test_many_numbers_of_components() -> None:
    ax = finish(plot_selection([cell("full", k, 2000.0 + (k - 4) ** 2) for k in range(1, 31)], "bic"))
    ticks = [int(text.get_text()) for text in ax.get_xticklabels()]
    assert ticks == [5, 10, 15, 20, 25, 30]


def test_none_is_ringed_where_none_is_sound() -> None:
    ax = finish(plot_selection([{**row, "reason": "few rows"} for row in GRID], "bic"))
    assert not lines(ax, "best")
    assert not ax.texts
    assert "no fit is sound" in title_of(ax)


def test_what_cannot_be_drawn_of_a_grid() -> None:
    with pytest.raises(InputError, match="no row has a value of aic"):
        plot_selection(GRID, "aic")
    with pytest.raises(UsageError, match="criterion='gap': unknown criterion"):
        plot_selection(GRID, "gap")


def test_one_cell_alone() -> None:
    ax = finish(plot_selection([cell("full", 3, 10.0)]))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["3"]
    assert "ahead" not in title_of(ax)
    finish(plot_selection([cell("full", 3, 10.0), cell("full", 4, float("inf"))]))


def test_a_selection_on_given_axes() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    assert plot_selection(FAITHFUL, "bic", ax=ax) is ax
    assert figure_of(ax) is figure
    figure.canvas.draw()
    assert not covered(ax)


def test_any_name_of_a_family(tmp_path: Path) -> None:
    long = "x" * 50
    rows = [cell("a\x01", 1, 1.0), cell("failed", 1, 2.0), cell("full", 1, None)]
    rows += [cell(f"{long}{end}", 1, 3.0) for end in "12"]
    ax = plot_selection(rows, "bic")
    assert legend_texts(ax) == ["a\\x01", "failed", *[long[:39] + "…"] * 2, "full", "failed"]
    write_figure(str(tmp_path / "a.svg"), figure_of(ax))
    ElementTree.parse(tmp_path / "a.svg")


def test_fits_of_one_family_and_number_stay_in_order() -> None:
    ax = finish(plot_selection([cell("full", 3, 5.0), cell("full", 2, 9.0), cell("full", 2, 4.0)], "bic"))
    np.testing.assert_array_equal(lines(ax, "family full")[0].get_ydata(), [9, 4, 5])
