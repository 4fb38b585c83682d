"""The data as the pass wants it: conditioned, features × rows, in the device's precision.

Shift and scale are applied in float64 before any cast. Where memory allows, blocks are laid out once and kept, so
that every later pass reads contiguous memory and no file; else they are read and laid out anew for each pass, by
the worker that passes over them. Both give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Generic, TypeVar

import torch
from torch import Tensor

from gmmcli.errors import UsageError
from gmmcli.families.affine import Affine
from gmmcli.families.base import Family
from gmmcli.passes.block import BLOCK_ROWS, Block
from gmmcli.passes.group import ALONE, Group
from gmmcli.passes.layout import LateBlock, Layout, PreparedBlock, Reread, gathered, joined
from gmmcli.passes.meter import Meter
from gmmcli.passes.sample import Kept, Look, chosen, farthest, kept_of
from gmmcli.passes.sums import FixedPoint
from gmmcli.passes.survey import Survey
from gmmcli.passes.workers import fold_blocks, map_blocks

R = TypeVar("R")
T = TypeVar("T")

SAMPLE_NUMBERS = 1 << 23  # rows × features of the largest sample: every process holds one of its own
SAMPLE_ROWS = 40_000  # that it has at least, however many features


@dataclass
class _Folding(Generic[R]):
    """A worker with a value that `add` goes on with, block by block."""

    add: Callable[[R, PreparedBlock], R]
    value: R

    def __call__(self, block: PreparedBlock | LateBlock) -> None:
        rows = block.laid_out()
        if len(rows.rows):
            self.value = self.add(self.value, rows)


@dataclass
class PreparedData:
    """All rows of positive weight that have a cell, conditioned, but for those whose weight is nothing beside the
    heaviest row's.

    blocks: those of this process, in the order of the data; none where rows are read anew, by `reread`; affine: the
    coordinates of the fit; summary: of the data of all processes, in original units; bound: upper bounds over all
    rows of the absolute values of a block's z; radius: of ‖z‖, of the D columns; log_ranges: (D,) numbers that add up
    to the log volume, in these coordinates, of the box of the data; dtype, device: of the pass; group: the processes;
    meter: sees the passes over rows that are kept; kept: of rows that are read anew, the largest sample.
    """

    blocks: list[PreparedBlock]
    affine: Affine
    summary: Survey
    bound: Tensor  # (1+D,) or (1+2D,)
    radius: float
    log_ranges: Tensor  # (D,)
    dtype: torch.dtype
    device: torch.device
    group: Group = ALONE
    meter: Meter | None = None
    reread: Reread | None = None
    kept: Kept | None = None
    _quads: dict[str, Tensor] = field(default_factory=dict)
    _whole: PreparedBlock | None = None

    @property
    def weight(self) -> float:
        """The total row weight, in the survey's weight_unit."""
        return self.summary.weight / self.summary.weight_unit

    @property
    def dims(self) -> int:
        """D."""
        inner = len(self.bound) - 1
        return inner // 2 if self.incomplete else inner

    @property
    def incomplete(self) -> bool:
        """Whether cells are missing; blocks then tell which."""
        return self.summary.cells is not None

    @property
    def log_volume(self) -> float:
        """How much more a mean log-likelihood is in the coordinates of the fit than in data units, nats per row."""
        if self.summary.cells is None:
            return self.affine.log_det()
        return float((self.summary.cells * self.affine.factor.log()).sum()) / self.summary.weight

    @property
    def log_box(self) -> float:
        """The log volume of the box of the data: that of the density of a uniform background is its negative."""
        return float(self.log_ranges.sum())

    def folded(self, new: Callable[[], R], add: Callable[[R, PreparedBlock], R], threads: int) -> list[R]:
        """What `add` makes, block by block, of a value that `new` begins: the values of up to `threads` workers.

        A worker is given some of the blocks of this process that have rows, which ones depends on timing.
        """
        if self.reread is None:
            workers = fold_blocks(lambda: _Folding(add, new()), self.blocks, threads)
        else:
            workers = self.reread.fold(lambda: _Folding(add, new()), threads)
        return [worker.value for worker in workers]

    def each(self, function: Callable[[PreparedBlock], R], threads: int) -> list[R]:
        """What `function` makes of every block of this process that has rows, in order; all of it is kept."""

        def add(found: list[tuple[int, R]], block: PreparedBlock) -> list[tuple[int, R]]:
            found.append((int(block.rows[0]), function(block)))
            return found

        some: list[list[tuple[int, R]]] = self.folded(list, add, threads)
        return [answer for _, answer in sorted((one for found in some for one in found), key=lambda one: one[0])]

    def metered(self, work: Sequence[T], rows: Callable[[T], int]) -> Iterable[T]:
        """The parts of kept rows for one pass over all of them, of so many rows each, seen by the meter if any."""
        return work if self.meter is None or len(work) <= 1 else self.meter.over(work, rows)

    def whole(self) -> PreparedBlock:
        """All rows as one block, for picking rows at random; the blocks become views of it, not copies.

        Raises UsageError where that is impossible: rows that are read anew, or that other processes hold.
        """
        if self.group.size > 1:
            raise UsageError("--batch-size: mini-batches are drawn by one process: leave it out under torchrun")
        if self.reread is not None:
            raise UsageError("--batch-size: mini-batches need all rows in memory: raise --memory, or leave it out")
        if self._whole is None:
            sizes = [len(block.rows) for block in self.blocks]
            self._whole = joined(self.blocks)
            parts = zip(self._whole.z.split(sizes, 1), self.blocks, strict=True)
            self.blocks = [PreparedBlock(z, block.weights, block.rows) for z, block in parts]
        return self._whole

    @property
    def largest_sample(self) -> int:
        """Rows, about, that a sample may be asked to have."""
        return largest_sample(len(self.bound))

    def sample(self, seed: int, share: float) -> PreparedData:
        """The rows of `chosen`, kept by every process and by it alone."""
        taken = self.chosen(seed, share)
        weight = float(len(taken.rows)) if taken.weights is None else float(taken.weights.double().sum())
        summary = replace(self.summary, rows=len(taken.rows), weight=weight * self.summary.weight_unit)
        blocks = [taken] if self.device.type != "cpu" else [*taken.split(BLOCK_ROWS)]
        own = {"reread": None, "kept": None, "meter": None, "group": ALONE, "_quads": {}, "_whole": None}
        return replace(self, blocks=blocks, summary=summary, **own)

    def chosen(self, seed: int, share: float) -> PreparedBlock:
        """About this share of the rows of all processes, at most `largest_sample`, in the order of the data.

        They are chosen by a hash of their numbers: a larger sample holds all smaller ones.
        """
        if self.reread is None:
            return gathered(chosen(self.blocks, seed, share), self.group, self.empty_block())
        assert self.kept is not None
        assert self.kept.seed == seed
        assert share <= self.kept.share
        return joined(chosen([self.kept.rows], seed, share))

    def empty_block(self) -> PreparedBlock:
        """A block without rows."""
        return PreparedBlock(
            torch.empty(len(self.bound), 0, dtype=self.dtype, device=self.device),
            torch.empty(0, dtype=self.dtype, device=self.device) if self.summary.weighted else None,
            torch.empty(0, dtype=torch.int64, device=self.device),
        )

    def total_quads(self, family: Family, threads: int) -> Tensor:
        """Σ_n w_n quad(z_n) over all rows of all processes, (1, Q): a constant of the data, summed once."""
        if family.name not in self._quads:
            total = FixedPoint.zeros(self.weight * family.quad_bound(self.bound[: 1 + self.dims]))
            parts = self.folded(
                total.empty, lambda part, block: part.add_(_block_quads(block, family, self.dims)), threads
            )
            total = reduce(FixedPoint.merge, parts, total)
            self._quads[family.name] = total.reduced(self.group.sum).decode()[None]
        return self._quads[family.name]


