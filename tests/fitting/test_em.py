"""EM: monotone, stationary where it ends, the same bits however it is run; and the loop around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.em import EM, EMState
from gmmcli.fitting.engine import Evaluator, Request
from gmmcli.fitting.loop import Limits, Run
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.fitting.stopping import CONVERGED, ITERATION_LIMIT
from gmmcli.passes.block import TableBlocks
from gmmcli.passes.prepared import PreparedData
from tests import reference
from tests.conftest import (
    ask,
    assert_near,
    fit_blocks,
    inner_rows,
    prepare_rows,
    run_engine,
    run_pass,
    to_moments,
    to_parameters,
)

NO_FLOOR = 1e-9  # binds nowhere on data that is a sample of wide clusters
NEVER = -1.0  # a tolerance that nothing reaches


def overlapping(rows: int = 400, dims: int = 3, seed: int = 0) -> Tensor:
    return torch.from_numpy(reference.random_rows(reference.random_moments("full", 4, dims, seed), rows, seed))


def separated(rows: int = 200) -> Tensor:
    """Two clusters, at a distance at which EM converges in tens of steps but responsibilities are not 0 and 1."""
    moments = reference.Moments(
        np.array([0.4, 0.6]),
        np.array([[-2.0, 0.0], [2.0, 1.0]]),
        np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.6, -0.2], [-0.2, 1.2]]]),
    )
    return torch.from_numpy(reference.random_rows(moments, rows, 3))


def random_start(family: Family, components: int, dims: int, seed: int, floor: float = 0.0) -> Parameters:
    p = to_parameters(family, reference.random_moments(family.name, components, dims, seed, spread=1.0))
    return family.hold(p, floor)


def near_start(family: Family, data: PreparedData) -> Parameters:
    """Near the clusters of `separated`, in the coordinates of the fit."""
    means = torch.tensor([[-1.5, 0.5], [1.5, 0.5]], dtype=torch.float64)
    covariances = data.affine.inverse_congruence(torch.eye(2, dtype=torch.float64)).expand(2, 2, 2)
    halves = torch.full((2,), 0.5, dtype=torch.float64)
    return family.from_moments(halves, data.affine.inner(means), covariances)


def run_em(
    data: PreparedData, family: Family, starts: Sequence[Parameters], floor: float, steps: int, threads: int = 1
) -> list[Run]:
    return run_engine(EM(Objective(family, floor)), starts, Evaluator(data, family), Limits(steps, NEVER))


# ---- the likelihood never falls ---------------------------------------------------------------------------


@pytest.mark.parametrize("floor", [NO_FLOOR, 0.9], ids=["free", "floored"])
def test_log_likelihood_never_falls(family: Family, floor: float):
    data = prepare_rows(overlapping(), family)
    runs = run_em(data, family, [random_start(family, 4, 3, s, floor) for s in range(4)], floor, 60)
    bound = False
    for run in runs:
        assert run.failure is None
        history = np.array([record.log_likelihood for record in run.history])
        assert len(history) == 60
        # A mean of N logarithms, each of size |log p| and a handful of roundings: a few EPS of it.
        assert np.diff(history).min() >= -8 * reference.EPS * max(1.0, np.abs(history).max())
        assert history[-1] > history[0] + 0.01
        smallest = family.eigenvalue_range(run.state.parameters.scale, data.dims)[0]
        if family.learned:
            assert float(smallest.min()) >= floor * (1 - 1e-12)
            bound = bound or bool((smallest <= floor * (1 + 1e-12)).any())
    assert bound == (floor > NO_FLOOR and family.learned)


def test_one_step_is_the_naive_one(family: Family):
    data = prepare_rows(overlapping(), family)
    start = random_start(family, 4, 3, 0)
    z = inner_rows(data).numpy()
    moments = to_moments(family, start)
    expected = reference.m_step(
        family.name, z, reference.responsibilities(moments, z), None, float(moments.covariances[0, 0, 0])
    )
    stepped = run_em(data, family, [start], NO_FLOOR, 2)[0].state.parameters
    actual = to_moments(family, stepped)
    # Responsibilities to about 1e2 · EPS, and scatter from sums that cancel by about 1e1.
    close = 1e-12
    for name in ("weights", "means", "covariances"):
        assert_near(torch.from_numpy(getattr(actual, name)), torch.from_numpy(getattr(expected, name)), close)


# ---- where it ends ----------------------------------------------------------------------------------------


def gradient(family: Family, p: Parameters, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the mean log-likelihood, in free tensors, by autograd through torch.distributions."""
    u = family.unconstrain(p)
    free = [t.detach().clone().requires_grad_() for t in (u.logits, u.means, u.raw)]
    reference.torch_mixture(family.name, *free).log_prob(z).mean().backward()
    logits, means, raw = (t.grad for t in free)
    assert logits is not None
    assert means is not None
    assert raw is not None
    return logits, means, raw


