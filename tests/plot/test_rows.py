"""The rows that a picture shows: limited in number, and the same rows for every way of reading."""

from __future__ import annotations

import pytest
import torch

from gmmcli.passes.block import TableBlocks
from gmmcli.plot import RowSampler, choose_coordinates, plot_data_and_model, sample_rows
from gmmcli.plot import picture as module
from tests.plot.conftest import mixture, points, rows_of, title_of


def test_large_data_are_thinned_and_the_picture_says_so() -> None:
    model = mixture(2)
    ax = plot_data_and_model(rows_of(model, 50_000), model)
    assert len(points(ax)) == module.MOST_ROWS
    assert "20,000 of 50,000 rows shown" in title_of(ax)


def test_the_sample_does_not_depend_on_the_blocks_nor_on_who_reads_them() -> None:
    model = mixture(3)
    x = rows_of(model, 30_000)
    w = x[:, 0].abs()
    x[:2, :] = torch.nan
    coordinates = choose_coordinates(model)
    whole = sample_rows(x, model, coordinates, w)
    assert whole is not None
    assert len(whole.x) == module.GRID_ROWS
    assert torch.equal(whole.weights, whole.x[:, 0].abs())  # type: ignore[arg-type]
    assert whole.caption() == "5,000 of 29,998 rows shown, 2 left out for missing cells"
    samplers = [RowSampler(coordinates, 3) for _ in range(3)]  # the last stays empty
    for block in TableBlocks(x, w, block_rows=7_001):
        samplers[block.index % 2].add(block)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        merged = RowSampler(coordinates, 3)
        for index in order:
            merged.merge(samplers[index])
        parts = merged.result()
        assert torch.equal(parts.x, whole.x)
        assert torch.equal(parts.weights, whole.weights)  # type: ignore[arg-type]
        assert (parts.rows, parts.left_out) == (whole.rows, whole.left_out)


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
