"""Accelerations of EM: as safe as EM, fewer passes, and an estimate of what remains that can be trusted."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gmmcli
from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.acceleration import ENGINES, SETTLED, Accelerated, AcceleratedState
from gmmcli.fitting.engine import Answer, Evaluator, Request, State
from gmmcli.fitting.loop import Limits, Run, Stage, run_all
from gmmcli.fitting.objective import Objective
from gmmcli.fitting.options import ACCELERATIONS
from gmmcli.fitting.result import describe
from gmmcli.fitting.secants import Secants, inner
from gmmcli.fitting.stopping import CONVERGED
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Task, drive
from tests import reference
from tests.benchmarks.acceleration import PLAIN, SUITE, Course, courses, lower
from tests.conftest import ask, inner_rows, prepare_rows, run_engine, to_parameters

NO_FLOOR = 1e-9  # binds nowhere on data that is a sample of wide clusters
NEVER = -1.0  # a tolerance that nothing reaches
ACCELERATED = tuple(name for name in ACCELERATIONS if name != PLAIN)
each_engine = pytest.mark.parametrize("name", ACCELERATED)


def overlapping(rows: int = 400, dims: int = 3, seed: int = 0) -> Tensor:
    return torch.from_numpy(reference.random_rows(reference.random_moments("full", 4, dims, seed), rows, seed))


def random_start(family: Family, components: int, dims: int, seed: int, floor: float = 0.0) -> Parameters:
    p = to_parameters(family, reference.random_moments(family.name, components, dims, seed, spread=1.0))
    return family.hold(p, floor)


def make(name: str, family: Family, floor: float = NO_FLOOR) -> Accelerated:
    engine = ENGINES[name](Objective(family, floor))
    assert isinstance(engine, Accelerated)
    return engine


def one_step(engine: Accelerated, state: State, data: PreparedData, family: Family) -> State:
    step, evaluate = engine.step(state), Evaluator(data, family)
    try:
        request = next(step)
        while True:
            request = step.send(ask(evaluate, [request])[0])
    except StopIteration as end:
        return end.value


def state_that_proposes(name: str, family: Family, data: PreparedData) -> tuple[Accelerated, AcceleratedState]:
    """An engine and a state whose next step is one of its own."""
    engine = make(name, family)
    state: State = engine.start(random_start(family, 4, 3, 0))
    for _ in range(200):
        state = one_step(engine, state, data, family)
        assert isinstance(state, AcceleratedState)
        assert state.at is not None
        if next(engine.step(state)).parameters is not state.at.image:
            assert state.at.promise <= SETTLED
            return engine, state
    raise AssertionError("no step was proposed")


# ---- as safe as EM ----------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("floor", [NO_FLOOR, 0.9], ids=["free", "floored"])
def test_log_likelihood_never_falls_and_floors_hold(name: str, family: Family, floor: float):
    data = prepare_rows(overlapping(), family)
    starts = [random_start(family, 4, 3, s, floor) for s in range(3)]
    runs = run_engine(make(name, family, floor), starts, Evaluator(data, family), Limits(80, NEVER))
    bound = False
    for run, start in zip(runs, starts, strict=True):
        assert run.failure is None
        history = np.array([record.log_likelihood for record in run.history])
        assert np.diff(history).min() >= -8 * reference.EPS * max(1.0, np.abs(history).max())
        assert history[-1] > history[0] + 0.01
        smallest = family.eigenvalue_range(run.state.parameters.scale, run.state.parameters.dims)[0]
        if family.learned:
            assert float(smallest.min()) >= floor * (1 - 1e-12)
            bound = bound or bool((smallest <= floor * (1 + 1e-12)).any())
        else:
            assert torch.equal(run.state.parameters.scale, start.scale)
    assert bound == (floor > NO_FLOOR and family.learned)


@each_engine
def test_all_passes_are_counted_and_a_step_takes_one_or_two(name: str, family: Family):
    data = prepare_rows(overlapping(), family)
    asked = 0

    class Counting(Evaluator):
        def __call__(self, requests: Sequence[Request], *, entropy: bool = False) -> Task[list[Answer]]:
            nonlocal asked
            asked += len(requests)
            return super().__call__(requests, entropy=entropy)

    run = run_engine(make(name, family), [random_start(family, 4, 3, 0)], Counting(data, family), Limits(100, NEVER))[
        0
    ]
    assert run.passes == asked
    passes = [0] + [record.passes for record in run.history]
    assert set(np.diff(passes)) <= {1, 2}
    assert run.passes in (100, 101)  # the limit, or one more for a step that was rejected there


@each_engine
@pytest.mark.parametrize("failure", ["fall", "nan", "error"])
def test_a_rejected_step_costs_its_pass_and_falls_back_to_em(name: str, failure: str, family: Family):
    data = prepare_rows(overlapping(), family)
    engine, state = state_that_proposes(name, family, data)
    assert state.at is not None
    step, evaluate = engine.step(state), Evaluator(data, family)
    proposed = next(step)
    answer = ask(evaluate, [proposed])[0]
    if failure == "error":
        second = step.throw(NumericalError("a sum over the data is not finite"))
    else:
        low = math.nan if failure == "nan" else answer.log_likelihood - answer.weight
        second = step.send(dataclasses.replace(answer, log_likelihood=low))
    assert second.parameters is state.at.image
    with pytest.raises(StopIteration) as end:
        step.send(ask(evaluate, [second])[0])
    after = end.value.value
    assert after.parameters is state.at.image
    assert after.log_likelihood > state.log_likelihood
    assert after.by_em


@pytest.mark.parametrize("name", ACCELERATIONS)
def test_a_pause_costs_no_pass_and_changes_nothing(name: str, family: Family):
    data = prepare_rows(overlapping(), family)
    start, engine = random_start(family, 4, 3, 0), ENGINES[name](Objective(family, NO_FLOOR))
    whole = run_engine(engine, [start], Evaluator(data, family), Limits(60, NEVER))[0]
    parts = Run(0, engine.start(start))
    for _ in range(25):
        before = parts.passes
        parts.due = parts.passes + 3
        drive(run_all(Stage(engine, Evaluator(data, family), Limits(60, NEVER)), [parts]), 1)
        assert parts.ended or before + 3 <= parts.passes <= before + 4
    assert parts.history == whole.history
    assert parts.passes == whole.passes


class Failing(Evaluator):
    """Refuses every third request."""

    count = 0

    def __call__(self, requests: Sequence[Request], *, entropy: bool = False) -> Task[list[Answer]]:
        answers = yield from super().__call__(requests, entropy=entropy)
        for i in range(len(answers)):
            self.count += 1
            if self.count % 3 == 0:
                answers[i] = NumericalError("refused")
        return answers


def test_the_loop_lets_an_engine_handle_a_failed_pass(family: Family):
    """A step that is refused is a rejected one; the EM step after it is what a run cannot do without."""
    data = prepare_rows(overlapping(), family)
    engine, state = state_that_proposes("bfgs", family, data)
    run, evaluate = Run(0, state), Failing(data, family)
    evaluate.count = 1  # what is proposed is answered, refused, and then answered again
    drive(run_all(Stage(engine, evaluate, Limits(3, NEVER)), [run]), 1)
    assert run.failure is None
    assert [record.passes for record in run.history] == [1, 3]
    plain, failed = ENGINES[PLAIN](Objective(family, NO_FLOOR)), Failing(data, family)
    assert run_engine(plain, [random_start(family, 4, 3, 0)], failed, Limits(5, NEVER))[0].failure is not None


@each_engine
def test_a_step_too_far_for_a_pass_is_not_asked_for(name: str):
    family = gmmcli.families.get_family("full")
    data = prepare_rows(overlapping(), family)
    engine, state = state_that_proposes(name, family, data)
    assert state.at is not None
    assert state.secants is not None
    wild = dataclasses.replace(state, secants=Secants(state.secants.steps * 1e9, state.secants.lags), reach=1e12)
    assert isinstance(one_step(engine, wild, data, family), AcceleratedState)


@each_engine
def test_ends_where_the_gradient_is_none(name: str, family: Family):
    data = prepare_rows(overlapping(), family)
    run = run_engine(
        make(name, family), [random_start(family, 4, 3, 0)], Evaluator(data, family), Limits(2000, 1e-13)
    )[0]
    assert run.stop is CONVERGED
    p = run.state.parameters
    objective, statistics = Objective(family, NO_FLOOR), ask(Evaluator(data, family), [Request(p)])[0]
    # The remaining gain is ½ gᵀ H⁻¹ g < 1e-13 with H ≤ M, whose eigenvalues are about 1.
    assert float(objective.gradient(objective.free_vector(p), p, statistics).abs().max()) < 1e-6


@each_engine
def test_a_state_can_be_stored_and_gone_on_from(name: str, family: Family):
    data = prepare_rows(overlapping(), family)
    engine, state = state_that_proposes(name, family, data)
    stored = pickle.loads(pickle.dumps(state))
    for _ in range(5):
        state, stored = one_step(engine, state, data, family), one_step(engine, stored, data, family)
    assert stored.log_likelihood == state.log_likelihood
    assert torch.equal(stored.parameters.means, state.parameters.means)
    assert stored.remaining == state.remaining


@each_engine
@pytest.mark.parametrize(
    ("components", "rows", "options"),
    [
        (1, 50, {}),
        (3, 7, {}),
        (12, 60, {}),
        (4, 2000, {"precision": "float32", "tolerance": 1e-5}),
        (4, 300, {"init": "random"}),
    ],
    ids=["one component", "few rows", "many components", "float32", "equal components"],
)
def test_converges_at_the_edges(name: str, family: Family, components: int, rows: int, options: dict[str, Any]):
    x = overlapping(rows)
    result = gmmcli.fit(x, components, family.name, acceleration=name, restarts=2, **options)
    assert result.stop is CONVERGED
    assert result.restarts[result.restart].passes < 700
    if components == 1:
        assert len(result.history) <= 3


def test_a_component_that_dies_does_no_harm(family: Family):
    x = overlapping(200)
    data = prepare_rows(x, family)
    start = random_start(family, 4, 3, 0)
    far = start.means.clone()
    far[3] = 1e3
    start = dataclasses.replace(start, means=far)
    for name in ACCELERATED:
        run = run_engine(make(name, family), [start], Evaluator(data, family), Limits(600, 1e-8))[0]
        assert run.stop is CONVERGED, name
        assert float(run.state.parameters.weights[3]) < 1e-12


# ---- what the steps are made of ---------------------------------------------------------------------------


def test_free_vectors_are_there_and_back(family: Family):
    p = random_start(family, 4, 3, 0)
    objective = Objective(family, 0.0)
    vector = objective.free_vector(p)
    back = objective.parameters(vector, p)
    torch.testing.assert_close(objective.free_vector(back), vector)
    torch.testing.assert_close(back.weights, p.weights)
    assert len(vector) == 4 + 12 + (p.scale.numel() if family.learned else 0)
    if not family.learned:
        assert back.scale is p.scale


def test_gradient_is_that_of_the_mean_log_likelihood(family: Family):
    data = prepare_rows(overlapping(), family)
    z, p = inner_rows(data), random_start(family, 4, 3, 0)
    objective = Objective(family, 0.0)
    vector = objective.free_vector(p)
    statistics = ask(Evaluator(data, family), [Request(p)])[0]
    gradient = objective.gradient(vector, p, statistics)
    way = torch.randn(len(vector), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = 1e-5  # error h² times a third derivative of about 1, and rounding of 1e-15 / h

    def value(t: float) -> float:
        return float(family.log_joint(objective.parameters(vector + t * way, p), z).logsumexp(1).mean())

    assert (value(h) - value(-h)) / (2 * h) == pytest.approx(float(gradient @ way), rel=1e-6, abs=1e-8)


def quadratic(eigenvalues: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """H, M and M⁻¹ where M⁻¹ H has these eigenvalues."""
    size = len(eigenvalues)
    draw = torch.Generator().manual_seed(0)
    root = torch.eye(size, dtype=torch.float64) + torch.randn(size, size, generator=draw, dtype=torch.float64) / 9
    basis = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64))[0]
    m = root @ root.mT
    h = root @ (basis * torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.mT @ root.mT
    return h, m, torch.linalg.inv(m)


def secants_of(steps: Tensor, h: Tensor, m: Tensor, inverse: Tensor) -> Secants:
    """The secants of steps (m, F) on a quadratic."""
    secants = Secants.none(len(h))
    for s in steps:
        secants = secants.extended(torch.stack([s, m @ s]), torch.stack([inverse @ h @ s, h @ s]), 10)
    return secants


def test_ascent_meets_the_newest_secant_and_keeps_the_dual():
    h, m, inverse = quadratic([1.0, 0.5, 0.1, 0.01])
    steps = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    secants = secants_of(steps, h, m, inverse)
    step = secants.ascent(torch.stack([inverse @ h @ steps[-1], h @ steps[-1]]))
    torch.testing.assert_close(step[0], steps[-1])
    torch.testing.assert_close(step[1], m @ steps[-1])
    assert inner(step, step) == pytest.approx(float(steps[-1] @ m @ steps[-1]))


def test_ascent_finds_the_top_of_a_quadratic():
    """BFGS with exact steps to the top of each line ends after F of them."""
    h, _, inverse = quadratic([1.0, 0.5, 0.1, 0.01])
    top = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    x, secants = torch.zeros(4, dtype=torch.float64), Secants.none(4)
    for _ in range(4):
        g = h @ (top - x)
        step = secants.ascent(torch.stack([inverse @ g, g]))
        step = step * float(step[0] @ g) / float(step[0] @ h @ step[0])
        secants = secants.extended(step, torch.stack([inverse @ h @ step[0], h @ step[0]]), 10)
        x = x + step[0]
    torch.testing.assert_close(x, top)


def test_slowness_is_that_of_ems_slowest_rate():
    h, m, inverse = quadratic([1.0, 0.5, 0.1, 0.01])
    steps = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert Secants.none(4).slowness() == math.inf
    found = [secants_of(steps[:n], h, m, inverse).slowness() for n in (1, 2, 3, 4)]
    assert found == sorted(found)  # a larger span has seen more
    assert found[-1] == pytest.approx(100)


def test_slowness_is_infinite_where_the_curvature_is_negative():
    h, m, inverse = quadratic([1.0, 0.5, 0.1, -0.01])
    steps = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    secants = secants_of(steps, h, m, inverse)
    assert secants.slowness() == math.inf
    uphill = secants.ascent(torch.stack([inverse @ steps[0], steps[0]]))
    assert float(uphill[0] @ steps[0]) > 0


# ---- fewer passes -----------------------------------------------------------------------------------------

# Every kind of problem in the benchmark's suite; EM ends all of them within some hundred passes.
PART = [next(p for p in SUITE if p.seed == seed) for seed in (0, 9, 200, 400, 500, 601, 701, 800, 1100, 1201)]


@pytest.fixture(scope="module")
def part() -> list[dict[str, Course]]:
    return [courses(problem) for problem in PART]


@pytest.mark.parametrize(("name", "times"), [("bfgs", 3.0), ("anderson", 2.0), ("squarem", 1.5)])
def test_fewer_passes_than_em_to_the_same_log_likelihood(part: list[dict[str, Course]], name: str, times: float):
    ratios = [of[PLAIN].to_gap[1e-5] / of[name].to_gap[1e-5] for of in part]
    assert math.exp(sum(map(math.log, ratios)) / len(ratios)) >= times
    assert sum(lower(of, name) for of in part) == 0
    assert min(ratios) >= 1 or name != "bfgs"


@pytest.mark.parametrize("name", ACCELERATIONS)
def test_what_remains_is_at_most_three_times_the_estimate(part: list[dict[str, Course]], name: str):
    for tolerance in (1e-6, 1e-8):
        stops = [of[name].stops[tolerance] for of in part]
        assert sum(stop is not None and stop.honest for stop in stops) >= len(part) - 1
        # and it does stop: a tenth of the passes after the true gain had fallen below the tolerance, or a few
        assert all(stop is not None and stop.wasted <= max(20, stop.passes / 2) for stop in stops)


# ---- the option -------------------------------------------------------------------------------------------


def test_the_option_chooses_the_engine():
    x = overlapping(300, 2)
    results = {name: gmmcli.fit(x, 4, acceleration=name, restarts=1) for name in ACCELERATIONS}
    default = gmmcli.fit(x, 4, restarts=1)
    assert describe(default)["acceleration"] == ACCELERATIONS[0] == "bfgs"
    assert default.history == results["bfgs"].history
    assert describe(results[PLAIN])["acceleration"] is None
    assert describe(results["squarem"])["acceleration"] == "squarem"
    assert describe(gmmcli.fit(x, 2, method="gradient", iterations=3, restarts=1))["acceleration"] is None
    assert len({tuple(r.log_likelihood for r in result.history) for result in results.values()}) == 4
    assert set(ENGINES) == set(ACCELERATIONS)
