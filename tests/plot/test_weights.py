"""Row weights in pictures: opacities of points, heights of bars, and rows of weight 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes

from gmmcli.errors import InputError, UsageError
from gmmcli.plot import (
    RowSample,
    plot_data_and_model,
    write_animation,
    write_picture,
)
from gmmcli.plot.panels import FAINTEST, bin_edges
from tests.plot.conftest import (
    finish,
    legend_texts,
    mixture,
    panels,
    point_colours,
    point_opacities,
    points,
    rows_of,
    title_of,
)


def bars(ax: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Heights and edges of the histogram."""
    found = ax.patches[0].get_data()  # type: ignore[attr-defined]
    return found.values, found.edges


def weights_of(count: int = 200) -> torch.Tensor:
    return torch.empty(count).exponential_(generator=torch.Generator().manual_seed(3)).double()


def test_opacity_grows_with_the_weight() -> None:
    model = mixture(2)
    x, w = rows_of(model), weights_of()
    plain = finish(plot_data_and_model(x, model))
    ax = finish(plot_data_and_model(x, model, weights=w))
    np.testing.assert_array_equal(points(ax), points(plain))
    assert point_colours(ax) == point_colours(plain)
    opaque = point_opacities(plain)
    (whole,) = np.unique(opaque)
    of_place = {tuple(row): float(weight) for row, weight in zip(x.tolist(), w / w.max(), strict=True)}
    relative = np.array([of_place[tuple(row)] for row in points(ax).tolist()])
    np.testing.assert_allclose(point_opacities(ax), FAINTEST + (whole - FAINTEST) * relative)
    assert "opacity by weight" in title_of(ax)
    assert "weight" not in title_of(plain)


def test_a_row_is_visible_whatever_the_others_weigh() -> None:
    model = mixture(2)
    w = torch.full((200,), 1e-300, dtype=torch.float64)
    w[0] = 1e300
    ax = finish(plot_data_and_model(rows_of(model), model, weights=w))
    assert point_opacities(ax).min() == pytest.approx(FAINTEST)
    finish(plot_data_and_model(rows_of(model), model, weights=w, columns=["x1"]))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_equal_weights_are_none(dims: int, tmp_path: Path) -> None:
    model = mixture(dims)
    write_picture(str(tmp_path / "plain.svg"), rows_of(model), model)
    write_picture(str(tmp_path / "equal.svg"), rows_of(model), model, weights=[0.25] * 200)
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "equal.svg").read_bytes()


def test_bars_are_sums_of_weights() -> None:
    model = mixture(1)
    x, w = rows_of(model), weights_of()
    ax = finish(plot_data_and_model(x, model, weights=w))
    heights, edges = bars(ax)
    expected, _ = np.histogram(x[:, 0].numpy(), edges, weights=w.numpy())
    np.testing.assert_allclose(heights * np.diff(edges), expected / w.sum().item())
    assert "bars by weight" in title_of(ax)
    assert legend_texts(ax)[-1] == "data, weighted"


def test_a_grid_shows_weights_on_the_diagonal_and_below_it() -> None:
    model = mixture(3)
    x, w = rows_of(model), weights_of()
    x[:20, 0] = torch.nan
    grid = panels(finish(plot_data_and_model(x, model, weights=w)))
    for column in range(3):
        heights, edges = bars(grid[column][column])
        there = x[:, column].isfinite()
        expected, _ = np.histogram(x[there, column].numpy(), edges, weights=w[there].numpy())
        np.testing.assert_allclose(heights * np.diff(edges), expected / expected.sum())
    assert len(point_opacities(grid[1][0])) == 180
    assert len(np.unique(point_opacities(grid[2][1]))) == 200


def test_rows_of_weight_zero_are_not_there() -> None:
    model = mixture(2)
    x, w = rows_of(model), weights_of()
    x[5:9, 0] = torch.nan
    w[:7] = 0
    ax = finish(plot_data_and_model(x, model, weights=w))
    assert len(points(ax)) == 191
    assert title_of(ax).startswith("191 rows, 2 left out for missing cells · opacity by weight")
    assert "0 rows" in title_of(finish(plot_data_and_model(x, model, weights=torch.zeros(200))))


def test_heavy_rows_are_few_rows_to_the_bars() -> None:
    values = np.linspace(0, 1, 10_000)
    heavy = np.where(np.arange(10_000) % 200 == 0, 1.0, 1e-6)
    assert len(bin_edges(values, np.ones(10_000))) > 2 * len(bin_edges(values, heavy))
    assert len(bin_edges(values, heavy)) == len(bin_edges(values[::200], np.ones(50)))


def test_weights_come_as_any_column_does() -> None:
    model = mixture(2)
    x, w = rows_of(model), weights_of()
    frame = pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "w": w}, index=range(7, 207))
    expected = point_opacities(plot_data_and_model(x, model, weights=w))
    for given in (w.float(), w.numpy(), w.tolist(), frame["w"]):
        np.testing.assert_allclose(point_opacities(plot_data_and_model(frame, model, weights=given)), expected, 1e-6)


def test_animations_take_them_too(tmp_path: Path) -> None:
    model = mixture(1)
    for name, w in (("plain", None), ("weighted", weights_of())):
        write_animation(str(tmp_path / f"{name}.gif"), rows_of(model), [(model, "")], weights=w, dpi=30)
    assert (tmp_path / "plain.gif").read_bytes() != (tmp_path / "weighted.gif").read_bytes()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0] * 3, r"weights of shape \(3,\) for 200 rows"),
        ([-1.0] * 200, "finite and not negative"),
        ([float("nan")] * 200, "finite and not negative"),
        (["a"] * 200, "cannot read row weights from list"),
    ],
)
def test_what_are_no_weights(weights: list[object], message: str) -> None:
    model = mixture(2)
    with pytest.raises(InputError, match=message):
        plot_data_and_model(rows_of(model), model, weights=weights)


@pytest.mark.parametrize("data", [None, RowSample(torch.zeros(200, 2), 200, 0, torch.ones(200))])
def test_weights_of_no_table(data: RowSample | None) -> None:
    with pytest.raises(UsageError, match="weights: given without a table"):
        plot_data_and_model(data, mixture(2), weights=[1.0] * 200)
