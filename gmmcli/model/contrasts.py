"""By which columns a component differs from the rest of its mixture, and from another component."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.model.mixture import GaussianMixture


@torch.no_grad()
def contrasts(model: GaussianMixture) -> Tensor:
    """(K, D): (μ_k − μ_r) / √(Σ_j π_j v_j) by column, μ_r the mean of the other components; 0 where K = 1.

    The difference of the means in standard deviations within components.
    """
    weights, means = model.weights / model.weights.sum(), model.means
    if model.components == 1:
        return torch.zeros_like(means)
    others = weights.expand(model.components, -1) * (1 - torch.eye(model.components, dtype=torch.float64))
    others = others / others.sum(1, keepdim=True)
    means = means - weights @ means  # about the centre of all, where differences do not cancel
    return (means - others @ means) / (weights @ model.covariances.diagonal(dim1=1, dim2=2)).sqrt()


@torch.no_grad()
def nearest(model: GaussianMixture) -> list[int]:
    """Of every component the one that is nearest to it: δᵀ ((Σ_i + Σ_j) / 2)⁻¹ δ is least for the difference δ of
    the means. Of two or more components."""
    found = []
    for k in range(model.components):
        middle = (model.covariances + model.covariances[k]) / 2
        apart = (model.means - model.means[k])[:, :, None]
        distance = (apart * torch.linalg.solve(middle, apart)).sum((1, 2))
        distance[k] = torch.inf
        found.append(int(distance.argmin()))
    return found


@torch.no_grad()
def contrast(model: GaussianMixture, one: int, other: int) -> Tensor:
    """(D,): (μ_i − μ_j) / √((v_i + v_j) / 2) by column, of two components."""
    variances = model.covariances.diagonal(dim1=1, dim2=2)
    return (model.means[one] - model.means[other]) / ((variances[one] + variances[other]) / 2).sqrt()