def test_fixed_point_is_stationary(family: Family):
    data = prepare_rows(separated(), family)
    z = inner_rows(data)
    start = near_start(family, data)
    run = run_em(data, family, [start], NO_FLOOR, 300)[0]
    logits, means, raw = gradient(family, run.state.parameters, z)
    before = gradient(family, start, z)
    # Rounding of the iteration: EPS over 1 − rate, where the rate is at most 0.9 here, with room for sums of N.
    for after, initial in zip((logits, means), before[:2], strict=True):
        assert float(after.abs().max()) <= 1e-13
        assert float(initial.abs().max()) > 1e-3
    if family.learned:
        assert float(raw.abs().max()) <= 1e-13
    else:
        assert torch.equal(run.state.parameters.scale, start.scale)


@pytest.mark.parametrize("name", ["diagonal", "isotropic", "shared_diagonal", "shared_isotropic"])
def test_fixed_point_under_a_binding_floor_satisfies_the_kkt_conditions(name: str):
    from gmmcli.families import get_family

    family = get_family(name)
    data = prepare_rows(separated(), family)
    floor = {"diagonal": 0.3, "shared_diagonal": 0.3}.get(name, 0.7)
    run = run_em(data, family, [near_start(family, data)], floor, 400)[0]
    p = run.state.parameters
    logits, means, raw = gradient(family, p, inner_rows(data))
    assert float(logits.abs().max()) <= 1e-13
    assert float(means.abs().max()) <= 1e-13
    held = p.scale <= floor
    assert bool(held.any())
    assert bool((raw[held] < 0).all())  # it would go lower if it could
    if bool((~held).any()):
        assert float(raw[~held].abs().max()) <= 1e-13


def test_ends_at_the_same_point_from_a_warm_start(family: Family):
    data = prepare_rows(separated(), family)
    first = run_em(data, family, [near_start(family, data)], NO_FLOOR, 300)[0].state
    again = run_em(data, family, [first.parameters], NO_FLOOR, 5)[0].state
    assert_close(again.parameters.means, first.parameters.means, rtol=0, atol=1e-12)
    assert again.log_likelihood == pytest.approx(first.log_likelihood, abs=8 * reference.EPS)


# ---- engine and loop --------------------------------------------------------------------------------------


def test_a_step_is_one_pass_and_reports_the_model_that_it_evaluated(family: Family):
    data = prepare_rows(overlapping(), family)
    engine = EM(Objective(family, NO_FLOOR))
    start = random_start(family, 4, 3, 0)
    state = engine.start(start)
    evaluated = []
    for _ in range(3):
        step = engine.step(state)
        request = next(step)
        assert request.batch is None
        statistics = run_pass(data, family, [request.parameters])[0]
        with pytest.raises(StopIteration) as end:
            step.send(statistics)
        state = end.value.value
        assert isinstance(state, EMState)
        assert state.parameters is request.parameters
        assert state.log_likelihood == statistics.mean_log_likelihood
        evaluated.append(state.log_likelihood)
    assert state.recent == tuple(evaluated)
    assert torch.equal(engine.start(start).parameters.scale, start.scale)


@pytest.mark.usefixtures("blas")
def test_several_runs_side_by_side_are_each_as_if_alone(family: Family):
    data = prepare_rows(overlapping(), family)
    starts = [random_start(family, 4, 3, seed) for seed in range(3)]
    together = run_em(data, family, starts, NO_FLOOR, 8)
    for start, run in zip(starts, together, strict=True):
        alone = run_em(data, family, [start], NO_FLOOR, 8)[0]
        assert alone.history == run.history
        assert torch.equal(alone.state.parameters.means, run.state.parameters.means)
        assert torch.equal(alone.state.parameters.scale, run.state.parameters.scale)


