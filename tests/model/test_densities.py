"""Densities of many rows: in inference mode as elsewhere, and the same bits whatever lies beside a row."""

from __future__ import annotations

import copy
import math
import os
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from gmmcli.families.base import Family
from gmmcli.model import densities
from gmmcli.model.densities import LEAST_ROWS, Reduce, log_sum, log_sum_and_entropy, loop_of, most_probable, shares
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.workers import compiled
from tests import reference
from tests.conftest import to_parameters

DIMS, COMPONENTS = 3, 9


def build(family: Family, spread: float = 1.0, shift: float = 0.0) -> GaussianMixture:
    p = to_parameters(family, reference.random_moments(family.name, COMPONENTS, DIMS, 3, spread=spread))
    return GaussianMixture(p.weights, p.means + shift, p.scale, family.name)


def rows_of(model: GaussianMixture, count: int) -> Tensor:
    """Rows of the mixture, every seventh ten thousand times as far away, and one ever so far."""
    x = model.sample(count, generator=torch.Generator().manual_seed(1))
    x[::7] *= 1e4
    x[1] = 1e12
    return x


def answers(model: GaussianMixture, x: Tensor) -> list[Tensor]:
    log_prob, entropy = model.log_prob_and_entropy(x)
    component, probability = model.most_probable(x)
    return [t.detach() for t in (log_prob, entropy, model.responsibilities(x), component, probability)]


def fast(model: GaussianMixture, x: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return answers(model, x)


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("spread", [0.5, 30.0])
def test_inference_mode_changes_nothing_but_rounding(family: Family, spread: float, shift: float):
    model = build(family, spread, shift)
    x = rows_of(model, 1200)
    actual, expected = fast(model, x), answers(model, x)
    close = expected[0].abs() < 1e6
    assert 500 < int(close.sum()) < len(x)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-13)
    for place in (1, 2, 4):  # exponentials of differences of logits of up to 1e6, each of which is rounded
        assert float((actual[place] - expected[place])[close].abs().max()) <= 1e-12
    assert torch.equal(actual[3], expected[3])


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("way", [fast, answers], ids=["inference", "plain"])
def test_neither_chunks_nor_the_rows_beside_it_show_in_a_row(
    way: Callable[[GaussianMixture, Tensor], list[Tensor]], family: Family, monkeypatch: pytest.MonkeyPatch
):
    model = build(family)
    x = rows_of(model, 3000)
    whole = way(model, x)
    for part in (slice(0, 1), slice(1, 2), slice(7, 20), slice(333, 2900)):
        for held in (x[part], x.mT.contiguous().mT[part]):
            for a, b in zip(way(model, held), whole, strict=True):
                assert torch.equal(a, b[part])
    monkeypatch.setattr(densities, "MOST_ROWS", LEAST_ROWS)
    for a, b in zip(way(build(family), x), whole, strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "background"])
def test_nor_do_they_where_cells_are_missing(family: Family, noisy: bool):
    """Scores and what is imputed, by means and by draws, beside a background too."""
    model = build(family)
    x = rows_of(model, 400)
    if noisy:
        box = torch.stack([x.amin(0), x.amax(0)])
        model = GaussianMixture(
            0.9 * model.weights, model.inner_means, model.inner_scale, family.name, background=0.1, box=box
        )
    x[::2, 1] = torch.nan
    x[::3, 2] = torch.nan
    draw = torch.Generator().manual_seed(5)
    draws = torch.rand(400, generator=draw, dtype=x.dtype), torch.randn(400, DIMS, generator=draw, dtype=x.dtype)

    def found(rows: slice) -> list[Tensor]:
        with torch.inference_mode():
            component, probability = model.most_probable(x[rows], marginal=True)
            own = draws[0][rows], draws[1][rows]
            scores = model.log_prob_and_entropy(x[rows], marginal=True)
            return [
                *scores,
                component,
                probability,
                model.impute_rows(x[rows], None),
                model.impute_rows(x[rows], own),
            ]

    whole = found(slice(0, 400))
    for part in (slice(0, 1), slice(1, 2), slice(7, 20), slice(33, 390)):
        for a, b in zip(found(part), whole, strict=True):
            assert torch.equal(a, b[part])


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("way", [fast, answers], ids=["inference", "plain"])
def test_nor_do_torchs_own_threads(way: Callable[[GaussianMixture, Tensor], list[Tensor]], family: Family):
    """Of three threads none has columns that begin or end where a vector does."""
    p = to_parameters(family, reference.random_moments(family.name, 70, DIMS, 3))
    model = GaussianMixture(p.weights, p.means, p.scale, family.name)
    x = rows_of(model, 2000)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(way(model, x))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert torch.equal(a, b)


