"""The kernels: one contract for all of them, each against naive sums, and the choice between them."""

from __future__ import annotations

import math
import os
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters
from gmmcli.passes.kernels import choice
from gmmcli.passes.kernels.base import CHUNK_BYTES, Kernel, KernelWorker
from gmmcli.passes.kernels.centred import CentredKernel
from gmmcli.passes.kernels.chunk import Loop, Unit, loop_of
from gmmcli.passes.kernels.features import FeatureKernel
from gmmcli.passes.kernels.triangular import BLOCK, TriangularKernel
from gmmcli.passes.workers import compiled
from tests import reference
from tests.conftest import prepare_rows, run_pass, to_moments, to_parameters

KERNELS = (FeatureKernel, TriangularKernel, CentredKernel)
every_kernel = pytest.mark.parametrize("kind", KERNELS)


def mixtures_of(family: Family, count: int, components: int, dims: int) -> list[Parameters]:
    return [
        to_parameters(family, reference.random_moments(family.name, components, dims, seed, spread=1.0))
        for seed in range(count)
    ]


def rows_of(dims: int, rows: int) -> Tensor:
    """[1, z] as the pass holds it, (1 + D, B)."""
    z = torch.from_numpy(np.random.default_rng(dims).normal(size=(rows, dims)) * 1.5)
    return torch.cat([torch.ones(1, rows, dtype=torch.float64), z.mT])


def run_kernel(
    kernel: Kernel, z: Tensor, weights: Tensor | None = None, chunk: int | None = None, loop: Loop | None = None
) -> Tensor:
    """The sums (M, S) of a kernel over rows cut into chunks."""
    total = torch.zeros(len(kernel.mixtures), kernel.sums_size, dtype=torch.float64)
    add = KernelWorker(kernel, total, loop or loop_of(kernel.chunk_sums))
    z = z.to(kernel.dtype)
    for first in range(0, z.shape[1], chunk or z.shape[1]):
        part = slice(first, first + (chunk or z.shape[1]))
        add(Unit(z[:, part], None if weights is None else weights[part].to(kernel.dtype)))
    return total


def naive(p: Parameters, family: Family, x: np.ndarray, w: np.ndarray, background: float | None):
    """Counts, sums, unpooled quads, log-likelihood and entropy, the background being one more component."""
    joint = reference.log_joint(to_moments(family, p), x)
    if background is not None:
        joint = np.column_stack([joint, np.full(len(x), background)])
    highest = joint.max(1, keepdims=True)
    log_p = highest[:, 0] + np.log(np.exp(joint - highest).sum(1))
    r = np.exp(joint - log_p[:, None])
    entropy = float((w * -np.where(r > 0, r * np.log(np.where(r > 0, r, 1)), 0).sum(1)).sum())
    weighted = (w[:, None] * r)[:, : p.components]
    quads = weighted.T @ reference.quadratic_features(family.name, x)
    return weighted.sum(0), weighted.T @ x, quads, float((w * log_p).sum()), entropy


@every_kernel
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "background"])
@pytest.mark.parametrize(("count", "components", "dims"), [(1, 3, 2), (3, 2, 3), (2, 4, BLOCK + 3), (1, 1, 1)])
def test_every_kernel_equals_the_naive_sums(
    kind: type[Kernel], family: Family, count: int, components: int, dims: int, weighted: bool, noisy: bool
):
    """Several mixtures at once, with row weights, and with a component that has no quadratic term."""
    mixtures = mixtures_of(family, count, components, dims)
    z = rows_of(dims, 150)
    w = torch.from_numpy(np.random.default_rng(1).uniform(0.1, 3, 150)) if weighted else None
    background = torch.linspace(-9, -4, count, dtype=torch.float64) if noisy else None
    kernel = kind(
        family, mixtures, dtype=torch.float64, device=torch.device("cpu"), entropy=True, background=background
    )
    total = run_kernel(kernel, z, w, chunk=64)
    found = kernel.moments(total)
    scalars = total[:, kernel.statistics_size :]
    x, weights = z[1:].mT.numpy(), np.ones(150) if w is None else w.numpy()
    close = {"rtol": 1e-11, "atol": 1e-11 * weights.sum()}  # D² products of numbers up to 1e2 in a logit
    for m, p in enumerate(mixtures):
        level = None if background is None else float(background[m])
        *expected, log_likelihood, entropy = naive(p, family, x, weights, level)
        moments, quads = found[m], found[m].quads
        assert quads is not None
        np.testing.assert_allclose(moments.counts.numpy(), expected[0], **close)
        np.testing.assert_allclose(moments.sums.numpy(), expected[1], **close)
        np.testing.assert_allclose(quads.numpy(), expected[2], **close)
        assert float(scalars[m, 0]) == pytest.approx(log_likelihood, rel=1e-12)
        assert float(scalars[m, 1]) == pytest.approx(entropy, rel=1e-10, abs=1e-11)
        if noisy:
            assert float(scalars[m, 2]) == pytest.approx(weights.sum() - expected[0].sum(), rel=1e-9)


