"""Data with a known truth: random mixtures, and rows drawn from a mixture in blocks.

- `random_mixture`: a mixture of given family and size, with a given separation of its components if wanted.
- `draw`: rows of any mixture with the components that they came from, block by block. `drawn_blocks`: the blocks.

Results depend on the arguments alone, not on the number of threads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmmcli.errors import Option, Remedy, UsageError
from gmmcli.families import get_family, given_variance
from gmmcli.families.base import Family
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.draws import generator
from gmmcli.passes.workers import single_intra_op_thread

BLOCK_ROWS = 1 << 16  # most rows of a block, and most numbers in it
BLOCK_NUMBERS = 1 << 21
CHUNK_NUMBERS = 1 << 22  # in a chunk of covariances, and in the differences of a batch of means
MOST_NUMBERS = 1 << 29  # in all covariances, or all means: 4 GiB

UNIFORM_SHARE = 0.25  # of every weight, which keeps it from 0
SIZES = (0.45, 1.0)  # range of a component's overall standard deviation,
STRETCHES = (2 / 3, 1.5)  # and of its multiple along each principal axis

RESTARTS = 100  # attempts at placing all means
BATCHES = (1, 8, 64, 512, 4096)  # candidates for a mean, tried together, before an attempt is given up
# Costs count differences of two coordinates, not seconds: what is refused must not depend on the machine.
DRAW_COST = 4  # of drawing a coordinate
BATCH_COST = 100_000  # of trying a batch, however small
SPARE_COST = 1 << 27  # allowed beyond twice the cost of placing all at the first try: about half a second


def random_mixture(
    *,
    components: int = 5,
    dims: int = 2,
    family: str = "full",
    radius: float = 8.0,
    variance: float | None = None,
    separation: float | None = None,
    seed: int = 42,
) -> GaussianMixture:
    """A random mixture of K components in columns x1..xD, heaviest first.

    Weights π = ¼/K + ¾ Dirichlet(1, ..., 1), so that each is at least 1/(4K): 0.05 for K = 5. Means are
    uniform in [−radius, radius]^D. A covariance is Q diag(s² t²) Qᵀ with s log-uniform in [0.45, 1] and each t
    in [2/3, 1.5], so that standard deviations lie between 0.3 and 1.5. Q is a random orientation, or I where
    the family has none. The family's nearest covariance is taken. Where the family's variance is not learned, it
    is `variance` (default 1). A seed gives the same weights for every family and, without a separation, the
    same means.

    separation: c of ‖μ_i − μ_j‖ ≥ c (√λmax_i + √λmax_j) for all pairs i ≠ j, λmax the largest eigenvalue of
    a Σ. Means are then drawn one at a time, the widest component's first, and drawn again until far enough
    from those before.

    components, dims: at least 1. radius, variance: positive. separation: not negative. Raises UsageError for an
    unknown family, for sizes that need too much memory, for a variance of a family that learns its own, and where
    no room was found for the separation in a bounded number of draws.
    """
    kind = get_family(family)
    _check_sizes(kind, components, dims)
    if variance is not None and kind.learned:
        problem = f"it is only for family {', '.join(given_variance())}"
        raise UsageError(problem, subject=Option("variance", variance), remedy="leave it out")
    with single_intra_op_thread():
        weights = _random_weights(components, seed)
        if kind.learned:
            scale = _random_scale(kind, components, dims, seed)
        else:
            one = torch.ones(1, dtype=torch.float64)
            scale = kind.from_covariances((variance or 1.0) * torch.eye(dims, dtype=torch.float64)[None], one)
        reach = (separation or 0.0) * kind.eigenvalue_range(scale, dims)[1].sqrt().expand(components)
        means = _random_means(reach, dims, radius, seed)
    if means is None:
        raise UsageError(
            f"no room found for {components} components in {dims} columns within a radius of {radius:g}",
            subject=Option("separation", separation),
            remedy=(Remedy("raise", "radius"), Remedy("lower", "separation"), Remedy("lower", "components")),
        )
    return GaussianMixture(weights, means, scale, family, columns=[f"x{d + 1}" for d in range(dims)])


def drawn_blocks(dims: int, samples: int) -> range:
    """Indices of the blocks in which so many rows are drawn."""
    return range(math.ceil(samples / block_rows(dims)))


def draw(model: GaussianMixture, samples: int, seed: int, index: int) -> tuple[Tensor, Tensor]:
    """Rows of a block, x (B, D) float64 in the units of the data, and their components (B,) int64, drawn on the CPU.

    All blocks together have exactly `samples` rows, in random order, since each row's component is drawn anew. All
    have `block_rows(D)` rows, except the last. Each has a generator of its own, for (seed, "generate", index). So any
    thread may draw it, and the first n rows do not depend on `samples`.
    """
    rows = block_rows(model.dims)
    with single_intra_op_thread():
        x, labels = model.sample_labelled(rows, generator=generator(seed, "generate", index))
    count = samples - index * rows  # the last block is drawn whole too: its rows must not depend on their number
    return x[:count], labels[:count]


def block_rows(dims: int) -> int:
    """Rows of a drawn block: 65536, or fewer where D > 32, but at least 1."""
    return max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // dims))


def _check_sizes(kind: Family, components: int, dims: int) -> None:
    numbers = max(math.prod(kind.scale_shape(components, dims)), components * dims, dims * dims)
    if numbers > MOST_NUMBERS:
        raise UsageError(
            f"the parameters of {components} components in {dims} columns need {8 * numbers / 2**30:.3g} GiB",
            remedy=(Remedy("lower", "components"), Remedy("lower", "dims")),
        )


def _random_weights(components: int, seed: int) -> Tensor:
    draws = torch.empty(components, dtype=torch.float64).exponential_(generator=generator(seed, "weights"))
    weights = UNIFORM_SHARE / components + (1 - UNIFORM_SHARE) * draws / draws.sum()
    return weights.sort(descending=True).values


def _random_scale(kind: Family, components: int, dims: int, seed: int) -> Tensor:
    """The family's scale for J random covariances, a few at a time."""
    g = generator(seed, "covariances")
    count, chunk = kind.sharing(components), max(1, CHUNK_NUMBERS // dims**2)
    quads = []
    for first in range(0, count, chunk):
        number = min(chunk, count - first)
        std = _log_uniform(SIZES, (number, 1), g) * _log_uniform(STRETCHES, (number, dims), g)
        if kind.coordinates == "whitened":
            axes = torch.linalg.qr(torch.randn(number, dims, dims, dtype=torch.float64, generator=g)).Q
            root = axes * std[:, None, :]
            covariances = root @ root.mT
        else:  # no rotation: the variances of many columns would become nearly equal
            covariances = std.square().diag_embed()
        quads.append(kind.form.of_products(covariances))
    return kind.scale_from_scatter(torch.cat(quads), torch.ones(count, dtype=torch.float64), dims, 0.0, None)


def _log_uniform(bounds: tuple[float, float], shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    low, high = (math.log(bound) for bound in bounds)
    return (low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=g)).exp()


def _random_means(reach: Tensor, dims: int, radius: float, seed: int) -> Tensor | None:
    """Means (K, D) with ‖μ_i − μ_j‖ ≥ reach_i + reach_j, reach (K,); None if none were found."""
    g = generator(seed, "means")
    components = len(reach)
    if not bool((reach > 0).any()):
        return _uniform(components, dims, radius, g)
    order = reach.argsort(descending=True, stable=True)
    reach = reach[order]
    clean = components * (BATCH_COST + dims * (components // 2 + DRAW_COST))
    budget = SPARE_COST + 2 * clean
    for _ in range(RESTARTS):
        placed, cost = _place(reach, dims, radius, budget, g)
        if placed is not None:
            return torch.empty_like(placed).index_copy_(0, order, placed)
        budget -= cost
        if budget < 0:
            break
    return None


def _place(reach: Tensor, dims: int, radius: float, budget: int, g: torch.Generator) -> tuple[Tensor | None, int]:
    """Means (K, D) of one attempt at placing them in turn, None if a mean found no room; and the attempt's cost.

    reach: (K,).
    """
    means = torch.empty(len(reach), dims, dtype=torch.float64)
    cost = 0
    for k in range(len(reach)):
        for batch in BATCHES:
            batch = min(batch, max(1, CHUNK_NUMBERS // (max(k, 1) * dims)))
            candidates = _uniform(batch, dims, radius, g)
            exact = "donot_use_mm_for_euclid_dist"  # expanded squares cancel where means are close
            far = torch.cdist(candidates, means[:k], compute_mode=exact) >= reach[k] + reach[:k]
            free = far.all(1).nonzero()
            cost += BATCH_COST + batch * dims * (k + DRAW_COST)
            if len(free):
                means[k] = candidates[free[0, 0]]
                break
            if cost > budget:
                return None, cost
        else:
            return None, cost
    return means, cost


def _uniform(rows: int, dims: int, radius: float, g: torch.Generator) -> Tensor:
    return radius * (2 * torch.rand(rows, dims, dtype=torch.float64, generator=g) - 1)
