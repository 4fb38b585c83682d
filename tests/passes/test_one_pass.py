"""The pass: against naive sums for every family, and the same bits whoever works which block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gmmcli.errors import NumericalError
from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters
from gmmcli.families.linear import Affine
from gmmcli.fitting.em import EM
from gmmcli.fitting.engine import Evaluator
from gmmcli.fitting.loop import Limits
from gmmcli.fitting.objective import Objective
from gmmcli.passes.block import Block, TableBlocks
from gmmcli.passes.coordinates import conditioning
from gmmcli.passes.execution import Group
from gmmcli.passes.kernels import choice
from gmmcli.passes.kernels.base import CHUNK_BYTES
from gmmcli.passes.layout import Layout
from gmmcli.passes.one_pass import one_pass
from gmmcli.passes.prepared import prepare
from gmmcli.passes.reading import drive
from gmmcli.passes.sums import SufficientStatistics
from gmmcli.passes.survey import survey
from tests import reference
from tests.conftest import assert_near, inner_rows, prepare_rows, run_engine, run_pass, to_moments, to_parameters

FIELDS = ("counts", "sums", "quads", "log_likelihood", "weight", "entropy")


def table(dims: int, rows: int = 400, seed: int = 0) -> Tensor:
    """Overlapping clusters away from the origin."""
    moments = reference.random_moments("full", 3, dims, seed)
    return torch.from_numpy(reference.random_rows(moments, rows, seed) * 3 + 20)


def row_weights(rows: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.1, 3, rows))


def inner_mixture(family: Family, components: int, dims: int, seed: int = 0) -> Parameters:
    """A mixture in the coordinates of the fit, where the data has variance 1."""
    return to_parameters(family, reference.random_moments(family.name, components, dims, seed, spread=1.0))


def assert_naive(actual: SufficientStatistics, family: Family, p: Parameters, z: Tensor, w: Tensor | None):
    """Equal to the naive statistics, but for the rounding of the logits.

    A logit is a sum of P products and errs by at most P · EPS · Σ |η φ|; four times that is δ, for the constants
    of the naive densities too. A responsibility errs by δ of itself, every sum by δ times that of absolute values.
    """
    x, weights = z.numpy(), np.ones(len(z)) if w is None else w.numpy()
    expected = reference.statistics(family.name, to_moments(family, p), x, weights)
    eta = family.coefficients(p)
    quads = reference.quadratic_features(family.name, x)
    features = np.abs(np.column_stack([np.ones(len(x)), x]))
    size = features @ eta.linear.abs().numpy().T + np.abs(quads) @ eta.quad.abs().numpy().T
    delta = 4 * (features.shape[1] + quads.shape[1]) * reference.EPS * size.max()
    total = weights.sum()
    assert np.abs(actual.counts.numpy() - expected.counts).max() <= delta * total
    assert (np.abs(actual.sums.numpy() - expected.sums) <= delta * (weights @ np.abs(x))).all()
    assert actual.quads.shape == expected.quads.shape
    assert (np.abs(actual.quads.numpy() - expected.quads) <= delta * (weights @ np.abs(quads))).all()
    assert abs(actual.log_likelihood - expected.log_likelihood) <= delta * total
    assert actual.weight == pytest.approx(total, rel=delta)
    if actual.entropy is not None:  # d(−r log r) = −(1 + log r) dr
        assert abs(actual.entropy - expected.entropy) <= 2 * delta * (total + expected.entropy)


def assert_same_bits(a: SufficientStatistics, b: SufficientStatistics):
    for name in FIELDS:
        left, right = getattr(a, name), getattr(b, name)
        assert torch.equal(left, right) if isinstance(left, Tensor) else left == right, name


# ---- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("components", "dims"), [(1, 1), (3, 1), (1, 2), (4, 3)])
def test_equals_the_naive_sums(family: Family, components: int, dims: int, weighted: bool):
    x = table(dims)
    w = row_weights(len(x)) if weighted else None
    data = prepare_rows(x, family, w, block_rows=150)
    p = inner_mixture(family, components, dims)
    statistics = run_pass(data, family, [p], entropy=True)[0]
    assert statistics.entropy is not None
    assert_naive(statistics, family, p, inner_rows(data), w)


def test_chunks_smaller_than_a_block(family: Family, monkeypatch: pytest.MonkeyPatch):
    x = table(3)
    w = row_weights(len(x))
    data = prepare_rows(x, family, w)
    p = inner_mixture(family, 4, 3)
    whole = run_pass(data, family, [p])[0]
    monkeypatch.setitem(CHUNK_BYTES, "cpu", 1)  # 64 rows, and 16 in the last
    chunked = run_pass(data, family, [p], entropy=True)[0]
    assert_naive(chunked, family, p, inner_rows(data), w)
    assert_close(chunked.sums, whole.sums, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("limit", [choice.ROUNDING_LIMIT, 0.0], ids=["features", "differences"])
@pytest.mark.parametrize("dims", [2, 20])
def test_several_mixtures_in_one_reading_have_the_bits_of_each_alone(
    family: Family, dims: int, limit: float, monkeypatch: pytest.MonkeyPatch
):
    """Whatever their number, sizes and backgrounds; on every route: of features, triangles and differences."""
    monkeypatch.setattr(choice, "ROUNDING_LIMIT", limit)
    monkeypatch.setattr("gmmcli.passes.one_pass.UNIT_PRODUCTS", 1 << 18)  # units of several sizes
    data = prepare_rows(table(dims, 9000), family, row_weights(9000), block_rows=8500)
    mixtures = [inner_mixture(family, components, dims, components) for components in (3, 1, 40, 3, 2)]
    half = torch.tensor(0.5, dtype=torch.float64)
    mixtures += [p.beside(half) for p in mixtures[:2]]
    together = run_pass(data, family, mixtures, entropy=True, threads=2)
    for p, statistics in zip(mixtures, together, strict=True):
        assert_same_bits(statistics, run_pass(data, family, [p], entropy=True)[0])


def test_several_mixtures_in_one_reading(family: Family):
    data = prepare_rows(table(2), family, block_rows=150)
    mixtures = [inner_mixture(family, 3, 2, seed) for seed in range(3)]
    together = run_pass(data, family, mixtures, entropy=True)
    for p, statistics in zip(mixtures, together, strict=True):
        assert_naive(statistics, family, p, inner_rows(data), None)
    mixed = [inner_mixture(family, components, 2) for components in (1, 5, 2)]
    for p, statistics in zip(mixed, run_pass(data, family, mixed), strict=True):
        assert_naive(statistics, family, p, inner_rows(data), None)


@pytest.mark.usefixtures("blas")
def test_each_block_is_read_once_for_all_mixtures(family: Family):
    blocks, read = TableBlocks(table(2), None, 100), []

    class Read:
        def __iter__(self) -> Iterator[Block]:
            for block in blocks:
                read.append(block.first_row)
                yield block

    data = prepare_rows(table(2), family, block_rows=100)
    layout = Layout(data.summary, data.affine, data.dtype, data.device)
    mixtures = [inner_mixture(family, 2, 2, seed) for seed in range(4)]
    anew = run_pass(replace(data, blocks=Read(), layout=layout), family, mixtures, threads=2)
    for left, right in zip(anew, run_pass(data, family, mixtures), strict=True):
        assert_same_bits(left, right)
    once = [0, 100, 200, 300]
    assert read == (once * 2 if family.shared else once)  # the constant of the data is summed first


@pytest.mark.usefixtures("blas")
def test_entropy_on_request_changes_nothing_else(family: Family):
    data = prepare_rows(table(2), family)
    p = inner_mixture(family, 3, 2)
    without, with_it = (run_pass(data, family, [p], entropy=e)[0] for e in (False, True))
    assert without.entropy is None
    for name in ("counts", "sums", "quads"):
        assert torch.equal(getattr(without, name), getattr(with_it, name))
    assert without.log_likelihood == with_it.log_likelihood


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_part_of_the_data(family: Family, weighted: bool):
    x = table(2)
    w = row_weights(len(x)) if weighted else None
    data = prepare_rows(x, family, w, block_rows=100)
    p = inner_mixture(family, 3, 2)
    index = torch.tensor([99, 3, 42, 7, 8])
    part = [data.held[2].take(index), data.held[0]]
    places = torch.cat([200 + index, torch.arange(100)])
    statistics = run_pass(data, family, [p], entropy=True, blocks=part)[0]
    assert_naive(statistics, family, p, inner_rows(data)[places], None if w is None else w[places])


@pytest.mark.usefixtures("blas")
def test_linear_only_route_of_shared_families_equals_the_general_one(family: Family):
    x = table(3)
    w = row_weights(len(x))
    data = prepare_rows(x, family, w, block_rows=150)
    p = inner_mixture(family, 4, 3)
    short = run_pass(data, family, [p], entropy=True)[0]
    general = run_pass(data, family, [p], entropy=True, blocks=data.held)[0]
    assert_naive(short, family, p, inner_rows(data), w)
    assert_naive(general, family, p, inner_rows(data), w)
    if not family.shared:
        assert_same_bits(short, general)


def test_rows_far_from_every_component(family: Family):
    x = torch.cat([table(2, 100), torch.full((1, 2), 1e5, dtype=torch.float64)])
    data = prepare_rows(x, family)
    p = family.from_moments(
        torch.tensor([0.5, 0.5], dtype=torch.float64),
        torch.tensor([[0.0, 0.0], [0.1, 0.0]], dtype=torch.float64),
        1e-4 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2),
    )
    statistics = run_pass(data, family, [p], entropy=True)[0]
    assert_naive(statistics, family, p, inner_rows(data), None)
    assert statistics.log_likelihood < -1e5


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e308])
def test_parameters_that_overflow_are_refused(family: Family, value: float):
    data = prepare_rows(table(2), family)
    p = inner_mixture(family, 2, 2)
    means = p.means.clone()
    means[1, 0] = value
    with pytest.raises(NumericalError):
        run_pass(data, family, [Parameters(p.weights, means, p.scale)])


def test_a_mixture_that_fails_is_none_the_worse_for_the_others(family: Family):
    """Whether its sums overflow or its covariance cannot be inverted."""
    data = prepare_rows(table(2), family)
    good = inner_mixture(family, 3, 2)
    flat = replace(good, scale=good.scale * 0)
    far = replace(good, means=good.means * 1e308)
    answers = drive(one_pass(data, family, [flat, good, far, good]), 1)
    assert [isinstance(answer, NumericalError) for answer in answers] == [True, False, True, False]
    assert isinstance(answers[1], SufficientStatistics)
    assert_naive(answers[1], family, good, inner_rows(data), None)


# ---- weights ----------------------------------------------------------------------------------------------


def test_integer_weights_equal_repeated_rows(family: Family):
    """From the data to the tenth EM step, from the same start in units of the data."""
    x = table(3, 300)
    repeats = torch.from_numpy(np.random.default_rng(1).integers(0, 4, len(x)))
    start = to_parameters(family, reference.random_moments(family.name, 3, 3, seed=4))
    results = []
    for data in (
        prepare_rows(x, family, repeats.double(), block_rows=100),
        prepare_rows(x.repeat_interleave(repeats, 0), family, block_rows=100),
    ):
        outer = family.to_outer(start, Affine(x.mean(0), torch.tensor(3.0, dtype=torch.float64)))
        inner = family.to_inner(outer, data.affine)
        run = run_engine(EM(Objective(family, 1e-6)), [inner], Evaluator(data, family), Limits(10, -1.0))[0]
        assert run.failure is None
        assert data.weight == float(repeats.sum())
        results.append((family.to_outer(run.state.parameters, data.affine), run.history))
    (weighted, first), (repeated, second) = results
    close = 1e-10  # the issue's own figure: EPS through ten steps
    assert_near(weighted.weights, repeated.weights, close)
    assert_near(weighted.means, repeated.means, close)
    assert_near(weighted.scale, repeated.scale, close)
    assert [r.passes for r in first] == [r.passes for r in second] == list(range(1, 11))
    for a, b in zip(first, second, strict=True):
        assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-10)


def test_rows_without_weight_are_not_there(family: Family):
    x = table(2)
    w = row_weights(len(x))
    w[::3] = 0
    garbage = x.clone()
    garbage[::3] = 1e200
    p = inner_mixture(family, 3, 2)
    with_them = prepare_rows(garbage, family, w, block_rows=100)
    without = prepare_rows(x[w > 0], family, w[w > 0], block_rows=100)
    a = run_pass(with_them, family, [p])[0]
    b = run_pass(without, family, [p])[0]
    close = 1e-11  # coordinates differ by EPS, times Σ |η φ| of about 1e2 and 3e2 of weight
    assert_near(a.sums, b.sums, close)
    assert_near(a.quads, b.quads, close)
    assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-11)
    assert with_them.held[0].rows[:3].tolist() == [1, 2, 4]  # global numbers, those left out included


# ---- bits -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blas")
def test_same_bits_for_any_threads_and_order_of_blocks(family: Family):
    x = table(3, 2000)
    w = row_weights(len(x))
    mixtures = [inner_mixture(family, 4, 3, seed) for seed in range(2)]
    count = 2000 // 64 + 1
    orders = [None, list(reversed(range(count))), np.random.default_rng(0).permutation(count).tolist()]
    passes = []
    for order in orders:
        for threads in (1, 2):
            data = prepare_rows(x, family, w, block_rows=64, order=order, threads=threads)
            passes.append(run_pass(data, family, mixtures, threads=threads, entropy=True))
            shuffled = [data.held[i] for i in np.random.default_rng(1).permutation(count)]
            shuffled_data = replace(data, blocks=shuffled)
            passes.append(run_pass(shuffled_data, family, mixtures, threads=threads, entropy=True))
    for other in passes[1:]:
        for a, b in zip(passes[0], other, strict=True):
            assert_same_bits(a, b)


@pytest.mark.usefixtures("blas")
def test_large_products_have_the_same_bits_on_two_threads():
    """A size at which the matrix product itself would use both threads, and change its last bits."""
    family = get_family("full")
    x = table(8, 20_000)
    p = inner_mixture(family, 16, 8)
    data = prepare_rows(x, family, block_rows=5000)
    before = torch.get_num_threads()
    results = []
    try:
        for intra, workers in ((1, 1), (1, 2)):
            torch.set_num_threads(intra)
            results.append(run_pass(data, family, [p], threads=workers)[0])
    finally:
        torch.set_num_threads(before)
    assert_same_bits(*results)


@pytest.mark.usefixtures("blas")
def test_what_other_processes_hold_is_added_by_the_group(family: Family):
    """Two processes, each with half of the blocks, find what one with all of them finds, to the bit."""
    x = table(3)
    data = prepare_rows(x, family, row_weights(len(x)), block_rows=50)
    p = inner_mixture(family, 3, 3)
    whole = run_pass(data, family, [p], entropy=True)[0]
    halves = [replace(data, blocks=data.held[i::2]) for i in (0, 1)]
    sent: list[Tensor] = []

    class First(Group):
        def sum(self, numbers: Tensor) -> Tensor:
            sent.append(numbers)
            return numbers

    class Second(Group):
        def sum(self, numbers: Tensor) -> Tensor:
            return numbers + sent.pop(0)

    run_pass(replace(halves[0], group=First()), family, [p], entropy=True)
    assert all(numbers.dtype == torch.int64 for numbers in sent)
    half = run_pass(replace(halves[1], group=Second()), family, [p], entropy=True)[0]
    assert_same_bits(half, whole)


# ---- precision --------------------------------------------------------------------------------------------


def test_float32_pass_on_data_far_from_the_origin_gives_variance_one(family: Family):
    """N(1e4, 1) data: raw E[x²] − μ² in float32 gives 1e-6 to 24 elsewhere; conditioned in float64 it is 1."""
    x = 1e4 + torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = prepare_rows(x, family, dtype=torch.float32)
    assert data.dtype == torch.float32
    assert all(block.z.dtype == torch.float32 for block in data.held)
    assert torch.equal(inner_rows(data), inner_rows(prepare_rows(x, family)).float())  # shifted before the cast
    ones = torch.ones(1, dtype=torch.float64)
    start = family.from_moments(ones, torch.zeros(1, 2, dtype=torch.float64), torch.eye(2).double()[None])
    start = family.to_inner(start, data.affine) if not family.learned else start
    statistics = run_pass(data, family, [start])[0]
    assert statistics.counts.dtype == torch.float64
    p = family.to_outer(Objective(family, 1e-6).maximise(statistics, start), data.affine)
    covariance = np.cov(x.numpy().T, bias=True)
    expected = reference.restrict(family.name, np.ones(1), covariance[None])[0]
    expected = expected if family.learned else np.eye(2)
    # A float32 sum over a chunk of 2e4 positive numbers errs by about sqrt(2e4) · 2⁻²⁴ = 8e-6 of itself.
    actual = family.covariances(p.scale, 2)[0].numpy()
    assert np.abs(actual - expected).max() <= 8e-6
    assert np.abs(p.means.numpy() - x.mean(0).numpy()).max() <= 8e-6
    assert np.abs(np.diag(actual) - 1).max() <= 4.5 * math.sqrt(2 / len(x))


def test_float32_statistics_are_near_those_in_float64(family: Family):
    x = table(3)
    p = inner_mixture(family, 3, 3)
    double, single = (
        run_pass(prepare_rows(x, family, dtype=dtype), family, [p])[0] for dtype in (torch.float64, torch.float32)
    )
    # Σ |η φ| is up to 1e2 here, so that logits and responsibilities err by about 1e2 · 2⁻²⁴ = 6e-6.
    scale = 6e-6 * len(x)
    assert float((double.counts - single.counts).abs().max()) <= scale
    assert double.log_likelihood == pytest.approx(single.log_likelihood, abs=scale)


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("apart", [2.0, 30.0, 300.0])
def test_the_noise_of_a_pass_covers_what_rounding_does_to_log_likelihoods(family: Family, apart: float):
    """Along steps of EM: from one to the next float32 is off by another amount, and may be by as much as it says.

    It says no more than √(n + 3) u of the largest terms that a logit is summed from, and √(K + 4 + log₂ B) u of what
    is summed afterwards, twice, for two passes: that is a part of those terms, or the log-likelihood. In float32 it
    is no more than terms give of which u is ROUNDING_LIMIT: a mixture with larger ones is evaluated in another way.
    """
    x = table(3, 2000)
    x[::2] += apart
    narrow = prepare_rows(x, family, dtype=torch.float32)
    wide = [replace(block, z=block.z.double()) for block in narrow.blocks]
    data = [replace(narrow, blocks=wide, dtype=torch.float64), narrow]
    reach = choice.Reach(narrow.bound, family.quad_bound(narrow.bound), narrow.radius)
    terms, summed = math.sqrt(1 + 3 + family.form.size(3) + 3), math.sqrt(3 + 4 + 14)
    p, off, noise = inner_mixture(family, 3, 3), [], []
    for _ in range(12):
        double, single = (run_pass(each, family, [p])[0] for each in data)
        assert abs(double.mean_log_likelihood) < 8
        off.append(single.mean_log_likelihood - double.mean_log_likelihood)
        noise.append(single.noise)
        size = max(8.0, reach.largest_terms(family.coefficients(p)))
        assert 0 < double.noise <= reference.EPS * (terms + summed) * size
        p = Objective(family, 1e-9).maximise(double, p)
    changes = [abs(b - a) for a, b in pairwise(off)]
    for change, bounds in zip(changes, pairwise(noise), strict=True):
        assert change <= max(bounds)
    assert max(noise) <= 2 * (terms + summed) * choice.ROUNDING_LIMIT


# ---- preparation ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blas")
def test_prepared_rows_are_those_of_the_data_in_order(family: Family):
    x = table(2, 90)
    w = row_weights(90)
    data = prepare_rows(x, family, w, block_rows=20, order=[3, 1, 4, 0, 2], threads=2)
    assert torch.cat([block.rows for block in data.held]).tolist() == list(range(90))
    assert_close(data.affine.outer(inner_rows(data)), x, rtol=1e-14, atol=1e-13)
    assert all(bool((block.z[0] == 1).all()) for block in data.held)
    before = inner_rows(data)
    whole = data.whole()
    assert torch.equal(whole.z[1:].mT, before)
    assert torch.equal(inner_rows(data), before)
    assert whole.weights is not None
    assert torch.equal(whole.weights, w)
    assert data.held[0].z.data_ptr() == whole.z.data_ptr()  # views, so that rows are held once
    assert data.dims == 2
    assert data.weight == pytest.approx(float(w.sum()), rel=1e-14)


def test_total_of_the_quadratic_features(family: Family):
    x = table(3)
    w = row_weights(len(x))
    data = prepare_rows(x, family, w, block_rows=90)
    features = reference.quadratic_features(family.name, inner_rows(data).numpy())
    expected = torch.from_numpy(w.numpy() @ features)[None]
    # Sums of N = 400 terms: N · EPS of the sum of absolute values.
    bound = 400 * reference.EPS * float((w.numpy() @ np.abs(features)).max())
    assert_close(drive(data.total_quads(family), 1), expected, rtol=0, atol=bound)


def test_route_from_differences_equals_the_one_from_features(family: Family, monkeypatch: pytest.MonkeyPatch):
    """A limit of 0 sends every mixture the way that a large rounding bound would."""
    x, w = table(3), row_weights(400)
    data = prepare_rows(x, family, w)
    mixtures = [inner_mixture(family, 4, 3, seed) for seed in (0, 1)]
    by_features = run_pass(data, family, mixtures, entropy=True)
    monkeypatch.setattr(choice, "ROUNDING_LIMIT", 0.0)
    by_differences = run_pass(data, family, mixtures, entropy=True)
    for a, b in zip(by_features, by_differences, strict=True):
        assert_near(a.counts, b.counts)
        assert_near(a.sums, b.sums)
        assert_near(a.quads, b.quads)
        assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-12)
        assert a.entropy is not None
        assert a.entropy == pytest.approx(b.entropy, rel=1e-10)


def test_float32_does_not_lose_what_cancels(family: Family):
    """Clusters 1000 of their deviations apart: in float32 the terms of a logit cancel to nothing."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(600, 2, generator=draw, dtype=torch.float64) * 0.01
    x += torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=torch.float64).repeat(200, 1)
    wide, narrow = (prepare_rows(x, family, dtype=dtype) for dtype in (torch.float64, torch.float32))
    centres, one = wide.affine.inner(x[:3]), torch.ones(3, dtype=torch.float64) / 3
    spread = wide.affine.inverse_congruence(torch.eye(2, dtype=torch.float64).expand(3, 2, 2) * 1e-4)
    p = family.from_moments(one, centres, spread)
    expected, actual = (run_pass(data, family, [p])[0] for data in (wide, narrow))
    assert actual.mean_log_likelihood == pytest.approx(expected.mean_log_likelihood, abs=1e-3)
    torch.testing.assert_close(actual.counts, expected.counts, rtol=1e-6, atol=0)


