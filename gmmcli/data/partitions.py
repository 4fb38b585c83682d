"""Columns of keys in the names of folders, as in `year=2024/month=05/part-0.parquet`.

- `with_partitions`: readers whose files have these columns too, each a `PartitionedReader`.
- `partition_types`: the types of these columns over all files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import kind_of
from gmmcli.data.formats import ReadOptions
from gmmcli.data.numbers import all_numbers, parse
from gmmcli.data.reader import NotNumbersError, Pair, Piece, Reader
from gmmcli.storage.folders import Keys


def with_partitions(readers: Sequence[Reader], partitions: Sequence[Keys], options: ReadOptions) -> list[Reader]:
    """The readers of files, each with the columns of its folders, if any."""
    types = partition_types(partitions)
    return [
        PartitionedReader(reader, partition, types, options) if partition else reader
        for reader, partition in zip(readers, partitions, strict=True)
    ]


def partition_types(partitions: Iterable[Keys]) -> dict[str, pa.DataType]:
    """The type of each column: int64 if each value is an integer within its range, else text."""
    types: dict[str, pa.DataType] = {}
    for name, value in (pair for partition in partitions for pair in partition):
        whole = value is None or (re.fullmatch(r"-?[0-9]{1,19}", value) and -(2**63) <= int(value) < 2**63)
        if types.setdefault(name, pa.int64()) == pa.int64() and not whole:
            types[name] = pa.string()
    return types


class PartitionedReader(Reader):
    """A file with the columns of its folders after its own. A column that the file has itself is the file's."""

    def __init__(self, reader: Reader, partition: Keys, types: dict[str, pa.DataType], options: ReadOptions) -> None:
        self._reader = reader
        self._options = options
        self._cells: dict[str, pa.Scalar] = {}  # the value of each column
        for name, value in partition:
            if name not in reader.names:
                number = None if value is None or pa.types.is_string(types[name]) else int(value)
                self._cells[name] = pa.scalar(value if number is None else number, types[name])
        self.block_rows = reader.block_rows
        self.label = reader.label
        self.has_rows = reader.has_rows
        self.remote = reader.remote
        self.held = reader.held
        self.names = (*reader.names, *self._cells)

    def kinds(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnKind]:
        """Kinds of the file's columns, and by their types those of the folders' columns."""
        inner = self._reader.kinds(self._inner(columns), keep)
        return {name: self._kind(name) if name in self._cells else inner[name] for name in columns}

    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """See Reader; only the file has such columns."""
        return self._reader.details(self._inner(columns))

    def all_numbers(self, name: str) -> bool:
        """Whether every cell of the column is a number or missing."""
        if name not in self._cells:
            return self._reader.all_numbers(name)
        return self._kind(name) is not ColumnKind.TEXT or all_numbers(pa.repeat(self._cells[name], 1), self._options)

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """The schema of the file, followed by the columns of the folders."""
        schema = self._reader.schema(typed, self._inner(used))
        for name, value in self._cells.items():
            schema = schema.append(pa.field(name, value.type))
        return schema

    def pieces(self, columns: Sequence[str]) -> Sequence[Piece]:
        """The pieces of the file."""
        return self._reader.pieces(self._inner(columns) or self._reader.names[:1])

    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """The columns of file and folders, in the order of `columns`."""
        inner = self._inner(columns)
        tables = self._reader.numbers(inner, pieces) if inner else self._without_columns(pieces)
        return (self._with_cells(table, columns, table.num_rows) for table in tables)

    def pair_pieces(self) -> Sequence[int]:
        """The pieces of the file."""
        return self._reader.pair_pieces()

    def pairs(self, columns: Sequence[str], typed: bool, pieces: range | None = None) -> Iterator[Pair]:
        """The rows of the file, with the columns of the folders at the end."""
        for table, numbers in self._reader.pairs(self._inner(columns), typed, pieces):
            rows = table.num_rows
            for name, value in self._cells.items():
                table = table.append_column(pa.field(name, value.type), pa.repeat(value, rows))
            yield table, self._with_cells(numbers, columns, rows)

    def _without_columns(self, pieces: range | None) -> Iterator[pa.Table]:
        """Tables with the rows of the file's blocks and a column without a name."""
        sizes = self.pieces([])
        for piece in sizes if pieces is None else sizes[pieces.start : pieces.stop]:
            for first in range(0, piece.rows, self.block_rows):
                filler = pa.nulls(min(self.block_rows, piece.rows - first))
                yield pa.Table.from_arrays([filler], names=[""])

    def _inner(self, columns: Sequence[str]) -> list[str]:
        """The columns that the file has."""
        return [name for name in columns if name not in self._cells]

    def _kind(self, name: str) -> ColumnKind:
        return kind_of(self._cells[name].type) if self._cells[name].is_valid else ColumnKind.EMPTY

    def _with_cells(self, table: pa.Table, columns: Sequence[str], rows: int) -> pa.Table:
        """The columns as numbers. rows: of the table, which may have no column."""
        cells = [self._number(name, rows) if name in self._cells else table.column(name) for name in columns]
        return pa.Table.from_arrays(cells, names=list(columns)) if cells else table

    def _number(self, name: str, rows: int) -> pa.Array:
        column = pa.repeat(self._cells[name], rows)
        if self._kind(name) is not ColumnKind.TEXT:
            return column
        if not self.all_numbers(name):
            raise NotNumbersError(f"column {name} is no number", subject=self.label)
        return parse(column, self._options)
