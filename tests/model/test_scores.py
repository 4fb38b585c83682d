"""The counts of scores that a model keeps: quantiles near the exact ones, the same however the rows are cut."""

from __future__ import annotations

import json

import pytest
import torch

import gmmcli
from gmmcli.errors import InputError
from gmmcli.model.scores import Scores, added_up, count_scores


def histogram(centre: float, *counts: torch.Tensor) -> Scores:
    return Scores(centre, {int(number): count for number, count in added_up(torch.cat(counts)).tolist()})


@pytest.mark.parametrize("spread", [1e-3, 1.0, 300.0])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.99])
def test_quantiles_are_near_those_of_the_rows(share: float, spread: float):
    scores = -5000 - spread * torch.randn(20_000, generator=torch.Generator().manual_seed(0)).double().square()
    found = histogram(-5000.0, count_scores(scores, None, -5000.0, 20_000)).quantile(share)
    near = scores.sort().values[[int(max(0, share - 0.002) * 20_000), int(min(0.9999, share + 0.002) * 20_000)]]
    slack = max(1 / 16, 0.01 * abs(found + 5000))
    assert float(near[0]) - slack <= found <= float(near[1]) + slack


def test_blocks_add_up_and_weights_count():
    scores = torch.randn(500, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.arange(500).double() % 3
    weight = float(weights.sum())
    whole = histogram(0.0, count_scores(scores, weights, 0.0, weight))
    pieces = zip(scores.split(77), weights.split(77), strict=True)
    parts = histogram(0.0, *(count_scores(*piece, 0.0, weight) for piece in pieces))
    repeated = histogram(0.0, count_scores(scores.repeat_interleave(weights.long()), None, 0.0, weight))
    assert whole.to_json() == parts.to_json()
    assert {n: c for n, c in whole.counts.items() if c} == repeated.counts
    assert Scores.from_json(json.loads(json.dumps(whole.to_json()))) == whole


@pytest.mark.parametrize(
    "value",
    [None, 3, {}, {"centre": "x", "bins": [1], "counts": [1]}, {"centre": 0, "bins": [1], "counts": []},
     {"centre": 0, "bins": [1], "counts": [-1]}, {"centre": 0, "bins": [1 << 60], "counts": [1]},
     {"centre": 0, "bins": [1], "counts": [0]}, {"centre": float("nan"), "bins": [1], "counts": [1]}],
)  # fmt: skip
def test_what_are_no_counts(value):
    with pytest.raises(InputError, match="no sound counts"):
        Scores.from_json(value)


@pytest.mark.parametrize("missing", ["error", "em"])
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("name", ["full", "shared_diagonal", "isotropic"])
def test_a_fit_counts_the_scores_of_its_rows(name: str, noise: bool, missing: str):
    x = torch.randn(900, 3, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1.0, 100, 0.01])
    if missing == "em":
        x[torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.1] = torch.nan
    result = gmmcli.fit(x, 2, name, noise=noise, missing=missing, restarts=2, iterations=50)
    own = x[~x.isnan().all(1)]
    assert sum(result.scores.counts.values()) == len(own)
    scores = result.model.log_prob(own, marginal=missing == "em").detach()
    for share in (0.01, 0.1, 0.9):
        level = result.scores.quantile(share)
        slack = 0.1 + 0.01 * abs(level - result.scores.centre)  # of a bin; in a background many score the same
        assert float((scores < level - slack).double().mean()) <= share + 0.006
        assert float((scores < level + slack).double().mean()) >= share - 0.006
