"""Extreme scales and sizes: a right answer or a refusal in one line; fits move with the units of the data."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gmmcli
from gmmcli import FAMILIES
from gmmcli.errors import InputError

PER_COLUMN = ("full", "tied", "diagonal", "shared_diagonal")
QUICK: dict[str, Any] = {"restarts": 2, "iterations": 40}


def clusters(rows: int = 120, dims: int = 2, seed: int = 0) -> torch.Tensor:
    """Two clusters on a grid of 2⁻¹⁰, so that shifts and powers of two are exact."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, dims, generator=draw, dtype=torch.float64)
    x[: rows // 2] += 6
    return (x * 1024).round() / 1024


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 99),
    exponents=st.lists(st.integers(-200, 200), min_size=2, max_size=2),
    shifts=st.lists(st.integers(-(2**30), 2**30), min_size=2, max_size=2),
)
@pytest.mark.parametrize("name", list(FAMILIES))
def test_fits_move_with_exact_shifts_and_scales(name: str, seed: int, exponents: list[int], shifts: list[int]):
    x = clusters(seed=seed)
    common = name not in PER_COLUMN
    factor = torch.tensor([2.0 ** exponents[0], 2.0 ** exponents[0 if common else 1]], dtype=torch.float64)
    moved = (x + torch.tensor(shifts, dtype=torch.float64) / 1024) * factor
    given_variance: list[dict[str, Any]] = [{}, {}]
    if name == "constant":
        given_variance = [{"variance": 1.5}, {"variance": 1.5 * float(factor[0]) ** 2}]
    one, other = (
        gmmcli.fit(rows, 2, name, seed=seed, **QUICK, **more)
        for rows, more in zip((x, moved), given_variance, strict=True)
    )
    per_row = other.log_likelihood / len(x) + float(factor.log().sum())
    assert per_row == pytest.approx(one.log_likelihood / len(x), rel=1e-9)
    torch.testing.assert_close(other.model.weights, one.model.weights, rtol=1e-9, atol=0)
    back = other.model.means / factor - torch.tensor(shifts, dtype=torch.float64) / 1024
    torch.testing.assert_close(back, one.model.means, rtol=1e-9, atol=1e-9 * 2**20)
    covariances = other.model.covariances / (factor[:, None] * factor)
    torch.testing.assert_close(covariances, one.model.covariances, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["full", "diagonal", "tied", "shared_diagonal"])
@pytest.mark.parametrize(
    ("scale", "shift"), [(1e-30, 0.0), (1e30, 0.0), (1.0, 1.6e9), (1e-150, 0.0), (1e150, 0.0), (1e-3, 1.0)]
)
def test_one_column_of_another_scale_changes_nothing(name: str, scale: float, shift: float):
    x = clusters()
    moved = x.clone()
    moved[:, 1] = moved[:, 1] * scale + shift
    one, other = (gmmcli.fit(rows, 2, name, **QUICK) for rows in (x, moved))
    per_row = other.log_likelihood / len(x) + math.log(scale)
    assert per_row == pytest.approx(one.log_likelihood / len(x), abs=1e-6)
    assert other.unsound is None
    assert torch.equal(other.model.assign(moved), one.model.assign(x))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_whole_numbers(name: str):
    x = clusters().round()
    result = gmmcli.fit(x, 2, name, **QUICK)
    assert math.isfinite(result.log_likelihood)
    assert sorted(result.model.assign(x).bincount().tolist()) == [60, 60]


@pytest.mark.parametrize("name", list(FAMILIES))
def test_columns_equal_up_to_1e_9(name: str):
    """No crash; for full covariances the fit is refused or said not to be trusted, as it is not."""
    x = clusters()
    x = torch.cat([x, x[:, :1] * (1 + 1e-9)], 1)
    result = gmmcli.fit(x, 2, name, **QUICK)
    assert math.isfinite(result.log_likelihood)
    if name in ("full", "tied"):
        assert result.unsound is not None


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_constant_column(name: str):
    x = torch.cat([clusters(), torch.full((120, 1), 7.0).double()], 1)
    if name in PER_COLUMN:
        with pytest.raises(InputError, match="column x3: all values are equal"):
            gmmcli.fit(x, 2, name, **QUICK)
    else:
        assert math.isfinite(gmmcli.fit(x, 2, name, **QUICK).log_likelihood)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_many_identical_rows_and_one_other(name: str):
    x = torch.zeros(100_001, 2, dtype=torch.float64)
    x[-1] = 1
    one = gmmcli.fit(x, 1, name, **QUICK)
    assert math.isfinite(one.log_likelihood)
    torch.testing.assert_close(one.model.means, torch.full((1, 2), 1 / 100_001).double())
    two = gmmcli.fit(x, 2, name, **QUICK)
    assert math.isfinite(two.log_likelihood)
    if name != "constant" and two.unsound is None:  # then no component has fallen on the one row, or on the others
        assert float(two.model.weights.detach().min()) > 0.01
    with pytest.raises(InputError, match="3 components for 2 distinct rows"):
        gmmcli.fit(x, 3, name)


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_as_many_components_as_rows(name: str, rows: int):
    x = clusters(rows)
    if rows == 1 and name != "constant":
        with pytest.raises(InputError, match=r"all values are equal|identical"):
            gmmcli.fit(x, rows, name, **QUICK)
        return
    result = gmmcli.fit(x, rows, name, **QUICK)
    assert math.isfinite(result.log_likelihood)
    assert name == "constant" or result.unsound is not None


@pytest.mark.parametrize("name", list(FAMILIES))
def test_one_column(name: str):
    x = clusters(dims=1)
    assert gmmcli.fit(x, 2, name, **QUICK).model.assign(x).bincount().tolist() == pytest.approx([60, 60], abs=2)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_more_columns_than_rows(name: str):
    x = clusters(200, 500)
    result = gmmcli.fit(x, 2, name, restarts=1, iterations=5)
    assert math.isfinite(result.log_likelihood)
    assert (result.unsound is not None) == (name in ("full", "tied"))


@pytest.mark.parametrize(
    ("mean", "tilt"), [(1e4, 1.0), (1e9, 1.0), (0.0, 1e-3)], ids=["mean 1e4", "mean 1e9", "condition 1e6"]
)
@pytest.mark.parametrize("name", list(FAMILIES))
def test_float32_agrees_with_float64(name: str, mean: float, tilt: float):
    """From the same model with a fixed number of passes: within 1e-4 nats a row."""
    x = clusters(400, 3) * torch.tensor([1.0, 1.0, tilt]).double()
    x[:, 0] += x[:, 2] / tilt if tilt != 1 else 0
    x = x + mean
    start = gmmcli.fit(x, 2, name, **QUICK).model
    levels = [
        gmmcli.fit(x, init=start, family=name, precision=precision, iterations=10, acceleration="none", tolerance=0.0)
        for precision in ("float64", "float32")
    ]
    assert levels[0].log_likelihood / 400 == pytest.approx(levels[1].log_likelihood / 400, abs=1e-4)
