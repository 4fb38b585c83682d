"""Tensors as columns of tables, and a column of labels as a tensor.

- `table_of`, `with_columns`, `with_cells`: tables of tensors, or with tensors as new columns or cells.
- `columns_to_fill`: columns for `with_cells` to fill. `table_of_values`: a table of Python values.
- `label_codes`: a column of labels as numbers.

Arrays are made from buffers: pyarrow's own conversion from numpy imports pandas, which takes 0.3 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gmmcli.data.compute import decoded, flags, inexact_integer, pc, strings, type_of_values, values_as_floats
from gmmcli.data.formats import ReadOptions
from gmmcli.errors import InputError, Remedy
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.data.source import Source

_TYPES = {torch.float64: pa.float64(), torch.float32: pa.float32(), torch.int64: pa.int64()}


def table_of(names: Sequence[str], columns: Sequence[Tensor]) -> pa.Table:
    """Table of columns (N,), float64, float32 or int64. No cell can be missing: such Parquet reads faster."""
    arrays = [_array(column) for column in columns]
    fields = [pa.field(name, array.type, nullable=False) for name, array in zip(names, arrays, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def table_of_values(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Table of columns of Python values, None for a missing one."""
    return pa.table({name: list(values) for name, values in columns.items()})


def with_columns(
    table: pa.Table,
    names: Sequence[str],
    columns: Sequence[Tensor],  # (M,) each
    complete: Tensor | None = None,  # (N,) bool, true M times; None if all rows are complete
) -> pa.Table:
    """Table with more columns, whose values belong to the complete rows, in order; the other rows get null."""
    for name, values in zip(names, columns, strict=True):
        if complete is not None:
            spread = values.new_zeros(len(complete))
            spread[complete] = values
            values = spread
        table = table.append_column(name, _array(values, complete))
    return table


def columns_to_fill(source: Source, columns: Sequence[str], typed: bool) -> list[str]:
    """Columns for `with_cells` to fill: all except integers and decimals without a missing cell.

    Integers and decimals with a missing cell become float64 in all tables. A reading of all rows finds them, if there
    are columns of such types. typed: see Source.tables.
    """
    schema = source.schema(typed, columns)
    exact = [name for name in columns if _is_exact(schema.field(name).type)]
    lacks = torch.zeros(len(exact), dtype=torch.bool)
    for block in source.blocks(exact, missing="keep") if exact else ():
        if block.observed is not None:
            lacks |= ~block.observed.all(0)
    complete = {name for name, lacking in zip(exact, lacks.tolist(), strict=True) if not lacking}
    return [name for name in columns if name not in complete]


def with_cells(
    table: pa.Table,
    names: Sequence[str],
    x: Tensor,  # (N, D)
    chosen: Tensor,  # (N, D) bool
    decimal: str = ".",
) -> pa.Table:
    """Table with the chosen cells of the named columns taken from x; all other cells stay.

    Text stays text, and floating point keeps its width. Integers and decimals become float64, even if no cell of this
    table is chosen. Raises InputError for an integer that float64 does not hold, since its value would change.
    """
    for name, values, here in zip(names, x.unbind(1), chosen.unbind(1), strict=True):
        index, column = table.schema.get_field_index(name), decoded(table.column(name))
        cells = _array(values)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            cells = pc.cast(cells, column.type)
            cells = cells if decimal == "." else pc.replace_substring(cells, ".", decimal)
        elif pa.types.is_floating(column.type):
            cells = pc.cast(cells, column.type, safe=False)
        else:
            lost = inexact_integer(column)
            if lost is not None:
                problem = (
                    f"column {printable(name)} has missing cells to fill and {lost}, which float64 does not hold"
                )
                remedies = Remedy("cast it to float64 before"), Remedy("fit anew without it, by", "exclude")
                raise InputError(problem, remedy=remedies)
            column = values_as_floats(column)
        if bool(here.any()):
            column = pc.if_else(flags(here.numpy()), cells, column)
        table = table.set_column(index, table.schema.field(index).with_type(column.type), column)
    return table


def label_codes(column: pa.ChunkedArray, name: str, options: ReadOptions) -> tuple[Tensor, list[str]]:
    """Label indices of the cells (B,), int64, −1 for a missing cell, and the labels: the column's distinct texts.

    Null, NaN and text among the null values are missing, in a typed file too. So data have the same labels in CSV and
    in the Parquet file written from it. Raises InputError for cells that cannot be text.
    """
    dtype = type_of_values(column.type)
    try:
        encoded = strings(column, name).dictionary_encode("encode")
    except InputError:
        raise InputError(f"column {printable(name)} has no labels: its cells are {dtype}, not text") from None
    missing = {None, *options.missing_texts} | ({"nan"} if pa.types.is_floating(dtype) else set())
    texts = encoded.dictionary.to_pylist()
    labels = [text for text in texts if text not in missing]
    indices = {text: index for index, text in enumerate(labels)}
    codes = np.array([indices.get(text, -1) for text in texts], np.int64)
    return torch.from_numpy(codes[np.asarray(np.from_dlpack(encoded.indices), np.int64)]), labels


def _is_exact(dtype: pa.DataType) -> bool:
    """Whether the type holds integers or decimals, which cannot hold a model's expectation."""
    dtype = type_of_values(dtype)
    return pa.types.is_integer(dtype) or pa.types.is_decimal(dtype)


def _array(values: Tensor, valid: Tensor | None = None) -> pa.Array:
    bits = None if valid is None else flags(valid.numpy()).buffers()[1]
    return pa.Array.from_buffers(_TYPES[values.dtype], len(values), [bits, pa.py_buffer(values.contiguous().numpy())])
