"""The adjusted Rand index: by hand, against scikit-learn's, and where one of the partitions is a trivial one."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gmmcli
from gmmcli.errors import InputError
from gmmcli.model.agreement import adjusted_rand_index, count_pairs, rand_index

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def test_by_hand():
    """S = 2 pairs together in both, A = 6 and B = 3 in one, of T = 15: (2 − 18/15) / (9/2 − 18/15) = 8/33."""
    a, b = [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2]
    assert count_pairs(a, b) == {(0, 0): 2, (0, 1): 1, (1, 1): 1, (1, 2): 2}
    assert adjusted_rand_index(a, b) == 8 / 33


@pytest.mark.parametrize(
    ("a", "b", "expected"),  # sklearn.metrics.adjusted_rand_score of scikit-learn 1.9.1
    [
        ([0, 0, 1, 1], [0, 0, 1, 2], 0.5714285714285714),
        ([0, 1, 0, 1], [0, 0, 1, 1], -0.5),
        ([i * i % 7 for i in range(100)], [i // 13 for i in range(100)], -0.03735307241875953),
        ([i % 3 for i in range(30)], [(i + (i % 5 == 0)) % 3 for i in range(30)], 0.48444444444444446),
        ([i // 1000 for i in range(5000)], [i // 1250 for i in range(5000)], 0.5711344333552575),
        pytest.param([0, 0, 0, 0], [0, 1, 2, 3], 0.0, id="one part and all apart"),
        pytest.param([0, 0, 0, 1, 1], [1, 1, 1, 1, 1], 0.0, id="one part"),
        pytest.param([0, 1, 2, 3], [3, 2, 1, 0], 1.0, id="all apart in both"),
        pytest.param([0, 0, 0, 0, 0], [7, 7, 7, 7, 7], 1.0, id="one part in both"),
        pytest.param([1], [2], 1.0, id="a single row"),
    ],
)
def test_as_scikit_learn(a: list[int], b: list[int], expected: float):
    assert adjusted_rand_index(a, b) == pytest.approx(expected, rel=1e-14, abs=1e-15)


@given(LABELS)
def test_a_count_of_pairs_of_rows(rows: list[tuple[int, int]]):
    """The definition: every two rows are looked at."""
    pairs = [(p[0] == q[0], p[1] == q[1]) for i, p in enumerate(rows) for q in rows[:i]]
    together = sum(x and y for x, y in pairs)
    in_first, in_second = (sum(pair[side] for pair in pairs) for side in (0, 1))
    chance = Fraction(in_first * in_second, len(pairs)) if pairs else Fraction(0)
    largest = Fraction(in_first + in_second, 2) - chance
    expected = float((together - chance) / largest) if largest else 1.0
    assert rand_index(Counter(rows)) == expected


@given(LABELS)
def test_what_the_labels_are_called_and_which_comes_first_is_the_same(rows: list[tuple[int, int]]):
    a, b = zip(*rows, strict=True)
    assert adjusted_rand_index(a, b) == adjusted_rand_index(b, [f"part {label}" for label in a])
    assert adjusted_rand_index(a, [label * 2 for label in a]) == 1


@given(LABELS, LABELS)
def test_counts_add_up(first: list[tuple[int, int]], second: list[tuple[int, int]]):
    assert rand_index(Counter(first) + Counter(second)) == rand_index(Counter(first + second))


def test_numbers_of_rows_that_no_float_holds():
    """Exact in whole numbers: the same proportions of 1e18 rows, where each pair counts as a share only."""
    counts = {(0, 0): 4, (0, 1): 1, (1, 1): 5}
    many = {pair: n * 10**17 for pair, n in counts.items()}
    shares = {pair: n / 10 for pair, n in counts.items()}
    together = sum(share**2 for share in shares.values())
    first, second = 0.5**2 + 0.5**2, 0.4**2 + 0.6**2
    expected = (together - first * second) / ((first + second) / 2 - first * second)
    assert rand_index(many) == pytest.approx(expected, rel=1e-14)


def test_any_kind_of_labels_and_missing_ones():
    a = [0, 0, 1, 1, 0, 1]
    b = ["x", "x", "y", "z", None, None]
    expected = adjusted_rand_index(a[:4], b[:4])
    for first in (a, tuple(a), torch.tensor(a), np.array(a), pd.Series(a, index=list("fedcba"))):
        for second in (b, np.array(b, object), pd.Series(b), pd.Series(b, dtype="category"), pa.chunked_array([b])):
            assert gmmcli.adjusted_rand_index(first, second) == expected
    numbers = [1.0, 1.0, 2.0, 3.0, float("nan"), float("nan")]
    for second in (numbers, torch.tensor(numbers), pd.Series([1, 1, 2, 3, None, None], dtype="Int64")):
        assert gmmcli.adjusted_rand_index(a, second) == expected


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([0, 1], [0], "2 labels and 1"),
        ([], [], "nothing to compare"),
        ([0], [None], "nothing to compare"),
        ([[0]], [0], "one plain value a row"),
        (torch.zeros(2, 1), [0, 1], "one plain value a row"),
        ("ab", [0, 1], "cannot read labels from str"),
        (3, [0], "cannot read labels from int"),
    ],
)
def test_what_cannot_be_compared(a: object, b: object, message: str):
    with pytest.raises(InputError, match=message):
        adjusted_rand_index(a, b)
