"""Synthetic data: mixtures within their stated bounds, rows of the mixture asked for, the same each time."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gmmcli.errors import UsageError
from gmmcli.families import FAMILIES
from gmmcli.families.base import Family
from gmmcli.model import synthetic
from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.synthetic import BLOCK_ROWS, block_rows, draw, drawn_blocks, random_mixture

SIGMAS = 4.5  # of a statistic's standard error: 7e-6 for each of some hundred comparisons, at fixed seeds


def blocks(model: GaussianMixture, samples: int, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    return [draw(model, samples, seed, index) for index in drawn_blocks(model.dims, samples)]


def rows(model: GaussianMixture, samples: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    x, labels = zip(*blocks(model, samples, seed), strict=True)
    return torch.cat(x), torch.cat(labels)


def scales(model: GaussianMixture) -> Tensor:
    """√λmax of each component, (K,), from its covariance."""
    return torch.linalg.eigvalsh(model.covariances).amax(1).sqrt()


# ---- random mixtures --------------------------------------------------------------------------------------


def test_the_defaults():
    model = random_mixture()
    assert (model.components, model.dims, model.family) == (5, 2, "full")
    assert model.columns == ("x1", "x2")
    assert float(model.means.detach().abs().max()) <= 8
    assert float(model.weights.detach().min()) >= 0.05 - 1e-15


@given(
    components=st.integers(1, 40),
    dims=st.integers(1, 6),
    family=st.sampled_from(list(FAMILIES)),
    radius=st.floats(1e-3, 1e6),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_mixtures_are_within_their_bounds(components: int, dims: int, family: str, radius: float, seed: int):
    model = random_mixture(components=components, dims=dims, family=family, radius=radius, seed=seed)
    weights, means = model.weights.detach(), model.means.detach()
    assert means.shape == (components, dims)
    assert float(means.abs().max()) <= radius
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    assert float(weights.min()) >= 0.25 / components - 1e-15
    assert bool((weights.diff() <= 0).all())
    assert model.columns == tuple(f"x{d + 1}" for d in range(dims))
    std = torch.linalg.eigvalsh(model.covariances.detach()).sqrt()
    assert float(std.min()) >= 0.3 - 1e-9
    assert float(std.max()) <= 1.5 + 1e-9
    again = random_mixture(components=components, dims=dims, family=family, radius=radius, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_means_fill_the_box_and_standard_deviations_their_range():
    model = random_mixture(components=4000, dims=2, radius=3.0)
    means = model.means.detach() / 3
    error = (1 / 3 / 4000) ** 0.5
    assert float(means.mean(0).abs().max()) <= SIGMAS * error
    assert float(means.abs().amax(0).min()) > 0.99
    assert abs(float(means.square().mean()) - 1 / 3) <= SIGMAS * (4 / 45 / 8000) ** 0.5
    std = torch.linalg.eigvalsh(model.covariances.detach()).sqrt()
    assert float(std.min()) < 0.32
    assert float(std.max()) > 1.4
    correlation = model.covariances.detach()[:, 0, 1]
    assert 0.4 < float((correlation > 0).double().mean()) < 0.6  # every orientation


def test_components_differ_in_families_that_let_them(learned_family: Family):
    model = random_mixture(components=20, dims=30, family=learned_family.name)
    traces = model.covariances.detach().diagonal(dim1=-2, dim2=-1).mean(-1)
    ratio = float(traces.max() / traces.min())
    assert ratio == pytest.approx(1) if learned_family.shared else ratio > 2
    if learned_family.coordinates == "columns":  # and the columns of a component
        variances = model.inner_scale.detach()
        assert float((variances.amax(1) / variances.amin(1)).min()) > 3


def test_a_seed_gives_one_mixture_whose_weights_and_means_do_not_depend_on_the_family(family: Family):
    model, full = random_mixture(family=family.name, seed=7), random_mixture(seed=7)
    assert torch.equal(model.weights, full.weights)
    assert torch.equal(model.means, full.means)
    other = random_mixture(family=family.name, seed=8)
    assert not torch.equal(model.weights, other.weights)
    assert not torch.equal(model.means, other.means)
    if family.learned:
        assert not torch.equal(model.inner_scale, other.inner_scale)


def test_the_variance_is_for_families_that_do_not_learn_it(family: Family):
    if family.learned:
        with pytest.raises(UsageError, match=r"variance=2.5: it is only for family constant: leave it out"):
            random_mixture(family=family.name, variance=2.5)
        return
    for variance, expected in ((2.5, 2.5), (None, 1.0)):
        model = random_mixture(family=family.name, dims=3, variance=variance)
        assert torch.equal(model.covariances.detach(), expected * torch.eye(3).double().expand(5, 3, 3))


@pytest.mark.usefixtures("blas")
def test_the_number_of_threads_changes_no_bit():
    before = torch.get_num_threads()
    drawn = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model = random_mixture(components=3, dims=64, separation=0.5)
            drawn.append((model, rows(model, 300)[0]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    (one, x), (two, y) = drawn
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(x, y)


# ---- separation -------------------------------------------------------------------------------------------


@given(
    components=st.integers(1, 12),
    dims=st.integers(1, 4),
    family=st.sampled_from(list(FAMILIES)),
    radius=st.floats(0.5, 100),
    separation=st.floats(0, 6),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=100, deadline=None)
def test_separation_holds_for_all_pairs_or_is_refused(
    components: int, dims: int, family: str, radius: float, separation: float, seed: int
):
    arguments: dict[str, Any] = {"components": components, "dims": dims, "family": family, "radius": radius}
    try:
        model = random_mixture(**arguments, separation=separation, seed=seed)
    except UsageError:
        # Each mean placed blocks at most a cube of side 2c(1.5 + 1.5): while a tenth of the box is free, one
        # of thousands of candidates falls there.
        assert (components - 1) * (6 * separation) ** dims >= 0.9 * (2 * radius) ** dims
        return
    means, reach = model.means.detach(), separation * scales(model).detach()
    assert float(means.abs().max()) <= radius
    assert bool((model.weights.diff() <= 0).all())
    for i, j in itertools.combinations(range(components), 2):
        assert math.dist(means[i].tolist(), means[j].tolist()) >= float(reach[i] + reach[j]) * (1 - 1e-12)


@pytest.mark.parametrize(("separation", "feasible"), [(4.0, True), (4.26, False)])
def test_two_components_in_one_column_have_room_up_to_the_whole_box(separation: float, feasible: bool):
    box: dict[str, Any] = {"components": 2, "dims": 1, "family": "constant", "variance": 4.0, "radius": 8.5}
    if feasible:
        means = random_mixture(**box, separation=separation).means.detach()
        assert float((means[0] - means[1]).abs()) >= 16
    else:
        with pytest.raises(UsageError):
            random_mixture(**box, separation=separation)


@pytest.mark.parametrize(
    ("arguments", "separation"),
    [
        ({"components": 1000}, 3.0),
        ({"components": 1000}, 0.3),  # jams late
        ({"components": 1000, "dims": 1}, 0.01),
        ({"components": 30, "dims": 1}, 1.0),
        ({"components": 2, "radius": 0.1}, 1.0),
        ({"components": 3}, 1e300),
        ({"components": 50, "dims": 50, "family": "tied"}, 1e3),
    ],
)
def test_a_separation_without_room_is_refused_soon(arguments: dict[str, Any], separation: float):
    started = time.process_time()
    with pytest.raises(UsageError) as caught:
        random_mixture(**arguments, separation=separation)
    assert time.process_time() - started < 5  # about 0.5 on an idle machine
    line = str(caught.value)
    assert line.startswith(f"separation={separation}: no room found for {arguments['components']} components")
    assert line.endswith(": raise radius, lower separation or lower components")
    assert line.isprintable()


def test_placing_starts_again_where_an_attempt_fails(monkeypatch: pytest.MonkeyPatch):
    attempts = []

    def failing(*arguments: Any) -> tuple[Tensor | None, int]:
        attempts.append(arguments)
        return (None, 1) if len(attempts) < 3 else place(*arguments)

    place = synthetic._place
    monkeypatch.setattr(synthetic, "_place", failing)
    model = random_mixture(separation=1.0)
    assert len(attempts) == 3
    assert model.components == 5
    monkeypatch.setattr(synthetic, "_place", lambda *_: (attempts.append(0), (None, 1))[1])
    with pytest.raises(UsageError):
        random_mixture(separation=1.0)
    assert len(attempts) == 3 + synthetic.RESTARTS


# ---- arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"family": "round"}, "family='round': unknown family"),
        ({"dims": 10**6}, "the parameters of 5 components in 1000000 columns need 3.73e+04 GiB"),
        (
            {"components": 10**12, "family": "isotropic"},
            "the parameters of 1000000000000 components in 2 columns need",
        ),
    ],
)
def test_arguments_out_of_range_are_usage_errors_that_name_the_option(arguments: dict[str, Any], named: str):
    with pytest.raises(UsageError) as caught:
        random_mixture(**arguments)
    assert str(caught.value).startswith(named)


# ---- rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 10, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 7])
def test_exactly_as_many_rows_as_asked_for_in_blocks_of_a_fixed_size(samples: int):
    for index, (x, labels) in enumerate(blocks(random_mixture(), samples)):
        assert x.shape == (min(BLOCK_ROWS, samples - index * BLOCK_ROWS), 2)
        assert labels.shape == x.shape[:1]
        assert (x.dtype, labels.dtype) == (torch.float64, torch.int64)
        assert not x.requires_grad


def test_blocks_get_shorter_where_rows_get_longer():
    assert block_rows(1) == block_rows(32) == BLOCK_ROWS
    assert block_rows(64) == BLOCK_ROWS // 2
    assert block_rows(10**9) == 1
    model = random_mixture(dims=64, family="isotropic")
    assert [len(x) for x, _ in blocks(model, block_rows(64) + 5)] == [block_rows(64), 5]


@pytest.mark.usefixtures("blas")
def test_the_first_rows_are_the_same_however_many_are_asked_for():
    model = random_mixture()
    x, labels = rows(model, BLOCK_ROWS + 100)
    for samples in (1, 17, BLOCK_ROWS, BLOCK_ROWS + 3):
        fewer, fewer_labels = rows(model, samples)
        assert torch.equal(fewer, x[:samples])
        assert torch.equal(fewer_labels, labels[:samples])


@pytest.mark.usefixtures("blas")
def test_seeds_and_blocks_differ_and_the_global_generator_is_left_alone():
    model = random_mixture()
    state = torch.random.get_rng_state()
    x, _ = rows(model, 2 * BLOCK_ROWS, seed=1)
    assert torch.equal(x, rows(model, 2 * BLOCK_ROWS, seed=1)[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.isin(rows(model, 100, seed=2)[0], x).any()
    assert not torch.isin(x[BLOCK_ROWS:], x[:BLOCK_ROWS]).any()


def test_rows_have_the_moments_of_the_mixture_and_each_component_its_own(family: Family):
    shift, std = torch.tensor([100.0, -5.0, 0.0]).double(), torch.tensor([2.0, 0.1, 1.0]).double()
    plain = random_mixture(family=family.name, components=3, dims=3)
    p = plain.parameters_inner
    model = GaussianMixture(p.weights, p.means, p.scale, family.name, shift=shift, std=std)
    samples = BLOCK_ROWS + 34_464  # 100 000, over two blocks
    x, labels = rows(model, samples)
    weights, means = model.weights.detach(), model.means.detach()
    share = labels.bincount(minlength=3) / samples
    assert_within(share, weights, (weights * (1 - weights) / samples).sqrt())
    for k in range(3):
        own, n = x[labels == k], int((labels == k).sum())
        covariance = model.covariances.detach()[k]
        variance = covariance.diagonal()
        assert_within(own.mean(0), means[k], (variance / n).sqrt())
        # of a Gaussian's sample covariance: Var s_ij = (Σ_ii Σ_jj + Σ_ij²) / n
        error = ((variance[:, None] * variance + covariance.square()) / n).sqrt()
        assert_within(own.mT.cov(), covariance, error)
    order = labels.double()  # at random: neighbours are uncorrelated
    correlation = torch.corrcoef(torch.stack([order[1:], order[:-1]]))[0, 1]
    assert abs(float(correlation)) <= SIGMAS * samples**-0.5


def assert_within(actual: Tensor, expected: Tensor, error: Tensor) -> None:
    assert float(((actual - expected).abs() / error).max()) <= SIGMAS
