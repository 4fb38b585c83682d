"""Passes that EM and its accelerations need on a fixed suite of 200 starts.

    python -m tests.benchmarks.acceleration

Every start is run by every engine to tight convergence, far beyond any tolerance, with the log-likelihood and the
estimated remaining gain of every step recorded. From that record follow

- the passes, all counted, to within 1e-5 and 1e-6 nats a row of where that run ends itself;
- whether it ends lower than plain EM from the same start by more than 1e-5 nats a row;
- at which pass it would have stopped by a tolerance, what it estimated then to remain, and what truly remained.

Nothing is timed, so the figures are the same on a busy machine; one kind of processor and one build of torch give
the same numbers each time.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from statistics import fmean, median, quantiles

import torch

from gmmcli.families import get_family
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting import starts as initialise
from gmmcli.fitting.acceleration import ENGINES
from gmmcli.fitting.engine import Evaluator
from gmmcli.fitting.loop import PATIENCE, Limits, PassRecord, Run, Stage, run_all
from gmmcli.fitting.objective import Objective
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import TableBlocks
from gmmcli.passes.coordinates import conditioning
from gmmcli.passes.prepared import PreparedData, prepare
from gmmcli.passes.reading import drive
from gmmcli.passes.survey import survey
from gmmcli.passes.workers import single_intra_op_thread
from tests.benchmarks.report import add_options, describe, machine, publish

TITLE = "Acceleration on 200 starts"
FLOOR = 1e-6
PLAIN = "none"
NAMES = (PLAIN, *(name for name in ENGINES if name != PLAIN))
LOWER = 1e-5  # nats a row below plain EM's end that count as lower
GAPS = (1e-5, 1e-6)
TOLERANCES = (1e-4, 1e-6, 1e-8)
TIGHT = 1e-12  # nats a row gained in STRETCH steps, below which a run is at its end
STRETCH = 10
LONGEST = 30_000  # passes


@dataclass(frozen=True)
class Problem:
    """Data with a known truth and a start: everything follows from the seed.

    spread: standard deviation of the true means, where a component's own is about 1.1; above 2 they are kept apart.
    fitted: components of the fit where they are not those of the data.
    """

    group: str
    seed: int
    family: str
    components: int
    dims: int
    rows: int = 1500
    spread: float = 1.0
    fitted: int | None = None

    @property
    def overlapping(self) -> bool:
        """Whether its components overlap strongly."""
        return self.spread <= 2

    def make(self) -> tuple[Family, PreparedData, Parameters]:
        """The family, the rows ready for passes, and the start: k-means++, or every fourth time random rows."""
        draw = torch.Generator().manual_seed(1000 + self.seed)
        k, d = self.components, self.dims
        means = torch.randn(k, d, generator=draw, dtype=torch.float64) * self.spread
        while not self.overlapping and float(torch.pdist(means).min()) < 1.2 * self.spread:
            means = torch.randn(k, d, generator=draw, dtype=torch.float64) * self.spread
        factors = torch.randn(k, d, d, generator=draw, dtype=torch.float64) / 2
        covariances = factors @ factors.mT + 0.3 * torch.eye(d, dtype=torch.float64)
        weights = torch.rand(k, generator=draw, dtype=torch.float64) + 0.3
        family = get_family(self.family)
        kind = self.family if family.learned else "shared_isotropic"
        truth = GaussianMixture.from_covariances(weights / weights.sum(), means, covariances, kind)
        blocks = TableBlocks(truth.sample(self.rows, generator=draw))
        summary = drive(survey(blocks, distinct=k, covariances=True), 1)
        affine = conditioning(summary, family, [f"x{i + 1}" for i in range(d)])
        data = drive(prepare(blocks, summary, affine, dtype=torch.float64, device=torch.device("cpu")), 1)
        scale = None if family.learned else truth.covariances[0, 0, :1].detach() / affine.factor.square()
        choose = initialise.STARTS["random-rows" if self.seed % 4 == 3 else "kmeans++"]
        sample = drive(initialise.draw_sample(data, self.seed), 1)
        return family, data, choose(initialise.Starter(sample, family, self.fitted or k, scale, FLOOR), self.seed)


def _group(starts: int, first: Problem) -> list[Problem]:
    return [replace(first, seed=first.seed + i) for i in range(starts)]


SUITE: list[Problem] = [
    *_group(40, Problem("full 5x4", 0, "full", 5, 4)),
    *_group(20, Problem("full 3x2", 100, "full", 3, 2, rows=1000)),
    *_group(12, Problem("full 8x6", 200, "full", 8, 6, rows=3000)),
    *_group(12, Problem("full 7 for 5x3", 300, "full", 5, 3, rows=2000, fitted=7)),
    *_group(20, Problem("diagonal 5x4", 400, "diagonal", 5, 4)),
    *_group(10, Problem("diagonal 8x6", 500, "diagonal", 8, 6, rows=2000)),
    *_group(12, Problem("isotropic 4x2", 600, "isotropic", 4, 2)),
    *_group(16, Problem("tied 5x4", 700, "tied", 5, 4)),
    *_group(8, Problem("shared_diagonal 5x4", 800, "shared_diagonal", 5, 4)),
    *_group(6, Problem("shared_isotropic 4x3", 900, "shared_isotropic", 4, 3)),
    *_group(4, Problem("constant 4x3", 1000, "constant", 4, 3)),
    *_group(14, Problem("apart: full 5x4", 1100, "full", 5, 4, spread=6.0)),
    *_group(10, Problem("apart: diagonal 8x6", 1200, "diagonal", 8, 6, rows=2000, spread=5.0)),
    *_group(8, Problem("apart: tied 5x4", 1300, "tied", 5, 4, spread=5.0)),
    *_group(8, Problem("apart: isotropic 3x2", 1400, "isotropic", 3, 2, rows=1000, spread=6.0)),
]


@dataclass(frozen=True)
class Stop:
    """Where a tolerance would have stopped a run. wasted: passes since the true gain had fallen below it."""

    passes: int
    estimate: float
    truth: float
    wasted: int

    @property
    def honest(self) -> bool:
        """Whether the true remaining gain is at most three times the estimate, but for rounding."""
        return self.truth <= 3 * self.estimate + TIGHT


@dataclass(frozen=True)
class Course:
    """What one engine did from one start. end: nats per row; rejected: passes, of those to the closest of GAPS."""

    end: float
    rejected: int
    to_gap: dict[float, int]
    stops: dict[float, Stop | None]


def course(history: Sequence[PassRecord]) -> Course:
    """What the record of a run to its end says."""
    end = history[-1].log_likelihood
    first = {gap: next(r.passes for r in history if r.log_likelihood >= end - gap) for gap in (*GAPS, *TOLERANCES)}
    stops: dict[float, Stop | None] = {}
    for tolerance in TOLERANCES:
        below = [record.remaining < tolerance for record in history]
        place = next((i for i in range(PATIENCE - 1, len(below)) if all(below[i + 1 - PATIENCE : i + 1])), None)
        if place is not None:
            at = history[place]
            stops[tolerance] = Stop(at.passes, at.remaining, end - at.log_likelihood, at.passes - first[tolerance])
        else:
            stops[tolerance] = None
    near = first[min(GAPS)]
    rejected = near - sum(record.passes <= near for record in history)
    return Course(end, rejected, {gap: first[gap] for gap in GAPS}, stops)


def run_to_the_end(name: str, family: Family, data: PreparedData, start: Parameters) -> Run:
    """The loop's own run, without a tolerance, until nothing more is gained."""
    chosen = ENGINES[name](Objective(family, FLOOR))
    run, evaluate = Run(0, chosen.start(start)), Evaluator(data, family)
    while not run.ended:
        run.due = run.passes + STRETCH
        drive(run_all(Stage(chosen, evaluate, Limits(LONGEST, 0.0)), [run]), 1)
        recent = [record.log_likelihood for record in run.history[-STRETCH - 1 :]]
        if len(recent) > STRETCH and recent[-1] - recent[0] < TIGHT:
            break
    if run.failure is not None:
        raise run.failure
    return run


