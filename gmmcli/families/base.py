"""The contract of a covariance family, and what follows from it for all of them.

A family is a set of small maps between a mixture's parameters, the natural coefficients of the pass over the
data, the sufficient statistics, and unconstrained tensors for gradient descent. Whatever is special about a
family is in its `scale`, one tensor with a leading dimension J: K when every component has its own covariance,
1 when all share one. The maps below never ask which of the two it is.

Alphabet: N rows, K components, D columns, Q quadratic features, J = K or 1, B rows of a chunk.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from gmmcli.errors import InputError
from gmmcli.families.affine import Affine

LOG_2PI = math.log(2 * math.pi)
STARVED = 1e-12  # a component with less than this share of the weight keeps its mean and covariance
SMALLEST_WEIGHT = 1e-300  # below it a weight's logarithm is taken as that of this number, to stay finite
SMALLEST_LOGIT = -80.0  # exp of less underflows in float32, which costs 35 times the time; e⁻⁸⁰ beside 1 is nothing
GROUP_NUMBERS = {"cpu": 1 << 17, "cuda": 1 << 24}  # of the components that are worked together


@dataclass(frozen=True)
class Parameters:
    """The parameters of one mixture, float64: weights (K,), means (K, D), scale (J, ...) as the family defines it.

    background: () weight of a component of uniform density over a box, or None; with it the weights sum to 1.
    """

    weights: Tensor  # (K,)
    means: Tensor  # (K, D)
    scale: Tensor  # (J, ...)
    background: Tensor | None = None  # ()

    @property
    def components(self) -> int:
        """K."""
        return self.means.shape[0]

    @property
    def dims(self) -> int:
        """D."""
        return self.means.shape[1]

    def to(self, device: torch.device | str) -> Parameters:
        """The same parameters on another device."""
        background = None if self.background is None else self.background.to(device)
        return Parameters(self.weights.to(device), self.means.to(device), self.scale.to(device), background)

    def order(self, index: Tensor) -> Parameters:
        """The components taken in the order of `index` (K,)."""
        scale = self.scale if self.scale.shape[0] == 1 else self.scale[index]
        return Parameters(self.weights[index], self.means[index], scale, self.background)

    def beside(self, background: Tensor | None) -> Parameters:
        """The same components with a background of this weight, () or None."""
        share = 1 if background is None else 1 - background
        total = self.weights.sum().clamp_min(SMALLEST_WEIGHT)  # a background may have taken all rows
        return Parameters(self.weights / total * share, self.means, self.scale, background)


@dataclass(frozen=True)
class Coefficients:
    """η of DESIGN's log π_k + log N(x | μ_k, Σ_k) = linear_k · [1, x] + quad_k · quad(x).

    linear: (K, 1 + D), quad: (J, Q).
    """

    linear: Tensor  # (K, 1+D)
    quad: Tensor  # (J, Q)


@dataclass(frozen=True)
class Unconstrained:
    """Parameters as free tensors: logits (K,), one more for a background, means (K, D), raw (J, ...) unbounded."""

    logits: Tensor
    means: Tensor
    raw: Tensor


# A function that writes the quadratic features of B rows, given the views that a family makes of the rows and of what
# it writes to: in the part of Python that TorchScript knows, so that the pass can compile it.
QuadFiller = Callable[[list[Tensor]], None]

# A function of B rows held as columns, (D, B), to (K, B): a number for each component and row. What depends on the
# parameters alone is done when it is made.
ByRow = Callable[[Tensor], Tensor]

# A function from rows x (D, B), means (K, D) and what a family makes of its scale, (K, …), to the squared Mahalanobis
# distances (K, B). It is differentiable, in the part of Python that TorchScript knows, and made of elementwise
# operations in the order of the columns: so a row's bits depend on that row alone.
Distances = Callable[[Tensor, Tensor, Tensor], Tensor]


class Family(ABC):
    """One way to parametrise the K covariances of a mixture. Instances hold no state but their name."""

    coordinates: Literal["whitened", "columns", "scalar"]  # the largest class of maps that it is closed under
    scale_name: str  # what `scale` is called in the model file
    learned = True  # False: `scale` is given by the user and never estimated

    by_cell = False  # whether a row's density is a product over its cells, given the component; see VarianceFamily

    def __init__(self, name: str, *, shared: bool = False):
        self.name = name
        self.shared = shared  # one covariance for all components

    # ---- what a family supplies -------------------------------------------------------------------------

    @abstractmethod
    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        """Shape of `scale`, J first."""

    @abstractmethod
    def scale_count(self, dims: int) -> int:
        """Free parameters of one covariance."""

    @abstractmethod
    def rank_rows(self, dims: int) -> int:
        """Rows that a component needs for a covariance of full rank."""

    @abstractmethod
    def inverse_wishart(self, degrees: float, variance: float, dims: int) -> tuple[float, Tensor]:
        """c and features t (Q,) of a conjugate prior: log density −½ c log |Σ| + quad_coefficients · t + constant.

        Of a full covariance, inverse-Wishart with ν = `degrees` and Λ = variance · I; else an inverse gamma of every
        variance, of shape ν/2 and scale variance/2.
        """

    @abstractmethod
    def quad_size(self, dims: int) -> int:
        """Q, the number of quadratic features."""

    @property
    @abstractmethod
    def quad_filler(self) -> QuadFiller:
        """The function that writes the quadratic features, one object for all mixtures of the family.

        Features are non-decreasing in every |z_i|, and ‖quad(z)‖ ≤ ‖z‖².
        """

    @abstractmethod
    def quad_places(
        self,
        z: Tensor,  # (D, B)
        out: Tensor,  # (Q, B)
        spare: Tensor,  # (spare_size, B)
    ) -> list[Tensor]:
        """The views with which `quad_filler` writes to `out` the features of the columns of z."""

    def spare_size(self, dims: int) -> int:
        """Numbers that `quad_filler` writes beside the features of a row."""
        return 0

    @abstractmethod
    def quad_coefficients(self, scale: Tensor) -> Tensor:
        """(J, Q) with quad_coefficients · quad(x) = −½ xᵀ Σ⁻¹ x."""

    @abstractmethod
    def precision_times(
        self,
        scale: Tensor,
        vectors: Tensor,  # (K, D)
    ) -> Tensor:
        """Σ_k⁻¹ v_k as (K, D)."""

    @abstractmethod
    def log_det(self, scale: Tensor, dims: int) -> Tensor:
        """log |Σ| as (J,)."""

    @property
    @abstractmethod
    def distances(self) -> Distances:
        """The function of (x_n − μ_k)ᵀ Σ_k⁻¹ (x_n − μ_k), one object for all mixtures of the family.

        From differences, never from expanded squares.
        """

    @property
    def differentiable_distances(self) -> Distances:
        """`distances`, to the bit, where gradients may be asked for: it need not be one that TorchScript knows."""
        return self.distances

    @abstractmethod
    def distance_factors(self, scale: Tensor) -> Tensor:
        """What `distances` needs of the covariances, (J, …)."""

    def distance_numbers(self, dims: int) -> int:
        """Numbers that `distances` holds for each component and row."""
        return 1

    @abstractmethod
    def scale_from_scatter(
        self,
        scatter: Tensor,  # (J, Q)
        counts: Tensor,  # (J,)
        dims: int,
        floor: float,
    ) -> Tensor:
        """The maximum-likelihood scale for scatter Σ r quad(x − μ), no variance or eigenvalue below `floor`."""

    @abstractmethod
    def project(self, scale: Tensor, floor: float) -> Tensor:
        """The scale with every variance or eigenvalue below `floor` raised to it; the others untouched."""

    @abstractmethod
    def from_covariances(
        self,
        covariances: Tensor,  # (J, D, D)
    ) -> Tensor:
        """The member of the family nearest, in likelihood, to data with these covariances."""

    @abstractmethod
    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        """Σ as (J, D, D)."""

    @abstractmethod
    def scale_trils(self, scale: Tensor, dims: int) -> Tensor:
        """The lower Cholesky factors of the covariances, (J, D, D)."""

    @abstractmethod
    def marginal_scale(
        self,
        scale: Tensor,
        columns: Tensor,  # (D',) int64
    ) -> Tensor:
        """The scale of the marginal distribution of these columns, in their order."""

    @abstractmethod
    def complete(
        self,
        p: Parameters,
        observed: Tensor,  # (D',) int64
        counts: Tensor,  # (K,)
        sums: Tensor,  # (K, D')
        quads: Tensor,  # (J, Q')
    ) -> tuple[Tensor, Tensor]:
        """Σ r E[x | x_o] (K, D) and Σ r E[quad(x) | x_o] (J, Q) from the statistics of the observed columns alone.

        A missing part is, given the observed one, normal about μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o).
        """

    @abstractmethod
    def quad_of_products(
        self,
        products: Tensor,  # (K, D, D)
    ) -> Tensor:
        """Σ r quad(x) as (K, Q) from Σ r x xᵀ, of which only the lower triangle is looked at."""

    @abstractmethod
    def eigenvalue_range(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest eigenvalue of each covariance, (J,) and (J,)."""

    @abstractmethod
    def colour(
        self,
        scale: Tensor,
        component: Tensor,  # (N,) int64
        noise: Tensor,  # (N, D)
    ) -> Tensor:
        """Σ_k^½ ε for rows of standard normal noise: what is added to the mean to draw a row."""

    @abstractmethod
    def to_raw(self, scale: Tensor) -> Tensor:
        """The scale as a tensor without bounds, for gradient descent."""

    @abstractmethod
    def from_raw(self, raw: Tensor) -> Tensor:
        """Inverse of `to_raw`, differentiable."""

    @abstractmethod
    def scale_outer(self, scale: Tensor, factor: Tensor) -> Tensor:
        """The scale after the map x = factor z, for a factor of the family's kind or a simpler one."""

    @abstractmethod
    def scale_problem(self, scale: Tensor) -> str | None:
        """What is wrong with these values (not positive, not lower triangular), or None."""

    # ---- what follows for all -----------------------------------------------------------------------------

    @final
    def sharing(self, components: int) -> int:
        """J: the number of covariances of a mixture of K components."""
        return 1 if self.shared else components

    @final
    def quad(
        self,
        z: Tensor,  # (D, B)
    ) -> Tensor:
        """Quadratic features (Q, B) of B rows held as columns."""
        out, spare = (z.new_empty(size(len(z)), z.shape[1]) for size in (self.quad_size, self.spare_size))
        self.quad_filler(self.quad_places(z, out, spare))
        return out

    @final
    def quad_bound(
        self,
        bound: Tensor,  # (1+D,)
    ) -> Tensor:
        """Upper bounds (Q,) of |quad(z)| where |[1, z]| ≤ bound."""
        return self.quad(bound[1:, None])[:, 0]

    @final
    def parameter_count(self, components: int, dims: int) -> int:
        """Free parameters: K − 1 weights, K D means, and the covariances that are learned."""
        covariances = self.sharing(components) * self.scale_count(dims) if self.learned else 0
        return components - 1 + components * dims + covariances

    @final
    def log_constants(self, p: Parameters, smallest: float = SMALLEST_WEIGHT) -> Tensor:
        """log π_k − ½ (D log 2π + log |Σ_k|), (K,): the log density of a row at the mean of its component.

        smallest: what a weight below it is taken as.
        """
        return p.weights.clamp_min(smallest).log() - 0.5 * (p.dims * LOG_2PI + self.log_det(p.scale, p.dims))

    @final
    def coefficients(self, p: Parameters, smallest: float = SMALLEST_WEIGHT) -> Coefficients:
        """η(θ), differentiable in the parameters. smallest: what a weight below it is taken as.

        log π_k + log N(x | μ_k, Σ_k) = [log π_k − ½ (D log 2π + log|Σ_k| + μᵀΣ⁻¹μ)] + (Σ⁻¹μ)·x − ½ xᵀΣ⁻¹x.
        """
        slope = self.precision_times(p.scale, p.means)  # (K, D)
        constant = self.log_constants(p, smallest) - 0.5 * (slope * p.means).sum(1)
        return Coefficients(torch.cat([constant[:, None], slope], 1), self.quad_coefficients(p.scale))

    @final
    def joint_terms(self, p: Parameters) -> JointTerms:
        """What `log_joint_of` needs of a mixture; a component without weight has log π_k = −∞."""
        factors = self.distance_factors(p.scale)
        factors = factors.expand(p.components, *factors.shape[1:])
        return JointTerms(self.log_constants(p, smallest=0.0)[:, None], p.means, factors)

    @final
    def log_joint_by_row(self, p: Parameters) -> ByRow:
        """log π_k + log N(x_n | μ_k, Σ_k) as (K, B) in nats, from differences to the means, differentiable."""
        joint, terms = log_joint_of(self.differentiable_distances), self.joint_terms(p)
        numbers = self.distance_numbers(p.dims)
        return lambda x: joint(x, terms, components_at_once(x.device, numbers * x.shape[1]))

    @final
    def log_joint(
        self,
        p: Parameters,
        x: Tensor,  # (B, D)
    ) -> Tensor:
        """The same of rows (B, D), as (B, K)."""
        return self.log_joint_by_row(p)(x.mT).mT

    @final
    def m_step(
        self,
        counts: Tensor,  # (K,)
        sums: Tensor,  # (K, D)
        quads: Tensor,  # (J, Q)
        previous: Parameters,
        floor: float,
    ) -> Parameters:
        """Parameters that maximise the expected complete log-likelihood given the sufficient statistics.

        π_k = n_k / N, μ_k = Σ r x / n_k, and the covariance from Σ r quad(x − μ) = Σ r quad(x) − n quad(μ).
        A component that has lost all its rows keeps the mean and covariance of `previous`.
        """
        total = counts.sum().clamp_min(SMALLEST_WEIGHT)  # a background may have taken all rows
        alive = counts > STARVED * total
        safe = torch.where(alive, counts, torch.ones_like(counts))
        means = torch.where(alive[:, None], sums / safe[:, None], previous.means)
        about_origin = counts[:, None] * self.quad(means.mT).mT  # (K, Q)
        if self.shared:
            scatter, weight, keep = quads - about_origin.sum(0, keepdim=True), total[None], alive.any()[None]
        else:
            scatter, weight, keep = quads - about_origin, safe, alive
        if not self.learned:
            return Parameters(counts / total, means, previous.scale)
        scale = self.scale_from_scatter(scatter, weight, previous.dims, floor)
        keep = keep.reshape(-1, *[1] * (scale.ndim - 1))
        return Parameters(counts / total, means, torch.where(keep, scale, previous.scale))

    @final
    def marginal(
        self,
        p: Parameters,
        columns: Tensor,  # (D',) int64
    ) -> Parameters:
        """The mixture of these columns alone, the others integrated out."""
        return replace(p, means=p.means[:, columns], scale=self.marginal_scale(p.scale, columns))

    @final
    def others(
        self,
        columns: Tensor,  # (D',) int64
        dims: int,
    ) -> Tensor:
        """The columns that are not among these, in order."""
        rest = torch.ones(dims, dtype=torch.bool, device=columns.device)
        rest[columns] = False
        return rest.nonzero()[:, 0]

    @final
    def hold(self, p: Parameters, floor: float) -> Parameters:
        """The parameters with every learned variance or eigenvalue at the floor or above."""
        return replace(p, scale=self.project(p.scale, floor)) if self.learned else p

    @final
    def from_moments(
        self,
        weights: Tensor,  # (K,)
        means: Tensor,  # (K, D)
        covariances: Tensor,  # (K, D, D)
    ) -> Parameters:
        """The family's mixture nearest to given moments; shared covariances are the weighted mean."""
        if self.shared:
            covariances = (weights[:, None, None] * covariances).sum(0, keepdim=True) / weights.sum()
        return Parameters(weights, means, self.from_covariances(covariances))

    @final
    def unconstrain(self, p: Parameters) -> Unconstrained:
        """Free tensors for gradient descent: logits log π, the means, and the family's raw scale."""
        weights = p.weights if p.background is None else torch.cat([p.weights, p.background[None]])
        return Unconstrained(weights.clamp_min(SMALLEST_WEIGHT).log(), p.means, self.to_raw(p.scale))

    @final
    def constrain(self, u: Unconstrained) -> Parameters:
        """Inverse of `unconstrain`, differentiable; the logits may have any common offset."""
        weights = u.logits.softmax(0)
        components = len(u.means)
        background = weights[components] if len(weights) > components else None
        return Parameters(weights[:components], u.means, self.from_raw(u.raw), background)

    @final
    def to_outer(self, p: Parameters, affine: Affine) -> Parameters:
        """The mixture of x = shift + factor z when p is that of z."""
        return replace(p, means=affine.outer(p.means), scale=self.scale_outer(p.scale, affine.factor))

    @final
    def to_inner(self, p: Parameters, affine: Affine) -> Parameters:
        """The mixture of z when p is that of x = shift + factor z."""
        return replace(p, means=affine.inner(p.means), scale=self.scale_outer(p.scale, affine.inverse().factor))

    @final
    def validate(self, p: Parameters) -> None:
        """Raises InputError in one line when shapes, finiteness, weights or covariances are not a mixture's."""
        if p.means.ndim != 2 or p.weights.ndim != 1 or p.weights.shape[0] != p.means.shape[0]:
            raise InputError(
                f"weights of shape {tuple(p.weights.shape)} and means of shape {tuple(p.means.shape)}: "
                "expected (K,) and (K, D)"
            )
        expected = self.scale_shape(p.components, p.dims)
        if tuple(p.scale.shape) != expected:
            raise InputError(
                f"{self.scale_name} has shape {tuple(p.scale.shape)}: family {self.name} with "
                f"{p.components} components of {p.dims} columns needs {expected}"
            )
        for name, tensor in (("weights", p.weights), ("means", p.means), (self.scale_name, p.scale)):
            if not bool(tensor.isfinite().all()):
                raise InputError(f"{name} are not all finite")
        background = 0.0 if p.background is None else float(p.background)
        if not 0 <= background <= 1:
            raise InputError("the weight of the background must be from 0 to 1")
        if bool((p.weights < 0).any()) or abs(float(p.weights.sum()) + background - 1) > 1e-6:
            raise InputError("weights must be non-negative and sum to 1")
        problem = self.scale_problem(p.scale)
        if problem:
            raise InputError(problem)


class JointTerms(NamedTuple):
    """constants: (K, 1) log π_k − ½ (D log 2π + log |Σ_k|); centres: (K, D) μ_k; factors: (K, …)."""

    constants: Tensor
    centres: Tensor
    factors: Tensor


LogJoint = Callable[[Tensor, JointTerms, int], Tensor]


@cache
def log_joint_of(distances: Distances) -> LogJoint:
    """The function from rows x (D, B) to log π_k + log N(x_n | μ_k, Σ_k), (K, B), `size` components at a time."""

    def joint(
        x: Tensor,  # (D, B)
        terms: JointTerms,
        size: int,
    ) -> Tensor:
        parts: list[Tensor] = []
        for first in range(0, terms.centres.shape[0], size):
            k = slice(first, first + size)
            parts.append(torch.add(terms.constants[k], distances(x, terms.centres[k], terms.factors[k]), alpha=-0.5))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return joint


def components_at_once(device: torch.device, numbers: int) -> int:
    """Components that are worked together, of so many numbers each: on a CPU, so many that its cache holds them."""
    return max(1, GROUP_NUMBERS.get(device.type, GROUP_NUMBERS["cuda"]) // max(1, numbers))
