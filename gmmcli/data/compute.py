"""Arrow arrays: pyarrow's functions, scalars for them, and numbers as float64.

- `pc`: pyarrow.compute, whose functions are made at import, where no type checker sees them.
- `null`, `text`, `cell`, `false`, `flags`: scalars and arrays made from buffers.
- `float_column`, `float_columns`, `values_as_floats`: numbers as float64. `inexact_integer`: the first integer that
  float64 does not hold.

Buffers and DLPack are used because pyarrow's own conversions from and to Python import pandas, which takes 0.3 s.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute
Column: TypeAlias = "pa.Array | pa.ChunkedArray"


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
    return pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(content)])


def false() -> pa.Scalar:
    """False as a scalar."""
    return flags(np.zeros(1, bool))[0]


def flags(values: np.ndarray) -> pa.Array:
    """Booleans (N,) as an Arrow array."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def float_column(column: Column) -> np.ndarray:  # (N,)
    """Numbers as float64, NaN where missing. Integers above 2^53 are rounded to the nearest float64."""
    column = values_as_floats(column)
    if isinstance(column, pa.Array):
        return _values(column)
    return np.concatenate([np.empty(0), *map(_values, column.chunks)])


def float_columns(table: pa.Table, names: Sequence[str]) -> np.ndarray:  # (D, N)
    """The named columns, one row of the result each, C-contiguous, NaN where missing.

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
    """Numbers as the nearest float64, null where missing.

    Decimals are converted through text: pyarrow multiplies their digits by a power of ten, and both are rounded.
    """
    if isinstance(column.type, pa.DictionaryType):
        column = pc.cast(column, column.type.value_type)
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