def courses(problem: Problem) -> dict[str, Course]:
    """What every engine does from one start."""
    with single_intra_op_thread():
        family, data, start = problem.make()
        return {name: course(run_to_the_end(name, family, data, start).history) for name in NAMES}


def lower(of: dict[str, Course], name: str) -> bool:
    """Whether an engine ended lower than plain EM."""
    return of[name].end < of[PLAIN].end - LOWER


# ---- the report -------------------------------------------------------------------------------------------

Results = list[tuple[Problem, dict[str, Course]]]


def _table(results: Results) -> Iterator[str]:
    accelerations = NAMES[1:]
    yield "mean passes to within 1e-5 / 1e-6 nats a row of the run's own end; (lower than plain EM)"
    yield f"{'group':22}{'starts':>7}" + "".join(f"{name:>20}" for name in NAMES)
    for group in dict.fromkeys(problem.group for problem, _ in results):
        own = [(problem, of) for problem, of in results if problem.group == group]
        cells = []
        for name in NAMES:
            means = " / ".join(f"{fmean(of[name].to_gap[gap] for _, of in own):.0f}" for gap in GAPS)
            worse = sum(lower(of, name) for _, of in own)
            cells.append(f"{means} ({worse})" if name in accelerations else means)
        yield f"{group:22}{len(own):7}" + "".join(f"{cell:>20}" for cell in cells)


