"""The bootstrap against what theory says of single Gaussians, and a test that finds components that are there."""

from __future__ import annotations

import math

import pytest
import torch

import gmmcli
from gmmcli.choosing.bootstrap import Bootstrap, RatioTest, Resampled
from gmmcli.choosing.watcher import Watcher
from gmmcli.fitting.fit import run
from gmmcli.fitting.options import FitOptions
from gmmcli.passes.block import TableBlocks

SAMPLES = 9


def normal(rows: int, dims: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two(rows: int) -> torch.Tensor:
    x = normal(rows)
    x[::4] += 6
    return x


def test_rows_are_drawn_a_poisson_number_of_times_by_their_number_alone() -> None:
    x = normal(20_000)
    times = torch.cat([block.weights for block in Resampled(TableBlocks(x), 3, 1) if block.weights is not None])
    again = [block.weights for block in Resampled(TableBlocks(x, block_rows=999), 3, 1) if block.weights is not None]
    assert torch.equal(times, torch.cat(again))
    for k in range(4):
        assert float((times == k).double().mean()) == pytest.approx(math.exp(-1) / math.factorial(k), abs=0.01)
    assert float(times.var()) == pytest.approx(1, abs=0.04)


def test_standard_errors_of_one_gaussian_are_those_of_its_mean_and_deviation() -> None:
    x = 3 * normal(1000)
    options = FitOptions(components=1)
    model = gmmcli.fit(x, 1).model
    found = run(Bootstrap(TableBlocks(x), model, options, 80, Watcher()).standard_errors(), options)
    assert found.replicates == 80
    assert found.means[0][0] == pytest.approx(3 / math.sqrt(1000), rel=0.25)
    assert found.stds[0][0] == pytest.approx(3 / math.sqrt(2000), rel=0.25)
    assert found.weights[0] == pytest.approx(0, abs=1e-12)


def test_components_keep_their_numbers_from_one_replicate_to_the_next() -> None:
    """Two of equal weight, which would change places half of the time."""
    x = normal(400)
    x[::2] += 10
    model = gmmcli.fit(x, 2).model
    options = FitOptions(components=2)
    found = run(Bootstrap(TableBlocks(x), model, options, 40, Watcher()).standard_errors(), options)
    assert max(found.means[0][0], found.means[1][0]) < 0.2
    assert found.weights[0] == pytest.approx(0.5 / math.sqrt(400), rel=0.4)


def ratio(x: torch.Tensor, components: int, threads: int) -> RatioTest:
    model = gmmcli.fit(x, components, restarts=2).model
    options = FitOptions(components=components, restarts=2, threads=threads)
    return run(Bootstrap(TableBlocks(x), model, options, SAMPLES, Watcher()).ratio_test(), options)


def test_the_ratio_test_finds_a_second_component_and_no_third() -> None:
    x = two(200)
    first = ratio(x, 1, threads=1)
    assert first.p == pytest.approx(1 / (1 + SAMPLES))
    assert first.statistic > 50
    second = ratio(x, 2, threads=1)
    assert second.p > 0.2
    assert (second.components, second.replicates) == (2, SAMPLES)


@pytest.mark.usefixtures("hostile")
def test_the_ratio_test_does_not_depend_on_threads() -> None:
    assert ratio(two(100), 1, threads=1) == ratio(two(100), 1, threads=2)
