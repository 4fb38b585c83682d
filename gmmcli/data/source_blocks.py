"""The numbers of a source as blocks: `SourceBlocks`, and `count_bad`, which tells why some cells cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from gmmcli.data.bad_cells import BadCells
from gmmcli.data.numbers import float_columns, float_table
from gmmcli.data.reader import Piece, Reader
from gmmcli.data.side_by_side import in_turn
from gmmcli.errors import InputError
from gmmcli.passes.block import Block, Share
from gmmcli.storage.names import printable

Missing = Literal["error", "drop", "keep"]


class _Run(NamedTuple):
    """Pieces of a file: their places, the pieces, and the numbers of their first block and row over all files."""

    reader: Reader
    places: range
    pieces: Sequence[Piece]
    first_block: int
    first_row: int


class SourceBlocks:
    """The numbers of a source as blocks; every iteration reads the source again and gives the same blocks.

    A block is a row group of a Parquet file, or a file of another format, cut every `block_rows` rows of its reader.
    With missing="drop" it lacks the rows dropped; a block without rows is skipped, its number stays. Row numbers
    count all rows. share: the part of the data that is read here; its blocks are those that they are in all of it.
    at_a_time: how many files are read side by side, from the first of them on.

    columns, weights: their names. rows_read, rows_dropped: of the share, in the last complete iteration, 0 before.
    An iteration raises InputError for bad cells, with their number in each column over the whole data, and for
    negative weights; and, of a share that is all of the data, for weights that are all zero and when no row is left.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        label: str,
        columns: tuple[str, ...],
        weights: str | None,
        missing: Missing,
        share: Share,
        at_a_time: int = 1,
    ) -> None:
        self._readers = readers
        self._label = label
        self.columns = columns
        self.weights = weights
        self._missing = missing
        self._share = share
        self._at_a_time = at_a_time
        self._names = (*columns, weights) if weights is not None else columns
        self.rows_read = 0
        self.rows_dropped = 0
        self._complete = False  # whether a reading has found that there is none: then no other looks for one

    @property
    def rows(self) -> int:
        """Rows of all of the data, those that are dropped among them; nothing is read for it."""
        return sum(piece.rows for pieces in self._pieces for piece in pieces)

    @property
    def files(self) -> list[tuple[str, int, int]]:
        """The name, the rows and the bytes of every file, likewise."""
        sizes = ((sum(p.rows for p in pieces), sum(p.bytes for p in pieces)) for pieces in self._pieces)
        return [(reader.label, *size) for reader, size in zip(self._readers, sizes, strict=True)]

    @property
    def share_rows(self) -> int:
        """Rows of the share, likewise."""
        return sum(piece.rows for run in self._runs for piece in run.pieces)

    @property
    def bytes_per_reading(self) -> int:
        """About what one iteration reads: of a Parquet file compressed, of others the numbers in memory."""
        return sum(piece.bytes for run in self._runs for piece in run.pieces)

    def __iter__(self) -> Iterator[Block]:
        read = kept = 0
        total_weight, checked, complete = 0.0, self._complete, True
        runs = [partial(self._numbered, run) for run in self._runs]
        for index, first_row, table in in_turn(runs, self._at_a_time):
            cells = float_columns(table, self._names)
            finite = None if checked else _finite(cells)
            complete = complete and finite is None
            block = self._block(index, first_row, cells, finite)
            read += table.num_rows
            if len(block):
                kept += len(block)
                total_weight += len(block) if block.weights is None else block.weights.sum().item()
                yield block
        self.rows_read = read
        self.rows_dropped = read - kept
        self._complete = complete
        if self._share.is_all:  # else what is missing here may be elsewhere
            self.check_rows(read, kept, total_weight)

    def check_rows(self, read: int, kept: int, total_weight: float) -> None:
        """Raises InputError where all of the data has no rows that count: as many read, and kept, of this weight."""
        label = self._label
        if not read:
            raise no_rows(label)
        if not kept:
            raise InputError(f"{label}: no rows left: each has a missing, NaN or infinite cell in the columns used")
        if total_weight == 0.0:
            raise InputError(f"{label}: all weights in {printable(self.weights or '')} are 0")

    def _numbered(self, run: _Run) -> Iterator[tuple[int, int, pa.Table]]:
        """The tables of a run, each behind the numbers of its block and of its first row."""
        index, first_row = run.first_block, run.first_row
        for table in run.reader.numbers(self._names, run.places):
            yield index, first_row, table
            index += 1
            first_row += table.num_rows

    @cached_property
    def _pieces(self) -> list[Sequence[Piece]]:
        """The pieces of each file."""
        return [reader.pieces(self._names) for reader in self._readers]

    @cached_property
    def _runs(self) -> list[_Run]:
        """The share's pieces of each file that has any."""
        chosen = dict(self._share.of([[piece.bytes for piece in pieces] for pieces in self._pieces]))
        runs = []
        index = first_row = 0
        for file, (reader, pieces) in enumerate(zip(self._readers, self._pieces, strict=True)):
            if places := chosen.get(file):
                rows, blocks = _size(reader, pieces[: places.start])
                read = pieces[places.start : places.stop]
                runs.append(_Run(reader, places, read, index + blocks, first_row + rows))
            rows, blocks = _size(reader, pieces)
            index, first_row = index + blocks, first_row + rows
        return runs

    def _block(
        self,
        index: int,
        first_row: int,
        cells: np.ndarray,  # (D, B) or, with weights, (D+1, B)
        finite: np.ndarray | None,  # the same, None where all are
    ) -> Block:
        dims = len(self.columns)
        observed = None
        if finite is not None:
            if self._missing == "drop":
                cells = cells[:, finite.all(axis=0)]
            elif self._missing == "keep" and not np.isinf(cells).any() and finite[dims:].all():
                observed = torch.from_numpy(finite[:dims]).mT
            else:
                raise self._complaint()
        weights = None
        if self.weights is not None:
            if (cells[dims] < 0).any():
                raise self._complaint()
            weights = torch.from_numpy(cells[dims]).double()
        return Block(index, first_row, torch.from_numpy(cells[:dims]).mT, weights, observed)

    def _complaint(self) -> InputError:
        """The error for the bad cells of the whole data; some block has been found to have one."""
        parts, remedy = [], ""
        bad = count_bad(self._readers, self.columns, self._at_a_time)
        if self._missing != "drop" and (message := bad.message(unobserved=self._missing == "error")):
            parts.append(message)
            remedy = bad.remedy
        if self.weights is not None:
            weights = count_bad(self._readers, (self.weights,), self._at_a_time)
            if self._missing != "drop" and (message := weights.message()):
                parts.append(message)
                remedy = "use --missing drop"
            if weights.negative[0]:
                parts.append(f"{weights.negative[0]} negative in weights column {printable(self.weights)}")
        return InputError(": ".join(filter(None, [self._label, ", ".join(parts), remedy])))


def _finite(cells: np.ndarray) -> np.ndarray | None:
    """Which cells are finite, None where all are: one that is not spoils the sum, which is quicker than to look."""
    if bool(torch.from_numpy(cells).sum().isfinite()) or (found := np.isfinite(cells)).all():
        return None
    return found


def _size(reader: Reader, pieces: Sequence[Piece]) -> tuple[int, int]:
    """Rows and blocks of some of its pieces."""
    return sum(piece.rows for piece in pieces), sum(-(-piece.rows // reader.block_rows) for piece in pieces)


def no_rows(label: str) -> InputError:
    """The error for data without a row."""
    return InputError(f"{label}: no rows: give data with rows, or --no-header where the first line of text is one")


def count_bad(readers: Sequence[Reader], columns: tuple[str, ...], at_a_time: int = 1) -> BadCells:
    """The bad cells of the columns over all files, so many of which are read side by side."""
    bad = BadCells(columns)
    for table in in_turn([partial(reader.numbers, columns) for reader in readers], at_a_time):
        bad.add(table, float_table(table, columns))
    return bad
