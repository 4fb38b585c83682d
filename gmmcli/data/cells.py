"""Arrow columns as numbers: their kinds, their float64 cells, and the account of bad cells.

- `kind_of`: the ColumnKind of an Arrow type.
- `float_column`, `float_table`: cells as float64, NaN where missing.
- `BadCells`: how many cells of each column are missing, NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gmmcli.data.columns import ColumnKind, printable
from gmmcli.data.compute import pc

_SHOWN = 20


def kind_of(dtype: pa.DataType) -> ColumnKind:
    """The kind of a column of this type; a dictionary's is that of its values."""
    if isinstance(dtype, pa.DictionaryType):
        return kind_of(dtype.value_type)
    types = pa.types
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype):
        return ColumnKind.NUMBER
    if types.is_boolean(dtype):
        return ColumnKind.BOOLEAN
    if types.is_null(dtype):
        return ColumnKind.EMPTY
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return ColumnKind.TEXT
    if types.is_temporal(dtype):
        return ColumnKind.TIME
    return ColumnKind.NESTED if types.is_nested(dtype) else ColumnKind.BINARY


def float_column(column: pa.Array | pa.ChunkedArray) -> np.ndarray:  # (N,)
    """The cells as float64, NaN where missing. Integers above 2^53 are rounded to the nearest float64."""
    if isinstance(column.type, pa.DictionaryType):
        column = pc.cast(column, column.type.value_type)
    column = pc.cast(column, pa.float64(), safe=False)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return np.concatenate([np.empty(0), *map(_numbers, chunks)])


def _numbers(array: pa.Array) -> np.ndarray:  # (N,)
    """A float64 array off its buffers; its to_numpy would import pandas, which costs a command 0.3 s."""
    validity, values = array.buffers()
    if not len(array) or values is None:
        return np.full(len(array), np.nan)
    cells = np.frombuffer(values, np.float64)[array.offset :][: len(array)]
    if not array.null_count:
        return cells
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[array.offset :][: len(array)]
    return np.where(valid, cells, np.nan)


def float_table(table: pa.Table, columns: Sequence[str]) -> np.ndarray:  # (N, D)
    """The named columns as float64, one row of the result for each row, C-contiguous, NaN where missing."""
    cells = np.empty((table.num_rows, len(columns)))
    for d, name in enumerate(columns):
        cells[:, d] = float_column(table.column(name))
    return cells


def concatenate(chunks: Sequence[pa.Array], dtype: pa.DataType) -> pa.ChunkedArray:
    """Chunks as one column; with no chunk an empty column of that type."""
    return pa.chunked_array(list(chunks), type=dtype)


@dataclass
class BadCells:
    """How many cells of each column are missing (no value), NaN (in floating point), infinite or below zero.

    Each is an int64 array (D,); `add` counts the cells of one more part of the data.
    """

    columns: tuple[str, ...]
    missing: np.ndarray = field(init=False)
    nan: np.ndarray = field(init=False)
    infinite: np.ndarray = field(init=False)
    negative: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.missing, self.nan, self.infinite, self.negative = np.zeros((4, len(self.columns)), dtype=np.int64)

    def add(self, table: pa.Table, cells: np.ndarray) -> None:
        """Count the cells (N, D) that float_table made of the table."""
        nulls = np.array([table.column(name).null_count for name in self.columns], dtype=np.int64)
        self.missing += nulls
        self.nan += np.isnan(cells).sum(axis=0) - nulls
        self.infinite += np.isinf(cells).sum(axis=0)
        self.negative += (cells < 0).sum(axis=0)

    def message(self, unobserved: bool = True) -> str:
        """The counts by column, as `2 missing cells in a, 3 in b, 1 infinite cell in b`; empty when there are none.

        unobserved: whether missing and NaN cells are told, or infinite ones only.
        """
        kinds = [("missing", self.missing), ("NaN", self.nan)] if unobserved else []
        parts = []
        for kind, counts in [*kinds, ("infinite", self.infinite)]:
            noun = f" {kind} cell"
            for d in np.flatnonzero(counts):
                plural = "s" if noun and counts[d] > 1 else ""
                parts.append(f"{counts[d]}{noun}{plural} in {printable(self.columns[d])}")
                noun = ""
        more = len(parts) - _SHOWN
        return ", ".join(parts[:_SHOWN]) + (f" and {more} more such" if more > 0 else "")
