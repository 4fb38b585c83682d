"""Statistics of all columns from those of the observed: against conditional expectations taken row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmmcli.families.base import Family
from tests import reference
from tests.conftest import to_parameters

K, D, N = 3, 4, 30


@pytest.mark.parametrize("observed", [[0], [1, 3], [0, 1, 2, 3], [2, 0, 3]])
def test_completed_statistics_are_conditional_expectations(family: Family, observed: list[int]):
    p = to_parameters(family, reference.random_moments(family.name, K, D, 1))
    draw = np.random.default_rng(0)
    x, r = draw.normal(size=(N, len(observed))), draw.dirichlet(np.ones(K), N)
    missing = [d for d in range(D) if d not in observed]
    covariances = family.covariances(p.scale, D).expand(K, D, D).numpy()
    means = p.means.numpy()
    expected_sums, products = np.zeros((K, D)), np.zeros((K, D, D))
    for k in range(K):
        known = covariances[k][np.ix_(observed, observed)]
        across = covariances[k][np.ix_(missing, observed)]
        rest = covariances[k][np.ix_(missing, missing)] - across @ np.linalg.inv(known) @ across.T
        for n in range(N):
            full, spread = np.empty(D), np.zeros((D, D))
            full[observed] = x[n]
            full[missing] = means[k][missing] + across @ np.linalg.inv(known) @ (x[n] - means[k][observed])
            spread[np.ix_(missing, missing)] = rest
            expected_sums[k] += r[n, k] * full
            products[k] += r[n, k] * (np.outer(full, full) + spread)
    expected_quads = family.form.of_products(torch.from_numpy(products))
    columns, weights = torch.tensor(observed), torch.from_numpy(r)
    rows = torch.from_numpy(x)
    marginal, _ = family.marginal(p, columns)
    quads = weights.mT @ marginal.quad(rows.mT).mT
    if family.shared:
        quads, expected_quads = quads.sum(0, keepdim=True), expected_quads.sum(0, keepdim=True)
    sums, all_quads = family.complete(p, columns, weights.sum(0), weights.mT @ rows, quads)
    torch.testing.assert_close(sums, torch.from_numpy(expected_sums))
    torch.testing.assert_close(all_quads, expected_quads)
