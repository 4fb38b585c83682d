"""What the routes from differences share: W and −W μ in one factor on [1, z], and the constants of the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families.base import LOG_2PI, SMALLEST_WEIGHT, Family, Parameters


def scale_trils(family: Family, p: Parameters) -> Tensor:
    """The lower Cholesky factors L_k, (K, D, D)."""
    return family.scale_trils(p.scale, p.dims).expand(p.components, -1, -1)


def whitening(family: Family, p: Parameters) -> Tensor:
    """[−W_k μ_k, W_k] with W_k = L_k⁻¹, (K, D, 1 + D): its product with [1, z] is u = W_k (z − μ_k)."""
    factors = scale_trils(family, p)
    eye = torch.eye(p.dims, dtype=factors.dtype, device=factors.device)
    inverse = torch.linalg.solve_triangular(factors, eye.expand_as(factors), upper=False)
    return torch.cat([-inverse @ p.means[:, :, None], inverse], 2)


def log_constants(family: Family, p: Parameters) -> Tensor:
    """log π_k − ½ (D log 2π + log |Σ_k|), (K,): the logit of a row at the mean of its component."""
    log_det = family.log_det(p.scale, p.dims)
    return p.weights.clamp_min(SMALLEST_WEIGHT).log() - 0.5 * (p.dims * LOG_2PI + log_det)
