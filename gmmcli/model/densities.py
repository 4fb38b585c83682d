"""Log joint densities log p(k, x) of components and rows, and what is made of them, chunk by chunk.

- `Densities`: the one evaluator of a mixture's log p(k, x), of rows that are complete or have missing cells.
- `Background`: a component of uniform density, which counts as one more, the last.
- `unreduced`, `shares`, `most_probable`, `log_sum`, `log_sum_and_entropy`: reductions of log p(k, x), (K, B), to
  tensors (..., B). They write over the densities and are differentiable all the same.

A row's numbers depend on that row alone, to the bit: not on the rows beside it, nor on chunks and threads. Densities
are made of elementwise operations (gmmcli.families.quadratic.Distances), and sums over components are taken one
component after another. Rows that lack the same columns are evaluated together, under the
marginal mixture of the columns that they have.

The loop over chunks and the reduction are functions that TorchScript can compile together (passes/workers.py): both
stay within the part of Python that it knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.families.quadratic import Distances
from gmmcli.passes.missing import patterns
from gmmcli.passes.workers import compiled

CHUNK_NUMBERS = {"cpu": 1 << 16, "cuda": 1 << 24}  # of a chunk's largest table; a CPU's cache holds so many
LEAST_ROWS, MOST_ROWS = 1 << 9, 1 << 13  # of a chunk
GROUP_NUMBERS = {"cpu": 1 << 17, "cuda": 1 << 24}  # of the components that are worked together; likewise
MOST_INCOMPLETE = 1 << 16  # rows with missing cells whose densities are held together
COMPILED_ROWS = 1 << 18  # from which on compiling takes less time than it saves


class Background(NamedTuple):
    """A component of uniform density over a box. Its log widths add up to the log volume of the box.

    The rows' units may be others than those of the box: the log widths are in the units of the density.
    """

    low: Tensor  # (D, 1)
    high: Tensor  # (D, 1)
    log_widths: Tensor  # (D, 1)
    log_weight: Tensor  # ()


@dataclass(frozen=True)
class Densities:
    """Log joint densities of rows x under a mixture, in nats and in the units of x.

    p: the mixture of z = (x − shift) / std, and its background, over a box in the units of x, None without one.
    """

    family: Family
    p: Parameters
    shift: Tensor  # (D,)
    std: Tensor  # (D,)
    background: Background | None = None

    def reduced(self, x: Tensor, reduce: Reduce, *, marginal: bool = False, compile: bool = False) -> list[Tensor]:
        """The tensors (..., N) that `reduce` makes of log p(k, x), (K, B), of all rows x (D, N).

        marginal: integrates missing cells (NaN) out; else a row with one has NaN. compile: compiles the loop over
        chunks on a CPU; TorchScript must know `reduce`.
        """
        lacking = x.isnan() if marginal else None
        if lacking is None or not bool(lacking.any()):
            return self._complete(x, reduce, compile)
        blocks = [x[:, first : first + MOST_INCOMPLETE] for first in range(0, x.shape[1], MOST_INCOMPLETE)]
        return _joined(self._incomplete(block, reduce, compile) for block in blocks)

    def _incomplete(self, x: Tensor, reduce: Reduce, compile: bool) -> list[Tensor]:
        """`reduced` for rows with missing cells, by pattern. Densities are reduced for all patterns at once."""
        rows_of_parts, parts = [], []
        for rows, columns, _ in patterns(x.isnan().mT):
            rows_of_parts.append(rows)
            if len(columns):
                parts += self._marginal(columns)._complete(x[columns[:, None], rows], unreduced, compile)
            else:
                parts.append(self._log_weights.expand(-1, len(rows)))
        joint = torch.cat(parts, 1).index_select(1, torch.cat(rows_of_parts).argsort())
        at_once = chunk_rows(x.device, len(joint))
        chunks = [joint[:, first : first + at_once] for first in range(0, joint.shape[1], at_once)]
        return _first(_joined(reduce(padded(chunk)) for chunk in chunks), x.shape[1])

    def _complete(self, x: Tensor, reduce: Reduce, compile: bool) -> list[Tensor]:
        p, family, rows_at_once = self.p, self.family, chunk_rows(x.device, max(self.p.components, self.p.dims))
        loop = loop_of(family.form.differentiable if torch.is_grad_enabled() else family.form.distances, reduce)
        loop = compiled(loop) if compile and x.device.type == "cpu" else loop
        constants = family.log_constants(p, smallest=0.0)[:, None] - self.std.log().sum()
        factors = family.distance_factors(p.scale, p.dims)
        factors = factors.expand(p.components, *factors.shape[1:])
        numbers = max(1, min(rows_at_once, x.shape[1]) * (p.dims if family.form.wide else 1))
        group = max(1, GROUP_NUMBERS.get(x.device.type, GROUP_NUMBERS["cuda"]) // numbers)
        shift, std = self.shift[:, None], self.std[:, None]
        pads = reduce is not unreduced
        chunks = loop(x, shift, std, constants, p.means, factors, self.background, rows_at_once, group, pads)
        return _first(_joined(chunks), x.shape[1])  # only the last chunk is padded

    def _marginal(self, columns: Tensor) -> Densities:
        """The densities of these columns (D',) int64 alone."""
        if len(columns) == self.p.dims:
            return self  # to the bit, as without missing cells
        (family, p), b = self.family.marginal(self.p, columns), self.background
        if b is not None:
            b = Background(b.low[columns], b.high[columns], b.log_widths[columns], b.log_weight)
        return replace(self, family=family, p=p, shift=self.shift[columns], std=self.std[columns], background=b)

    @property
    def _log_weights(self) -> Tensor:
        """log p(k), (K, 1)."""
        of_background = [] if self.background is None else [self.background.log_weight[None]]
        return torch.cat([self.p.weights.log(), *of_background])[:, None]


@cache
def loop_of(distances: Distances, reduce: Reduce) -> Callable[..., list[list[Tensor]]]:
    """The loop of a family and a reduction over chunks of complete rows, a group of components at a time."""

    def loop(
        cells: Tensor,  # (D, N)
        shift: Tensor,  # (D, 1)
        std: Tensor,  # (D, 1)
        constants: Tensor,  # (K, 1) log π_k − ½ (D log 2π + log |Σ_k|), in the units of x
        means: Tensor,  # (K, D)
        factors: Tensor,  # (K, …)
        background: Background | None,
        rows: int,
        group: int,
        pads: bool,
    ) -> list[list[Tensor]]:
        answers: list[list[Tensor]] = []
        for first in range(0, max(1, cells.shape[1]), rows):
            x = cells[:, first : first + rows].to(shift.dtype).contiguous()
            z = (x - shift) / std
            parts: list[Tensor] = []
            for start in range(0, means.shape[0], group):
                k = slice(start, start + group)
                parts.append(torch.add(constants[k], distances(z, means[k], factors[k]), alpha=-0.5))
            if background is not None:
                outside = ((x < background.low) | (x > background.high)).any(0)
                level = (background.log_weight - background.log_widths.sum()).expand(x.shape[1])
                parts.append(level.masked_fill(outside, -math.inf)[None])
            joint = parts[0] if len(parts) == 1 else torch.cat(parts)
            answers.append(list(reduce(padded(joint) if pads else joint)))
        return answers

    return loop


def chunk_rows(device: torch.device, numbers: int) -> int:
    """Rows of a chunk whose largest table has so many numbers a row, a power of 2: a matter of model and device."""
    rows = CHUNK_NUMBERS.get(device.type, CHUNK_NUMBERS["cuda"]) // numbers
    return min(MOST_ROWS, max(LEAST_ROWS, 1 << rows.bit_length() >> 1))


def padded(columns: Tensor) -> Tensor:
    """The columns (., B), contiguous, with columns of zeros up to a multiple of 64.

    So exponentials and logarithms of all columns are those of whole vectors of the processor, never of a remainder.
    """
    rest = -columns.shape[1] % 64
    return torch.nn.functional.pad(columns, (0, rest)) if rest else columns.contiguous()


def _first(answers: Sequence[Tensor], rows: int) -> list[Tensor]:
    """The answers to the first rows, without those to padding."""
    return [answer[..., :rows] for answer in answers]


def _joined(parts: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """The answers to part after part as one."""
    return [torch.cat(part, -1) for part in zip(*parts, strict=True)]


Reduce = Callable[[Tensor], Sequence[Tensor]]


def unreduced(joint: Tensor) -> list[Tensor]:
    """The densities themselves."""
    return [joint]


def shares(joint: Tensor) -> list[Tensor]:
    """p(k | x), (K, B)."""
    smallest = _smallest(joint)
    joint.sub_(joint.detach().amax(0))
    negligible = joint <= smallest
    parts = joint.clamp_(min=smallest).exp_()
    return [(parts * _sum(parts).reciprocal_()).masked_fill_(negligible, 0.0)]


def most_probable(joint: Tensor) -> list[Tensor]:
    """The greatest p(k | x), (B,), and the first k that has it, (B,) int64.

    max_k (log p(k, x) − max − k · step) is −k · step, less than log densities differ by. So two maxima give k:
    torch's own argmax takes as long as everything else together.
    """
    step = 1e-300 if joint.dtype == torch.float64 else 1e-30
    steps = torch.arange(joint.shape[0], dtype=joint.dtype, device=joint.device)[:, None] * step
    below = (joint - joint.amax(0)).sub_(steps)
    component = below.detach().amax(0).mul_(-1 / step).round_().long()
    return [_sum(below.clamp_(min=_smallest(joint)).exp_()).reciprocal_(), component]


def log_sum(joint: Tensor) -> list[Tensor]:
    """log p(x) = log Σ_k p(k, x), (B,)."""
    highest = joint.detach().amax(0)
    total = _sum(joint.sub_(highest).clamp_(min=_smallest(joint)).exp_()).log_().add_(highest)
    return [torch.where(highest == -math.inf, highest, total)]


def log_sum_and_entropy(joint: Tensor) -> list[Tensor]:
    """log p(x), and −Σ_k p(k | x) log p(k | x), (B,) each."""
    share = shares(joint.clone())[0]
    return [log_sum(joint)[0], _sum(torch.special.entr(share))]


def _sum(parts: Tensor) -> Tensor:
    """Σ_k (B,) of parts (K, B), one by one: the order of torch's own sum depends on threads and memory layout."""
    total = parts[0].clone()
    for k in range(1, parts.shape[0]):
        total.add_(parts[k])
    return total


def _smallest(joint: Tensor) -> float:
    """The least difference to the greatest logit; smaller ones are clamped, since exp underflows slowly."""
    return -700.0 if joint.dtype == torch.float64 else -80.0
