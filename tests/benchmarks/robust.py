"""A thousand hard little problems: `python -m tests.benchmarks.robust`.

Up to 12 components in up to 8 columns on K to 2000 rows, in every family, by EM and by gradient descent, with rows
repeated, cells rounded, and columns that are others' multiples, nearly or exactly. Every fit must end in a mixture
without NaN; EM's log-likelihood must not fall but where a component begins again. How many fits met the floor, or
began a component again, is printed.

Exits with 1 when one does not.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

import gmmcli
from gmmcli.errors import InputError
from gmmcli.families import FAMILIES, given_variance
from tests.benchmarks.report import Table, add_options, describe, machine, progress, publish

TITLE = "A thousand hard little problems"
FALL = 1e-9  # of the log-likelihood per row, relative: more than rounding


@dataclass(frozen=True)
class Problem:
    """x: (N, D) rows; options: of the fit."""

    seed: int
    x: Tensor
    options: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a problem.

    ended: converged, stopped, refused, or what was raised; floor: whether a variance is at the floor; resets: of
    components that began again; fall: the deepest of the log-likelihood per row, relative; trouble: None when all is
    well.
    """

    seed: int
    family: str
    method: str
    ended: str
    floor: bool = False
    resets: int = 0
    unsound: bool = False
    fall: float = 0.0
    trouble: str | None = None


def make(seed: int) -> Problem:
    """The problem of a seed."""
    draw = torch.Generator().manual_seed(seed)

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=draw))

    def chance(share: float) -> bool:
        return float(torch.rand(1, generator=draw)) < share

    components, dims = integer(1, 12), integer(1, 8)
    rows = round(components * (2000 / components) ** float(torch.rand(1, generator=draw)))
    centres = 3 * torch.randn(components, dims, generator=draw, dtype=torch.float64)
    spread = torch.rand(components, dims, generator=draw, dtype=torch.float64) + 0.05
    own = torch.randint(components, (rows,), generator=draw)
    x = centres[own] + spread[own] * torch.randn(rows, dims, generator=draw, dtype=torch.float64)
    if chance(0.3):  # rows repeated
        x = x[torch.randint(rows, (rows,), generator=draw)]
    if chance(0.2):
        x = (x * 2).round()
    if dims > 1 and chance(0.3):  # a column that is another's multiple, nearly or exactly
        noise = float(10.0 ** -integer(2, 18))
        x[:, -1] = 3 * x[:, 0] + noise * torch.randn(rows, generator=draw, dtype=torch.float64)
    if chance(0.2):
        x = x * 10.0 ** integer(-8, 8) + 10.0 ** integer(0, 6)
    family = list(FAMILIES)[seed % len(FAMILIES)]
    method = "gradient" if seed // len(FAMILIES) % 2 else "em"
    options: dict[str, Any] = {"components": components, "family": family, "method": method, "seed": seed}
    options |= {"restarts": 2, "iterations": 150, "threads": 1}
    if family in given_variance():
        options["variance"] = float(x.var(0, correction=0).mean()) / components or 1.0
    return Problem(seed, x, options)


def solve(problem: Problem) -> Outcome:
    """Fits, and looks at what came of it."""
    who = problem.seed, str(problem.options["family"]), str(problem.options["method"])
    try:
        result = gmmcli.fit(problem.x, **problem.options)
    except InputError as refusal:
        return Outcome(*who, "refused", trouble=None if _may_be_refused(problem) else f"refused: {refusal}")
    except Exception as error:  # that is what is looked for
        return Outcome(*who, type(error).__name__, trouble=f"{type(error).__name__}: {error}")
    kept = result.restarts[result.restart]
    levels = [record.log_likelihood for record in result.history]
    fall = max([(a - b) / max(1.0, abs(a)) for a, b in pairwise(levels)], default=0.0)
    model = result.model
    numbers = torch.cat([model.weights, model.means.flatten(), model.covariances.flatten()])
    trouble = None
    if not (math.isfinite(result.log_likelihood) and bool(numbers.isfinite().all())):
        trouble = "the mixture is not finite"
    elif problem.options["method"] == "em" and not kept.resets and fall > FALL:
        trouble = f"the log-likelihood fell by {fall:.1e} of itself"
    elif not bool(model.log_prob(problem.x).isfinite().all()):
        trouble = "a row's density is not finite"
    return Outcome(
        *who,
        "converged" if result.converged else "stopped",
        floor="floor" in (result.unsound or ""),
        resets=len(kept.resets),
        unsound=result.unsound is not None,
        fall=fall,
        trouble=trouble,
    )


def _may_be_refused(problem: Problem) -> bool:
    """Whether there are too few different rows, or a column is constant."""
    x = problem.x
    return len(x.unique(dim=0)) < problem.options["components"] or bool((x.amax(0) == x.amin(0)).any())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs as many as the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.robust", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--problems", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes; default: %(default)s")
    add_options(parser)
    options = parser.parse_args(arguments)
    about = machine()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        outcomes = []
        for outcome in pool.map(_solve_seed, range(options.problems), chunksize=10):
            outcomes.append(outcome)
            if outcome.trouble:
                progress(f"seed {outcome.seed}, {outcome.family}, {outcome.method}: {outcome.trouble}")
    publish(options, TITLE, [describe(about), _table(outcomes).markdown()], [vars(outcome) for outcome in outcomes])
    return int(any(outcome.trouble for outcome in outcomes))


def _solve_seed(seed: int) -> Outcome:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return solve(make(seed))


def _table(outcomes: Sequence[Outcome]) -> Table:
    rows = []
    for method in ("em", "gradient"):
        for family in FAMILIES:
            some = [o for o in outcomes if (o.family, o.method) == (family, method)]
            ended = [sum(o.ended == how for o in some) for how in ("converged", "stopped", "refused")]
            counts = [sum(o.floor for o in some), sum(o.resets > 0 for o in some), sum(o.unsound for o in some)]
            rows.append([method, family, len(some), *ended, *counts, sum(o.trouble is not None for o in some)])
    rows.append(["all", "", *(sum(row[i] for row in rows) for i in range(2, len(rows[0])))])
    header = [
        "method", "family", "problems", "converged", "stopped", "refused", "at the floor", "began again", "unsound",
        "trouble",
    ]  # fmt: skip
    return Table(header, [[str(cell) for cell in row] for row in rows])


if __name__ == "__main__":
    sys.exit(main())
