"""Choice of the kernel for a mixture: the cheapest one whose rounding is bearable, both known before the pass.

Rounding: terms of a logit of the feature route may cancel, and its error is at most eps/2 · Σ |η| |φ|. Over
ROUNDING_LIMIT the centred route takes the mixture; its error is about eps/2 · ‖z‖ ‖W‖ ‖u‖. If that is over the limit
too, the centred route takes it in float64.

Cost, per row, of the two routes that sum about the origin: building P features against squaring and weighting K D
differences, and the products of either. The constants are measured on a CPU with AVX-512 in float64. Only their
ratios matter, and those are about the same in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gmmcli.families.base import Coefficients, Family, Parameters
from gmmcli.passes.kernels.base import Kernel, whitening
from gmmcli.passes.kernels.centred import CentredKernel
from gmmcli.passes.kernels.features import FeatureKernel
from gmmcli.passes.kernels.triangular import BLOCK, TriangularKernel

ROUNDING_LIMIT = 1e-3  # nats of error of a logit by cancellation, in a worst case that rows do not reach
BUILD = 0.5  # ns to build a feature
TOUCH = 0.7  # ns to square, sum and weight a difference
FLOP = 0.0135  # ns of a floating-point operation within a matrix product


@dataclass(frozen=True)
class Reach:
    """Bounds of the rows in the coordinates of the fit: of |[1, z]|, of |quad(z)|, and of ‖z‖."""

    bound: Tensor  # (1+D,)
    quad_bound: Tensor  # (Q,)
    radius: float

    def largest_terms(self, eta: Coefficients) -> float:
        """Upper bound of Σ |η| |φ| over components and rows, nats: of a logit, and of the terms that cancel in it.

        It is the lesser of two: by columns, and by Cauchy and Schwarz with ‖z‖ ≤ radius and ‖quad(z)‖ ≤ ‖z‖².
        """
        by_column = eta.linear.abs() @ self.bound + eta.quad.abs() @ self.quad_bound
        return float(torch.minimum(by_column, _terms_at(eta, self.radius)).max())


def _terms_at(eta: Coefficients, radius: float | Tensor) -> Tensor:
    """Upper bounds (K,) of Σ |η| |φ| for rows at this distance from the origin."""
    slope, curve = (torch.linalg.vector_norm(t, dim=1) for t in (eta.linear[:, 1:], eta.quad))
    return eta.linear[:, 0].abs() + slope * radius + curve * radius * radius


def centred_error(family: Family, p: Parameters, radius: float) -> float:
    """The largest ‖z − μ‖ ‖W‖ ‖u‖ over components, for rows a few deviations from their component's mean.

    Where a component is outside the data its rows lie as far from it as it is.
    """
    size = whitening(family, p)[:, :, 1:].norm(dim=(1, 2))
    away = p.means.norm(dim=1)
    typical = (size * (away - radius)).clamp_min(math.sqrt(p.dims) + 6)
    return float((size * (radius + away) * typical).max())


def features_are_cheaper(family: Family, components: int, dims: int) -> bool:
    """Whether the feature route takes less time than the triangular one, for one mixture alone."""
    width = 1 + dims + family.form.size(dims)
    features = width * BUILD + 4 * components * width * FLOP
    share = (1 + min(1.0, BLOCK / dims)) / 2  # of the square that the blocks of its triangle cover
    return features <= components * dims * TOUCH + 4 * components * dims * dims * share * FLOP


@dataclass(frozen=True)
class Route:
    """The kernel of a mixture and its precision. constant_quads: the feature route without the quadratic term."""

    kernel: type[Kernel]
    dtype: torch.dtype
    constant_quads: bool = False

    def build(
        self, family: Family, mixtures: Sequence[Parameters], etas: Sequence[Coefficients], **options: Any
    ) -> Kernel:
        """The kernel of mixtures with these coefficients. options: the other arguments of Kernel."""
        return self.kernel(
            family, mixtures, etas=etas, dtype=self.dtype, constant_quads=self.constant_quads, **options
        )


def route(
    family: Family, p: Parameters, terms: float, radius: float, dtype: torch.dtype, constant_quads: bool
) -> Route:
    """The route for a mixture, whatever others share the reading.

    constant_quads: whether the feature route may leave out the quadratic term, which makes it the fastest.
    """
    eps = torch.finfo(dtype).eps / 2
    if eps * terms <= ROUNDING_LIMIT:
        if constant_quads or features_are_cheaper(family, p.components, p.dims):
            return Route(FeatureKernel, dtype, constant_quads)
        return Route(TriangularKernel, dtype)
    if dtype == torch.float64 or eps * centred_error(family, p, radius) <= ROUNDING_LIMIT:
        return Route(CentredKernel, dtype)
    return Route(CentredKernel, torch.float64)


def masked_route(terms: float, dtype: torch.dtype, constant_quads: bool) -> Route:
    """The route for masked features, of which only the feature kernel knows: in float64 if rounding is too large."""
    enough = torch.finfo(dtype).eps / 2 * terms <= ROUNDING_LIMIT
    return Route(FeatureKernel, dtype if enough else torch.float64, constant_quads)


def typical_rounding(
    chosen: Route, family: Family, p: Parameters, eta: Coefficients, terms: float, unit: float
) -> float:
    """Error of a log-likelihood per row that comes from its logits, nats.

    A sum of n products of rounded factors makes n + 3 errors of a product, each no larger than u Σ |η| |φ|, of either
    sign and in an order that is the matrix product's own: √(n + 3) u Σ |η| |φ| bounds them in practice, whatever the
    order. Higham & Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41 (2019).

    terms: upper bound of Σ |η| |φ| over all rows. unit: the unit roundoff u.
    """
    if chosen.kernel is CentredKernel:
        count = 2 * p.dims  # of u, and of its square
    else:
        count = eta.linear.shape[1] + (0 if chosen.constant_quads else eta.quad.shape[1])
    return math.sqrt(count + 3) * unit * min(terms, _typical_terms(chosen, family, p, eta))


def _typical_terms(chosen: Route, family: Family, p: Parameters, eta: Coefficients) -> float:
    """Mean of Σ |η| |φ| over rows and their components, nats, or its equivalent on the centred route.

    Rows are taken to lie about a component's mean no wider than all rows about theirs, where ‖z‖² is D. The centred
    route rounds D squares, and μ, which moves all of a component's rows by ‖W‖ ‖μ‖ deviations: three quarters of that
    are taken to cancel.
    """
    distance = p.means.square().sum(1)
    if chosen.kernel is CentredKernel:
        moved = whitening(family, p)[:, :, 1:].norm(dim=(1, 2)) * distance.sqrt()
        return p.dims + float(p.weights @ moved) / 4
    if chosen.constant_quads:
        eta = replace(eta, quad=torch.zeros_like(eta.quad))
    return float(p.weights @ _terms_at(eta, (distance + p.dims).sqrt()))