def prepare(
    blocks: Iterable[Block],
    summary: Survey,
    affine: Affine,
    *,
    dtype: torch.dtype,
    device: torch.device,
    threads: int,
    seed: int = 0,
    memory: float = math.inf,
    group: Group = ALONE,
    meter: Meter | None = None,
) -> PreparedData:
    """Reads the data once, and keeps it in the coordinates of `affine` where that takes no more than `memory` bytes.

    blocks: those of this process; seed: of the sample that is kept of rows that are read anew.
    """
    layout = Layout(summary, affine, dtype, device)
    reach = affine.inner_bound(summary.minimum, summary.maximum)
    ends = [reach.new_ones(1), reach * (1 + 1e-6)]  # the bound's own rounding
    bound = torch.cat([*ends, torch.ones_like(reach)] if summary.cells is not None else ends)
    ranges = (summary.maximum - summary.minimum).log()
    ranges = ranges - (affine.log_det() / len(reach) if affine.factor.ndim == 2 else affine.factor.log())
    data = PreparedData([], affine, summary, bound, 0.0, ranges, dtype, device, group, meter)
    too_many = not fits(summary.own_rows * layout.row_bytes, memory, dtype)
    if not bool(group.greatest(torch.tensor([too_many], dtype=torch.float64))):  # for all processes alike
        kept = (block for block in map_blocks(layout, blocks, threads) if len(block.rows))
        data.blocks = sorted(kept, key=lambda block: int(block.rows[0]))
        far = max(data.folded(lambda: 0.0, lambda far, block: max(far, farthest(block, data.dims)), threads))
        if device.type != "cpu" and data.blocks:
            data.blocks = [joined(data.blocks)]  # few large launches in place of many small ones
    else:
        data.reread = Reread(blocks, layout)
        share = min(1.0, data.largest_sample / summary.rows)
        looks = data.reread.fold(lambda: Look(seed, share, data.dims), threads)
        far, data.kept = max(look.farthest for look in looks), kept_of(looks, seed, share, group, data.empty_block())
    data.radius = math.sqrt(float(group.greatest(torch.tensor([far], dtype=torch.float64)))) * (1 + 1e-6)
    return data


def fits(needed: int, memory: float, dtype: torch.dtype) -> bool:
    """Whether rows that take so many bytes are kept: no fewer than a sample would take are worth reading anew."""
    return needed <= max(memory, SAMPLE_NUMBERS * dtype.itemsize)


def largest_sample(features: int) -> int:
    """Rows, about, that a sample of so many features may be asked to have."""
    return max(SAMPLE_ROWS, SAMPLE_NUMBERS // features)


def _block_quads(block: PreparedBlock, family: Family, dims: int) -> Tensor:
    total = torch.zeros(family.quad_size(dims), dtype=torch.float64)
    for first in range(0, block.z.shape[1], 4096):
        rows = slice(first, first + 4096)
        quads = family.quad(block.z[1 : 1 + dims, rows])
        if block.weights is not None:
            quads = quads * block.weights[rows]
        total += quads.sum(1).to("cpu", torch.float64)
    return total
