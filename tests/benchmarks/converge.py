"""Passes and seconds to the optimum, against plain EM and scikit-learn: `python -m tests.benchmarks.converge`.

On overlapping mixtures, where EM is slow, and on separated ones, where it is fast: several problems of each kind,
drawn at random and not picked, everybody from the same start. The best log-likelihood that anybody reaches in a
problem is its best known optimum. All passes are counted: those that gmm rejects, and the two readings of its survey
and preparation.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from gmmcli import GaussianMixture, fit
from gmmcli.fitting.loop import Run
from gmmcli.model.synthetic import random_mixture
from tests.benchmarks.peers import PEERS, PLAIN_EM, Unable
from tests.benchmarks.problems import draw, seeded_start
from tests.benchmarks.report import NOTHING, Table, add_options, describe, figure, machine, progress, publish

TITLE = "Convergence"
TARGETS = (1e-4, 1e-5, 1e-6)  # nats per row below the best known optimum
RATIO_TARGET = 1e-5  # nats per row below the optimum, at which plain EM and gmm are compared
SAME = 1e-9  # nats per row by which a log-likelihood may be lower and still be the same
READINGS = 2  # of the data by gmm before its first pass
MOST_PASSES = 3000
TIGHT = 1e-8  # so little remains that the best known optimum is exact to a hundredth of the last target


@dataclass(frozen=True)
class Kind:
    """A kind of problem, full covariances. radius, separation: of the means, as random_mixture takes them."""

    name: str
    dims: int
    components: int
    radius: float
    separation: float | None


KINDS = {
    k.name: k
    for k in (
        Kind("overlapping-4", 4, 5, 1.2, None),
        Kind("overlapping-8", 8, 8, 1.2, None),
        Kind("separated-4", 4, 5, 5.0, 1.0),
        Kind("separated-8", 8, 8, 5.0, 1.0),
    )
}


@dataclass(frozen=True)
class Trace:
    """The course of a fit: the log-likelihood per row after so many passes and seconds, and all that it took.

    steps: (passes, seconds, log-likelihood). final: of the mixture that it ended with.
    """

    steps: list[tuple[int, float, float]]
    passes: int
    seconds: float
    final: float

    def reach(self, log_likelihood: float) -> tuple[int, float] | None:
        """Passes and seconds until it was first at least this high; None when it never was."""
        return next(((passes, seconds) for passes, seconds, value in self.steps if value >= log_likelihood), None)


Method = Callable[[Tensor, GaussianMixture], Trace]


def ours(**options: Any) -> Method:
    """gmm with these options."""

    def run(x: Tensor, start: GaussianMixture) -> Trace:
        steps: list[tuple[int, float, float]] = []
        begin = time.perf_counter()

        def listen(run: Run, _: float) -> None:
            last = run.history[-1]
            if not steps or last.passes + READINGS > steps[-1][0]:
                steps.append((last.passes + READINGS, time.perf_counter() - begin, last.log_likelihood))

        result = fit(x, init=start, iterations=MOST_PASSES, device="cpu", listener=listen, **options)
        seconds = time.perf_counter() - begin
        return Trace(steps, result.passes, seconds, result.log_likelihood / result.weight)

    return run


def scikit_learn(**options: Any) -> Method:
    """scikit-learn with these options, its own regularisation, and the passes that it takes at an even pace."""

    def run(x: Tensor, start: GaussianMixture) -> Trace:
        weights, means, covariances = (t.detach() for t in (start.weights, start.means, start.covariances))
        estimator = import_module("sklearn.mixture").GaussianMixture(
            len(weights),
            weights_init=weights.numpy(),
            means_init=means.numpy(),
            precisions_init=covariances.inverse().numpy(),
            **options,
        )
        array = x.numpy()
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            estimator.fit(array)
        seconds = time.perf_counter() - begin
        passes = estimator.n_iter_ + 1  # it closes with one for the labels
        bounds = [float(bound) for bound in estimator.lower_bounds_]  # each of the mixture before the M-step
        final = float(estimator.score(array))
        steps = [(i + 1, seconds * (i + 1) / passes, bound) for i, bound in enumerate([*bounds, final])]
        return Trace(steps, passes, seconds, final)

    return run


METHODS: dict[str, Method] = {
    "gmm": ours(),
    "gmm, tolerance 1e-8": ours(tolerance=TIGHT),
    "plain EM, tolerance 1e-8": ours(tolerance=TIGHT, **PLAIN_EM),
    "scikit-learn": scikit_learn(),
    "scikit-learn, tol=1e-6": scikit_learn(tol=1e-6, max_iter=MOST_PASSES),
}
GMM, PLAIN = "gmm, tolerance 1e-8", "plain EM, tolerance 1e-8"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for."""
    options = _parser().parse_args(arguments)
    about = machine()
    methods = _available(options.no_peers)
    _solve(KINDS["separated-4"], 0, methods, 1000)  # libraries are loaded and threads started by the first call
    traces = {
        name: [_solve(KINDS[name], seed, methods, options.rows) for seed in range(options.problems)]
        for name in options.kind
    }
    parts = [
        describe(about),
        _table(traces, methods).markdown(),
        _ratios(traces, methods).markdown(),
        _legend(options),
    ]
    measured = {
        "machine": about,
        "rows": options.rows,
        "traces": {
            name: [{m: asdict(t) for m, t in runs.items()} for runs in problems] for name, problems in traces.items()
        },
    }
    publish(options, TITLE, parts, measured)
    return 0


