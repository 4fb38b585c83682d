"""Blocks of rows, the unit in which data is read and summed, and the cutting of tables into blocks.

- `Block`, `TableBlocks`. `Share`: the part of the data that one of several processes reads.

Blocks are fixed by the data alone (file, row group, row number), never by who reads them. So a sum over blocks can
have the same bits for any number of threads and processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BLOCK_ROWS = 1 << 16  # rows of a full block
BLOCK_NUMBERS = 1 << 23  # most numbers of a block, 64 MiB of float64: with more than 128 columns it has fewer rows
LEAST_ROWS = 1 << 10  # least rows of a full block, however many columns


def rows_of_block(columns: int, most: int = BLOCK_ROWS) -> int:
    """Rows of a full block with so many columns: `most`, or a smaller power of 2."""
    return min(most, max(LEAST_ROWS, 1 << (BLOCK_NUMBERS // max(1, columns)).bit_length() >> 1))


@dataclass(frozen=True)
class Block:
    """Consecutive rows of the data.

    index: number of the block, from 0, in the order of the data. first_row: global row number of the first row; row
    numbers of different blocks never coincide. cells: (B, D) in original units, float64, or float32 if the file has
    them so; NaN if a cell is missing; a file's cells are a view of (D, B). weights: (B,) float64 row weights, or None
    if every row weighs 1. observed: (B, D) bool, or None if every cell is observed.
    """

    index: int
    first_row: int
    cells: Tensor  # (B, D)
    weights: Tensor | None = None  # (B,)
    observed: Tensor | None = None  # (B, D)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def x(self) -> Tensor:
        """The cells (B, D) in float64, without a copy if they are float64."""
        return self.cells.double()

    @property
    def rows(self) -> Tensor:
        """Global row numbers, (B,) int64."""
        return torch.arange(self.first_row, self.first_row + len(self))

    def laid_out(self) -> Block:
        """The block itself: it is in no other layout."""
        return self

    def weighted(
        self,
        factors: Tensor,  # (B,)
    ) -> Block:
        """The block with every row's weight times a factor."""
        return replace(self, weights=factors if self.weights is None else self.weights * factors)


@dataclass(frozen=True)
class Share:
    """Share of one of several processes: the `part`-th, from 0, of `parts` runs of the data's pieces."""

    part: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.parts:
            raise ValueError(f"part {self.part} of {self.parts} parts: they count from 0")

    @property
    def is_all(self) -> bool:
        """Whether it is all of the data. Only then are missing rows known to be an error."""
        return self.parts == 1

    def among(self, sizes: Sequence[int]) -> range:
        """Indices of this part's pieces among all, given the sizes of all; the range may be empty.

        All pieces, end to end, are cut into parts of one length. A piece is in the part in which its middle lies. So
        each is in exactly one part, and no part exceeds its length by more than one piece.
        """
        sizes = sizes if any(sizes) else [1] * len(sizes)
        total, before, first, last = 2 * sum(sizes), 0, 0, 0
        for size in sizes:
            part = min((2 * before + size) * self.parts // total, self.parts - 1)
            first += part < self.part
            last += part <= self.part
            before += size
        return range(first, last)

    def of(self, files: Sequence[Sequence[int]]) -> list[tuple[int, range]]:
        """This part's pieces as (file, indices of its pieces), given the sizes of every file's pieces."""
        chosen = self.among([size for sizes in files for size in sizes])
        runs, before = [], 0
        for file, sizes in enumerate(files):
            pieces = range(max(chosen.start - before, 0), min(chosen.stop - before, len(sizes)))
            if pieces:
                runs.append((file, pieces))
            before += len(sizes)
        return runs


@dataclass(frozen=True)
class TableBlocks:
    """The blocks of a table in memory. They can be iterated any number of times.

    x: (N, D) rows. weights: (N,) row weights or None. block_rows: rows of a block; 0 is the number that a file would
    have. incomplete: whether a NaN is a missing cell.
    """

    x: Tensor  # (N, D)
    weights: Tensor | None = None  # (N,)
    block_rows: int = 0
    incomplete: bool = False

    def __len__(self) -> int:
        return -(-len(self.x) // self._rows)

    @property
    def _rows(self) -> int:
        return self.block_rows or rows_of_block(self.x.shape[1])

    def __iter__(self) -> Iterator[Block]:
        for index, first in enumerate(range(0, len(self.x), self._rows)):
            rows = slice(first, first + self._rows)
            x, weights = self.x[rows], None if self.weights is None else self.weights[rows]
            observed = ~x.isnan() if self.incomplete else None
            yield Block(index, first, x, weights, None if observed is None or bool(observed.all()) else observed)
