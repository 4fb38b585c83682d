"""Gradient descent: Fisher's identity against plain autograd, and the engines against EM's optimum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters, Unconstrained
from gmmcli.fitting.em import EM
from gmmcli.fitting.engine import Batch, Engine, Evaluator, Request, State
from gmmcli.fitting.gradient import LBFGS, Adam, DescentState
from gmmcli.fitting.loop import Limits, Run
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.stopping import CONVERGED, SCHEDULE_END
from gmmcli.passes.prepared import PreparedData
from tests import reference
from tests.conftest import ask, assert_near, inner_rows, prepare_rows, run_engine, run_pass, to_moments, to_parameters

NO_FLOOR = 1e-9
NEVER = -1.0
Free = tuple[Tensor, Tensor, Tensor]


def table(rows: int = 300, dims: int = 3, seed: int = 0) -> Tensor:
    return torch.from_numpy(reference.random_rows(reference.random_moments("full", 3, dims, seed), rows, seed))


def leaves(family: Family, p: Parameters) -> Free:
    u = family.unconstrain(p)
    logits, means, raw = (t.detach().clone().requires_grad_() for t in (u.logits, u.means, u.raw))
    return logits, means, raw


def fisher(data: PreparedData, family: Family, free: Free, *, part: bool = False) -> tuple[Tensor, ...]:
    """The gradient from the sufficient statistics of one pass."""
    p = family.constrain(Unconstrained(*(t.detach() for t in free)))
    blocks = data.held if part else None
    statistics = run_pass(data, family, [p], blocks=blocks)[0]
    value = Objective(family, NO_FLOOR).expected(statistics, family.constrain(Unconstrained(*free)))
    return torch.autograd.grad(value, free)


def assert_equal_gradients(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]):
    for a, e in zip(actual, expected, strict=True):
        size = float(e.abs().max())
        assert size > 1e-4  # not a stationary point
        assert float((a - e).abs().max()) <= 1e-10 * size  # the issue's own figure; measured 1e-14


# ---- the gradient -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["whole", "batch"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("components", "dims"), [(3, 1), (2, 2), (4, 3)])
def test_equals_autograd_through_torch_distributions(
    family: Family, components: int, dims: int, seed: int, route: str
):
    data = prepare_rows(table(200, dims), family)
    draw = torch.Generator().manual_seed(seed)
    shapes = ((components,), (components, dims), family.scale_shape(components, dims))
    logits, means, raw = (0.7 * torch.randn(s, generator=draw, dtype=torch.float64) for s in shapes)
    raw = raw.tril() if family.name in reference.FULL else raw
    free = (logits.requires_grad_(), means.requires_grad_(), raw.detach().requires_grad_())
    distribution = reference.torch_mixture(family.name, *free)
    expected = torch.autograd.grad(distribution.log_prob(inner_rows(data)).mean(), free)
    assert_equal_gradients(fisher(data, family, free, part=route == "batch"), expected)


def test_equals_autograd_with_row_weights(family: Family):
    x = table()
    w = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 3, len(x)))
    data = prepare_rows(x, family, w)
    free = leaves(family, to_parameters(family, reference.random_moments(family.name, 3, 3, 5)))
    log_prob = reference.torch_mixture(family.name, *free).log_prob(inner_rows(data))
    expected = torch.autograd.grad((w * log_prob).sum() / w.sum(), free)
    assert_equal_gradients(fisher(data, family, free), expected)


@pytest.mark.parametrize(("components", "dims"), [(1, 1), (3, 2)])
def test_equals_the_closed_form_for_diagonal(components: int, dims: int):
    family = get_family("diagonal")
    x = table(200, dims)
    w = torch.from_numpy(np.random.default_rng(1).uniform(0.1, 3, len(x)))
    data = prepare_rows(x, family, w)
    moments = reference.random_moments("diagonal", components, dims, 7)
    expected = reference.diagonal_gradient(moments, inner_rows(data).numpy(), w.numpy())
    actual = fisher(data, family, leaves(family, to_parameters(family, moments)))
    for a, e in zip(actual, expected, strict=True):
        assert np.abs(a.numpy() - e).max() <= 1e-10 * max(np.abs(e).max(), 1e-3)  # K = 1: no gradient in the logit


def test_expected_log_joint_is_the_log_likelihood_less_minus_the_entropy(family: Family):
    """At the statistics' own parameters, Σ r log(π N) = log L − Σ r (−log r)."""
    data = prepare_rows(table(), family)
    p = to_parameters(family, reference.random_moments(family.name, 3, 3, 1))
    statistics = run_pass(data, family, [p], entropy=True)[0]
    assert statistics.entropy is not None
    expected = (statistics.log_likelihood - statistics.entropy) / statistics.weight
    assert float(Objective(family, NO_FLOOR).expected(statistics, p)) == pytest.approx(expected, rel=1e-12)