@pytest.mark.usefixtures("blas")
def test_float32_rows_are_those_of_float64(family: Family):
    model = build(family)
    x = rows_of(model, 1000).float()
    for a, b in zip(fast(model, x), fast(model, x.double()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("blas")
def test_the_compiled_loop_gives_the_same_bits(family: Family, monkeypatch: pytest.MonkeyPatch):
    model = build(family)
    x = rows_of(model, 1500)
    plain = fast(model, x)
    monkeypatch.setattr(densities, "COMPILED_ROWS", 0)
    for a, b in zip(fast(model, x), plain, strict=True):
        assert torch.equal(a, b)
    for reduce in (shares, most_probable, log_sum, log_sum_and_entropy):
        loop = loop_of(family.form.distances, reduce)
        if os.environ.get("PYTORCH_JIT") != "0":
            assert compiled(loop) is not loop, "TorchScript does not know a part of it"


@pytest.mark.usefixtures("blas")
def test_what_is_had_together_is_what_is_had_one_by_one(family: Family):
    model = build(family)
    x = rows_of(model, 900)
    log_prob, _, shares, component, probability = fast(model, x)
    with torch.inference_mode():
        assert torch.equal(model.log_prob(x), log_prob)
    assert torch.equal(shares.max(1).values, probability)
    assert torch.equal(shares.gather(1, component[:, None])[:, 0], probability)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-14)
    assert float(shares[0].min()) == 0.0, "a share too small for a number is 0"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_of_equals_the_first_is_the_most_probable(dtype: torch.dtype):
    least = torch.finfo(dtype).eps * 1e3
    joint = torch.tensor([[-3.0, 0.0, -1e3], [-1.0, 0.0, -1e3], [-1.0, 0.0, -1e3 + least]], dtype=dtype)
    probability, component = most_probable(joint.clone())
    assert component.tolist() == [1, 0, 2]
    np.testing.assert_allclose(probability, joint.softmax(0).amax(0), rtol=1e-6 if dtype == torch.float32 else 1e-15)


@pytest.mark.usefixtures("blas")
def test_parameters_that_were_changed_in_place_are_those_that_count(family: Family):
    model = build(family)
    x = rows_of(model, 100)
    before = fast(model, x)
    model.inner_means.data += 0.5
    changed = GaussianMixture(model.weights, model.inner_means, model.inner_scale, family.name)
    assert not torch.equal(fast(model, x)[0], before[0])
    assert torch.equal(fast(model, x)[0], fast(changed, x)[0])


@pytest.mark.usefixtures("blas")
def test_missing_cells_of_other_rows_do_not_show_in_a_row(family: Family):
    model = build(family)
    x = rows_of(model, 40)
    with torch.inference_mode():
        whole = model.log_prob(x, marginal=True)
        lacking = x.clone()
        lacking[::2, 1] = torch.nan
        found = model.log_prob(lacking, marginal=True)
        assert torch.equal(found[1::2], whole[1::2])
        assert bool(found.isfinite().all())
        assert bool(model.log_prob(lacking)[::2].isnan().all())
    np.testing.assert_allclose(found, model.log_prob(lacking, marginal=True).detach(), rtol=1e-9)


@pytest.mark.usefixtures("blas")
def test_a_model_in_use_can_be_copied(family: Family):
    model = build(family)
    x = rows_of(model, 50)
    expected = fast(model, x)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(fast(copied, x)[0], expected[0])


def test_a_component_without_weight_has_no_rows(family: Family):
    """However far from the others a row is."""
    model = build(family)
    weights = model.weights.detach().clone()
    weights[2] = 0
    dead = GaussianMixture(weights / weights.sum(), model.inner_means, model.inner_scale, family.name)
    x = torch.cat([dead.inner_means.detach()[2:3] + 60, dead.sample(20, generator=torch.Generator().manual_seed(0))])
    actual, expected = fast(dead, x), answers(dead, x)
    assert bool((actual[2][:, 2] == 0).all())
    assert torch.equal(actual[3], expected[3])
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-9)


@pytest.mark.parametrize("shift", [1e3, 1e6, 1.7e9])
def test_rows_far_from_0_under_a_standardised_model(family: Family, shift: float):
    plain = build(family)
    std = torch.full((DIMS,), 0.37, dtype=torch.float64)
    p = plain.parameters_inner
    model = GaussianMixture(p.weights, p.means, p.scale, family.name, shift=torch.full((DIMS,), shift), std=std)
    x = model.sample(500, generator=torch.Generator().manual_seed(4))
    inner = (x - model.shift) / std
    expected = fast(plain, inner)[0] - DIMS * math.log(0.37)
    np.testing.assert_allclose(fast(model, x)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reduce", [shares, most_probable, log_sum, log_sum_and_entropy])
def test_reductions_write_over_densities_and_have_gradients_all_the_same(reduce: Reduce):
    joint = 5 * torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def values(joint: Tensor) -> tuple[Tensor, ...]:
        return tuple(answer for answer in reduce(joint.clone()) if answer.is_floating_point())

    assert torch.autograd.gradcheck(values, (joint.requires_grad_(),))
