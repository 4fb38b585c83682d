"""GaussianMixture: a fitted or given mixture as a torch module, in the units of the data.

p(x) = Σ_k π_k N(x | μ_k, Σ_k). Densities are evaluated from differences to the means, in log space throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gmmcli.errors import InputError
from gmmcli.families import get_family
from gmmcli.families.base import SMALLEST_LOGIT, Family, Parameters
from gmmcli.frames import Rows, Wrap, read_table

CHUNK_NUMBERS = {"cpu": 1 << 16, "cuda": 1 << 24}  # rows × K, and rows × D, of a chunk; a CPU's cache holds so many
LEAST_ROWS, MOST_ROWS = 512, 1 << 14  # of a chunk


class GaussianMixture(nn.Module):
    """A mixture of K Gaussians in D columns, of one covariance family.

    Data may be a tensor, a numpy array, a pandas DataFrame or a pyarrow Table; results come back in kind, pandas
    objects on the DataFrame's index, and frames are matched to `columns` by name. With tensors everything is
    differentiable in the data and in the parameters.

    Args:
        weights: (K,) π, non-negative, summing to 1.
        means: (K, D).
        scale: the family's own parameter, J first (J = K, or 1 where the covariance is shared): `scale_tril`
            (J, D, D) for full and tied, `variances` (J, D) for diagonal, (J,) for isotropic and constant.
        family: a name in FAMILIES.
        columns: names of the D columns, or None.
        shift, std: (D,) each: means and scale are in units of (x − shift) / std; None for plain units.

    Raises:
        InputError: when the parameters are not those of a mixture.

    >>> model = GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], [[1.0], [1.0]], family="diagonal")
    >>> model.assign(torch.tensor([[-1.0], [3.0]]))
    tensor([0, 1])
    """

    def __init__(
        self,
        weights: Tensor | Sequence[float],
        means: Tensor | Sequence[Sequence[float]],
        scale: Tensor | Sequence[Any],
        family: str = "full",
        *,
        columns: Sequence[str] | None = None,
        shift: Tensor | None = None,
        std: Tensor | None = None,
    ):
        super().__init__()
        self.kind: Family = get_family(family)
        p = Parameters(*(torch.as_tensor(t, dtype=torch.float64).detach().clone() for t in (weights, means, scale)))
        self.kind.validate(p)
        if abs(float(p.weights.sum()) - 1) > 1e-12:  # weights given in float32, say; stored ones keep their bits
            p = Parameters(p.weights / p.weights.sum(), p.means, p.scale)
        if columns is not None and len(columns) != p.dims:
            raise InputError(f"{len(columns)} column names for {p.dims} columns")
        self.columns = None if columns is None else tuple(columns)
        self.weights = nn.Parameter(p.weights)
        self.inner_means = nn.Parameter(p.means)
        self.inner_scale = nn.Parameter(p.scale)
        self.shift: Tensor
        self.std: Tensor
        plain = torch.zeros(p.dims, dtype=torch.float64), torch.ones(p.dims, dtype=torch.float64)
        self.register_buffer("shift", plain[0] if shift is None else torch.as_tensor(shift).double().clone())
        self.register_buffer("std", plain[1] if std is None else torch.as_tensor(std).double().clone())
        if self.shift.shape != (p.dims,) or self.std.shape != (p.dims,):
            raise InputError(f"shift and std must have shape ({p.dims},)")
        if not bool((self.shift.isfinite() & self.std.isfinite() & (self.std > 0)).all()):
            raise InputError("shift and std must be finite, and std positive")

    @classmethod
    def from_covariances(
        cls,
        weights: Tensor | Sequence[float],
        means: Tensor | Sequence[Sequence[float]],
        covariances: Tensor | Sequence[Any],
        family: str = "full",
        *,
        columns: Sequence[str] | None = None,
    ) -> GaussianMixture:
        """A mixture from (K, D, D) covariances; where the family shares them, their weighted mean is taken."""
        kind = get_family(family)
        tensors = (torch.as_tensor(t, dtype=torch.float64) for t in (weights, means, covariances))
        p = kind.from_moments(*tensors)
        return cls(p.weights, p.means, p.scale, family, columns=columns)

    # ---- what it is ---------------------------------------------------------------------------------------

    @property
    def family(self) -> str:
        """Name of the covariance family."""
        return self.kind.name

    @property
    def components(self) -> int:
        """K."""
        return self.inner_means.shape[0]

    @property
    def dims(self) -> int:
        """D."""
        return self.inner_means.shape[1]

    @property
    def standardised(self) -> bool:
        """Whether its parameters are those of z-scores of the columns."""
        return bool((self.shift != 0).any() or (self.std != 1).any())

    @property
    def means(self) -> Tensor:
        """(K, D) in the units of the data."""
        return self.shift + self.std * self.inner_means

    @property
    def covariances(self) -> Tensor:
        """(K, D, D) in the units of the data."""
        inner = self.kind.covariances(self.inner_scale, self.dims)
        return (self.std[:, None] * inner * self.std).expand(self.components, -1, -1)

    @property
    def parameter_count(self) -> int:
        """Free parameters, as the information criteria count them."""
        return self.kind.parameter_count(self.components, self.dims)

    @property
    def parameters_inner(self) -> Parameters:
        """Weights, means and scale in the model's inner units, (x − shift) / std."""
        return Parameters(self.weights, self.inner_means, self.inner_scale)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        names = "" if self.columns is None else f", columns={list(self.columns)}"
        return f"family={self.family!r}, components={self.components}, dims={self.dims}{names}"

    # ---- densities ----------------------------------------------------------------------------------------

    def log_prob(self, data: Rows) -> Any:
        """log p(x) of each row, (N,), in nats; NaN for a row with a missing cell."""
        x, wrap = self._read(data)
        (log_prob,) = self._map(x, wrap, lambda joint: [self._log_sum(joint)])
        return wrap.vector(log_prob, "log_likelihood")

    def log_prob_and_entropy(self, data: Rows) -> tuple[Any, Any]:
        """`log_prob` and the entropy of `responsibilities` of each row, (N,) each, in nats, at the cost of one."""
        x, wrap = self._read(data)
        log_prob, entropy = self._map(x, wrap, lambda joint: [self._log_sum(joint), _entropy(joint)])
        return wrap.vector(log_prob, "log_likelihood"), wrap.vector(entropy, "entropy")

    def responsibilities(self, data: Rows) -> Any:
        """p(k | x) = π_k N(x | μ_k, Σ_k) / p(x) of each row and component, (N, K)."""
        x, wrap = self._read(data)
        (shares,) = self._map(x, wrap, lambda joint: [joint.softmax(0)])
        return wrap.matrix(shares.mT, [f"probability_{k}" for k in range(self.components)])

    def assign(self, data: Rows) -> Any:
        """The most probable component of each row, (N,) int64. Raises InputError where a cell is missing."""
        return self.most_probable(data)[0]

    def most_probable(self, data: Rows) -> tuple[Any, Any]:
        """The most probable component of each row, (N,) int64, and its probability, (N,)."""
        x, wrap = self._read(data)
        probability, component = self._map(x, wrap, lambda joint: joint.softmax(0).max(0))
        bad = int(probability.isnan().sum())
        if bad:
            raise InputError(f"{bad} rows have missing cells: no component can be assigned to them")
        return wrap.vector(component, "component"), wrap.vector(probability, "probability")

    def forward(self, data: Rows) -> Any:
        """Same as `log_prob`."""
        return self.log_prob(data)

    def predict(self, data: Rows) -> Any:
        """Alias of `assign`, scikit-learn's name."""
        return self.assign(data)

    def predict_proba(self, data: Rows) -> Any:
        """Alias of `responsibilities`, scikit-learn's name."""
        return self.responsibilities(data)

    def score_samples(self, data: Rows) -> Any:
        """Alias of `log_prob`, scikit-learn's name."""
        return self.log_prob(data)

    @torch.no_grad()
    def score(self, data: Rows) -> float:
        """Mean log-likelihood in nats per row, as scikit-learn's `score`."""
        x, _ = self._read(data)
        return float(self.log_prob(x).mean())

    # ---- information criteria -----------------------------------------------------------------------------

    @torch.no_grad()
    def bic(self, data: Rows) -> float:
        """Bayesian information criterion −2 log L + df log N; the lower the better."""
        x, _ = self._read(data)
        return float(-2 * self.log_prob(x).sum()) + self.parameter_count * math.log(len(x))

    @torch.no_grad()
    def aic(self, data: Rows) -> float:
        """Akaike information criterion −2 log L + 2 df; the lower the better."""
        x, _ = self._read(data)
        return float(-2 * self.log_prob(x).sum()) + 2 * self.parameter_count

    @torch.no_grad()
    def icl(self, data: Rows) -> float:
        """Integrated completed likelihood, BIC + 2 Σ_n entropy(r_n): BIC that charges for overlap."""
        x, _ = self._read(data)
        log_prob, entropy = self.log_prob_and_entropy(x)
        return float(2 * (entropy.sum() - log_prob.sum())) + self.parameter_count * math.log(len(x))

    # ---- samples and other views --------------------------------------------------------------------------

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """n rows drawn from the mixture, (n, D); not differentiable."""
        return self.sample_labelled(n, generator=generator)[0]

    @torch.no_grad()
    def sample_labelled(self, n: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n rows drawn from the mixture, (n, D), and the components they came from, (n,) int64."""
        if n < 0:
            raise InputError(f"cannot draw {n} rows")
        device, dtype = self.weights.device, self.weights.dtype
        cumulative = self.weights.cumsum(0)
        draw = torch.rand(n, generator=generator, dtype=dtype, device=device) * cumulative[-1]
        labels = torch.searchsorted(cumulative, draw, right=True).clamp_max(self.components - 1)
        noise = torch.randn(n, self.dims, generator=generator, dtype=dtype, device=device)
        z = self.inner_means[labels] + self.kind.colour(self.inner_scale, labels, noise)
        return self.shift + self.std * z, labels

    def to_distribution(self) -> torch.distributions.MixtureSameFamily:
        """The same mixture as torch.distributions' MixtureSameFamily of MultivariateNormal, in data units."""
        covariances = self.kind.covariances(self.inner_scale, self.dims)
        factor = self.std[:, None] * torch.linalg.cholesky(covariances)
        return torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(probs=self.weights),
            torch.distributions.MultivariateNormal(self.means, scale_tril=factor.expand(self.components, -1, -1)),
        )

    # ---- helpers ------------------------------------------------------------------------------------------

    def _read(self, data: Rows) -> tuple[Tensor, Wrap]:
        named = not isinstance(data, Tensor) and self.columns is not None
        x, _, wrap = read_table(data, self.columns if named else None)
        if x.shape[1] != self.dims:
            raise InputError(f"data has {x.shape[1]} columns: the model has {self.dims}")
        return x.to(self.weights.device, self.weights.dtype), wrap

    def _map(self, x: Tensor, wrap: Wrap, reduce: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """What `reduce` makes of the log joint densities (K, B), its tensors (..., B), for all rows (..., N).

        The densities are in the model's inner units. They are worked in chunks that stay in the cache, their rows
        lying side by side; what will leave torch needs no gradients. No chunk is narrower than LEAST_ROWS, since
        products of narrow matrices round differently: so a row's numbers do not depend on the rows beside it.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and wrap.differentiable):
            log_joint = self.kind.log_joint_by_row(self.parameters_inner)
            shift, std = self.shift[:, None], self.std[:, None]
            parts = []
            for rows in self._chunks(x):
                z = nn.functional.pad((rows.mT - shift) / std, (0, max(0, LEAST_ROWS - len(rows)))).contiguous()
                parts.append(reduce(log_joint(z)[:, : len(rows)]))
            return [torch.cat(part, -1) for part in zip(*parts, strict=True)]

    def _chunks(self, x: Tensor) -> Iterator[Tensor]:
        """The rows in parts of a size that depends on the model alone; one empty part where there are none."""
        numbers = CHUNK_NUMBERS.get(x.device.type, CHUNK_NUMBERS["cuda"])
        rows = min(MOST_ROWS, max(LEAST_ROWS, numbers // max(self.components, self.dims)))
        return (x[first : first + rows] for first in range(0, max(1, len(x)), rows))

    def _log_sum(self, joint: Tensor) -> Tensor:
        """log p(x), (B,), of log joint densities (K, B) in inner units."""
        highest = joint.detach().amax(0)
        total = (joint - highest).clamp(min=SMALLEST_LOGIT).exp().sum(0).log() + highest
        return torch.where(highest == -math.inf, highest, total) - self.std.log().sum()


def _entropy(joint: Tensor) -> Tensor:
    return torch.special.entr(joint.softmax(0)).sum(0)
