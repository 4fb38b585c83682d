"""What families have in common whose scale is a tensor of variances, each free and positive."""

from __future__ import annotations

from torch import Tensor

from gmmcli.families.base import Family


class VarianceFamily(Family):
    """The scale is `variances`; raw is their logarithm, and a floor is a floor on each."""

    scale_name = "variances"

    def project(self, scale: Tensor, floor: float) -> Tensor:
        return scale.clamp_min(floor)

    def scale_trils(self, scale: Tensor, dims: int) -> Tensor:
        return self.covariances(scale, dims).sqrt()

    def to_raw(self, scale: Tensor) -> Tensor:
        return scale.log()

    def from_raw(self, raw: Tensor) -> Tensor:
        return raw.exp()

    def scale_outer(self, scale: Tensor, factor: Tensor) -> Tensor:
        return scale * factor.square()

    def scale_problem(self, scale: Tensor) -> str | None:
        return "a variance is not positive" if bool((scale <= 0).any()) else None
