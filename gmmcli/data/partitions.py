"""Columns that the names of folders tell, as in `year=2024/month=05/part-0.parquet`.

- `is_partitioned`, `files_below`: the data files of a folder that is laid out so, as Hive, Spark and others write it.
- `partition_of`: what the path of a file tells. `partition_types`: the types of these columns over all files.
- `with_partitions`: readers whose files have these columns too, each a `PartitionedReader`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import cell
from gmmcli.data.formats import ReadOptions, format_of_path
from gmmcli.data.numbers import all_numbers, kind_of, parse
from gmmcli.data.reader import NotNumbersError, Pair, Piece, Reader

Partition = tuple[tuple[str, str | None], ...]  # names and values, in the order of the folders; None is missing

_FOLDER = re.compile(r"([^=._][^=]*)=(.*)", re.DOTALL)
_MISSING = "__HIVE_DEFAULT_PARTITION__"
_SEPARATORS = re.compile("[/" + re.escape(os.sep) + "]")


def is_partitioned(folder: str) -> bool:
    """Whether some folder in it is called `key=value`."""
    return any(is_key(name) and os.path.isdir(os.path.join(folder, name)) for name in os.listdir(folder))


def is_key(name: str) -> bool:
    """Whether a folder of this name tells the value of a column."""
    return _FOLDER.fullmatch(name) is not None


def is_hidden(name: str) -> bool:
    """Whether the name marks, below such a folder, what is no data."""
    return name.startswith((".", "_"))


def files_below(folder: str) -> list[str]:
    """The data files in a folder and below it, sorted by the names of their folders and theirs.

    Those whose suffix is known, without what is hidden or marked as no data by a leading underscore.
    """
    return [os.path.join(folder, *names) for names in sorted(_walk(folder, (), frozenset()))]


def _walk(folder: str, names: tuple[str, ...], above: frozenset[str]) -> Iterator[tuple[str, ...]]:
    above |= {os.path.realpath(folder)}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if is_hidden(name):
            continue
        if not os.path.isdir(path):
            if format_of_path(name):
                yield (*names, name)
        elif os.path.realpath(path) not in above:  # a link to a folder that it is in has no end
            yield from _walk(path, (*names, name), above)


def partition_of(argument: str, path: str) -> Partition:
    """What the folders below a folder tell of a file in them; nothing of a file that is not below `argument`."""
    if not path.startswith(argument):
        return ()
    folders = _SEPARATORS.split(path[len(argument) :])[:-1]
    found = filter(None, map(_FOLDER.fullmatch, folders))
    return tuple((unquote(m[1]), None if m[2] == _MISSING else unquote(m[2])) for m in found)


def partition_types(partitions: Iterable[Partition]) -> dict[str, pa.DataType]:
    """The type of each column: int64 where each value is a whole number that it holds, else text."""
    types: dict[str, pa.DataType] = {}
    for name, value in (pair for partition in partitions for pair in partition):
        whole = value is None or (re.fullmatch(r"-?[0-9]{1,19}", value) and -(2**63) <= int(value) < 2**63)
        if types.setdefault(name, pa.int64()) == pa.int64() and not whole:
            types[name] = pa.string()
    return types


def with_partitions(readers: Sequence[Reader], partitions: Sequence[Partition], options: ReadOptions) -> list[Reader]:
    """The readers of files, each with the columns that its folders tell, if any."""
    types = partition_types(partitions)
    return [
        PartitionedReader(reader, partition, types, options) if partition else reader
        for reader, partition in zip(readers, partitions, strict=True)
    ]


class PartitionedReader(Reader):
    """A file with the columns that its folders tell, behind its own; one that has such a column itself keeps it."""

    def __init__(
        self,
        reader: Reader,
        partition: Partition,
        types: dict[str, pa.DataType],
        options: ReadOptions,
    ) -> None:
        self._reader = reader
        self._values = {name: value for name, value in partition if name not in reader.names}
        self._types = {name: types[name] for name in self._values}
        self._options = options
        self.block_rows = reader.block_rows
        self.label = reader.label
        self.has_rows = reader.has_rows
        self.remote = reader.remote
        self.held = reader.held
        self.names = (*reader.names, *self._values)

    def kinds(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnKind]:
        """Those of the file, and by their types those that the folders tell."""
        inner = self._reader.kinds(self._inner(columns), keep)
        return {name: self._kind(name) if name in self._values else inner[name] for name in columns}

    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """Those of the file."""
        return self._reader.details(self._inner(columns))

    def all_numbers(self, name: str) -> bool:
        """Whether a value that folders tell is a number; as the file tells of its own."""
        if name not in self._values:
            return self._reader.all_numbers(name)
        return self._kind(name) is not ColumnKind.TEXT or all_numbers(self._column(name, 1), self._options)

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """That of the file, and the columns that the folders tell."""
        schema = self._reader.schema(typed, self._inner(used))
        for name, dtype in self._types.items():
            schema = schema.append(pa.field(name, dtype))
        return schema

    def pieces(self, columns: Sequence[str]) -> Sequence[Piece]:
        """Those of the file."""
        return self._reader.pieces(self._inner(columns) or self._reader.names[:1])

    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """The file's columns, and beside them the others."""
        inner = self._inner(columns)
        tables = self._reader.numbers(inner, pieces) if inner else self._nothing(pieces)
        return (self._with_values(table, columns) for table in tables)

    def pair_pieces(self) -> Sequence[int]:
        """Those of the file."""
        return self._reader.pair_pieces()

    def pairs(self, columns: Sequence[str], typed: bool, pieces: range | None = None) -> Iterator[Pair]:
        """The file's rows, with the others as the last columns."""
        for table, numbers in self._reader.pairs(self._inner(columns), typed, pieces):
            rows = table.num_rows
            for name in self._values:
                table = table.append_column(pa.field(name, self._types[name]), self._column(name, rows))
            yield table, self._with_values(numbers, columns, rows)

    def _nothing(self, pieces: range | None) -> Iterator[pa.Table]:
        """Tables without a column, of as many rows as the file's blocks have."""
        sizes = self.pieces([])
        for piece in sizes if pieces is None else sizes[pieces.start : pieces.stop]:
            for first in range(0, piece.rows, self.block_rows):
                filler = pa.nulls(min(self.block_rows, piece.rows - first))
                yield pa.Table.from_arrays([filler], names=[""])

    def _inner(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if name not in self._values]

    def _kind(self, name: str) -> ColumnKind:
        return ColumnKind.EMPTY if self._values[name] is None else kind_of(self._types[name])

    def _with_values(self, table: pa.Table, columns: Sequence[str], rows: int | None = None) -> pa.Table:
        """The columns as numbers. rows: of the table, where it may have no column."""
        rows = table.num_rows if rows is None else rows
        cells = [self._number(name, rows) if name in self._values else table.column(name) for name in columns]
        return pa.Table.from_arrays(cells, names=list(columns)) if cells else table

    def _number(self, name: str, rows: int) -> pa.Array:
        column = self._column(name, rows)
        if self._kind(name) is not ColumnKind.TEXT:
            return column
        if not self.all_numbers(name):
            raise NotNumbersError(f"{self.label}: column {name} is no number")
        return parse(column, self._options)

    def _column(self, name: str, rows: int) -> pa.Array:
        """The value of a column, so many times."""
        value, dtype = self._values[name], self._types[name]
        if value is None:
            return pa.nulls(rows, dtype)
        if pa.types.is_int64(dtype):
            return pa.Array.from_buffers(dtype, rows, [None, pa.py_buffer(np.full(rows, int(value), np.int64))])
        return pa.repeat(cell(value).cast(dtype)[0], rows)