def _passes(results: Results, kind: str) -> Iterator[str]:
    yield f"{kind}, {len(results)} starts: plain EM's passes over those of each"
    measures: list[tuple[str, Callable[[Course], int | None]]] = [
        *((f"to {gap:.0e}", lambda course, gap=gap: course.to_gap[gap]) for gap in GAPS),
        *(
            (f"stop {t:.0e}", lambda course, t=t: stop.passes if (stop := course.stops[t]) else None)
            for t in TOLERANCES
        ),
    ]
    for label, measure in measures:
        for name in NAMES[1:]:
            pairs = [(measure(of[PLAIN]), measure(of[name])) for _, of in results]
            both = [(plain, other) for plain, other in pairs if plain is not None and other is not None]
            ratios = [plain / other for plain, other in both]
            plain, other = (sum(column) for column in zip(*both, strict=True))
            yield (
                f"  {label:10} {name:10} geometric mean {math.exp(fmean(map(math.log, ratios))):5.2f}, of totals "
                f"{plain / other:5.2f} ({plain} / {other}), median {median(ratios):5.2f}, slower on "
                f"{sum(ratio < 1 for ratio in ratios)}"
            )


def _ends(results: Results) -> Iterator[str]:
    yield f"all {len(results)} starts: where they end, and what was rejected"
    for name in NAMES[1:]:
        worse = sum(lower(of, name) for _, of in results)
        better = sum(of[name].end > of[PLAIN].end + LOWER for _, of in results)
        passes = sum(of[name].to_gap[min(GAPS)] for _, of in results)
        rejected = sum(of[name].rejected for _, of in results)
        yield (
            f"  {name:10} lower than plain EM by more than {LOWER:.0e}: {worse} ({worse / len(results):.1%}), "
            f"higher: {better}; rejected passes {rejected / passes:.1%}"
        )


def _stops(results: Results) -> Iterator[str]:
    yield (
        f"all {len(results)} starts: stops by tolerance; honest where the true remaining gain is at most 3 times the "
        "estimate; wasted are passes after it had fallen below the tolerance"
    )
    for tolerance in TOLERANCES:
        for name in NAMES:
            stops = [stop for _, of in results if (stop := of[name].stops[tolerance]) is not None]
            wasted = [stop.wasted for stop in stops]
            share = sum(max(0, w) for w in wasted) / sum(stop.passes for stop in stops)
            yield (
                f"  {tolerance:.0e} {name:10} honest {sum(stop.honest for stop in stops) / len(results):6.1%}, never "
                f"stopped {len(results) - len(stops)}, too early {sum(w < 0 for w in wasted):3}, wasted: median "
                f"{median(wasted):3.0f}, 90 % {quantiles(wasted, n=10)[-1]:4.0f}, {share:.1%} of all passes"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth start of the suite")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes (default: all)")
    add_options(parser)
    options = parser.parse_args()
    problems = SUITE[:: options.every]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        results = list(zip(problems, pool.map(courses, problems), strict=True))
    overlapping = [(problem, of) for problem, of in results if problem.overlapping]
    apart = [(problem, of) for problem, of in results if not problem.overlapping]
    parts: list[Callable[[], Iterator[str]]] = [
        lambda: _table(results),
        lambda: _passes(overlapping, "overlapping"),
        lambda: _passes(apart, "separated"),
        lambda: _ends(results),
        lambda: _stops(results),
    ]
    blocks = ["```text\n" + "\n".join(part()) + "\n```" for part in parts]
    publish(
        options, TITLE, [describe(machine()), *blocks], [{n: asdict(c) for n, c in of.items()} for _, of in results]
    )


if __name__ == "__main__":
    main()
