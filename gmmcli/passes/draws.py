"""Random draws and samples of rows. A draw depends on a seed and a row number, not on who reads the row, or when.

A row's draw is a hash of (seed, purpose, row number): splitmix64, after Steele, Lea & Flood, "Fast splittable
pseudorandom number generators" (OOPSLA 2014), in wrapping int64 arithmetic.

- `row_uniforms`: numbers by row. `generator`: a torch generator by purpose.
- `chosen`: the rows of a block that are in a sample. `Sample`: the fold that takes a sample as rows go by. A larger
  sample contains all smaller ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import torch
from torch import Tensor

from gmmcli.passes.execution import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock, gathered

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
SLAB_ROWS = 1 << 16


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # torch's shift is arithmetic: clear the copies of the sign


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _key(seed: int, purpose: str) -> Tensor:
    return _mix(torch.tensor(_signed(seed * _GOLDEN + zlib.crc32(purpose.encode()))))


def row_uniforms(seed: int, purpose: str, rows: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), one for each global row number in `rows` (B,) int64; returns (B,) float64."""
    bits = _mix(_mix(rows * _signed(_GOLDEN) + _key(seed, purpose)) + _signed(_GOLDEN))
    return (_shift_right(bits, 12).double() + 0.5) * 2.0**-52


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """A torch generator of its own for (seed, purpose, index)."""
    state = _mix(_key(seed, purpose) + _signed(index * _GOLDEN))
    return torch.Generator().manual_seed(int(state) & _MASK)


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
