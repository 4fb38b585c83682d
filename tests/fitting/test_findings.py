"""What is told of a fit when it is done: findings with their remedies, certainty, and contrasts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gmmcli
from gmmcli.errors import InputError
from gmmcli.fitting import result as results
from gmmcli.fitting.soundness import collinear_columns
from gmmcli.model.contrasts import contrasts, nearest


def rows(count: int, dims: int, seed: int = 1) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clusters(distance: float, count: int = 400) -> Tensor:
    x = rows(count, 2)
    x[::4, 0] += distance
    return x


def test_collinear_columns_are_named() -> None:
    x = rows(100, 3)
    x = torch.cat([x, 1e6 * (x[:, :1] - 2 * x[:, 1:2])], 1)
    names = ["a", "b", "c", "d"]
    assert collinear_columns(torch.cov(x.mT), names) == ["a", "b", "d"]
    assert not collinear_columns(torch.cov(x[:, :3].mT), names[:3])
    assert not collinear_columns(torch.zeros(1, 1, dtype=torch.float64), ["a"])


def test_a_sound_fit_of_plain_data_has_no_findings() -> None:
    assert gmmcli.fit(clusters(8), 2).findings == []


def test_a_component_on_few_rows_is_found() -> None:
    x = torch.cat([rows(300, 4), 50 + rows(10, 4, 2)])
    found = gmmcli.fit(x, 2).findings
    assert len(found) == 1
    assert "14 parameters" in found[0]
    assert "component 1 (10)" in found[0]
    assert "use prior" in found[0]
    assert gmmcli.fit(x, 2, "isotropic").findings == []


def test_a_component_on_one_row_is_found() -> None:
    """Under a shared variance it can be ever so narrow, and stays sound."""
    x = torch.cat([rows(100, 1), torch.full((1, 1), 50.0).double()])
    found = gmmcli.fit(x, 2, "tied").findings
    assert found == [
        "no more rows than the 1 parameter that a component has of its own: component 1 (1): lower components, "
        "choose a simpler family or use prior"
    ]


@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "isotropic", "shared_isotropic"])
def test_constant_and_collinear_columns_are_found(family: str) -> None:
    x = rows(200, 2)
    twice = torch.cat([x, x[:, :1]], 1)
    assert any("x1, x3" in text and "exclude" in text for text in gmmcli.fit(twice, 1, family).findings)
    constant = torch.cat([x, torch.full((200, 1), 7.0).double()], 1)
    assert any("x3 is constant" in text for text in gmmcli.fit(constant, 1, "isotropic").findings)


def test_components_that_are_one_are_found() -> None:
    x = torch.zeros(1000, 2).double()
    x[0] = 1
    found = gmmcli.fit(x, 2, "diagonal", restarts=2)
    weights = sorted(found.model.weights.tolist())
    assert found.findings or weights[0] == pytest.approx(1e-3)
    start = gmmcli.GaussianMixture.from_covariances(
        [0.5, 0.5], torch.zeros(2, 2).double(), torch.eye(2).double().expand(2, -1, -1), "full"
    )
    same = gmmcli.fit(rows(200, 2), init=start)
    assert any("components 0 and 1 are the same" in text for text in same.findings)


def test_columns_too_small_to_square_are_no_constants() -> None:
    with pytest.raises(InputError, match="x1, x2: the values vary by less than a number can square"):
        gmmcli.fit(1e-200 * rows(50, 2), 1)
    with pytest.raises(InputError, match="vary by less than a number can square"):
        gmmcli.fit(1e-200 * rows(50, 2), 1, "isotropic")


@pytest.mark.parametrize("options", [{}, {"noise": True}, {"missing": "em"}])
def test_certainty_is_that_of_the_responsibilities(options: dict[str, object]) -> None:
    x = clusters(2.5)
    if "missing" in options:
        x[::7, 1] = torch.nan
    result = gmmcli.fit(x, 2, **options)  # type: ignore[arg-type]
    r = torch.as_tensor(result.model.responsibilities(x, marginal=True)).detach()
    highest, component = r.max(1)
    found = result.certainty
    assert found.rows == len(x)
    assert found.sure == pytest.approx(float((highest >= 0.9).double().mean()))
    for k in range(r.shape[1]):
        its = component == k
        assert found.assigned[k] == pytest.approx(float(its.double().mean()))
        sure = float((highest[its] >= 0.9).double().mean()) if bool(its.any()) else 0.0
        assert found.sure_of[k] == pytest.approx(sure)
    for i, j, share in found.overlaps:
        assert share == pytest.approx(float(r[:, i] @ r[:, j] / r[:, i].sum()))
        assert share >= results.OVERLAP
    assert found.overlaps


def test_certainty_of_many_rows_is_that_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clusters(2.5, 20_000)
    whole = gmmcli.fit(x, 2).certainty
    monkeypatch.setattr(results, "ROWS", 5000)
    part = gmmcli.fit(x, 2).certainty
    assert 4500 < part.rows < 5500
    assert part.sure == pytest.approx(whole.sure, abs=0.02)
    assert part == gmmcli.fit(x, 2, threads=1).certainty


def test_contrasts_are_differences_of_means_in_standard_deviations() -> None:
    x = clusters(10, 4000)
    x[:, 1] *= 1e-3
    model = gmmcli.fit(x, 2).model
    found = contrasts(model)
    assert float(found[1, 0]) == pytest.approx(10, abs=0.5)
    assert float(found[0, 0]) == pytest.approx(-float(found[1, 0]), rel=1e-9)
    assert float(found[:, 1].abs().max()) < 0.15
    assert torch.equal(contrasts(gmmcli.fit(x, 1).model), torch.zeros(1, 2).double())


def test_contrasts_are_in_units_of_what_is_within_components() -> None:
    """Not of what the others are apart, and the nearest is so by all columns together."""
    means = torch.tensor([[0.0, 0.0], [30.0, 0.0], [-30.0, 0.0], [0.0, 5.0]]).double()
    model = gmmcli.GaussianMixture(torch.full((4,), 0.25), means, torch.ones(4).double(), "isotropic")
    torch.testing.assert_close(contrasts(model)[1], torch.tensor([40.0, -5 / 3]).double())
    assert nearest(model) == [3, 0, 0, 0]


def test_the_order_says_where_each_component_was_in_the_start() -> None:
    x = clusters(8)
    first = gmmcli.fit(x, 2).model
    turned = gmmcli.GaussianMixture.from_covariances(
        first.weights.flip(0).detach(), first.means.flip(0).detach(), first.covariances.flip(0).detach()
    )
    assert list(gmmcli.fit(x, init=turned).order) == [1, 0]
    assert list(gmmcli.fit(x, init=first).order) == [0, 1]
