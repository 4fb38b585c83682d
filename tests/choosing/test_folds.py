"""Folds: every row is held out once, by its number alone, and weights and missing cells go with it."""

from __future__ import annotations

import pytest
import torch

import gmmcli
from gmmcli.choosing.folds import Part, ScoreSums
from gmmcli.passes.block import TableBlocks
from gmmcli.passes.reading import Reading, drive, read


def rows(count: int = 1000) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def weights_of(fold: Part) -> torch.Tensor:
    return torch.cat([block.weights for block in fold if block.weights is not None])


@pytest.mark.parametrize("block_rows", [1000, 130])
def test_every_row_is_held_out_once(block_rows: int) -> None:
    blocks = TableBlocks(rows(), block_rows=block_rows)
    held = torch.stack([weights_of(Part(blocks, 7, i, 5, True)) for i in range(5)])
    assert bool((held.sum(0) == 1).all())
    assert int(held.sum(1).min()) > 150
    others = torch.stack([weights_of(Part(blocks, 7, i, 5, False)) for i in range(5)])
    assert torch.equal(others, 1 - held)


def test_folds_do_not_depend_on_the_blocks_and_do_on_the_seed() -> None:
    one, two = (weights_of(Part(TableBlocks(rows(), block_rows=n), 7, 0, 5, True)) for n in (1000, 64))
    assert torch.equal(one, two)
    assert not torch.equal(one, weights_of(Part(TableBlocks(rows()), 8, 0, 5, True)))


def test_row_weights_stay() -> None:
    w = torch.rand(1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = [weights_of(Part(TableBlocks(rows(), w), 7, i, 3, True)) for i in range(3)]
    torch.testing.assert_close(torch.stack(parts).sum(0), w)


@pytest.mark.parametrize("missing", [False, True])
def test_log_likelihood_is_the_weighted_sum_over_rows(missing: bool) -> None:
    x = rows()
    model = gmmcli.fit(x, 2).model
    if missing:
        x[::5, 1] = torch.nan
    w = torch.arange(1000).double() % 3
    blocks = TableBlocks(x, w, 300, incomplete=missing)
    total, weight = drive(read(Reading(lambda: ScoreSums(model), blocks)), 2)
    scores = torch.as_tensor(model.log_prob(x, marginal=True)).detach()
    assert total == pytest.approx(float(w @ scores))
    assert weight == float(w.sum())
