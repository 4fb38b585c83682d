"""Contract of a reader of one file, and what readers have in common.

- `Reader`: columns of one file, their kinds, and its rows in pieces that the file alone fixes.
- `recut`, `slices`: rows in blocks of one size. `ahead`: items made in advance.
- `each`, `in_turn`, `together`: remote files read side by side, since a request takes longer than the reading of a
  small file. Neither the order of the items nor the choice of the first error depends on which request is answered
  first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pyarrow as pa

from gmmcli.data.columns import ColumnKind
from gmmcli.data.scratch import Scratch
from gmmcli.errors import InputError

if TYPE_CHECKING:
    from gmmcli.data.inputs import Input

T = TypeVar("T")
R = TypeVar("R")
Pair = tuple[pa.Table, pa.Table]
CELL_BYTES = 8  # of a float64
AT_A_TIME = 8
HELD_BYTES = 1 << 28
_HELD_SHARE = 8  # one part in so many of the memory for data may be held by readers while they read
_END: Any = object()


class Piece(NamedTuple):
    """Rows that can be read on their own: their number, and about how many bytes a reading of them takes."""

    rows: int
    bytes: int


class NotNumbersError(InputError):
    """A cell of text is no number, in a column that was read as numbers without a survey."""


class Reader(ABC):
    """One file, to be read any number of times.

    label: its name for messages. names: of its columns, each once. has_rows: False if it is known to have
    none. remote: whether a reading is a transfer. held: about how many bytes a reading holds at a time, beside data
    kept for later readings. block_rows: rows of a full block. Every error of a file is an InputError that names it.
    """

    label: str
    names: tuple[str, ...]
    has_rows: bool
    remote: bool = False
    held: int = 0
    block_rows: int

    def __init__(self, source: Input, names: Sequence[str], block_rows: int) -> None:
        """Columns `names` of a file, in blocks of so many rows."""
        self.label = source.label
        self.names = tuple(names)
        self.remote = source.remote
        self.block_rows = block_rows

    @abstractmethod
    def kinds(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnKind]:
        """Kinds of the columns, settled over the whole file.

        keep: whether numbers that are found on the way may be kept in memory, as `numbers` is going to be called.
        """

    @abstractmethod
    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """Reasons why columns that resemble numbers are none."""

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
        """All rows in pieces for `numbers` of these columns; no cell is read for it that was not read before.

        A piece has whole blocks: `numbers` makes a table of every full `block_rows` of its rows, and one of the rest.
        """

    def _blocks_as_pieces(self, rows: int, columns: Sequence[str]) -> list[Piece]:
        """Blocks of a file that can be read from any block on, a cell being a float64."""
        counts = [min(self.block_rows, rows - first) for first in range(0, rows, self.block_rows)]
        return [Piece(count, CELL_BYTES * len(columns) * count) for count in counts]

    @abstractmethod
    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Columns as numbers, of these of the `pieces` or of all, one table for each block, none without rows."""

    @abstractmethod
    def pair_pieces(self) -> Sequence[int]:
        """Pieces of `pairs`, by about how many bytes a reading of them takes; no cell is read for it."""

    @abstractmethod
    def pairs(self, columns: Sequence[str], typed: bool, pieces: range | None = None) -> Iterator[Pair]:
        """Tables of all columns, in the schema of `columns` used, each with a table of `columns` as numbers.

        Of these of the `pair_pieces`, or of all. Raises NotNumbersError if some are not numbers.
        """


def slices(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    """Table cut into tables of `rows` rows; the last may be shorter."""
    return (table.slice(first, rows) for first in range(0, table.num_rows, rows))


def recut(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Rows of the batches, in order, in tables of `rows` rows; the last may be shorter, none is empty.

    schema: of the tables; the batches have its columns, in any order, and perhaps others.
    """
    held = pa.Table.from_batches([], schema)
    for batch in batches:
        # a column called "a.b" may bring another's parts along
        held = pa.concat_tables([held, pa.Table.from_batches([batch.select(schema.names)], schema)])
        while held.num_rows >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if held.num_rows:
        yield held


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Items, the next one made by a thread of its own while the caller works on the one before."""
    made = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="gmm-ahead") as pool:
        coming = pool.submit(next, made, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, made, _END)
            yield item


def together(readers: Sequence[Reader], scratch: Scratch) -> int:
    """Number of readers that may read at a time: one if none is remote, else as many as the memory allows."""
    if not any(reader.remote for reader in readers):
        return 1
    held = max(reader.held for reader in readers)
    return max(1, min(AT_A_TIME, min(HELD_BYTES, scratch.memory_bytes // _HELD_SHARE) // max(held, 1)))


def each(function: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
    """The function of every item, in order. most: number of calls at a time."""
    if min(most, len(items)) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(most) as pool:
        return list(pool.map(function, items))


def in_turn(begin: Sequence[Callable[[], Iterator[T]]], most: int) -> Iterator[T]:
    """The items of the iterators, one iterator after the other. The next item of `most` of them is fetched ahead."""
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
                iterator, item = begun.popleft()
                while (found := item.result()) is not _END:
                    _, item = fetch(iterator)
                    yield found
                begun.extend(fetch(one()) for one in islice(waiting, 1))
        finally:
            for _, item in begun:
                item.cancel()
