"""The bootstrap: standard errors of a mixture's parameters, and the likelihood-ratio test of K against K + 1.

McLachlan, "On bootstrapping the likelihood ratio test statistic for the number of components in a normal mixture",
Applied Statistics 36 (1987).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gmmcli.choosing.grid import Grid, grid_task
from gmmcli.choosing.options import GridOptions
from gmmcli.choosing.watcher import Watcher
from gmmcli.errors import InputError, NumericalError, Option, Remedy
from gmmcli.fitting.fit import fit_task, run
from gmmcli.fitting.options import FitOptions
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.draws import generator, row_uniforms
from gmmcli.passes.execution import HERE, Execution
from gmmcli.passes.reading import Task

POISSON = [0.36787944117144233, 0.7357588823428847, 0.9196986029286058, 0.9810118431238462, 0.9963401531726563,
           0.9994058151824183, 0.999916758850712, 0.9999897508033253, 0.9999988747974149]  # fmt: skip
# Distribution function of a Poisson variable of mean 1 at 0, 1, …: one row in a million lies beyond.


@dataclass(frozen=True)
class StandardErrors:
    """Standard deviations over the replicates, in data units: of weights (K,), means and stds (K, D), as lists.

    stds are the square roots of the covariances' diagonals. replicates: how many did not fail.
    """

    replicates: int
    weights: Sequence[float]
    means: Sequence[Sequence[float]]
    stds: Sequence[Sequence[float]]


@dataclass(frozen=True)
class RatioTest:
    """The test of K components, the null hypothesis, against K + 1.

    statistic: 2 (log L of K + 1 − log L of K), nats. p: (1 + number of replicates with no smaller statistic) / (1 +
    B).
    """

    components: int
    statistic: float
    p: float
    replicates: int


def bootstrap(
    blocks: Iterable[Block],
    grid: Grid,
    options: FitOptions,
    replicates: int | None,
    watcher: Watcher,
    execution: Execution = HERE,
) -> dict[str, Any] | None:
    """The test and the standard errors of the best cell of a grid, as JSON values; None without replicates.

    options: those of the grid.
    """
    if replicates is None:
        return None
    its = grid.options.options(options, grid.best.family, grid.best.components)
    tasks = {"ratio_test": ratio_test, "standard_errors": standard_errors}
    found = {
        name: asdict(run(task(blocks, grid.model, its, replicates, watcher, execution), its))
        for name, task in tasks.items()
    }
    return {"replicates": replicates, **found}


@dataclass(frozen=True)
class Resampled:
    """The rows drawn with replacement: each counts a Poisson number of times, drawn by its global number.

    This equals drawing N rows up to terms of order 1/N, with N itself drawn too, and it adds up over blocks.
    """

    blocks: Iterable[Block]
    seed: int
    replicate: int

    def __iter__(self) -> Iterator[Block]:
        steps = torch.tensor(POISSON, dtype=torch.float64)
        for block in self.blocks:
            u = row_uniforms(self.seed, f"bootstrap {self.replicate}", block.rows)
            yield block.weighted(torch.searchsorted(steps, u, right=True).double())


@dataclass(frozen=True)
class Drawn:
    """Rows drawn from a model, in blocks of the same sizes as others."""

    blocks: Iterable[Block]
    model: GaussianMixture
    seed: int
    replicate: int

    def __iter__(self) -> Iterator[Block]:
        for block in self.blocks:
            draw = generator(self.seed, f"ratio test {self.replicate}", block.index)
            yield Block(block.index, block.first_row, self.model.sample(len(block), generator=draw))


def standard_errors(
    blocks: Iterable[Block],
    model: GaussianMixture,
    options: FitOptions,
    replicates: int,
    watcher: Watcher,
    execution: Execution = HERE,
) -> Task[StandardErrors]:
    """Standard errors by refits to resampled rows. Each refit starts from the model: components keep their numbers.

    Raises NumericalError where fewer than two refits succeed.
    """
    its = replace(options, init="given", restarts=None, on_collapse="error")
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for replicate in range(replicates):
        watcher.begins(options.family, options.components, f"resample {replicate + 1} of {replicates}")
        try:
            resampled = Resampled(blocks, options.seed, replicate)
            result = yield from fit_task(
                resampled, its, columns=model.columns, start=model, listener=watcher.listener, execution=execution
            )
        except (InputError, NumericalError):
            continue
        fitted, places = result.model, torch.tensor(result.order).argsort()
        stds = fitted.covariances.diagonal(dim1=1, dim2=2).sqrt()
        found.append(tuple(t.detach()[places] for t in (fitted.weights, fitted.means, stds)))  # type: ignore[arg-type]
    if len(found) < 2:
        raise NumericalError(
            f"{len(found)} of the refits succeeded",
            subject=Option("bootstrap", replicates),
            remedy=Remedy("lower", "components"),
        )
    weights, means, stds = (torch.stack(tensors).std(0).tolist() for tensors in zip(*found, strict=True))
    return StandardErrors(len(found), weights, means, stds)


def ratio_test(
    blocks: Iterable[Block],
    model: GaussianMixture,
    options: FitOptions,
    replicates: int,
    watcher: Watcher,
    execution: Execution = HERE,
) -> Task[RatioTest]:
    """The test by parametric bootstrap: B samples drawn from the fit of K, to which K and K + 1 are fitted.

    model: the fit of K, with these options, to blocks of complete rows that each weigh 1. Data and samples are fitted
    as a grid, so that no statistic is below 0. Raises NumericalError where K + 1 cannot be fitted.
    """

    def statistic_of(blocks: Iterable[Block], purpose: str) -> Task[float | None]:
        return _statistic(blocks, model.columns, options, _Within(watcher, purpose), execution)

    statistic = yield from statistic_of(blocks, "for the likelihood-ratio test")
    if statistic is None:
        problem = f"{options.components + 1} components cannot be fitted, to test against"
        raise NumericalError(problem, subject=Option("bootstrap", replicates))
    found: list[float] = []
    for replicate in range(replicates):
        sample = Drawn(blocks, model, options.seed, replicate)
        drawn = yield from statistic_of(sample, f"drawn sample {replicate + 1} of {replicates}")
        if drawn is not None:
            found.append(drawn)
    beyond = sum(drawn >= statistic for drawn in found)
    return RatioTest(options.components, statistic, (1 + beyond) / (1 + len(found)), len(found))


def _statistic(
    blocks: Iterable[Block],
    columns: Sequence[str] | None,
    options: FitOptions,
    watcher: Watcher,
    execution: Execution,
) -> Task[float | None]:
    """2 (log L of K + 1 − log L of K), nats; None if one of them cannot be fitted."""
    grid = GridOptions([options.components, options.components + 1], [options.family], variance=options.variance)
    try:
        fitted = yield from grid_task(blocks, options, grid, columns=columns, watcher=watcher, execution=execution)
    except (InputError, NumericalError):
        return None
    if any(cell.failed for cell in fitted.cells):
        return None
    low, high = (cell.number("log_likelihood") for cell in fitted.cells)
    return 2 * (high - low)


class _Within(Watcher):
    """Watcher of a small grid that passes its fits on to another, with their purpose."""

    def __init__(self, other: Watcher, purpose: str):
        self.listener = other.listener
        self._other, self._purpose = other, purpose

    def begins(self, family: str, components: int, purpose: str) -> None:
        """Called before every fit."""
        self._other.begins(family, components, self._purpose)
