"""Soundness of fits: flaws and their mending, rank, and the findings that a user should know before trusting a fit.

- `find_flaw`: the reason not to trust a mixture. `rank`: sound fits before unsound ones, then by log-likelihood.
- `reset`, `without`: mend a mixture with a collapsed component.
- `findings`: facts about the mixture and the data, each with its remedies.

The likelihood of a mixture is unbounded: a component that falls on a few rows can beat every sensible fit. A fit is
unsound if a component has a variance at the floor, or too few rows for its covariance, or is nearly flat. Flat means
an eigenvalue below EIGENVALUE_RATIO times the largest of all components, or below FLAT_ON_FEW times it if the
component has few rows: among many rows some always lie nearly in a plane, and a component for them is no discovery.
Under a prior a covariance needs no rows of its own, and only a component without a whole row, or at the floor, is a
flaw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.errors import Notice, Remedy
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.loop import Run
from gmmcli.fitting.stopping import LEFT_BEHIND
from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.prepared_densities import log_joint_of_rows
from gmmcli.passes.coordinates import LEAVE_OUT
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.execution import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Task, read
from gmmcli.passes.survey import Survey
from gmmcli.storage.names import listing

EIGENVALUE_RATIO = 1e-8  # smallest eigenvalue of any component over the largest, in the coordinates of the fit
FLAT_ON_FEW = 1e-4  # the ratio for a component on fewer than FEW times the rows that full rank needs
FEW = 5
ROUNDING = 1e-6  # relative rounding of a component's number of rows
AT_FLOOR = 1 + 1e-6  # an eigenvalue up to this factor above the floor counts as held by it
COLLINEAR = 1e-9  # an eigenvalue of the correlation matrix below this is a linear relation between columns
TAKES_PART = 0.01  # least coefficient of a column in such a relation, between standardised columns
MOST_CANDIDATES = 10_000  # rows that a collapsed component may be moved to
SAME = 1e-4  # standard deviations: components whose means and widths differ by less are the same
SIMPLER = (Remedy("lower", "components"), Remedy("choose a simpler", "family"))
UNSOUND = "this fit is not to be trusted"
LEAVE_SOME_OUT = Remedy("leave some out with", "exclude")


@dataclass(frozen=True)
class Flaw:
    """A reason not to trust a mixture. component: the component at fault; None if all are.

    kind: a name for flaws that differ in their numbers only. reason: a phrase that names the component.
    """

    kind: str
    component: int | None
    reason: str
    remedies: tuple[Remedy, ...] = (*SIMPLER, Remedy("use", "prior"))


def find_flaw(family: Family, p: Parameters, floor: float, rows: int, prior: bool) -> Flaw | None:
    """The first flaw of a mixture, or None if it is sound.

    p: in the coordinates of the fit, where the data has variance 1; rows: number of rows fitted; prior:
    whether covariances have one.
    """
    smallest, largest = family.eigenvalue_range(p.scale, p.dims)
    own_rows = p.weights * rows
    needed = 1 if family.shared or prior else family.rank_rows(p.dims)
    k = int(own_rows.argmin())
    if float(own_rows[k]) < needed * (1 - ROUNDING):
        reason = f"component {k} has {_rows(own_rows[k])} of weight, fewer than {needed}"
        return Flaw("few rows", k, reason, SIMPLER if prior or family.shared else Flaw.remedies)
    if family.learned:
        k = int(smallest.argmin())
        who, component = ("the shared covariance", None) if family.shared else (f"component {k}", k)
        if floor > 0 and float(smallest[k]) <= floor * AT_FLOOR:
            real = Remedy("lower", "variance_floor", purpose="if so narrow a component is real")
            return Flaw("at the floor", component, f"{who} has a variance at the floor", (*SIMPLER, real))
        if prior:
            return None
        ratios = smallest / largest.max()
        if float(ratios[k]) < EIGENVALUE_RATIO:
            return Flaw("flat", component, f"{who} is nearly flat: eigenvalue ratio {float(ratios[k]):.1e}")
        if not family.shared:
            few = own_rows < FEW * needed
            k = int(torch.where(few, ratios, 1.0).argmin())
            if bool(few[k]) and float(ratios[k]) < FLAT_ON_FEW:
                on = f"on {_rows(own_rows[k])} of weight"
                reason = f"component {k} is nearly flat {on}: eigenvalue ratio {float(ratios[k]):.1e}"
                return Flaw("flat on few rows", k, reason)
    return None


def _rows(weight: Tensor) -> str:
    shown = f"{float(weight):.3g}"
    return f"{shown} row" if shown == "1" else f"{shown} rows"


def rank(flaws: Mapping[Run, Flaw | None]) -> list[Run]:
    """The runs that did not fail, best first. Runs that were left behind come after runs that ended."""

    def key(run: Run) -> tuple[bool, bool, float]:
        return run.stop == LEFT_BEHIND, flaws[run] is not None, -run.state.log_likelihood

    return sorted((run for run in flaws if run.failure is None), key=key)


def heaviest_first(p: Parameters) -> Tensor:
    """Order (K,) of the components by weight; ties by the first coordinate of the mean that differs."""
    keys = [(-w, *mean) for w, mean in zip(p.weights.tolist(), p.means.tolist(), strict=True)]
    return torch.tensor(sorted(range(p.components), key=keys.__getitem__))


def reset(data: PreparedData, family: Family, p: Parameters, component: int, seed: int, key: str) -> Task[Parameters]:
    """The mixture with a collapsed component moved to a row of low density. Takes a reading of the data.

    The component gets the mean covariance of the others: rows far from every component show where one is missing. The
    row is drawn among the worst explained ones, so that a single outlier does not attract every component.
    """
    share = 1 / p.components
    count = min(MOST_CANDIDATES, max(family.rank_rows(p.dims), math.ceil(share * data.summary.rows / 2)))
    z, rows = yield from read(data.reading(lambda: WorstRows(data, family, p, count)))
    means = p.means.clone()
    means[component] = z[row_uniforms(seed, key, rows).argmin()]
    weights = p.weights.clone()
    weights[component] = 0
    if float(weights.sum()) <= 0:  # a background has taken all rows of the others
        weights = torch.ones_like(weights)
        weights[component] = 0
    weights = weights / weights.sum()
    covariances = family.covariances(p.scale, p.dims).expand(p.components, -1, -1).clone()
    covariances[component] = (weights[:, None, None] * covariances).sum(0)
    weights = (1 - share) * weights
    weights[component] = share
    scale = family.from_moments(weights, means, covariances).scale if family.learned else p.scale
    background = None if p.background is None else p.background.clamp_max(1 - share)
    return Parameters(weights, means, scale).beside(background)


def without(p: Parameters, component: int) -> Parameters:
    """The mixture of the other components."""
    rest = p.order(torch.tensor([k for k in range(p.components) if k != component]))
    return rest.beside(p.background)


class WorstRows:
    """Fold: the `count` rows of least density and their numbers, (count, D) and (count,); ties by number.

    Rows are in the coordinates of the fit. A row with missing cells has the density of its observed cells; a missing
    cell is 0, the mean of its column.
    """

    def __init__(self, data: PreparedData, family: Family, p: Parameters, count: int) -> None:
        self._log_joint = log_joint_of_rows(data, family, replace(p, background=None), exact=True)
        self._dims, self._count = data.dims, count
        none = torch.empty(0, dtype=torch.float64)
        self._worst: _Explained = none, torch.empty(0, data.dims, dtype=torch.float64), none.long()

    def add(self, block: LateBlock | PreparedBlock) -> None:
        """Takes in a block."""
        self._worst = _least([self._worst, *map(self._explained, block.laid_out().split(1 << 15))], self._count)

    def _explained(self, block: PreparedBlock) -> _Explained:
        z = block.z[1 : 1 + self._dims].to("cpu", torch.float64)
        densities = self._log_joint(block.z).logsumexp(0).cpu()
        if block.weights is not None:
            densities = densities.masked_fill(block.weights.to("cpu") <= 0, math.inf)
        return densities, z.mT, block.rows.cpu()

    def merge(self, other: WorstRows) -> None:
        """Takes in the rows of another fold."""
        self._worst = _least([self._worst, other._worst], self._count)

    def result(self, group: Group) -> tuple[Tensor, Tensor]:
        """The rows of all processes, least density first, and their numbers."""
        densities, z, rows = (group.joined(part) for part in self._worst)
        _, z, rows = _least([(densities, z, rows)], self._count)
        return z, rows


_Explained = tuple[Tensor, Tensor, Tensor]  # log densities (B,), rows (B, D) and their numbers (B,)


def _least(parts: Sequence[_Explained], count: int) -> _Explained:
    """The `count` rows of least density, in order; ties by number."""
    densities, z, rows = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    by_number = rows.argsort()
    first = by_number[densities[by_number].argsort(stable=True)[:count]]
    return densities[first], z[first], rows[first]


def findings(model: GaussianMixture, survey: Survey, names: Sequence[str], flaw: Flaw | None) -> list[Notice]:
    """Findings about the mixture and the data. Convergence is not among them: the stop reason reports it.

    flaw: the reason not to trust the fit, or None.
    """
    found = []
    related = collinear_columns(survey.covariance, names) if survey.rows > model.dims else []
    if flaw is not None and related:
        reason = f"{flaw.reason}: the columns {listing(related)} may be collinear"
        found.append(Notice(reason, UNSOUND, (LEAVE_SOME_OUT,)))
    elif flaw is not None:
        found.append(Notice(flaw.reason, UNSOUND, flaw.remedies))
    elif related:
        found.append(Notice(f"the columns {listing(related)} are collinear", remedies=(LEAVE_SOME_OUT,)))
    if survey.constant:
        column = listing([names[d] for d in survey.constant])
        found.append(Notice(f"column {column} is constant", remedies=(LEAVE_OUT,)))
    if flaw is None:
        found += _few_rows(model.kind, model, survey.rows)
    return found + _same(model)


@torch.no_grad()
def _same(model: GaussianMixture) -> list[Notice]:
    """Components with the same means and widths."""
    std = model.covariances.diagonal(dim1=1, dim2=2).sqrt()
    for k in range(1, model.components):
        near = ((model.means[:k] - model.means[k]).abs() <= SAME * std[k]).all(1)
        near &= ((std[:k] - std[k]).abs() <= SAME * std[k]).all(1)
        if bool(near.any()):
            same = f"components {int(near.nonzero()[0])} and {k} are the same"
            return [Notice(same, remedies=(Remedy("lower", "components"),))]
    return []


def _few_rows(family: Family, model: GaussianMixture, rows: int) -> list[Notice]:
    """Components with no more rows than parameters of their own."""
    one, two = (family.parameter_count(components, model.dims) for components in (1, 2))
    own = two - one - 1  # without the weight
    counts = (model.weights.detach() * rows).tolist()
    few = [(k, count) for k, count in enumerate(counts) if count < own + 0.5]
    if not few:
        return []
    listed = ", ".join(f"{k} ({count:.3g})" for k, count in few[:5]) + (", …" if len(few) > 5 else "")
    parameters = "1 parameter" if own == 1 else f"{own} parameters"
    problem = f"no more rows than the {parameters} that a component has of its own: component {listed}"
    return [Notice(problem, remedies=Flaw.remedies)]


def collinear_columns(
    covariance: Tensor,  # (D, D)
    names: Sequence[str],
) -> list[str]:
    """The columns that take part in a linear relation which holds, nearly, in all rows."""
    std = covariance.diagonal().sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    values, vectors = torch.linalg.eigh((covariance / (std[:, None] * std)).fill_diagonal_(1))
    related = vectors[:, values < COLLINEAR].abs().amax(1) if bool((values < COLLINEAR).any()) else 0 * std
    return [name for name, share in zip(names, related.tolist(), strict=True) if share > TAKES_PART]
