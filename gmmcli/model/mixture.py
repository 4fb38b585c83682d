"""GaussianMixture: a fitted or given mixture as a torch module, in the units of the data.

p(x) = Σ_k π_k N(x | μ_k, Σ_k). Densities are evaluated in log space throughout, from differences to the means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gmmcli.errors import InputError, Remedy
from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters
from gmmcli.model import criteria, densities
from gmmcli.model.frames import Rows, Wrap, read_table
from gmmcli.model.imputation import Draws, filled


class GaussianMixture(nn.Module):
    """A mixture of K Gaussians in D columns, of one covariance family.

    Data may be a tensor, a numpy array, a pandas DataFrame or a pyarrow Table; results come back in kind, pandas
    objects on the DataFrame's index, and frames are matched to `columns` by name. With tensors everything is
    differentiable in the data and in the parameters; torch.inference_mode() saves time. A row's results depend on
    that row alone, to the bit.

    Args:
        weights: (K,) π, non-negative, summing to 1.
        means: (K, D).
        scale: the family's own parameter, J first (J = K, or 1 where the covariance is shared): `scale_tril`
            (J, D, D) for full and tied, `variances` (J, D) for diagonal, (J,) for isotropic and constant.
        family: a name in FAMILIES.
        columns: names of the D columns, or None.
        shift, std: (D,) each: means and scale are in units of (x − shift) / std; None for plain units.
        background: weight of a component of uniform density over `box`, (2, D) least and greatest values in the
            units of the data; None for none. The weights sum to 1 with it. Its component number is −1.

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
        background: Tensor | float | None = None,
        box: Tensor | Sequence[Sequence[float]] | None = None,
    ):
        super().__init__()
        self.kind: Family = get_family(family)
        noise = None if background is None else _float64(background)
        p = Parameters(_float64(weights), _float64(means), _float64(scale), noise)
        self.kind.validate(p)
        total = float(p.weights.sum()) + (0.0 if p.background is None else float(p.background))
        if abs(total - 1) > 1e-12:  # weights given in float32, say; stored ones keep their bits
            p = p.beside(p.background)
        if columns is not None and len(columns) != p.dims:
            raise InputError(f"{len(columns)} names for {p.dims} columns", subject="column names")
        self.columns = None if columns is None else tuple(columns)
        self.weights = nn.Parameter(p.weights)
        self.inner_means = nn.Parameter(p.means)
        self.inner_scale = nn.Parameter(p.scale)
        self.background = None if p.background is None else nn.Parameter(p.background)
        self.shift: Tensor
        self.std: Tensor
        self.box: Tensor | None
        self.register_buffer("shift", torch.zeros(p.dims).double() if shift is None else _float64(shift))
        self.register_buffer("std", torch.ones(p.dims).double() if std is None else _float64(std))
        self.register_buffer("box", None if box is None else _float64(box))
        self._check_units()
        self._rows_seen = 0  # in inference mode: of many rows the loop over chunks is compiled

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
        p = get_family(family).from_moments(*map(_float64, (weights, means, covariances)))
        return cls.of(p, family, columns=columns)

    @classmethod
    def of(cls, p: Parameters, family: str, **others: Any) -> GaussianMixture:
        """A mixture with these parameters. others: columns, shift, std and box, as for the constructor."""
        return cls(p.weights, p.means, p.scale, family, background=p.background, **others)

    def _check_units(self) -> None:
        if self.shift.shape != (self.dims,) or self.std.shape != (self.dims,):
            raise InputError(f"must have shape ({self.dims},)", subject="shift and std")
        if not bool((self.shift.isfinite() & self.std.isfinite() & (self.std > 0)).all()):
            raise InputError("must be finite, and std positive", subject="shift and std")
        if (self.box is None) != (self.background is None):
            raise InputError("a background needs a box, and a box a background")
        if self.box is None:
            return
        if self.box.shape != (2, self.dims):
            raise InputError(f"has shape {tuple(self.box.shape)}, not (2, {self.dims})", subject="box")
        if not bool((self.box.isfinite().all(0) & (self.box[0] < self.box[1])).all()):
            raise InputError("must be finite, and of positive width in every column", subject="box")

    @torch.no_grad()
    def ordered(self, order: Sequence[int]) -> GaussianMixture:
        """The mixture with its components in this order."""
        p = self.parameters_inner.order(torch.as_tensor(order))
        return self.of(p, self.family, columns=self.columns, shift=self.shift, std=self.std, box=self.box)

    # ---- properties ---------------------------------------------------------------------------------------

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
        """Whether the parameters are in units of z-scores of the columns."""
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
        """Free parameters, as the information criteria count them: 2 for a background, its weight and its volume."""
        return self.kind.parameter_count(self.components, self.dims) + (0 if self.background is None else 2)

    @property
    def component_names(self) -> list[str]:
        """Names of the columns of `responsibilities`: `0` to `K − 1`, then `noise` for a background."""
        return [*(str(k) for k in range(self.components)), *(["noise"] if self.background is not None else [])]

    def numbered(self, columns: Tensor) -> Tensor:
        """Numbers of components, int64, from their columns in `responsibilities`: −1 is the background."""
        return columns if self.background is None else torch.where(columns == self.components, -1, columns)

    @property
    def parameters_inner(self) -> Parameters:
        """Weights, means and scale in the model's inner units, (x − shift) / std."""
        return Parameters(self.weights, self.inner_means, self.inner_scale, self.background)

    def extra_repr(self) -> str:
        """The text that `repr` shows."""
        names = "" if self.columns is None else f", columns={list(self.columns)}"
        return f"family={self.family!r}, components={self.components}, dims={self.dims}{names}"

    # ---- densities ----------------------------------------------------------------------------------------

    # marginal: rows with missing cells (NaN) count by their observed cells x_o; the others are integrated out.

    def log_prob(self, data: Rows, *, marginal: bool = False) -> Any:
        """log p(x) of each row, (N,), in nats. A row with a missing cell has NaN, or log p(x_o) with `marginal`."""
        (log_prob,), wrap = self._reduced(data, densities.log_sum, marginal)
        return wrap.vector(log_prob, "log_likelihood")

    def log_prob_and_entropy(self, data: Rows, *, marginal: bool = False) -> tuple[Any, Any]:
        """`log_prob` and the entropy of `responsibilities` of each row, (N,) each, in nats, in one evaluation."""
        (log_prob, entropy), wrap = self._reduced(data, densities.log_sum_and_entropy, marginal)
        return wrap.vector(log_prob, "log_likelihood"), wrap.vector(entropy, "entropy")

    def responsibilities(self, data: Rows, *, marginal: bool = False) -> Any:
        """p(k | x) = π_k N(x | μ_k, Σ_k) / p(x) of each row and component, (N, K); with `marginal`, p(k | x_o).

        A background has one more column, the last.
        """
        (r,), wrap = self._reduced(data, densities.shares, marginal)
        return wrap.matrix(r.mT, [f"probability_{name}" for name in self.component_names])

    def assign(self, data: Rows, *, marginal: bool = False) -> Any:
        """The most probable component of each row, (N,) int64; see most_probable."""
        return self.most_probable(data, marginal=marginal)[0]

    def most_probable(self, data: Rows, *, marginal: bool = False) -> tuple[Any, Any]:
        """The most probable component of each row, (N,) int64, −1 for the background, and its probability, (N,).

        Raises InputError for rows with missing cells, unless `marginal` assigns them by their observed cells.
        """
        (probability, component), wrap = self._reduced(data, densities.most_probable, marginal)
        bad = int(probability.isnan().sum())
        if bad:
            raise InputError(
                f"{bad} rows have missing cells: no component can be assigned to them",
                remedy=Remedy("give", "marginal", True, "to assign rows by the cells that they have"),
            )
        return wrap.vector(self.numbered(component), "component"), wrap.vector(probability, "probability")

    @torch.no_grad()
    def impute(self, data: Rows, *, draw: bool = False, generator: torch.Generator | None = None) -> Any:
        """The rows with their missing cells (NaN) filled, (N, D): observed cells keep their bits.

        Missing cells get the conditional mean E[x_m | x_o] = Σ_k p(k | x_o) (μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o)) or, with
        `draw`, cells drawn, together for each row, from p(x_m | x_o).
        """
        x, wrap = self._table(data)
        x = x.to(self.weights.dtype)
        rows = x.isnan().any(1)
        draws = None
        if draw:
            like: dict[str, Any] = {"generator": generator, "dtype": x.dtype, "device": x.device}
            count = int(rows.sum())
            draws = torch.rand(count, **like), torch.randn(count, self.dims, **like)
        complete = x.clone()
        complete[rows] = self.impute_rows(x[rows], draws)
        return wrap.matrix(complete, self.columns or [f"x{d + 1}" for d in range(self.dims)])

    @torch.no_grad()
    def impute_rows(self, x: Tensor, draws: Draws | None) -> Tensor:
        """`impute` of rows x (B, D) with draws of uniforms (B,) and normals (B, D); None for conditional means."""
        (r,), _ = self._reduced(x, densities.shares, marginal=True)
        box = None if self.box is None else (self.box - self.shift) / self.std
        z = filled(self.kind, self.parameters_inner, (x - self.shift) / self.std, r, box, draws)
        return torch.where(x.isnan(), self.shift + self.std * z, x)

    # scikit-learn's and torch's names
    predict = assign
    predict_proba = responsibilities
    score_samples = forward = log_prob

    @torch.no_grad()
    def score(self, data: Rows) -> float:
        """Mean log-likelihood in nats per row, as scikit-learn's `score`."""
        return float(self._log_prob(data).mean())

    # ---- information criteria: the lower the better -------------------------------------------------------

    @torch.no_grad()
    def bic(self, data: Rows) -> float:
        """Bayesian information criterion −2 log L + df log N."""
        log_prob = self._log_prob(data)
        return criteria.bic(float(log_prob.sum()), self.parameter_count, len(log_prob))

    @torch.no_grad()
    def aic(self, data: Rows) -> float:
        """Akaike information criterion −2 log L + 2 df."""
        return criteria.aic(float(self._log_prob(data).sum()), self.parameter_count)

    @torch.no_grad()
    def icl(self, data: Rows) -> float:
        """Integrated completed likelihood, BIC + 2 Σ_n entropy(r_n): BIC that charges for overlap."""
        (log_prob, entropy), _ = self._reduced(data, densities.log_sum_and_entropy, marginal=False)
        return criteria.icl(float(log_prob.sum()), self.parameter_count, len(log_prob), float(entropy.sum()))

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
        shares = self.weights if self.background is None else torch.cat([self.weights, self.background[None]])
        cumulative = shares.cumsum(0)
        draw = torch.rand(n, generator=generator, dtype=dtype, device=device) * cumulative[-1]
        labels = torch.searchsorted(cumulative, draw, right=True).clamp_max(len(shares) - 1)
        noise = torch.randn(n, self.dims, generator=generator, dtype=dtype, device=device)
        own = labels.clamp_max(self.components - 1)
        x = self.shift + self.std * (self.inner_means[own] + self.kind.colour(self.inner_scale, own, noise))
        if self.box is None:
            return x, labels
        uniform = labels == self.components
        anywhere = self.box[0] + (self.box[1] - self.box[0]) * torch.special.ndtr(noise)
        return torch.where(uniform[:, None], anywhere, x), torch.where(uniform, -1, labels)

    def to_distribution(self) -> torch.distributions.MixtureSameFamily:
        """The mixture as torch.distributions' MixtureSameFamily of MultivariateNormal, in data units.

        Raises InputError for a mixture with a background, which is no normal.
        """
        if self.background is not None:
            raise InputError("a mixture with a background is not a mixture of normals alone")
        normals = torch.distributions.MultivariateNormal(self.means, self.covariances)
        return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(self.weights), normals)

    # ---- helpers ------------------------------------------------------------------------------------------

    def _table(self, data: Rows) -> tuple[Tensor, Wrap]:
        """Rows (N, D) on the model's device, in the precision that they have, and the way back."""
        named = not isinstance(data, Tensor) and self.columns is not None
        x, _, wrap = read_table(data, self.columns if named else None)
        if x.shape[1] != self.dims:
            raise InputError(f"{x.shape[1]} columns, but the model has {self.dims}", subject="data")
        return x.to(self.weights.device), wrap

    def _log_prob(self, data: Rows) -> Tensor:
        return self._reduced(data, densities.log_sum, marginal=False)[0][0]

    def _reduced(self, data: Rows, reduce: densities.Reduce, marginal: bool) -> tuple[list[Tensor], Wrap]:
        """The tensors (..., N) that `reduce` makes of the log joint densities (K, B) of all rows, and the way back.

        Results that will leave torch need no gradients.
        """
        x, wrap = self._table(data)
        background = None
        if self.box is not None and self.background is not None:
            low, high = self.box[:, :, None]
            background = densities.Background(low, high, (high - low).log(), self.background.log())
        own = densities.Densities(self.kind, self.parameters_inner, self.shift, self.std, background)
        self._rows_seen += len(x) if torch.is_inference_mode_enabled() else 0
        compile = torch.is_inference_mode_enabled() and self._rows_seen >= densities.COMPILED_ROWS
        with torch.set_grad_enabled(torch.is_grad_enabled() and wrap.differentiable):
            return own.reduced(x.mT, reduce, marginal=marginal, compile=compile), wrap


def _float64(values: Any) -> Tensor:
    """A copy of the values as float64, detached."""
    return torch.as_tensor(values, dtype=torch.float64).detach().clone()
