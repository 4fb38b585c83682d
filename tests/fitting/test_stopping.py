"""Aitken's remaining gain, on sequences whose limit is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmcli.fitting import stopping
from gmmcli.fitting.stopping import promised_remaining, remaining_gain


@pytest.mark.parametrize("rate", [0.5, 0.75, 0.25])
def test_exact_on_a_geometric_sequence(rate: float):
    terms = [-(rate**n) for n in range(12)]  # exact in binary, the limit is 0
    for n in range(2, 12):
        assert remaining_gain(terms[: n + 1]) == -terms[n]


@given(rate=st.floats(0.01, 0.999), limit=st.floats(-100, 100), gap=st.floats(0.1, 10))
def test_geometric_sequences_of_any_rate_and_limit(rate: float, limit: float, gap: float):
    a, b, c = (limit - gap * rate**n for n in range(3))
    # The increments are exact to 4 roundings of the terms; the estimate divides by their difference twice.
    rounding = 4 * 2.0**-53 * max(abs(limit), gap) / (gap * rate * (1 - rate))
    expected = limit - c
    assert remaining_gain((a, b, c)) == pytest.approx(expected, rel=1e-14 + 8 * rounding / (1 - rate), abs=1e-13)


def test_only_the_last_four_terms_count():
    assert remaining_gain([7.0, -8.0, -4.0, -2.0, -1.0]) == remaining_gain([-8.0, -4.0, -2.0, -1.0]) == 1.0


def test_a_rate_that_has_risen_goes_on_rising():
    """Increments 8, 2, 1: the rate went from 1/4 to 1/2, and is taken to go to 1/2 + 1/4 = 3/4, so that 3 remain."""
    assert remaining_gain([-11.0, -3.0, -1.0, 0.0]) == 3.0
    assert remaining_gain([-7.0, -3.0, -1.0, 0.0]) == 1.0  # 4, 2, 1: the rate stays
    assert remaining_gain([-4.5, -3.0, -1.0, 0.0]) == 1.0  # 1.5, 2, 1: one that has fallen is taken to stay


def test_unknown_where_the_rate_is_about_to_reach_one():
    assert remaining_gain([-13.0, -3.0, -1.9, -1.0]) == math.inf


@given(fast=st.floats(0.1, 0.6), slow=st.floats(0.7, 0.98), share=st.floats(0.02, 0.5), n=st.integers(3, 20))
def test_two_rates_are_underestimated_by_less_than_with_one(fast: float, slow: float, share: float, n: int):
    """EM's error is a sum of parts that die out at rates of their own, of which the slowest is seen last."""

    def rest(n: int) -> float:
        return (1 - share) * fast**n + share * slow**n

    terms = [-rest(i) for i in range(n - 3, n + 1)]
    assert remaining_gain(terms[1:]) <= rest(n) * (1 + 1e-9)
    assert remaining_gain(terms) >= remaining_gain(terms[1:])


@pytest.mark.parametrize("terms", [[], [-1.0], [-2.0, -1.0]])
def test_unknown_before_three_terms(terms: list[float]):
    assert remaining_gain(terms) == math.inf


@pytest.mark.parametrize("terms", [[0.0, 1.0, 3.0], [0.0, 1.0, 2.0], [0.0, 1.0, 0.5], [1.0, 0.0, 0.5]])
def test_unknown_while_increments_grow_or_fall_below_zero(terms: list[float]):
    assert remaining_gain(terms) == math.inf


@pytest.mark.parametrize("level", [-1e3, -1.0, 0.0, 1e6])
def test_where_nothing_was_gained_nothing_remains(level: float):
    assert remaining_gain([level - 1, level, level]) == 0


@pytest.mark.parametrize("rates", [[0.5], [0.9, 0.2], [0.0, 0.99, 0.7]])
def test_what_an_em_step_promises_bounds_what_remains(rates: list[float]):
    """Near an optimum with EM's rates ρ, ½ Σ g² is promised and ½ Σ g²/(1 − ρ) remains."""
    gradient = [1e-3 * (i + 1) for i in range(len(rates))]
    promised = sum(g * g for g in gradient) / 2
    truth = sum(g * g / (1 - rate) for g, rate in zip(gradient, rates, strict=True)) / 2
    estimate = promised_remaining(promised, [math.inf, 1 / (1 - max(rates))])
    assert promised <= truth <= estimate * (1 + 1e-12)
    assert estimate == pytest.approx(truth) or len(rates) > 1
    assert promised_remaining(promised, [3.0, math.inf]) == math.inf
    assert promised_remaining(1e-6, [5.0, math.inf, 2.0]) == pytest.approx(5e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=4))
def test_never_negative_nor_nan(terms: list[float]):
    assert remaining_gain(terms) >= 0


def test_reasons_are_one_line_of_prose_and_those_of_an_early_end_name_a_remedy():
    reasons = [r for r in vars(stopping).values() if isinstance(r, stopping.StopReason)]
    assert len({r.name for r in reasons}) == len(reasons) >= 4
    assert all(r.prose and "\n" not in r.prose and "--" not in r.prose for r in reasons)
    assert [r.name for r in reasons if r.converged] == ["converged"]
    for early in (stopping.ITERATION_LIMIT, stopping.SCHEDULE_END, stopping.NO_PROGRESS, stopping.PRECISION_LIMIT):
        assert early.remedies
