"""Tensors as columns of tables, for what a command adds to rows or draws.

Made from buffers: pyarrow's own way from numpy imports pandas, which costs a command 0.3 s at its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor

from gmmcli.data.compute import pc
from gmmcli.data.numbers import flags, inexact_integer, values_as_floats
from gmmcli.errors import InputError
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.data.source import Source

_TYPES = {torch.float64: pa.float64(), torch.float32: pa.float32(), torch.int64: pa.int64()}


def table_of(names: Sequence[str], columns: Sequence[Tensor]) -> pa.Table:
    """A table of columns (N,), float64, float32 or int64. No cell can be missing: such Parquet reads faster."""
    arrays = [_array(column) for column in columns]
    fields = [pa.field(name, array.type, nullable=False) for name, array in zip(names, arrays, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


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


def columns_to_fill(source: Source, columns: Sequence[str], typed: bool) -> list[str]:
    """Those of the columns that `with_cells` is to fill: not integers and decimals without a missing cell.

    These stay as they are; others of their type become float64 in all pieces, and only a reading of all rows tells
    which. It is spared where there are none. typed: as `tables` has it.
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
    """The table with the chosen cells of the named columns taken from x; all others as they are.

    Text stays text, and floating point keeps its width; integers and decimals become float64, which is the type of
    such a column whether or not a cell of this table is chosen. Raises InputError for an integer that float64 does
    not hold, since it would come out as another.
    """
    for name, values, here in zip(names, x.unbind(1), chosen.unbind(1), strict=True):
        place, column = table.schema.get_field_index(name), table.column(name)
        if isinstance(column.type, pa.DictionaryType):
            column = pc.cast(column, column.type.value_type)
        cells = _array(values)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            cells = pc.cast(cells, column.type)
            cells = cells if decimal == "." else pc.replace_substring(cells, ".", decimal)
        elif pa.types.is_floating(column.type):
            cells = pc.cast(cells, column.type, safe=False)
        else:
            lost = inexact_integer(column)
            if lost is not None:
                raise InputError(
                    f"column {printable(name)} has missing cells to fill and {lost}, which float64 does not hold: "
                    "cast it to float64 before, or fit anew without it (--exclude)"
                )
            column = values_as_floats(column)
        if bool(here.any()):
            column = pc.if_else(flags(here.numpy()), cells, column)
        field = table.schema.field(place)
        table = table.set_column(place, field.with_type(column.type), column)
    return table


def _is_exact(dtype: pa.DataType) -> bool:
    """Whether cells of this type cannot hold what a model expects: integers and decimals."""
    dtype = dtype.value_type if isinstance(dtype, pa.DictionaryType) else dtype
    return pa.types.is_integer(dtype) or pa.types.is_decimal(dtype)


def _array(values: Tensor, valid: Tensor | None = None) -> pa.Array:
    bits = None if valid is None else flags(valid.numpy()).buffers()[1]
    return pa.Array.from_buffers(_TYPES[values.dtype], len(values), [bits, pa.py_buffer(values.contiguous().numpy())])


def table_of_values(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """A table of columns of Python values, None for what is missing."""
    return pa.table({name: list(values) for name, values in columns.items()})
