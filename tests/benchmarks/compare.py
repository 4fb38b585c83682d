"""Milliseconds per EM pass, against scikit-learn, oneDAL and pomegranate: `python -m tests.benchmarks.compare`.

Everybody fits the same rows from the same start. First all make the same number of passes and must end at the same
log-likelihood. Then they take turns, round after round, each with two fits of different numbers of passes: what
one pass takes is the slope between them, so that set-up does not count. A product of two large matrices takes its
turn as well: at its rate the two products of a pass, 4 N K P flops, are the floor.

Exits with 1 when somebody ends elsewhere than gmm in float64 does.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import torch

from tests.benchmarks.peers import PEERS, Peer, Unable
from tests.benchmarks.problems import SCENARIOS, Problem, Scenario, make_problem
from tests.benchmarks.report import NOTHING, Table, add_options, describe, figure, machine, progress, publish

TITLE = "Time per pass"
DTYPES = {"float64": torch.float64, "float32": torch.float32}
AGREEMENT = {"float64": 1e-5, "float32": 1e-4}  # of log-likelihoods per row, relative, with gmm's in float64
CHECK_PASSES = 5  # few enough for the slow, and before anybody stops for rounding
SCORED_ROWS = 50_000  # on which log-likelihoods are compared
LEAST_ROUNDS = 2  # however slow a peer is, unless it is left out
PAUSE = 0.2  # seconds in which the threads of whoever went before go to sleep
GEMM_SIZE = 3072


@dataclass
class Measurement:
    """One peer at one scenario in one precision.

    difference: of its log-likelihood from gmm's in float64, relative. slopes: milliseconds per pass, one a round.
    note: why there is no figure, or what is odd about it.
    """

    scenario: str
    dtype: str
    peer: str
    passes: tuple[int, int]
    difference: float | None = None
    slopes: list[float] = field(default_factory=list)
    spent: float = 0.0
    note: str = ""

    @property
    def milliseconds(self) -> float | None:
        """Median over the rounds; None where there is none, or the noise is larger than what is measured."""
        median = statistics.median(self.slopes) if self.slopes else 0.0
        return median if median > 0 else None


@dataclass
class Group:
    """All who were measured in turns at one scenario in one precision. gemm: flops per second, one a round."""

    scenario: Scenario
    dtype: str
    members: list[Measurement]
    gemm: list[float] = field(default_factory=list)

    @property
    def floor(self) -> float:
        """Milliseconds that the two products of a pass take at the measured rate."""
        return 1e3 * self.scenario.flops / statistics.median(self.gemm)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for; the exit code."""
    options = _parser().parse_args(arguments)
    about = machine()
    dtypes = list(DTYPES) if options.dtype == "both" else [options.dtype]
    groups: list[Group] = []
    for name in options.scenario:
        problem = make_problem(SCENARIOS[name].scaled(options.scale), options.separation)
        for dtype in dtypes:
            groups.append(_measure(problem.to(DTYPES[dtype]), problem, options))
            progress(_table(groups[-1:]).markdown() + "\n")
    measured = {
        "machine": about,
        "options": {"separation": options.separation, "rounds": options.rounds},
        "groups": [asdict(group) | {"floor_ms": group.floor} for group in groups],
    }
    publish(options, TITLE, [describe(about), _table(groups).markdown(), _legend(options)], measured)
    return int(any("disagrees" in m.note for group in groups for m in group.members))


def _measure(problem: Problem, exact: Problem, options: argparse.Namespace) -> Group:
    """One scenario in one precision. exact: the same in float64, where gmm's log-likelihood is the reference."""
    dtype = str(problem.x.dtype).removeprefix("torch.")
    rows = exact.x[:SCORED_ROWS]
    reference = PEERS["gmm"].run(exact, CHECK_PASSES).model.score(rows)
    group = Group(problem.scenario, dtype, [])
    names = ["gmm", *(name for name in options.peer if name != "gmm")]
    for name in names:
        member = Measurement(problem.scenario.name, dtype, name, options.passes or PEERS[name].passes)
        group.members.append(member)
        _check(member, problem, rows, reference, options.limit)
        progress(f"{problem.scenario.name} {dtype} {name}: {member.note or f'agrees to {member.difference:.0e}'}")
    running = [member for member in group.members if not member.note]
    for turn in range(options.rounds):
        group.gemm.append(gemm_rate(problem.x.dtype))
        waiting = [m for m in running if turn < LEAST_ROUNDS or m.spent < options.budget]
        first = turn % max(1, len(waiting))
        for member in waiting[first:] + waiting[:first]:
            _round(member, problem)
    return group


def _check(member: Measurement, problem: Problem, rows: torch.Tensor, reference: float, limit: float) -> None:
    """Notes why a peer cannot be measured, or how far from the reference it ends."""
    peer = PEERS[member.peer]
    try:
        peer.version()
        peer.check(problem.scenario, problem.x.dtype)
        one = peer.run(problem, 1).seconds  # a slow peer is known by its first pass
        if one > limit:
            raise Unable(f"skipped: a fit of one pass takes {one:.0f} s")
        outcome = peer.run(problem, CHECK_PASSES)
    except Unable as reason:
        member.note = str(reason)
        return
    except Exception as error:  # a peer's failure is a result
        member.note = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
        return
    difference = (outcome.model.score(rows) - reference) / max(1.0, abs(reference))
    member.difference = abs(difference)
    if not member.difference <= AGREEMENT[member.dtype]:
        member.note = f"disagrees: log-likelihood off by {difference:.1e} after {outcome.passes} passes"


