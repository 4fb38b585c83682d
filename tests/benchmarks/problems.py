"""Data and starts: the scenarios A to I, and the forms in which peers keep the covariances of a family."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli import GaussianMixture
from gmmcli.model.synthetic import draw as draw_block
from gmmcli.model.synthetic import drawn_blocks, random_mixture

OFF_MEAN = 0.5  # how far a start's means are from the truth, in standard deviations, each column
LLOYD_STEPS = 5
OFF_VARIANCE = 1.5  # factor between the covariances of a start and the true ones


@dataclass(frozen=True)
class Family:
    """How peers know a family.

    features: P, the width of [1, x, quad(x)] that a pass needs at least, from D. compact: (K, D, D) covariances in
    the shape that scikit-learn keeps; dense: the way back, from compact covariances, K and D.
    """

    features: Callable[[int], int]
    compact: Callable[[Tensor], Tensor]
    dense: Callable[[Tensor, int, int], Tensor]


FAMILIES = {
    "full": Family(lambda d: 1 + d + d * (d + 1) // 2, lambda c: c, lambda c, k, d: c),
    "diagonal": Family(lambda d: 1 + 2 * d, lambda c: c.diagonal(dim1=1, dim2=2), lambda c, k, d: c.diag_embed()),
    "isotropic": Family(
        lambda d: 2 + d, lambda c: c[:, 0, 0], lambda c, k, d: c[:, None, None] * torch.eye(d, dtype=c.dtype)
    ),
    "tied": Family(lambda d: 1 + d, lambda c: c[0], lambda c, k, d: c.expand(k, d, d)),
}


@dataclass(frozen=True)
class Scenario:
    """A size of problem: rows N, columns D, components K and a family of gmm."""

    name: str
    rows: int
    dims: int
    components: int
    family: str

    @property
    def flops(self) -> int:
        """Of the two products of a pass, K×P by P×N and back: what a pass cannot do without."""
        return 2 * 2 * self.rows * self.components * FAMILIES[self.family].features(self.dims)

    @property
    def title(self) -> str:
        """Name and sizes, for a table."""
        return f"{self.name} {self.rows:,} × {self.dims}, K = {self.components}, {self.family}"

    def scaled(self, share: float) -> Scenario:
        """With this share of the rows, but so many that no component falls on a few of them."""
        least = self.components * (100 + 8 * FAMILIES[self.family].features(self.dims) // self.dims)
        return replace(self, rows=min(self.rows, max(least, int(share * self.rows))))


SCENARIOS = {
    s.name: s
    for s in (
        Scenario("A", 1_000_000, 2, 3, "diagonal"),
        Scenario("B", 1_000_000, 8, 16, "full"),
        Scenario("C", 200_000, 32, 32, "full"),
        Scenario("D", 200_000, 64, 64, "diagonal"),
        Scenario("E", 50_000, 128, 16, "full"),
        Scenario("F", 2_000_000, 4, 8, "full"),
        Scenario("G", 200_000, 16, 64, "full"),
        Scenario("H", 200_000, 64, 512, "isotropic"),
        Scenario("I", 500_000, 64, 32, "tied"),
    )
}


@dataclass(frozen=True)
class Problem:
    """Rows x (N, D) of a scenario in one precision, and the mixture that everybody starts from."""

    scenario: Scenario
    x: Tensor  # (N, D) float64 or float32
    start: GaussianMixture

    def to(self, dtype: torch.dtype) -> Problem:
        """The same rows, rounded to this precision."""
        return replace(self, x=self.x.to(dtype))


def draw(model: GaussianMixture, rows: int, seed: int = 0) -> Tensor:
    """Rows (N, D) float64 of a mixture."""
    return torch.cat([draw_block(model, rows, seed, index)[0] for index in drawn_blocks(model.dims, rows)])


def make_problem(scenario: Scenario, separation: float, seed: int = 0) -> Problem:
    """Data whose means lie about `separation` standard deviations apart, whatever D, and a start off the truth.

    Means uniform in [−r, r]^D are r √(2D/3) apart in root mean square. Every covariance has determinant 1: oneDAL
    does not take determinants in logs, and in float32 with 128 columns of standard deviation 0.67 it fails. The start
    has equal weights, wider components and means moved, so that 25 passes are far from the optimum: a peer that
    stops when the log-likelihood no longer rises would not be measured.
    """
    dims, components, family = scenario.dims, scenario.components, scenario.family
    radius = separation / (2 * dims / 3) ** 0.5
    shape = random_mixture(components=components, dims=dims, family=family, radius=radius, seed=1 + seed)
    weights, means, covariances = (t.detach() for t in (shape.weights, shape.means, shape.covariances))
    covariances = covariances / (covariances.logdet() / dims).exp()[:, None, None]
    x = draw(GaussianMixture.from_covariances(weights, means, covariances, family), scenario.rows, seed)
    noise = torch.randn(components, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    start = GaussianMixture.from_covariances(
        torch.full((components,), 1 / components, dtype=torch.float64),
        means + OFF_MEAN * noise,
        OFF_VARIANCE * covariances,
        family,
    )
    return Problem(scenario, x, start)


def seeded_start(x: Tensor, components: int, seed: int, family: str = "full") -> GaussianMixture:
    """A start that is nobody's own: clusters by greedy k-means++ and a few of Lloyd's steps, and their moments.

    Arthur & Vassilvitskii, SODA 2007: each seed is the best of a few rows drawn with probability proportional to the
    squared distance from the seeds before. Distances are those of x as it is.
    """
    g = torch.Generator().manual_seed(seed)
    candidates = 2 + int(math.log(components))
    nearest = torch.full((len(x),), float("inf"), dtype=torch.float64)
    centres: list[Tensor] = []
    for _ in range(components):
        cumulative = nearest.nan_to_num(posinf=1.0).cumsum(0)
        targets = cumulative[-1] * torch.rand(candidates, dtype=torch.float64, generator=g)
        drawn = torch.searchsorted(cumulative, targets).clamp_max(len(x) - 1).tolist()
        options = [(nearest.minimum((x - x[row]).square().sum(1)), x[row]) for row in drawn]
        nearest, centre = min(options, key=lambda option: float(option[0].sum()))
        centres.append(centre)
    clusters: list[Tensor] = []
    for _ in range(LLOYD_STEPS):
        labels = torch.cdist(x, torch.stack(centres)).argmin(1)
        clusters = [x[labels == k] for k in range(components)]
        centres = [rows.mean(0) for rows in clusters]
    return GaussianMixture.from_covariances(
        torch.tensor([len(rows) / len(x) for rows in clusters], dtype=torch.float64),
        torch.stack(centres),
        torch.stack([torch.cov(rows.T, correction=0) for rows in clusters]),
        family,
    )
