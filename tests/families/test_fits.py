"""The contract's second part: a family is fitted by every engine, in every way, and its models are stored."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gmmcli
from gmmcli.families import get_family
from gmmcli.families.base import Family
from gmmcli.fitting.objective import Objective, Prior
from gmmcli.fitting.result import FitResult
from gmmcli.passes.sums import SufficientStatistics
from tests import reference
from tests.conftest import to_parameters

FAITHFUL = Path(__file__).parents[2] / "sample_data" / "faithful.csv"
MEANS = torch.tensor([[-2.0, 0.0, 1.0], [2.0, 1.0, -1.0]], dtype=torch.float64)


def clusters(rows: int = 160) -> Tensor:
    """Rows of two clusters that overlap little, so that every engine ends at the same optimum."""
    covariances = reference.random_moments("full", 2, 3, 2).covariances
    moments = reference.Moments(np.array([0.4, 0.6]), MEANS.numpy(), covariances)
    return torch.from_numpy(reference.random_rows(moments, rows, 3))


def with_holes(x: Tensor) -> Tensor:
    holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.15
    holes[:, 0] = False
    return torch.where(holes, torch.nan, x)


def fit(family: Family, x: Tensor, **options: Any) -> FitResult:
    given = {} if family.learned else {"variance": 1.0}
    return gmmcli.fit(x, None, family.name, init=MEANS, threads=1, **given, **options)


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "floor": {"variance_floor": 0.3},
    "prior": {"prior": True},
    "noise": {"noise": True},
    "missing": {"missing": "em"},
    "float32": {"precision": "float32"},
}


@pytest.mark.parametrize("way", WAYS)
def test_em_climbs_and_the_model_scores_what_the_fit_says(learned_family: Family, way: str):
    x = with_holes(clusters()) if way == "missing" else clusters()
    result = fit(learned_family, x, acceleration="none", iterations=40, tolerance=0.0, **WAYS[way])
    levels = np.array([record.log_likelihood for record in result.history])
    noise = 1e-6 if way == "float32" else 1e-13
    assert np.diff(levels).min() >= -noise * np.abs(levels).max()
    assert levels[-1] > levels[0]
    with torch.inference_mode():
        total = float(result.model.log_prob(x, marginal=True).sum())
    assert result.log_likelihood == pytest.approx(total, rel=1e-6 if way == "float32" else 1e-11)
    if way == "floor":
        smallest = result.model.kind.eigenvalue_range(result.model.inner_scale.detach(), 3)[0]
        assert float(smallest.min()) > 0.2  # of variances of about 1


ENGINES: dict[str, dict[str, Any]] = {
    "bfgs": {"acceleration": "bfgs"},
    "anderson": {"acceleration": "anderson"},
    "squarem": {"acceleration": "squarem"},
    "lbfgs": {"method": "gradient", "optimizer": "lbfgs"},
    "adam": {"method": "gradient", "iterations": 200},
}


@pytest.mark.parametrize("missing", ["error", "em"])
def test_every_engine_ends_where_em_does(missing: str):
    """The tests of the engines hold the seven families to it."""
    family = get_family("evv")
    x = with_holes(clusters()) if missing == "em" else clusters()
    options = {"missing": missing, "tolerance": 1e-8}
    best = fit(family, x, acceleration="none", iterations=2000, **options)
    for name, engine in ENGINES.items():
        other = fit(family, x, **engine, **options)
        close = 1e-4 if name == "adam" else 1e-6
        assert other.log_likelihood == pytest.approx(best.log_likelihood, abs=close * len(x)), name
        assert other.parameter_count == best.parameter_count


def test_gradient_of_the_objective_is_that_of_autograd(learned_family: Family):
    """By Fisher's identity through free tensors, with a prior, against autograd through the densities."""
    family, x = learned_family, clusters(50)
    prior = Prior.default(3, 3)
    objective = Objective(family, 1e-9, prior, 50.0)
    p = to_parameters(family, reference.random_moments(family.name, 3, 3, 4))
    r = family.log_joint(p, x).softmax(1)
    quads = r.mT @ family.quad(x.mT).mT
    quads = quads.sum(0, keepdim=True) if family.shared else quads
    statistics = SufficientStatistics(r.sum(0), r.mT @ x, quads, 0.0, 50.0, None, 0.0, None)
    vector = objective.free_vector(p)
    free = vector.detach().clone().requires_grad_()
    q = objective._constrain(free, p)
    value = family.log_joint(q, x).logsumexp(1).mean() + prior.log_density(family, q) / 50
    (expected,) = torch.autograd.grad(value, free)
    torch.testing.assert_close(objective.gradient(vector, p, statistics), expected, rtol=1e-9, atol=1e-12)


def test_models_are_stored_sampled_imputed_and_gone_on_from(family: Family, tmp_path: Path):
    x = with_holes(clusters())
    result = fit(family, x, missing="em")
    path = str(tmp_path / "model.pt")
    gmmcli.save(path, result)
    model = gmmcli.load(path)
    assert model.family == family.name
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    draw = partial(torch.Generator().manual_seed, 1)
    assert torch.equal(model.sample(50, generator=draw()), result.model.sample(50, generator=draw()))
    assert torch.equal(model.log_prob(x, marginal=True), result.model.log_prob(x, marginal=True))
    assert not bool(model.impute(x).isnan().any())
    again = gmmcli.fit(x, init=model, missing="em", threads=1)
    assert again.model.family == family.name
    assert again.log_likelihood >= result.log_likelihood - 1e-6 * len(x)


@pytest.mark.parametrize("components", [2, 3])
def test_a_whole_fit_of_equal_volumes_lies_between_equal_and_free_covariances(components: int):
    x = torch.from_numpy(np.loadtxt(FAITHFUL, delimiter=",", skiprows=1))
    tied, evv, full = (gmmcli.fit(x, components, name, threads=1, restarts=6) for name in ("tied", "evv", "full"))
    assert evv.flaw is None
    assert tied.parameter_count < evv.parameter_count == full.parameter_count - (components - 1)
    assert tied.log_likelihood < evv.log_likelihood < full.log_likelihood
    volumes = evv.model.covariances.detach().det()
    torch.testing.assert_close(volumes, volumes[:1].expand(components), rtol=1e-9, atol=0)
    by_gradient = gmmcli.fit(x, family="evv", init=evv.model, method="gradient", optimizer="lbfgs", threads=1)
    assert by_gradient.log_likelihood == pytest.approx(evv.log_likelihood, abs=1e-3)
