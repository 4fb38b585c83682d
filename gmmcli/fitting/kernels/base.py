"""The contract of a kernel: what turns rows into sums, chunk by chunk, for several mixtures of the same size at once.

The sums of M mixtures are one float64 vector: what the kernel itself defines (`statistics_size` numbers), then the
M log-likelihoods, then, when asked for, the M entropies of the responsibilities, then, where there is a background,
the M sums of its responsibilities.

Alphabet: M mixtures, K components, D columns, P features, B rows of a chunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.families.laying import LEAST_COLUMNS, Laying
from gmmcli.fitting.kernels.chunk import ChunkSums, Loop, Softmax, Unit
from gmmcli.fitting.kernels.room import Room, Views

CHUNK_BYTES = {"cpu": 1 << 20, "cuda": 1 << 29}  # what a chunk's buffers take: a share of the L2 cache, or of memory
LEAST_ROWS, MOST_ROWS = 64, {"cpu": 1 << 14, "cuda": 1 << 20}

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
        """Numbers that a chunk's buffers hold for each of its rows."""

    @property
    @abstractmethod
    def statistics_size(self) -> int:
        """Numbers of the sums other than log-likelihoods and entropies."""

    @abstractmethod
    def statistics_bound(self, bound: Tensor) -> Tensor:
        """What the absolute values of each of those numbers add up to at most for a row of weight 1, (size,).

        bound: (1 + D,) upper bounds of |[1, z]|.
        """

    @property
    @abstractmethod
    def chunk_sums(self) -> ChunkSums:
        """The function that adds the sums of a chunk: the same object for all kernels of its kind."""

    @abstractmethod
    def chunk(self, room: Room, rows: int) -> Any:
        """What `chunk_sums` needs for chunks of so many rows, at most `chunk_rows`: a NamedTuple."""

    def place(self, chunk: Any) -> Tensor | None:
        """Where `chunk_sums` copies its rows to, which may be laid out there at once; None where it does not."""
        return None

    @abstractmethod
    def moments(self, values: Tensor) -> list[Moments]:
        """The moments of each mixture from the sums, (size,) float64 on the host."""

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
        """Numbers at the end of the sums: log-likelihoods, entropies and those of a background."""
        return len(self.mixtures) * (1 + self.entropy + (self.background is not None))

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
        total: Tensor,  # float64
        loop: Loop,
    ) -> Add:
        """A function, with a buffer of its own, that adds the sums of any number of rows to `total`.

        loop: of `chunk_sums`. The rows that it adds are all laid out in one way, if not before.
        """
        most = self.chunk_rows
        room = Room(self.numbers_a_row, total, self.dtype, self.device)
        chunks: dict[int, Any] = {}
        layings: dict[int, tuple[Laying, bool]] = {}

        def add_chunks(unit: Unit, rows: int) -> None:
            if rows not in chunks:
                chunks[rows] = self.chunk(room, rows)
            if unit.lay is not None and rows not in layings:
                place = self.place(chunks[rows])
                suits = place is not None and place.dtype == unit.lay.dtype and rows >= LEAST_COLUMNS
                layings[rows] = unit.lay(rows, place if suits else None), suits
            laying, in_place = (None, False) if unit.lay is None else layings[rows]
            loop(unit.numbers, unit.weights, unit.observed, chunks[rows], rows, laying, in_place)

        def add(unit: Unit) -> None:
            rows = even(unit.rows, most)
            rest = unit.rows % rows
            if not rest:
                add_chunks(unit, rows)
                return
            whole = unit.rows - rest
            add_chunks(unit.part(slice(0, whole)), rows)
            add_chunks(unit.part(slice(whole, None)), rest)

        return add

    @final
    def softmax(
        self,
        room: Room,
        views: Views,
        logits: Tensor,  # (M K, B)
    ) -> Softmax:
        """The places of the softmax of these logits, which takes 3 M numbers a row of the buffer."""
        mixtures = len(self.mixtures)
        scalars = room.total[self.statistics_size :]
        return Softmax(
            logits=logits.view(mixtures, self.components, -1),
            highest=views.take(mixtures, 1),
            total=views.take(mixtures, 1),
            scale=views.take(mixtures, 1),
            log_likelihoods=scalars[:mixtures],
            entropies=scalars[mixtures : 2 * mixtures] if self.entropy else None,
            background=None if self.background is None else self.background[:, None, None],
            backgrounds=None if self.background is None else scalars[-mixtures:],
        )

    @final
    def stack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of each mixture one after another, in the kernel's precision and on its device."""
        return torch.cat(list(tensors)).to(self.device, self.dtype)


def even(rows: int, most: int) -> int:
    """Rows of a chunk when so many are cut evenly, a multiple of 64 but where there are fewer.

    A small one at the end would be dear, and so is one of another size, which has buffers of its own: a few chunks
    more that leave no rest are cheaper.
    """
    parts = -(-rows // most)
    exact = (more for more in range(parts, parts + parts // 4 + 1) if rows % (64 * more) == 0)
    return min(rows, -(-rows // (64 * next(exact, parts))) * 64)
