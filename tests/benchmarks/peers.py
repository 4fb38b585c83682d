"""Everybody who fits Gaussian mixtures, behind one call: so many EM passes over the same rows from the same start.

Nobody regularises and nobody stops before the passes are done, as far as a peer can be told so: then all must
end at the same mixture. The compiled peers are not typed and need not be installed; they are imported when used.
"""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from gmmcli import GaussianMixture, fit
from gmmcli.fitting.options import FitOptions
from tests.benchmarks.problems import FAMILIES, Family, Problem, Scenario

PLAIN_EM: dict[str, Any] = (
    {"acceleration": "none"} if "acceleration" in {field.name for field in dataclasses.fields(FitOptions)} else {}
)


class Unable(Exception):
    """A peer that cannot be measured, and why, in a few words."""


@dataclass(frozen=True)
class Outcome:
    """What a fit came to: seconds of wall time, set-up included; passes that ended in an M-step; the mixture."""

    seconds: float
    passes: int
    model: GaussianMixture


class Peer(ABC):
    """One program.

    name: on the command line; title: in tables; passes: of the two fits that a slope is taken between.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    passes: ClassVar[tuple[int, int]]

    @abstractmethod
    def version(self) -> str:
        """Its version. Raises Unable where it is not installed."""

    @abstractmethod
    def check(self, scenario: Scenario, dtype: torch.dtype) -> None:
        """Raises Unable where it lacks the family or the precision."""

    @abstractmethod
    def run(self, problem: Problem, passes: int) -> Outcome:
        """Fits from the problem's start with this many EM steps, each one pass; raises what the peer raises."""


class Gmm(Peer):
    """This package, through its public Python call, by plain EM.

    The last of n passes ends in an evaluation and no M-step, so one more is asked for. A fit also surveys the data,
    lays it out and closes with a pass: the slope leaves that out.
    """

    name = "gmm"
    title = "gmm"
    passes = (5, 25)

    def version(self) -> str:
        return metadata.version("gmmcli")

    def check(self, scenario: Scenario, dtype: torch.dtype) -> None:
        return

    def run(self, problem: Problem, passes: int) -> Outcome:
        begin = time.perf_counter()
        result = fit(
            problem.x,
            init=problem.start,
            iterations=passes + 1,
            tolerance=0.0,
            precision=_precision(problem.x.dtype),
            device="cpu",
            **PLAIN_EM,
        )
        seconds = time.perf_counter() - begin
        return Outcome(seconds, result.history[-1].passes - 1, result.model)


class ScikitLearn(Peer):
    """sklearn.mixture.GaussianMixture."""

    name = "sklearn"
    title = "scikit-learn"
    passes = (2, 5)
    families: ClassVar[dict[str, str]] = {
        "full": "full", "diagonal": "diag", "isotropic": "spherical", "tied": "tied"
    }  # fmt: skip

    def version(self) -> str:
        return _version("scikit-learn")

    def check(self, scenario: Scenario, dtype: torch.dtype) -> None:
        _supported(scenario, self.families)

    def run(self, problem: Problem, passes: int) -> Outcome:
        mixture = _module("sklearn.mixture", "scikit-learn")
        family = FAMILIES[problem.scenario.family]
        weights, means, covariances = _moments(problem)
        estimator = mixture.GaussianMixture(
            n_components=problem.scenario.components,
            covariance_type=self.families[problem.scenario.family],
            tol=0.0,
            reg_covar=0.0,
            max_iter=passes,
            weights_init=weights.numpy(),
            means_init=means.numpy(),
            precisions_init=family.compact(covariances.double().inverse()).to(problem.x.dtype).contiguous().numpy(),
        )
        x = problem.x.numpy()
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            estimator.fit(x)
        seconds = time.perf_counter() - begin
        model = _mixture(problem.scenario, estimator.weights_, estimator.means_, estimator.covariances_)
        return Outcome(seconds, estimator.n_iter_, model)


