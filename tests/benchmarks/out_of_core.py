"""Data larger than memory, in whole processes: `python -m tests.benchmarks.out_of_core`.

`gmm generate` writes a Parquet file of float32 columns. `gmm fit` passes over it with little memory, reading it anew
each time, and with all of it in memory, which is computing alone; reading alone is the same blocks with nothing done
to them, and beside it pyarrow's decoding of the columns. `gmm assign` is compared with reading alone and
writing alone by pyarrow, encoded alike, and with its own memory on a tenth of the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gmmcli.data.source import Source
from gmmcli.passes.block import BLOCK_ROWS
from tests.benchmarks.end_to_end import GMM, CommandFailed, Timing, run, watched
from tests.benchmarks.report import Table, add_options, describe, figure, machine, progress, publish

TITLE = "Data larger than memory"
PLAIN = ["--acceleration", "none", "--restarts", "1", "--init", "random-rows", "--tolerance", "0"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for."""
    options = _parser().parse_args(arguments)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="gmm-benchmark-", dir=options.folder) as folder:
        file, tenth, model = (Path(folder, name) for name in ("rows.parquet", "tenth.parquet", "model.pt"))
        made = run(_generate(options, options.rows, file))
        progress(f"generated {file.stat().st_size / 1e9:.2f} GB in {made.seconds:.0f} s")
        run(_generate(options, options.rows // 10, tenth))
        passes, fits = {}, {}
        for name, memory in (("out of core", options.memory), ("in memory", options.enough)):
            fits[name], passes[name] = _fit(file, model, memory, options)
            progress(f"{name}: {passes[name]:.2f} s a pass, {fits[name].peak / 1e6:.0f} MB")
        names = [f"x{d + 1}" for d in range(options.dims)]
        reading = {
            "blocks": _median(lambda: _exhaust(Source([str(file)]).blocks(names)), options.rounds),
            "pyarrow": _median(lambda: _exhaust(_batches(file)), options.rounds),
        }
        progress(f"reading alone: {reading}")
        assigned = {rows: _assign(model, rows, options.rounds) for rows in (file, tenth)}
        again = Path(folder, "again.parquet")
        writing = statistics.median(_write_again(_output(file), again) for _ in range(options.rounds))
        _check_order(file, _output(file))
    measured = {
        "machine": about,
        "rows": options.rows,
        "dims": options.dims,
        "components": options.components,
        "memory": options.memory,
        "generate": vars(made),
        "fit": {name: vars(timing) for name, timing in fits.items()},
        "pass": passes,
        "reading": reading,
        "assign": [vars(timing) for timing in assigned.values()],
        "writing": writing,
    }
    parts = [describe(about), _passes(passes, fits, reading).markdown()]
    parts += [_assigned(assigned, reading, writing).markdown(), _legend(options)]
    publish(options, TITLE, parts, measured)
    return 0


def _generate(options: argparse.Namespace, rows: int, file: Path) -> list[str]:
    size = ["-n", str(rows), "-d", str(options.dims), "-k", str(options.components)]
    return [*GMM, "generate", *size, "--dtype", "float32", "--separation", "2", "-q", "-o", str(file)]


def _fit(file: Path, model: Path, memory: str, options: argparse.Namespace) -> tuple[Timing, float]:
    """What the process took, and the seconds of a pass in the midst of the fit, median."""
    command = [*GMM, "fit", str(file), "-k", str(options.components), "-o", str(model), "--memory", memory]
    timing, said = watched([*command, *PLAIN, "--iterations", str(options.passes), "--log-format", "json", "-q"])
    steps = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    seconds = [b["elapsed"] - a["elapsed"] for a, b in pairwise(steps) if b["passes"] == a["passes"] + 1]
    if not seconds:
        raise CommandFailed("no two passes were told: raise --passes")
    return timing, statistics.median(seconds)


def _assign(model: Path, rows: Path, rounds: int) -> Timing:
    """The run of median time."""
    timings = []
    for _ in range(rounds):
        os.sync()  # lest it waits for what was written before it
        timings.append(run([*GMM, "assign", str(model), str(rows), "-q", "-o", str(_output(rows))]))
    timing = sorted(timings, key=lambda timing: timing.seconds)[rounds // 2]
    progress(f"assign {rows.name}: {timing.seconds:.1f} s, {timing.peak / 1e6:.0f} MB")
    return timing


def _output(rows: Path) -> Path:
    return rows.with_name(f"{rows.stem}-labelled.parquet")


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    """As fast as pyarrow alone gives them: one row group at a time."""
    opened = pq.ParquetFile(str(file), buffer_size=1 << 18)
    for group in range(opened.metadata.num_row_groups):
        yield from opened.iter_batches(BLOCK_ROWS, row_groups=[group], use_threads=False)


def _write_again(file: Path, target: Path) -> float:
    """Seconds of writing alone, of a file's rows in row groups as large as its own and encoded as they are."""
    os.sync()
    opened, seconds = pq.ParquetFile(str(file)), 0.0
    first, names = opened.metadata.row_group(0), opened.schema_arrow.names
    columns = dict(zip(names, (first.column(d) for d in range(first.num_columns)), strict=True))
    dictionary: Any = [name for name, column in columns.items() if column.has_dictionary_page]
    plain = "UNCOMPRESSED"
    codecs: Any = {name: "none" if c.compression == plain else c.compression for name, c in columns.items()}
    how = {"use_dictionary": dictionary, "compression": codecs}
    with pq.ParquetWriter(str(target), opened.schema_arrow, **how) as writer:
        for group in range(opened.metadata.num_row_groups):
            table = opened.read_row_group(group)
            begin = time.perf_counter()
            writer.write_table(table)
            seconds += time.perf_counter() - begin
        begin = time.perf_counter()
    return seconds + time.perf_counter() - begin


def _check_order(file: Path, labelled: Path) -> None:
    """Raises CommandFailed where the labelled rows are not those of the file, in their order."""
    for before, after in zip(_batches(file), _batches(labelled), strict=True):
        if not before.equals(after.select(before.schema.names)):
            raise CommandFailed(f"{labelled}: other rows, or in another order")


def _exhaust(items: Iterator[object] | object) -> None:
    for _ in items:  # pyright: ignore[reportGeneralTypeIssues]
        pass


def _median(action: Callable[[], None], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _passes(passes: dict[str, float], fits: dict[str, Timing], reading: dict[str, float]) -> Table:
    alone = max(reading["blocks"], passes["in memory"])
    rows = [
        ("a pass, rows read anew", figure(passes["out of core"]), f"{passes['out of core'] / alone:.2f}",
         f"{fits['out of core'].peak / 1e6:,.0f}"),
        ("computing alone: a pass, rows in memory", figure(passes["in memory"]), f"{passes['in memory'] / alone:.2f}",
         f"{fits['in memory'].peak / 1e6:,.0f}"),
        ("reading alone: gmm's blocks", figure(reading["blocks"]), f"{reading['blocks'] / alone:.2f}", ""),
        ("reading alone: pyarrow's batches", figure(reading["pyarrow"]), f"{reading['pyarrow'] / alone:.2f}", ""),
    ]  # fmt: skip
    return Table(("what", "s", "of the larger alone", "peak MB"), rows)


def _assigned(assigned: dict[Path, Timing], reading: dict[str, float], writing: float) -> Table:
    (whole, tenth), alone = assigned.values(), reading["pyarrow"] + writing
    rows = [
        ("assign", figure(whole.seconds), f"{whole.seconds / alone:.2f}", f"{whole.peak / 1e6:,.0f}"),
        ("assign of a tenth of the rows", figure(tenth.seconds), "", f"{tenth.peak / 1e6:,.0f}"),
        ("reading alone + writing alone, pyarrow", f"{figure(reading['pyarrow'])} + {figure(writing)}", "1.00", ""),
    ]
    return Table(("what", "s", "of reading + writing", "peak MB"), rows)


def _legend(options: argparse.Namespace) -> str:
    return (
        f"{options.rows:,} rows × {options.dims} float32, K = {options.components}, full covariances, plain EM, "
        f"--memory {options.memory} against {options.enough}; the seconds of a pass are the median of a fit. peak: "
        "of the process, with the interpreter and torch. The labelled rows were compared with the file's."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.out_of_core", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=100_000_000, help="default: %(default)s")
    parser.add_argument("--dims", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--components", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--memory", default="512MB", help="of the fit that reads anew, default: %(default)s")
    parser.add_argument("--enough", default="16GB", help="of the fit in memory, default: %(default)s")
    parser.add_argument("--passes", type=int, default=16, help="of a fit, samples included; default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of reading alone, assigning and writing alone; default: %(default)s"
    )
    parser.add_argument("--folder", help="where the files are put for the time; default: the system's for such files")
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
