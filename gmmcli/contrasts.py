"""By which columns a component differs from the rest of its mixture."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.mixture import GaussianMixture


@torch.no_grad()
def contrasts(model: GaussianMixture) -> Tensor:
    """(K, D): (μ_k − μ_r) / √((v_k + v_r) / 2) by column, r the mixture of the other components; 0 where K = 1.

    The difference of the means in standard deviations (Cohen's d, of equally many of either).
    """
    weights, means = model.weights / model.weights.sum(), model.means
    variances = model.covariances.diagonal(dim1=1, dim2=2)
    if model.components == 1:
        return torch.zeros_like(means)
    others = weights.expand(model.components, -1) * (1 - torch.eye(model.components, dtype=torch.float64))
    others = others / others.sum(1, keepdim=True)
    means = means - weights @ means  # about the centre of all, where squares do not cancel
    rest = others @ means
    spread = others @ (variances + means.square()) - rest.square()
    return (means - rest) / ((variances + spread) / 2).sqrt()


@torch.no_grad()
def contrast(model: GaussianMixture, one: int, other: int) -> Tensor:
    """(D,): (μ_i − μ_j) / √((v_i + v_j) / 2) by column, of two components."""
    variances = model.covariances.diagonal(dim1=1, dim2=2)
    return (model.means[one] - model.means[other]) / ((variances[one] + variances[other]) / 2).sqrt()
