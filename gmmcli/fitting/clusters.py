"""Hard clusters of weighted points, to start from: k-means++ seeds, Lloyd's steps, and Ward's merges.

Points (S, D) and weights (S,) are float64 on the host. A cluster without weight keeps its centre.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def seeds(points: Tensor, weights: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Points drawn one after another with probability proportional to weight × squared distance to the nearest.

    Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007. (count, D); no point twice
    while there are different ones left.
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
    """The centre that each point is nearest to, (S,) int64."""
    distances = centres.square().sum(1) - 2 * points @ centres.mT  # up to a term of the point alone
    return distances.argmin(1)


def masses_and_means(points: Tensor, weights: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (K,) and mean (K, D) of the points nearest to each centre."""
    own = nearest(points, centres)
    masses = weights.new_zeros(len(centres)).index_add_(0, own, weights)
    sums = torch.zeros_like(centres).index_add_(0, own, points * weights[:, None])
    means = sums / masses.clamp_min(torch.finfo(masses.dtype).tiny)[:, None]
    return masses, torch.where(masses[:, None] > 0, means, centres)


def lloyd(points: Tensor, weights: Tensor, centres: Tensor, steps: int) -> Tensor:
    """Centres (K, D) after `steps` steps of k-means, fewer if it has converged."""
    for _ in range(steps):
        _, moved = masses_and_means(points, weights, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def ward(means: Tensor, masses: Tensor, count: int) -> Tensor:
    """Centres (count, D) after merging, again and again, the two clusters whose merging adds least to the scatter.

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
