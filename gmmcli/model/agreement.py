"""How far two partitions of the same rows agree: the adjusted Rand index, off counts of rows that add up.

- `count_pairs`: rows by their two labels.
- `rand_index`: the index of such counts, which may be summed over blocks of rows first.
- `adjusted_rand_index`: of two sequences of labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from math import comb
from typing import Any

from gmmcli.errors import InputError

Pair = tuple[Any, Any]  # of labels, which are hashable


def adjusted_rand_index(a: Any, b: Any) -> float:
    """The adjusted Rand index of two partitions of the same rows, such as components and known classes.

        ARI = (S − A·B/T) / ((A + B)/2 − A·B/T)

    Of the T = C(N, 2) pairs of rows, S are together in both partitions, A in the first, B in the second; A·B/T of
    them are so by chance, when the sizes of the parts are given and the rows are dealt at random. The index is 1 for
    equal partitions, whatever their labels are called, 0 on average over such random ones, and may be negative
    (Hubert & Arabie 1985, Journal of Classification 2, 193-218).

    a, b: (N,) labels of any kind in a list, tensor, array, Series or arrow column. Rows of which a label is missing
    (None, NaN) are left out. Raises InputError for different lengths and where no row is left.

    >>> adjusted_rand_index([0, 0, 1, 1], ["x", "x", "y", "y"])
    1.0
    >>> round(adjusted_rand_index([0, 0, 1, 1], [0, 0, 1, 2]), 4)
    0.5714
    """
    counts = count_pairs(a, b)
    if not counts:
        raise InputError("no rows with two labels: there is nothing to compare")
    return rand_index(counts)


def count_pairs(a: Any, b: Any) -> Counter[Pair]:
    """The number of rows of each pair of labels, a's first; rows of which a label is missing are not counted."""
    first, second = _labels(a), _labels(b)
    if len(first) != len(second):
        raise InputError(f"{len(first)} labels and {len(second)}: give one of each kind for every row")
    try:
        counts = Counter(zip(first, second, strict=True))
    except TypeError:
        raise InputError("labels are one plain value a row: a number, a text or the like") from None
    return Counter({pair: n for pair, n in counts.items() if not any(map(_is_missing, pair))})


def rand_index(counts: Mapping[Pair, int]) -> float:
    """The adjusted Rand index of rows counted by their pairs of labels; see adjusted_rand_index.

    In whole numbers up to the last division, so that it is exact for any number of rows: numerator and denominator
    times 2T. Where the denominator is 0 both partitions are one part, or both are N parts, and so they are equal.
    """
    first, second = Counter[Hashable](), Counter[Hashable]()
    for (i, j), n in counts.items():
        first[i] += n
        second[j] += n
    together, in_first, in_second = (_pairs(sizes) for sizes in (counts, first, second))
    total = comb(first.total(), 2)
    excess = 2 * (together * total - in_first * in_second)
    largest = (in_first + in_second) * total - 2 * in_first * in_second
    return excess / largest if largest else 1.0


def _pairs(sizes: Mapping[Any, int]) -> int:
    """Pairs of rows that share a part, given the sizes of the parts."""
    return sum(comb(n, 2) for n in sizes.values())


def _labels(values: Any) -> list[Any]:
    for name in ("tolist", "to_pylist"):  # of tensors, arrays and Series; of arrow's columns
        if hasattr(values, name):
            values = getattr(values, name)()
            break
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise InputError(f"cannot read labels from {type(values).__name__}: give one label a row")
    return list(values)


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # what pandas.NA says to any comparison
        return True
