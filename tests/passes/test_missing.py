"""Fits to data with missing cells: against completed statistics row by row, complete data, and other remedies."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import gmmcli
from gmmcli.errors import InputError
from gmmcli.families.base import Family
from gmmcli.fitting.engine import Batch, Evaluator, Request
from gmmcli.fitting.options import FitOptions
from gmmcli.passes.block import TableBlocks
from gmmcli.passes.coordinates import conditioning
from gmmcli.passes.prepared import PreparedData, prepare
from gmmcli.passes.reading import drive
from gmmcli.passes.survey import survey
from tests import reference
from tests.conftest import ask, fit_blocks, sound, to_parameters

D, K = 4, 3


def rows_with_holes(count: int = 400, share: float = 0.2, seed: int = 0, dims: int = D) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, dims)) @ (np.eye(dims) + 0.4) + 3 * draw.integers(0, 2, (count, 1))
    x[draw.random(x.shape) < share] = np.nan
    return torch.from_numpy(x)


def prepared(
    x: torch.Tensor, family: Family, dtype: torch.dtype = torch.float64, block_rows: int = 90,
    weights: torch.Tensor | None = None,
) -> PreparedData:  # fmt: skip
    blocks = TableBlocks(x, weights, block_rows=block_rows, incomplete=True)
    summary = drive(survey(blocks, distinct=2, covariances=True), 1)
    affine = conditioning(summary, family, [str(d) for d in range(x.shape[1])])
    return drive(prepare(blocks, summary, affine, dtype=dtype, device=torch.device("cpu")), 1)


def row_by_row(family: Family, p, z: np.ndarray, w: np.ndarray):
    """Weighted counts, sums and products expected of all cells, and the log-likelihood, one row at a time."""
    covariances = family.covariances(p.scale, p.dims).expand(p.components, -1, -1).numpy()
    means, counts = p.means.numpy(), np.zeros(p.components)
    sums, products, total = np.zeros(means.shape), np.zeros(covariances.shape), 0.0
    for row, weight in zip(z, w, strict=True):
        there, lacking = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        joint = np.log(p.weights.numpy())
        completed, spread = np.tile(row, (p.components, 1)), np.zeros_like(covariances)
        for k in range(p.components):
            known = covariances[k][np.ix_(there, there)]
            off = row[there] - means[k][there]
            joint[k] += -0.5 * (
                len(there) * math.log(2 * math.pi) + np.linalg.slogdet(known)[1] + off @ np.linalg.solve(known, off)
            )
            across = covariances[k][np.ix_(lacking, there)] @ np.linalg.inv(known)
            completed[k, lacking] = means[k][lacking] + across @ off
            spread[k][np.ix_(lacking, lacking)] = (
                covariances[k][np.ix_(lacking, lacking)] - across @ covariances[k][np.ix_(there, lacking)]
            )
        level = np.logaddexp.reduce(joint)
        r = weight * np.exp(joint - level)
        total += weight * level
        counts += r
        sums += r[:, None] * completed
        products += r[:, None, None] * (completed[:, :, None] * completed[:, None, :] + spread)
    return counts, sums, products, total


@pytest.mark.parametrize("weighted", [False, True])
def test_a_pass_gives_what_is_expected_row_by_row(family: Family, weighted: bool):
    x = rows_with_holes(250)
    x[17] = torch.nan  # a row without a cell counts for nothing
    w = torch.from_numpy(np.random.default_rng(3).uniform(0.2, 2, 250)) if weighted else None
    data = prepared(x, family, weights=w)
    p = to_parameters(family, reference.random_moments(family.name, K, D, 1, spread=1.0))
    found = sound(drive(Evaluator(data, family)([Request(p), Request(p)], entropy=True), 2))[1]
    there = ~x.isnan().all(1)
    z = data.affine.inner(x)[there].numpy()
    unit = np.ones(int(there.sum())) if w is None else w[there].numpy()
    counts, sums, products, total = row_by_row(family, p, z, unit)
    quads = family.form.of_products(torch.from_numpy(products)).numpy()
    quads = quads.sum(0, keepdims=True) if family.shared else quads
    close: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(found.counts, counts, **close)
    np.testing.assert_allclose(found.sums, sums, **close)
    np.testing.assert_allclose(found.quads, quads, **close)
    assert found.log_likelihood == pytest.approx(total, rel=1e-11)
    assert found.weight == pytest.approx(unit.sum(), rel=1e-12)


def test_batches_add_up_to_the_pass(family: Family):
    data = prepared(rows_with_holes(200), family)
    p = to_parameters(family, reference.random_moments(family.name, K, D, 1, spread=1.0))
    evaluate = Evaluator(data, family, batches=3)
    whole, *parts = ask(evaluate, [Request(p), *(Request(p, Batch(0, i)) for i in range(3))])
    assert sum(part.log_likelihood for part in parts) == pytest.approx(whole.log_likelihood, rel=1e-11)
    torch.testing.assert_close(torch.stack([part.quads for part in parts]).sum(0), whole.quads)


def test_float32_is_near_float64(family: Family):
    p = to_parameters(family, reference.random_moments(family.name, K, D, 1, spread=1.0))
    x = rows_with_holes()
    wide, narrow = (
        ask(Evaluator(prepared(x, family, dtype), family), [Request(p)])[0]
        for dtype in (torch.float64, torch.float32)
    )
    assert narrow.mean_log_likelihood == pytest.approx(wide.mean_log_likelihood, abs=1e-4)
    torch.testing.assert_close(narrow.sums, wide.sums, rtol=1e-4, atol=1e-2)


@pytest.mark.usefixtures("blas")
def test_threads_and_order_of_blocks_give_the_same_bits(family: Family):
    x = rows_with_holes(500)
    p = to_parameters(family, reference.random_moments(family.name, K, D, 1, spread=1.0))
    data = prepared(x, family, block_rows=64)
    one = ask(Evaluator(data, family), [Request(p)])[0]
    data.held.reverse()
    other = ask(Evaluator(data, family), [Request(p)], threads=3)[0]
    assert one.log_likelihood == other.log_likelihood
    assert torch.equal(one.quads, other.quads)


def test_without_a_missing_cell_it_is_the_fit_to_complete_data(family: Family):
    x = rows_with_holes(300, share=0)
    options: dict[str, Any] = {"family": family.name, "components": 2, "restarts": 2, "seed": 1}
    whole, other = (gmmcli.fit(x, missing=missing, **options) for missing in ("error", "em"))
    assert other.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-10)
    torch.testing.assert_close(other.model.means, whole.model.means, rtol=1e-10, atol=1e-10)


def test_the_log_likelihood_never_falls_and_the_model_scores_what_the_fit_says(family: Family):
    x = rows_with_holes(200, share=0.3, dims=3)
    acceleration = "none" if family.shared else "bfgs"
    result = gmmcli.fit(x, 2, family.name, missing="em", acceleration=acceleration, restarts=2)
    levels = [step.log_likelihood for step in result.history]
    assert all(b >= a - 1e-12 for a, b in pairwise(levels))
    own = x[~x.isnan().all(1)]
    total = float(result.model.log_prob(own, marginal=True).detach().sum())
    assert result.log_likelihood == pytest.approx(total, rel=1e-9)
    assert result.rows == len(own)


@pytest.mark.parametrize("name", ["full", "diagonal", "shared_isotropic"])
def test_gradient_descent_takes_missing_cells_too(name: str):
    x = rows_with_holes(200, dims=3)
    start = gmmcli.fit(x, 2, name, missing="em", restarts=2, iterations=3).model
    best = gmmcli.fit(x, 2, name, missing="em", init=start)
    adam = gmmcli.fit(x, 2, name, missing="em", init=start, method="gradient", iterations=150)
    assert adam.log_likelihood > best.log_likelihood - 200 * 1e-2


def test_standardised_and_float32_fits_agree():
    x = rows_with_holes(300) * torch.tensor([1e-3, 1.0, 1e4, 1.0]).double() + torch.tensor([0, 5, 1e6, 0]).double()
    plain = gmmcli.fit(x, 2, "full", missing="em", restarts=2)
    changes: list[dict[str, Any]] = [{"standardize": True}, {"precision": "float32"}]
    for options in changes:
        other = gmmcli.fit(x, 2, "full", missing="em", restarts=2, **options)
        assert other.log_likelihood == pytest.approx(plain.log_likelihood, abs=300 * 1e-4)


def test_a_column_without_values_is_refused_by_name():
    x = rows_with_holes(50)
    x[:, 2] = torch.nan
    with pytest.raises(InputError, match=r"^column x3: no row has a value: leave it out with exclude$"):
        fit_blocks(TableBlocks(x, incomplete=True), FitOptions(components=2))
    with pytest.raises(InputError, match="infinite cells"):
        gmmcli.fit(torch.tensor([[1.0], [torch.inf], [2.0]]), 1, missing="em")


def test_distinct_rows_are_counted_by_the_cells_that_are_there():
    x = torch.tensor([[0.0, torch.nan], [torch.nan, 0.0], [0.0, 0.0], [0.0, torch.nan]]).double()
    summary = drive(survey(TableBlocks(x, incomplete=True), distinct=9, covariances=True), 1)
    assert summary.distinct == 3
    assert summary.different.isfinite().all()
    assert summary.cells is not None
    assert summary.cells.tolist() == [3, 2]


@pytest.mark.parametrize("family_name", ["full", "diagonal"])
def test_on_penguins_it_beats_dropping_rows_and_filling_in_means(family_name: str):
    """20 % of the cells removed at random, K = 3, half the complete rows held out: the benchmark's first seeds."""
    from tests.benchmarks.missing import compare

    wins = [compare(family_name, seed, prior=False) for seed in range(2)]
    assert all(em > max(dropped, filled) for em, dropped, filled in wins)
