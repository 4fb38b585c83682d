"""`Bootstrap`: standard errors of a mixture's parameters, and the likelihood-ratio test of K against K + 1.

McLachlan, "On bootstrapping the likelihood ratio test statistic for the number of components in a normal mixture",
Applied Statistics 36 (1987).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.choosing.grid import grid_task
from gmmcli.choosing.options import GridOptions
from gmmcli.choosing.watcher import Watcher
from gmmcli.errors import InputError, NumericalError, Option, Remedy
from gmmcli.fitting.fit import fit_task
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

    stds are the square roots of the covariances' diagonals. replicates: number of refits that succeeded.
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


@dataclass(frozen=True)
class Bootstrap:
    """The bootstrap of a fit with `replicates` replicates.

    model: the fit, with these options, to these blocks.
    """

    blocks: Iterable[Block]
    model: GaussianMixture
    options: FitOptions
    replicates: int
    watcher: Watcher
    execution: Execution = HERE

    def standard_errors(self) -> Task[StandardErrors]:
        """Standard errors by refits to resampled rows. Each starts from the model: components keep their numbers.

        Raises NumericalError if fewer than two refits succeed.
        """
        options = replace(self.options, init="given", restarts=None, on_collapse="error")
        refits: list[tuple[Tensor, Tensor, Tensor]] = []
        for replicate in range(self.replicates):
            purpose = f"resample {replicate + 1} of {self.replicates}"
            self.watcher.begins(options.family, options.components, purpose)
            try:
                result = yield from fit_task(
                    Resampled(self.blocks, options.seed, replicate),
                    options,
                    columns=self.model.columns,
                    start=self.model,
                    listener=self.watcher.listener,
                    execution=self.execution,
                )
            except (InputError, NumericalError):
                continue
            fitted, order = result.model, torch.tensor(result.order).argsort()
            stds = fitted.covariances.diagonal(dim1=1, dim2=2).sqrt()
            weights, means, stds = (t.detach()[order] for t in (fitted.weights, fitted.means, stds))
            refits.append((weights, means, stds))
        if len(refits) < 2:
            problem, given = f"{len(refits)} of the refits succeeded", Option("bootstrap", self.replicates)
            raise NumericalError(problem, subject=given, remedy=Remedy("lower", "components"))
        weights, means, stds = (torch.stack(tensors).std(0).tolist() for tensors in zip(*refits, strict=True))
        return StandardErrors(len(refits), weights, means, stds)

    def ratio_test(self) -> Task[RatioTest]:
        """The test by parametric bootstrap: B samples drawn from the fit of K, to which K and K + 1 are fitted.

        The blocks have complete rows of weight 1. Data and samples are fitted as a grid, so that no statistic is
        below 0. Raises NumericalError if K + 1 components cannot be fitted to the data.
        """
        components = self.options.components
        statistic = yield from self._statistic(self.blocks, "for the likelihood-ratio test")
        if statistic is None:
            problem = f"{components + 1} components cannot be fitted, to test against"
            raise NumericalError(problem, subject=Option("bootstrap", self.replicates))
        of_samples: list[float] = []
        for replicate in range(self.replicates):
            sample = Drawn(self.blocks, self.model, self.options.seed, replicate)
            drawn = yield from self._statistic(sample, f"drawn sample {replicate + 1} of {self.replicates}")
            if drawn is not None:
                of_samples.append(drawn)
        beyond = sum(drawn >= statistic for drawn in of_samples)
        return RatioTest(components, statistic, (1 + beyond) / (1 + len(of_samples)), len(of_samples))

    def _statistic(self, blocks: Iterable[Block], purpose: str) -> Task[float | None]:
        """2 (log L of K + 1 − log L of K), nats; None if one of them cannot be fitted."""
        options, watcher = self.options, _Within(self.watcher, purpose)
        pair = GridOptions([options.components, options.components + 1], [options.family], variance=options.variance)
        try:
            grid = yield from grid_task(
                blocks, options, pair, columns=self.model.columns, watcher=watcher, execution=self.execution
            )
        except (InputError, NumericalError):
            return None
        if any(cell.failed for cell in grid.cells):
            return None
        low, high = (cell.number("log_likelihood") for cell in grid.cells)
        return 2 * (high - low)


class _Within(Watcher):
    """Watcher of a small grid that passes its fits on to another, with their purpose."""

    def __init__(self, other: Watcher, purpose: str):
        self.listener = other.listener
        self._other, self._purpose = other, purpose

    def begins(self, family: str, components: int, purpose: str) -> None:
        """Called before every fit."""
        self._other.begins(family, components, self._purpose)
