"""A block of rows, the unit in which data is read, worked and summed, and the cutting of tables into blocks.

`Share` is the part of the data that one of several processes reads.

Blocks are fixed by the data alone (file, row group, row number), never by who reads them, so that a sum over
blocks can be the same bits for any number of threads and processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BLOCK_ROWS = 1 << 16  # rows of a full block
BLOCK_NUMBERS = 1 << 23  # that it has at most, 64 MiB of float64, and so fewer rows of more than 128 columns
LEAST_ROWS = 1 << 10  # that it has all the same


def rows_of_block(columns: int, most: int = BLOCK_ROWS) -> int:
    """Rows of a full block of data of so many columns: a power of 2 where it is fewer than `most`."""
    return min(most, max(LEAST_ROWS, 1 << (BLOCK_NUMBERS // max(1, columns)).bit_length() >> 1))


@dataclass(frozen=True)
class Block:
    """Consecutive rows of the data.

    index: number of the block, from 0, in the order of the data.
    first_row: global row number of the first row; row numbers of different blocks never coincide.
    cells: (B, D) in original units, float64, or float32 where a file has them so; NaN where a cell is not observed.
    Of a file a view of (D, B).
    weights: (B,) float64 row weights, or None when every row weighs 1.
    observed: (B, D) bool, or None when every cell is observed.
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
        """(B, D) float64, the cells: themselves, where they are such."""
        return self.cells.double()

    @property
    def rows(self) -> Tensor:
        """(B,) int64 global row numbers."""
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
    """What one of several processes reads: the `part`-th, from 0, of `parts` runs of the data's pieces."""

    part: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.parts:
            raise ValueError(f"part {self.part} of {self.parts} parts: they count from 0")

    @property
    def is_all(self) -> bool:
        """Whether it is all of the data, whose want of rows is then known to be an error."""
        return self.parts == 1

    def among(self, sizes: Sequence[int]) -> range:
        """The places of this part's pieces among all, whose sizes these are; it may be empty.

        A piece is where its middle falls when all of them, one behind the other, are cut into parts of one length: so
        each is in exactly one part, and no part is larger than its length by more than one piece.
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
        """This part's pieces of each file that has any, by the sizes of every file's pieces: (file, places in it)."""
        chosen = self.among([size for sizes in files for size in sizes])
        runs, before = [], 0
        for file, sizes in enumerate(files):
            places = range(max(chosen.start - before, 0), min(chosen.stop - before, len(sizes)))
            if places:
                runs.append((file, places))
            before += len(sizes)
        return runs


@dataclass(frozen=True)
class TableBlocks:
    """The blocks of a table in memory; can be iterated again and again.

    x: (N, D) rows, weights: (N,) row weights or None; incomplete: whether a NaN is a cell that is not observed.
    """

    x: Tensor  # (N, D)
    weights: Tensor | None = None  # (N,)
    block_rows: int = 0  # 0: as a file of these columns has it
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
