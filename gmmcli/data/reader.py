"""The contract of a reader of one file: its columns, their kinds, its rows in pieces fixed by the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from gmmcli.data.columns import ColumnKind

Pair = tuple[pa.Table, pa.Table]


class Reader(ABC):
    """One file, to be read any number of times.

    label: its name for messages. names: of its columns, each once. has_rows: False when it is known to have
    none. held: of a remote file, how many bytes it holds while it reads, beside what it keeps; None of another.
    Every error of a file is an InputError that names it.
    """

    label: str
    names: tuple[str, ...]
    has_rows: bool
    held: int | None = None

    @abstractmethod
    def kinds(self, columns: Sequence[str]) -> dict[str, ColumnKind]:
        """What the cells of the columns are, settled over the whole file."""

    @abstractmethod
    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """For those of the columns that nearly are numbers, what keeps them from it."""

    @abstractmethod
    def all_numbers(self, name: str) -> bool:
        """Whether each cell of the column, whatever its kind, is a number or missing: `numbers` may be asked for."""

    @abstractmethod
    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """The types of the rows that pass through.

        typed: whether text is given types; its columns `used` as numbers then have a type of numbers.
        """

    @abstractmethod
    def numbers(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The columns as numbers, one piece for each block and none without rows."""

    @abstractmethod
    def pairs(self, columns: Sequence[str], typed: bool) -> Iterator[Pair]:
        """The same pieces with all columns, in the schema of `columns` used, and beside each the columns' numbers."""


def recut(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The rows of the batches, in order, in tables of `rows` rows; the last may be shorter, none is empty."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            taken = batch.slice(0, rows - count)
            batch = batch.slice(taken.num_rows)
            held.append(taken)
            count += taken.num_rows
            if count == rows:
                yield pa.Table.from_batches(held, schema)
                held, count = [], 0
    if held:
        yield pa.Table.from_batches(held, schema)
