"""A block of rows, the unit in which data is read, worked and summed, and the cutting of tables into blocks.

Blocks are fixed by the data alone (file, row group, row number), never by who reads them, so that a sum over
blocks can be the same bits for any number of threads and processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BLOCK_ROWS = 1 << 16  # rows of a full block


@dataclass(frozen=True)
class Block:
    """Consecutive rows of the data.

    index: number of the block, from 0, in the order of the data.
    first_row: global row number of the first row; row numbers of different blocks never coincide.
    x: (B, D) float64, the cells in original units; NaN where a cell is not observed.
    weights: (B,) float64 row weights, or None when every row weighs 1.
    observed: (B, D) bool, or None when every cell is observed.
    """

    index: int
    first_row: int
    x: Tensor  # (B, D)
    weights: Tensor | None = None  # (B,)
    observed: Tensor | None = None  # (B, D)

    @property
    def rows(self) -> Tensor:
        """(B,) int64 global row numbers."""
        return torch.arange(self.first_row, self.first_row + len(self.x))

    def weighted(
        self,
        factors: Tensor,  # (B,)
    ) -> Block:
        """The block with every row's weight times a factor."""
        return replace(self, weights=factors if self.weights is None else self.weights * factors)


@dataclass(frozen=True)
class TableBlocks:
    """The blocks of a table in memory; can be iterated again and again.

    x: (N, D) rows, weights: (N,) row weights or None; incomplete: whether a NaN is a cell that is not observed.
    """

    x: Tensor  # (N, D)
    weights: Tensor | None = None  # (N,)
    block_rows: int = BLOCK_ROWS
    incomplete: bool = False

    def __len__(self) -> int:
        return -(-len(self.x) // self.block_rows)

    def __iter__(self) -> Iterator[Block]:
        for index, first in enumerate(range(0, len(self.x), self.block_rows)):
            rows = slice(first, first + self.block_rows)
            x, weights = self.x[rows], None if self.weights is None else self.weights[rows]
            observed = ~x.isnan() if self.incomplete else None
            yield Block(index, first, x, weights, None if observed is None or bool(observed.all()) else observed)
