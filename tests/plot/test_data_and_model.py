"""plot_data_and_model: the drawing of one, two and more columns, in which colours, on which axes."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

import gmmcli
from gmmcli.errors import InputError, UsageError
from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot import data_figure, plot_data_and_model
from gmmcli.plot.coordinates import SHOWN_COLUMNS
from gmmcli.plot.data_and_model import CONTOUR, ELLIPSE
from gmmcli.plot.panels import SUM, bin_edges
from gmmcli.plot.style import BACKGROUND, PALETTE, colour, percent
from tests.plot.conftest import (
    finish,
    legend_texts,
    line_colours,
    mixture,
    outlines,
    panels,
    point_colours,
    points,
    rows_of,
    title_of,
)


def test_one_column_has_a_histogram_the_components_and_their_sum() -> None:
    model = mixture(1)
    ax = finish(plot_data_and_model(rows_of(model), model))
    names = [f"component {k} · {percent(w)}" for k, w in enumerate(model.weights.tolist())]
    colours = line_colours(ax)
    assert list(colours) == [*names, SUM]
    assert [colours[name] for name in names] == list(PALETTE[:3])
    assert ax.get_xlabel() == "x1"
    assert ax.get_ylabel() == "density"
    assert legend_texts(ax) == [*names, SUM, "data"]
    bars = ax.patches[0].get_data()  # type: ignore[attr-defined]
    assert (bars.values * np.diff(bars.edges)).sum() == pytest.approx(1)


def test_the_curves_of_one_column_are_the_weighted_densities() -> None:
    model = GaussianMixture([0.7, 0.3], [[0.0], [1e3]], [[1.0], [1e-6]], family="diagonal")
    ax = finish(plot_data_and_model(None, model))
    for k, line in enumerate(ax.lines[:2]):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        std = [1.0, 1e-3][k]
        assert y.max() == pytest.approx(model.weights[k].item() / (std * np.sqrt(2 * np.pi)), rel=1e-3)
        assert np.trapezoid(y, x) == pytest.approx(model.weights[k].item(), rel=1e-2)
    total = np.asarray(ax.lines[2].get_ydata())
    places = torch.as_tensor(np.asarray(ax.lines[2].get_xdata()))[:, None]
    torch.testing.assert_close(torch.as_tensor(total), model.log_prob(places).detach().exp(), rtol=1e-9, atol=1e-30)


def test_two_columns_have_points_ellipses_and_contours() -> None:
    model = mixture(2)
    x = rows_of(model)
    ax = finish(plot_data_and_model(x, model))
    assert len(points(ax)) == 200
    assert point_colours(ax) == [colour(k) for k in model.assign(torch.as_tensor(points(ax))).tolist()]
    found = outlines(ax)
    assert [to_hex(p.get_edgecolor()) for p in found] == 2 * list(PALETTE[:3])
    for index, polygon in enumerate(found):
        k, radius = index % 3, 1 + index // 3
        apart = torch.as_tensor(polygon.get_xy()) - model.means[k]
        squares = (apart @ model.covariances[k].inverse() * apart).sum(1).detach()
        torch.testing.assert_close(squares, torch.full_like(squares, radius**2))
    fills = [alpha for p in ax.patches if (alpha := p.get_alpha()) is not None]
    assert fills == sorted(fills, reverse=True)  # the heaviest is the most opaque
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x1", "x2")
    assert [text.split(" · ")[0] for text in legend_texts(ax)[:3]] == ["component 0", "component 1", "component 2"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_contours_hold_their_share_and_are_not_clipped(seed: int) -> None:
    model = gmmcli.model.synthetic.random_mixture(dims=2, components=4, seed=seed)  # type: ignore[attr-defined]
    ax = finish(plot_data_and_model(None, model))
    (contours,) = [c for c in ax.collections if type(c).__name__ == "QuadContourSet"]
    levels = np.asarray(contours.levels)  # type: ignore[attr-defined]
    density = model.log_prob(rows_of(model, 20_000)).detach().exp().numpy()
    np.testing.assert_allclose([(density > level).mean() for level in levels], [0.9, 0.7, 0.5, 0.3, 0.1], atol=0.02)
    for path in contours.get_paths():
        starts = np.flatnonzero(path.codes == 1)
        for part in np.split(path.vertices, starts[1:]):
            assert np.allclose(part[0], part[-1])  # each closes: the edge of the axes cuts none
    curves = np.concatenate([polygon.get_xy() for polygon in outlines(ax)])
    assert (curves.min(0) > [ax.get_xlim()[0], ax.get_ylim()[0]]).all()
    assert (curves.max(0) < [ax.get_xlim()[1], ax.get_ylim()[1]]).all()


def test_more_columns_are_a_grid_below_the_diagonal() -> None:
    model = mixture(4)
    ax = finish(plot_data_and_model(rows_of(model), model))
    grid = panels(ax)
    assert [len(row) for row in grid] == [1, 2, 3, 4]
    assert [panel.get_xlabel() for panel in grid[-1]] == ["x1", "x2", "x3", "x4"]
    assert [row[0].get_ylabel() for row in grid[1:]] == ["x2", "x3", "x4"]
    for i, row in enumerate(grid):
        for j, panel in enumerate(row):
            assert panel.get_xlim() == grid[-1][j].get_xlim()
            if i == j:
                assert [to_hex(line.get_color()) for line in panel.lines[:3]] == list(PALETTE[:3])
            else:
                assert panel.get_ylim() == grid[i][0].get_ylim()
                assert [to_hex(p.get_edgecolor()) for p in outlines(panel)] == 2 * list(PALETTE[:3])
                assert len(points(panel)) == 200
    covariance = model.covariances[1].detach()[[0, 2]][:, [0, 2]]
    apart = torch.as_tensor(outlines(grid[2][0])[1].get_xy()) - model.means[1, [0, 2]].detach()
    squares = (apart @ covariance.inverse() * apart).sum(1)
    torch.testing.assert_close(squares, torch.ones_like(squares))
    assert legend_texts(ax)[3:] == ["1 and 2 std. deviations", "density of a component", "density of all", "data"]


def test_columns_are_picked_and_ordered() -> None:
    model = mixture(5)
    ax = finish(plot_data_and_model(rows_of(model), model, columns=["x4", "x2"]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x4", "x2")
    assert finish(plot_data_and_model(None, model, columns=["x3"])).get_xlabel() == "x3"
    assert len(panels(plot_data_and_model(None, model, columns=["x5", "x1", "x2"]))) == 3


def test_of_many_columns_those_that_tell_components_apart_are_shown() -> None:
    means = torch.zeros(2, 12)
    telling = [1, 3, 4, 7, 9, 11]
    means[1, telling] = 5.0
    model = GaussianMixture([0.5, 0.5], means, torch.ones(2, 12), family="diagonal")
    ax = plot_data_and_model(None, model)
    assert [panel.get_xlabel() for panel in panels(ax)[-1]] == [f"x{d + 1}" for d in telling]
    assert f"{SHOWN_COLUMNS} of 12 columns" in title_of(ax)


def test_the_projection_is_on_the_principal_components() -> None:
    covariance = torch.tensor([[4.0, 3.8, 0.0], [3.8, 4.0, 0.0], [0.0, 0.0, 1e-6]], dtype=torch.float64)
    model = GaussianMixture.from_covariances([1.0], [[5.0, 6.0, 7.0]], covariance[None])
    ax = finish(plot_data_and_model(rows_of(model), model, projection="pca"))
    assert ax.get_xlabel() == "PC1 (65 % of variance)"  # 1.95 of 3
    assert ax.get_ylabel() == "PC2 (33 % of variance)"
    assert outlines(ax)[0].get_xy()[:, 0].max() == pytest.approx(1.95**0.5, rel=1e-3)
    assert points(ax).std(0)[0] == pytest.approx(1.95**0.5, rel=0.15)
    some = plot_data_and_model(None, model, projection="pca", columns=["x1", "x2"])
    assert some.get_xlabel() == "PC1 (98 % of variance)"


def test_a_component_has_one_colour_in_every_picture() -> None:
    model = mixture(4, components=5)
    x = rows_of(model)
    line = plot_data_and_model(x, model, columns=["x1"])
    plane = plot_data_and_model(x, model, columns=["x1", "x2"])
    grid = panels(plot_data_and_model(x, model))
    first = [to_hex(one.get_color()) for one in line.lines[:5]]
    assert first == [to_hex(p.get_edgecolor()) for p in outlines(plane)[:5]]
    assert first == [to_hex(one.get_color()) for one in grid[0][0].lines[:5]]
    assert first == [to_hex(p.get_edgecolor()) for p in outlines(grid[2][1])[:5]]
    assert len(set(PALETTE)) == len(PALETTE) >= 30
    assert BACKGROUND not in PALETTE


def test_given_axes_are_drawn_on_and_returned() -> None:
    figure = Figure(figsize=(12, 4))
    FigureCanvasAgg(figure)
    for ax, dims in zip(figure.subplots(1, 3), (1, 2, 3), strict=True):
        model = mixture(dims)
        assert plot_data_and_model(rows_of(model), model, ax=ax) is ax
    assert len(figure.axes) == 3
    figure.canvas.draw()


def test_nothing_is_shown_and_no_setting_changes() -> None:
    before = mpl.rcParams.copy()
    model = mixture(2)
    finish(plot_data_and_model(rows_of(model), model))
    assert mpl.rcParams.copy() == before


@pytest.mark.parametrize("kind", ["numpy", "pandas", "arrow"])
def test_every_kind_of_table(kind: str) -> None:
    model = mixture(2)
    x = rows_of(model).numpy()
    frame = pd.DataFrame({"text": "a", "x2": x[:, 1], "x1": x[:, 0]})
    data = {"numpy": x, "pandas": frame, "arrow": pa.table({"x1": x[:, 0], "x2": x[:, 1]})}[kind]
    ax = gmmcli.plot_data_and_model(data, model)
    expected = plot_data_and_model(torch.as_tensor(x), model)
    np.testing.assert_array_equal(points(ax), points(expected))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_model_alone(dims: int) -> None:
    ax = finish(plot_data_and_model(None, mixture(dims)))
    assert "rows" not in title_of(ax)
    assert "data" not in legend_texts(ax)


def test_rows_with_missing_cells_are_left_out_and_counted() -> None:
    model = mixture(2)
    x = rows_of(model)
    x[:3, 0] = torch.nan
    ax = finish(plot_data_and_model(x, model))
    assert len(points(ax)) == 197
    assert "3 left out for missing cells" in title_of(ax)


def test_in_a_grid_a_row_is_where_it_has_cells() -> None:
    model = mixture(3)
    x = rows_of(model)
    x[:5, 0] = torch.nan
    grid = panels(finish(plot_data_and_model(x, model)))
    assert len(points(grid[1][0])) == 195
    assert len(points(grid[2][1])) == 200


def test_a_background_is_grey() -> None:
    plain = mixture(2)
    box = [[-10.0, -10.0], [10.0, 10.0]]
    model = GaussianMixture(plain.weights * 0.8, plain.means, plain.inner_scale, background=0.2, box=box)
    ax = finish(plot_data_and_model(rows_of(model), model))
    assert BACKGROUND in point_colours(ax)
    assert "background · 20 %" in legend_texts(ax)
    assert [p.get_gid() for p in ax.patches].count("background") == 1
    line = finish(plot_data_and_model(rows_of(model), model, columns=["x2"]))
    assert line_colours(line)["background · 20 %"] == BACKGROUND
    finish(plot_data_and_model(rows_of(model), model, projection="pca"))


def test_many_components_are_numbered_in_the_plane() -> None:
    model = mixture(2, components=30, radius=14.0)
    ax = finish(plot_data_and_model(rows_of(model, 1000), model))
    assert legend_texts(ax)[0] == f"0 · {percent(model.weights[0].item())}"
    assert legend_texts(ax)[30:] == [ELLIPSE, CONTOUR]
    assert sorted(int(text.get_text()) for text in ax.texts) == list(range(30))
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    hits = [(i, j) for i in range(30) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert not hits


def test_many_components_are_numbered_in_the_panels_of_a_grid() -> None:
    model = mixture(3, components=30, radius=14.0)
    grid = panels(finish(plot_data_and_model(rows_of(model, 1000), model)))
    for row in grid:
        assert not row[-1].texts  # of one column
        for panel in row[:-1]:
            numbers = [int(text.get_text()) for text in panel.texts]
            assert len(set(numbers)) == len(numbers) >= 20
            assert set(range(5)) <= set(numbers)  # the heaviest first
            assert all(to_hex(text.get_color()) == colour(k) for k, text in zip(numbers, panel.texts, strict=True))
            boxes = [Text.get_window_extent(text) for text in panel.texts]
            assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    few = panels(plot_data_and_model(None, mixture(3, components=12)))
    assert not any(panel.texts for row in few for panel in row)


def test_bars_are_no_wider_than_a_component_of_many_rows() -> None:
    model = GaussianMixture([0.8, 0.2], [[0.0], [9.0]], [[16.0], [0.01]], family="diagonal")
    light = GaussianMixture([0.98, 0.02], [[0.0], [9.0]], [[16.0], [0.01]], family="diagonal")
    widths = []
    for one in (model, light):
        x = rows_of(one, 200)
        edges = finish(plot_data_and_model(x, one)).patches[0].get_data().edges  # type: ignore[attr-defined]
        plain = bin_edges(x[:, 0].numpy(), np.ones(200))
        widths.append((np.diff(edges)[0], np.diff(plain)[0], (x.max() - x.min()).item()))
    assert widths[0][0] == pytest.approx(max(0.1, widths[0][2] / 80), rel=0.05)
    assert widths[0][0] < widths[0][1] / 2
    assert widths[1][0] == widths[1][1]  # of 4 rows


def test_ellipses_stand_out_from_the_more_points_the_more() -> None:
    model = mixture(3)
    seen = []
    for count in (50, 4000):
        panel = panels(plot_data_and_model(rows_of(model, count), model))[1][0]
        rims = []
        for outline in outlines(panel):
            (rim,) = outline.get_path_effects()
            look = rim._gc  # type: ignore[attr-defined]
            rims.append((look["linewidth"] - outline.get_linewidth(), look["alpha"]))
        seen.append(np.array(rims).min(0))
    assert (seen[1] > seen[0]).all()
    assert seen[1][0] >= 0.9
    assert seen[1][1] > 0.75


def test_of_very_many_components_the_heaviest_are_named() -> None:
    model = mixture(2, components=150)
    ax = finish(plot_data_and_model(None, model))
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(len(boxes)) for j in range(i))
    assert "0" in [text.get_text() for text in ax.texts]
    line = plot_data_and_model(None, model, columns=["x1"])
    assert legend_texts(line)[53:] == [f"53 · {percent(model.weights[53].item())}", "and 96 more", SUM]


def test_hostile_names_are_drawn_as_they_are() -> None:
    names = ("pay $x$ per\x1b[31m year", "a_very_" * 20)
    plain = mixture(2)
    model = GaussianMixture(plain.weights, plain.means, plain.inner_scale, columns=names)
    ax = finish(plot_data_and_model(None, model))
    assert ax.get_xlabel() == r"pay $x$ per\x1b[31m year"
    assert not ax.xaxis.label.get_parse_math()
    assert ax.get_ylabel().endswith("…")
    assert max(map(len, ax.get_ylabel().split("\n"))) <= 42


@pytest.mark.parametrize("place", [0.0, 1.6e9, -3e7, 1e30])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e12])
def test_ticks_are_short_wherever_the_data_lie(place: float, scale: float) -> None:
    if abs(place) > 1e12 * scale:
        pytest.skip("not numbers that differ")
    x = torch.stack([place + scale * torch.linspace(-1, 1, 50).double(), torch.linspace(0, 1, 50).double()], 1)
    model = GaussianMixture.from_covariances([1.0], x.mean(0)[None], x.mT.cov()[None] + torch.diag(x.var(0)))
    ax = finish(plot_data_and_model(x, model))
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert 3 <= len(labels) <= 8
    assert max(map(len, labels)) <= 8
    assert len(set(labels)) == len(labels)


def test_bars_of_whole_numbers_hold_as_many_of_them() -> None:
    edges = bin_edges(np.random.default_rng(0).integers(0, 100, 500).astype(float), np.ones(500))
    assert np.unique(np.diff(edges)).size == 1
    assert edges[0] == -0.5
    assert np.diff(edges)[0] == round(np.diff(edges)[0])
    assert len(bin_edges(np.full(9, 3.0), np.ones(9))) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"columns": ["y"]}, InputError, "no column y: the model has x1, x2, x3"),
        ({"columns": []}, UsageError, "columns: no names are given"),
        ({"projection": "tsne"}, UsageError, "projection='tsne': unknown projection: choose pca"),
        ({"projection": "pca", "columns": ["x1"]}, UsageError, "two columns"),
    ],
)
def test_what_cannot_be_drawn(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plot_data_and_model(None, mixture(3), **arguments)  # type: ignore[arg-type]


def test_too_many_columns_and_data_of_another_shape() -> None:
    model = mixture(20, components=2)
    with pytest.raises(UsageError, match="20 columns: a grid has at most 16"):
        plot_data_and_model(None, model, columns=list(model.columns or ()))
    with pytest.raises(InputError, match="data: 3 columns: the model has 20"):
        plot_data_and_model(torch.zeros(4, 3), model)


def test_the_size_of_a_figure() -> None:
    figure = data_figure(None, mixture(2), size=(5.0, None))
    assert figure.get_size_inches()[0] == 5.0
    assert len(figure.axes) == 1
