"""The same answers at two commits: `python -m tests.benchmarks.same_answers run FOLDER`, `… compare ONE OTHER`.

`run` makes data, runs the command lines below with the gmm of the current checkout and keeps what they write, each
in a folder of its own. `compare` reads two such folders. Tensors, history and log-likelihood of a model file must be
equal to the bit. All other files must be the same bytes. Numbers in them may differ by CLOSE, relative, and are then
listed. Times, versions, words for people and stderr do not count. `compare` exits with 1 at any other difference.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import torch

from gmmcli.model.model_file import load_model
from tests.s3 import S3

ROOT = Path(__file__).parents[2]
CLOSE = 1e-12
TORCHRUN = "-m torch.distributed.run --standalone --nproc-per-node"
# Members of metadata that do not count: times, versions, paths, and words for people.
PASSING = {
    "seconds", "device", "version", "options", "created", "source", "init", "findings", "prose", "remedy", "reason",
    "unsound", "failure", "model", "file", "left_out",
}  # fmt: skip

FAITHFUL, PENGUINS = f"{ROOT}/sample_data/faithful.csv", f"{ROOT}/sample_data/penguins.csv --columns 3:6"
COMPLETE = f"{PENGUINS} --missing drop"
FAMILIES = ("full", "diagonal", "isotropic", "shared_isotropic", "constant", "tied", "shared_diagonal")
SUFFIXES = ("csv", "tsv", "csv.gz", "jsonl", "parquet", "arrow")


def commands() -> dict[str, list[str]]:
    """Command lines by name; {data}, {models}, {s3} and the outputs of earlier ones, {0}, are filled in."""
    fits = {
        f"{family}-{method}": f"fit {COMPLETE} -k 3 --family {family} --method {method} --restarts 3"
        + (" --variance 400" if family == "constant" else "")
        for family in FAMILIES
        for method in ("em", "gradient")
    }
    fits |= {
        f"missing-{family}": f"fit {PENGUINS} --missing em -k 3 --family {family} --restarts 3"
        for family in ("full", "tied", "diagonal", "isotropic")
    }
    fits |= {
        "weights": "fit {data}/weighted.csv --weights w -k 3 --restarts 3",
        "weights-shared": "fit {data}/weighted.csv --weights w -k 3 --family shared_diagonal --restarts 3",
        "noise": f"fit {COMPLETE} -k 2 --noise --restarts 3",
        "noise-missing": f"fit {PENGUINS} --missing em -k 2 --noise --family diagonal --restarts 3",
        "prior": f"fit {COMPLETE} -k 4 --prior --restarts 3",
        "prior-tied": f"fit {COMPLETE} -k 4 --prior --family tied --restarts 3",
        "float32": f"fit {COMPLETE} -k 3 --precision float32 --restarts 3",
        "float32-diagonal": f"fit {COMPLETE} -k 3 --precision float32 --family diagonal --restarts 3",
        "standardize": f"fit {COMPLETE} -k 3 --standardize --family isotropic --restarts 3",
        "none": f"fit {FAITHFUL} -k 3 --acceleration none --restarts 3",
        "anderson": f"fit {FAITHFUL} -k 3 --acceleration anderson --restarts 3",
        "squarem": f"fit {FAITHFUL} -k 3 --acceleration squarem --restarts 3",
        "lbfgs": f"fit {FAITHFUL} -k 3 --method gradient --optimizer lbfgs --restarts 2",
        "batches": f"fit {FAITHFUL} -k 3 --method gradient --batch-size 64 --iterations 20 --restarts 2",
        "random": f"fit {FAITHFUL} -k 4 --init random --restarts 3",
        "random-rows": f"fit {FAITHFUL} -k 8 --init random-rows --restarts 3",
        "kmeans": f"fit {FAITHFUL} -k 4 --init kmeans++ --restarts 3",
        "collapse-drop": f"fit {FAITHFUL} -k 12 --init random-rows --on-collapse drop --restarts 2",
        "go-on": f"fit {FAITHFUL} --init {{0}}/none/m.pt --family tied",
        "grid": f"fit {COMPLETE} -k 1:4 --family all --variance 400 --table t.csv",
        "grid-icl": f"fit {FAITHFUL} -k 1:3 --family full,tied --criterion icl --table t.csv",
        "grid-holdout": f"fit {FAITHFUL} -k 1:3 --criterion holdout --folds 3 --table t.csv",
        "bootstrap": f"fit {FAITHFUL} -k 2 --bootstrap 12 --restarts 2",
        "anew": "fit {data}/big.parquet -k 3 --restarts 1 --iterations 8 --memory 20MB",
        "anew-grid": "fit {data}/big.parquet -k 2,3 -f tied,diagonal --restarts 1 --iterations 4 --memory 20MB",
        "folder": "fit {data}/parts --exclude year -k 3 --restarts 2",
        "s3": "fit {s3}/rows.parquet -k 3 --restarts 2",
    }
    lines = {name: [f"{line} -q -o m.pt"] for name, line in fits.items()}
    lines["checkpoint"] = [
        f"fit {FAITHFUL} -k 3 --restarts 3 --checkpoint c --checkpoint-every 1 --resume -q -o m.pt"
    ] * 2
    for processes in (1, 2, 3):
        lines[f"torchrun-{processes}"] = [
            f"{processes}: fit {{data}}/parts --exclude year -k 3 --restarts 2 -q -o m.pt"
        ]
    for suffix in SUFFIXES:
        data = f"{{data}}/rows.{suffix}"
        lines[f"rows-{suffix}"] = [
            f"fit {data} -k 3 --restarts 2 -q -o m.pt",
            f"assign m.pt {data} --soft -q -o assigned.{suffix}",
            f"score m.pt {data} --quantile 0.05 -q -o scored.{suffix}",
            f"sample m.pt -n 500 --seed 3 -q -o sampled.{suffix}",
        ]
    missing, holes = "{0}/missing-full/m.pt", f"{ROOT}/sample_data/penguins.csv"
    lines["impute"] = [
        f"impute {missing} {holes} -q -o filled.csv",
        f"impute {missing} {holes} --draw --seed 2 -q -o drawn.csv",
    ]
    lines["rows-missing"] = [
        f"{command} {missing} {holes} --missing em -q -o {command}.csv" for command in ("assign", "score")
    ]
    lines["compare"] = [f"assign {missing} {holes} --missing em --compare species -q -o a.csv"]
    lines["summary"] = [f"> summary.json score {{0}}/full-em/m.pt {holes} --missing drop --summary --json"]
    lines["show"] = ["> show.json show {0}/grid/m.pt --json"]
    lines["part-files"] = ["2: score {0}/folder/m.pt {data}/parts -q -o scored/"]
    lines["generate"] = ["generate -n 70000 -d 3 -k 4 --seed 5 --labels --truth t.pt -q -o g.parquet"]
    return lines


def run(folder: Path) -> None:
    """Runs all of them."""
    data = folder / "data"
    data.mkdir(parents=True)
    _write_data(data)
    server = S3()
    server.new_bucket("answers")
    environment = {**os.environ, **server.environment, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    try:
        fill = {"data": data.resolve(), "s3": "s3://answers"}
        _run(
            f"{sys.executable} -m gmmcli sample {data}/truth.pt -n 3000 -q -o s3://answers/rows.parquet",
            ROOT,
            environment,
        )
        for name, lines in commands().items():
            own = folder / name
            own.mkdir()
            for line in lines:
                line = line.format(folder.resolve(), **fill)
                target, line = line[2:].split(" ", 1) if line.startswith("> ") else (None, line)
                start = "-m gmmcli"
                if line[1:3] == ": ":
                    start, line = f"{TORCHRUN} {line[0]} -m gmmcli", line[3:]
                output = _run(f"{sys.executable} {start} {line}", own, environment)
                if target is not None:
                    (own / target).write_text(output)
            print(name, flush=True)
    finally:
        server.stop()


def _run(line: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{line}\nexited with {done.returncode}: {done.stderr}")
    return done.stdout


def _write_data(folder: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(3000, 3)) * [1, 2, 0.5] + 4 * draw.integers(0, 3, (3000, 1))
    table = pa.table({name: x[:, d] for d, name in enumerate("abc")})
    frame = table.to_pandas()
    for suffix in ("csv", "csv.gz"):
        frame.to_csv(folder / f"rows.{suffix}", index=False)
    frame.to_csv(folder / "rows.tsv", sep="\t", index=False)
    frame.to_json(folder / "rows.jsonl", orient="records", lines=True, double_precision=15)
    pq.write_table(table, folder / "rows.parquet")
    pyarrow.feather.write_feather(table, str(folder / "rows.arrow"))
    frame.assign(w=draw.integers(0, 4, len(frame))).to_csv(folder / "weighted.csv", index=False)
    for year, size in ((2024, 40), (2025, 2500), (2026, 1)):
        part = folder / "parts" / f"year={year}"
        part.mkdir(parents=True)
        pq.write_table(table.slice(0, size), part / "0.parquet", row_group_size=300)
    big = draw.normal(size=(550_000, 16)) + 3 * draw.integers(0, 3, (550_000, 1))
    pq.write_table(pa.table({f"x{d}": big[:, d].astype(np.float32) for d in range(16)}), folder / "big.parquet")
    command = f"{sys.executable} -m gmmcli fit {folder}/rows.csv -k 3 --restarts 1 -q -o {folder}/truth.pt"
    _run(command, ROOT, {**os.environ, "PYTHONPATH": str(ROOT)})


def compare(one: Path, other: Path) -> int:
    """Prints the differences; the number of those that are not allowed."""
    bad = 0
    files = [{p.relative_to(folder) for p in folder.rglob("*") if p.is_file()} for folder in (one, other)]
    for path in sorted(files[0] ^ files[1]):
        print(f"{path}: only in one of them")
        bad += 1
    shared = sorted(path for path in files[0] & files[1] if path.parts[0] != "data" and path.name != "c")
    for path in shared:
        for problem, allowed in _differences(one / path, other / path):
            print(f"{path}: {problem}{' (allowed)' if allowed else ''}")
            bad += not allowed
    print(f"{len(shared)} files, {bad} differences")
    return bad


def _differences(a: Path, b: Path) -> Iterator[tuple[str, bool]]:
    if a.suffix == ".pt":
        yield from _model_differences(a, b)
    elif a.suffix == ".json":
        worst = _worst(*(_lasting(json.loads(path.read_text())) for path in (a, b)))
        if worst:
            yield f"values differ by {worst:.1e}", worst <= CLOSE
    elif a.read_bytes() != b.read_bytes():
        left, right = _cells(a), _cells(b)
        if len(left) != len(right):
            yield "other numbers of cells", False
            return
        worst = max((_distance(x, y) for x, y in zip(left, right, strict=True)), default=0.0)
        if worst or a.suffix not in (".csv", ".json"):
            yield f"cells differ by {worst:.1e}", worst <= CLOSE


def _model_differences(a: Path, b: Path) -> Iterator[tuple[str, bool]]:
    left, right = (torch.load(path, weights_only=True) for path in (a, b))
    for name in left.keys() | right.keys():
        x, y = left.get(name), right.get(name)
        if isinstance(x, torch.Tensor) and not (isinstance(y, torch.Tensor) and torch.equal(x, y)):
            yield f"{name} differs", False
    told, also = (_lasting(load_model(str(path))[1]) for path in (a, b))
    for name in sorted(told.keys() | also.keys()):
        x, y = json.dumps(told.get(name)), json.dumps(also.get(name))
        if x != y:
            worst = _worst(told.get(name), also.get(name))
            yield (
                f"metadata {name} differs by {worst:.1e}",
                worst <= CLOSE and name not in ("history", "log_likelihood"),
            )


def _lasting(value: Any) -> Any:
    """Metadata without what passes; of a path the name of the file."""
    if isinstance(value, str):
        return value.rpartition("/")[2]
    if isinstance(value, dict):
        return {name: _lasting(part) for name, part in value.items() if name not in PASSING}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def _worst(a: Any, b: Any) -> float:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max((_worst(a[name], b[name]) for name in a), default=0.0)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max((_worst(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    return _distance(a, b)


def _distance(a: Any, b: Any) -> float:
    """Relative, of numbers; infinite of other things that differ."""
    if a == b:
        return 0.0
    try:
        x, y = float(a), float(b)
    except (TypeError, ValueError):
        return math.inf
    return 0.0 if x == y or (math.isnan(x) and math.isnan(y)) else abs(x - y) / max(abs(x), abs(y))


def _cells(path: Path) -> list[Any]:
    """All cells of a table, or all lines of another file; seconds left out."""
    if path.suffix == ".parquet":
        return [cell for column in pq.read_table(path).columns for cell in column.to_pylist()]
    if path.suffix == ".arrow":
        return [cell for column in pyarrow.feather.read_table(str(path)).columns for cell in column.to_pylist()]
    if path.suffix == ".gz":
        import gzip

        text = gzip.decompress(path.read_bytes()).decode()
    else:
        text = path.read_text()
    if path.suffix == ".jsonl":
        return [cell for line in text.splitlines() for cell in json.loads(line).values()]
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ","))
    gone = rows[0].index("seconds") if rows and "seconds" in rows[0] else None
    return [cell for row in rows for i, cell in enumerate(row) if i != gone]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs or compares."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.same_answers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("what", choices=["run", "compare"])
    parser.add_argument("folder", nargs="+", type=Path, help="one to run in, two to compare")
    options = parser.parse_args(arguments)
    if len(options.folder) != (1 if options.what == "run" else 2):
        parser.error("run takes one folder, compare two")
    if options.what == "run":
        run(options.folder[0])
        return 0
    return min(1, compare(*options.folder))


if __name__ == "__main__":
    sys.exit(main())
