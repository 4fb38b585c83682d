"""The data as the pass wants it: conditioned, features × rows, in the device's precision.

Shift and scale are applied in float64 before any cast. Where memory allows, blocks are laid out once and kept, so
that every later pass reads contiguous memory and no file; else they are read and laid out anew for each pass, by
the worker that passes over them. Both give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from gmmcli.blocks import BLOCK_ROWS, Block
from gmmcli.draws import row_uniforms
from gmmcli.errors import UsageError
from gmmcli.families.base import Family
from gmmcli.families.coordinates import Affine
from gmmcli.fitting.group import ALONE, Group
from gmmcli.fitting.meter import Meter
from gmmcli.fitting.statistics import FixedPoint
from gmmcli.fitting.survey import Survey
from gmmcli.fitting.workers import fold_blocks, map_blocks

R = TypeVar("R")
T = TypeVar("T")
W = TypeVar("W", bound=Callable[[Any], None])

SAMPLE_NUMBERS = 1 << 23  # rows × features of the largest sample: every process holds one of its own
SAMPLE_ROWS = 40_000  # that it has at least, however many features


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

    def split(self, rows: int) -> Iterator[PreparedBlock]:
        """The block as views of so many rows each, the last of what is left."""
        for first in range(0, len(self.rows), rows):
            part = slice(first, first + rows)
            weights = None if self.weights is None else self.weights[part]
            yield PreparedBlock(self.z[:, part], weights, self.rows[part])

    def cut(self, rows: int) -> Iterator[PreparedBlock]:
        """The block as views of about so many rows each, as even as multiples of 64 rows can be.

        What has been cut is not cut again by the same number of rows.
        """
        count = self.z.shape[1]
        parts = max(1, round(count / rows))
        return self.split(max(1, -(-count // (64 * parts)) * 64))


@dataclass(frozen=True)
class LateBlock:
    """A block that was read and is still to be laid out."""

    block: Block
    layout: Layout

    def laid_out(self) -> PreparedBlock:
        """In the coordinates of the fit; perhaps without a row."""
        return self.layout(self.block)


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


@dataclass
class _Found(Generic[R]):
    """A worker that keeps what a function makes of its blocks, with the number of their first row."""

    function: Callable[[PreparedBlock], R]
    found: list[tuple[int, R]] = field(default_factory=list)

    def __call__(self, block: LateBlock) -> None:
        rows = block.laid_out()
        if len(rows.rows):
            self.found.append((int(rows.rows[0]), self.function(rows)))


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
        x, observed, numbers, weights = block.x, block.observed, block.rows, None
        keep = None if observed is None else observed.any(1)
        if block.weights is not None:
            weights = (block.weights / self.summary.weight_unit).to(self.dtype)
            keep = weights > 0 if keep is None else keep & (weights > 0)
        if keep is not None and not bool(keep.all()):
            x, numbers = x[keep], numbers[keep]
            weights, observed = (None if t is None else t[keep] for t in (weights, observed))
        dims = x.shape[1]
        z = torch.empty(self.features, len(x), dtype=self.dtype)
        z[0] = 1
        held = x.mT.contiguous()  # the same bits however the block is held
        if observed is None and self.dtype == torch.float64:
            self.affine.inner_columns(held, out=z[1 : 1 + dims])
        else:
            inner = self.affine.inner_columns(held)
            z[1 : 1 + dims] = inner if observed is None else torch.where(observed.mT, inner, 0)
        if self.summary.cells is not None:
            z[1 + dims :] = 1 if observed is None else observed.mT.to(self.dtype)
        weights = None if weights is None else weights.to(self.device)
        return PreparedBlock(z.to(self.device), weights, numbers.to(self.device))


@dataclass(frozen=True)
class Kept:
    """The rows whose hash for this seed is below `share`, of all processes, in the order of the data."""

    seed: int
    share: float
    rows: PreparedBlock


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

    def each(self, function: Callable[[PreparedBlock], R], threads: int) -> Iterator[R]:
        """What `function` makes of every block of this process that has rows, in order, by `threads` workers."""

        if self.reread is None:
            return map_blocks(function, self.blocks, threads)
        workers = self.reread.fold(lambda: _Found(function), threads)
        found = sorted((one for worker in workers for one in worker.found), key=lambda one: one[0])
        return (answer for _, answer in found)

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
            return gathered(_chosen(self.blocks, seed, share), self.group, self.empty_block())
        assert self.kept is not None
        assert self.kept.seed == seed
        assert share <= self.kept.share
        return joined(_chosen([self.kept.rows], seed, share))

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
            for part in self.each(lambda block: _block_quads(block, family, self.dims), threads):
                total.add_(part)
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
        farthest = max(data.each(lambda block: _farthest(block, data.dims), threads), default=0.0)
        if device.type != "cpu" and data.blocks:
            data.blocks = [joined(data.blocks)]  # few large launches in place of many small ones
    else:
        data.reread = Reread(blocks, layout)
        share = min(1.0, data.largest_sample / summary.rows)
        looked = data.each(lambda block: (_farthest(block, data.dims), next(_chosen([block], seed, share))), threads)
        far, chosen = zip(*looked, strict=True) if summary.own_rows else ((0.0,), ())
        farthest, data.kept = max(far), Kept(seed, share, gathered(chosen, group, data.empty_block()))
    data.radius = math.sqrt(float(group.greatest(torch.tensor([farthest], dtype=torch.float64)))) * (1 + 1e-6)
    return data


def row_bytes(features: int, weighted: bool, dtype: torch.dtype) -> int:
    """Bytes of a row that is kept."""
    return (features + weighted) * dtype.itemsize + torch.int64.itemsize


def fits(needed: int, memory: float, dtype: torch.dtype) -> bool:
    """Whether rows that take so many bytes are kept: no fewer than a sample would take are worth reading anew."""
    return needed <= max(memory, SAMPLE_NUMBERS * dtype.itemsize)


def largest_sample(features: int) -> int:
    """Rows, about, that a sample of so many features may be asked to have."""
    return max(SAMPLE_ROWS, SAMPLE_NUMBERS // features)


def joined(blocks: Iterable[PreparedBlock]) -> PreparedBlock:
    """The rows of one block or more as one block."""
    parts = list(blocks)
    weights = [part.weights for part in parts if part.weights is not None]
    return PreparedBlock(
        torch.cat([part.z for part in parts], 1),
        torch.cat(weights) if weights else None,
        torch.cat([part.rows for part in parts]),
    )


def gathered(blocks: Iterable[PreparedBlock], group: Group, empty: PreparedBlock) -> PreparedBlock:
    """The rows of the blocks of all processes, in order, as one block."""
    own = joined([empty, *blocks])
    if group.size == 1:
        return own
    weights = None if own.weights is None else group.joined(own.weights)
    return PreparedBlock(group.joined(own.z.mT.contiguous()).mT.contiguous(), weights, group.joined(own.rows))


def _chosen(blocks: Iterable[PreparedBlock], seed: int, share: float) -> Iterator[PreparedBlock]:
    """Of each block the rows whose hash is below the share."""
    for block in blocks:
        chosen = row_uniforms(seed, "sample", block.rows.cpu()) < share
        yield block.take(chosen.nonzero()[:, 0].to(block.z.device))


def _farthest(block: PreparedBlock, dims: int) -> float:
    """The greatest ‖z‖², of the D columns."""
    return float(block.z[1 : 1 + dims].square().sum(0).max())


def _block_quads(block: PreparedBlock, family: Family, dims: int) -> Tensor:
    total = torch.zeros(family.quad_size(dims), dtype=torch.float64)
    for first in range(0, block.z.shape[1], 4096):
        rows = slice(first, first + 4096)
        quads = family.quad(block.z[1 : 1 + dims, rows])
        if block.weights is not None:
            quads = quads * block.weights[rows]
        total += quads.sum(1).to("cpu", torch.float64)
    return total
