"""Many starts: samples of large data, who goes on, and what their passes count as."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import gmmcli
from gmmcli.families import get_family
from gmmcli.families.base import Parameters
from gmmcli.fitting import search as race
from gmmcli.fitting.engine import Evaluator, State
from gmmcli.fitting.loop import Run
from gmmcli.fitting.result import FitResult
from gmmcli.passes.reading import drive
from tests import reference
from tests.conftest import prepare_rows


def overlapping(rows: int, seed: int = 0) -> Tensor:
    moments = reference.random_moments("full", 4, 3, seed)
    return torch.from_numpy(reference.random_rows(moments, rows, seed))


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch):
    """As if 6000 rows were many: samples of 500 and 2000 rows come first."""
    monkeypatch.setattr(race, "SAMPLE_ROWS", 500)
    monkeypatch.setattr(race, "STEP", 4)


def fit_all_rows(x: Tensor, monkeypatch: pytest.MonkeyPatch, **options: Any) -> FitResult:
    monkeypatch.setattr(race, "SAMPLE_ROWS", len(x))
    return gmmcli.fit(x, 4, **options)


@pytest.mark.usefixtures("small_samples")
@pytest.mark.parametrize("family", ["full", "diagonal", "tied"])
def test_samples_save_passes_and_lose_nothing(family: str, monkeypatch: pytest.MonkeyPatch):
    x = overlapping(6000)
    sampled = gmmcli.fit(x, 4, family, tolerance=1e-4)
    whole = fit_all_rows(x, monkeypatch, family=family, tolerance=1e-4)
    assert sampled.log_likelihood >= whole.log_likelihood - 2e-4 * len(x)
    assert sampled.passes < 0.6 * whole.passes
    assert sampled.converged


@pytest.mark.usefixtures("small_samples")
def test_history_is_of_all_rows_and_passes_count_the_samples():
    x = overlapping(6000)
    result = gmmcli.fit(x, 4)
    assert result.history[-1].log_likelihood == pytest.approx(result.log_likelihood / len(x), abs=1e-6)
    passes = [record.passes for record in result.history]
    assert passes == sorted(set(passes))
    assert passes[0] > 1  # the samples' passes, as shares of one over all rows, are in it
    assert passes[-1] == result.restarts[result.restart].passes
    levels = [record.log_likelihood for record in result.history]
    assert all(b >= a - 1e-12 * abs(a) for a, b in pairwise(levels))


@pytest.mark.usefixtures("blas")
@pytest.mark.usefixtures("small_samples")
def test_the_same_model_for_any_threads():
    x = overlapping(6000)
    one, two = (gmmcli.fit(x, 4, threads=threads) for threads in (1, 2))
    assert torch.equal(one.model.means, two.model.means)
    assert one.history == two.history


@pytest.mark.usefixtures("small_samples")
@pytest.mark.parametrize("method", ["em", "gradient"])
def test_a_given_start_sees_all_rows_at_once(method: str):
    x = overlapping(6000)
    start = gmmcli.fit(x, 4, iterations=2).model
    result = gmmcli.fit(x, init=start, iterations=5, tolerance=0, method=method)
    assert [record.passes for record in result.history] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("small_samples")
@pytest.mark.parametrize("seed", range(3))
def test_rows_too_rare_for_a_sample_are_found(seed: int):
    """30 of 6000 rows, of which the first sample has one or two: a fit to them is unsound there, not on all rows."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(6000, 3, generator=draw, dtype=torch.float64)
    x[3000:] += 4
    x[:30] = x[:30] * 0.5 + torch.tensor([60.0, 0, 0])
    result = gmmcli.fit(x, 3, seed=seed)
    assert result.model.weights.tolist()[-1] == pytest.approx(30 / 6000, rel=1e-3)  # at the default tolerance
    assert result.unsound is None


@pytest.mark.usefixtures("small_samples")
def test_restarts_tell_how_they_ended_and_what_is_known_of_them():
    told: dict[int, str] = {}

    def listener(run: Any, seconds: float) -> None:
        assert run.restart not in told
        if run.ended:
            told[run.restart] = run.stop.name

    result = gmmcli.fit(overlapping(6000), 4, listener=listener)
    assert told == {restart.restart: restart.stop for restart in result.restarts}
    for restart in result.restarts:
        assert math.isnan(restart.log_likelihood) or restart.log_likelihood <= result.log_likelihood
    assert all(restart.passes >= 1 for restart in result.restarts)


