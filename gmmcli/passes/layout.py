"""Layout of rows for a pass: in the coordinates of the fit, features × rows, in the device's precision.

- `PreparedBlock`: rows that are laid out. `joined`, `gathered`: the rows of several blocks, of several processes.
- `Layout`: coordinates, precision and device. `LateBlock`: a block that a kernel lays out chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.families.linear import Affine
from gmmcli.passes.block import Block
from gmmcli.passes.execution import Group
from gmmcli.passes.kernels.chunk import Unit
from gmmcli.passes.laying import lay_out, laying, put
from gmmcli.passes.survey import Survey


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

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def affine(self) -> None:
        """None: the units are laid out already."""

    @property
    def first_row(self) -> int:
        """Global number of the first row."""
        return int(self.rows[0])

    def laid_out(self) -> PreparedBlock:
        """The block itself, which is laid out already."""
        return self

    def take(self, index: Tensor) -> PreparedBlock:
        """The rows with these indices."""
        weights = None if self.weights is None else self.weights[index]
        return PreparedBlock(self.z[:, index], weights, self.rows[index])

    def part(self, rows: slice) -> PreparedBlock:
        """Consecutive rows, as a view."""
        return PreparedBlock(self.z[:, rows], None if self.weights is None else self.weights[rows], self.rows[rows])

    def split(self, rows: int) -> Iterator[PreparedBlock]:
        """The block in views of so many rows; the last may have fewer."""
        return (self.part(slice(first, first + rows)) for first in range(0, len(self), rows))

    def empty(self, rows: int) -> PreparedBlock:
        """An uninitialised block of the same kind for so many rows."""
        weights = None if self.weights is None else self.weights.new_empty(rows)
        return PreparedBlock(self.z.new_empty(len(self.z), rows), weights, self.rows.new_empty(rows))

    def put(self, index: Tensor | slice, other: PreparedBlock) -> None:
        """Writes the rows of another block over the rows with these indices."""
        self.z[:, index] = other.z
        self.rows[index] = other.rows
        if self.weights is not None and other.weights is not None:
            self.weights[index] = other.weights

    def units(self, rows: int) -> Iterator[Unit]:
        """Units of so many rows, for a kernel."""
        return (Unit(part.z, part.weights) for part in self.split(rows))


@dataclass(frozen=True)
class LateBlock:
    """A block that has been read and has not been laid out."""

    block: Block
    layout: Layout

    @property
    def affine(self) -> Affine | None:
        """The coordinates in which a kernel lays out the units; None on a device, where `units` lays them out."""
        return self.layout.affine if self.layout.device.type == "cpu" else None

    def laid_out(self) -> PreparedBlock:
        """The block in the coordinates of the fit. It may have no rows."""
        return self.layout(self.block)

    def units(self, rows: int) -> Iterator[Unit]:
        """Units of so many rows, for a kernel, which lays them out chunk by chunk."""
        unit = self.layout.unit(self.block)
        return (unit.part(slice(first, first + rows)) for first in range(0, unit.rows, rows))


@dataclass(frozen=True, eq=False)
class Layout:
    """The coordinates of the fit, precision and device in which blocks are laid out."""

    summary: Survey
    affine: Affine
    dtype: torch.dtype
    device: torch.device

    @property
    def features(self) -> int:
        """Rows of z: numbers that a row of the data takes."""
        return 1 + len(self.summary.mean) * (1 if self.summary.cells is None else 2)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that is held in memory."""
        return row_bytes(self.features, self.summary.weighted, self.dtype)

    def __call__(self, block: Block) -> PreparedBlock:
        """The block's usable rows, laid out. Rows whose weight is 0 in the pass's precision are dropped."""
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

    def late(self, block: Block) -> LateBlock:
        """The block, to be laid out by the fold that is given it."""
        return LateBlock(block, self)

    def unit(self, block: Block) -> Unit:
        """The rows to lay out, for a kernel. On a CPU the kernel lays them out; elsewhere they are laid out here."""
        if self.device.type == "cpu":
            return self._counted(block)[0]
        rows = self(block)
        return Unit(rows.z, rows.weights)

    def _counted(self, block: Block) -> tuple[Unit, Tensor | None]:
        """The rows to lay out and their mask in the block; None if it is all rows."""
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
    """Bytes of a row that is held in memory."""
    return (features + weighted) * dtype.itemsize + torch.int64.itemsize


def joined(blocks: Iterable[PreparedBlock]) -> PreparedBlock:
    """The rows of one or more blocks as one block."""
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
    """The rows of the blocks of all processes as one block, in the order of the processes."""
    own = joined([*blocks] or [empty])
    if group.size == 1:
        return own
    weights = None if own.weights is None else group.joined(own.weights)
    return PreparedBlock(group.joined(own.z.mT.contiguous()).mT.contiguous(), weights, group.joined(own.rows))
