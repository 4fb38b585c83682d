"""What the prior does on few rows: `python -m tests.benchmarks.prior`.

Mixtures of which 5 D rows are seen, fitted with the prior and with the floor alone from the same starts, and judged
by the log-likelihood of rows that were not seen.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import gmmcli
from gmmcli.synthetic import random_mixture
from tests.benchmarks.problems import draw
from tests.benchmarks.report import Table, add_options, describe, machine, publish

TITLE = "The prior on few rows"
SEEN = 5  # times the columns
UNSEEN = 2000
FAMILIES = ("full", "diagonal", "isotropic", "tied")


@dataclass(frozen=True)
class Comparison:
    """Log-likelihoods per row of rows not seen, nats."""

    seed: int
    family: str
    prior: float
    floor: float


def compare(seed: int) -> Comparison:
    """One problem: 2 to 4 components in 2 to 6 columns, of a family by turns."""
    g = torch.Generator().manual_seed(seed)
    components, dims = (int(torch.randint(low, high, (1,), generator=g)) for low, high in ((2, 5), (2, 7)))
    family = FAMILIES[seed % len(FAMILIES)]
    truth = random_mixture(components=components, dims=dims, family=family, radius=4.0, seed=seed)
    rows = draw(truth, SEEN * dims + UNSEEN, seed)
    seen, unseen = rows[: SEEN * dims], rows[SEEN * dims :]
    levels = [
        float(
            gmmcli.fit(seen, components, family, prior=prior, seed=seed, threads=1)
            .model.log_prob(unseen)
            .detach()
            .mean()
        )
        for prior in (True, False)
    ]
    return Comparison(seed, family, *levels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares as many as the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.prior", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--problems", type=int, default=200, help="default: %(default)s")
    add_options(parser)
    options = parser.parse_args(arguments)
    found = [compare(seed) for seed in range(options.problems)]
    rows = []
    for family in (*FAMILIES, "all"):
        some = [c for c in found if family in (c.family, "all")]
        better = sum(c.prior > c.floor for c in some)
        gain = statistics.median(c.prior - c.floor for c in some) if some else 0.0
        rows.append([family, str(len(some)), f"{better / max(1, len(some)):.0%}", f"{gain:.3g}"])
    table = Table(["family", "problems", "prior is better", "median gain, nats per row"], rows)
    about = machine()
    text = f"On {SEEN} D rows seen, by the log-likelihood of {UNSEEN:,} others; both from {10} starts."
    publish(options, TITLE, [describe(about), table.markdown(), text], [vars(c) for c in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
