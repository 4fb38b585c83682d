"""Reduces the log joint densities of rows under a mixture, chunk by chunk.

A row's numbers depend on that row alone, to the bit: not on the rows beside it, nor on chunks and threads. Densities
are made of elementwise operations (gmmcli.families.quadratic.Distances), and sums over components are taken one
component after another (gmmcli.model.reductions).

The loop over chunks is a function that TorchScript can compile, with what a chunk is reduced by (passes/compiled.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from gmmcli.families.base import Family, JointTerms, Parameters, components_at_once, log_joint_of
from gmmcli.families.quadratic import Distances
from gmmcli.model.reductions import Reduce, joined, own, padded
from gmmcli.passes.compiled import compiled

CHUNK_NUMBERS = {"cpu": 1 << 16, "cuda": 1 << 24}  # of a chunk's largest table; a CPU's cache holds so many
LEAST_ROWS, MOST_ROWS = 1 << 9, 1 << 13  # of a chunk
COMPILED_ROWS = 1 << 18  # from which on compiling takes less time than it saves

Loop = Callable[[Tensor, Tensor, Tensor, JointTerms, int, int], list[list[Tensor]]]


def chunk_rows(device: torch.device, numbers: int) -> int:
    """Rows of a chunk whose largest table has so many numbers a row, a power of 2: a matter of model and device."""
    rows = CHUNK_NUMBERS.get(device.type, CHUNK_NUMBERS["cuda"]) // numbers
    return min(MOST_ROWS, max(LEAST_ROWS, 1 << rows.bit_length() >> 1))


@cache
def loop_of(distances: Distances, reduce: Reduce) -> Loop:
    """The loop of a family and a reduction over the chunks of many rows, each of so many."""
    log_joint = log_joint_of(distances)

    def loop(
        cells: Tensor,  # (D, N)
        shift: Tensor,  # (D, 1)
        std: Tensor,  # (D, 1)
        terms: JointTerms,
        rows: int,
        size: int,
    ) -> list[list[Tensor]]:
        found: list[list[Tensor]] = []
        for first in range(0, max(1, cells.shape[1]), rows):
            part = padded(cells[:, first : first + rows].to(shift.dtype))
            found.append(list(reduce(log_joint((part - shift) / std, terms, size))))
        return found

    return loop


def reduced(
    family: Family,
    p: Parameters,
    shift: Tensor,  # (D,)
    std: Tensor,  # (D,)
    x: Tensor,  # (N, D)
    reduce: Reduce,
    *,
    compile: bool = False,
) -> list[Tensor]:
    """What `reduce` makes of log p(k, z) of all rows z = (x − shift) / std, p being the mixture of z: its tensors
    (..., N).

    compile: compile the loop, on a CPU; TorchScript must know `reduce`.
    """
    distances = family.form.differentiable if torch.is_grad_enabled() else family.form.distances
    loop = loop_of(distances, reduce)
    loop = compiled(loop) if compile and x.device.type == "cpu" else loop
    rows = chunk_rows(x.device, max(p.components, p.dims))
    size = components_at_once(x.device, rows * family.form.distance_numbers(p.dims))
    found = loop(x.mT, shift[:, None], std[:, None], family.joint_terms(p), rows, size)
    return joined(own(answers, min(rows, len(x) - i * rows)) for i, answers in enumerate(found))
