"""What the prior does on few rows: `python -m tests.benchmarks.prior`.

Mixtures of 2 to 12 components in 1 to 8 columns, as `gmm generate` makes them, of which 5 D rows are seen and at
least two for each component. Fitted with the prior and with the floor alone from the same starts, and judged by the
log-likelihood of rows that were not seen. A covariance shared by all components has rows enough, and there the mode
of the posterior, narrower than its mean, may cost a little.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import gmmcli
from gmmcli.families import FAMILIES as ALL_FAMILIES
from gmmcli.families import given_variance
from gmmcli.model.synthetic import random_mixture
from tests.benchmarks.problems import draw
from tests.benchmarks.report import Table, add_options, describe, machine, publish

TITLE = "The prior on few rows"
SEEN = 5  # times the columns
UNSEEN = 2000
MOST_COMPONENTS, MOST_COLUMNS = 12, 8
FAMILIES = tuple(name for name in ALL_FAMILIES if name not in given_variance())
ENOUGH = 5  # rows for a component, where the table is split


@dataclass(frozen=True)
class Comparison:
    """Log-likelihoods per row of rows not seen, nats."""

    seed: int
    family: str
    components: int
    rows: int
    prior: float
    floor: float

    @property
    def gain(self) -> float:
        """Of the prior."""
        return self.prior - self.floor


def compare(seed: int) -> Comparison:
    """One problem, of a family by turns."""
    g = torch.Generator().manual_seed(seed)
    dims = int(torch.randint(1, MOST_COLUMNS + 1, (1,), generator=g))
    count = SEEN * dims
    components = int(torch.randint(2, min(MOST_COMPONENTS, count // 2) + 1, (1,), generator=g))
    family = FAMILIES[seed % len(FAMILIES)]
    truth = random_mixture(components=components, dims=dims, family=family, seed=seed)
    rows = draw(truth, count + UNSEEN, seed)
    seen, unseen = rows[:count], rows[count:]
    levels = [
        float(
            gmmcli.fit(seen, components, family, prior=prior, seed=seed, threads=1)
            .model.log_prob(unseen)
            .detach()
            .mean()
        )
        for prior in (True, False)
    ]
    return Comparison(seed, family, components, count, *levels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares as many as the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.prior", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--problems", type=int, default=200, help="default: %(default)s")
    add_options(parser)
    options = parser.parse_args(arguments)
    found = [compare(seed) for seed in range(options.problems)]
    rows = [_row(family, [c for c in found if c.family == family]) for family in FAMILIES]
    few = [c for c in found if c.rows < ENOUGH * c.components]
    rows.append(_row(f"under {ENOUGH} rows a component", few))
    rows.append(_row(f"{ENOUGH} or more", [c for c in found if c not in few]))
    rows.append(_row("all", found))
    table = Table(["problems of", "number", "prior is better", "median gain, nats per row"], rows)
    about = machine()
    text = f"On {SEEN} D rows seen, by the log-likelihood of {UNSEEN:,} others; both from {10} starts."
    publish(options, TITLE, [describe(about), table.markdown(), text], [vars(c) for c in found])
    return 0


def _row(what: str, some: Sequence[Comparison]) -> list[str]:
    better = sum(c.gain > 0 for c in some)
    gain = statistics.median(c.gain for c in some) if some else 0.0
    return [what, str(len(some)), f"{better / max(1, len(some)):.0%}", f"{gain:.3g}"]


if __name__ == "__main__":
    sys.exit(main())
