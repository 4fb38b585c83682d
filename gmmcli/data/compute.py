"""Arrow arrays: pyarrow's functions, the kinds of types, and cells as float64 or as text.

- `pc`: pyarrow.compute as Any, since a type checker does not see the functions that it makes at import.
- `null`, `text`, `cell`, `flags`: scalars and arrays made from buffers.
- `kind_of`, `type_of_values`, `decoded`, `common_type`: types of columns.
- `float_column`, `float_columns`, `values_as_floats`: numbers as float64. `inexact_integer`: the first integer that
  float64 does not hold. `strings`: cells as text, `as_json`: cells as JSON.

Buffers and DLPack are used because pyarrow's own conversions from and to Python import pandas, which takes 0.3 s.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute

from gmmcli.data.columns import ColumnKind
from gmmcli.errors import InputError
from gmmcli.storage.names import printable

pc: Any = pyarrow.compute
Column: TypeAlias = "pa.Array | pa.ChunkedArray"

LARGE_STRING = pa.large_string()  # a batch of long cells may exceed the 2 GiB of plain strings
_KINDS = {
    ColumnKind.NUMBER: (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    ColumnKind.BOOLEAN: (pa.types.is_boolean,),
    ColumnKind.EMPTY: (pa.types.is_null,),
    ColumnKind.TEXT: (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    ColumnKind.TIME: (pa.types.is_temporal,),
    ColumnKind.NESTED: (pa.types.is_nested,),
}


# ---- scalars


def null(dtype: pa.DataType) -> pa.Scalar:
    """Scalar of this type without a value."""
    return pa.nulls(1, dtype)[0]


def text(value: str) -> pa.Scalar:
    """Text as a scalar of large_string."""
    return cell(value)[0]


def cell(value: str) -> pa.Array:
    """Text as an array of one large_string."""
    content = value.encode()
    offsets = pa.py_buffer(np.array([0, len(content)], np.int64))
    return pa.Array.from_buffers(LARGE_STRING, 1, [None, offsets, pa.py_buffer(content)])


def flags(values: np.ndarray) -> pa.Array:
    """Booleans (N,) as an Arrow array."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


# ---- types


def type_of_values(dtype: pa.DataType) -> pa.DataType:
    """Type of the values of a dictionary; any other type as it is."""
    return dtype.value_type if isinstance(dtype, pa.DictionaryType) else dtype


def decoded(column: Column) -> Any:
    """Column of plain values, without a dictionary."""
    return pc.cast(column, column.type.value_type) if isinstance(column.type, pa.DictionaryType) else column


def kind_of(dtype: pa.DataType) -> ColumnKind:
    """Kind of a column of this type; a dictionary has the kind of its values."""
    dtype = type_of_values(dtype)
    return next((kind for kind, tests in _KINDS.items() if any(test(dtype) for test in tests)), ColumnKind.BINARY)


def common_type(types: Iterable[pa.DataType]) -> pa.DataType:
    """Type that holds the values of all types. Raises pyarrow's error if there is none."""
    schemas = [pa.schema([("", dtype)]) for dtype in types]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


# ---- numbers


def float_column(column: Column) -> np.ndarray:  # (N,)
    """Numbers as float64, NaN if missing. Integers above 2^53 are rounded to the nearest float64."""
    column = values_as_floats(column)
    if isinstance(column, pa.Array):
        return _values(column)
    return np.concatenate([np.empty(0), *map(_values, column.chunks)])


def float_columns(table: pa.Table, names: Sequence[str]) -> np.ndarray:  # (D, N)
    """The named columns, one row of the result each, C-contiguous, NaN if missing.

    float64; float32, which takes half the memory, if all columns are float32 and no cell is missing.
    """
    columns = [table.column(name) for name in names]
    narrow = all(pa.types.is_float32(column.type) and not column.null_count for column in columns)
    cells = np.empty((len(columns), table.num_rows), np.float32 if narrow else np.float64)
    for values, column in zip(cells, columns, strict=True):
        first = 0
        for chunk in (column if narrow else values_as_floats(column)).chunks:
            values[first : first + len(chunk)] = _values(chunk)
            first += len(chunk)
    return cells


def values_as_floats(column: Column) -> Column:
    """Numbers as the nearest float64, null if missing.

    Decimals are converted through text: pyarrow multiplies their digits by a power of ten, and both are rounded.
    """
    column = decoded(column)
    if pa.types.is_float64(column.type):
        return column
    if pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.string())
    return pc.cast(column, pa.float64(), safe=False)


def inexact_integer(column: pa.ChunkedArray) -> int | None:
    """First cell of a column of integers that float64 does not hold; None if there is none."""
    if not pa.types.is_integer(column.type) or column.type.bit_width < 64:
        return None
    large = column.filter(flags(np.abs(float_column(column)) >= 2.0**53))  # false for missing cells, NaN here
    return next((number for number in large.to_pylist() if int(float(number)) != number), None)


def _values(array: pa.Array) -> np.ndarray:  # (N,)
    """Values of a floating-point array; missing cells, of float64 only, are NaN."""
    if array.null_count:
        array = pc.fill_null(array, _NAN)
    return np.from_dlpack(array)


_NAN = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(np.array([np.nan]))])[0]


# ---- text


def strings(column: Column, name: str, decimal: str = ".") -> pa.Array:
    """Cells as text, null if missing; floats in the shortest form that reads back as the same number.

    Lists and structs come as JSON. Raises InputError for bytes that are not text.
    """
    column = decoded(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    dtype = column.type
    if kind_of(dtype) is ColumnKind.NESTED:
        return as_json(column)
    if pa.types.is_duration(dtype):
        column = column.cast(pa.int64())
    elif pa.types.is_string_view(dtype):
        column = column.cast(pa.string())
    try:
        cells = pc.cast(column, LARGE_STRING)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        problem = f"column {printable(name)} ({dtype}) cannot be written as text"
        raise InputError(problem, remedy="write Parquet") from error
    if decimal != "." and (pa.types.is_floating(dtype) or pa.types.is_decimal(dtype)):
        return pc.replace_substring(cells, ".", decimal)
    return cells


def as_json(cells: pa.Array) -> pa.Array:
    """Cells as JSON, null if missing."""
    encode = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode
    return pa.array([None if value is None else encode(value) for value in cells.to_pylist()], LARGE_STRING)
