"""The contract of a covariance family, and everything that follows from it.

A family parametrises the K covariances of a mixture by one tensor, its `scale`, with a leading dimension J: K where
every component has a covariance, 1 where one covariance is shared. A new family supplies the abstract maps:

- `scale_shape`, `covariance_count`: shape of `scale`, and number of free parameters in it.
- `covariances`: dense covariances of a scale.
- `scale_from_scatter`: the M-step, from the scatter of every component; it may be iterative.

The rest is derived from dense covariances. Methods under "hooks" may be overridden, for speed or for bits; all other
concrete methods are final.

Alphabet: N rows, K components, D columns, Q quadratic features, J = K or 1, B rows of a chunk.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from gmmcli.errors import InputError
from gmmcli.families import get_family
from gmmcli.families.linear import Affine, below, cholesky, inverse_tril, regression
from gmmcli.families.quadratic import PRODUCTS, Form

LOG_2PI = math.log(2 * math.pi)
STARVED = 1e-12  # a component with less than this share of the weight keeps its mean and covariance
SMALLEST_WEIGHT = 1e-300  # below it a weight's logarithm is taken as that of this number, to stay finite
SMALLEST_LOGIT = -80.0  # exp of less underflows in float32, which costs 35 times the time; e⁻⁸⁰ beside 1 is nothing
MEMBER = 1e-6  # relative distance to the family up to which a scale counts as a member


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
        """The parameters on another device."""
        background = None if self.background is None else self.background.to(device)
        return Parameters(self.weights.to(device), self.means.to(device), self.scale.to(device), background)

    def order(self, index: Tensor) -> Parameters:
        """The components with these indices, in this order."""
        scale = self.scale if self.scale.shape[0] == 1 else self.scale[index]
        return Parameters(self.weights[index], self.means[index], scale, self.background)

    def beside(self, background: Tensor | None) -> Parameters:
        """The components beside a background of this weight, () or None."""
        share = 1 if background is None else 1 - background
        total = self.weights.sum().clamp_min(SMALLEST_WEIGHT)  # a background may have taken all rows
        return Parameters(self.weights / total * share, self.means, self.scale, background)


@dataclass(frozen=True)
class Coefficients:
    """η of DESIGN's log π_k + log N(x | μ_k, Σ_k) = linear_k · [1, x] + quad_k · quad(x)."""

    linear: Tensor  # (K, 1+D)
    quad: Tensor  # (J, Q)


@dataclass(frozen=True)
class Unconstrained:
    """Parameters as free tensors: logits (K,), one more for a background, means (K, D), raw (J, ...) unbounded."""

    logits: Tensor
    means: Tensor
    raw: Tensor