@pytest.mark.usefixtures("blas")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="TorchScript knows no Python from 3.14 on")
@every_kernel
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("count", "dims"), [(1, 3), (2, BLOCK + 3)])
def test_compiled_loops_give_the_same_bits(
    kind: type[Kernel], family: Family, count: int, dims: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    """Also after the calls that it takes to optimise, with parts of other sizes, weights and a background."""
    monkeypatch.setitem(CHUNK_BYTES, "cpu", 1)  # 64 rows
    mixtures, z = mixtures_of(family, count, 3, dims), rows_of(dims, 300)
    w = torch.from_numpy(np.random.default_rng(1).uniform(0.1, 3, 300))
    for weights, entropy, background in ((None, False, None), (w, True, torch.full((count,), -5.0))):
        kernel = kind(
            family, mixtures, dtype=dtype, device=torch.device("cpu"), entropy=entropy, background=background
        )
        loop = compiled(loop_of(kernel.chunk_sums))
        if os.environ.get("PYTORCH_JIT") != "0":
            assert isinstance(loop, torch.jit.ScriptFunction)
        plain = run_kernel(kernel, z, weights, 100)
        assert all(torch.equal(run_kernel(kernel, z, weights, 100, loop), plain) for _ in range(3))


def test_what_cannot_be_compiled_stays_as_it_is():
    def function(z: Tensor) -> Tensor:
        try:  # which TorchScript does not know
            return z + 1
        finally:
            pass

    assert compiled(function) is function


@every_kernel
def test_bounds_hold(kind: type[Kernel], family: Family):
    """Σ |term| of every sum is within the bound, at rows on the corners of the box too."""
    kernel = kind(
        family, mixtures_of(family, 2, 3, 3), dtype=torch.float64, device=torch.device("cpu"), entropy=False
    )
    z = rows_of(3, 60)
    bound = z.abs().amax(1)
    corners = torch.cat([z, bound[:, None] * torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1]]).mT.double()], 1)
    for n in range(corners.shape[1]):
        sums = run_kernel(kernel, corners[:, n : n + 1])[:, : kernel.statistics_size]
        assert bool((sums.abs() <= kernel.statistics_bound(bound) * (1 + 1e-12)).all())


@every_kernel
@pytest.mark.parametrize("columns", [[0], [2, 0], [0, 1, 2]])
def test_rows_with_missing_cells_take_the_marginal_mixture(kind: type[Kernel], family: Family, columns: list[int]):
    """A pattern of missing cells is the kernel on the observed columns with the marginal parameters."""
    p = mixtures_of(family, 1, 3, 3)[0]
    z = rows_of(3, 80)
    observed = torch.tensor(columns)
    own, marginal = family.marginal(p, observed)
    kernel = kind(own, [marginal], dtype=torch.float64, device=torch.device("cpu"), entropy=False)
    total = run_kernel(kernel, torch.cat([z[:1], z[1:][observed]]))
    full = to_moments(family, p)
    sub = reference.Moments(full.weights, full.means[:, columns], full.covariances[:, columns][:, :, columns])
    x = z[1:][observed].mT.numpy()
    assert float(total[0, kernel.statistics_size]) == pytest.approx(reference.log_prob(sub, x).sum(), rel=1e-12)
    expected = reference.responsibilities(sub, x)
    np.testing.assert_allclose(kernel.moments(total)[0].counts.numpy(), expected.sum(0), rtol=1e-11)


@every_kernel
def test_float32_is_near_float64(kind: type[Kernel], family: Family):
    p = mixtures_of(family, 1, 4, 5)[0]
    z = rows_of(5, 500)
    found = []
    for dtype in (torch.float64, torch.float32):
        kernel = kind(family, [p], dtype=dtype, device=torch.device("cpu"), entropy=False)
        total = run_kernel(kernel, z, chunk=128)
        assert total.dtype == torch.float64
        found.append((float(total[0, kernel.statistics_size]), kernel.moments(total)[0]))
    (expected, wide), (actual, narrow) = found
    assert actual == pytest.approx(expected, abs=500 * 2e-5)  # Σ |η φ| is up to 1e2, times 2⁻²⁴, and its roundings
    torch.testing.assert_close(narrow.counts, wide.counts, rtol=0, atol=500 * 2e-5)


