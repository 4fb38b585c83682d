"""Components that collapse: where they begin again, what is left without them, and what a fit says of it."""

from __future__ import annotations

import pytest
import torch

import gmmcli
from gmmcli.errors import NumericalError, Remedy
from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.soundness import WorstRows, find_flaw, reset, without
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import drive, read
from tests import reference
from tests.conftest import inner_rows, prepare_rows, to_parameters


def mixture(family: Family, components: int = 3) -> Parameters:
    return to_parameters(family, reference.random_moments(family.name, components, 2, 0, spread=1.0))


def rows(count: int = 500, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def worst_rows(data: PreparedData, family: Family, p: Parameters, count: int, threads: int = 1):
    return drive(read(data.reading(lambda: WorstRows(data, family, p, count))), threads)


def test_worst_explained_rows_are_those_of_least_density_ties_by_number(family: Family):
    x = torch.cat([rows(), torch.tensor([[9.0, 9.0]]).double().repeat(3, 1)])
    p = mixture(family)
    data = prepare_rows(x, family, block_rows=70, order=list(range(8))[::-1])
    z, numbers = worst_rows(data, family, p, 40, threads=2)
    densities = family.log_joint(p, inner_rows(data)).logsumexp(1)
    expected = densities.argsort(stable=True)[:40]
    assert numbers[:3].tolist() == [500, 501, 502]
    assert numbers.tolist() == expected.tolist()
    torch.testing.assert_close(z, inner_rows(data)[expected])


def test_begun_again_at_a_badly_explained_row_the_others_stay(family: Family):
    x, p = rows(), mixture(family)
    data = prepare_rows(x, family)
    again = drive(reset(data, family, p, 1, 0, "a"), 1)
    worst, _ = worst_rows(data, family, p, 84)  # 500 / (2 K)
    assert bool((worst == again.means[1]).all(1).any())
    assert torch.equal(again.means[[0, 2]], p.means[[0, 2]])
    assert float(again.weights[1]) == pytest.approx(1 / 3)
    assert float(again.weights.sum()) == pytest.approx(1)
    assert float(again.weights[0] / again.weights[2]) == pytest.approx(float(p.weights[0] / p.weights[2]))
    assert family.scale_problem(again.scale, again.dims) is None
    assert not torch.equal(again.means[1], drive(reset(data, family, p, 1, 0, "b"), 1).means[1])


def test_without_a_component(family: Family):
    p = mixture(family)
    rest = without(p, 1)
    assert torch.equal(rest.means, p.means[[0, 2]])
    assert float(rest.weights.sum()) == pytest.approx(1)
    family.validate(rest)


def collapsing() -> tuple[torch.Tensor, gmmcli.GaussianMixture]:
    """Three clusters with five equal rows between them, and a model with a narrow component on the five."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, generator=draw, dtype=torch.float64)
    x[:100] += torch.tensor([10.0, 0.0])
    x[100:200] += torch.tensor([0.0, 10.0])
    x = torch.cat([x, torch.tensor([[4.0, 4.0]]).double().repeat(5, 1)])
    means = torch.tensor([[10.0, 0.0], [0.0, 10.0], [4.0, 4.0], [0.0, 0.0]]).double()
    spread = torch.tensor([1.0, 1.0, 1e-3, 1.0]).double()
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    start = gmmcli.GaussianMixture.from_covariances(weights, means, spread[:, None, None] * torch.eye(2), "full")
    return x, start


def flattened(rows: float, ratio: float) -> Parameters:
    """Two components in two columns, one on so many of 1000 rows and flat by that ratio against the other."""
    weights = torch.tensor([rows / 1000, 1 - rows / 1000]).double()
    covariances = torch.diag_embed(torch.tensor([[ratio, 1.0], [1.0, 1.0]]).double())
    return get_family("full").from_moments(weights, torch.zeros(2, 2).double(), covariances)


@pytest.mark.parametrize(
    ("rows", "ratio", "reason"),
    [
        (14, 9e-5, "component 0 is nearly flat on 14 rows of weight: eigenvalue ratio 9.0e-05"),
        (16, 9e-5, None),  # five times the three that a covariance in two columns needs
        (14, 2e-4, None),
        (500, 9e-9, "component 0 is nearly flat: eigenvalue ratio 9.0e-09"),
        (2, 1.0, "component 0 has 2 rows of weight, fewer than 3"),
    ],
)
def test_what_counts_as_spurious(rows: float, ratio: float, reason: str | None):
    flaw = find_flaw(get_family("full"), flattened(rows, ratio), 0.0, 1000, prior=False)
    assert (None if flaw is None else flaw.reason) == reason
    assert flaw is None or Remedy("use", "prior") in flaw.remedies
    assert find_flaw(get_family("full"), flattened(rows, ratio), 0.0, 1000, prior=True) is None


def test_under_a_prior_only_a_component_without_a_row_is_a_flaw():
    flaw = find_flaw(get_family("full"), flattened(0.5, 1.0), 0.0, 1000, prior=True)
    assert flaw is not None
    assert flaw.reason == "component 0 has 0.5 rows of weight, fewer than 1"
    assert Remedy("use", "prior") not in flaw.remedies


@pytest.mark.parametrize("on_collapse", ["reset", "drop", "error"])
def test_under_a_prior_a_small_cluster_keeps_its_component(on_collapse: str):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(84, 5, generator=draw, dtype=torch.float64)
    x[40:80] += 10
    x[80:] += torch.tensor([20.0, -20, 20, -20, 20])
    result = gmmcli.fit(x, 3, prior=True, on_collapse=on_collapse, restarts=3)
    assert [round(84 * w) for w in result.model.weights.tolist()] == [40, 40, 4]
    assert result.unsound is None


def test_the_worst_rows_with_missing_cells_are_judged_by_those_that_are_there(family: Family):
    x = torch.cat([rows(), torch.tensor([[9.0, torch.nan]]).double()])
    data = prepare_rows(x, family)
    assert int(worst_rows(data, family, mixture(family), 1)[1][0]) == 500


def test_a_collapsed_component_begins_again_and_the_fit_says_so():
    x, start = collapsing()
    result = gmmcli.fit(x, init=start)
    resets = result.restarts[result.restart].resets
    assert 1 <= len(resets) <= 3
    assert "component" in resets[0].reason
    assert result.model.components == 4


def test_a_collapsed_component_is_dropped_when_asked():
    x, start = collapsing()
    result = gmmcli.fit(x, init=start, on_collapse="drop")
    assert result.model.components == 3
    assert result.unsound is None
    assert len(result.restarts[0].resets) == 1
    assert result.parameter_count == 17


def test_a_collapsed_component_fails_its_restart_when_asked():
    x, start = collapsing()
    with pytest.raises(NumericalError, match=r"component 2 has .*: lower components, .* or use on_collapse='reset'"):
        gmmcli.fit(x, init=start, on_collapse="error")


@pytest.mark.usefixtures("blas")
def test_resets_give_the_same_bits_for_any_number_of_threads():
    x, start = collapsing()
    a, b = (gmmcli.fit(x, init=start, threads=threads).model for threads in (1, 2))
    assert torch.equal(a.means, b.means)
    assert torch.equal(a.covariances, b.covariances)