def test_a_failed_run_ends_alone(family: Family):
    """A start whose likelihood overflows is reported, and the others go on as if it had not been there."""
    data = prepare_rows(overlapping(), family)
    good = [random_start(family, 4, 3, seed) for seed in range(2)]
    bad = dataclasses.replace(good[0], means=torch.full_like(good[0].means, 1e200))
    runs = run_em(data, family, [good[0], bad, good[1]], NO_FLOOR, 5)
    assert isinstance(runs[1].failure, NumericalError)
    assert runs[1].stop is None
    for run, alone in zip((runs[0], runs[2]), run_em(data, family, good, NO_FLOOR, 5), strict=True):
        assert run.failure is None
        assert run.history == alone.history


def test_loop_stops_by_tolerance_or_by_limit():
    from gmmcli.families import get_family

    family = get_family("diagonal")
    data = prepare_rows(separated(), family)
    start, evaluate, engine = near_start(family, data), Evaluator(data, family), EM(Objective(family, NO_FLOOR))
    seen: list[float] = []
    limited = run_engine(engine, [start], evaluate, Limits(7, 0.0), lambda run, _: seen.append(run.passes))[0]
    assert limited.stop is ITERATION_LIMIT
    assert [record.passes for record in limited.history] == seen == list(range(1, 8))
    best = run_engine(engine, [start], evaluate, Limits(500, NEVER))[0].state.log_likelihood
    for tolerance in (1e-3, 1e-6, 1e-9):
        run = run_engine(engine, [start], evaluate, Limits(500, tolerance))[0]
        assert run.stop is CONVERGED
        assert len(run.history) < 200
        assert run.history[-1].remaining <= tolerance
        # Aitken's estimate is of the first order: twice covers the curvature of the path.
        assert best - run.state.log_likelihood <= 2 * tolerance
    first, second = limited.history[:2]
    assert second.gain == pytest.approx(second.log_likelihood - first.log_likelihood, abs=8 * reference.EPS * 10)


def test_history_is_in_units_of_the_data(family: Family):
    x = overlapping() * 7 + 3
    data = prepare_rows(x, family)
    run = run_em(data, family, [random_start(family, 4, 3, 0)], NO_FLOOR, 3)[0]
    outer = to_moments(family, family.to_outer(run.state.parameters, data.affine))
    expected = float(reference.log_prob(outer, x.numpy()).mean())
    assert run.history[-1].log_likelihood == pytest.approx(expected, rel=1e-12)


# ---- bits -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize(
    "method",
    [
        {"method": "em"},
        {"method": "gradient", "iterations": 3, "batch_size": 100},
        {"method": "gradient", "iterations": 5, "optimizer": "lbfgs"},
    ],
    ids=["em", "batches", "lbfgs"],
)
def test_a_whole_fit_has_the_same_bits_for_any_threads_and_order_of_blocks(family: Family, method: dict[str, object]):
    x = overlapping(700)
    w = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 3, len(x)))
    results: list[FitResult] = []
    for threads, order in ((1, range(7)), (2, [6, 2, 0, 3, 5, 1, 4]), (2, range(7))):
        options = {"iterations": 6, "restarts": 2, **method, "threads": threads}
        chosen = FitOptions(components=3, family=family.name, **options)  # type: ignore[arg-type]
        blocks = list(TableBlocks(x, w, 100))
        torch.set_num_threads(threads)  # whatever the caller's own setting is
        results.append(fit_blocks([blocks[i] for i in order], chosen))
        assert torch.get_num_threads() == threads
    for other in results[1:]:
        assert other.history == results[0].history
        assert other.log_likelihood == results[0].log_likelihood
        assert other.entropy == results[0].entropy
        for name, tensor in results[0].model.state_dict().items():
            assert torch.equal(other.model.state_dict()[name], tensor), name


@pytest.mark.usefixtures("blas")
def test_requests_are_answered_in_their_order(family: Family):
    data = prepare_rows(overlapping(), family)
    mixtures = [random_start(family, 4, 3, seed) for seed in range(3)]
    answers = ask(Evaluator(data, family), [Request(p) for p in mixtures])
    for p, answer in zip(mixtures, answers, strict=True):
        assert torch.equal(answer.sums, run_pass(data, family, [p])[0].sums)
