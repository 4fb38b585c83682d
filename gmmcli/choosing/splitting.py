"""Mixtures with more components, made by splitting: starts of a larger fit from a smaller one."""

from __future__ import annotations

import torch

from gmmcli.model.mixture import GaussianMixture

APART = 0.7  # standard deviations along the longest axis that each half's mean moves
MOST = 10  # most mixtures


@torch.no_grad()
def split(model: GaussianMixture, components: int, apart: float = APART) -> list[GaussianMixture]:
    """Mixtures with `components` components. Each splits another component of the model first, heaviest first.

    A component of weight π, mean μ, covariance Σ with largest eigenvalue λ along v becomes two of π/2, μ ± a√λ v and
    Σ − a²λ v vᵀ, with a = `apart`. Together they have its moments. Further components come from splitting the
    heaviest, repeatedly.
    """
    weights, means, covariances = model.weights / model.weights.sum(), model.means, model.covariances
    made: list[GaussianMixture] = []
    for first in weights.argsort(descending=True, stable=True)[:MOST].tolist():
        parts = list(zip(weights.tolist(), means, covariances, strict=True))
        place = first
        while len(parts) < components:
            weight, mean, covariance = parts.pop(place)
            values, vectors = torch.linalg.eigh(covariance)
            step = apart * values[-1].clamp_min(0).sqrt() * vectors[:, -1]
            rest = covariance - step[:, None] * step
            parts += [(weight / 2, mean - step, rest), (weight / 2, mean + step, rest)]
            place = max(range(len(parts)), key=lambda k: parts[k][0])
        shares = torch.tensor([part[0] for part in parts], dtype=torch.float64)
        means_, covariances_ = (torch.stack([part[i] for part in parts]) for i in (1, 2))
        larger = GaussianMixture.from_covariances(shares, means_, covariances_, model.family)
        made.append(larger if model.background is None else _beside(larger, model))
    return made


def _beside(larger: GaussianMixture, model: GaussianMixture) -> GaussianMixture:
    """The mixture with the background of another."""
    assert model.background is not None
    weights = larger.weights * (1 - model.background)
    return GaussianMixture(
        weights, larger.means, larger.inner_scale, larger.family, background=model.background, box=model.box
    )
