"""What the routes from differences share: W and −W μ in one factor on [1, z]."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.families.dense import inverse_tril


def scale_trils(family: Family, p: Parameters) -> Tensor:
    """The lower Cholesky factors L_k, (K, D, D)."""
    return family.scale_trils(p.scale, p.dims).expand(p.components, -1, -1)


def whitening(family: Family, p: Parameters) -> Tensor:
    """[−W_k μ_k, W_k] with W_k = L_k⁻¹, (K, D, 1 + D): its product with [1, z] is u = W_k (z − μ_k)."""
    factors = scale_trils(family, p)
    inverse = inverse_tril(factors)
    return torch.cat([-inverse @ p.means[:, :, None], inverse], 2)