def test_promised_gain_bounds_that_of_an_em_step(family: Family):
    data = prepare_rows(table(), family)
    p = to_parameters(family, reference.random_moments(family.name, 3, 3, 1))
    statistics = run_pass(data, family, [p])[0]
    promised = (1 - 0.99) * Objective(family, NO_FLOOR).promised_by_em(statistics, p)
    stepped = run_pass(data, family, [Objective(family, NO_FLOOR).maximise(statistics, p)])[0]
    gain = stepped.mean_log_likelihood - statistics.mean_log_likelihood
    assert 0 < promised <= gain


# ---- the engines ------------------------------------------------------------------------------------------


def clusters(rows: int = 200) -> Tensor:
    moments = reference.Moments(
        np.array([0.4, 0.6]),
        np.array([[-2.0, 0.0], [2.0, 1.0]]),
        np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.6, -0.2], [-0.2, 1.2]]]),
    )
    return torch.from_numpy(reference.random_rows(moments, rows, 3))


def start_of(family: Family, data: PreparedData, variance: float = 1.0) -> Parameters:
    means = torch.tensor([[-1.5, 0.5], [1.5, 0.5]], dtype=torch.float64)
    covariances = data.affine.inverse_congruence(variance * torch.eye(2, dtype=torch.float64)).expand(2, 2, 2)
    halves = torch.full((2,), 0.5, dtype=torch.float64)
    return family.from_moments(halves, data.affine.inner(means), covariances)


def run_one(
    engine: Engine, data: PreparedData, family: Family, start: Parameters, steps: int, batches: int = 1
) -> tuple[Run, list[Parameters]]:
    seen: list[Parameters] = []
    evaluate = Evaluator(data, family, seed=5, batches=batches)
    run = run_engine(
        engine, [start], evaluate, Limits(steps, NEVER), lambda run, _: seen.append(run.state.parameters)
    )[0]
    assert run.failure is None
    return run, seen


def ems_optimum(data: PreparedData, family: Family, start: Parameters, floor: float = NO_FLOOR) -> State:
    return run_one(EM(Objective(family, floor)), data, family, start, 150)[0].state


ABOVE = 80 * reference.EPS  # by which rounding may lift a mean log-likelihood of about 3 above the optimum


def test_lbfgs_reaches_ems_optimum(family: Family):
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    best = ems_optimum(data, family, start)
    state = run_one(LBFGS(Objective(family, NO_FLOOR)), data, family, start, 200)[0].state
    # What a line search can still tell apart: a gain of EPS, that is a distance of about its root.
    assert -ABOVE <= best.log_likelihood - state.log_likelihood <= 1e-12
    assert_close(to_tensors(family, state.parameters), to_tensors(family, best.parameters), rtol=0, atol=1e-6)


def test_adam_reaches_ems_optimum(family: Family):
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    best = ems_optimum(data, family, start)
    run, seen = run_one(Adam(Objective(family, NO_FLOOR), 0.05, 0.05, 200), data, family, start, 10_000)
    assert run.stop is SCHEDULE_END
    assert len(seen) == 200
    # The issue allows 1e-3 on real data; on data as well-behaved as this the annealed end is a thousand times nearer.
    assert -ABOVE <= best.log_likelihood - run.state.log_likelihood <= 1e-6


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_one_component_reaches_the_closed_form(family: Family, kind: str):
    """K = 1 leaves a family whose covariance is given nothing but a mean to move."""
    data = prepare_rows(clusters(), family)
    ones, zeros = torch.ones(1, dtype=torch.float64), torch.full((1, 2), 0.7, dtype=torch.float64)
    start = family.from_moments(ones, zeros, 2 * torch.eye(2, dtype=torch.float64)[None])
    best = run_one(EM(Objective(family, NO_FLOOR)), data, family, start, 2)[0].state
    engine = (
        LBFGS(Objective(family, NO_FLOOR)) if kind == "lbfgs" else Adam(Objective(family, NO_FLOOR), 0.05, 0.05, 150)
    )
    state = run_one(engine, data, family, start, 150)[0].state
    assert -ABOVE <= best.log_likelihood - state.log_likelihood <= (1e-12 if kind == "lbfgs" else 1e-6)


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_climbs_under_a_binding_floor(learned_family: Family, kind: str):
    family, floor = learned_family, 0.3
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    start = family.hold(start, floor)
    best = ems_optimum(data, family, start, floor)
    engine = LBFGS(Objective(family, floor)) if kind == "lbfgs" else Adam(Objective(family, floor), 0.05, 0.05, 40)
    run, seen = run_one(engine, data, family, start, 40)
    for p in seen:
        assert float(family.eigenvalue_range(p.scale, p.dims)[0].min()) >= floor * (1 - 1e-12)
    assert run.history[0].log_likelihood < run.history[-1].log_likelihood
    assert run.state.log_likelihood <= best.log_likelihood + ABOVE


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
@pytest.mark.parametrize("floor", [NO_FLOOR, 0.3], ids=["free", "floored"])
def test_claims_to_have_converged_only_where_little_remains(family: Family, kind: str, floor: float):
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    start = family.hold(start, floor)
    best = ems_optimum(data, family, start, floor)
    engine = LBFGS(Objective(family, floor)) if kind == "lbfgs" else Adam(Objective(family, floor), 0.05, 0.05, 200)
    passes = 200 if floor == NO_FLOOR else 60
    run = run_engine(engine, [start], Evaluator(data, family), Limits(passes, 1e-5))[0]
    if floor == NO_FLOOR:
        assert run.stop is CONVERGED
        assert run.history[-1].passes < 200
    assert best.log_likelihood - run.state.log_likelihood <= 1e-5 or run.stop is not CONVERGED


