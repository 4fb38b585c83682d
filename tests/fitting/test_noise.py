"""A uniform background beside the components: its mathematics, fits with it, and the model that comes of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

import gmmcli
from gmmcli import GaussianMixture
from gmmcli.errors import InputError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.engine import Evaluator, Request
from gmmcli.fitting.objective import Objective
from gmmcli.passes.reading import drive
from tests import reference
from tests.conftest import ask, prepare_rows, sound, to_parameters


def contaminated(rows: int = 600, noise: int = 60, seed: int = 0) -> torch.Tensor:
    """Two clusters, and rows anywhere in a box that is much larger."""
    draw = torch.Generator().manual_seed(seed)
    clusters = torch.randn(rows, 2, generator=draw, dtype=torch.float64)
    clusters[: rows // 2] += 8
    return torch.cat([clusters, 60 * torch.rand(noise, 2, generator=draw, dtype=torch.float64) - 30])


def with_background(family: Family, weight: float = 0.1) -> Parameters:
    p = to_parameters(family, reference.random_moments(family.name, 2, 2, 0, spread=1.0))
    return p.beside(torch.tensor(weight, dtype=torch.float64))


def test_a_pass_counts_the_background_as_one_more_component(family: Family):
    x = contaminated()
    data = prepare_rows(x, family)
    p = with_background(family)
    assert p.background is not None
    statistics = sound(drive(Evaluator(data, family)([Request(p)], entropy=True), 2))[0]
    z = data.affine.inner(x)
    volume = (x.amax(0) - x.amin(0)).log().sum() - data.affine.log_det()
    joint = family.log_joint(p, z)
    joint = torch.cat([joint, (p.background.log() - volume).expand(len(x), 1)], 1)
    r = joint.softmax(1)
    torch.testing.assert_close(statistics.counts, r[:, :2].sum(0))
    torch.testing.assert_close(statistics.sums, r[:, :2].mT @ z)
    assert statistics.background == pytest.approx(float(r[:, 2].sum()))
    assert statistics.weight == pytest.approx(len(x))
    assert statistics.log_likelihood == pytest.approx(float(joint.logsumexp(1).sum()))
    assert statistics.entropy == pytest.approx(float(torch.special.entr(r).sum()), rel=1e-9)


def test_em_steps_raise_the_likelihood_and_keep_the_weights_summing_to_one(family: Family):
    data = prepare_rows(contaminated(), family)
    objective, evaluate = Objective(family, 1e-9), Evaluator(data, family)
    p, last = with_background(family), -math.inf
    for _ in range(20):
        statistics = ask(evaluate, [Request(p)])[0]
        assert statistics.mean_log_likelihood >= last - 1e-12
        last = statistics.mean_log_likelihood
        p = objective.maximise(statistics, p)
        assert p.background is not None
        assert float(p.weights.sum() + p.background) == pytest.approx(1, abs=1e-14)


def test_the_gradient_is_that_of_the_log_likelihood(family: Family):
    """Of the background's weight too: against differences."""
    data = prepare_rows(contaminated(100, 20), family)
    objective, evaluate = Objective(family, 1e-9), Evaluator(data, family)
    p = with_background(family)
    vector = objective.free_vector(p)
    back = objective.parameters(vector, p)
    torch.testing.assert_close((back.weights, back.background), (p.weights, p.background))
    gradient = objective.gradient(vector, p, ask(evaluate, [Request(p)])[0])
    for i in range(len(vector)):
        step = torch.zeros_like(vector)
        step[i] = 1e-5
        ends = [objective.parameters(vector + sign * step, p) for sign in (1, -1)]
        up, down = (ask(evaluate, [Request(end)])[0].mean_log_likelihood for end in ends)
        assert float(gradient[i]) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("options", [{}, {"acceleration": "none"}, {"method": "gradient"}, {"standardize": True}])
def test_a_fit_finds_the_clusters_that_it_would_miss_without(options: dict[str, Any]):
    x = contaminated()
    result = gmmcli.fit(x, 2, noise=True, seed=1, **options)
    model = result.model
    assert model.background is not None
    assert float(model.background.detach()) == pytest.approx(60 / 660, abs=0.03)
    found = sorted(model.means.tolist())
    for mean, centre in zip(found, (0.0, 8.0), strict=True):
        assert mean == pytest.approx([centre, centre], abs=0.4)
    components = model.assign(x)
    assert float((components[600:] == -1).double().mean()) > 0.85
    assert float((components[:600] == -1).double().mean()) < 0.05
    assert result.log_likelihood == pytest.approx(float(model.log_prob(x).detach().sum()), rel=1e-9)
    plain = gmmcli.fit(x, 2, seed=1)
    assert result.parameter_count == plain.parameter_count + 2
    assert result.bic < plain.bic


