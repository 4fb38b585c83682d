"""Numbers of a source as blocks for a fit: `SourceBlocks`; `Files`, all files of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from gmmcli.data.compute import float_columns
from gmmcli.data.reader import Piece, Reader, in_turn, total
from gmmcli.errors import InputError, Remedy
from gmmcli.passes.block import Block, Share
from gmmcli.storage.names import printable

Missing = Literal["error", "drop", "keep"]
_SHOWN = 20
_DROP, _EM = Remedy("use", "missing", "drop"), Remedy("use", "missing", "em")


@dataclass(frozen=True)
class Files:
    """All files of a source. label: their name for messages. at_a_time: number of files read side by side."""

    readers: Sequence[Reader]
    label: str
    at_a_time: int

    def error(self, problem: str, remedies: Sequence[Remedy] | str = ()) -> InputError:
        """Error that names the source."""
        return InputError(problem, subject=self.label, remedy=remedies)

    def no_rows(self) -> InputError:
        """Error for data without a row."""
        no_header = Remedy("use", "no_header", purpose="if the first line of text is one")
        return self.error("no rows", (Remedy("give data with rows"), no_header))

    def bad_cells(self, names: Sequence[str], only_infinite: bool) -> tuple[str, Sequence[Remedy]]:
        """Number of unusable cells of each column, in words, and the remedies.

        The words are such as `2 missing cells in a, 3 in b, 1 infinite cell in b`, and empty if there are none. NaN
        is counted apart from a missing value. Rows with an infinite cell can only be dropped.
        """
        counts = np.zeros((3, len(names)), np.int64)
        for table, cells in self.numbers(names):
            nulls = np.array([table.column(name).null_count for name in names], np.int64)
            counts += [nulls, np.isnan(cells).sum(axis=1) - nulls, np.isinf(cells).sum(axis=1)]
        remedies = (_DROP,) if counts[2].any() else (_DROP, _EM)
        if only_infinite:
            counts[:2] = 0
        parts = []
        for kind, count in zip(("missing", "NaN", "infinite"), counts, strict=True):
            for n, d in enumerate(np.flatnonzero(count).tolist()):
                noun = "" if n else f" {kind} cell{'s' if count[d] > 1 else ''}"
                parts.append(f"{count[d]}{noun} in {printable(names[d])}")
        more = len(parts) - _SHOWN
        words = ", ".join(parts[:_SHOWN]) + (f" and {more} more such" if more > 0 else "")
        return words, remedies if parts else ()

    def numbers(self, names: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Columns of all rows in tables, and as arrays (D, B)."""
        for table in in_turn([partial(reader.numbers, names) for reader in self.readers], self.at_a_time):
            yield table, float_columns(table, names)


class _Run(NamedTuple):
    """Pieces of a file that are read here: their indices and sizes, and the size of all pieces before them."""

    reader: Reader
    indices: range
    size: Piece
    before: Piece


