"""Agreement of two partitions of the same rows: the adjusted Rand index, from counts of rows that add up.

- `count_pairs`: numbers of rows by their two labels.
- `rand_index`: the index from such counts, which may be summed over blocks of rows first.
- `adjusted_rand_index`: the index of two sequences of labels.
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

    There are T = C(N, 2) pairs of rows. S pairs are together in both partitions, A in the first, B in the second.
    A·B/T is the expected S when the rows are dealt at random to parts of these sizes. The index is 1 for equal
    partitions, whatever their labels are called, 0 on average over such random ones, and may be negative
    (Hubert & Arabie 1985, Journal of Classification 2, 193-218).

    a, b: (N,) labels of any kind in a list, tensor, array, Series or arrow column. Rows with a missing label
    (None, NaN) are left out. Raises InputError for different lengths and where no row is left.

    >>> adjusted_rand_index([0, 0, 1, 1], ["x", "x", "y", "y"])
    1.0
    >>> round(adjusted_rand_index([0, 0, 1, 1], [0, 0, 1, 2]), 4)
    0.5714
    """
    counts = count_pairs(a, b)
    if not counts:
        raise InputError("no row has two labels, so there is nothing to compare")
    return rand_index(counts)


def count_pairs(a: Any, b: Any) -> Counter[Pair]:
    """The number of rows of each pair of labels, a's first; rows with a missing label are not counted."""
    first, second = _labels(a), _labels(b)
    if len(first) != len(second):
        raise InputError(f"{len(first)} labels and {len(second)}", remedy="give one of each kind for every row")
    try:
        counts = Counter(zip(first, second, strict=True))
    except TypeError:
        raise InputError("must be one plain value a row, such as a number or a text", subject="labels") from None
    return Counter({pair: n for pair, n in counts.items() if not any(map(_is_missing, pair))})


def rand_index(counts: Mapping[Pair, int]) -> float:
    """The adjusted Rand index of rows counted by their pairs of labels; see adjusted_rand_index.

    Numerator and denominator are taken times 2T: whole numbers up to the last division, exact for any number of
    rows. Where the denominator is 0 both partitions are one part, or both are N parts, and so they are equal.
    """
    first, second = Counter[Hashable](), Counter[Hashable]()
    for (i, j), n in counts.items():
        first[i] += n
        second[j] += n
    together, in_first, in_second = (sum(comb(n, 2) for n in of.values()) for of in (counts, first, second))
    total = comb(first.total(), 2)
    excess = 2 * (together * total - in_first * in_second)
    largest = (in_first + in_second) * total - 2 * in_first * in_second
    return excess / largest if largest else 1.0


def _labels(values: Any) -> list[Any]:
    listed = getattr(values, "tolist", None) or getattr(values, "to_pylist", None)  # a column of arrow has the latter
    values = listed() if listed else values
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise InputError(f"cannot read labels from {type(values).__name__}", remedy="give one label a row")
    return list(values)


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA raises it at any comparison
        return True
