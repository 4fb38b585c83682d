"""All rows of a fit in its coordinates, features × rows, in the device's precision.

Shift and scale are applied in float64 before any cast. If memory allows, blocks are laid out once and held, so that
later passes read contiguous memory and no file. Otherwise every pass reads the blocks again and lays them out. Both
ways have the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from gmmcli.errors import Option, Remedy, UsageError
from gmmcli.families.base import Family
from gmmcli.families.linear import Affine
from gmmcli.passes.block import BLOCK_ROWS, Block
from gmmcli.passes.draws import Sample, chosen
from gmmcli.passes.execution import ALONE, Group, Meter
from gmmcli.passes.layout import LateBlock, Layout, PreparedBlock, joined
from gmmcli.passes.reading import Collected, Fold, Reading, Task, read, read_all
from gmmcli.passes.sums import Sums
from gmmcli.passes.survey import Survey

R = TypeVar("R")
SAMPLE_NUMBERS = 1 << 23  # rows × features of the largest sample; every process holds one
SAMPLE_ROWS = 40_000  # least size of the largest sample, whatever the number of features


@dataclass
class PreparedData:
    """All usable rows in the coordinates of the fit. Rows of negligible weight are dropped.

    blocks: those of this process, in the order of the data. They are laid out, or are Blocks that `layout` lays out
    in every pass. affine: the coordinates of the fit. summary: survey of the data of all processes, in original
    units. bound: upper bounds over all rows of the absolute values of a block's z. radius: upper bound of ‖z‖ over
    the D columns. log_ranges: (D,) numbers whose sum is the log volume of the data's box in these coordinates. dtype,
    device: of the pass. group: the processes that hold the rows between them. meter: sees the passes over rows that
    are held. layout: None if rows are held. largest: the largest sample if they are not.
    """

    blocks: Iterable[Any]
    affine: Affine
    summary: Survey
    bound: Tensor  # (1+D,) or (1+2D,)
    radius: float
    log_ranges: Tensor  # (D,)
    dtype: torch.dtype
    device: torch.device
    group: Group = ALONE
    meter: Meter | None = None
    layout: Layout | None = None
    largest: PreparedBlock | None = None
    _quads: dict[str, Tensor] = field(default_factory=dict)
    _whole: PreparedBlock | None = None

    @property
    def held(self) -> list[PreparedBlock]:
        """The blocks of rows that are held."""
        assert self.layout is None
        return self.blocks  # type: ignore[return-value]

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
        """Whether cells are missing. Blocks then hold a mask."""
        return self.summary.cells is not None

    @property
    def log_volume(self) -> float:
        """Mean log-likelihood in the coordinates of the fit less that in data units, nats per row."""
        if self.summary.cells is None:
            return self.affine.log_det()
        return float((self.summary.cells * self.affine.factor.log()).sum()) / self.summary.weight

    @property
    def log_box(self) -> float:
        """Log volume of the data's box. The log density of a uniform background is its negative."""
        return float(self.log_ranges.sum())

    def reading(self, new: Callable[[], Fold[R]]) -> Reading[R]:
        """A reading of all rows of this process. The meter counts rows that are read again."""
        return Reading(new, self.blocks, self.layout, self.group, None if self.layout is None else self.meter)

    def whole(self) -> PreparedBlock:
        """All rows as one block, for picking rows at random. The blocks become views of it, not copies.

        Raises UsageError where that is impossible: rows that are read again, or that other processes hold.
        """
        if self.group.size > 1:
            raise UsageError(
                "mini-batches are drawn by one process",
                subject=Option("batch_size"),
                remedy=Remedy("leave out", "batch_size", purpose="under torchrun"),
            )
        if self.layout is not None:
            raise UsageError(
                "mini-batches need all rows in memory",
                subject=Option("batch_size"),
                remedy=(Remedy("raise", "memory"), Remedy("leave out", "batch_size")),
            )
        if self._whole is None:
            sizes = [len(block) for block in self.held]
            self._whole = joined(self.held)
            parts = zip(self._whole.z.split(sizes, 1), self.held, strict=True)
            self.blocks = [PreparedBlock(z, block.weights, block.rows) for z, block in parts]
        return self._whole

    @property
    def largest_sample(self) -> int:
        """Rows, about, of the largest sample that may be asked for."""
        return largest_sample(len(self.bound))

    def sample(self, seed: int, share: float) -> Task[PreparedData]:
        """The rows of `chosen` as data that this process alone holds."""
        rows = yield from self.chosen(seed, share)
        weight = float(len(rows)) if rows.weights is None else float(rows.weights.double().sum())
        summary = replace(self.summary, rows=len(rows), weight=weight * self.summary.weight_unit)
        blocks = [rows] if self.device.type != "cpu" else [*rows.split(BLOCK_ROWS)]
        own = {"layout": None, "largest": None, "meter": None, "group": ALONE, "_quads": {}, "_whole": None}
        return replace(self, blocks=blocks, summary=summary, **own)

    def chosen(self, seed: int, share: float) -> Task[PreparedBlock]:
        """About this share of the rows of all processes, at most `largest_sample`, in the order of the data.

        They are chosen by a hash of their numbers: a larger sample contains all smaller ones.
        """
        if self.largest is None:
            return (yield from read(self.reading(lambda: Sample(seed, share, self.empty_block()))))
        return chosen(self.largest, seed, share)

    def empty_block(self) -> PreparedBlock:
        """A block without rows."""
        return PreparedBlock(
            torch.empty(len(self.bound), 0, dtype=self.dtype, device=self.device),
            torch.empty(0, dtype=self.dtype, device=self.device) if self.summary.weighted else None,
            torch.empty(0, dtype=torch.int64, device=self.device),
        )

    def total_quads(self, family: Family) -> Task[Tensor]:
        """Σ_n w_n quad(z_n) over all rows of all processes, (1, Q): a constant of the data, summed once."""
        if family.name not in self._quads:
            bound = self.weight * family.quad_bound(self.bound[: 1 + self.dims])
            self._quads[family.name] = yield from read(self.reading(lambda: TotalQuads(family, self.dims, bound)))
        return self._quads[family.name]


