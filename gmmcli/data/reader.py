"""Contract of a reader of one file, and functions that readers share.

- `Reader`: columns of one file, facts about them, and its rows in pieces that depend on the file alone.
- `with_folder_columns`: readers whose files also have the columns of folders called `key=value`.
- `recut`: rows in blocks of one size.
- `each`, `in_turn`, `ahead`: items made in advance by threads, since a request to a store takes longer than the work
  on the answer. Neither the order of the items nor the choice of the first error depends on the order of the answers.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pyarrow as pa

from gmmcli.data.columns import ColumnFacts, ColumnKind
from gmmcli.data.compute import kind_of
from gmmcli.data.formats import ReadOptions
from gmmcli.data.numbers import parse
from gmmcli.errors import InputError
from gmmcli.storage.folders import Keys

if TYPE_CHECKING:
    from gmmcli.data.inputs import Input

T = TypeVar("T")
R = TypeVar("R")
CELL_BYTES = 8  # of a float64
AT_A_TIME = 8  # remote files
_END = object()


class Piece(NamedTuple):
    """Size of rows that can be read on their own: rows, blocks, and about how many bytes a reading of them takes."""

    rows: int
    blocks: int
    bytes: int


def total(pieces: Iterable[Piece]) -> Piece:
    """Size of all pieces together."""
    return Piece(*map(sum, zip(Piece(0, 0, 0), *pieces, strict=True)))


class NotNumbersError(InputError):
    """A cell of text is not a number, in a column that is read as numbers without a survey."""


class Reader(ABC):
    """One file, to be read any number of times.

    label: its name for messages. names: of its columns, all different. has_rows: False if it is known to have no
    rows. remote: whether a reading is a transfer. held: about how many bytes a reading holds at a time, beside data
    that are kept for later readings. block_rows: rows of a full block. Every error of a file is an InputError that
    names the file.
    """

    def __init__(self, source: Input, options: ReadOptions, names: Sequence[str], block_rows: int) -> None:
        """Columns `names` of a file, in blocks of so many rows."""
        self._options = options
        self.label, self.remote = source.label, source.remote
        self.names = tuple(names)
        self.block_rows = block_rows
        self.has_rows, self.held = True, 0

    @abstractmethod
    def facts(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnFacts]:
        """Kinds of the columns, settled over the whole file.

        keep: whether the parsed numbers may be kept in memory for `numbers`.
        """

    @abstractmethod
    def all_numbers(self, name: str) -> bool:
        """Whether each cell of the column, whatever its kind, is a number or missing: `numbers` may be called."""

    @abstractmethod
    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """Types of the rows that pass through.

        typed: whether text is given types; its columns `used` as numbers then have a type of numbers.
        """

    @abstractmethod
    def pieces(self, columns: Sequence[str]) -> Sequence[Piece]:
        """Pieces of all rows for `numbers` of these columns. Only a survey of text reads cells for it.

        A piece consists of whole blocks: `numbers` makes a table of every `block_rows` of its rows and of the rest.
        """

    def _piece(self, rows: int, size: int) -> Piece:
        """Piece of so many rows and bytes."""
        return Piece(rows, -(-rows // self.block_rows), size)

    def _blocks_as_pieces(self, rows: int, columns: Sequence[str]) -> list[Piece]:
        """Blocks as pieces, for a file that can be read from any block on; cells are float64."""
        counts = [min(self.block_rows, rows - first) for first in range(0, rows, self.block_rows)]
        return [self._piece(count, CELL_BYTES * len(columns) * count) for count in counts]

    @abstractmethod
    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Columns as numbers, one table for each block. pieces: indices of the pieces to read; None is all."""

    @abstractmethod
    def table_pieces(self) -> Sequence[int]:
        """About how many bytes a reading of each piece of `tables` takes; no cell is read for it."""

    @abstractmethod
    def tables(self, typed: bool, used: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """All columns in the schema of `typed` and `used`. pieces: indices of `table_pieces` to read; None is all."""

    def as_numbers(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Columns of a table as numbers, text parsed. Raises NotNumbersError if some text is no number."""
        table = table.select(list(columns))
        for index, column in enumerate(table.columns):
            if kind_of(column.type) is ColumnKind.TEXT:
                table = table.set_column(index, columns[index], self._checked(parse(column, self._options)))
        return table

    def _checked(self, column: Any) -> Any:
        """Parsed column. Raises NotNumbersError for None, which stands for text of another type."""
        if column is None:
            raise self._changed()
        return column

    def _changed(self) -> InputError:
        """Error for a file whose content is not as before."""
        return NotNumbersError("it has changed while it was read", subject=self.label, remedy="start again")


def recut(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Rows of the batches, in order, in tables of `rows` rows; the last may be shorter, none is empty.

    schema: of the tables; the batches have its columns, in any order, and perhaps others.
    """
    held = pa.Table.from_batches([], schema)
    for batch in batches:
        # pyarrow reads a column called "a.b" together with the part b of a column a
        held = pa.concat_tables([held, pa.Table.from_batches([batch.select(schema.names)], schema)])
        while held.num_rows >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if held.num_rows:
        yield held


# ---- items made in advance


def each(function: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
    """Results of the function for every item, in order. most: number of calls at a time."""
    return list(in_turn([partial(map, function, [item]) for item in items], min(most, len(items))))


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Items; a thread makes the next one while the caller works on the one before."""
    return in_turn([lambda: iter(items)], 2)


def in_turn(begin: Sequence[Callable[[], Iterator[T]]], most: int) -> Iterator[T]:
    """Items of the iterators, one iterator after the other. Threads make the next item of `most` of them."""
    if most <= 1:
        for one in begin:
            yield from one()
        return
    waiting = iter(begin)
    with ThreadPoolExecutor(most) as pool:

        def fetch(iterator: Iterator[T]) -> tuple[Iterator[T], Future[Any]]:
            return iterator, pool.submit(next, iterator, _END)

        begun = deque(fetch(one()) for one in islice(waiting, most))
        try:
            while begun:
                iterator, future = begun.popleft()
                while (item := future.result()) is not _END:
                    _, future = fetch(iterator)
                    yield item
                begun.extend(fetch(one()) for one in islice(waiting, 1))
        finally:
            for _, future in begun:
                future.cancel()


# ---- columns of folders


def with_folder_columns(readers: Sequence[Reader], keys: Sequence[Keys], options: ReadOptions) -> list[Reader]:
    """Readers of files, each with the columns of its folders, if any, such as `year=2024/month=05/part-0.parquet`.

    keys: keys and values of each file's folders. A column is int64 if it holds the values of all files, else text.
    """
    types: dict[str, pa.DataType] = {}
    for name, value in (pair for pairs in keys for pair in pairs):
        whole = value is None or (re.fullmatch(r"-?[0-9]{1,19}", value) and -(2**63) <= int(value) < 2**63)
        if types.setdefault(name, pa.int64()) == pa.int64() and not whole:
            types[name] = pa.string()
    return [
        _WithFolderColumns(reader, pairs, types, options) if pairs else reader
        for reader, pairs in zip(readers, keys, strict=True)
    ]


class _WithFolderColumns(Reader):
    """File with the columns of its folders after its own. A folder's column is left out if the file has its name."""

    def __init__(self, reader: Reader, keys: Keys, types: dict[str, pa.DataType], options: ReadOptions) -> None:
        values = {name: pa.scalar(value, pa.string()).cast(types[name]) for name, value in keys}
        self._values = {name: value for name, value in values.items() if name not in reader.names}
        self._reader = reader
        self._options = options
        self.label, self.remote, self.block_rows = reader.label, reader.remote, reader.block_rows
        self.has_rows, self.held = reader.has_rows, reader.held
        self.names = (*reader.names, *self._values)

    def facts(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnFacts]:
        """Facts about the file's columns, and kinds of the folders' columns by their types."""
        own = self._reader.facts(self._own(columns), keep)
        return {name: ColumnFacts(self._kind(name)) if name in self._values else own[name] for name in columns}

    def all_numbers(self, name: str) -> bool:
        """Whether every cell of the column is a number or missing."""
        if name not in self._values:
            return self._reader.all_numbers(name)
        is_text = self._kind(name) is ColumnKind.TEXT
        return not is_text or parse(pa.repeat(self._values[name], 1), self._options) is not None

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """Schema of the file, followed by the columns of the folders."""
        schema = self._reader.schema(typed, self._own(used))
        for name, value in self._values.items():
            schema = schema.append(pa.field(name, value.type))
        return schema

    def pieces(self, columns: Sequence[str]) -> Sequence[Piece]:
        """Pieces of the file."""
        return self._reader.pieces(self._own(columns) or self._reader.names[:1])

    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Columns of file and folders, in the order of `columns`."""
        own = self._own(columns)
        tables = self._reader.numbers(own, pieces) if own else self._without_columns(pieces)
        return (self.as_numbers(self._extended(table), columns) for table in tables)

    def table_pieces(self) -> Sequence[int]:
        """Pieces of the file."""
        return self._reader.table_pieces()

    def tables(self, typed: bool, used: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Rows of the file, with the columns of the folders at the end."""
        return map(self._extended, self._reader.tables(typed, self._own(used), pieces))

    def _extended(self, table: pa.Table) -> pa.Table:
        """Table with the columns of the folders added."""
        for name, value in self._values.items():
            table = table.append_column(pa.field(name, value.type), pa.repeat(value, table.num_rows))
        return table

    def _without_columns(self, pieces: range | None) -> Iterator[pa.Table]:
        """Tables with the rows of the file's blocks and a column without a name."""
        sizes = self.pieces([])
        for piece in sizes if pieces is None else sizes[pieces.start : pieces.stop]:
            rows = pa.record_batch([pa.nulls(piece.rows)], names=[""])
            yield from recut([rows], rows.schema, self.block_rows)

    def _own(self, columns: Sequence[str]) -> list[str]:
        """Columns that the file has."""
        return [name for name in columns if name not in self._values]

    def _kind(self, name: str) -> ColumnKind:
        return kind_of(self._values[name].type) if self._values[name].is_valid else ColumnKind.EMPTY
