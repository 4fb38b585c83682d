"""A fit from end to end: what it promises of bits, weights, restarts, warm starts, floors and bad data."""

import dataclasses
import math
from typing import Any

import pandas as pd
import pytest
import torch

import gmmcli
from gmmcli.errors import InputError, NotConvergedError, NumericalError, Remedy, UsageError
from gmmcli.families import FAMILIES
from gmmcli.fitting import starts as initialise
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import TableBlocks
from tests.conftest import fit_blocks


def clusters(rows: int = 300, dims: int = 2, seed: int = 0) -> torch.Tensor:
    """Three overlapping clusters of different shape, in random order."""
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, dims, generator=draw, dtype=torch.float64)
    k = torch.randint(3, (rows,), generator=draw)
    return z * torch.tensor([0.5, 1.0, 2.0])[k, None] + torch.tensor([-4.0, 0.0, 5.0])[k, None]


def bits(result: FitResult) -> list[torch.Tensor]:
    return [t.detach() for t in result.model.state_dict().values()]


class Shuffled:
    """Blocks in another order each time they are read."""

    def __init__(self, blocks: TableBlocks):
        self.blocks, self.readings = list(blocks), 0

    def __iter__(self):
        self.readings += 1
        order = torch.randperm(len(self.blocks), generator=torch.Generator().manual_seed(self.readings))
        return (self.blocks[i] for i in order)


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("options", [{}, {"method": "gradient", "iterations": 30}, {"precision": "float32"}])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_bits_for_any_threads_and_order_of_blocks(family, options):
    x = clusters(1000, 3)
    chosen = {t: FitOptions(3, family, restarts=2, threads=t, **options) for t in (1, 2, 3)}
    blocks = TableBlocks(x, block_rows=90)
    one = fit_blocks(blocks, chosen[1])
    for other in (fit_blocks(blocks, chosen[2]), fit_blocks(Shuffled(blocks), chosen[3])):
        assert all(torch.equal(a, b) for a, b in zip(bits(one), bits(other), strict=True))
        assert one.log_likelihood == other.log_likelihood
        assert one.history == other.history


