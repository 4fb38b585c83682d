"""From a file to a model and a labelled file, in whole processes: `python -m tests.benchmarks.end_to_end`.

`gmm fit` and `gmm assign`, at their defaults and from one start only, against the script that a user of pandas and
scikit-learn would write (`user_script`), on CSV and Parquet, on separated and overlapping data. And the start-up: a
fit of a small file against the import of torch alone. All take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path

import torch

from gmmcli import load
from gmmcli.data.source import Source
from tests.benchmarks.peers import PEERS, Unable
from tests.benchmarks.report import NOTHING, Table, add_options, describe, figure, machine, progress, publish

TITLE = "From start to end"
HERE = Path(__file__).parent
SMALL_FILE = HERE.parents[1] / "sample_data" / "faithful.csv"
GMM = [sys.executable, "-m", "gmmcli"]
DATA = {"separated": ["--radius", "8", "--separation", "1"], "overlapping": ["--radius", "2"]}
WHO = {
    "script": "pandas + scikit-learn",
    "gmm": "gmm fit + gmm assign",
    "gmm-1": "the same, fit --restarts 1",
}
MORE_OPTIONS = {"gmm": [], "gmm-1": ["--restarts", "1"]}
STARTUP_ROUNDS = 5


class CommandFailed(Exception):
    """A command that was to be measured and did not exit with 0."""


@dataclass(frozen=True)
class Timing:
    """What a command took: seconds of wall time, and bytes of memory at its peak."""

    seconds: float
    peak: int


@dataclass
class Measurement:
    """One who at one file: the processes of each round, in order, and the log-likelihood per row of the model."""

    data: str
    suffix: str
    who: str
    rounds: list[list[Timing]] = field(default_factory=list)
    log_likelihood: float = float("nan")

    @property
    def seconds(self) -> list[float]:
        """Of all processes of a round together, one a round."""
        return [sum(timing.seconds for timing in timings) for timings in self.rounds]

    @property
    def peak(self) -> float:
        """Bytes of the largest process, median over the rounds."""
        return statistics.median(max(timing.peak for timing in timings) for timings in self.rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for."""
    options = _parser().parse_args(arguments)
    about = machine()
    who = _available(options.who)
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="gmm-benchmark-", dir=options.folder) as folder:
        for data in options.data:
            for suffix in options.format:
                file = Path(folder, f"{data}.{suffix}")
                size = ["-n", str(options.rows), "-d", str(options.dims), "-k", str(options.components)]
                run([*GMM, "generate", *size, *DATA[data], "-q", "-o", str(file)])
                measurements += _measure(data, file, who, options)
                file.unlink()
        startup = _startup(Path(folder))
    measured = {
        "machine": about,
        "rows": options.rows,
        "dims": options.dims,
        "components": options.components,
        "measurements": [asdict(m) for m in measurements],
        "startup": startup,
    }
    parts = [describe(about), _table(measurements).markdown(), _startup_text(startup), _legend(options)]
    publish(options, TITLE, parts, measured)
    return 0


def run(command: Sequence[str]) -> Timing:
    """Runs a command by the stopwatch. Raises CommandFailed with the end of what it said."""
    return watched(command)[0]


def watched(command: Sequence[str]) -> tuple[Timing, str]:
    """The same, with what the command said on stderr."""
    watch = [sys.executable, "-S", "-E", str(HERE / "stopwatch.py"), *command]
    done = subprocess.run(watch, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout) if done.stdout else {"code": done.returncode}
    if result["code"]:
        raise CommandFailed(f"{' '.join(command)} exited with {result['code']}: {done.stderr.strip()[-500:]}")
    return Timing(result["seconds"], result["peak"]), done.stderr


def _measure(data: str, file: Path, who: Sequence[str], options: argparse.Namespace) -> list[Measurement]:
    members = [Measurement(data, file.suffix[1:], name) for name in who]
    for turn in range(options.rounds):
        first = turn % len(members)
        for member in members[first:] + members[:first]:
            timings = [run(command) for command in _commands(member.who, file, options.components)]
            member.rounds.append(timings)
            progress(f"{data} {file.suffix} {member.who}: {member.seconds[-1]:.1f} s")
    x = _rows(file)
    for member in members:
        member.log_likelihood = _score(member.who, file, x)
    return members


