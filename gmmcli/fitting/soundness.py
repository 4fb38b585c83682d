"""Soundness of fits, and their rank: sound fits before unsound ones, then by log-likelihood.

The likelihood of a mixture is unbounded: a component that falls on a few rows can beat every sensible fit. A fit is
unsound if a component has a variance at the floor, or too few rows for its covariance, or is nearly flat. Flat means
an eigenvalue below EIGENVALUE_RATIO times the largest of all components, or below FLAT_ON_FEW times it if the
component has few rows: among many rows some always lie nearly in a plane, and a component for them is no discovery.
Under a prior a covariance needs no rows of its own, and only a component without a whole row, or at the floor, is a
flaw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.errors import Remedy
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.loop import Run
from gmmcli.fitting.stopping import LEFT_BEHIND

EIGENVALUE_RATIO = 1e-8  # smallest eigenvalue of any component over the largest, in the coordinates of the fit
FLAT_ON_FEW = 1e-4  # the same for a component on fewer than FEW times the rows that full rank needs
FEW = 5
ROUNDING = 1e-6  # relative rounding of a component's number of rows
SIMPLER = (Remedy("lower", "components"), Remedy("choose a simpler", "family"))
AT_FLOOR = 1 + 1e-6  # an eigenvalue up to this factor above the floor counts as held by it


@dataclass(frozen=True)
class Flaw:
    """A reason not to trust a mixture. component: the one at fault; None if all share the fault.

    kind: a name for flaws that differ in their numbers only. reason: a phrase that names the component.
    """

    kind: str
    component: int | None
    reason: str
    remedies: tuple[Remedy, ...] = (*SIMPLER, Remedy("use", "prior"))


def find_flaw(family: Family, p: Parameters, floor: float, rows: int, prior: bool) -> Flaw | None:
    """The first flaw of a mixture, or None if it is sound.

    p: in the coordinates of the fit, where a variance of 1 is that of the data; rows: number of rows fitted; prior:
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


def rank(runs: Sequence[Run], flaws: Sequence[Flaw | None]) -> list[int]:
    """Indices of the runs that did not fail, best first. Runs that were left behind come after those that ended."""
    alive = [i for i, run in enumerate(runs) if run.failure is None]

    def key(i: int) -> tuple[bool, bool, float, int]:
        return runs[i].stop == LEFT_BEHIND, flaws[i] is not None, -runs[i].state.log_likelihood, i

    return sorted(alive, key=key)


def heaviest_first(p: Parameters) -> Tensor:
    """Order (K,) of the components by weight; ties by the first coordinate of the mean that differs."""
    keys = [(-w, *mean) for w, mean in zip(p.weights.tolist(), p.means.tolist(), strict=True)]
    return torch.tensor(sorted(range(p.components), key=keys.__getitem__))
