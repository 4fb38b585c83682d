"""A criterion by number of components, a log-likelihood by pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import gmmcli
from gmmcli.errors import InputError, UsageError
from gmmcli.metadata import describe
from gmmcli.plot import plot_history, plot_selection
from tests.plot.conftest import finish, legend_texts


def cell(family: str, components: int, bic: float | None, icl: float | None = None, **more: Any) -> dict[str, Any]:
    return {"family": family, "components": components, "bic": bic, "icl": icl, "chosen": None, "reason": "", **more}


GRID = [
    cell("full", 1, 300.0, 300.0, holdout=-5.0),
    cell("full", 2, 200.0, 220.0, holdout=-4.0),
    cell("full", 3, 150.0, 160.0, holdout=-4.5, reason="component 2 on 3 rows"),
    cell("full", 4, None),
    cell("tied", 1, 300.0, 300.0, holdout=-5.0),
    cell("tied", 2, 250.0, 215.0, holdout=-4.8, chosen=1.0),
    cell("tied", 3, 240.0, 230.0, holdout=-4.9),
    cell("tied", 4, None),
]


def lines(ax: Any, gid: str) -> list[Any]:
    return [line for line in ax.lines if line.get_gid() == gid]


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


def test_unsound_cells_are_hollow_and_failed_ones_crosses() -> None:
    ax = finish(plot_selection(GRID, "bic"))
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [np.asarray(line.get_xydata()).tolist() for line in hollow] == [[[3.0, 150.0]]]
    crosses = [x for line in ax.lines if line.get_marker() == "x" for x in np.asarray(line.get_xdata()).tolist()]
    assert sorted(round(x) for x in crosses) == [4, 4]
    assert len(set(crosses)) == 2


def test_the_criterion_is_the_one_that_chose() -> None:
    assert finish(plot_selection(GRID)).get_ylabel() == "ICL"
    plain = [{**row, "chosen": None} for row in GRID]
    assert plot_selection(plain).get_ylabel() == "BIC"


def test_of_the_holdout_the_highest_is_best() -> None:
    ax = finish(plot_selection(GRID, "holdout"))
    (ring,) = lines(ax, "best")
    assert ring.get_ydata()[0] == -4.0
    assert "the higher the better" in ax.get_title(loc="left")


def test_what_cannot_be_drawn_of_a_grid() -> None:
    with pytest.raises(InputError, match="no row has a value of aic"):
        plot_selection(GRID, "aic")
    with pytest.raises(UsageError, match="unknown criterion 'gap'"):
        plot_selection(GRID, "gap")


def test_one_cell_alone() -> None:
    finish(plot_selection([cell("full", 3, 10.0)]))


def history(restarts: int = 3) -> dict[str, Any]:
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    return describe(gmmcli.fit(x, 3, init="random", restarts=restarts, iterations=15, tolerance=1e-12))


def test_the_history_is_that_of_the_model() -> None:
    metadata = history()
    ax = finish(plot_history(metadata))
    (line,) = lines(ax, "history")
    assert list(line.get_xdata()) == [record["passes"] for record in metadata["history"]]
    assert list(line.get_ydata()) == [record["log_likelihood"] for record in metadata["history"]]
    ended = [
        r for r in metadata["restarts"] if r["restart"] != metadata["restart"] and np.isfinite(r["log_likelihood"])
    ]
    assert len(lines(ax, "restart")) == len(ended)
    assert "3 components" in ax.get_title(loc="left")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("passes over the data", "log-likelihood per row, nats")


def test_a_history_of_one_restart_has_no_legend_and_nulls_are_left_out() -> None:
    metadata = history(1)
    metadata["history"].insert(0, {"passes": 0, "log_likelihood": None})
    ax = finish(plot_history(metadata))
    assert ax.get_legend() is None
    with pytest.raises(InputError, match="no history"):
        plot_history({"kind": "truth"})


@pytest.mark.parametrize("which", [0, 1])
def test_curves_on_given_axes(which: int) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    assert (plot_selection(GRID, ax=ax) if which else plot_history(history(), ax=ax)) is ax