def test_adam_on_batches_nears_ems_optimum(family: Family):
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    best = ems_optimum(data, family, start)
    run, seen = run_one(Adam(Objective(family, NO_FLOOR), 0.05, 0.05, 40, 4), data, family, start, 10_000, batches=4)
    assert len(seen) == 40
    assert run.passes == pytest.approx(41)  # an epoch counts as a pass; one more looks at what batches led to
    end = run_pass(data, family, [run.state.parameters])[0].mean_log_likelihood
    assert run.state.log_likelihood == end
    assert -ABOVE <= best.log_likelihood - end <= 1e-3  # the issue's own figure


@pytest.mark.parametrize("kind", ["adam", "batches", "lbfgs"])
def test_floor_is_held_after_every_step_even_from_a_start_below_it(learned_family: Family, kind: str):
    family = learned_family
    data = prepare_rows(clusters(), family)
    floor, batches = 0.5, 4 if kind == "batches" else 1
    start = start_of(family, data, variance=0.05)
    assert float(family.eigenvalue_range(start.scale, start.dims)[0].min()) < floor
    engine = (
        LBFGS(Objective(family, floor))
        if kind == "lbfgs"
        else Adam(Objective(family, floor), 0.05, 0.05, 20, batches)
    )
    run, seen = run_one(engine, data, family, start, 60, batches)
    for p in (*seen, run.state.parameters):
        assert float(family.eigenvalue_range(p.scale, p.dims)[0].min()) >= floor * (1 - 1e-12)


def test_given_variance_is_left_alone():
    family = get_family("constant")
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    for engine in (Adam(Objective(family, 0.9), 0.05, 0.05, 10), LBFGS(Objective(family, 0.9))):
        run, _ = run_one(engine, data, family, start, 10)
        assert torch.equal(run.state.parameters.scale, start.scale)
        assert not torch.equal(run.state.parameters.means, start.means)


def test_full_batch_keeps_the_best_model_that_it_evaluated(family: Family):
    data = prepare_rows(clusters(), family)
    run, _ = run_one(
        Adam(Objective(family, NO_FLOOR), 0.5, 0.5, 40), data, family, start_of(family, data), 40
    )  # overshoots
    history = [record.log_likelihood for record in run.history]
    assert history == sorted(history)
    statistics = run_pass(data, family, [run.state.parameters])[0]
    assert statistics.mean_log_likelihood == run.state.log_likelihood


def test_rates_are_of_their_own_groups(family: Family):
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    for rates, moved in (((0.1, 1e-30), "weights"), ((1e-30, 0.1), "means")):
        state = run_one(Adam(Objective(family, NO_FLOOR), *rates, 10), data, family, start, 5)[0].state
        assert isinstance(state, DescentState)
        after = family.constrain(state.free)
        change = {
            "weights": float((after.weights - start.weights).detach().abs().max()),
            "means": float((after.means - start.means).detach().abs().max()),
        }
        assert change.pop(moved) > 0.01
        assert next(iter(change.values())) < 1e-15


