"""GaussianMixture: results in kind, information criteria, differentiability, units, samples and state."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gmmcli.errors import InputError
from gmmcli.families.base import Family
from gmmcli.model.mixture import GaussianMixture
from tests import reference
from tests.conftest import assert_near, to_parameters


def build(name: str = "full", components: int = 3, dims: int = 2, **options: object) -> GaussianMixture:
    from gmmcli.families import get_family

    p = to_parameters(get_family(name), reference.random_moments(name, components, dims))
    return GaussianMixture(p.weights, p.means, p.scale, name, **options)  # type: ignore[arg-type]


def rows(name: str = "full", count: int = 25) -> np.ndarray:
    return reference.random_rows(reference.random_moments(name, 3, 2), count)


# ---- in kind ----------------------------------------------------------------------------------------------


def test_every_kind_of_data_gives_the_same_answers_in_its_own_kind():
    model, x = build(columns=["height", "width"]), rows()
    frame = pd.DataFrame(x, columns=pd.Index(["height", "width"]), index=pd.RangeIndex(100, 100 + len(x)))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    tensor = torch.from_numpy(x)
    for method in (model.log_prob, model.responsibilities, model.assign):
        expected = method(tensor)
        assert isinstance(expected, Tensor)
        plain = expected.detach().numpy()
        from_array, from_frame, from_table = method(x), method(frame), method(table)
        assert isinstance(from_array, np.ndarray)
        assert isinstance(from_table, np.ndarray)
        assert isinstance(from_frame, pd.Series | pd.DataFrame)
        for values in (from_array, from_table, from_frame.to_numpy()):
            np.testing.assert_array_equal(values, plain)
        assert from_frame.index.equals(frame.index)
    assert model.log_prob(frame).name == "log_likelihood"
    assert model.assign(frame).name == "component"
    assert list(model.responsibilities(frame)) == ["probability_0", "probability_1", "probability_2"]
    assert model.assign(tensor).dtype == torch.int64


def test_columns_of_frames_are_matched_by_name():
    model, x = build(columns=["height", "width"]), rows()
    mixed = pd.DataFrame({"id": range(len(x)), "width": x[:, 1], "label": "?", "height": x[:, 0]})
    expected = model.log_prob(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_array_equal(model.log_prob(mixed).to_numpy(), expected)
    np.testing.assert_array_equal(model.log_prob(pa.Table.from_pandas(mixed)), expected)
    with pytest.raises(InputError, match="column width: not among id, label, height"):
        model.log_prob(mixed.drop(columns="width"))
    with pytest.raises(InputError, match="data: 3 columns, but the model has 2"):
        model.log_prob(np.zeros((4, 3)))


@pytest.mark.usefixtures("blas")
def test_missing_cells_give_nan_scores_and_refuse_to_be_assigned(family: Family):
    model = build(family.name)
    x = rows(family.name, 6)
    complete = model.log_prob(torch.from_numpy(x)).detach()
    x[2, 1] = np.nan
    x[4, 0] = np.nan
    scores = model.log_prob(torch.from_numpy(x)).detach()
    assert scores.isnan().tolist() == [False, False, True, False, True, False]
    assert torch.equal(scores[[0, 1, 3, 5]], complete[[0, 1, 3, 5]])
    with pytest.raises(InputError, match="2 rows have missing cells"):
        model.assign(torch.from_numpy(x))


@pytest.mark.usefixtures("blas")
def test_results_that_are_had_together_are_those_had_one_by_one(family: Family):
    model, x = build(family.name, columns=["a", "b"]), torch.from_numpy(rows(family.name, 1000))
    frame = pd.DataFrame(x.numpy(), columns=pd.Index(["a", "b"]), index=pd.RangeIndex(5, 1005))
    shares = model.responsibilities(x)
    component, probability = model.most_probable(x)
    assert torch.equal(component, model.assign(x))
    assert torch.equal(probability, shares.amax(1))
    log_prob, entropy = model.log_prob_and_entropy(x)
    assert torch.equal(log_prob, model.log_prob(x))
    assert_close(entropy, torch.special.entr(shares).sum(1))
    for results in (model.most_probable(frame), model.log_prob_and_entropy(frame)):
        assert all(series.index.equals(frame.index) for series in results)


def exact_log_prob(model: GaussianMixture, x: np.ndarray) -> np.ndarray:
    """log p(x) by forward substitution in extended precision."""
    p = model.parameters_inner
    weights, means, scale = (t.detach().numpy().astype(np.longdouble) for t in (p.weights, p.means, p.scale))
    joint = np.empty((len(x), model.components), np.longdouble)
    for k in range(model.components):
        rest = (x.astype(np.longdouble) - means[k]).T
        for i in range(model.dims):
            rest[i] = (rest[i] - scale[k, i, :i] @ rest[:i]) / scale[k, i, i]
        log_det = np.log(np.diagonal(scale[k])).sum()
        joint[:, k] = (
            np.log(weights[k]) - log_det - 0.5 * ((rest**2).sum(0) + model.dims * np.log(2 * np.longdouble(np.pi)))
        )
    highest = joint.max(1)
    return highest + np.log(np.exp(joint - highest[:, None]).sum(1))


@pytest.mark.skipif(float(np.finfo(np.longdouble).eps) > 1e-18, reason="no extended precision here")
@pytest.mark.parametrize("apart", [1.0, 1e3, 1e6])
def test_far_apart_and_ill_conditioned_components_keep_nine_digits(apart: float):
    draw = np.random.default_rng(5)
    axes = np.linalg.qr(draw.normal(size=(3, 6, 6))).Q
    factors = torch.from_numpy(axes * np.geomspace(1e-2, 1e2, 6))  # condition numbers of the covariances: 1e8
    scale = torch.linalg.cholesky(factors @ factors.mT)
    means = torch.from_numpy(apart * draw.normal(size=(3, 6)))
    model = GaussianMixture([0.2, 0.3, 0.5], means, scale)
    near = torch.cat([model.sample(500, generator=torch.Generator().manual_seed(1)), means + 10 * apart])
    actual, expected = model.log_prob(near).detach().numpy(), exact_log_prob(model, near.numpy())
    np.testing.assert_allclose(actual, expected.astype(np.float64), rtol=1e-9, atol=1e-9)


def test_no_rows_at_all():
    model = build()
    nothing = torch.empty(0, 2, dtype=torch.float64)
    assert model.log_prob(nothing).shape == (0,)
    assert model.responsibilities(nothing).shape == (0, 3)
    assert model.assign(nothing).shape == (0,)
    assert model.assign(nothing).dtype == torch.int64
    assert model.sample(0).shape == (0, 2)


def test_aliases():
    model, x = build(), torch.from_numpy(rows())
    assert torch.equal(model.predict(x), model.assign(x))
    assert torch.equal(model.predict_proba(x), model.responsibilities(x))
    assert torch.equal(model.score_samples(x), model.log_prob(x))
    assert torch.equal(model(x), model.log_prob(x))
    assert model.score(x) == pytest.approx(float(model.log_prob(x).detach().mean()), rel=1e-15)
    assert torch.equal(model.assign(x), model.responsibilities(x).argmax(1))


# ---- information criteria ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tensor", "pandas"])
def test_information_criteria(family: Family, kind: str):
    model = build(family.name, columns=["a", "b"])
    moments = reference.random_moments(family.name, 3, 2)
    x = rows(family.name, 40)
    data = torch.from_numpy(x) if kind == "tensor" else pd.DataFrame(x, columns=pd.Index(["a", "b"]))
    total = float(reference.log_prob(moments, x).sum())
    r = reference.responsibilities(moments, x)
    entropy = float(-(r * np.log(r)).sum())
    df = family.parameter_count(3, 2)
    assert model.parameter_count == df
    assert model.bic(data) == pytest.approx(-2 * total + df * math.log(40), rel=1e-12)
    assert model.aic(data) == pytest.approx(-2 * total + 2 * df, rel=1e-12)
    assert model.icl(data) == pytest.approx(-2 * total + df * math.log(40) + 2 * entropy, rel=1e-12)


def test_criteria_and_score_are_plain_numbers_and_warn_of_nothing():
    model, x = build(), torch.from_numpy(rows())
    torch.set_warn_always(True)  # torch shows most of its warnings once only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            numbers = [model.score(x), model.bic(x), model.aic(x), model.icl(x)]
    finally:
        torch.set_warn_always(False)
    assert all(type(number) is float for number in numbers)


# ---- a torch module ---------------------------------------------------------------------------------------


def test_differentiable_in_the_data_and_in_every_parameter(family: Family):
    model = build(family.name)
    x = torch.from_numpy(rows(family.name, 3)).requires_grad_()
    values = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    assert set(values) == {"weights", "inner_means", "inner_scale"}

    def log_prob(x: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(values, parameters, strict=True))
        return torch.func.functional_call(model, given, (x,))

    # Central differences at h = 1e-6 err by about EPS · |log p| / h = 2e-9.
    assert torch.autograd.gradcheck(log_prob, (x, *values.values()), eps=1e-6, atol=1e-7, rtol=1e-6)


def test_in_float32():
    double, x = build("tied", shift=torch.tensor([3.0, -1.0]), std=torch.tensor([2.0, 0.5])), rows()
    expected = double.log_prob(torch.from_numpy(x)).detach()
    single = build("tied", shift=torch.tensor([3.0, -1.0]), std=torch.tensor([2.0, 0.5])).to(torch.float32)
    actual = single.log_prob(torch.from_numpy(x))
    assert actual.dtype == torch.float32
    assert single.sample(3).dtype == torch.float32
    assert single.covariances.dtype == torch.float32
    # Distances up to 1e2 with condition e²: e² · 1e2 · 2⁻²⁴ = 5e-5 of the size of log p.
    assert_close(actual.double(), expected, rtol=5e-5, atol=5e-5)


def test_state_dict_round_trip(family: Family):
    source = build(family.name, shift=torch.tensor([3.0, -1.0]), std=torch.tensor([2.0, 0.5]))
    x = torch.from_numpy(rows(family.name))
    p = to_parameters(family, reference.random_moments(family.name, 3, 2, seed=1))
    target = GaussianMixture(p.weights, p.means, p.scale, family.name)
    assert not torch.equal(target.log_prob(x), source.log_prob(x))
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.log_prob(x), source.log_prob(x))


def test_building_copies_the_given_tensors_and_repairs_float32_weights():
    weights = torch.tensor([0.1, 0.2, 0.7])
    means = torch.zeros(3, 2, dtype=torch.float64)
    model = GaussianMixture(weights, means, torch.ones(3, 2), "diagonal")
    means += 1
    assert float(model.means.detach().abs().max()) == 0
    assert float(model.weights.detach().sum()) == pytest.approx(1, abs=reference.EPS)
    assert model.weights.dtype == model.inner_scale.dtype == torch.float64


@pytest.mark.parametrize(
    "options",
    [
        {"columns": ["a"]},
        {"std": torch.tensor([1.0, 0.0])},
        {"std": torch.tensor([1.0, torch.nan])},
        {"std": torch.tensor([1.0, torch.inf])},
        {"shift": torch.tensor([1.0])},
        {"shift": torch.tensor([1.0, torch.nan])},
    ],
    ids=["columns", "zero std", "nan std", "infinite std", "short shift", "nan shift"],
)
def test_units_and_names_that_do_not_fit_are_refused(options: dict[str, object]):
    with pytest.raises(InputError):
        build(**options)  # type: ignore[arg-type]


# ---- units ------------------------------------------------------------------------------------------------


def test_standardised_model_equals_the_plain_one_with_transformed_parameters():
    shift, std = np.array([10.0, -3.0]), np.array([4.0, 0.5])
    for name in ("full", "diagonal", "tied", "isotropic"):
        inner = reference.random_moments(name, 3, 2)
        outer = reference.Moments(inner.weights, shift + std * inner.means, std[:, None] * inner.covariances * std)
        x = shift + std * rows(name)
        model = build(name, shift=torch.from_numpy(shift), std=torch.from_numpy(std))
        data = torch.from_numpy(x)
        assert_near(model.log_prob(data).detach(), torch.from_numpy(reference.log_prob(outer, x)))
        r = torch.from_numpy(reference.responsibilities(outer, x))
        assert_near(model.responsibilities(data).detach(), r)
        assert_near(model.means.detach(), torch.from_numpy(outer.means))
        assert_near(model.covariances.detach(), torch.from_numpy(outer.covariances))
        assert_near(model.to_distribution().log_prob(data), model.log_prob(data))
        plain = GaussianMixture.from_covariances(
            outer.weights.tolist(), outer.means.tolist(), outer.covariances.tolist(), "full"
        )
        assert_near(plain.log_prob(data), model.log_prob(data))
        sample = model.sample(5, generator=torch.Generator().manual_seed(0))
        unscaled = build(name).sample(5, generator=torch.Generator().manual_seed(0))
        assert_near(sample, torch.from_numpy(shift) + torch.from_numpy(std) * unscaled)


def test_far_from_the_origin_no_digits_are_lost():
    shift = torch.tensor([1e9, -1e9], dtype=torch.float64)
    z = torch.from_numpy(rows()).mul(1024).round() / 1024  # multiples of 2⁻¹⁰: adding 1e9 to them is exact
    p = build().parameters_inner
    means = (p.means * 1024).round() / 1024
    here = GaussianMixture(p.weights, means, p.scale, "full")
    there = GaussianMixture(p.weights, means + shift, p.scale, "full")
    assert torch.equal(there.log_prob(z + shift), here.log_prob(z))


# ---- samples ----------------------------------------------------------------------------------------------


def test_samples_are_reproducible_and_leave_the_global_generator_alone(family: Family):
    model = build(family.name)
    state = torch.random.get_rng_state()
    first = model.sample(50, generator=torch.Generator().manual_seed(3))
    again, labels = model.sample_labelled(50, generator=torch.Generator().manual_seed(3))
    other = model.sample(50, generator=torch.Generator().manual_seed(4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (50, 2)
    assert labels.dtype == torch.int64
    assert not first.requires_grad
    with pytest.raises(InputError, match="cannot draw -1 rows"):
        model.sample(-1)


def test_a_component_without_weight_is_never_drawn_nor_assigned():
    model = GaussianMixture([0.0, 1.0, 0.0], [[0.0], [5.0], [9.0]], [[1.0], [1.0], [1.0]], "diagonal")
    x, labels = model.sample_labelled(1000, generator=torch.Generator().manual_seed(0))
    assert labels.unique().tolist() == [1]
    grid = torch.linspace(-2, 11, 50, dtype=torch.float64)[:, None]
    assert model.assign(grid).unique().tolist() == [1]
    assert model.responsibilities(grid).tolist() == [[0.0, 1.0, 0.0]] * 50
    assert math.isfinite(model.icl(x))


def test_repr_names_what_it_is():
    shown = repr(build("tied", columns=["a", "b"]))
    assert "family='tied', components=3, dims=2, columns=['a', 'b']" in shown
