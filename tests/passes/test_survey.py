"""The survey against numpy, and the coordinates that are made from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gmmcli.errors import InputError
from gmmcli.families.base import Family
from gmmcli.passes.block import Block, TableBlocks
from gmmcli.passes.coordinates import conditioning, standardisation
from gmmcli.passes.reading import drive
from gmmcli.passes.survey import Survey, survey
from tests import reference
from tests.conftest import inner_rows, prepare_rows

N = 1000


def rows(seed: int = 0, dims: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dims, dims))
    return rng.normal(size=(N, dims)) @ mixing + 5 * rng.normal(size=dims)


def look(
    x: np.ndarray, w: np.ndarray | None = None, *, distinct: int = 5, block_rows: int = 128, threads: int = 1
) -> Survey:
    weights = None if w is None else torch.from_numpy(w)
    blocks = TableBlocks(torch.from_numpy(x), weights, block_rows)
    return drive(survey(blocks, distinct=distinct, covariances=True), threads)


def assert_moments(summary: Survey, mean: np.ndarray, covariance: np.ndarray, x: np.ndarray):
    """To the rounding of sums of N terms as large as the half range, at most sqrt(N) · EPS of it in practice."""
    half = (x.max(0) - x.min(0)) / 2
    bound = N**0.5 * reference.EPS
    assert (np.abs(summary.mean.numpy() - mean) <= bound * half + reference.EPS * np.abs(mean)).all()
    assert (np.abs(summary.covariance.numpy() - covariance) <= bound * np.outer(half, half)).all()


def test_moments_ranges_and_sizes():
    x = rows()
    summary = look(x)
    assert summary.rows == N
    assert summary.weight == N
    assert_moments(summary, x.mean(0), np.cov(x.T, bias=True), x)
    assert torch.equal(summary.minimum, torch.from_numpy(x.min(0)))
    assert torch.equal(summary.maximum, torch.from_numpy(x.max(0)))
    assert torch.equal(summary.variances, summary.covariance.diagonal())
    assert summary.distinct == 5


def test_weighted_moments():
    x, w = rows(), np.random.default_rng(1).uniform(0, 4, N)
    summary = look(x, w)
    mean = np.average(x, axis=0, weights=w)
    assert summary.weight == pytest.approx(w.sum(), rel=1e-14)
    assert_moments(summary, mean, np.cov(x.T, aweights=w, bias=True), x)


def test_far_from_the_origin():
    x = 1e9 + np.random.default_rng(2).normal(size=(N, 2))
    centred = x - 1e9  # exact
    summary = look(x)
    exact_mean = 1e9 + centred.mean(0)
    assert (np.abs(summary.mean.numpy() - exact_mean) <= 2 * reference.EPS * 1e9).all()
    assert_moments(summary, summary.mean.numpy(), np.cov(centred.T, bias=True), centred)
    # The textbook formula, which the survey must not use, has no digit left.
    assert np.abs((x**2).mean(0) - x.mean(0) ** 2 - centred.var(0)).min() > 1


def test_columns_of_very_different_scales():
    scale = np.array([1e-120, 1.0, 1e120])
    x = rows()
    summary = look(x * scale)
    expected = np.cov(x.T, bias=True) * np.outer(scale, scale)
    half = scale * (x.max(0) - x.min(0)) / 2
    assert (np.abs(summary.covariance.numpy() - expected) <= N**0.5 * reference.EPS * np.outer(half, half)).all()


def test_only_variances_when_covariances_are_not_asked_for():
    x = torch.from_numpy(rows())
    summary = drive(survey(TableBlocks(x, None, 128), distinct=2, covariances=False), 1)
    expected = torch.from_numpy(np.cov(x.numpy().T, bias=True)).diagonal()
    assert_close(summary.variances, expected, rtol=1e-13, atol=0)
    assert torch.equal(summary.covariance, summary.variances.diag())


def test_rows_without_weight_are_as_if_they_were_not_there():
    x = rows()
    w = np.random.default_rng(3).integers(0, 3, N).astype(float)
    extreme = x.copy()
    extreme[w == 0] = 1e300
    with_them, without = look(extreme, w), look(x[w > 0], w[w > 0])
    assert with_them.rows == without.rows == int((w > 0).sum())
    assert torch.equal(with_them.minimum, without.minimum)
    assert torch.equal(with_them.maximum, without.maximum)
    assert_close(with_them.mean, without.mean, rtol=1e-14, atol=1e-14)
    assert_close(with_them.covariance, without.covariance, rtol=1e-13, atol=1e-13)
    first = w.nonzero()[0][:1]
    assert look(extreme[:200], np.where(np.arange(200) == first, 2.0, 0.0)).distinct == 1


def test_integer_weights_equal_repeated_rows():
    x, w = rows(), np.random.default_rng(4).integers(0, 4, N)
    weighted, repeated = look(x, w.astype(float)), look(np.repeat(x, w, 0))
    assert weighted.weight == repeated.weight == w.sum()
    assert_close(weighted.mean, repeated.mean, rtol=1e-13, atol=1e-13)
    assert_close(weighted.covariance, repeated.covariance, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("values", "limit", "expected"),
    [([1, 1, 1], 5, 1), ([1, 2, 1], 5, 2), ([1, 2, 3, 4], 3, 3), ([1, 2, 3, 4], 4, 4), ([1, 2, 3, 4], 9, 4)],
)
@pytest.mark.parametrize("block_rows", [1, 2, 100])
def test_distinct_rows_are_counted_up_to_the_limit(values: list[int], limit: int, expected: int, block_rows: int):
    x = np.array([[float(v), 0.0] for v in values])
    assert look(x, distinct=limit, block_rows=block_rows).distinct == expected


def test_rows_that_differ_in_one_column_are_distinct():
    assert look(np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [0.0, 1.0]])).distinct == 3


def test_constant_columns_have_variance_zero_exactly():
    x = rows()
    x[:, 1] = 0.1
    summary = look(x)
    assert float(summary.variances[1]) == 0
    assert float(summary.mean[1]) == 0.1
    one = look(x[:1])
    assert one.variances.tolist() == [0, 0, 0]
    assert one.rows == 1


@pytest.mark.usefixtures("blas")
def test_same_bits_for_any_threads_and_order():
    x, w = rows(), np.random.default_rng(5).uniform(0, 4, N)
    blocks = list(TableBlocks(torch.from_numpy(x), torch.from_numpy(w), 64))
    expected = drive(survey(blocks, distinct=4, covariances=True), 1)
    for order in (blocks, blocks[::-1], blocks[5:] + blocks[:5]):
        for threads in (1, 2):
            actual = drive(survey(order, distinct=4, covariances=True), threads)
            assert actual.weight == expected.weight
            assert actual.distinct == expected.distinct
            for name in ("minimum", "maximum", "mean", "covariance"):
                assert torch.equal(getattr(actual, name), getattr(expected, name))


@pytest.mark.parametrize("w", [None, torch.zeros(3, dtype=torch.float64)], ids=["no rows", "no weight"])
def test_no_row_of_weight_is_refused(w: torch.Tensor | None):
    x = torch.zeros(0 if w is None else 3, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="no row has a positive weight"):
        drive(survey([Block(0, 0, x, w)], distinct=2, covariances=True), 1)


def test_tables_are_cut_into_blocks_by_row_number():
    x, w = torch.arange(20.0, dtype=torch.float64).reshape(10, 2), torch.arange(10.0, dtype=torch.float64)
    blocks = TableBlocks(x, w, 4)
    for _ in range(2):  # and can be read again
        parts = list(blocks)
        assert [(b.index, b.first_row, len(b.x)) for b in parts] == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]
        assert torch.equal(torch.cat([b.x for b in parts]), x)
        assert all(torch.equal(b.weights, w[b.first_row :][:4]) for b in parts if b.weights is not None)
        assert not any(b.weights is None for b in parts)


# ---- coordinates ------------------------------------------------------------------------------------------


def test_conditioned_data_has_mean_zero_and_the_variance_that_the_family_can_have(family: Family):
    x = rows() * np.array([1e-3, 1.0, 1e3]) + 1e4
    data = prepare_rows(torch.from_numpy(x), family)
    z = inner_rows(data).numpy()
    # x itself is rounded to EPS · 1e4, which is EPS · 1e7 of the smallest column's spread.
    bound = 4 * reference.EPS * 1e7
    condition = np.linalg.cond(np.corrcoef(x.T))
    covariance = np.cov(z.T, bias=True)
    if family.coordinates == "whitened":
        assert np.abs(covariance - np.eye(3)).max() <= condition * N**0.5 * reference.EPS
    elif family.coordinates == "columns":
        assert np.abs(np.diag(covariance) - 1).max() <= N**0.5 * reference.EPS
    else:
        assert data.affine.factor.ndim == 0
        assert np.trace(covariance) == pytest.approx(3, rel=1e-13)
    assert np.abs(z.mean(0)).max() <= bound
    assert_close(data.affine.outer(torch.from_numpy(z)), torch.from_numpy(x), rtol=1e-14, atol=0)
    reach = torch.cat([block.z.abs().amax(1)[None] for block in data.blocks]).amax(0)
    assert bool((reach <= data.bound).all())


def test_whitening_is_left_out_where_columns_are_dependent():
    from gmmcli.families import get_family

    x = rows(dims=2)
    for third in (x[:, 0] - 2 * x[:, 1], x[:, 0] * (1 + 1e-9)):
        summary = look(np.column_stack([x, third]))
        assert conditioning(summary, get_family("full"), "abc").factor.ndim == 1
    assert conditioning(look(rows()), get_family("full"), "abc").factor.ndim == 2


def test_constant_columns_are_refused_by_name(family: Family):
    x = rows()
    x[:, 1] = 3.0
    summary = look(x)
    if family.coordinates == "scalar":
        assert float(conditioning(summary, family, "abc").factor) > 0
        summary = look(np.ones((5, 3)))
        if family.learned:
            with pytest.raises(InputError, match="all rows are identical"):
                conditioning(summary, family, "abc")
        else:
            assert float(conditioning(summary, family, "abc").factor) == 1
    else:
        with pytest.raises(InputError, match="column b: all values are equal"):
            conditioning(summary, family, "abc")
    with pytest.raises(InputError, match="column b: all values are equal"):
        standardisation(look(x), "abc")


def test_standardisation_is_by_the_divisor_n():
    x = rows()
    affine = standardisation(look(x), "abc")
    assert_close(affine.shift, torch.from_numpy(x.mean(0)), rtol=1e-13, atol=1e-13)
    assert_close(affine.factor, torch.from_numpy(x.std(0)), rtol=1e-13, atol=0)


def test_the_fingerprint_is_of_the_rows_in_their_order():
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    swapped = x.clone()
    swapped[[7, 260]] = x[[260, 7]]

    def fingerprint(rows: torch.Tensor, block_rows: int) -> str:
        return drive(survey(TableBlocks(rows, None, block_rows), distinct=2, covariances=True), 2).fingerprint

    assert fingerprint(x, 64) == fingerprint(x.clone(), 64)
    assert fingerprint(swapped, 64) != fingerprint(x, 64)