def _round(member: Measurement, problem: Problem) -> None:
    """One turn: a fit with few passes and one with many, and the slope between them."""
    peer = PEERS[member.peer]
    few, many = (_timed(peer, problem, passes) for passes in member.passes)
    member.spent += few[0] + many[0]
    if many[1] > few[1]:
        member.slopes.append(1e3 * (many[0] - few[0]) / (many[1] - few[1]))
    if many[1] < member.passes[1]:
        member.note = f"stopped by itself after {many[1]} passes"


def _timed(peer: Peer, problem: Problem, passes: int) -> tuple[float, int]:
    gc.collect()
    time.sleep(PAUSE)
    outcome = peer.run(problem, passes)
    return outcome.seconds, outcome.passes


def gemm_rate(dtype: torch.dtype, repeats: int = 3) -> float:
    """Flops per second of a product of two square matrices with all threads, the best of a few."""
    a, b, c = (torch.ones(GEMM_SIZE, GEMM_SIZE, dtype=dtype) for _ in range(3))
    times = []
    time.sleep(PAUSE)
    for _ in range(repeats):
        begin = time.perf_counter()
        torch.mm(a, b, out=c)
        times.append(time.perf_counter() - begin)
    return 2 * GEMM_SIZE**3 / min(times)


def _table(groups: Iterable[Group]) -> Table:
    rows = []
    for group in groups:
        own = group.members[0].milliseconds
        for member in group.members:
            ms = member.milliseconds
            spread = f"{figure(min(member.slopes))}–{figure(max(member.slopes))}" if member.slopes else NOTHING
            rows.append((
                group.scenario.title if member is group.members[0] else "",
                group.dtype,
                PEERS[member.peer].title,
                figure(ms),
                spread,
                str(len(member.slopes)),
                f"{member.passes[0]}, {member.passes[1]}",
                NOTHING if ms is None or own is None else f"{ms / own:.2f}",
                NOTHING if ms is None else f"{group.floor / ms:.0%}",
                NOTHING if member.difference is None else f"{member.difference:.0e}",
                member.note,
            ))  # fmt: skip
        rates = [1e-9 * rate for rate in group.gemm]
        rows.append((
            "", group.dtype, "two products", figure(group.floor), NOTHING, str(len(rates)), NOTHING,
            NOTHING if own is None else f"{group.floor / own:.2f}", "100%", NOTHING,
            f"{statistics.median(rates):.0f} GFLOP/s",
        ))  # fmt: skip
    header = (
        "scenario", "dtype", "who", "ms/pass", "min–max", "rounds", "passes", "× gmm", "of floor", "Δ logL", "note"
    )  # fmt: skip
    return Table(header, rows)


def _legend(options: argparse.Namespace) -> str:
    return (
        "ms/pass: median over rounds of the slope between fits of the two numbers of passes. × gmm: its time over "
        "gmm's in the same rounds; above 1 gmm is faster. of floor: the time of the two products, 4·N·K·P flops "
        f"(P = 1+D+D(D+1)/2 full, 1+2D diagonal, 2+D isotropic, 1+D tied), at the rate of a {GEMM_SIZE}² product "
        "with all threads in the same rounds, over the time of a pass. "
        f"Δ logL: relative difference after {CHECK_PASSES} passes from gmm in float64, on at most {SCORED_ROWS:,} "
        f"rows; up to {AGREEMENT['float64']:.0e} in float64 and {AGREEMENT['float32']:.0e} in float32 is agreement. "
        f"Means are about {options.separation:g} standard deviations apart."
        + (f" Scenarios at {options.scale:g} of their rows." if options.scale != 1 else "")
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.compare", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="default: all")
    parser.add_argument("--peer", nargs="+", choices=PEERS, default=list(PEERS), help="beside gmm; default: all")
    parser.add_argument("--dtype", choices=[*DTYPES, "both"], default="both")
    defaults = ", ".join(f"{name} {few} {many}" for name, (few, many) in ((n, p.passes) for n, p in PEERS.items()))
    parser.add_argument(
        "--passes", nargs=2, type=int, metavar=("FEW", "MANY"), help=f"of the two fits, for all. Default: {defaults}"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--budget", type=float, default=60.0, metavar="SECONDS",
        help=f"a peer that has used so much at a scenario gets no rounds beyond {LEAST_ROUNDS}; default: %(default)g",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=float, default=30.0, metavar="SECONDS",
        help="a peer that takes longer for a fit of one pass is skipped; default: %(default)g",
    )  # fmt: skip
    parser.add_argument("--scale", type=float, default=1.0, metavar="SHARE", help="of the rows, to try things out")
    parser.add_argument(
        "--separation", type=float, default=4.0, help="of the means, in standard deviations; default: %(default)g"
    )
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