def _solve(kind: Kind, seed: int, methods: Sequence[str], rows: int) -> dict[str, Trace]:
    """One problem: the trace of everybody."""
    truth = random_mixture(
        components=kind.components, dims=kind.dims, radius=kind.radius, separation=kind.separation, seed=seed
    )
    x = draw(truth, rows, seed)
    start = seeded_start(x, kind.components, seed)
    runs: dict[str, Trace] = {}
    for method in methods:
        trace = runs[method] = METHODS[method](x, start)
        progress(f"{kind.name} {seed} {method}: {trace.passes} passes, {trace.seconds:.2f} s, {trace.final:.9f}")
    return runs


def _available(no_peers: bool) -> list[str]:
    names = list(METHODS)
    try:
        if not no_peers:
            PEERS["sklearn"].version()
            return names
    except Unable as reason:
        progress(f"left out: {reason}")
    return [name for name in names if not name.startswith("scikit-learn")]


def _best(runs: dict[str, Trace]) -> float:
    """The highest log-likelihood that anybody saw in this problem."""
    return max(max(trace.final, *(value for *_, value in trace.steps)) for trace in runs.values())


def _table(traces: dict[str, list[dict[str, Trace]]], methods: Sequence[str]) -> Table:
    rows = []
    for name, problems in traces.items():
        for method in methods:
            own = [runs[method] for runs in problems]
            reached = [[runs[method].reach(_best(runs) - target) for runs in problems] for target in TARGETS]
            rows.append((
                name if method == methods[0] else "",
                method,
                _median([trace.passes for trace in own]),
                _median([trace.seconds for trace in own]),
                f"{statistics.median(_best(runs) - runs[method].final for runs in problems):.0e}",
                *(_median([hit and hit[0] for hit in hits]) for hits in reached),
                *(_median([hit and hit[1] for hit in hits]) for hits in reached),
            ))  # fmt: skip
    targets = [f"to {target:.0e}" for target in TARGETS]
    header = (
        "kind",
        "who",
        "passes",
        "s",
        "short of best",
        *(f"passes {t}" for t in targets),
        *(f"s {t}" for t in targets),
    )
    return Table(header, rows)


def _ratios(traces: dict[str, list[dict[str, Trace]]], methods: Sequence[str]) -> Table:
    """What gmm saves, medians over the problems of ratios within a problem.

    gmm and plain EM may end in different optima: they are compared up to the lower of the two, which both reach.
    """
    peers = [method for method in methods if method.startswith("scikit-learn")]
    rows = []
    for name, problems in traces.items():
        ends = [runs[GMM].final - runs[PLAIN].final for runs in problems]
        levels = [min(runs[GMM].final, runs[PLAIN].final) - RATIO_TARGET for runs in problems]
        pairs = [(runs[PLAIN].reach(v), runs[GMM].reach(v)) for runs, v in zip(problems, levels, strict=True)]
        ratios = [[a[i] / b[i] if a and b else None for a, b in pairs] for i in (0, 1)]
        same = [[(runs[m], runs[GMM].reach(runs[m].final - SAME)) for runs in problems] for m in peers]
        rows.append((
            name,
            *map(_median, ratios),
            f"{sum(end > RATIO_TARGET for end in ends)} / {sum(end < -RATIO_TARGET for end in ends)}",
            *(_median([trace.seconds / hit[1] if hit else None for trace, hit in hits]) for hits in same),
        ))  # fmt: skip
    header = (
        "kind",
        "passes, plain EM / gmm",
        "time, plain EM / gmm",
        "gmm ends higher / lower",
        *(f"time, {m} / gmm" for m in peers),
    )
    return Table(header, rows)


def _median(values: Sequence[float | None]) -> str:
    """Of those there are, and how many these are where some are lacking."""
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    return figure(statistics.median(known)) + ("" if len(known) == len(values) else f" ({len(known)}/{len(values)})")


def _legend(options: argparse.Namespace) -> str:
    return (
        f"{options.rows:,} rows, full covariances; overlapping-4 and separated-4 have 4 columns and 5 components, "
        f"overlapping-8 and separated-8 have 8 and 8. Medians over {options.problems} problems; (n/m): only in n "
        "of the m did it come so far, and the median is theirs. short of best: nats per row below the best "
        "log-likelihood that anybody reached in the same problem. passes and s: of the whole fit; to 1e-04 and so "
        f"on: until within so many nats per row of that best. gmm's passes include {READINGS} readings before the "
        "first and rejected steps. scikit-learn's seconds are spread evenly over its passes; its max_iter is 100 at "
        f"its defaults. Ratios: medians of ratios within a problem; against plain EM to within {RATIO_TARGET:.0e} of "
        "the lower of both ends (higher / lower: problems in which gmm's end differs by more than that), against "
        "scikit-learn to the log-likelihood at which that stops. gmm and plain EM are those of tolerance 1e-8 here."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.converge", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--rows", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--problems", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--no-peers", action="store_true", help="without scikit-learn")
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