def test_every_family_fits_with_a_background(family: Family):
    options: dict[str, Any] = {"variance": 1.0} if family.name == "constant" else {}
    result = gmmcli.fit(contaminated(), 2, family.name, noise=True, restarts=4, **options)
    levels = [step.log_likelihood for step in result.history]
    assert all(b >= a - 1e-12 for a, b in pairwise(levels))
    assert result.model.background is not None
    assert 0.03 < float(result.model.background.detach()) < 0.15


def test_a_model_with_a_background_scores_samples_and_labels():
    model = GaussianMixture(
        [0.5, 0.3], [[0.0, 0.0], [5.0, 5.0]], [[1.0, 1.0], [1.0, 1.0]], "diagonal",
        background=0.2, box=[[-10.0, -10.0], [10.0, 30.0]],
    )  # fmt: skip
    x = torch.tensor([[0.0, 0.0], [-9.0, 25.0], [11.0, 0.0]], dtype=torch.float64)
    normal = torch.distributions.Normal(model.means, 1.0).log_prob(x[:, None]).sum(2)
    density = (model.weights * normal.exp()).sum(1) + torch.tensor([1, 1, 0]) * 0.2 / 800
    torch.testing.assert_close(model.log_prob(x), density.log())
    assert model.assign(x[:2]).tolist() == [0, -1]
    assert model.responsibilities(x).shape == (3, 3)
    torch.testing.assert_close(model.responsibilities(x).sum(1), torch.ones(3, dtype=torch.float64))
    drawn, labels = model.sample_labelled(20_000, generator=torch.Generator().manual_seed(0))
    assert float((labels == -1).double().mean()) == pytest.approx(0.2, abs=0.01)
    uniform = drawn[labels == -1]
    assert uniform.amin(0).tolist() == pytest.approx([-10, -10], abs=0.05)
    assert uniform.mean(0).tolist() == pytest.approx([0, 10], abs=0.5)
    holes = torch.tensor([[torch.nan, 25.0], [torch.nan, torch.nan]], dtype=torch.float64)
    marginal = torch.distributions.Normal(model.means[:, 1], 1.0).log_prob(torch.tensor(25.0).double()).exp()
    expected = float(((model.weights * marginal).sum() + 0.2 / 40).log().detach())
    assert model.log_prob(holes, marginal=True).tolist() == pytest.approx([expected, 0])
    assert model.impute(holes)[0, 0] == pytest.approx(0, abs=1e-6)  # the middle of the box
    with pytest.raises(InputError, match="background"):
        model.to_distribution()


def test_missing_cells_and_a_background_together(family: Family):
    x = contaminated(300, 40)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.1] = torch.nan
    options: dict[str, Any] = {"variance": 1.0} if family.name == "constant" else {}
    result = gmmcli.fit(x, 2, family.name, noise=True, missing="em", restarts=2, **options)
    own = x[~x.isnan().all(1)]
    assert result.log_likelihood == pytest.approx(
        float(result.model.log_prob(own, marginal=True).detach().sum()), rel=1e-9
    )


@pytest.mark.usefixtures("blas")
def test_a_file_keeps_it_and_a_fit_goes_on_from_it(tmp_path):
    x = contaminated()
    result = gmmcli.fit(x, 2, noise=True)
    gmmcli.save(str(tmp_path / "m.pt"), result)
    model = gmmcli.load(str(tmp_path / "m.pt"))
    assert torch.equal(model.log_prob(x), result.model.log_prob(x))
    again = gmmcli.fit(x, init=model)
    assert again.model.background is not None
    assert again.log_likelihood >= result.log_likelihood - 1e-6


@pytest.mark.parametrize(
    ("background", "box", "message"),
    [
        (0.1, None, "needs a box"),
        (None, [[0.0], [1.0]], "a box a background"),
        (0.1, [[0.0, 1.0]], "has shape"),
        (0.1, [[0.0], [0.0]], "positive width"),
        (1.5, [[0.0], [1.0]], "from 0 to 1"),
    ],
)
def test_what_is_no_background(background, box, message):
    weights = [1.0] if background is None else [1.0 - background]
    with pytest.raises(InputError, match=message):
        GaussianMixture(weights, [[0.0]], [[1.0]], "diagonal", background=background, box=box)


def test_a_column_without_width_is_refused():
    x = torch.cat([contaminated(), torch.ones(660, 1).double()], 1)
    with pytest.raises(InputError, match="column x3: all values are equal, so that a background has no volume"):
        gmmcli.fit(x, 2, "isotropic", noise=True)