@pytest.mark.parametrize("cells", [torch.float64, torch.float32])
@pytest.mark.usefixtures("blas")
def test_rows_that_are_laid_out_by_the_kernel_are_those_that_are_kept(
    family: Family, cells: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    """To the bit: blocks of one row and of rows that leave a rest, weights of 0, and a sample of several slabs."""
    monkeypatch.setattr("gmmcli.passes.kernels.base.MOST_ROWS", {"cpu": 128})
    monkeypatch.setattr("gmmcli.passes.draws.SLAB_ROWS", 50)
    monkeypatch.setattr("gmmcli.passes.prepared.SAMPLE_NUMBERS", 0)
    x, w = table(3).to(cells), row_weights(400)
    w[::5] = 0
    edges = [0, 1, 3, 260, 261, 400]
    blocks = [Block(i, first, x[first:last], w[first:last]) for i, (first, last) in enumerate(pairwise(edges))]
    summary = drive(survey(blocks, distinct=2, covariances=True), 1)
    affine = conditioning(summary, family, ["a", "b", "c"])
    how: Any = {"dtype": torch.float64, "device": torch.device("cpu")}
    kept, late = (drive(prepare(blocks, summary, affine, memory=memory, **how), 2) for memory in (math.inf, 0))
    assert late.layout is not None
    for components in (2, 9):
        p = inner_mixture(family, components, 3)
        for left, right in zip(run_pass(late, family, [p], threads=2), run_pass(kept, family, [p]), strict=True):
            assert_same_bits(left, right)
    assert late.radius == kept.radius
    for share in (0.3, 1.0):
        some, same = (drive(data.chosen(0, share), 2) for data in (late, kept))
        assert torch.equal(some.z, same.z)
        assert torch.equal(some.rows, same.rows)
    assert len(some.rows) == 320
