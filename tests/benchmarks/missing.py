"""What the EM for missing cells is worth: `python -m tests.benchmarks.missing`.

Of the penguins' complete rows half are held out, 20 % of the cells of the others are removed at random, and three
fits of K = 3 are judged by the log-likelihood of the rows held out: by EM for missing cells, to the rows left
complete, and with each missing cell at its column's mean. All three at the maximum of the likelihood, which on so few
rows may be a poor one, and all three under the prior.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import gmmcli
from tests.benchmarks.report import Table, add_options, describe, machine, publish

TITLE = "Missing cells"
COMPONENTS = 3
REMOVED = 0.2  # of the cells


def compare(family: str, seed: int, prior: bool) -> tuple[float, float, float]:
    """Held-out log-likelihoods, nats per row: EM, rows with missing cells dropped, and cells filled with means."""
    seen, unseen = _split(seed)
    filled = torch.where(seen.isnan(), seen.nanmean(0), seen)
    fits = [
        gmmcli.fit(rows, COMPONENTS, family, missing=missing, prior=prior, seed=seed, threads=1)
        for rows, missing in ((seen, "em"), (seen, "drop"), (filled, "error"))
    ]
    for step, after in pairwise(fits[0].history):
        assert prior or after.log_likelihood >= step.log_likelihood - 1e-12, "the log-likelihood fell"
    em, dropped, means = (float(fit.model.score(unseen)) for fit in fits)
    return em, dropped, means


def _split(seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit, with cells removed, and rows held out."""
    draw = np.random.default_rng(seed)
    table = pd.read_csv(Path(__file__).parents[2] / "sample_data" / "penguins.csv")
    complete = table.select_dtypes("float").dropna().to_numpy()
    rows = torch.from_numpy(complete[draw.permutation(len(complete))])
    half = len(rows) // 2
    seen = rows[:half].clone()
    seen[torch.from_numpy(draw.random(seen.shape) < REMOVED)] = torch.nan
    return seen, rows[half:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares as many as the command line asks for; 1 where EM does not win nine times of ten."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.missing", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=20, help="default: %(default)s")
    add_options(parser)
    options = parser.parse_args(arguments)
    rows, measured, enough = [], {}, True
    for family, prior in product(("full", "diagonal"), (False, True)):
        found = [compare(family, seed, prior) for seed in range(options.seeds)]
        wins = sum(em > max(dropped, means) for em, dropped, means in found)
        enough &= wins >= 0.9 * options.seeds
        over = [float(np.median([row[0] - row[i] for row in found])) for i in (1, 2)]
        fitted = "posterior" if prior else "likelihood"
        rows.append([family, fitted, str(len(found)), str(wins), *(f"{gain:.3f}" for gain in over)])
        measured[f"{family}, {fitted}"] = found
    table = Table(
        ["family", "at the maximum of", "seeds", "beats both", "gain over dropping", "gain over means"], rows
    )
    text = "Median gains in nats per row of the rows held out."
    publish(options, TITLE, [describe(machine()), table.markdown(), text], measured)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