@every_kernel
def test_chunks_fit_the_cache_and_divide_by_64(kind: type[Kernel]):
    for dims, components in ((1, 1), (8, 16), (40, 200)):
        p = mixtures_of(get_family("full"), 1, 1, dims)[0]
        many = Parameters(
            torch.full((components,), 1 / components, dtype=torch.float64),
            p.means.expand(components, -1),
            p.scale.expand(components, -1, -1),
        )
        kernel = kind(get_family("full"), [many], dtype=torch.float32, device=torch.device("cpu"), entropy=False)
        rows = kernel.chunk_rows
        assert rows % 64 == 0
        assert rows == 64 or rows * kernel.numbers_a_row * 4 <= CHUNK_BYTES["cpu"]


# ---- the choice -------------------------------------------------------------------------------------------


def test_wide_tables_of_few_components_take_the_triangular_route():
    full = get_family("full")
    assert not choice.features_are_cheaper(full, 2, 128)
    assert choice.features_are_cheaper(full, 16, 8)
    assert choice.features_are_cheaper(full, 1000, 32)
    assert all(choice.features_are_cheaper(get_family(name), 16, 128) for name in ("diagonal", "isotropic"))


@pytest.mark.parametrize(
    ("spread", "dtype", "expected"),
    [
        (1.0, torch.float32, (FeatureKernel, torch.float32)),
        (1e-3, torch.float64, (FeatureKernel, torch.float64)),
        (2e-2, torch.float32, (CentredKernel, torch.float32)),
        (1e-7, torch.float32, (CentredKernel, torch.float64)),
        (1e-9, torch.float64, (CentredKernel, torch.float64)),
    ],
)
def test_rounding_decides_before_cost(spread: float, dtype: torch.dtype, expected: tuple[type[Kernel], torch.dtype]):
    """Deviations of so much, in coordinates where the data's is 1."""
    full = get_family("full")
    p = mixtures_of(full, 1, 3, 4)[0]
    p = Parameters(p.weights, p.means, p.scale * spread)
    bound, radius = torch.full((5,), 5.0, dtype=torch.float64), 6.0
    bound[0] = 1
    terms = choice.Reach(bound, full.quad_bound(bound), radius).largest_terms(full.coefficients(p))
    assert choice.route(full, p, terms, radius, dtype, False) == choice.Route(*expected)


def test_largest_terms_bound_every_logit(family: Family):
    p = mixtures_of(family, 1, 3, 4)[0]
    z = rows_of(4, 300)
    bound, eta = z.abs().amax(1), family.coefficients(p)
    terms = choice.Reach(bound, family.quad_bound(bound), float(z[1:].norm(dim=0).max())).largest_terms(eta)
    worst = (eta.linear.abs() @ z.abs() + eta.quad.abs() @ family.quad(z[1:].abs())).max()
    assert float(worst) <= terms * (1 + 1e-12)
    assert terms <= 20 * float(worst)  # and is of use


@pytest.mark.parametrize("condition", [1e4, 1e6])
def test_float32_holds_the_log_likelihood_of_ill_conditioned_and_distant_components(family: Family, condition: float):
    """Condition number 1e4 and components a thousand deviations apart: within 1e-3 nats a row of float64."""
    draw = torch.Generator().manual_seed(3)
    axes = torch.logspace(0, -0.5 * math.log10(condition), 3, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64))[0]
    factor = turn * axes
    centres = 1000 * axes.min() * torch.randn(4, 3, generator=draw, dtype=torch.float64)
    noise = torch.randn(2000, 3, generator=draw, dtype=torch.float64)
    x = noise @ factor.mT + centres.repeat(500, 1)
    covariances = (factor @ factor.mT).expand(4, 3, 3)
    answers, after = [], []
    for dtype in (torch.float64, torch.float32):
        data = prepare_rows(x, family, dtype=dtype)
        p = family.from_moments(
            torch.full((4,), 0.25, dtype=torch.float64),
            data.affine.inner(centres),
            data.affine.inverse_congruence(covariances),
        )
        statistics = run_pass(data, family, [p])[0]
        answers.append(statistics)
        after.append(family.m_step(statistics.counts, statistics.sums, statistics.quads, p, 1e-12).scale)
    wide, narrow = answers
    assert narrow.mean_log_likelihood == pytest.approx(wide.mean_log_likelihood, abs=1e-3)
    torch.testing.assert_close(narrow.counts, wide.counts, rtol=1e-4, atol=0)
    torch.testing.assert_close(after[1], after[0], rtol=1e-3, atol=1e-5 * float(after[0].abs().max()))