@pytest.mark.usefixtures("blas")
@pytest.mark.parametrize("batch_size", [64, 1000])
def test_mini_batches_give_the_same_bits_for_any_threads(batch_size):
    x = clusters(500)
    options = {"method": "gradient", "batch_size": batch_size, "iterations": 5, "restarts": 1}
    one, two = (gmmcli.fit(x, 3, "diagonal", threads=t, **options) for t in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(bits(one), bits(two), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_integer_weights_equal_repeated_rows(family):
    """Fixed passes of plain EM from the same starting model; 1e-10 leaves room for sums taken in another grouping,
    which an extrapolation would amplify."""
    x = clusters(200, 2)
    weights = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1)).double()
    start = gmmcli.fit(x, 3, family, restarts=1, iterations=2).model
    options = {"init": start, "iterations": 15, "tolerance": 0.0, "acceleration": "none"}
    weighted = gmmcli.fit(x, 3, family, weights=weights, **options)
    repeated = gmmcli.fit(x.repeat_interleave(weights.long(), 0), 3, family, **options)
    assert weighted.weight == repeated.weight == float(weights.sum())
    assert weighted.log_likelihood == pytest.approx(repeated.log_likelihood, rel=1e-12)
    assert weighted.bic == pytest.approx(repeated.bic, rel=1e-12)
    for a, b in zip(bits(weighted), bits(repeated), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_result_tells_the_truth_about_its_model(family):
    x = clusters(400, 3)
    result = gmmcli.fit(x, 3, family, restarts=2)
    model = result.model
    assert result.log_likelihood == pytest.approx(model.score(x) * 400, rel=1e-12)
    assert result.bic == pytest.approx(model.bic(x), rel=1e-12)
    assert result.icl == pytest.approx(model.icl(x), rel=1e-9)
    assert result.aic == pytest.approx(model.aic(x), rel=1e-12)
    assert model.weights.tolist() == sorted(model.weights.tolist(), reverse=True)
    assert result.history[-1].log_likelihood == pytest.approx(result.log_likelihood / 400, rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_warm_starts_go_between_the_methods(family):
    x = clusters(300)
    em = gmmcli.fit(x, 3, family, restarts=1, iterations=5)
    descent = gmmcli.fit(x, 3, family, method="gradient", optimizer="lbfgs", init=em.model)
    back = gmmcli.fit(x, 3, family, init=descent.model)
    unmoved = gmmcli.fit(x, 3, family, init=em.model, iterations=1)
    assert unmoved.log_likelihood == pytest.approx(em.log_likelihood, rel=1e-12)
    assert descent.log_likelihood >= em.log_likelihood
    assert back.log_likelihood >= descent.log_likelihood - 1e-9
    assert back.passes < 10  # it was already there


def test_a_warm_start_of_another_family_keeps_the_moments():
    x = clusters(300)
    full = gmmcli.fit(x, 3, "full", restarts=1)
    start = gmmcli.fit(x, 3, "diagonal", init=full.model, iterations=1)
    expected = GaussianMixture.from_covariances(
        full.model.weights, full.model.means, full.model.covariances, "diagonal"
    )
    assert start.log_likelihood == pytest.approx(expected.score(x) * 300, rel=1e-12)


@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "shared_diagonal"])
def test_standardising_changes_nothing_where_the_family_is_equivariant(family):
    x = clusters(300) * torch.tensor([1.0, 1000.0]) + 5
    plain, scaled = (gmmcli.fit(x, 3, family, standardize=s, restarts=2) for s in (False, True))
    assert scaled.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-12)
    torch.testing.assert_close(scaled.model.means, plain.model.means, rtol=1e-8, atol=0)
    torch.testing.assert_close(scaled.model.covariances, plain.model.covariances, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("family", ["isotropic", "shared_isotropic", "constant"])
def test_standardising_is_a_fit_to_z_scores(family):
    x = clusters(300) * torch.tensor([1.0, 1000.0]) + 5
    scores = (x - x.mean(0)) / x.std(0, correction=0)
    inside = gmmcli.fit(x, 3, family, standardize=True, restarts=2)
    outside = gmmcli.fit(scores, 3, family, restarts=2)
    log_det = float(x.std(0, correction=0).log().sum())
    assert inside.log_likelihood == pytest.approx(outside.log_likelihood - 300 * log_det, rel=1e-10)
    assert inside.log_likelihood == pytest.approx(inside.model.score(x) * 300, rel=1e-12)


@pytest.mark.parametrize("init", ["ward", "kmeans++", "random", "random-rows"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_start_works_for_every_family(family, init):
    result = gmmcli.fit(clusters(), 3, family, init=init, restarts=3)
    assert math.isfinite(result.log_likelihood)
    assert result.converged


def test_random_rows_start_is_turners():
    """K rows as means, the data's variance, equal weights."""
    x = clusters(100)
    start = gmmcli.fit(x, 4, "diagonal", init="random-rows", restarts=1, iterations=1).model
    assert all(bool(torch.isclose(mean, x, atol=1e-12).all(1).any()) for mean in start.means)
    torch.testing.assert_close(start.weights.detach(), torch.full((4,), 0.25, dtype=torch.float64))
    variances = start.covariances.detach().diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(variances, x.var(0, correction=0).expand(4, -1))


def test_given_means_start_there():
    x = torch.cat([torch.randn(50, 1, generator=torch.Generator().manual_seed(0)), torch.ones(50, 1) * 9]).double()
    x[50:] += 0.1 * torch.arange(50)[:, None]
    result = gmmcli.fit(x, 2, "diagonal", init=torch.tensor([[0.0], [11.0]]), iterations=1)
    assert sorted(result.model.weights.tolist()) == pytest.approx([0.5, 0.5])


def test_a_failed_restart_is_reported_and_the_others_go_on(monkeypatch):
    sound = initialise.STARTS["kmeans++"]

    def sometimes_broken(starter, seed):
        start = sound(starter, seed)
        return type(start)(start.weights, start.means * math.nan, start.scale) if seed % 2 else start

    monkeypatch.setitem(initialise.STARTS, "kmeans++", sometimes_broken)
    for method in ("em", "gradient"):
        result = gmmcli.fit(clusters(), 3, init="kmeans++", restarts=4, seed=0, method=method)
        assert [restart.failure is not None for restart in result.restarts] == [False, True, False, True]
        assert "not finite" in (result.restarts[1].failure or "")
        assert math.isfinite(result.log_likelihood)
        with pytest.raises(NumericalError, match="every restart failed"):
            gmmcli.fit(clusters(), 3, init="kmeans++", restarts=1, seed=1, method=method)


def test_sound_restarts_come_before_likelier_unsound_ones():
    """Three equal rows: a component that falls on them is likelier than any sound fit, at the floor."""
    x = torch.cat([clusters(120), torch.full((3, 2), 12.0, dtype=torch.float64)])
    result = gmmcli.fit(x, 4, "full", restarts=30)
    assert any(restart.unsound for restart in result.restarts)
    if result.unsound is None:
        unsound = [r.log_likelihood for r in result.restarts if r.unsound]
        assert max(unsound) > result.log_likelihood
    else:
        assert all(restart.unsound for restart in result.restarts if restart.stop != "left behind")


@pytest.mark.parametrize("method", ["em", "gradient"])
@pytest.mark.parametrize("family", ["full", "tied", "diagonal", "isotropic", "shared_diagonal", "shared_isotropic"])
def test_the_floor_is_held_relative_to_the_columns_variance(family, method):
    scale = torch.tensor([1.0, 100.0], dtype=torch.float64)
    x = clusters(150) * scale
    floor = 0.2
    result = gmmcli.fit(x, 3, family, method=method, variance_floor=floor, restarts=2, iterations=150)
    variances = result.model.covariances.detach().diagonal(dim1=1, dim2=2)
    columns = x.var(0, correction=0)
    columns = columns if family not in ("isotropic", "shared_isotropic") else columns.mean().expand(2)
    assert bool((variances >= floor * columns * (1 - 1e-9)).all())
    assert "floor" in (result.unsound or "")


def test_log_likelihood_is_invariant_to_units():
    x = clusters(300)
    near = gmmcli.fit(x, 3, restarts=2)
    far = gmmcli.fit(x * 1024 + 2**20, 3, restarts=2)
    assert far.log_likelihood == pytest.approx(near.log_likelihood - 300 * 2 * math.log(1024), rel=1e-9)


def test_stops_say_why():
    x = clusters()
    assert gmmcli.fit(x, 3).stop.name == "converged"
    short = gmmcli.fit(x, 3, iterations=2)
    assert short.stop.name == "iteration limit"
    assert Remedy("raise", "iterations") in short.stop.remedies
    assert len(short.history) == 2
    with pytest.raises(NotConvergedError, match="raise iterations"):
        short.require_converged()


def test_listener_hears_every_step():
    heard = []
    result = gmmcli.fit(clusters(), 2, restarts=2, listener=lambda run, seconds: heard.append((run.restart, seconds)))
    assert {restart for restart, _ in heard} == {0, 1}
    assert sum(restart == result.restart for restart, _ in heard) == len(result.history)
    assert all(seconds >= 0 for _, seconds in heard)


@pytest.mark.parametrize(
    ("x", "components", "family", "message"),
    [
        (torch.ones(5, 2), 2, "diagonal", "2 components for 1 distinct rows: lower components to 1"),
        (torch.tensor([[1.0, 2], [1, 3], [1, 2]]), 3, "full", "3 components for 2 distinct rows"),
        (torch.tensor([[1.0, 2], [1, 3], [1, 2]]), 2, "full", "column x1: all values are equal.*exclude"),
        (torch.ones(5, 2), 1, "isotropic", "all rows are identical"),
        (torch.tensor([[1.0, math.nan], [1, 3]]), 1, "full", "1 in x2.*missing='drop'"),
    ],
)
def test_refuses_data_that_cannot_be_fitted(x, components, family, message):
    with pytest.raises(InputError, match=message):
        gmmcli.fit(x, components, family)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "round"}, "family='round': there is no such choice: choose one of full, "),
        ({"method": "magic"}, "method='magic': there is no such choice: choose one of em, gradient"),
        ({"components": 0}, "components=0: must be at least 1"),
        ({"variance": 2.0}, "variance=2.0: has no effect with family full: give family='constant'"),
        ({"batch_size": 10}, "batch_size=10: has no effect with method em: give method='gradient'"),
        ({"mixture_lr": 0.1}, "mixture_lr=0.1: has no effect with method em"),
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs': has no effect with method em"),
        (
            {"method": "gradient", "optimizer": "lbfgs", "component_lr": 0.1},
            "component_lr=0.1: has no effect with optimizer lbfgs: give optimizer='adam'",
        ),
        ({"method": "gradient", "optimizer": "sgd"}, "optimizer='sgd': there is no such choice"),
        ({"acceleration": "warp"}, "acceleration='warp': .*: choose one of bfgs, anderson, squarem, none"),
        (
            {"method": "gradient", "acceleration": "none"},
            "acceleration='none': has no effect with method gradient",
        ),
        ({"tolerance": -1.0}, "tolerance=-1.0: must not be negative"),
        ({"tolerance": math.nan}, "tolerance=nan: must be a number"),
        ({"variance_floor": 1.5}, "variance_floor=1.5: must be between 0 and 1"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
        ({"device": "abacus"}, "device='abacus': there is no such device"),
        ({"init": "guess"}, "init='guess': there is no such start"),
        ({"threads": 0}, "threads=0: must be at least 1"),
        ({"components": "2"}, "components='2': must be a whole number"),
        ({"components": 2.5}, "components=2.5: must be a whole number"),
        ({"seed": 0.5}, "seed=0.5: must be a whole number"),
        ({"mixture_lr": 0.0, "method": "gradient"}, "mixture_lr=0.0: must be positive"),
        (
            {"family": "constant", "variance_floor": 0.1},
            "variance_floor=0.1: has no effect with family constant",
        ),
    ],
)
def test_refuses_options_that_are_out_of_range_or_do_not_apply(options, message):
    with pytest.raises(UsageError, match=message):
        gmmcli.fit(clusters(20), **options)


