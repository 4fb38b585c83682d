"""The conjugate prior: its density against torch's distributions, its mode by calculus, and what it does to a fit."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import InverseGamma, MultivariateNormal, Wishart

from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters, Unconstrained
from gmmcli.fitting.em import EM
from gmmcli.fitting.engine import Evaluator
from gmmcli.fitting.loop import Limits
from gmmcli.fitting.objective import Objective, Prior
from tests import reference
from tests.conftest import prepare_rows, run_engine, run_pass, to_parameters

K, D = 3, 2
PRIOR = Prior(0.5, D + 3.0, 0.7)


def mixture(family: Family, seed: int) -> Parameters:
    return to_parameters(family, reference.random_moments(family.name, K, D, seed, spread=1.0))


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def density_by_torch(family: Family, p: Parameters) -> float:
    """From the definition, with constants."""
    covariances = family.covariances(p.scale, D)
    each = covariances.expand(K, D, D)
    total = MultivariateNormal(torch.zeros(D).double(), each / PRIOR.shrinkage).log_prob(p.means).sum()
    if not family.learned:
        return float(total)
    if family.coordinates == "whitened":
        wishart = Wishart(torch.tensor(PRIOR.degrees).double(), torch.eye(D).double() / PRIOR.variance)
        for covariance in covariances:
            total += wishart.log_prob(covariance.inverse()) - (D + 1) * covariance.logdet()
        return float(total)
    variances = p.scale.reshape(-1)
    shape, scale = torch.tensor([PRIOR.degrees / 2, PRIOR.variance / 2], dtype=torch.float64)
    gamma = InverseGamma(shape, scale)
    return float(total + gamma.log_prob(variances).sum())


def test_density_is_that_of_the_distributions_but_for_a_constant(family: Family):
    a, b = mixture(family, 0), mixture(family, 1)
    if not family.learned:
        b = Parameters(b.weights, b.means, a.scale)
    actual = float(PRIOR.log_density(family, a) - PRIOR.log_density(family, b))
    assert actual == pytest.approx(density_by_torch(family, a) - density_by_torch(family, b), rel=1e-10)


def test_the_mode_is_where_the_gradient_is_none(family: Family):
    data, start = prepare_rows(rows(40), family), mixture(family, 2)
    statistics = run_pass(data, family, [start])[0]
    objective = Objective(family, 0.0, PRIOR, statistics.weight)
    mode = objective.maximise(statistics, start)
    u = family.unconstrain(mode)
    free = [t.detach().clone().requires_grad_() for t in (u.logits, u.means, u.raw)]
    value = objective.expected(statistics, family.constrain(Unconstrained(*free)))
    gradients = torch.autograd.grad(value, free if family.learned else free[:2])
    for gradient in gradients:
        assert float(gradient.abs().max()) < 1e-12
    assert float(objective.expected(statistics, mode)) > float(objective.expected(statistics, start))


def test_the_mode_of_a_full_covariance_is_that_of_the_paper():
    """Fraley & Raftery (2007), table 1: Σ_k = (Λ + κ n (x̄ − μ)(x̄ − μ)ᵀ / (κ + n) + W_k) / (ν + n + D + 2)."""
    family = get_family("full")
    x = rows(12)
    data = prepare_rows(x, family)
    z = data.whole().z[1:].mT
    start = Parameters(torch.ones(1).double(), z[:1], torch.eye(D).double()[None])
    statistics = run_pass(data, family, [start])[0]
    prior = Prior.default(1, D)
    mode = Objective(family, 0.0, prior, 12.0).maximise(statistics, start)
    n, mean = 12, z.mean(0)
    scatter = (z - mean).mT @ (z - mean) + prior.variance * torch.eye(D)
    scatter += prior.shrinkage * n / (prior.shrinkage + n) * torch.outer(mean, mean)
    torch.testing.assert_close(mode.means[0], n * mean / (n + prior.shrinkage))
    torch.testing.assert_close(family.covariances(mode.scale, D)[0], scatter / (prior.degrees + n + D + 2))


def test_default_is_that_of_the_paper():
    assert Prior.default(4, 2) == Prior(0.01, 4.0, 0.25)
    assert Prior.default(1, 5) == Prior(0.01, 7.0, 1.0)


def test_em_climbs_the_posterior(family: Family):
    data = prepare_rows(rows(60, 3), family)
    objective = Objective(family, 1e-9, Prior.default(K, D), 60.0)
    run = run_engine(EM(objective), [mixture(family, 4)], Evaluator(data, family), Limits(60, 1e-9))[0]
    levels = [record.log_likelihood for record in run.history]
    assert all(b >= a - 1e-12 * abs(a) for a, b in pairwise(levels))
    assert math.isfinite(levels[-1])


def test_on_a_part_of_the_rows_the_prior_counts_as_that_part(family: Family):
    """Statistics over a sixth of the rows, with a prior over all, have the mode of six times those."""
    data, start = prepare_rows(rows(40), family), mixture(family, 2)
    one = run_pass(data, family, [start])[0]
    part = Objective(family, 0.0, PRIOR, 6 * one.weight).maximise(one, start)
    six = prepare_rows(rows(40), family, torch.full((40,), 6.0).double())
    assert six.summary.weight == 240
    whole = Objective(family, 0.0, PRIOR, six.summary.weight).maximise(run_pass(six, family, [start])[0], start)
    torch.testing.assert_close(part.means, whole.means)
    torch.testing.assert_close(part.scale, whole.scale)
