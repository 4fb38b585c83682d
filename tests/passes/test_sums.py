"""Fixed-point sums: exact to rounding, the same bits in any order and grouping, checked for range."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import reduce
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmmcli.errors import NumericalError
from gmmcli.passes.sums import FixedPoint, SufficientStatistics

BOUND = 1000.0  # 2¹⁰ is the first power of 2 above it, so the exponent is 11
UNIT = 2.0 ** (11 - 62 - 40)  # of the low limb

part = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(lambda v: torch.tensor(v, dtype=torch.float64))
parts = st.lists(part, min_size=1, max_size=30)  # |sums| stay below BOUND


def empty(size: int = 3) -> FixedPoint:
    return FixedPoint.zeros(torch.full((size,), BOUND, dtype=torch.float64))


def same(a: FixedPoint, b: FixedPoint) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(FixedPoint))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(st.lists(st.floats(-BOUND, BOUND), min_size=1, max_size=20))
def test_one_block_comes_back_to_half_a_unit(values: list[float]):
    x = tensor(*values)
    back = empty(len(x)).add_(x).decode()
    assert bool(((back - x).abs() <= UNIT / 2).all())
    large = x.abs() >= UNIT * 2.0**52  # all 53 bits of these are above the unit
    assert torch.equal(back[large], x[large])


@given(st.floats(1e-200, 1e200), st.floats(-1, 1))
def test_scales_follow_the_bound(bound: float, share: float):
    x = tensor(bound * share)
    back = FixedPoint.zeros(tensor(bound)).add_(x).decode()
    assert abs(float(back - x)) <= bound * 2.0**-100  # the unit is 2^-101 to 2^-100 of the bound


@given(parts)
def test_sums_are_exact_to_rounding(values: list[torch.Tensor]):
    total = reduce(FixedPoint.merge, [empty().add_(v) for v in values])
    for column, actual in enumerate(total.decode().tolist()):
        exact = math.fsum(float(v[column]) for v in values)
        # Half a unit for each part, and the two roundings of the decoding.
        assert abs(actual - exact) <= len(values) * UNIT / 2 + 2 * 2.0**-53 * abs(exact)


@given(parts, st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_show(values: list[torch.Tensor], random: Any):
    encoded = [empty().add_(v) for v in values]
    expected = reduce(FixedPoint.merge, encoded)
    pool = list(encoded)
    while len(pool) > 1:  # a random tree over a random order
        random.shuffle(pool)
        pool.append(pool.pop().merge(pool.pop()))
    assert same(pool[0], expected)
    assert torch.equal(pool[0].decode(), expected.decode())


@given(part)
def test_merging_with_empty_changes_nothing(values: torch.Tensor):
    encoded = empty().add_(values)
    assert same(encoded.merge(empty()), encoded)
    assert same(empty().merge(encoded), encoded)
    assert empty().decode().tolist() == [0.0, 0.0, 0.0]


@given(part)
def test_what_cancels_cancels_exactly(values: torch.Tensor):
    total = empty().add_(values).merge(empty().add_(tensor(7, 7, 7))).merge(empty().add_(-values))
    assert total.decode().tolist() == [7.0, 7.0, 7.0]


def test_plain_addition_would_show_the_order():
    values = [tensor(*row) for row in ([1e3, 0.1], [1e-13, 0.2], [-1e3, 0.3])]
    assert not torch.equal(values[0] + values[1] + values[2], values[0] + values[2] + values[1])
    encoded = [empty(2).add_(v) for v in values]
    forward, other = reduce(FixedPoint.merge, encoded), encoded[0].merge(encoded[2]).merge(encoded[1])
    assert torch.equal(forward.decode(), other.decode())
    assert float(forward.decode()[0]) == pytest.approx(1e-13, rel=1e-13)


def test_many_full_blocks_stay_in_range():
    blocks = 2**20
    total = FixedPoint.zeros(tensor(BOUND)).add_(tensor(BOUND / blocks))
    for _ in range(20):  # doubles 20 times: as many blocks
        total = total.merge(total)
    assert float(total.decode()) == BOUND


@pytest.mark.parametrize("value", [1e4, -1e4, math.inf, -math.inf, math.nan])
def test_what_is_out_of_range_is_refused(value: float):
    with pytest.raises(NumericalError):
        empty(2).add_(tensor(1, value)).decode()


@pytest.mark.parametrize("value", [1e4, math.nan])
def test_one_bad_block_spoils_the_sum_however_it_is_merged(value: float):
    good, bad = empty(2).add_(tensor(1, 2)), empty(2).add_(tensor(1, value))
    for total in (good.merge(bad), bad.merge(good).merge(good), good.merge(bad).reduced(lambda t: t)):
        with pytest.raises(NumericalError):
            total.decode()


@pytest.mark.parametrize("bound", [math.inf, math.nan])
def test_a_bound_that_is_not_finite_is_refused(bound: float):
    with pytest.raises(NumericalError):
        FixedPoint.zeros(tensor(1, bound)).add_(tensor(1, 1)).decode()


def test_sums_are_reduced_as_integers():
    encoded = empty().add_(tensor(1.5, -2.25, 1e-20))
    seen = []

    def three_processes(sums: torch.Tensor) -> torch.Tensor:
        seen.append(sums.dtype)
        return 3 * sums

    total = encoded.reduced(three_processes)
    assert seen == [torch.int64]
    assert same(total, encoded.merge(encoded).merge(encoded))


def test_mean_log_likelihood_is_by_weight():
    nothing = torch.zeros(1, dtype=torch.float64)
    assert SufficientStatistics(nothing, nothing, nothing, -12.0, 8.0).mean_log_likelihood == -1.5