class TotalQuads(Sums):
    """Fold: Σ_n w_n quad(z_n), (1, Q). bound: (Q,) upper bounds of its absolute values."""

    def __init__(self, family: Family, dims: int, bound: Tensor) -> None:
        super().__init__(bound)
        self._family, self._dims = family, dims

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        rows = block.laid_out()
        total = torch.zeros(self._family.form.size(self._dims), dtype=torch.float64)
        for part in rows.split(4096):
            quads = self._family.quad(part.z[1 : 1 + self._dims])
            if part.weights is not None:
                quads = quads * part.weights
            total += quads.sum(1).to("cpu", torch.float64)
        if len(rows):
            self._total.add_(total)

    def result(self, group: Group) -> Tensor:
        """The sums over all processes. Raises NumericalError where one is not finite."""
        return self.over(group)[None]


def prepare(
    blocks: Iterable[Block],
    summary: Survey,
    affine: Affine,
    *,
    dtype: torch.dtype,
    device: torch.device,
    seed: int = 0,
    memory: float = math.inf,
    group: Group = ALONE,
    meter: Meter | None = None,
) -> Task[PreparedData]:
    """Reads the data once, and holds it in the coordinates of `affine` if it takes at most `memory` bytes.

    blocks: those of this process. seed: of the sample that is held of rows that are read again.
    """
    layout = Layout(summary, affine, dtype, device)
    reach = affine.inner_bound(summary.minimum, summary.maximum)
    ends = [reach.new_ones(1), reach * (1 + 1e-6)]  # the bound's own rounding
    bound = torch.cat([*ends, torch.ones_like(reach)] if summary.cells is not None else ends)
    ranges = (summary.maximum - summary.minimum).log()
    ranges = ranges - (affine.log_det() / len(reach) if affine.factor.ndim == 2 else affine.factor.log())
    data = PreparedData(blocks, affine, summary, bound, 0.0, ranges, dtype, device, group, meter, layout)
    too_many = not fits(summary.own_rows * layout.row_bytes, memory, dtype)
    squares = data.reading(lambda: Collected(lambda rows: float(rows.z[1 : 1 + data.dims].square().sum(0).max())))
    if bool(group.greatest(torch.tensor([too_many], dtype=torch.float64))):  # for all processes alike
        share = min(1.0, data.largest_sample / summary.rows)
        sample = data.reading(lambda: Sample(seed, share, data.empty_block()))
        found, data.largest = yield from read_all([squares, sample])
    else:
        found, held = yield from read_all([squares, data.reading(lambda: Collected(lambda rows: rows))])
        data.blocks, data.layout = held, None
        if device.type != "cpu" and held:
            data.blocks = [joined(held)]  # few large launches instead of many small ones
    greatest = group.greatest(torch.tensor([max(found, default=0.0)], dtype=torch.float64))
    data.radius = math.sqrt(float(greatest)) * (1 + 1e-6)
    return data


def fits(needed: int, memory: float, dtype: torch.dtype) -> bool:
    """Whether rows of so many bytes are held in memory. Those that take no more than a sample always are."""
    return needed <= max(memory, SAMPLE_NUMBERS * dtype.itemsize)


def largest_sample(features: int) -> int:
    """Rows, about, of the largest sample of so many features."""
    return max(SAMPLE_ROWS, SAMPLE_NUMBERS // features)
