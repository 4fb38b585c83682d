"""The numbers of a source as blocks: `SourceBlocks`, and `count_bad`, which tells why some cells cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from gmmcli.blocks import Block
from gmmcli.data.ahead import in_turn, together
from gmmcli.data.bad_cells import BadCells
from gmmcli.data.numbers import float_table
from gmmcli.data.reader import Reader
from gmmcli.errors import InputError
from gmmcli.names import printable

Missing = Literal["error", "drop", "keep"]


class SourceBlocks:
    """The numbers of a source as blocks; every iteration reads the source again and gives the same blocks.

    A block is a row group of a Parquet file, or a file of another format, cut every `block_rows` rows. With
    missing="drop" it lacks the rows dropped; a block without rows is skipped, its number stays. Row numbers
    count all rows.

    rows_read, rows_dropped: of the last complete iteration, 0 before. An iteration raises InputError for bad
    cells, with their number in each column over the whole data, for weights that are negative or all zero,
    and when no row is left.
    """

    def __init__(
        self, readers: Sequence[Reader], label: str, columns: tuple[str, ...], weights: str | None, missing: Missing
    ) -> None:
        self._readers = readers
        self._label = label
        self._columns = columns
        self._weights = weights
        self._missing = missing
        self._names = (*columns, weights) if weights is not None else columns
        self.rows_read = 0
        self.rows_dropped = 0

    def __iter__(self) -> Iterator[Block]:
        first_row = kept = 0
        total_weight = 0.0
        for index, table in enumerate(_tables(self._readers, self._names)):
            block = self._block(index, first_row, float_table(table, self._names))
            first_row += table.num_rows
            if len(block.x):
                kept += len(block.x)
                total_weight += len(block.x) if block.weights is None else block.weights.sum().item()
                yield block
        self.rows_read = first_row
        self.rows_dropped = first_row - kept
        label = self._label
        if not first_row:
            raise no_rows(label)
        if not kept:
            raise InputError(f"{label}: no rows left: each has a missing, NaN or infinite cell in the columns used")
        if total_weight == 0.0:
            raise InputError(f"{label}: all weights in {printable(self._weights or '')} are 0")

    def _block(self, index: int, first_row: int, cells: np.ndarray) -> Block:
        finite = np.isfinite(cells)
        observed = None
        if not finite.all():
            if self._missing == "drop":
                cells = cells[finite.all(axis=1)]
            elif self._missing == "keep" and not np.isinf(cells).any() and finite[:, len(self._columns) :].all():
                observed = torch.from_numpy(np.ascontiguousarray(finite[:, : len(self._columns)]))
            else:
                raise self._complaint()
        weights = None
        if self._weights is not None:
            if (cells[:, -1] < 0).any():
                raise self._complaint()
            weights = torch.from_numpy(cells[:, -1].copy())
            cells = np.ascontiguousarray(cells[:, :-1])
        return Block(index, first_row, torch.from_numpy(cells), weights, observed)

    def _complaint(self) -> InputError:
        """The error for the bad cells of the whole data; some block has been found to have one."""
        parts, remedy = [], ""
        bad = count_bad(self._readers, self._columns)
        if self._missing != "drop" and (message := bad.message(unobserved=self._missing == "error")):
            parts.append(message)
            remedy = bad.remedy
        if self._weights is not None:
            weights = count_bad(self._readers, (self._weights,))
            if self._missing != "drop" and (message := weights.message()):
                parts.append(message)
                remedy = "use --missing drop"
            if weights.negative[0]:
                parts.append(f"{weights.negative[0]} negative in weights column {printable(self._weights)}")
        return InputError(": ".join(filter(None, [self._label, ", ".join(parts), remedy])))


def no_rows(label: str) -> InputError:
    """The error for data without a row."""
    return InputError(f"{label}: no rows: give data with rows, or --no-header where the first line of text is one")


def count_bad(readers: Sequence[Reader], columns: tuple[str, ...]) -> BadCells:
    """The bad cells of the columns over all files."""
    bad = BadCells(columns)
    for table in _tables(readers, columns):
        bad.add(table, float_table(table, columns))
    return bad


def _tables(readers: Sequence[Reader], columns: tuple[str, ...]) -> Iterator[pa.Table]:
    return in_turn([partial(reader.numbers, columns) for reader in readers], together(readers))
