"""How the rows of a block are laid out for the pass: conditioned, features × rows, in the device's precision.

- `PreparedBlock`: rows that are laid out; `joined`, `gathered`: those of several blocks, of several processes.
- `Layout`: coordinates, precision and device. `LateBlock`, `Reread`: blocks that are laid out when they are worked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from gmmcli.families.affine import Affine
from gmmcli.passes.block import Block
from gmmcli.passes.group import Group
from gmmcli.passes.kernels.chunk import Unit
from gmmcli.passes.laying import lay_out, laying, put
from gmmcli.passes.survey import Survey
from gmmcli.passes.workers import fold_blocks

W = TypeVar("W", bound=Callable[[Any], None])


@dataclass(frozen=True)
class PreparedBlock:
    """Rows of one block in the coordinates of the fit.

    z: (1 + D, B), a row of ones first; of data with missing cells (1 + 2 D, B), the columns with 0 for a missing
    cell, then for each whether it is observed, 1 or 0. weights: (B,) in the survey's weight_unit, or None; rows: (B,)
    int64 global row numbers.
    """

    z: Tensor  # (1+D, B) or (1+2D, B)
    weights: Tensor | None  # (B,)
    rows: Tensor  # (B,)

    def laid_out(self) -> PreparedBlock:
        """Itself."""
        return self

    def take(self, index: Tensor) -> PreparedBlock:
        """The rows at these places of the block."""
        weights = None if self.weights is None else self.weights[index]
        return PreparedBlock(self.z[:, index], weights, self.rows[index])

    def part(self, rows: slice) -> PreparedBlock:
        """Some rows that follow one another, as a view."""
        return PreparedBlock(self.z[:, rows], None if self.weights is None else self.weights[rows], self.rows[rows])

    def split(self, rows: int) -> Iterator[PreparedBlock]:
        """The block as views of so many rows each, the last of what is left."""
        return (self.part(slice(first, first + rows)) for first in range(0, len(self.rows), rows))

    def empty(self, rows: int) -> PreparedBlock:
        """A block of the same kind for so many rows, still to be filled."""
        weights = None if self.weights is None else self.weights.new_empty(rows)
        return PreparedBlock(self.z.new_empty(len(self.z), rows), weights, self.rows.new_empty(rows))

    def put(self, places: Tensor | slice, other: PreparedBlock) -> None:
        """Writes another's rows over those at these places."""
        self.z[:, places] = other.z
        self.rows[places] = other.rows
        if self.weights is not None and other.weights is not None:
            self.weights[places] = other.weights

    def units(self, rows: int) -> Iterator[Unit]:
        """The same for a kernel."""
        return (Unit(part.z, part.weights) for part in self.split(rows))


@dataclass(frozen=True)
class LateBlock:
    """A block that was read and is still to be laid out."""

    block: Block
    layout: Layout

    def laid_out(self) -> PreparedBlock:
        """In the coordinates of the fit; perhaps without a row."""
        return self.layout(self.block)

    def units(self, rows: int) -> Iterator[Unit]:
        """As those of `laid_out`, for a kernel that lays out on the way."""
        unit = self.layout.unit(self.block)
        return (unit.part(slice(first, first + rows)) for first in range(0, unit.rows, rows))


@dataclass(frozen=True)
class Reread:
    """Blocks that are read anew whenever they are iterated."""

    blocks: Iterable[Block]
    layout: Layout

    def __iter__(self) -> Iterator[LateBlock]:
        return (LateBlock(block, self.layout) for block in self.blocks)

    def fold(self, new: Callable[[], W], threads: int) -> list[W]:
        """Workers made by `new`, when each block has been given to one of them; see `fold_blocks`."""
        return fold_blocks(new, self, threads)


@dataclass(frozen=True)
class Layout:
    """How a block is laid out: the coordinates of the fit, precision, device."""

    summary: Survey
    affine: Affine
    dtype: torch.dtype
    device: torch.device

    @property
    def features(self) -> int:
        """Numbers of a row in z."""
        return 1 + len(self.summary.mean) * (1 if self.summary.cells is None else 2)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that is kept."""
        return row_bytes(self.features, self.summary.weighted, self.dtype)

    def __call__(self, block: Block) -> PreparedBlock:
        """The block's rows that have a cell, and a weight that is something beside the heaviest."""
        unit, keep = self._counted(block)
        numbers = block.rows if keep is None else block.rows[keep]
        z = torch.empty(self.features, unit.rows, dtype=self.dtype)
        z[0] = 1
        slab = laying(self.affine)
        size = slab.centred.shape[1]
        for first in range(0, unit.rows, size):
            part = unit.part(slice(first, first + size))
            put(lay_out(part.numbers, slab), part.observed, z[:, first : first + size])
        weights = None if unit.weights is None else unit.weights.to(self.device)
        return PreparedBlock(z.to(self.device), weights, numbers.to(self.device))

    def unit(self, block: Block) -> Unit:
        """The same rows for a kernel, to be laid out by it, on a CPU; elsewhere laid out."""
        if self.device.type == "cpu":
            return self._counted(block)[0]
        rows = self(block)
        return Unit(rows.z, rows.weights)

    def _counted(self, block: Block) -> tuple[Unit, Tensor | None]:
        """The rows that are to be laid out, and which of the block's they are, None where all are."""
        cells, observed, weights = block.cells.mT, block.observed, None
        keep = None if observed is None else observed.any(1)
        if block.weights is not None:
            weights = (block.weights / self.summary.weight_unit).to(self.dtype)
            keep = weights > 0 if keep is None else keep & (weights > 0)
        observed = None if observed is None else observed.mT
        keep = None if keep is None or bool(keep.all()) else keep
        if keep is not None:
            cells = cells[:, keep]
            weights = None if weights is None else weights[keep]
            observed = None if observed is None else observed[:, keep]
        return Unit(cells, weights, observed), keep


def row_bytes(features: int, weighted: bool, dtype: torch.dtype) -> int:
    """Bytes of a row that is kept."""
    return (features + weighted) * dtype.itemsize + torch.int64.itemsize


def joined(blocks: Iterable[PreparedBlock]) -> PreparedBlock:
    """The rows of one block or more as one block."""
    parts = list(blocks)
    if len(parts) == 1:
        return parts[0]
    weights = [part.weights for part in parts if part.weights is not None]
    return PreparedBlock(
        torch.cat([part.z for part in parts], 1),
        torch.cat(weights) if weights else None,
        torch.cat([part.rows for part in parts]),
    )


def gathered(blocks: Iterable[PreparedBlock], group: Group, empty: PreparedBlock) -> PreparedBlock:
    """The rows of the blocks of all processes, in order, as one block."""
    own = joined([*blocks] or [empty])
    if group.size == 1:
        return own
    weights = None if own.weights is None else group.joined(own.weights)
    return PreparedBlock(group.joined(own.z.mT.contiguous()).mT.contiguous(), weights, group.joined(own.rows))
