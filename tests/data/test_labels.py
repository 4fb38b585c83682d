"""Cells as labels: of any type, by their distinct texts, the missing ones apart."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from gmmcli.data.formats import ReadOptions
from gmmcli.data.tensors import label_codes
from gmmcli.errors import InputError


def labels_of(column: pa.Array, options: ReadOptions | None = None) -> list[str | None]:
    """The label of each cell."""
    codes, labels = label_codes(pa.chunked_array([column]), "c", options or ReadOptions())
    assert len(set(labels)) == len(labels)
    assert codes.max() < len(labels)
    return [labels[code] if code >= 0 else None for code in codes.tolist()]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["b", "a", None, "b"]), ["b", "a", None, "b"]),
        (pa.array(["NA", "", "Na", "nan"]), [None, None, "Na", None]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
        (pa.array(["b", "a"], pa.large_string()), ["b", "a"]),
        (pa.array(["b", "a"], pa.string_view()), ["b", "a"]),
        (pa.array([3, None, -1], pa.int8()), ["3", None, "-1"]),
        (pa.array([7, 7, 2], pa.uint64()).dictionary_encode(), ["7", "7", "2"]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array([1.0, float("nan"), 0.1, None]), ["1", None, "0.1", None]),
        (pa.array([date(2020, 1, 2), None]), ["2020-01-02", None]),
        (pa.array([[1, 2], None]), ["[1,2]", None]),
        (pa.nulls(3), [None] * 3),
        (pa.array(["x", "y", "z", "x"])[2:], ["z", "x"]),
        (pa.array(["a\x1b[31m\nb"]), ["a\x1b[31m\nb"]),
    ],
)
def test_labels(column: pa.Array, expected: list[str | None]) -> None:
    assert labels_of(column) == expected


def test_null_values_are_the_users() -> None:
    assert labels_of(pa.array(["NA", "?"]), ReadOptions(null_values="?")) == ["NA", None]


def test_chunks_are_one_column() -> None:
    column = pa.chunked_array([["a", "b"], ["b", "c"]])
    codes, labels = label_codes(column, "c", ReadOptions())
    assert [labels[code] for code in codes.tolist()] == ["a", "b", "b", "c"]


def test_what_is_no_label() -> None:
    with pytest.raises(InputError, match="column c has no labels: its cells are binary, not text"):
        labels_of(pa.array([b"\xff\xfe"]))
