"""Tensors as columns of tables, for what a command adds to rows or draws.

Made from buffers: pyarrow's own way from numpy imports pandas, which costs a command 0.3 s at its start.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import torch
from torch import Tensor

from gmmcli.data.numbers import flags

_TYPES = {torch.float64: pa.float64(), torch.int64: pa.int64()}


def table_of(names: Sequence[str], columns: Sequence[Tensor]) -> pa.Table:
    """A table of columns (N,), float64 or int64."""
    return pa.Table.from_arrays([_array(column) for column in columns], names=list(names))


def with_columns(
    table: pa.Table,
    names: Sequence[str],
    columns: Sequence[Tensor],  # (M,) each
    complete: Tensor | None = None,  # (N,) bool, true M times; None where all rows are complete
) -> pa.Table:
    """The table with columns whose values are those of the complete rows, in order; the other rows get null."""
    for name, values in zip(names, columns, strict=True):
        if complete is None:
            table = table.append_column(name, _array(values))
            continue
        spread = values.new_zeros(len(complete))
        spread[complete] = values
        table = table.append_column(name, _array(spread, complete))
    return table


def _array(values: Tensor, valid: Tensor | None = None) -> pa.Array:
    bits = None if valid is None else flags(valid.numpy()).buffers()[1]
    return pa.Array.from_buffers(_TYPES[values.dtype], len(values), [bits, pa.py_buffer(values.contiguous().numpy())])
