"""A family that does not ship, to prove the contract: EVV, equal volume, free shape and orientation.

    Σ_k = λ A_k, |A_k| = 1      A_k = S_k / |S_k|^{1/D}      λ = Σ_k |S_k|^{1/D} / N

with S_k the scatter of component k. Celeux & Govaert, "Gaussian parsimonious clustering models", Pattern Recognition
28 (1995).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families import Entry
from gmmcli.families.base import Family, Parameters
from gmmcli.families.linear import below
from gmmcli.families.quadratic import PRODUCTS


class EqualVolume(Family):
    """The scale is `covariances`, (K, D, D), all of one determinant."""

    coordinates = "whitened"
    scale_name = "covariances"
    coupled = True

    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        return (components, dims, dims)

    def covariance_count(self, components: int, dims: int) -> int:
        return components * dims * (dims + 1) // 2 - (components - 1)

    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        return scale

    def scale_from_scatter(
        self, scatter: Tensor, counts: Tensor, dims: int, floor: float, previous: Parameters | None
    ) -> Tensor:
        matrices = PRODUCTS.unpack(scatter, dims)
        volumes = matrices.det() ** (1 / dims)
        covariances = matrices * (volumes.sum() / counts.sum() / volumes)[:, None, None]
        return self._held(matrices, counts, floor) if bool(below(covariances, floor).any()) else covariances

    def _held(self, matrices: Tensor, counts: Tensor, floor: float) -> Tensor:
        """The maximiser under Σ_k ⪰ floor I: eigenvalues max(floor, s / ν_k), with Σ ν_k = N and equal volumes.

        The floor leaves eigenvectors as they are. In logarithms the problem is convex, and ν_k is its multiplier for
        log |Σ_k| = D log floor + excess. Given the excess ν_k is the largest of D candidates, one for each number of
        eigenvalues above the floor; the excess is bisected.
        """
        values, vectors = torch.linalg.eigh(matrices)
        floor = max(floor, torch.finfo(values.dtype).tiny)
        ratios = (values.clamp_min(floor * counts[:, None] * 1e-12) / floor).log()
        above = ratios.flip(-1).cumsum(-1)
        number = torch.arange(1, above.shape[1] + 1)
        low, high = above.new_zeros(()), above.amax() + number[-1] * 100
        multipliers = (above / number).amax(-1)
        for _ in range(200):
            excess = (low + high) / 2
            multipliers = ((above - excess) / number).amax(-1)
            low, high = (excess, high) if multipliers.exp().sum() > counts.sum() else (low, excess)
        values = floor * (ratios - multipliers[:, None]).clamp_min(0).exp()
        return (vectors * values[:, None, :]) @ vectors.mT


EVV = EqualVolume("evv")
ENTRY = Entry("tests.families.evv:EVV", "every component has a covariance of its own, all of one volume", ("tied",))