class Family(ABC):
    """One way to parametrise the K covariances of a mixture. Instances hold no state but their name and flags.

    name: in the table FAMILIES. shared: one covariance serves all components, J = 1, and their scatter is pooled.
    learned: False where the user gives `scale` and it is never estimated.

    coordinates: the largest class of linear maps under which the family is closed. scale_name: the name of `scale` in
    a model file. form: the quadratic features and distances; with another form than PRODUCTS a family supplies
    `quad_coefficients` and `distance_factors`. coupled: whether a component's covariance depends on the scatter of
    others though it is not shared. by_cell: whether a row's density, given its component, is a product over its
    cells; see DiagonalFamily.
    """

    coordinates: Literal["whitened", "columns", "scalar"]
    scale_name: str
    form: Form = PRODUCTS
    coupled = False
    by_cell = False

    def __init__(self, name: str, *, shared: bool = False, learned: bool = True):
        self.name = name
        self.shared = shared
        self.learned = learned

    # ---- required -----------------------------------------------------------------------------------------

    @abstractmethod
    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        """Shape of `scale`, J first."""

    @abstractmethod
    def covariance_count(self, components: int, dims: int) -> int:
        """Free parameters of all covariances of a mixture."""

    @abstractmethod
    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        """Σ as (J, D, D)."""

    @abstractmethod
    def scale_from_scatter(
        self, scatter: Tensor, counts: Tensor, dims: int, floor: float, previous: Parameters | None
    ) -> Tensor:
        """The maximum-likelihood scale, no variance or eigenvalue below `floor`.

        scatter: (J, Q) Σ r quad(x − μ). counts: (J,) Σ r. previous: parameters from which an iterative M-step may
        start; None where there are none.
        """

    # ---- hooks: derived from dense covariances, unless a family overrides them ------------------------------

    def from_covariances(self, covariances: Tensor, weights: Tensor) -> Tensor:
        """The scale of the member nearest, in likelihood, to data with covariances (J, D, D) and weights (J,)."""
        counts = weights if self.coupled else torch.ones_like(weights)
        scatter = counts[:, None] * self.form.of_products(covariances)
        return self.scale_from_scatter(scatter, counts, covariances.shape[-1], 0.0, None)

    def inverse_wishart(self, degrees: float, variance: float, dims: int) -> tuple[float, Tensor]:
        """c and features t (Q,) of a conjugate prior: log density −½ c log |Σ| + quad_coefficients · t + constant.

        For a full covariance: inverse-Wishart with ν = `degrees` and Λ = variance · I. For free variances: an inverse
        gamma of each, of shape ν/2 and scale variance/2.
        """
        return degrees + dims + 1, self.form.of_products(variance * torch.eye(dims, dtype=torch.float64)[None])[0]

    def scale_trils(self, scale: Tensor, dims: int) -> Tensor:
        """Lower Cholesky factors of the covariances, (J, D, D)."""
        return cholesky(self.covariances(scale, dims))

    def log_det(self, scale: Tensor, dims: int) -> Tensor:
        """log |Σ| as (J,)."""
        return 2 * self.scale_trils(scale, dims).diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def quad_coefficients(self, scale: Tensor, dims: int) -> Tensor:
        """(J, Q) with quad_coefficients · quad(x) = −½ xᵀ Σ⁻¹ x."""
        return PRODUCTS.coefficients(torch.cholesky_inverse(self.scale_trils(scale, dims)))

    def precision_times(self, scale: Tensor, vectors: Tensor) -> Tensor:
        """Σ_k⁻¹ v_k as (K, D), for vectors v of this shape."""
        factors = self.scale_trils(scale, vectors.shape[1]).expand(len(vectors), -1, -1)
        return torch.cholesky_solve(vectors[:, :, None], factors)[:, :, 0]

    def distance_factors(self, scale: Tensor, dims: int) -> Tensor:
        """Factors (J, …) that `form.distances` takes."""
        return inverse_tril(self.scale_trils(scale, dims))  # ‖L⁻¹ (x − μ)‖²: as exact as solving by row, and faster

    def eigenvalue_range(self, scale: Tensor, dims: int) -> tuple[Tensor, Tensor]:
        """Smallest and largest eigenvalue of each covariance, (J,) and (J,)."""
        singular = torch.linalg.svdvals(self.scale_trils(scale, dims))
        return singular[:, -1].square(), singular[:, 0].square()

    def project(self, scale: Tensor, dims: int, floor: float) -> Tensor:
        """The scale with every variance or eigenvalue below `floor` raised to it; the others untouched."""
        covariances = self.covariances(scale, dims)
        binds = below(covariances, floor)
        if not bool(binds.any()):
            return scale
        scatter = self.form.of_products(covariances)
        held = self.scale_from_scatter(scatter, scatter.new_ones(len(scatter)), dims, floor, None)
        return held if self.coupled else torch.where(_broadcast(binds, held), held, scale)

    def colour(self, scale: Tensor, component: Tensor, noise: Tensor) -> Tensor:
        """Σ_k^½ ε for components k (N,) and standard normal noise ε (N, D): with the mean added it is a drawn row."""
        # The product has as many rows as drew the component. Blocks are always drawn whole (gmmcli.model.synthetic).
        factors, coloured = self.scale_trils(scale, noise.shape[1]), torch.empty_like(noise)
        for k in component.unique().tolist():  # by component: a gathered (N, D, D) would not fit
            rows = component == k
            coloured[rows] = noise[rows] @ factors[k if len(factors) > 1 else 0].mT
        return coloured

    def to_raw(self, scale: Tensor, dims: int) -> Tensor:
        """The scale as a tensor without bounds, for gradient descent: Cholesky factors with log-diagonal."""
        factors = self.scale_trils(scale, dims)
        return factors.tril(-1) + factors.diagonal(dim1=-2, dim2=-1).log().diag_embed()

    def from_raw(self, raw: Tensor, dims: int) -> Tensor:
        """Inverse of `to_raw`, differentiable, for any tensor of so many numbers."""
        factors = exp_diagonal(raw, dims)
        return self.from_covariances(factors @ factors.mT, factors.new_ones(len(factors)))

    def scale_outer(self, scale: Tensor, dims: int, factor: Tensor) -> Tensor:
        """The scale after the map x = factor z, for a factor of the family's kind or a simpler one."""
        matrix = factor if factor.ndim == 2 else factor.expand(dims).diag()
        covariances = matrix @ self.covariances(scale, dims) @ matrix.mT
        return self.from_covariances(covariances, covariances.new_ones(len(covariances)))

    def scale_problem(self, scale: Tensor, dims: int) -> str | None:
        """The fault in these values: not positive definite, or of no member of the family. None if there is none."""
        covariances = self.covariances(scale, dims)
        if bool(below(covariances, 0.0).any()):
            return "a covariance is not positive definite"
        nearest = self.from_covariances(covariances, covariances.new_ones(len(covariances)))
        error = (self.covariances(nearest, dims) - covariances).abs().amax()
        return None if bool(error <= MEMBER * covariances.abs().amax()) else f"the covariances are not {self.name}"

    def marginal(self, p: Parameters, columns: Tensor) -> tuple[Family, Parameters]:
        """A family and its parameters: the mixture of columns (D',) int64, the others integrated out."""
        covariances = self.covariances(p.scale, p.dims)[:, columns][:, :, columns]
        family = get_family("tied" if self.shared else "full")
        return family, replace(p, means=p.means[:, columns], scale=cholesky(covariances))

    def complete(
        self, p: Parameters, observed: Tensor, counts: Tensor, sums: Tensor, quads: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Σ r E[x | x_o] (K, D) and Σ r E[quad(x) | x_o] (J, Q) from the statistics of the marginal of x_o.

        observed: columns (D',) int64. counts, sums, quads: (K,), (K, D') and (J, Q') of the marginal.
        A missing part is, given the observed one, normal about μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o).
        """
        lacking = torch.ones(p.dims, dtype=torch.bool, device=observed.device)
        lacking[observed] = False
        missing = lacking.nonzero()[:, 0]
        slope, rest = regression(self.covariances(p.scale, p.dims), observed, missing)
        # E[x | x_o] = base + lift x_o
        lift = slope.new_zeros(len(slope), p.dims, len(observed))
        lift[:, observed] = torch.eye(len(observed), dtype=slope.dtype, device=slope.device)
        lift[:, missing] = slope
        base = torch.zeros_like(p.means)
        base[:, missing] = p.means[:, missing] - (slope @ p.means[:, observed, None])[:, :, 0]
        lifted = (lift @ sums[:, :, None])[:, :, 0]
        cross = lifted[:, :, None] * base[:, None, :]
        products = cross + cross.mT + counts[:, None, None] * base[:, :, None] * base[:, None, :]
        rows = counts
        if self.shared:
            products, rows = products.sum(0, keepdim=True), counts.sum()[None]
        products = products + lift @ PRODUCTS.unpack(quads, len(observed)) @ lift.mT
        products[:, missing[:, None], missing] += rows[:, None, None] * rest
        return lifted + counts[:, None] * base, self.form.of_products(products)

    # ---- final --------------------------------------------------------------------------------------------

    @final
    def sharing(self, components: int) -> int:
        """J: the number of covariances of a mixture of K components."""
        return 1 if self.shared else components

    @final
    def rank_rows(self, dims: int) -> int:
        """Rows that a component needs for a covariance of full rank."""
        return dims + 1 if self.coordinates == "whitened" else 2

    @final
    def quad(self, z: Tensor) -> Tensor:
        """Quadratic features (Q, B) of B rows held as columns, (D, B)."""
        out, spare = (z.new_empty(size(len(z)), z.shape[1]) for size in (self.form.size, self.form.spare_size))
        self.form.fill(self.form.views(z, out, spare))
        return out

    @final
    def quad_bound(self, bound: Tensor) -> Tensor:
        """Upper bounds (Q,) of |quad(z)| where |[1, z]| ≤ bound, (1 + D,)."""
        return self.quad(bound[1:, None])[:, 0]

    @final
    def parameter_count(self, components: int, dims: int) -> int:
        """Free parameters: K − 1 weights, K D means, and the covariances that are learned."""
        covariances = self.covariance_count(components, dims) if self.learned else 0
        return components - 1 + components * dims + covariances

    @final
    def log_constants(self, p: Parameters, smallest: float = SMALLEST_WEIGHT) -> Tensor:
        """log π_k − ½ (D log 2π + log |Σ_k|), (K,): the log density of a row at the mean of its component.

        smallest: replaces a weight below it.
        """
        return p.weights.clamp_min(smallest).log() - 0.5 * (p.dims * LOG_2PI + self.log_det(p.scale, p.dims))

    @final
    def coefficients(self, p: Parameters, smallest: float = SMALLEST_WEIGHT) -> Coefficients:
        """η(θ), differentiable in the parameters. smallest: replaces a weight below it.

        log π_k + log N(x | μ_k, Σ_k) = [log π_k − ½ (D log 2π + log|Σ_k| + μᵀΣ⁻¹μ)] + (Σ⁻¹μ)·x − ½ xᵀΣ⁻¹x.
        """
        slope = self.precision_times(p.scale, p.means)  # (K, D)
        constant = self.log_constants(p, smallest) - 0.5 * (slope * p.means).sum(1)
        return Coefficients(torch.cat([constant[:, None], slope], 1), self.quad_coefficients(p.scale, p.dims))

    @final
    def scatter(self, quads: Tensor, counts: Tensor, means: Tensor) -> Tensor:
        """Σ r quad(x − μ) (J, Q) from Σ r quad(x) (J, Q), Σ r (K,) and μ (K, D)."""
        about_origin = counts[:, None] * self.quad(means.mT).mT
        return quads - (about_origin.sum(0, keepdim=True) if self.shared else about_origin)

    @final
    def m_step(self, counts: Tensor, sums: Tensor, quads: Tensor, previous: Parameters, floor: float) -> Parameters:
        """Parameters that maximise the expected complete log-likelihood given the sufficient statistics.

        counts, sums, quads: (K,) Σ r, (K, D) Σ r x, and (J, Q) Σ r quad(x).

        π_k = n_k / N, μ_k = Σ r x / n_k, and the covariance from Σ r quad(x − μ) = Σ r quad(x) − n quad(μ).
        A component that has lost all its rows keeps the mean and covariance of `previous`; of a coupled family it
        keeps the shape of its covariance.
        """
        total = counts.sum().clamp_min(SMALLEST_WEIGHT)  # a background may have taken all rows
        alive = counts > STARVED * total
        safe = torch.where(alive, counts, torch.ones_like(counts))
        means = torch.where(alive[:, None], sums / safe[:, None], previous.means)
        if not self.learned:
            return Parameters(counts / total, means, previous.scale)
        scatter = self.scatter(quads, counts, means)
        weight, keep = (total[None], alive.any()[None]) if self.shared else (safe, alive)
        if self.coupled and not bool(alive.all()):
            trifle = STARVED * total.clamp_min(1)  # rows that count for nothing, with the covariance of before
            before = self.form.of_products(self.covariances(previous.scale, previous.dims))
            scatter = torch.where(alive[:, None], scatter, trifle * before)
            weight = torch.where(alive, counts, trifle)
        scale = self.scale_from_scatter(scatter, weight, previous.dims, floor, previous)
        if not self.coupled:
            scale = torch.where(_broadcast(keep, scale), scale, previous.scale)
        return Parameters(counts / total, means, scale)

    @final
    def hold(self, p: Parameters, floor: float) -> Parameters:
        """The parameters with every learned variance or eigenvalue at the floor or above."""
        return replace(p, scale=self.project(p.scale, p.dims, floor)) if self.learned else p

    @final
    def from_moments(self, weights: Tensor, means: Tensor, covariances: Tensor) -> Parameters:
        """The family's mixture nearest to moments (K,), (K, D) and (K, D, D); shared covariances are pooled."""
        shares = weights
        if self.shared:
            covariances = (weights[:, None, None] * covariances).sum(0, keepdim=True) / weights.sum()
            shares = weights.sum()[None]
        return Parameters(weights, means, self.from_covariances(covariances, shares))

    @final
    def unconstrain(self, p: Parameters) -> Unconstrained:
        """Free tensors for gradient descent: logits log π, the means, and the family's raw scale."""
        weights = p.weights if p.background is None else torch.cat([p.weights, p.background[None]])
        return Unconstrained(weights.clamp_min(SMALLEST_WEIGHT).log(), p.means, self.to_raw(p.scale, p.dims))

    @final
    def constrain(self, u: Unconstrained) -> Parameters:
        """Inverse of `unconstrain`, differentiable; the logits may have any common offset."""
        weights = u.logits.softmax(0)
        components, dims = u.means.shape
        background = weights[components] if len(weights) > components else None
        return Parameters(weights[:components], u.means, self.from_raw(u.raw, dims), background)

    @final
    def to_outer(self, p: Parameters, affine: Affine) -> Parameters:
        """The mixture of x = shift + factor z when p is that of z."""
        return replace(p, means=affine.outer(p.means), scale=self.scale_outer(p.scale, p.dims, affine.factor))

    @final
    def to_inner(self, p: Parameters, affine: Affine) -> Parameters:
        """The mixture of z when p is that of x = shift + factor z."""
        factor = affine.inverse().factor
        return replace(p, means=affine.inner(p.means), scale=self.scale_outer(p.scale, p.dims, factor))

    @final
    def validate(self, p: Parameters) -> None:
        """Raises InputError when shapes, finiteness, weights or covariances are not a mixture's."""
        if p.means.ndim != 2 or p.weights.ndim != 1 or p.weights.shape[0] != p.means.shape[0]:
            problem = f"shapes {tuple(p.weights.shape)} and {tuple(p.means.shape)}: expected (K,) and (K, D)"
            raise InputError(problem, subject="weights and means")
        expected = self.scale_shape(p.components, p.dims)
        if tuple(p.scale.shape) != expected:
            problem = f"shape {tuple(p.scale.shape)}: expected {expected} of family {self.name}"
            raise InputError(problem, subject=self.scale_name)
        for name, tensor in (("weights", p.weights), ("means", p.means), (self.scale_name, p.scale)):
            if not bool(tensor.isfinite().all()):
                raise InputError("not all finite", subject=name)
        background = 0.0 if p.background is None else float(p.background)
        if not 0 <= background <= 1:
            raise InputError("not a weight from 0 to 1", subject="background")
        if bool((p.weights < 0).any()) or abs(float(p.weights.sum()) + background - 1) > 1e-6:
            raise InputError("must be non-negative and sum to 1", subject="weights")
        if problem := self.scale_problem(p.scale, p.dims):
            raise InputError(problem, subject=self.scale_name)


def exp_diagonal(raw: Tensor, dims: int) -> Tensor:
    """Lower-triangular matrices (J, D, D) from so many numbers, those on the diagonal being logarithms."""
    raw = raw.reshape(-1, dims, dims)
    return raw.tril(-1) + raw.diagonal(dim1=-2, dim2=-1).exp().diag_embed()


def _broadcast(mask: Tensor, scale: Tensor) -> Tensor:
    """The mask (J,) with as many dimensions as the scale."""
    return mask.reshape(-1, *[1] * (scale.ndim - 1))
