"""Laying out: cells to coordinates of the fit, z = factor⁻¹ (x − shift), in float64 until that is done.

Rows that are held are laid out once. Others are laid out again in each pass, as they are worked: then z never leaves
the cache. Both have the same bits. Elementwise operations give the same bits for any chunk; a product does not. So
the product with a triangular factor runs on slabs of fixed width, in buffers of their own, that start at multiples of
`slab_rows` in the block: a row has the same index in the same product however its block is cut.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from gmmcli.families.linear import Affine

SLAB_NUMBERS = 1 << 16  # rows × columns of a slab: half a megabyte, which stays in the cache
LEAST_ROWS, MOST_ROWS = 1 << 6, 1 << 12  # of a slab; parts of a block that are laid out begin at multiples of it


class Laying(NamedTuple):
    """Coordinates and memory for a slab of T rows.

    shift: (D, 1). inverse: (D, D) factor⁻¹, or None where factor, (D, D) or (D or 1, 1), divides. centred, z: (D, T)
    float64 to write in. The columns beyond the rows of a slab serve the product alone.
    """

    shift: Tensor
    inverse: Optional[Tensor]  # noqa: UP045
    factor: Tensor
    centred: Tensor
    z: Tensor


def slab_rows(dims: int) -> int:
    """T, the rows of a slab: a power of 2."""
    return min(MOST_ROWS, max(LEAST_ROWS, 1 << (SLAB_NUMBERS // dims).bit_length() >> 1))


def laying(affine: Affine) -> Laying:
    """Memory for a slab in these coordinates."""
    dims = len(affine.shift)
    factor = affine.factor if affine.factor.ndim == 2 else affine.factor.reshape(-1, 1)
    centred = affine.shift.new_zeros(dims, slab_rows(dims))
    return Laying(affine.shift[:, None], affine.inverse_factor, factor, centred, torch.zeros_like(centred))


def lay_out(cells: Tensor, at: Laying) -> Tensor:
    """z (D, B) of a slab's cells (D, B), B ≤ T, of any precision. The next slab overwrites it."""
    rows, inverse = cells.shape[1], at.inverse
    own, z = at.centred[:, :rows], at.z[:, :rows]
    own.copy_(cells).sub_(at.shift)
    if inverse is not None:
        torch.mm(inverse, at.centred, out=at.z)
    elif at.factor.shape[1] > 1:
        at.z.copy_(torch.linalg.solve_triangular(at.factor, at.centred, upper=False))
    else:
        torch.div(own, at.factor, out=z)
    return z


def put(z: Tensor, observed: Optional[Tensor], to: Tensor) -> None:  # noqa: UP045
    """Copies z (D, B) into `to`, (1 + D, B) or (1 + 2 D, B), below its row of ones.

    Missing cells become 0. The mask `observed`, (D, B), follows if `to` has rows for it.
    """
    dims = z.shape[0]
    columns = to[1 : 1 + dims]
    columns.copy_(z)
    if to.shape[0] > 1 + dims:
        mask = to[1 + dims :]
        if observed is None:
            mask.fill_(1)
        else:
            columns.masked_fill_(observed.logical_not(), 0)
            mask.copy_(observed)