class OneDAL(Peer):
    """oneDAL's EM through daal4py.

    It has no option that keeps it from stopping when the log-likelihood falls, which rounding makes it do in
    float32 near an optimum: the passes that it made are counted, not those asked for. It resorts to its
    regularisation only for a covariance that it cannot factorise.
    """

    name = "onedal"
    title = "oneDAL"
    passes = (5, 25)
    families: ClassVar[dict[str, str]] = {"full": "full", "diagonal": "diagonal"}

    def version(self) -> str:
        for distribution in ("scikit-learn-intelex", "daal4py"):
            try:
                return f"{_version(distribution)} ({distribution})"
            except Unable:
                continue
        raise Unable("daal4py is not installed: pip install -e '.[bench]'")

    def check(self, scenario: Scenario, dtype: torch.dtype) -> None:
        _supported(scenario, self.families)

    def run(self, problem: Problem, passes: int) -> Outcome:
        family = FAMILIES[problem.scenario.family]
        weights, means, covariances = _moments(problem)
        algorithm = _daal4py().em_gmm(
            nComponents=problem.scenario.components,
            covarianceStorage=self.families[problem.scenario.family],
            maxIterations=passes,
            accuracyThreshold=0.0,
            regularizationFactor=0.0,
            fptype="double" if problem.x.dtype == torch.float64 else "float",
        )
        starts = [c.reshape(-1, problem.scenario.dims).contiguous().numpy() for c in family.compact(covariances)]
        x = problem.x.numpy()
        begin = time.perf_counter()
        result = algorithm.compute(x, weights[None].numpy(), means.numpy(), starts)
        seconds = time.perf_counter() - begin
        compact = torch.stack([torch.as_tensor(c) for c in result.covariances])
        model = _mixture(
            problem.scenario, result.weights[0], result.means, compact.reshape(family.compact(covariances).shape)
        )
        return Outcome(seconds, int(result.nIterations[0, 0]), model)


class Pomegranate(Peer):
    """pomegranate's GeneralMixtureModel of Normal distributions; parts of it are float32 whatever the data."""

    name = "pomegranate"
    title = "pomegranate"
    passes = (2, 5)
    families: ClassVar[dict[str, str]] = {"full": "full", "diagonal": "diag", "isotropic": "sphere"}
    shapes: ClassVar[dict[str, str]] = {"full": "full", "diagonal": "diagonal", "isotropic": "diagonal"}

    def version(self) -> str:
        return _version("pomegranate")

    def check(self, scenario: Scenario, dtype: torch.dtype) -> None:
        _supported(scenario, self.families)
        if dtype != torch.float32:
            raise Unable("float32 only")

    def run(self, problem: Problem, passes: int) -> Outcome:
        normal = _module("pomegranate.distributions", "pomegranate").Normal
        kind = self.families[problem.scenario.family]
        weights, means, covariances = _moments(problem)
        shape = FAMILIES[self.shapes[problem.scenario.family]]
        components = [
            normal(mean.clone(), own.clone(), covariance_type=kind)
            for mean, own in zip(means, shape.compact(covariances), strict=True)
        ]
        mixture = _module("pomegranate.gmm", "pomegranate").GeneralMixtureModel(
            components, priors=weights, max_iter=passes, tol=-float("inf")
        )
        begin = time.perf_counter()
        mixture.fit(problem.x)
        seconds = time.perf_counter() - begin
        fitted, compact = (torch.stack([getattr(c, name) for c in components]) for name in ("means", "covs"))
        model = _mixture(problem.scenario, mixture.priors, fitted, compact, shape)
        return Outcome(seconds, passes, model)


PEERS: dict[str, Peer] = {peer.name: peer for peer in (Gmm(), ScikitLearn(), OneDAL(), Pomegranate())}


def _moments(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """The start as weights (K,), means (K, D) and covariances (K, D, D) in the precision of the data."""
    start = problem.start
    weights, means, covariances = (
        t.detach().to(problem.x.dtype) for t in (start.weights, start.means, start.covariances)
    )
    return weights, means, covariances


def _mixture(
    scenario: Scenario, weights: Any, means: Any, compact: Any, shape: Family | None = None
) -> GaussianMixture:
    """What a peer ended with. shape: that of its covariances, where it is not the scenario's own."""
    w, m, c = (torch.as_tensor(t).detach().double() for t in (weights, means, compact))
    dense = (shape or FAMILIES[scenario.family]).dense(c, scenario.components, scenario.dims)
    return GaussianMixture.from_covariances(w / w.sum(), m, (dense + dense.mT) / 2, scenario.family)


def _supported(scenario: Scenario, families: dict[str, str]) -> None:
    if scenario.family not in families:
        raise Unable(f"no {scenario.family} covariance")


def _precision(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise Unable(f"{distribution} is not installed: pip install -e '.[bench]'") from None


def _module(name: str, distribution: str) -> Any:
    _version(distribution)
    return import_module(name)


@cache
def _daal4py() -> Any:
    """daal4py's compiled module.

    The package imports patches for scikit-learn first, and those of the last daal4py on its own (2024.7) fail
    beside a scikit-learn of today. The compiled part needs none of them.
    """
    try:
        return import_module("daal4py")
    except ImportError:
        spec = find_spec("daal4py")
        if spec is None:
            raise Unable("daal4py is not installed: pip install -e '.[bench]'") from None
        package = ModuleType("daal4py")
        package.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["daal4py"] = package
        return import_module("daal4py._daal4py")
