"""The contract of a kernel: what turns rows into sums, chunk by chunk, for several mixtures of the same size at once.

The sums of a mixture are one float64 vector: what the kernel itself defines (`statistics_size` numbers), then the
log-likelihood, then, when asked for, the entropy of the responsibilities, then, where there is a background, the sum
of its responsibilities. They are the same to the bit whatever other mixtures share the rows: these share what is made
of a chunk's rows alone, and the memory that they are worked in.

Alphabet: M mixtures, K components, D columns, P features, B rows of a chunk, S numbers of the sums of a mixture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.passes.kernels.chunk import ChunkSums, Loop, Softmax, Unit
from gmmcli.passes.kernels.room import Room
from gmmcli.passes.laying import Laying, laying

CHUNK_BYTES = {"cpu": 1 << 20, "cuda": 1 << 29}  # what a chunk's buffers take: a share of the L2 cache, or of memory
LEAST_ROWS, MOST_ROWS = 64, {"cpu": 1 << 14, "cuda": 1 << 20}
CACHE_LINE = 8  # float64 numbers: the sums of each mixture begin at one

Add = Callable[[Unit], None]  # adds rows to the sums


@dataclass(frozen=True)
class Moments:
    """Σ w r (K,), Σ w r z (K, D) and Σ w r quad(z) (K, Q) of one mixture, float64 on the host.

    With masked features, the sums of m z and of m (K, 2 D).
    """

    counts: Tensor  # (K,)
    sums: Tensor  # (K, D) or (K, 2D)
    quads: Tensor | None  # (K, Q), None where the kernel leaves them to a constant of the data


class Kernel(ABC):
    """Evaluates M mixtures of K components each, in one precision, on one device.

    dtype: of the products; background: (M,) log of weight times density of a uniform background component for each
    mixture, or None. entropy: whether entropies are summed as well.
    """

    constant_quads = False  # whether the quadratic sums are left to a constant of the data

    def __init__(
        self,
        family: Family,
        mixtures: Sequence[Parameters],
        *,
        dtype: torch.dtype,
        device: torch.device,
        entropy: bool,
        background: Tensor | None = None,
    ):
        self.family = family
        self.mixtures = mixtures
        self.dtype = dtype
        self.device = device
        self.entropy = entropy
        self.background = None if background is None else background.to(device, dtype)

    @property
    @abstractmethod
    def numbers_a_row(self) -> int:
        """Numbers that a chunk's buffers hold for each of its rows: as many for one mixture as for several."""

    @property
    @abstractmethod
    def statistics_size(self) -> int:
        """Numbers of the sums of a mixture other than log-likelihood, entropy and that of a background."""

    @abstractmethod
    def statistics_bound(self, bound: Tensor) -> Tensor:
        """What the absolute values of each of those numbers add up to at most for a row of weight 1, (M, size).

        bound: (1 + D,) upper bounds of |[1, z]|.
        """

    @property
    @abstractmethod
    def chunk_sums(self) -> ChunkSums:
        """The function that adds the sums of a chunk: the same object for all kernels of its kind."""

    @abstractmethod
    def chunk(self, room: Room, rows: int) -> Any:
        """What `chunk_sums` needs for chunks of so many rows, at most `chunk_rows`: a NamedTuple.

        Its `z`, (1 + D, B), is where the rows are put, below a row of ones.
        """

    @abstractmethod
    def moments(
        self,
        values: Tensor,  # (M, S) float64 on the host
    ) -> list[Moments]:
        """The moments of each mixture from the sums."""

    @final
    @property
    def components(self) -> int:
        """K."""
        return self.mixtures[0].components

    @final
    @property
    def dims(self) -> int:
        """D."""
        return self.mixtures[0].dims

    @final
    @property
    def scalars(self) -> int:
        """Numbers at the end of the sums of a mixture: log-likelihood, entropy and that of a background."""
        return 1 + self.entropy + (self.background is not None)

    @final
    @property
    def sums_size(self) -> int:
        """S: the numbers of the sums of a mixture, and zeros up to a whole cache line."""
        return -(-(self.statistics_size + self.scalars) // CACHE_LINE) * CACHE_LINE

    @final
    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk, a multiple of 64: a matter of the sizes of the problem, precision and device alone."""
        kind = "cpu" if self.device.type == "cpu" else "cuda"
        rows = CHUNK_BYTES[kind] // (self.numbers_a_row * torch.finfo(self.dtype).bits // 8)
        return min(MOST_ROWS[kind], max(LEAST_ROWS, rows // 64 * 64))

    @final
    def worker(
        self,
        total: Tensor,  # (M, S) float64
        loop: Loop,
    ) -> Add:
        """A function, with a buffer of its own, that adds the sums of any number of rows to `total`.

        loop: of `chunk_sums`. The rows that it adds are all laid out in one way, if not before.
        """
        most = self.chunk_rows
        room = Room(self.numbers_a_row, total, self.dtype, self.device)
        chunks: dict[int, Any] = {}
        slab: Laying | None = None

        def chunk_of(rows: int) -> Any:
            if rows not in chunks:
                chunks[rows] = self.chunk(room, rows)
            return chunks[rows]

        def add(unit: Unit) -> None:
            nonlocal slab
            if slab is None and unit.affine is not None:
                slab = laying(unit.affine)
            rows = even(unit.rows, most)
            whole = chunk_of(rows)
            rest = chunk_of(unit.rows % rows) if unit.rows % rows else whole
            loop(unit.numbers, unit.weights, unit.observed, whole, rest, rows, slab)

        return add

    @final
    def softmaxes(
        self,
        room: Room,
        logits: Tensor,  # (K, B)
        scratch: Tensor,  # (3, B)
    ) -> list[Softmax]:
        """The places of the softmax of each mixture, one after another in the same memory."""
        highest, total, scale = scratch.split(1)
        made = []
        for m, sums in enumerate(room.total):
            scalars = sums[self.statistics_size : self.statistics_size + self.scalars]
            made.append(
                Softmax(
                    logits=logits,
                    highest=highest,
                    total=total,
                    scale=scale,
                    log_likelihood=scalars[0],
                    entropy=scalars[1] if self.entropy else None,
                    background=None if self.background is None else self.background[m],
                    backgrounds=None if self.background is None else scalars[-1],
                )
            )
        return made

    @final
    def here(self, tensor: Tensor) -> Tensor:
        """A tensor in the kernel's precision and on its device, in memory of its own."""
        return tensor.to(self.device, self.dtype).contiguous()


def even(rows: int, most: int) -> int:
    """Rows of a chunk when so many are cut evenly, a multiple of 64 but where there are fewer.

    A small one at the end would be dear, and so is one of another size, which has buffers of its own: a few chunks
    more that leave no rest are cheaper.
    """
    parts = -(-rows // most)
    exact = (more for more in range(parts, parts + parts // 4 + 1) if rows % (64 * more) == 0)
    return min(rows, -(-rows // (64 * next(exact, parts))) * 64)
