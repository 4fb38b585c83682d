"""One contract for all families: every map of families/base.py against naive formulas and against each other."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.families import FAMILIES, get_family
from gmmcli.families.base import Family, Parameters, Unconstrained
from gmmcli.families.linear import Affine
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.workers import compiled
from tests import reference
from tests.conftest import assert_near, log_joint, to_moments, to_parameters

SIZES = [(1, 1), (3, 1), (1, 3), (3, 2), (4, 5)]
sizes = pytest.mark.parametrize(("components", "dims"), SIZES, ids=[f"K{k}D{d}" for k, d in SIZES])


def mixture(family: Family, components: int, dims: int, seed: int = 0) -> tuple[reference.Moments, Parameters]:
    moments = reference.random_moments(family.name, components, dims, seed)
    return moments, to_parameters(family, moments)


def rows_of(moments: reference.Moments, rows: int = 60, seed: int = 1) -> np.ndarray:
    return reference.random_rows(moments, rows, seed)


def statistics(
    family: Family, x: np.ndarray, r: np.ndarray, w: np.ndarray | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """counts, sums, quads of given responsibilities, by plain products."""
    weighted = r if w is None else r * w[:, None]
    quads = weighted.T @ reference.quadratic_features(family.name, x)
    if family.shared:
        quads = quads.sum(0, keepdims=True)
    return torch.from_numpy(weighted.sum(0)), torch.from_numpy(weighted.T @ x), torch.from_numpy(quads)


# ---- densities --------------------------------------------------------------------------------------------


@sizes
def test_moments_survive_the_familys_own_parameters(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims)
    assert p.scale.shape == family.scale_shape(components, dims)
    family.validate(p)
    assert_close(torch.from_numpy(to_moments(family, p).covariances), torch.from_numpy(moments.covariances))
    smallest, largest = family.eigenvalue_range(p.scale, dims)
    values = np.linalg.eigvalsh(moments.covariances)[: len(smallest)]
    assert_near(smallest, torch.from_numpy(values[:, 0].copy()))
    assert_near(largest, torch.from_numpy(values[:, -1].copy()))


@sizes
def test_nearest_member_of_the_family_to_any_covariances(family: Family, components: int, dims: int):
    free = reference.random_moments("full", components, dims, seed=9)
    p = to_parameters(family, free)
    expected = reference.restrict(family.name, free.weights, free.covariances)
    assert_near(torch.from_numpy(to_moments(family, p).covariances), torch.from_numpy(expected))


@sizes
def test_log_joint_and_responsibilities_equal_the_naive_formulas(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims)
    x = rows_of(moments)
    joint = log_joint(family, p, torch.from_numpy(x))
    assert_near(joint, torch.from_numpy(reference.log_joint(moments, x)))
    assert_near(joint.logsumexp(1), torch.from_numpy(reference.log_prob(moments, x)))
    assert_near(joint.softmax(1), torch.from_numpy(reference.responsibilities(moments, x)))


@sizes
def test_model_agrees_with_torch_distributions(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims)
    x = torch.from_numpy(rows_of(moments))
    model = GaussianMixture(p.weights, p.means, p.scale, family.name)
    distribution = model.to_distribution()
    assert isinstance(distribution, torch.distributions.MixtureSameFamily)
    assert_near(model.log_prob(x), distribution.log_prob(x))
    assert_near(model.log_prob(x), torch.from_numpy(reference.log_prob(moments, x.numpy())))
    expected = torch.from_numpy(reference.responsibilities(moments, x.numpy()))
    assert_near(model.responsibilities(x).detach(), expected)


@sizes
def test_coefficients_times_features_are_the_log_joint(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims)
    x = torch.from_numpy(rows_of(moments))
    eta = family.coefficients(p)
    features = family.quad(x.mT)
    assert eta.linear.shape == (components, 1 + dims)
    assert eta.quad.shape == (family.sharing(components), family.form.size(dims))
    assert_close(features.mT, torch.from_numpy(reference.quadratic_features(family.name, x.numpy())))
    phi = torch.cat([torch.ones(1, len(x), dtype=torch.float64), x.mT])
    joint = (eta.linear @ phi + eta.quad @ features).mT
    # A sum of P products errs by at most P · EPS times the sum of their absolute values.
    size = (eta.linear.abs() @ phi.abs() + eta.quad.abs() @ features.abs()).max()
    bound = 4 * (1 + dims + family.form.size(dims)) * reference.EPS * float(size)
    assert_close(joint, log_joint(family, p, x), rtol=0, atol=bound)


def test_the_quad_filler_can_be_compiled_and_bounds_itself(family: Family):
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 30)))
    out = torch.full((family.form.size(4), 30), torch.nan, dtype=torch.float64)
    form = family.form
    compiled(form.fill)(form.views(z, out, z.new_empty(form.spare_size(4), 30)))
    assert torch.equal(out, family.quad(z))
    assert bool((out.norm(dim=0) <= z.square().sum(0) * (1 + 1e-14)).all())
    bound = family.quad_bound(torch.cat([torch.ones(1, dtype=torch.float64), z.abs().amax(1)]))
    assert bool((out.abs() <= bound[:, None]).all())


def test_distances_have_first_and_second_gradients(family: Family):
    """By finite differences; and those for gradients are the others, to the bit."""
    p = to_parameters(family, reference.random_moments(family.name, 3, 3, 1))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 5)))
    factors = family.distance_factors(p.scale, 3)
    factors = factors.expand(3, *factors.shape[1:])
    inputs = [t.detach().clone().requires_grad_() for t in (x, p.means, factors)]
    distances = family.form.differentiable
    assert torch.equal(distances(*inputs), family.form.distances(*inputs))
    assert torch.autograd.gradcheck(distances, inputs)
    assert torch.autograd.gradgradcheck(distances, inputs)


@sizes
def test_precision_log_det_and_mahalanobis(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims)
    inverse = np.linalg.inv(moments.covariances)
    expected = np.einsum("kij,kj->ki", inverse, moments.means)
    assert_near(family.precision_times(p.scale, p.means), torch.from_numpy(expected))
    log_det = np.log(np.linalg.det(moments.covariances))
    assert_near(family.log_det(p.scale, dims).expand(components), torch.from_numpy(log_det))
    x = rows_of(moments, 20)
    difference = x[:, None, :] - moments.means
    distance = np.einsum("nki,kij,nkj->nk", difference, inverse, difference)
    factors = family.distance_factors(p.scale, dims)
    factors = factors.expand(components, *factors.shape[1:])
    actual = family.form.distances(torch.from_numpy(x).mT, p.means, factors)
    assert_near(actual.mT, torch.from_numpy(distance))


# ---- what follows from dense covariances -------------------------------------------------------------------

HOOKS = {
    "from_covariances", "inverse_wishart", "scale_trils", "log_det", "quad_coefficients",
    "precision_times", "distance_factors", "eigenvalue_range", "project", "colour", "to_raw", "from_raw",
    "scale_outer", "scale_problem", "marginal", "complete",
}  # fmt: skip


def test_every_method_is_abstract_final_or_a_hook():
    methods = {name: member for name, member in vars(Family).items() if callable(member) and name[0] != "_"}
    abstract = {name for name, member in methods.items() if getattr(member, "__isabstractmethod__", False)}
    final = {name for name, member in methods.items() if getattr(member, "__final__", False)}
    assert abstract == {"scale_shape", "covariance_count", "covariances", "scale_from_scatter"}
    assert set(methods) - abstract - final == HOOKS
    for name in FAMILIES:
        assert not set(vars(type(get_family(name)))) & final


@sizes
def test_overridden_hooks_equal_what_follows_from_dense_covariances(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims)

    def both(hook: str, *arguments: Any) -> tuple[Any, Any]:
        return getattr(family, hook)(*arguments), getattr(Family, hook)(family, *arguments)

    for hook in ("scale_trils", "log_det"):
        assert_near(*both(hook, p.scale, dims))
    for actual, expected in zip(*both("eigenvalue_range", p.scale, dims), strict=True):
        assert_near(actual, expected)
    assert_near(*both("precision_times", p.scale, p.means))
    noise = torch.from_numpy(rows_of(moments, 20))
    assert_near(*both("colour", p.scale, torch.arange(20) % components, noise))
    free = torch.from_numpy(reference.random_moments("full", components, dims, seed=9).covariances)
    free = free[: len(p.scale)]
    assert_near(*both("from_covariances", free, torch.linspace(0.5, 1, len(free), dtype=torch.float64)))
    for affine in affines(family, dims):
        assert_near(*both("scale_outer", p.scale, dims, affine.factor), 1e-11)
    if family.learned:
        assert_near(*both("project", p.scale, dims, floors(family, p)[1]))
    assert both("scale_problem", p.scale, dims) == (None, None)


@pytest.mark.parametrize("columns", [[0], [1, 3], [0, 1, 2, 3], [2, 0, 3]])
def test_marginals_follow_from_dense_covariances(family: Family, columns: list[int]):
    """Whatever family a marginal is of, and whether or not it is computed from dense covariances."""
    moments, p = mixture(family, 3, 4)
    sub = reference.Moments(moments.weights, moments.means[:, columns], moments.covariances[:, columns][..., columns])
    x = rows_of(moments, 30)[:, columns]
    for marginal in (family.marginal, partial(Family.marginal, family)):
        own, q = marginal(p, torch.tensor(columns))
        own.validate(q)
        assert_near(log_joint(own, q, torch.from_numpy(x)), torch.from_numpy(reference.log_joint(sub, x)))


# ---- the M-step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@sizes
def test_m_step_equals_the_naive_sums(family: Family, components: int, dims: int, weighted: bool):
    moments, previous = mixture(family, components, dims)
    x = rows_of(moments, 50)
    rng = np.random.default_rng(3)
    r = rng.dirichlet(np.ones(components), len(x))
    w = rng.uniform(0, 3, len(x)) if weighted else None
    p = family.m_step(*statistics(family, x, r, w), previous, 0.0)
    given = float(moments.covariances[0, 0, 0])
    expected = reference.m_step(family.name, x, r, w, given)
    actual = to_moments(family, p)
    # Scatter as a difference Σ r quad(x) − n quad(μ): terms up to 1e2 times the result cancel, EPS · 1e2 and a sum.
    assert_near(torch.from_numpy(actual.weights), torch.from_numpy(expected.weights))
    assert_near(torch.from_numpy(actual.means), torch.from_numpy(expected.means))
    assert_near(torch.from_numpy(actual.covariances), torch.from_numpy(expected.covariances))
    if not family.learned:
        assert torch.equal(p.scale, previous.scale)


@sizes
def test_m_step_is_not_beaten_by_its_neighbours_or_by_random_members(family: Family, components: int, dims: int):
    moments, previous = mixture(family, components, dims)
    x = rows_of(moments, 50)
    r = np.random.default_rng(4).dirichlet(np.ones(components), len(x))
    best = to_moments(family, family.m_step(*statistics(family, x, r), previous, 0.0))
    value = reference.expected_log_joint(best, x, r)
    for seed in range(5):
        other = reference.random_moments(family.name, components, dims, seed + 20)
        for step in (1e-3, 0.1, 1.0):
            weights = (1 - step) * best.weights + step * other.weights
            mixed = (1 - step) * best.covariances + step * other.covariances
            covariances = reference.restrict(family.name, weights, mixed) if family.learned else best.covariances
            candidate = reference.Moments(weights, (1 - step) * best.means + step * other.means, covariances)
            assert reference.expected_log_joint(candidate, x, r) < value


def test_starved_component_keeps_its_mean_and_covariance(family: Family):
    moments, previous = mixture(family, 3, 2)
    x = rows_of(moments, 50)
    r = np.random.default_rng(5).dirichlet(np.ones(3), len(x))
    r[:, 1] = 0
    p = family.m_step(*statistics(family, x, r), previous, 1e-6)
    assert float(p.weights[1]) == 0
    assert torch.equal(p.means[1], previous.means[1])
    if family.coupled:  # all but its volume
        before, after = (family.covariances(scale, 2)[1] for scale in (previous.scale, p.scale))
        assert_near(after / after.det().sqrt(), before / before.det().sqrt())
    elif not family.shared:
        assert torch.equal(p.scale[1], previous.scale[1])
    family.validate(p)


# ---- the floor --------------------------------------------------------------------------------------------


def naive_floor(covariances: np.ndarray, floor: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariances)
    return vectors @ (np.maximum(values, floor)[:, :, None] * vectors.transpose(0, 2, 1))


def floors(family: Family, p: Parameters) -> tuple[float, float]:
    """One that binds nowhere, and one between the smallest and the largest eigenvalue of all."""
    smallest, largest = family.eigenvalue_range(p.scale, p.dims)
    return 0.5 * float(smallest.min()), float((smallest.min() * largest.max() * 1.01).sqrt())


@sizes
def test_projection_raises_what_is_below_the_floor_and_nothing_else(
    learned_family: Family, components: int, dims: int
):
    family = learned_family
    _, p = mixture(family, components, dims)
    loose, tight = floors(family, p)
    assert torch.equal(family.project(p.scale, dims, loose), p.scale)
    raised = family.project(p.scale, dims, tight)
    assert float(family.eigenvalue_range(raised, dims)[0].min()) >= tight * (1 - 1e-12)
    assert not torch.equal(raised, p.scale)
    assert_near(family.project(raised, dims, tight), raised)
    family.validate(Parameters(p.weights, p.means, raised))
    if not family.coupled:
        before = family.covariances(p.scale, dims)
        assert_near(family.covariances(raised, dims), torch.from_numpy(naive_floor(before.numpy(), tight)))
        clear = family.eigenvalue_range(p.scale, dims)[0] > tight
        assert torch.equal(raised[clear], p.scale[clear])


def test_constant_is_not_held_by_a_floor():
    family = get_family("constant")
    one = torch.ones(1, dtype=torch.float64)
    p = Parameters(one, one[:, None], one / 4)
    assert torch.equal(family.hold(p, 1.0).scale, p.scale)


@sizes
def test_m_step_under_a_floor_is_the_best_feasible_point(learned_family: Family, components: int, dims: int):
    family = learned_family
    moments, previous = mixture(family, components, dims)
    x = rows_of(moments, 50)
    r = np.random.default_rng(6).dirichlet(np.ones(components), len(x))
    sums = statistics(family, x, r)
    free = family.m_step(*sums, previous, 0.0)
    loose, tight = floors(family, free)
    assert torch.equal(family.m_step(*sums, previous, loose).scale, free.scale)
    held = family.m_step(*sums, previous, tight)
    assert float(family.eigenvalue_range(held.scale, dims)[0].min()) >= tight * (1 - 1e-12)
    if not family.coupled:
        clear = family.eigenvalue_range(free.scale, dims)[0] > tight
        assert torch.equal(held.scale[clear], free.scale[clear])
    best = to_moments(family, held)
    value = reference.expected_log_joint(best, x, r)
    for seed in range(5):
        other = reference.random_moments(family.name, components, dims, seed + 40).covariances
        for step in (1e-3, 0.1, 1.0):
            mixed = reference.Moments(best.weights, best.means, (1 - step) * best.covariances + step * other)
            candidate = to_moments(family, family.hold(to_parameters(family, mixed), tight))
            slack = 1e-13 * abs(value)  # equal where the candidate is the floor itself, as at K = D = 1
            assert reference.expected_log_joint(candidate, x, r) <= value + slack


# ---- counts -----------------------------------------------------------------------------------------------

COUNTS = {  # K − 1 + K D + covariances, at (K, D) = (1, 1), (3, 2), (4, 5)
    "full": (2, 17, 83),
    "diagonal": (2, 14, 43),
    "isotropic": (2, 11, 27),
    "shared_isotropic": (2, 9, 24),
    "constant": (1, 8, 23),
    "tied": (2, 11, 38),
    "shared_diagonal": (2, 10, 28),
    "evv": (2, 15, 80),
}


def test_parameter_counts(family: Family):
    counts = tuple(family.parameter_count(k, d) for k, d in ((1, 1), (3, 2), (4, 5)))
    assert counts == COUNTS[family.name]


def test_the_table_of_families_is_the_seven_and_one_of_this_suite():
    assert set(FAMILIES) == set(COUNTS) == {*reference.FAMILY_NAMES, "evv"}
    assert all(get_family(name).name == name for name in FAMILIES)
    with pytest.raises(UsageError, match=r"family='spherical': unknown family: choose one of full, diagonal"):
        get_family("spherical")


# ---- free tensors and coordinates -------------------------------------------------------------------------


@sizes
def test_unconstrain_and_constrain_are_inverse(family: Family, components: int, dims: int):
    _, p = mixture(family, components, dims)
    u = family.unconstrain(p)
    back = family.constrain(Unconstrained(u.logits + 3.7, u.means, u.raw))  # logits may have any offset
    for actual, expected in zip((back.weights, back.means, back.scale), (p.weights, p.means, p.scale), strict=True):
        assert_close(actual, expected, rtol=16 * reference.EPS, atol=16 * reference.EPS)


@sizes
def test_any_free_tensors_are_a_mixture(family: Family, components: int, dims: int):
    rng = torch.Generator().manual_seed(1)
    shape = family.scale_shape(components, dims)
    free = [torch.randn(s, generator=rng, dtype=torch.float64) for s in ((components,), (components, dims), shape)]
    family.validate(family.constrain(Unconstrained(*free)))


def affines(family: Family, dims: int) -> list[Affine]:
    """A map of each kind that the family is closed under."""
    rng = torch.Generator().manual_seed(2)
    shift = 10 * torch.randn(dims, generator=rng, dtype=torch.float64)
    diagonal = torch.rand(dims, generator=rng, dtype=torch.float64) * 4 + 0.25
    lower = torch.randn(dims, dims, generator=rng, dtype=torch.float64).tril(-1) + diagonal.diag()
    maps = [Affine(shift, torch.tensor(2.5, dtype=torch.float64))]
    if family.coordinates != "scalar":
        maps.append(Affine(shift, diagonal))
    if family.coordinates == "whitened":
        maps.append(Affine(shift, lower))
    return maps


@sizes
def test_change_of_coordinates_and_back(family: Family, components: int, dims: int):
    moments, inner = mixture(family, components, dims)
    z = torch.from_numpy(rows_of(moments, 30))
    for affine in affines(family, dims):
        x = affine.outer(z)
        # The lower-triangular maps have condition numbers up to about 1e2, on top of assert_near's e² · 1e2 · EPS.
        close = 1e-11
        assert_near(affine.inner(x), z, close)
        assert_near(affine.inverse().outer(x), z, close)
        outer = family.to_outer(inner, affine)
        family.validate(outer)
        back = family.to_inner(outer, affine)
        assert torch.equal(outer.weights, inner.weights)
        assert_near(back.means, inner.means, close)
        assert_near(back.scale, inner.scale, close)
        # log p(x) = log p(z) − log |det|
        assert_near(log_joint(family, outer, x), log_joint(family, inner, z) - affine.log_det(), close)
        covariances = family.covariances(outer.scale, dims)
        assert_near(affine.inverse_congruence(covariances), family.covariances(inner.scale, dims), close)
        factor = affine.factor.expand(dims).diag() if affine.factor.ndim < 2 else affine.factor
        assert affine.log_det() == pytest.approx(float(factor.logdet()), rel=1e-13)
        low, high = x.amin(0), x.amax(0)
        assert bool((z.abs() <= affine.inner_bound(low, high) * (1 + 1e-11)).all())


def test_identity_map_changes_nothing(family: Family):
    _, p = mixture(family, 3, 2)
    outer = family.to_outer(p, Affine.identity(2))
    assert torch.equal(outer.means, p.means)
    derived = type(family).scale_outer is Family.scale_outer
    assert_near(outer.scale, p.scale, 4 * reference.EPS if derived else 0.0)


# ---- refusals ---------------------------------------------------------------------------------------------


@sizes
def test_validate_refuses_what_is_not_a_mixture(family: Family, components: int, dims: int):
    _, p = mixture(family, components, dims)
    nan = torch.full_like

    def spoilt(t: Tensor, value: float) -> Tensor:
        t = t.clone(memory_format=torch.contiguous_format)
        t.view(-1)[-1] = value  # the last entry: on the diagonal of a factor
        return t

    bad = [
        Parameters(torch.cat([p.weights, p.weights]) / 2, p.means, p.scale),
        Parameters(p.weights[:, None], p.means, p.scale),
        Parameters(p.weights, p.means[:, 0], p.scale),
        Parameters(p.weights, p.means, torch.cat([p.scale, p.scale])),
        Parameters(p.weights, p.means, p.scale[..., None]),
        Parameters(p.weights, p.means, p.scale[:0]),
        Parameters(nan(p.weights, torch.nan), p.means, p.scale),
        Parameters(p.weights, spoilt(p.means, torch.nan), p.scale),
        Parameters(p.weights, spoilt(p.means, torch.inf), p.scale),
        Parameters(p.weights, p.means, spoilt(p.scale, torch.nan)),
        Parameters(p.weights, p.means, spoilt(p.scale, torch.inf)),
        Parameters(p.weights, p.means, spoilt(p.scale, 0.0)),
        Parameters(p.weights, p.means, spoilt(p.scale, -1.0)),
        Parameters(p.weights * 1.01, p.means, p.scale),
        Parameters(-p.weights, p.means, p.scale),
    ]
    family.validate(p)
    for parameters in bad:
        with pytest.raises(InputError) as caught:
            family.validate(parameters)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["full", "tied"])
def test_a_factor_must_be_lower_triangular(name: str):
    family = get_family(name)
    _, p = mixture(family, 3, 2)
    scale = p.scale.clone()
    scale[0, 0, 1] = 1e-3
    with pytest.raises(InputError, match="not lower triangular"):
        family.validate(Parameters(p.weights, p.means, scale))


def test_a_scale_of_no_member_is_refused():
    """By the default check: the nearest member is another."""
    family = get_family("evv")
    _, p = mixture(family, 3, 2)
    factors = torch.tensor([1.0, 1.0, 1.1], dtype=torch.float64)[:, None, None]
    with pytest.raises(InputError, match="covariances: the covariances are not evv"):
        family.validate(Parameters(p.weights, p.means, p.scale * factors))


@pytest.mark.parametrize("name", ["full", "tied"])
def test_covariances_that_are_not_positive_definite_are_refused(name: str):
    indefinite = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64).expand(2, 2, 2)
    with pytest.raises(GmmError, match="not positive definite"):
        GaussianMixture.from_covariances([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], indefinite, name)


# ---- samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("components", "dims"), [(1, 1), (3, 2), (2, 4)])
def test_sampling_moments(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims, seed=2)
    rows = 20_000
    model = GaussianMixture(p.weights, p.means, p.scale, family.name)
    x, labels = model.sample_labelled(rows, generator=torch.Generator().manual_seed(7))
    sigmas = 4.5  # two-sided 7e-6 a number, at a fixed seed
    for k in range(components):
        own = x[labels == k].numpy()
        weight, covariance = moments.weights[k], moments.covariances[k]
        assert abs(len(own) / rows - weight) <= sigmas * np.sqrt(weight * (1 - weight) / rows)
        variances = np.diag(covariance)
        assert (np.abs(own.mean(0) - moments.means[k]) <= sigmas * np.sqrt(variances / len(own))).all()
        error = np.sqrt((np.outer(variances, variances) + covariance**2) / len(own))
        scatter = np.cov(own.T, bias=True).reshape(dims, dims)
        assert (np.abs(scatter - covariance) <= sigmas * error).all()


# ---- gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("components", "dims"), [(1, 1), (2, 3)])
def test_gradients_of_log_prob_in_data_and_free_parameters(family: Family, components: int, dims: int):
    moments, p = mixture(family, components, dims)
    x = torch.from_numpy(rows_of(moments, 4)).requires_grad_()
    u = family.unconstrain(p)
    free = [t.detach().clone().requires_grad_() for t in (u.logits, u.means, u.raw)]

    def log_prob(x: Tensor, logits: Tensor, means: Tensor, raw: Tensor) -> Tensor:
        return log_joint(family, family.constrain(Unconstrained(logits, means, raw)), x).logsumexp(1)

    # Central differences at h = 1e-6 err by about EPS · |log p| / h = 2e-9.
    assert torch.autograd.gradcheck(log_prob, (x, *free), eps=1e-6, atol=1e-7, rtol=1e-6)


def test_gradients_of_the_coefficients(family: Family):
    _, p = mixture(family, 2, 3)
    u = family.unconstrain(p)
    free = [t.detach().clone().requires_grad_() for t in (u.logits, u.means, u.raw)]

    def coefficients(logits: Tensor, means: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        eta = family.coefficients(family.constrain(Unconstrained(logits, means, raw)))
        return eta.linear, eta.quad

    assert torch.autograd.gradcheck(coefficients, tuple(free), eps=1e-6, atol=1e-7, rtol=1e-6)


# ---- identities between families --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("special", "general"),
    [
        ("diagonal", "full"),
        ("isotropic", "diagonal"),
        ("isotropic", "full"),
        ("tied", "full"),
        ("shared_diagonal", "diagonal"),
        ("shared_diagonal", "tied"),
        ("shared_isotropic", "isotropic"),
        ("constant", "shared_isotropic"),
        ("evv", "full"),
    ],
)
@sizes
def test_a_special_family_equals_the_general_one_on_its_parameters(
    special: str, general: str, components: int, dims: int
):
    a, b = get_family(special), get_family(general)
    moments = reference.random_moments(special, components, dims, seed=5)
    x = torch.from_numpy(rows_of(moments))
    p, q = to_parameters(a, moments), to_parameters(b, moments)
    assert_near(log_joint(a, p, x), log_joint(b, q, x))
    r = reference.responsibilities(moments, x.numpy())
    stepped = a.m_step(*statistics(a, x.numpy(), r), p, 0.0)
    against = to_moments(b, b.m_step(*statistics(b, x.numpy(), r), q, 0.0))
    assert_near(stepped.means, torch.from_numpy(against.means))
    if a.learned:  # the special family's maximiser is the general one's, restricted
        restricted = reference.restrict(special, against.weights, against.covariances)
        assert_near(torch.from_numpy(to_moments(a, stepped).covariances), torch.from_numpy(restricted))


def test_all_families_agree_at_one_component_of_one_column():
    x = np.random.default_rng(8).normal(3, 2, (40, 1))
    r = np.ones((40, 1))
    estimate = float(x.var())
    results = []
    for name in FAMILIES:
        family = get_family(name)
        start = reference.Moments(np.ones(1), np.zeros((1, 1)), np.full((1, 1, 1), estimate))
        p = family.m_step(*statistics(family, x, r), to_parameters(family, start), 0.0)
        results.append((to_moments(family, p), log_joint(family, p, torch.from_numpy(x))))
    for moments, joint in results:
        assert moments.weights.tolist() == [1.0]
        assert_near(torch.from_numpy(moments.means), torch.from_numpy(x.mean(0, keepdims=True)))
        assert moments.covariances.item() == pytest.approx(estimate, rel=1e-12)
        assert_near(joint, results[0][1])