def test_a_finalist_without_hope_is_left_behind():
    """A restart whose component splits a cluster gains for hundreds of passes, far below one that has ended."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 2, generator=draw, dtype=torch.float64)
    x[:700] += 8
    x[700:720] += torch.tensor([0.0, 60.0])
    result = gmmcli.fit(x, 3, restarts=3, seed=1, init="random", iterations=400)
    best = result.restarts[result.restart]
    for restart in result.restarts:
        if restart.log_likelihood < best.log_likelihood - 1:
            assert restart.passes < 400


def test_samples_are_nested_and_keep_weights_and_coordinates():
    x = overlapping(5000)
    w = torch.rand(5000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    data = prepare_rows(x, get_family("full"), w, block_rows=700)
    evaluate = Evaluator(data, get_family("full"), seed=3)
    small, large = (drive(evaluate.sample(share), 2) for share in (0.1, 0.5))
    rows = [torch.cat([block.rows for block in sample.data.held]) for sample in (small, large)]
    assert set(rows[0].tolist()) < set(rows[1].tolist())
    assert abs(len(rows[0]) - 500) < 4.5 * 500**0.5
    assert rows[0].tolist() == sorted(rows[0].tolist())
    assert small.share == len(rows[0]) / 5000
    assert small.data.weight == pytest.approx(float(w[rows[0]].sum()), rel=1e-12)
    assert small.data.affine is data.affine
    z = torch.cat([block.z for block in small.data.held], 1)
    assert torch.equal(z, data.whole().z[:, rows[0]])
    assert len(small.data.held) == 1  # blocks together, not eight small ones


def run_at(level: float, remaining: float, weights: list[float]) -> Run:
    p = Parameters(torch.tensor(weights, dtype=torch.float64), torch.zeros(len(weights), 1), torch.ones(1))
    return Run(0, State(p, log_likelihood=level, remaining=remaining))


@pytest.mark.parametrize(
    ("level", "remaining", "weights", "twins"),
    [
        (-1.0000001, 0.0, [0.5, 0.5], True),  # the same log-likelihood
        (-1.0001, 0.0, [0.5, 0.5], False),
        (-1.0001, 1e-4, [0.5, 0.5], True),  # it may still get there
        (-1.0001, math.inf, [0.5, 0.5], False),  # nothing is known of where it will get
        (-1.00005, 0.0, [0.31, 0.69], True),  # less apart than the rows decide, of the same weights in another order
        (-1.00005, 0.0, [0.35, 0.65], False),
    ],
)
def test_twins_are_runs_to_the_same_optimum(level: float, remaining: float, weights: list[float], twins: bool):
    best, other = run_at(-1.0, 0.0, [0.7, 0.3]), run_at(level, remaining, weights)
    assert (len(race._rivals([best, other], gap=0.1, alike=6e-5)) == 1) is twins


def test_survivors_are_the_best_that_differ_and_what_is_unsound_ahead_of_them():
    def at(level: float, weight: float) -> Run:
        return run_at(level, 0.0, [weight, 1 - weight])

    sound = [at(-1.0 - i / 100, 0.5 + i / 10) for i in range(4)] + [at(-5.0, 0.95)]
    ahead, behind = at(-0.5, 0.5), at(-2.0, 0.5)
    assert race.survivors(sound, [], 0.1, 1e-9) == (sound[: race.FINALISTS], [])
    assert race.survivors(sound[3:], [], 0.1, 1e-9) == (sound[3:4], [])  # too far behind
    assert race.survivors(sound, [ahead, behind], 0.1, 1e-9) == (sound[: race.FINALISTS - 1], [ahead])
    assert race.survivors([], [ahead, behind], 0.1, 1e-9) == ([], [ahead])
    assert race.survivors(sound, [behind], 0.1, 1e-9) == (sound[: race.FINALISTS], [])
