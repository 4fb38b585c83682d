"""A sample of rows, chosen by a hash of their numbers: a larger sample contains all smaller ones.

- `chosen`: the rows of a block that are in the sample. `Sample`: the fold that takes a sample as rows go by.
- `Radius`: the fold that finds the greatest ‖z‖.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.group import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock, gathered

SLAB_ROWS = 1 << 16


def chosen(block: PreparedBlock, seed: int, share: float) -> PreparedBlock:
    """The rows of a block whose hash is below the share."""
    mask = row_uniforms(seed, "sample", block.rows.cpu()) < share
    return block.take(mask.nonzero()[:, 0].to(block.z.device))


class Sample:
    """Fold: the rows of all processes whose hash for this seed is below `share`, in order of their numbers.

    The rows lie in slabs. As one small tensor per block, among the large ones that come and go, they would fragment
    the memory: 1 GB for a sample of 80 MB. empty: a block without rows.
    """

    def __init__(self, seed: int, share: float, empty: PreparedBlock) -> None:
        self._seed, self._share, self._empty = seed, share, empty
        self._slabs: list[PreparedBlock] = []
        self._free = 0  # rows that are free in the last slab

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        rows = chosen(block.laid_out(), self._seed, self._share)
        while count := len(rows):
            if not self._free:
                self._slabs.append(rows.empty(SLAB_ROWS))
                self._free = SLAB_ROWS
            first = SLAB_ROWS - self._free
            count = min(count, self._free)
            self._slabs[-1].put(slice(first, first + count), rows.part(slice(0, count)))
            self._free -= count
            rows = rows.part(slice(count, None))

    def merge(self, other: Sample) -> None:
        """Takes in the rows of another fold."""
        self._slabs, self._free = [*self._filled(), *other._filled()], 0

    def _filled(self) -> Iterator[PreparedBlock]:
        last = len(self._slabs) - 1
        for i, slab in enumerate(self._slabs):
            yield slab if i < last else slab.part(slice(0, SLAB_ROWS - self._free))

    def result(self, group: Group) -> PreparedBlock:
        """The sample as one block. The fold is then empty: slabs are freed one by one as they are copied."""
        slabs = [*self._filled()]
        self._slabs.clear()
        own = self._empty.empty(sum(len(slab) for slab in slabs))
        ranks = torch.cat([self._empty.rows, *(slab.rows for slab in slabs)]).argsort().argsort()
        while slabs:
            slab = slabs.pop()
            ranks, index = ranks.split([len(ranks) - len(slab), len(slab)])
            own.put(index, slab)
            del slab
        return gathered([own], group, self._empty)


class Radius:
    """Fold: the greatest ‖z‖ over the rows of all processes. dims: D, the number of columns."""

    def __init__(self, dims: int) -> None:
        self._dims = dims
        self._square = 0.0

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        rows = block.laid_out()
        if len(rows):
            self._square = max(self._square, float(rows.z[1 : 1 + self._dims].square().sum(0).max()))

    def merge(self, other: Radius) -> None:
        """Takes in the rows of another fold."""
        self._square = max(self._square, other._square)

    def result(self, group: Group) -> float:
        """The greatest ‖z‖."""
        return math.sqrt(float(group.greatest(torch.tensor([self._square], dtype=torch.float64))))
