"""The data as the pass wants it: conditioned, features × rows, in the device's precision.

Shift and scale are applied in float64 before any cast. Blocks are laid out once and kept, so that every later
pass reads contiguous memory and no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gmmcli.blocks import Block
from gmmcli.draws import row_uniforms
from gmmcli.families.base import Family
from gmmcli.families.coordinates import Affine
from gmmcli.fitting.statistics import FixedPoint
from gmmcli.fitting.survey import Survey
from gmmcli.fitting.workers import map_blocks


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

    def take(self, index: Tensor) -> PreparedBlock:
        """The rows at these places of the block."""
        weights = None if self.weights is None else self.weights[index]
        return PreparedBlock(self.z[:, index], weights, self.rows[index])

    def cut(self, rows: int) -> Iterator[PreparedBlock]:
        """The block as views of about so many rows each, as even as multiples of 64 rows can be."""
        count = self.z.shape[1]
        parts = max(1, round(count / rows))
        step = -(-count // (64 * parts)) * 64
        for first in range(0, count, step):
            part = slice(first, first + step)
            weights = None if self.weights is None else self.weights[part]
            yield PreparedBlock(self.z[:, part], weights, self.rows[part])


@dataclass
class PreparedData:
    """All rows of positive weight that have a cell, conditioned, but for those whose weight is nothing beside the
    heaviest row's.

    blocks: in the order of the data; affine: the coordinates of the fit; summary: of the data in original units;
    bound: upper bounds over all rows of the absolute values of a block's z; radius: of ‖z‖, of the D columns;
    log_ranges: (D,) numbers that add up to the log volume, in these coordinates, of the box of the data.
    """

    blocks: list[PreparedBlock]
    affine: Affine
    summary: Survey
    bound: Tensor  # (1+D,) or (1+2D,)
    radius: float
    log_ranges: Tensor  # (D,)
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
    def dtype(self) -> torch.dtype:
        """Precision of the pass."""
        return self.blocks[0].z.dtype

    @property
    def device(self) -> torch.device:
        """Where the pass runs."""
        return self.blocks[0].z.device

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

    def whole(self) -> PreparedBlock:
        """All rows as one block, for picking rows at random; the blocks become views of it, not copies."""
        if self._whole is None:
            sizes = [len(block.rows) for block in self.blocks]
            self._whole = _joined(self.blocks)
            parts = zip(self._whole.z.split(sizes, 1), self.blocks, strict=True)
            self.blocks = [PreparedBlock(z, block.weights, block.rows) for z, block in parts]
        return self._whole

    def sample(self, seed: int, share: float) -> PreparedData:
        """About this share of the rows, chosen by a hash of their numbers: a larger sample holds all smaller ones."""
        together = math.ceil(1 / share)  # blocks whose rows make one: small ones would cost more than their rows
        taken = []
        for first in range(0, len(self.blocks), together):
            parts = []
            for block in self.blocks[first : first + together]:
                chosen = row_uniforms(seed, "sample", block.rows.cpu()) < share
                parts.append(block.take(chosen.nonzero()[:, 0].to(block.z.device)))
            taken.append(_joined(parts))
        taken = [block for block in taken if len(block.rows)]
        rows = sum(len(block.rows) for block in taken)
        weights = [block.weights.double().sum() for block in taken if block.weights is not None]
        weight = float(sum(weights)) if weights else float(rows)
        summary = replace(self.summary, rows=rows, weight=weight * self.summary.weight_unit)
        return PreparedData(taken, self.affine, summary, self.bound, self.radius, self.log_ranges)

    def total_quads(
        self, family: Family, threads: int, reduce: Callable[[Tensor], Tensor] = lambda limbs: limbs
    ) -> Tensor:
        """Σ_n w_n quad(z_n) over all rows of all processes, (1, Q): a constant of the data, summed once."""
        if family.name not in self._quads:
            total = FixedPoint.zeros(self.weight * family.quad_bound(self.bound[: 1 + self.dims]))
            for part in map_blocks(lambda block: _block_quads(block, family, self.dims), self.blocks, threads):
                total.add_(part)
            self._quads[family.name] = total.reduced(reduce).decode()[None]
        return self._quads[family.name]


def prepare(
    blocks: Iterable[Block],
    summary: Survey,
    affine: Affine,
    *,
    dtype: torch.dtype,
    device: torch.device,
    threads: int,
) -> PreparedData:
    """Reads the data once and keeps it in the coordinates of `affine`."""

    dims, incomplete = len(summary.mean), summary.cells is not None

    def lay_out(block: Block) -> PreparedBlock | None:
        keep = torch.ones(len(block.x), dtype=torch.bool) if block.observed is None else block.observed.any(1)
        weights = None
        if block.weights is not None:
            weights = (block.weights / summary.weight_unit).to(dtype)
            keep &= weights > 0  # nor those that are nothing beside the heaviest
        x, observed, numbers = block.x, block.observed, block.rows
        if not bool(keep.all()):
            x, numbers = x[keep], numbers[keep]
            weights, observed = (None if t is None else t[keep] for t in (weights, observed))
        if not len(x):
            return None
        z = torch.empty(1 + (2 * dims if incomplete else dims), len(x), dtype=dtype)
        z[0] = 1
        inner = affine.inner(x).mT
        z[1 : 1 + dims] = inner if observed is None else torch.where(observed.mT, inner, 0)
        if incomplete:
            z[1 + dims :] = 1 if observed is None else observed.mT.to(dtype)
        return PreparedBlock(z.to(device), None if weights is None else weights.to(device), numbers.to(device))

    kept: Iterator[PreparedBlock | None] = map_blocks(lay_out, blocks, threads)
    reach = affine.inner_bound(summary.minimum, summary.maximum)
    ends = [reach.new_ones(1), reach * (1 + 1e-6)]  # the bound's own rounding
    bound = torch.cat([*ends, torch.ones_like(reach)] if incomplete else ends)
    by_row = sorted((block for block in kept if block is not None), key=lambda block: int(block.rows[0]))
    farthest = max(map_blocks(lambda block: float(block.z[1 : 1 + dims].square().sum(0).max()), by_row, threads))
    ranges = (summary.maximum - summary.minimum).log()
    ranges = ranges - (affine.log_det() / dims if affine.factor.ndim == 2 else affine.factor.log())
    data = PreparedData(by_row, affine, summary, bound, math.sqrt(farthest) * (1 + 1e-6), ranges)
    if device.type != "cpu":
        data.whole()  # few large launches in place of many small ones
        data.blocks = [data.whole()]
    return data


def _joined(blocks: Sequence[PreparedBlock]) -> PreparedBlock:
    weights = [block.weights for block in blocks if block.weights is not None]
    return PreparedBlock(
        torch.cat([block.z for block in blocks], 1),
        torch.cat(weights) if weights else None,
        torch.cat([block.rows for block in blocks]),
    )


def _block_quads(block: PreparedBlock, family: Family, dims: int) -> Tensor:
    total = torch.zeros(family.quad_size(dims), dtype=torch.float64)
    for first in range(0, block.z.shape[1], 4096):
        rows = slice(first, first + 4096)
        quads = family.quad(block.z[1 : 1 + dims, rows])
        if block.weights is not None:
            quads = quads * block.weights[rows]
        total += quads.sum(1).to("cpu", torch.float64)
    return total