def test_annealing_is_a_cosine_to_zero(family: Family):
    engine = Adam(Objective(family, NO_FLOOR), 0.2, 0.1, 8)
    data = prepare_rows(clusters(), family)
    state = engine.start(start_of(family, data))
    rates = []
    for _ in range(8):
        step = engine.step(state)
        statistics = run_pass(data, family, [next(step).parameters])[0]
        with pytest.raises(StopIteration) as end:
            step.send(statistics)
        state = end.value.value
        assert state.optimizer is not None
        rates.append([group["lr"] for group in state.optimizer["param_groups"]])
    expected = [[lr * (1 + np.cos(np.pi * n / 8)) / 2 for lr in (0.2, 0.1)] for n in range(1, 9)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12, atol=1e-15)


# ---- mini-batches -----------------------------------------------------------------------------------------

ROWS = 50


def batch_rows(evaluate: Evaluator, family: Family, epoch: int, batches: int) -> list[frozenset[int]]:
    """Which rows each batch holds, read off the total weight: row n weighs 2ⁿ, and sums of those are exact."""
    p = family.from_moments(
        torch.ones(1).double(), torch.zeros(1, 1).double(), torch.ones(1, 1, 1, dtype=torch.float64)
    )
    found = []
    for index in range(batches):
        weight = int(ask(evaluate, [Request(p, Batch(epoch, index))])[0].weight)
        found.append(frozenset(n for n in range(ROWS) if weight >> n & 1))
    return found


def batched(
    family: Family,
    seed: int,
    batches: int,
    *,
    block_rows: int = 100,
    order: list[int] | None = None,
    threads: int = 1,
) -> Evaluator:
    x = torch.linspace(-1, 1, ROWS, dtype=torch.float64)[:, None]
    w = 2.0 ** torch.arange(ROWS, dtype=torch.float64)
    data = prepare_rows(x, family, w, block_rows=block_rows, order=order)
    return Evaluator(data, family, seed=seed, batches=batches)


@pytest.mark.parametrize("batches", [1, 3, 7, 50])
def test_every_row_is_in_exactly_one_batch_of_an_epoch(family: Family, batches: int):
    evaluate = batched(family, 0, batches)
    for epoch in range(3):
        parts = batch_rows(evaluate, family, epoch, batches)
        assert sorted(n for part in parts for n in part) == list(range(ROWS))
        sizes = {len(part) for part in parts}
        assert max(sizes) - min(sizes) <= 1


def test_batches_depend_on_seed_epoch_and_row_number_only():
    family = get_family("diagonal")
    expected = [batch_rows(batched(family, 0, 5), family, epoch, 5) for epoch in range(3)]
    assert len({tuple(parts) for parts in expected}) == 3
    assert batch_rows(batched(family, 1, 5), family, 0, 5) != expected[0]
    for other in (
        batched(family, 0, 5, block_rows=7),
        batched(family, 0, 5, block_rows=10, order=[4, 2, 0, 1, 3]),
        batched(family, 0, 5, block_rows=10, threads=2),
    ):
        again = [batch_rows(other, family, epoch, 5) for epoch in (2, 0, 1)]  # in any order of epochs
        assert again == [expected[2], expected[0], expected[1]]


def test_batches_are_at_random():
    """A row's batch is uniform over epochs: chi-squared of 50 × 5 counts, within 4.5 standard errors."""
    family = get_family("diagonal")
    evaluate = batched(family, 0, 5)
    counts = np.zeros((ROWS, 5))
    for epoch in range(100):
        for index, part in enumerate(batch_rows(evaluate, family, epoch, 5)):
            counts[list(part), index] += 1
    chi_squared = ((counts - 20) ** 2 / 20).sum()
    freedom = (ROWS - 1) * 4
    assert abs(chi_squared - freedom) <= 4.5 * (2 * freedom) ** 0.5


def test_runs_side_by_side_share_their_batches(family: Family):
    data = prepare_rows(clusters(), family)
    start = start_of(family, data)
    other = dataclasses.replace(start, means=start.means + 0.1)
    engine = Adam(Objective(family, NO_FLOOR), 0.05, 0.05, 3, 4)
    evaluate = Evaluator(data, family, seed=5, batches=4)
    together = run_engine(engine, [start, other], evaluate, Limits(3, NEVER))
    for start_, run in zip((start, other), together, strict=True):
        alone, _ = run_one(engine, data, family, start_, 3, batches=4)
        assert [record.passes for record in alone.history] == [record.passes for record in run.history]
        for a, b in zip(alone.history, run.history, strict=True):  # one product for both may round otherwise
            assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-12)
        assert_near(alone.state.parameters.means, run.state.parameters.means)


def to_tensors(family: Family, p: Parameters) -> list[Tensor]:
    m = to_moments(family, p)
    return [torch.from_numpy(a) for a in (m.weights, m.means, m.covariances)]
