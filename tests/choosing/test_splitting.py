"""Mixtures made larger by splitting keep their moments, their weights, and their background."""

from __future__ import annotations

import pytest
import torch

import gmmcli
from gmmcli.choosing.grid import MOST, split
from tests.reference import FAMILY_NAMES


def mixture(family: str, components: int = 3) -> gmmcli.GaussianMixture:
    draw = torch.Generator().manual_seed(components)
    factors = torch.randn(components, 3, 3, generator=draw, dtype=torch.float64)
    means = 5 * torch.randn(components, 3, generator=draw, dtype=torch.float64)
    weights = torch.arange(components, 0, -1).double()
    return gmmcli.GaussianMixture.from_covariances(
        weights / weights.sum(), means, factors @ factors.mT + torch.eye(3), family
    )


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("components", [4, 6])
def test_halves_have_the_weights_and_the_mean_of_the_whole(family: str, components: int) -> None:
    model = mixture(family)
    made = split(model, components)
    assert len(made) == 3
    for larger in made:
        assert (larger.family, larger.components) == (family, components)
        assert float(larger.weights.detach().sum()) == pytest.approx(1)
        torch.testing.assert_close(larger.weights @ larger.means, model.weights @ model.means)


def test_the_first_made_splits_the_heaviest_along_its_longest_axis() -> None:
    model = mixture("full")
    larger = split(model, 4)[0]
    values, vectors = torch.linalg.eigh(model.covariances[0].detach())
    gap = (larger.means[-1] - larger.means[-2]).detach()
    assert abs(float(gap @ vectors[:, -1])) == pytest.approx(2 * 0.7 * float(values[-1]) ** 0.5)
    second = larger.covariances[-1] + torch.outer(gap / 2, gap / 2)
    torch.testing.assert_close(second.detach(), model.covariances[0].detach())


def test_without_a_distance_the_density_stays_the_same() -> None:
    model = mixture("full")
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    larger = split(model, 5, 0.0)[0]
    torch.testing.assert_close(larger.log_prob(x), model.log_prob(x))


def test_no_more_than_so_many_are_made() -> None:
    assert len(split(mixture("isotropic", 15), 16)) == MOST


def test_a_background_stays() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(300, 2, generator=draw), 20 * torch.rand(60, 2, generator=draw) - 10]).double()
    model = gmmcli.fit(x, 1, noise=True).model
    larger = split(model, 2, 0.0)[0]
    assert larger.background is not None
    torch.testing.assert_close(larger.log_prob(x), model.log_prob(x))