@dataclass(eq=False)
class SourceBlocks:
    """Numbers of a source as blocks; every iteration reads the source again and gives the same blocks.

    A row group of a Parquet file, or a file of another format, is cut into blocks of `block_rows` rows of its reader.
    With missing="drop" a block lacks the dropped rows; a block without rows is skipped, and its number is not used
    again. Row numbers count all rows. share: the part of the data that is read here; its blocks have the same numbers
    as in a reading of all data.

    columns, weights: their names. rows_read, rows_dropped: rows of the share in the last complete iteration, 0 before
    it. An iteration raises InputError for bad cells, with their number in each column over the whole data, and for
    negative weights. If the share is all of the data, it also raises for weights that are all zero and for data
    without a row left.
    """

    sources: Files
    columns: tuple[str, ...]
    weights: str | None
    missing: Missing
    share: Share
    rows_read: int = field(default=0, init=False)
    rows_dropped: int = field(default=0, init=False)
    _complete: bool = field(default=False, init=False)  # whether an iteration has found no bad cell

    @property
    def rows(self) -> int:
        """Rows of all of the data, dropped ones included; nothing is read for it."""
        return sum(size.rows for size in map(total, self._pieces))

    @property
    def files(self) -> list[tuple[str, int, int]]:
        """Name, rows and bytes of every file; nothing is read for it."""
        sizes = map(total, self._pieces)
        return [(r.label, size.rows, size.bytes) for r, size in zip(self.sources.readers, sizes, strict=True)]

    @property
    def share_rows(self) -> int:
        """Rows of the share; nothing is read for it."""
        return sum(run.size.rows for run in self._runs)

    @property
    def bytes_per_reading(self) -> int:
        """About how many bytes an iteration reads: of a Parquet file compressed, of others the numbers in memory."""
        return sum(run.size.bytes for run in self._runs)

    def __iter__(self) -> Iterator[Block]:
        read = kept = 0
        total_weight, checked, complete = 0.0, self._complete, True
        tables = in_turn([partial(self._tables, run) for run in self._runs], self.sources.at_a_time)
        for index, first_row, table in tables:
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
        if self.share.is_all:  # else another share may have rows
            self.check_rows(read, kept, total_weight)

    def check_rows(self, read: int, kept: int, total_weight: float) -> None:
        """Raise InputError if the whole data has no rows to fit. read, kept: numbers of rows over all shares."""
        if not read:
            raise self.sources.no_rows()
        if not kept:
            raise self.sources.error("no rows left: each has a missing, NaN or infinite cell in the columns used")
        if total_weight == 0.0:
            raise self.sources.error(f"all weights in {printable(self.weights or '')} are 0")

    def _tables(self, run: _Run) -> Iterator[tuple[int, int, pa.Table]]:
        """Tables of a run, each with the numbers of its block and of its first row."""
        first_row = run.before.rows
        for index, table in enumerate(run.reader.numbers(self._names, run.indices), run.before.blocks):
            yield index, first_row, table
            first_row += table.num_rows

    @property
    def _names(self) -> tuple[str, ...]:
        return self.columns if self.weights is None else (*self.columns, self.weights)

    @cached_property
    def _pieces(self) -> list[Sequence[Piece]]:
        """Sizes of the pieces of each file."""
        return [reader.pieces(self._names) for reader in self.sources.readers]

    @cached_property
    def _runs(self) -> list[_Run]:
        """The share's pieces of each file that has any."""
        chosen = dict(self.share.of([[piece.bytes for piece in pieces] for pieces in self._pieces]))
        runs, before = [], total([])
        for file, (reader, pieces) in enumerate(zip(self.sources.readers, self._pieces, strict=True)):
            if indices := chosen.get(file):
                size = total(pieces[indices.start : indices.stop])
                runs.append(_Run(reader, indices, size, total([before, *pieces[: indices.start]])))
            before = total([before, *pieces])
        return runs

    def _block(
        self,
        index: int,
        first_row: int,
        cells: np.ndarray,  # (D, B) or, with weights, (D+1, B)
        finite: np.ndarray | None,  # mask of this shape, None if all are finite
    ) -> Block:
        dims = len(self.columns)
        observed = None
        if finite is not None:
            if self.missing == "drop":
                cells = cells[:, finite.all(axis=0)]
            elif self.missing == "keep" and not np.isinf(cells).any() and finite[dims:].all():
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
        """Error for the bad cells of the whole data, after one has been found."""
        problems: list[str] = []
        remedies: Sequence[Remedy] = ()
        if self.missing != "drop":
            problem, remedies = self.sources.bad_cells(self.columns, self.missing == "keep")
            problems.append(problem)
        if self.weights is not None:
            names = (self.weights,)
            if self.missing != "drop" and (problem := self.sources.bad_cells(names, False)[0]):
                problems.append(problem)
                remedies = (_DROP,)
            if negative := sum(int((cells < 0).sum()) for _, cells in self.sources.numbers(names)):
                problems.append(f"{negative} negative in weights column {printable(self.weights)}")
        return self.sources.error(", ".join(filter(None, problems)), remedies)


def _finite(cells: np.ndarray) -> np.ndarray | None:
    """Mask of finite cells, None if all are finite. The sum, which any other cell spoils, is the quicker test."""
    if bool(torch.from_numpy(cells).sum().isfinite()) or (finite := np.isfinite(cells)).all():
        return None
    return finite
