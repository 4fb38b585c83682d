"""Contrasts: the columns by which a component differs from the rest of its mixture, and from another component."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.model.mixture import GaussianMixture


@torch.no_grad()
def contrasts(model: GaussianMixture) -> Tensor:
    """Differences of the means of two or more components in standard deviations within them, (K, D), by column.

    (μ_k − μ_r) / √(Σ_j π_j v_j), μ_r the mean of the other components.
    """
    weights, means = model.weights / model.weights.sum(), model.means
    others = weights.expand(model.components, -1) * (1 - torch.eye(model.components, dtype=torch.float64))
    others = others / others.sum(1, keepdim=True)
    means = means - weights @ means  # about the centre of all, where differences do not cancel
    return (means - others @ means) / (weights @ model.covariances.diagonal(dim1=1, dim2=2)).sqrt()


@torch.no_grad()
def nearest(model: GaussianMixture) -> list[int]:
    """Index of the nearest other component, for each of two or more: the one of least δᵀ ((Σ_i + Σ_j) / 2)⁻¹ δ, where
    δ is the difference of the means.
    """
    indices = []
    for k in range(model.components):
        middle = (model.covariances + model.covariances[k]) / 2
        apart = (model.means - model.means[k])[:, :, None]
        distance = (apart * torch.linalg.solve(middle, apart)).sum((1, 2))
        distance[k] = torch.inf
        indices.append(int(distance.argmin()))
    return indices


@torch.no_grad()
def contrast(model: GaussianMixture, one: int, other: int) -> Tensor:
    """Differences of two means in standard deviations, (D,), by column: (μ_i − μ_j) / √((v_i + v_j) / 2)."""
    variances = model.covariances.diagonal(dim1=1, dim2=2)
    return (model.means[one] - model.means[other]) / ((variances[one] + variances[other]) / 2).sqrt()
