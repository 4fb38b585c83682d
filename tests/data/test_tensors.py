"""Tensors as columns of tables."""

from __future__ import annotations

import pyarrow as pa
import torch

from gmmcli.data.tensors import table_of, with_columns


def test_values_and_types() -> None:
    table = table_of(["a", "b"], [torch.tensor([1.5, 2.5], dtype=torch.float64), torch.tensor([3, 4])])
    assert table.to_pydict() == {"a": [1.5, 2.5], "b": [3, 4]}
    assert table.schema.types == [pa.float64(), pa.int64()]


def test_columns_of_a_matrix_are_not_contiguous() -> None:
    x = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    assert table_of(["a", "b"], x.unbind(1)).to_pydict() == {"a": [0, 2, 4], "b": [1, 3, 5]}


def test_incomplete_rows_get_null_whatever_the_type() -> None:
    complete = torch.tensor([True, False, True] + [False] * 8 + [True])
    table = pa.table({"row": list(range(12))})
    added = with_columns(table, ["k"], [torch.tensor([7, 8, 9])], complete)
    assert added["k"].to_pylist() == [7, None, 8, *[None] * 8, 9]
    assert added.schema.field("k").type == pa.int64()
    assert added.column_names == ["row", "k"]
