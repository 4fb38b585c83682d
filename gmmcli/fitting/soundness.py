"""Which of several fits to keep: sound ones before unsound ones, then by log-likelihood.

The likelihood of a mixture is unbounded: a component that falls on a few rows can beat every sensible fit. A fit
is unsound when a component has a variance at the floor, holds too few rows to have the covariance that it has,
or is flatter against the widest than EIGENVALUE_RATIO, or than FLAT_ON_FEW where it holds few rows: among many rows
there are always some that lie nearly in a plane, and what is gained by giving them a component is no finding. Under
a prior a covariance needs no rows of its own, and only a component without a whole row, or at the floor, is a flaw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.loop import Run
from gmmcli.fitting.stopping import LEFT_BEHIND

EIGENVALUE_RATIO = 1e-8  # of the smallest eigenvalue of any component to the largest, in the fit's coordinates
FLAT_ON_FEW = 1e-4  # the same, of a component on FEW times the rows that its covariance needs for full rank
FEW = 5
ROUNDING = 1e-6  # share of a component's rows by which their sum may be off: one that holds a whole row is held by it
REMEDY = "lower --components or choose a simpler --family"
AT_FLOOR = 1 + 1e-6  # an eigenvalue up to this factor above the floor counts as held by it


@dataclass(frozen=True)
class Flaw:
    """Why a mixture is not to be trusted. component: the one at fault, None where all share the fault.

    kind: what such flaws of several mixtures have in common.
    """

    kind: str
    component: int | None
    reason: str  # a phrase that names the component
    remedy: str = f"{REMEDY}, or use --prior"


def find_flaw(family: Family, p: Parameters, floor: float, rows: int, prior: bool) -> Flaw | None:
    """The first flaw of a mixture, or None when it is sound.

    p: in the coordinates of the fit, where a variance of 1 is that of the data; rows: number of rows fitted; prior:
    whether covariances have one.
    """
    smallest, largest = family.eigenvalue_range(p.scale, p.dims)
    own_rows = p.weights * rows
    needed = 1 if family.shared or prior else family.rank_rows(p.dims)
    k = int(own_rows.argmin())
    if float(own_rows[k]) < needed * (1 - ROUNDING):
        reason = f"component {k} has {_rows(own_rows[k])} of weight, fewer than {needed}"
        return Flaw("few rows", k, reason, REMEDY if prior or family.shared else Flaw.remedy)
    if family.learned:
        k = int(smallest.argmin())
        who, component = ("the shared covariance", None) if family.shared else (f"component {k}", k)
        if floor > 0 and float(smallest[k]) <= floor * AT_FLOOR:
            narrow = f"{REMEDY}; where so narrow a component is real, lower --variance-floor"
            return Flaw("at the floor", component, f"{who} has a variance at the floor", narrow)
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
    """Places of the runs that did not fail, the best first; one that was left behind comes after those that ended."""
    alive = [i for i, run in enumerate(runs) if run.failure is None]

    def key(i: int) -> tuple[bool, bool, float, int]:
        return runs[i].stop is LEFT_BEHIND, flaws[i] is not None, -runs[i].state.log_likelihood, i

    return sorted(alive, key=key)


def heaviest_first(p: Parameters) -> Tensor:
    """Order (K,) of the components by weight; ties by the first coordinate of the mean that differs."""
    keys = [(-w, *mean) for w, mean in zip(p.weights.tolist(), p.means.tolist(), strict=True)]
    return torch.tensor(sorted(range(p.components), key=keys.__getitem__))