def test_data_far_from_the_origin_lose_no_digits():
    """N(1e4, 1) and N(1e9, 1) data in float32: raw E[x²] − μ² would give variances without a digit."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 2, generator=draw, dtype=torch.float64)
    for shift in (1e4, 1e9):
        result = gmmcli.fit(z + shift, 1, "full", precision="float32", restarts=1)
        expected = torch.cov((z + shift).T, correction=0)
        torch.testing.assert_close(result.model.covariances[0].detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_rare_rows_among_many_copies_are_found(family):
    """With 200,000 equal rows a sample of the data may miss the three others."""
    x = torch.zeros(60_000, 2, dtype=torch.float64)
    x[[7, 20_000, 59_999]] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0]], dtype=torch.float64)
    for init in ("random-rows", "kmeans++", "ward"):
        result = gmmcli.fit(x, 4, family, init=init, restarts=2, iterations=3)
        assert math.isfinite(result.log_likelihood)


def test_the_scale_of_row_weights_changes_nothing():
    """Also where the starts are made from a sample of the rows."""
    x = clusters(21_000)
    found = [
        gmmcli.fit(x, 3, weights=torch.full((len(x),), scale), restarts=2, iterations=5).log_likelihood / scale
        for scale in (1.0, 2.0**-30, 2.0**40)
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert found[2] == pytest.approx(found[0], rel=1e-9)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1e-320, 1e-290, 1e-50, 1e50, 1e297])
def test_row_weights_may_be_of_any_size(scale: float, precision: str):
    x = clusters(300)
    weights = torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    options: dict[str, Any] = {"restarts": 1, "iterations": 5, "precision": precision}
    plain = gmmcli.fit(x, 3, weights=weights, **options)
    scaled = gmmcli.fit(x, 3, weights=weights * scale, **options)
    close = 1e-3 if scale < 1e-300 else 1e-6  # such numbers have few digits
    assert scaled.weight == pytest.approx(plain.weight * scale, rel=close)
    torch.testing.assert_close(scaled.model.means, plain.model.means, rtol=close, atol=close)
    mean = scaled.log_likelihood / scaled.weight
    assert mean == pytest.approx(plain.log_likelihood / plain.weight, rel=close)


def test_rows_that_weigh_nothing_beside_the_others_are_as_if_they_were_not_there():
    x = clusters(300)
    weights = torch.full((300,), 1e-50, dtype=torch.float64)
    weights[::2] = 1
    options: dict[str, Any] = {"restarts": 1, "iterations": 5, "precision": "float32"}
    all_rows, half = gmmcli.fit(x, 3, weights=weights, **options), gmmcli.fit(x[::2], 3, **options)
    assert all_rows.log_likelihood / all_rows.weight == pytest.approx(half.log_likelihood / 150, abs=1e-3)
    batches = gmmcli.fit(x, 3, weights=weights, method="gradient", batch_size=4, **options)
    assert math.isfinite(batches.log_likelihood)


def test_row_weights_whose_sum_overflows_are_refused():
    with pytest.raises(InputError, match="row weights add up to more than a number can hold: divide"):
        gmmcli.fit(clusters(300), 3, weights=torch.full((300,), 1e307, dtype=torch.float64))


def test_a_fit_that_float32_cannot_bring_below_the_tolerance_says_so():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(1000, 2, generator=draw, dtype=torch.float64)
    x[::2] += 30
    for acceleration in ("none", "bfgs"):
        options: dict[str, Any] = {"acceleration": acceleration, "restarts": 1, "precision": "float32"}
        assert gmmcli.fit(x, 4, tolerance=1e-9, **options).stop.name == "precision limit"
        loose = gmmcli.fit(x, 4, tolerance=0.1, **options)
        assert loose.stop.name == "converged"


def test_random_rows_that_are_one_in_the_precision_of_the_fit():
    x = torch.tensor([[1000.0], [1000.000001], [0], [1]], dtype=torch.float64)
    result = gmmcli.fit(x, 4, "diagonal", init="random-rows", restarts=2, precision="float32")
    assert math.isfinite(result.log_likelihood)


def test_a_model_to_go_on_from_is_matched_by_name():
    frame = pd.DataFrame(clusters(200).numpy() * [1, 50] + [0, 300], columns=["a", "b"])
    model = gmmcli.fit(frame, 2, restarts=1).model
    same = gmmcli.fit(frame[["b", "a"]], init=model, iterations=1)
    assert same.model.columns == ("b", "a")
    assert same.model.components == 2
    assert same.log_likelihood == pytest.approx(model.score(frame) * 200, rel=1e-12)
    with pytest.raises(InputError, match="has the columns a, b, the fit uses a, c"):
        gmmcli.fit(frame.rename(columns={"b": "c"}), init=model)


def test_starting_means_are_matched_by_name_and_must_be_finite():
    frame = pd.DataFrame({"a": [0.0, 1, 100, 101], "b": [5.0, 4, -50, -51]})
    result = gmmcli.fit(frame, init=pd.DataFrame({"b": [5, -50], "a": [0, 100]}), iterations=1)
    means = sorted(result.model.means.detach().tolist())
    assert means == [pytest.approx([0.5, 4.5]), pytest.approx([100.5, -50.5])]
    with pytest.raises(InputError, match="not all finite"):
        gmmcli.fit(frame, init=[[0.0, math.nan], [1.0, 2.0]])


@pytest.mark.parametrize("family", FAMILIES)
def test_going_on_from_a_standardised_model_keeps_its_units(family):
    x = clusters(200) * torch.tensor([1.0, 30.0])
    options: dict[str, Any] = {"variance": 0.3} if family == "constant" else {}
    first = gmmcli.fit(x, 3, family, standardize=True, restarts=1, **options)
    again = gmmcli.fit(x, init=first.model, iterations=1)
    assert again.options.standardize
    assert again.model.family == family
    assert again.log_likelihood == pytest.approx(first.log_likelihood, rel=1e-9)


def test_listener_hears_how_every_restart_ended():
    ends: dict[int, str] = {}

    def listener(run, seconds):
        assert run.restart not in ends
        if run.ended:
            ends[run.restart] = run.stop.name

    result = gmmcli.fit(clusters(), 5, restarts=8, tolerance=1e-9, listener=listener)
    assert ends == {restart.restart: restart.stop for restart in result.restarts}
    assert list(ends.values()).count("left behind") >= 5  # and a finalist that the best one has beaten


def test_listener_hears_of_a_failure(monkeypatch):
    make = initialise.STARTS["kmeans++"]
    monkeypatch.setitem(
        initialise.STARTS,
        "kmeans++",
        lambda *a: dataclasses.replace(make(*a), weights=torch.full((2,), math.nan).double()),
    )
    failures = []
    with pytest.raises(NumericalError):
        gmmcli.fit(
            clusters(), 2, init="kmeans++", restarts=1, listener=lambda run, seconds: failures.append(run.failure)
        )
    assert [type(failure) for failure in failures] == [NumericalError]


def test_columns_are_left_out_by_name():
    frame = pd.DataFrame(clusters(200).numpy(), columns=["a", "b"]).assign(constant=1.0, note="x")
    result = gmmcli.fit(frame, 2, exclude=["constant", "note"], restarts=1)
    assert result.model.columns == ("a", "b")
    by_position = gmmcli.fit(frame[["a", "b", "constant"]].to_numpy(), 2, exclude=["x3"], restarts=1)
    assert by_position.log_likelihood == result.log_likelihood
    with pytest.raises(InputError, match="column c: not among a, b, constant, note"):
        gmmcli.fit(frame, 2, exclude=["c"])
