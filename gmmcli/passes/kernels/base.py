"""The contract of a kernel: it turns rows into sums, chunk by chunk, for several mixtures of the same size at once.

- `Kernel`: the contract. `KernelWorker`: runs one over rows, with buffers of its own.
- `Buffers`, `Views`: memory for a chunk. `whitening`: factors that the routes from differences share.

The sums of a mixture are one float64 vector: `statistics_size` numbers that the kernel defines, then the
log-likelihood, then, when asked for, the entropy of the responsibilities, then, where there is a background, the sum
of its responsibilities. They have the same bits whatever other mixtures share the rows. Mixtures share what is made
of the rows alone, and memory.

Alphabet: M mixtures, K components, D columns, P features, B rows of a chunk, S numbers of the sums of a mixture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import prod
from typing import Any, final

import torch
from torch import Tensor

from gmmcli.families.base import Coefficients, Family, Parameters
from gmmcli.families.linear import inverse_tril
from gmmcli.passes.kernels.chunk import ChunkSums, Loop, Product, Softmax, Unit
from gmmcli.passes.laying import Laying

CHUNK_BYTES = {"cpu": 1 << 20, "cuda": 1 << 29}  # of a chunk's buffers: a share of the L2 cache, or of memory
LEAST_ROWS, MOST_ROWS = 64, {"cpu": 1 << 14, "cuda": 1 << 20}
CACHE_LINE = 8  # float64 numbers: the sums of each mixture begin at one


@dataclass(frozen=True)
class Moments:
    """Σ w r (K,), Σ w r z (K, D) and Σ w r quad(z) (K, Q) of one mixture, float64 on the host.

    With masked features sums are those of m z and of m, (K, 2 D). quads: None where the kernel leaves them to a
    constant of the data.
    """

    counts: Tensor  # (K,)
    sums: Tensor  # (K, D) or (K, 2D)
    quads: Tensor | None  # (K, Q)


@dataclass(eq=False)
class Kernel(ABC):
    """Evaluates M mixtures of K components each, in one precision, on one device.

    dtype: of the products. entropy: whether entropies are summed as well. background: (M,) log of weight times
    density of a uniform background, or None. etas: coefficients of the mixtures, if they are known. constant_quads:
    whether the quadratic sums are left to a constant of the data.

    numbers_a_row: numbers that a chunk's buffers hold for each of its rows, whatever M. statistics_size: numbers of
    the sums of a mixture before the scalars at their end. chunk_sums: the function that adds the sums of a chunk, one
    object for all kernels of its kind.
    """

    family: Family
    mixtures: Sequence[Parameters]
    _: KW_ONLY
    dtype: torch.dtype
    device: torch.device
    entropy: bool
    background: Tensor | None = None
    etas: Sequence[Coefficients] | None = None
    constant_quads: bool = False
    numbers_a_row: int = field(init=False)
    statistics_size: int = field(init=False)
    chunk_sums: ChunkSums = field(init=False)

    def __post_init__(self) -> None:
        self.components = self.mixtures[0].components
        self.dims = self.mixtures[0].dims
        self.scalars = 1 + self.entropy + (self.background is not None)  # log-likelihood, entropy, background
        if self.background is not None:
            self.background = self.here(self.background)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Sets the sizes, `chunk_sums`, and tensors of its own."""

    @abstractmethod
    def statistics_bound(self, bound: Tensor) -> Tensor:
        """Upper bounds (M, statistics_size) of the sums of absolute values, for a row of weight 1.

        bound: (1 + D,) upper bounds of |[1, z]|.
        """

    @abstractmethod
    def chunk(self, buffers: Buffers, rows: int) -> Any:
        """The arguments of `chunk_sums` for chunks of so many rows, at most `chunk_rows`: a NamedTuple.

        Its `z`, (1 + D, B), takes the rows, below a row of ones.
        """

    @abstractmethod
    def moments(self, values: Tensor) -> list[Moments]:
        """The moments of each mixture from the sums (M, S), float64 on the host."""

    @final
    @property
    def sums_size(self) -> int:
        """S: the numbers of the sums of a mixture, and zeros up to a whole cache line."""
        return -(-(self.statistics_size + self.scalars) // CACHE_LINE) * CACHE_LINE

    @final
    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk, a multiple of 64. They depend on the sizes of the problem, precision and device alone."""
        kind = "cpu" if self.device.type == "cpu" else "cuda"
        rows = CHUNK_BYTES[kind] // (self.numbers_a_row * torch.finfo(self.dtype).bits // 8)
        return min(MOST_ROWS[kind], max(LEAST_ROWS, rows // 64 * 64))

    @final
    def softmaxes(self, buffers: Buffers, logits: Tensor, scratch: Tensor) -> list[Softmax]:
        """The softmax of each mixture, all in the same memory: logits (K, B), scratch (3, B)."""
        highest, total, scale = scratch.split(1)
        made = []
        for m, sums in enumerate(buffers.total):
            scalars = sums[self.statistics_size : self.statistics_size + self.scalars]
            entropy = scalars[1] if self.entropy else None
            background = (None, None) if self.background is None else (self.background[m], scalars[-1])
            made.append(Softmax(logits, highest, total, scale, scalars[0], entropy, *background))
        return made

    @final
    def here(self, tensor: Tensor) -> Tensor:
        """A tensor in the kernel's precision and on its device, in memory of its own."""
        return tensor.to(self.device, self.dtype).contiguous()


class KernelWorker:
    """Adds the sums of units of rows to `total`, (M, S) float64, in buffers of its own.

    loop: the loop over `chunk_sums`.
    """

    def __init__(self, kernel: Kernel, total: Tensor, loop: Loop):
        self._kernel = kernel
        self._loop = loop
        self._most = kernel.chunk_rows
        self._buffers = Buffers(kernel.numbers_a_row, total, kernel.dtype, kernel.device)
        self._chunks: dict[int, Any] = {}

    def __call__(self, unit: Unit, slab: Laying | None = None) -> None:
        """Adds a unit. slab: where its cells are laid out; None if the unit is laid out already."""
        rows = even(unit.rows, self._most)
        whole = self._chunk(rows)
        rest = self._chunk(unit.rows % rows) if unit.rows % rows else whole
        self._loop(unit.numbers, unit.weights, unit.observed, whole, rest, rows, slab)

    def _chunk(self, rows: int) -> Any:
        if rows not in self._chunks:
            self._chunks[rows] = self._kernel.chunk(self._buffers, rows)
        return self._chunks[rows]


def even(rows: int, most: int) -> int:
    """Rows of a chunk if so many rows are cut evenly: a multiple of 64, or all of fewer.

    A small chunk at the end would be dear, and so is one of another size, which has buffers of its own. A few chunks
    more that leave no rest are cheaper.
    """
    parts = -(-rows // most)
    exact = (more for more in range(parts, parts + parts // 4 + 1) if rows % (64 * more) == 0)
    return min(rows, -(-rows // (64 * next(exact, parts))) * 64)


class Buffers:
    """Memory for the rows of a chunk and for a product, beside the sums (M, S) that they are added to.

    It is allocated once: in chunks that fit the cache the arithmetic takes no longer than allocating would. total:
    the sums of each mixture in a row that begins at a cache line, so that all have the same alignment.
    """

    def __init__(self, numbers_a_row: int, total: Tensor, dtype: torch.dtype, device: torch.device):
        self.total = total
        self._numbers_a_row = numbers_a_row
        self._like = torch.empty(0, dtype=dtype, device=device)
        self._same = dtype == total.dtype
        self._narrow = self._like.new_empty(0 if self._same else total.shape[1])
        self._wide = total.new_empty(len(self._narrow))

    def rows(self, count: int) -> Views:
        """New memory for chunks of so many rows. Contents that are the same in all chunks can stay in it."""
        return Views(self._like.new_empty(self._numbers_a_row * count), count)

    def product(self, mixture: int, first: int, shape: Sequence[int]) -> Product:
        """A product of this shape, added to the sums of a mixture from the first-th on."""
        part = slice(first, first + prod(shape))
        total = self.total[mixture, part].view(*shape)
        if self._same:
            return Product(total, total, total)
        return Product(total, self._narrow[part].view(*shape), self._wide[part].view(*shape))


class Views:
    """Takes views of a buffer, one after another."""

    def __init__(self, buffer: Tensor, rows: int):
        self._buffer = buffer
        self._rows = rows
        self._taken = 0

    def take(self, *height: int) -> Tensor:
        """The next numbers as (*height, rows)."""
        first, self._taken = self._taken, self._taken + prod(height) * self._rows
        return self._buffer[first : self._taken].view(*height, self._rows)


def scale_trils(family: Family, p: Parameters) -> Tensor:
    """The lower Cholesky factors L_k, (K, D, D)."""
    return family.scale_trils(p.scale, p.dims).expand(p.components, -1, -1)


def whitening(family: Family, p: Parameters) -> Tensor:
    """[−W_k μ_k, W_k] with W_k = L_k⁻¹, (K, D, 1 + D): its product with [1, z] is u = W_k (z − μ_k)."""
    inverse = inverse_tril(scale_trils(family, p))
    return torch.cat([-inverse @ p.means[:, :, None], inverse], 2)
