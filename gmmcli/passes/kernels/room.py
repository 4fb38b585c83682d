"""Buffers in which a worker of a kernel works its chunks, and the views of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from gmmcli.passes.kernels.chunk import Product


class Room:
    """Buffers for the rows of a chunk and one for a product, beside the sums that they are added to.

    All are filled once: in chunks that fit the cache the arithmetic takes no longer than allocating would. total: (M,
    S), the sums of each mixture in a row that begins where a cache line does, so that all have the same alignment.
    """

    def __init__(self, numbers_a_row: int, total: Tensor, dtype: torch.dtype, device: torch.device):
        self.total = total
        self._numbers_a_row = numbers_a_row
        self._options = {"dtype": dtype, "device": device}
        same = dtype == total.dtype
        self._narrow = None if same else torch.empty_like(total[0], **self._options)
        self._wide = None if same else torch.empty_like(total[0])

    def rows(self, count: int) -> Views:
        """A buffer of its own for chunks of so many rows: what is the same in all of them can stay there."""
        return Views(torch.empty(self._numbers_a_row * count, **self._options), count)

    def product(self, mixture: int, first: int, shape: Sequence[int]) -> Product:
        """Where a product is added to the sums of a mixture from the first-th on."""
        part = slice(first, first + prod(shape))
        total = self.total[mixture, part].view(*shape)
        if self._narrow is None or self._wide is None:
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

    def give_back(self, tensor: Tensor) -> None:
        """Lets the last view that was taken be taken again."""
        self._taken -= tensor.numel()
