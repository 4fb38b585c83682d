"""Starting mixtures: every kind of random start, and the clusters of rows that they are made from.

- `Sample`, `draw_sample`: the rows that starts are made from, in the coordinates of the fit.
- `Starter`: makes mixtures from the sample; each kind of start is a method. `STARTS`: the kinds by name.
- `seeds`, `lloyd`, `merged`: k-means++ seeds, steps of k-means, and Ward's merges, on weighted points.

Every draw depends on the seed and the rows' global numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.passes.draws import generator, row_uniforms
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Task

SAMPLE_ROWS = 20_000
LLOYD_STEPS = 10
SMALL_CLUSTERS = 8  # small clusters for each component
MOST_CLUSTERS = 512  # small clusters together, unless that is less than two for each component
SMALL_STEPS = 3  # steps of k-means with small clusters
WARD_ROWS, ROWS_A_CLUSTER = 4096, 32  # rows that are put into small clusters: the larger of these
ROWS_A_SMALLEST = 4  # least rows for each small cluster
PRIOR_ROWS = 1.0  # rows of the pooled covariance, times D + 1, mixed into each cluster's own


@dataclass(frozen=True)
class Sample:
    """Rows to start from.

    z: in the coordinates of the fit. scores: z-scores by column, in which distances are measured: whitened
    coordinates would shrink the very directions in which clusters lie apart. Measured on faithful and penguins,
    K = 2 and 3: the share of starts that reach the best known optimum is 0.67 or more by z-scores, 0.30 in whitened
    coordinates. rows: global numbers. All but these are float64.
    """

    z: Tensor  # (S, D)
    scores: Tensor  # (S, D)
    weights: Tensor  # (S,)
    rows: Tensor  # (S,)

    def part(self, seed: int, size: int) -> Sample:
        """About `size` rows, chosen by a hash of their numbers, and all distinct rows of the survey."""
        if len(self.rows) <= size:
            return self
        keep = (row_uniforms(seed, "part", self.rows) < size / len(self.rows)) | (self.rows < 0)
        return Sample(self.z[keep], self.scores[keep], self.weights[keep], self.rows[keep])


def draw_sample(data: PreparedData, seed: int) -> Task[Sample]:
    """The SAMPLE_ROWS rows with the smallest hashes of their numbers, in the order of the data; all rows if fewer.

    If the sample has not all rows, the survey's distinct rows are added, with the mean weight and numbers from −1
    downwards: among many copies of few rows a sample may have fewer distinct ones than there are components.
    """
    rows = yield from data.chosen(seed, min(1.0, 2 * SAMPLE_ROWS / data.summary.rows))
    hashes = row_uniforms(seed, "sample", rows.rows.cpu())
    if len(hashes) > SAMPLE_ROWS:
        rows = rows.take((hashes <= hashes.kthvalue(SAMPLE_ROWS).values).nonzero()[:, 0].to(rows.z.device))
    z = rows.z[1 : 1 + data.dims].mT.to("cpu", torch.float64).contiguous()
    weights = z.new_ones(len(z)) if rows.weights is None else rows.weights.to("cpu", torch.float64)
    numbers = rows.rows.cpu()
    if len(numbers) < data.summary.rows:
        distinct = data.affine.inner(data.summary.different).to(data.dtype).double()
        z = torch.cat([z, distinct])
        weights = torch.cat([weights, weights.new_full((len(distinct),), float(weights.mean()))])
        numbers = torch.cat([numbers, -1 - torch.arange(len(distinct))])
    return Sample(z, data.summary.scores(data.affine.outer(z)), weights, numbers)


@dataclass(frozen=True)
class Starter:
    """Starting mixtures of a family, from a sample.

    scale: the given scale of a family that does not learn it; None for other families. floor: of variances, in the
    coordinates of the fit.
    """

    sample: Sample
    family: Family
    components: int
    scale: Tensor | None
    floor: float

    def from_responsibilities(
        self,
        r: Tensor,  # (S, K)
    ) -> Parameters:
        """The M-step on the sample, each scatter mixed with the pooled one as if D + 1 more rows had it.

        Otherwise a cluster of few rows would start at the floor, where the unbounded likelihood may keep it.
        """
        sample, family = self.sample, self.family
        weighted = r * sample.weights[:, None]
        counts = weighted.sum(0)
        sums = weighted.mT @ sample.z
        quads = weighted.mT @ family.quad(sample.z.mT).mT  # (K, Q)
        components, dims = r.shape[1], sample.z.shape[1]
        about = family.quad((sums / counts.clamp_min(1e-300)[:, None]).mT).mT  # quad(μ_k)
        scatter = quads - counts[:, None] * about
        prior = PRIOR_ROWS * (dims + 1) * counts.sum() / len(sample.z)
        pooled = scatter.sum(0, keepdim=True) / counts.sum()
        smooth = (scatter + prior * pooled) * (counts / (counts + prior))[:, None]
        quads = smooth + counts[:, None] * about
        if family.shared:
            quads = quads.sum(0, keepdim=True)
        covariances = torch.eye(dims, dtype=torch.float64).expand(components, -1, -1)
        previous = family.from_moments(counts.new_full((components,), 1 / components), sums * 0, covariances)
        if self.scale is not None:
            previous = Parameters(previous.weights, previous.means, self.scale)
        return family.m_step(counts, sums, quads, previous, self.floor)

    def from_centres(
        self,
        centres: Tensor,  # (K, D), z-scores
    ) -> Parameters:
        """A mixture from the clusters of rows nearest to each centre."""
        own = torch.nn.functional.one_hot(nearest(self.sample.scores, centres), len(centres))
        return self.from_responsibilities(own.to(self.sample.z))

    def from_settled(
        self,
        centres: Tensor,  # (K, D), z-scores
    ) -> Parameters:
        """A mixture from the clusters that a few steps of k-means lead to."""
        return self.from_centres(lloyd(self.sample.scores, self.sample.weights, centres, LLOYD_STEPS))

    def kmeans_plus_plus(self, seed: int) -> Parameters:
        """k-means++ seeds, a few steps of k-means, and the clusters' moments."""
        draw = generator(seed, "kmeans++")
        return self.from_settled(seeds(self.sample.scores, self.sample.weights, self.components, draw))

    def ward(self, seed: int) -> Parameters:
        """Many small clusters by k-means++, merged by Ward's criterion, a few steps of k-means, and the moments.

        If clusters lie apart, k-means++ rarely seeds each of 16 of them once, and neither k-means nor EM moves a
        centre from one to another. Merging small clusters finds them nearly always.
        """
        wanted = min(SMALL_CLUSTERS * self.components, max(MOST_CLUSTERS, 2 * self.components))
        rows = self.sample.part(seed, max(WARD_ROWS, ROWS_A_CLUSTER * wanted))
        count = min(wanted, len(rows.z) // ROWS_A_SMALLEST)
        if count <= self.components:
            return self.kmeans_plus_plus(seed)
        first = seeds(rows.scores, rows.weights, count, generator(seed, "ward"))
        small = lloyd(rows.scores, rows.weights, first, SMALL_STEPS)
        masses, means = masses_and_means(rows.scores, rows.weights, small)
        held = masses > 0
        if int(held.sum()) <= self.components:
            return self.kmeans_plus_plus(seed)
        return self.from_settled(merged(means[held], masses[held], self.components))

    def random_responsibilities(self, seed: int) -> Parameters:
        """Responsibilities drawn uniformly from the simplex (Dirichlet(1)) for each row."""
        draws = [row_uniforms(seed, f"responsibility {k}", self.sample.rows) for k in range(self.components)]
        exponential = -torch.stack(draws, 1).log()
        return self.from_responsibilities(exponential / exponential.sum(1, keepdim=True))

    def random_rows(self, seed: int) -> Parameters:
        """K different rows as means, equal weights, and the data's own covariance for every component."""
        sample, components = self.sample, self.components
        order = row_uniforms(seed, "random rows", sample.rows) / sample.weights
        order = torch.where(sample.weights > 0, order, torch.full_like(order, float("inf"))).argsort()
        means: dict[tuple[float, ...], Tensor] = {}
        for row in order.tolist():
            means.setdefault(tuple(sample.z[row].tolist()), sample.z[row])
            if len(means) == components:
                break
        centres = list(means.values())
        centres += [centres[-1]] * (components - len(centres))  # different rows may be equal in the fit's precision
        everything = self.from_responsibilities(sample.z.new_ones(len(sample.z), 1))
        copies = everything.scale.expand(self.family.sharing(components), *everything.scale.shape[1:]).clone()
        weights = everything.weights.expand(components) / components
        return Parameters(weights, torch.stack(centres), copies)


STARTS: dict[str, Callable[[Starter, int], Parameters]] = {
    "ward": Starter.ward,
    "kmeans++": Starter.kmeans_plus_plus,
    "random": Starter.random_responsibilities,
    "random-rows": Starter.random_rows,
}


def start_name(init: str, restart: int) -> str:
    """The kind of start of a restart. `auto` alternates two, since neither is the better everywhere."""
    return ("ward", "kmeans++")[restart % 2] if init == "auto" else init


# ---- clusters: points (S, D) and weights (S,) are float64 on the host -------------------------------------------


def seeds(points: Tensor, weights: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Points (count, D) by k-means++: drawn in turn, in proportion to weight × squared distance to the nearest drawn.

    No point is drawn twice while there are different ones left. Arthur & Vassilvitskii, "k-means++: the advantages of
    careful seeding", SODA 2007.
    """
    chance = weights
    closest = torch.full_like(chance, math.inf)
    centres = []
    for _ in range(count):
        cumulative = chance.cumsum(0)
        target = torch.rand((), generator=draw, dtype=torch.float64) * cumulative[-1]
        row = int(torch.searchsorted(cumulative, target, right=True).clamp_max(len(chance) - 1))
        centres.append(points[row])
        closest = torch.minimum(closest, (points - points[row]).square().sum(1))
        chance = weights * closest
    return torch.stack(centres)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index (S,) int64 of the centre nearest to each point."""
    distances = centres.square().sum(1) - 2 * points @ centres.mT  # less ‖point‖², which does not matter
    return distances.argmin(1)


def masses_and_means(points: Tensor, weights: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (K,) and mean (K, D) of the points nearest to each centre. A cluster without weight keeps its centre."""
    own = nearest(points, centres)
    masses = weights.new_zeros(len(centres)).index_add_(0, own, weights)
    sums = torch.zeros_like(centres).index_add_(0, own, points * weights[:, None])
    means = sums / masses.clamp_min(torch.finfo(masses.dtype).tiny)[:, None]
    return masses, torch.where(masses[:, None] > 0, means, centres)


def lloyd(points: Tensor, weights: Tensor, centres: Tensor, steps: int) -> Tensor:
    """Centres (K, D) after Lloyd's `steps` steps of k-means, fewer if it has converged."""
    for _ in range(steps):
        _, moved = masses_and_means(points, weights, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def merged(means: Tensor, masses: Tensor, count: int) -> Tensor:
    """Centres (count, D) of clusters merged two at a time, always the two whose merging adds least to the scatter.

    Merging masses m and n at a distance d adds m n / (m + n) · d². Ward, "Hierarchical grouping to optimize an
    objective function", J. Am. Stat. Assoc. 58 (1963). means: (C, D), masses: (C,) positive.
    """
    means, masses = means.clone(), masses.clone()
    alive = torch.ones(len(masses), dtype=torch.bool)
    costs = torch.stack([_costs(means, masses, i, alive) for i in range(len(masses))])
    for _ in range(len(masses) - count):
        i, j = divmod(int(costs.argmin()), len(masses))
        means[i] = (masses[i] * means[i] + masses[j] * means[j]) / (masses[i] + masses[j])
        masses[i] += masses[j]
        alive[j] = False
        costs[j] = costs[:, j] = math.inf
        costs[i] = costs[:, i] = _costs(means, masses, i, alive)
    return means[alive]


def _costs(means: Tensor, masses: Tensor, i: int, alive: Tensor) -> Tensor:
    """Increase of the scatter by merging cluster i with each other; infinite for itself and for merged ones."""
    costs = (means - means[i]).square().sum(1) * masses * (masses[i] / (masses + masses[i]))
    costs[~alive] = math.inf
    costs[i] = math.inf
    return costs
