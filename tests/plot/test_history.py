"""A log-likelihood by pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import gmmcli
from gmmcli.errors import InputError
from gmmcli.fitting.result import describe
from gmmcli.plot import plot_history
from tests.plot.conftest import finish, lines, title_of


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
    assert "3 components" in title_of(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("passes over the data", "log-likelihood per row, nats")


def test_a_history_of_one_restart_has_no_legend_and_nulls_are_left_out() -> None:
    metadata = history(1)
    metadata["history"].insert(0, {"passes": 0, "log_likelihood": None})
    ax = finish(plot_history(metadata))
    assert ax.get_legend() is None
    with pytest.raises(InputError, match="no history"):
        plot_history({"kind": "truth"})


def test_a_history_on_given_axes() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    assert plot_history(history(), ax=ax) is ax
