"""Fifty of the thousand hard problems of `tests.benchmarks.robust`: repeated rows, collinear columns, K rows."""

from __future__ import annotations

import warnings

import pytest

from tests.benchmarks.robust import Outcome, make, solve

PROBLEMS = 50


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # floors and resets are told of
        return [solve(make(seed)) for seed in range(PROBLEMS)]


def test_every_problem_ends_in_a_finite_mixture_and_em_never_falls(outcomes: list[Outcome]):
    assert [outcome for outcome in outcomes if outcome.trouble] == []


def test_among_them_floors_bind_and_components_begin_again(outcomes: list[Outcome]):
    floors, resets = sum(o.floor for o in outcomes), sum(o.resets > 0 for o in outcomes)
    print(f"of {PROBLEMS} problems {floors} met the floor, {resets} began a component again")
    assert floors > 0
    assert resets > 0
