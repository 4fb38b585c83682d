"""How cells are laid out in the coordinates of the fit, z = factor⁻¹ (x − shift), in float64 until that is done.

Rows that are kept are laid out once, others again in each pass, chunk by chunk, by the loop that works the chunk:
then z never leaves the cache. Both are the same bits, since a row's do not depend on how many rows are beside it. Of
the products here, with a triangular factor, that holds from two rows on; of others it takes more (see
gmmcli.reductions.padded).
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from gmmcli.families.coordinates import Affine

LEAST_COLUMNS = 2  # of a product


class Laying(NamedTuple):
    """Where B rows are laid out, and what with.

    shift: (D, 1); inverse: (D, D) factor⁻¹, or None where factor, (D, D) or (D or 1, 1), divides. centred: (D, B)
    float64 to write in, cells: its columns that are not there for the product alone; z: (1 + D or 1 + 2 D, B), a row
    of ones first; columns: its rows of the cells, as wide as centred; mask: those that tell which cells are observed,
    or None.
    """

    shift: Tensor
    inverse: Optional[Tensor]  # noqa: UP045
    factor: Tensor
    centred: Tensor
    cells: Tensor
    z: Tensor
    columns: Tensor
    mask: Optional[Tensor]  # noqa: UP045


def laying(
    affine: Affine,
    z: Tensor,  # (1+D, B) or (1+2D, B)
    rows: int | None = None,
) -> Laying:
    """The place for rows that are laid out in z. rows: how many, where it is fewer than LEAST_COLUMNS."""
    dims, rows = len(affine.shift), z.shape[1] if rows is None else rows
    z[0] = 1
    factor = affine.factor if affine.factor.ndim == 2 else affine.factor.reshape(-1, 1)
    centred = affine.shift.new_zeros(dims, z.shape[1])
    own = z[:, :rows]
    mask = own[1 + dims :] if len(z) > 1 + dims else None
    return Laying(
        affine.shift[:, None], affine.inverse_factor, factor, centred, centred[:, :rows], own, z[1 : 1 + dims], mask
    )


def lay_out(
    cells: Tensor,  # (D, B)
    observed: Tensor | None,  # (D, B)
    at: Laying,
) -> None:
    """Writes z of these cells, of any precision. observed: which are; None where all are."""
    at.cells.copy_(cells).sub_(at.shift)
    inverse, mask = at.inverse, at.mask
    if inverse is not None:
        if at.columns.dtype == at.centred.dtype:
            torch.mm(inverse, at.centred, out=at.columns)
        else:
            at.columns.copy_(torch.mm(inverse, at.centred))
    elif at.factor.shape[1] > 1:
        at.columns.copy_(torch.linalg.solve_triangular(at.factor, at.centred, upper=False))
    else:
        at.columns.copy_(at.centred.div_(at.factor))
    if mask is not None:
        if observed is None:
            mask.fill_(1)
        else:
            at.columns[:, : observed.shape[1]].masked_fill_(observed.logical_not(), 0)
            mask.copy_(observed)