def _commands(who: str, file: Path, components: int) -> list[list[str]]:
    """What is run, one process after another: data in, model and labelled data out."""
    model, output = _outputs(who, file)
    if who == "script":
        return [[sys.executable, str(HERE / "user_script.py"), str(file), str(components), str(model), str(output)]]
    return [
        [*GMM, "fit", str(file), "-k", str(components), "-o", str(model), *MORE_OPTIONS[who]],
        [*GMM, "assign", str(model), str(file), "-o", str(output)],
    ]


def _outputs(who: str, file: Path) -> tuple[Path, Path]:
    suffix = "joblib" if who == "script" else "pt"
    return file.with_name(f"{who}.{suffix}"), file.with_name(f"{who}-labelled{file.suffix}")


def _rows(file: Path) -> torch.Tensor:
    source = Source([str(file)])
    return torch.cat([block.x for block in source.blocks(source.select().used)])


def _score(who: str, file: Path, x: torch.Tensor) -> float:
    """Log-likelihood per row of the model that was saved, and a look at whether all rows were labelled."""
    model, output = _outputs(who, file)
    labelled = len(_rows(output))
    if labelled != len(x):
        raise CommandFailed(f"{who} labelled {labelled} of {len(x)} rows")
    return (
        float(import_module("joblib").load(model).score(x.numpy())) if who == "script" else load(str(model)).score(x)
    )


def _startup(folder: Path) -> dict[str, list[float]]:
    """Seconds of a fit of a small file and of the import of torch alone, in turns."""
    commands = {
        "gmm fit faithful.csv": [*GMM, "fit", str(SMALL_FILE), "-o", str(folder / "small.pt")],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTUP_ROUNDS):
        for name, command in commands.items():
            seconds[name].append(run(command).seconds)
    return seconds


def _available(wanted: Sequence[str]) -> list[str]:
    try:
        PEERS["sklearn"].version()
        return list(wanted)
    except Unable as reason:
        progress(f"left out: {reason}")
        return [name for name in wanted if name != "script"]


def _table(measurements: Sequence[Measurement]) -> Table:
    script = {(m.data, m.suffix): m for m in measurements if m.who == "script"}
    rows = []
    for member in measurements:
        own = statistics.median(member.seconds)
        peer = script.get((member.data, member.suffix))
        parts = [
            statistics.median(timing.seconds for timing in column) for column in zip(*member.rounds, strict=True)
        ]
        rows.append((
            f"{member.data}, {member.suffix}",
            WHO[member.who],
            figure(own),
            f"{figure(min(member.seconds))}–{figure(max(member.seconds))}",
            " + ".join(figure(part) for part in parts) if len(parts) > 1 else NOTHING,
            NOTHING if peer is None else f"{statistics.median(peer.seconds) / own:.2f}",
            f"{member.log_likelihood:.5f}",
            f"{member.peak / 2**20:,.0f}",
            NOTHING if peer is None else f"{member.peak / peer.peak:.2f}",
        ))  # fmt: skip
    header = ("data", "who", "s", "min–max", "fit + assign", "× faster", "logL per row", "peak MiB", "× memory")
    return Table(header, rows)


def _startup_text(seconds: dict[str, list[float]]) -> str:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    listed = ", ".join(f"`{name}` {value:.2f} s" for name, value in medians.items())
    fit, base = medians.values()
    return f"Start-up, medians of {STARTUP_ROUNDS}: {listed}; difference {fit - base:.2f} s."


def _legend(options: argparse.Namespace) -> str:
    return (
        f"{options.rows:,} rows × {options.dims}, K = {options.components}, full covariances, medians of "
        f"{options.rounds} rounds; whole processes from the file to a model file and a labelled file of the same "
        "format. The script reads with pandas, fits scikit-learn's GaussianMixture at its defaults (one start), and "
        "writes labels and probabilities. × faster: the script's time over this one's. logL per row: of the saved "
        "model on the data, nats. peak: of the largest process; × memory: over the script's."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.end_to_end", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA), help="default: both")
    parser.add_argument("--format", nargs="+", choices=("csv", "parquet"), default=["csv", "parquet"])
    parser.add_argument("--who", nargs="+", choices=WHO, default=list(WHO), help="default: all")
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--dims", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--components", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--folder", help="where the files are put for the time; default: the system's for such files")
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
