"""A sample of rows, chosen by a hash of their numbers: a larger sample holds all smaller ones.

- `chosen`: of blocks that are laid out. `Kept`: the largest sample that rows which are read anew may be asked for.
- `Look`: a worker that takes that sample as the rows go by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.group import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock, gathered

SLAB_ROWS = 1 << 16


@dataclass(frozen=True)
class Kept:
    """The rows whose hash for this seed is below `share`, of all processes, in the order of the data."""

    seed: int
    share: float
    rows: PreparedBlock


class Look:
    """Sees what a pass has to know of rows that are read anew: the greatest ‖z‖², of the D columns, and a sample.

    The sample lies in slabs of many rows. As a small tensor of every block, among the large ones that come and go, it
    would leave the memory between in pieces that nothing fits: 1 GB of it for a sample of 80 MB.
    """

    def __init__(self, seed: int, share: float, dims: int) -> None:
        self.farthest = 0.0
        self.slabs: list[PreparedBlock] = []
        self._seed, self._share, self._dims = seed, share, dims
        self._room = 0

    def __call__(self, late: LateBlock) -> None:
        """Sees one more block."""
        block = late.laid_out()
        if len(block.rows):
            self.farthest = max(self.farthest, farthest(block, self._dims))
            self._keep(next(chosen([block], self._seed, self._share)))

    def _keep(self, block: PreparedBlock) -> None:
        while rows := len(block.rows):
            if not self._room:
                self.slabs.append(block.empty(SLAB_ROWS))
                self._room = SLAB_ROWS
            first = SLAB_ROWS - self._room
            count = min(rows, self._room)
            self.slabs[-1].put(slice(first, first + count), block.part(slice(0, count)))
            self._room -= count
            block = block.part(slice(count, None))

    def rows(self) -> Iterator[PreparedBlock]:
        """The rows of the sample, in the order in which they came."""
        last = len(self.slabs) - 1
        for i, slab in enumerate(self.slabs):
            yield slab if i < last else slab.part(slice(0, SLAB_ROWS - self._room))


def kept_of(looks: Sequence[Look], seed: int, share: float, group: Group, none: PreparedBlock) -> Kept:
    """What all workers have kept, those of other processes too. none: a block without rows."""
    slabs = [slab for look in looks for slab in look.rows()]
    for look in looks:
        look.slabs.clear()
    own = none.empty(sum(len(slab.rows) for slab in slabs))
    places = torch.cat([none.rows, *(slab.rows for slab in slabs)]).argsort().argsort()
    while slabs:  # which are let go of one by one, so that no row is there twice
        slab = slabs.pop()
        places, to = places.split([len(places) - len(slab.rows), len(slab.rows)])
        own.put(to, slab)
        del slab
    return Kept(seed, share, gathered([own], group, none))


def chosen(blocks: Iterable[PreparedBlock], seed: int, share: float) -> Iterator[PreparedBlock]:
    """Of each block the rows whose hash is below the share."""
    for block in blocks:
        chosen = row_uniforms(seed, "sample", block.rows.cpu()) < share
        yield block.take(chosen.nonzero()[:, 0].to(block.z.device))


def farthest(block: PreparedBlock, dims: int) -> float:
    """The greatest ‖z‖², of the D columns."""
    return float(block.z[1 : 1 + dims].square().sum(0).max())
