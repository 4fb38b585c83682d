"""Hard clusters: each step against what its definition says, and the starts made of them."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gmmcli.families import get_family
from gmmcli.fitting import starts
from gmmcli.passes.draws import generator
from gmmcli.passes.reading import drive
from tests.conftest import prepare_rows


def points(count: int, dims: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(count: int) -> Tensor:
    return torch.linspace(0.5, 2, count, dtype=torch.float64)


def scatter(x: Tensor, w: Tensor, labels: Tensor) -> float:
    """Σ w ‖x − mean of its cluster‖²."""
    total = 0.0
    for k in labels.unique().tolist():
        own = labels == k
        mean = (w[own, None] * x[own]).sum(0) / w[own].sum()
        total += float((w[own, None] * (x[own] - mean).square()).sum())
    return total


def test_seeds_are_different_points_while_there_are_any():
    x = points(6).repeat(50, 1)
    found = starts.seeds(x, weights(len(x)), 6, generator(1, "test"))
    assert len(found.unique(dim=0)) == 6
    assert bool((torch.cdist(found, x).amin(1) == 0).all())
    assert torch.equal(found, starts.seeds(x, weights(len(x)), 6, generator(1, "test")))


def test_seeds_are_never_points_without_weight():
    w = weights(40) * (torch.arange(40) % 2)
    x = points(40)
    found = starts.seeds(x, w, 20, generator(2, "test"))
    assert bool((torch.cdist(found, x[::2]).amin(1) > 0).all())


def test_masses_and_means_are_those_of_the_nearest_points():
    x, w, centres = points(200, 3), weights(200), points(5, 3, seed=1)
    far = torch.cat([centres, torch.full((1, 3), 99.0, dtype=torch.float64)])
    masses, means = starts.masses_and_means(x, w, far)
    own = torch.cdist(x, far).argmin(1)
    for k in range(5):
        assert_close(masses[k], w[own == k].sum())
        assert_close(means[k], (w[own == k, None] * x[own == k]).sum(0) / w[own == k].sum())
    assert masses[5] == 0
    assert torch.equal(means[5], far[5])


def test_lloyd_never_raises_the_scatter_and_ends_where_it_stays():
    x, w = points(300), weights(300)
    before, centres = math.inf, starts.seeds(x, w, 7, generator(0, "test"))
    for _ in range(5):
        centres = starts.lloyd(x, w, centres, 1)
        now = float((w * torch.cdist(x, centres).amin(1).square()).sum())
        assert now <= before
        before = now
    settled = starts.lloyd(x, w, centres, 1000)
    assert torch.equal(starts.lloyd(x, w, settled, 1), settled)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_ward_merges_what_adds_least_to_the_scatter(count: int):
    """Against trying every pair, each time."""
    x, w = points(9, 3), weights(9)
    labels = torch.arange(9)
    while len(labels.unique()) > count:
        merged = [torch.where(labels == j, i, labels) for i, j in combinations(labels.unique().tolist(), 2)]
        labels = min(merged, key=lambda option: scatter(x, w, option))
    expected = [(w[labels == k, None] * x[labels == k]).sum(0) / w[labels == k].sum() for k in labels.unique()]
    found = starts.merged(x, w, count)
    assert_close(found[found[:, 0].argsort()], torch.stack(sorted(expected, key=lambda mean: float(mean[0]))))


def test_ward_changes_nothing_that_it_is_given():
    x, w = points(9), weights(9)
    starts.merged(x, w, 2)
    assert torch.equal(x, points(9))
    assert torch.equal(w, weights(9))


def test_the_ward_start_finds_clusters_that_lie_apart():
    """16 of them in 8 columns, of unequal size: k-means++ hardly ever seeds each of them once."""
    draw = torch.Generator().manual_seed(5)
    centres = 6 * torch.randn(16, 8, generator=draw, dtype=torch.float64)
    labels = torch.multinomial(torch.linspace(1, 4, 16), 6000, True, generator=draw)
    x = centres[labels] + torch.randn(6000, 8, generator=draw, dtype=torch.float64)
    family = get_family("full")
    data = prepare_rows(x, family)
    sample = drive(starts.draw_sample(data, 0), 1)
    for seed in range(10):
        p = starts.Starter(sample, family, 16, None, 1e-6).ward(seed)
        distances = torch.cdist(data.affine.outer(p.means), centres)
        assert sorted(distances.argmin(1).tolist()) == list(range(16))
        assert float(distances.amin(1).max()) < 0.5


def test_the_ward_start_needs_no_more_rows_than_components():
    family = get_family("diagonal")
    x = points(7)
    sample = drive(starts.draw_sample(prepare_rows(x, family), 0), 1)
    for components in (1, 3, 7):
        p = starts.Starter(sample, family, components, None, 1e-6).ward(0)
        assert p.means.shape == (components, 2)
        assert bool(p.means.isfinite().all())


def test_auto_takes_both_starts_by_turns():
    assert [starts.start_name("auto", restart) for restart in range(3)] == ["ward", "kmeans++", "ward"]
    assert starts.start_name("random", 1) == "random"
