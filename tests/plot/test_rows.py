"""The rows that a picture shows: as many as it bears, the same however they are read."""

from __future__ import annotations

import pytest
import torch

from gmmcli.plot import RowSampler, choose_coordinates, plot_data_and_model, sample_rows
from gmmcli.plot import rows as module
from tests.plot.conftest import mixture, points, rows_of


def test_large_data_are_thinned_and_the_picture_says_so() -> None:
    model = mixture(2)
    ax = plot_data_and_model(rows_of(model, 50_000), model)
    assert len(points(ax)) == module.MOST_ROWS
    assert "20,000 of 50,000 rows shown" in ax.get_title(loc="left")


def test_the_sample_does_not_depend_on_the_blocks() -> None:
    model = mixture(3)
    x = rows_of(model, 30_000)
    coordinates = choose_coordinates(model)
    whole = sample_rows(x, model, coordinates)
    sampler = RowSampler(coordinates, 3)
    for first in range(0, len(x), 7_001):
        sampler.add(first, x[first : first + 7_001])
    parts = sampler.sample(dropped=2)
    assert whole is not None
    assert torch.equal(whole.x, parts.x)
    assert len(parts.x) == module.GRID_ROWS
    assert (parts.rows, parts.left_out) == (30_000, 2)
    assert parts.caption() == "5,000 of 30,000 rows shown, 2 left out for missing cells"


def test_few_rows_are_all_there() -> None:
    model = mixture(2)
    x = rows_of(model, 100)
    sample = sample_rows(x, model, choose_coordinates(model))
    assert sample is not None
    assert torch.equal(sample.x.sort(0).values, x.sort(0).values)
    assert sample.caption() == "100 rows"


def test_wide_rows_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERS", 300)
    model = mixture(2)
    sample = sample_rows(rows_of(model, 400), model, choose_coordinates(model))
    assert sample is not None
    assert len(sample.x) == 150
