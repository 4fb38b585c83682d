"""`gmm fit` on what memory does not hold, and as long as it may: --memory, --checkpoint, --time-limit, --dry-run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gmmcli.cli.long_fits import parse_duration, parse_every
from gmmcli.errors import UsageError
from gmmcli.fitting.options import Every
from gmmcli.model.model_file import load_model
from tests.cli.conftest import ENVIRONMENT, gmm, new_files, ok, process

FAITHFUL = "sample_data/faithful.csv"
QUICK = ("-k", "2", "--restarts", "2")
ROWS = 5_000_000

# not ru_maxrss, which a process that is started inherits from the one that starts it
_MEASURED = """\
import sys
from gmmcli.__main__ import run
code = run()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print("peak", int(peak.split()[1]) << 10, file=sys.stderr)
sys.exit(code)
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux's /proc")


def measured(*arguments: str) -> int:
    """Runs `gmm` as a process; returns its peak resident size, bytes."""
    command = [sys.executable, "-c", _MEASURED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=200)
    assert done.returncode == 0, done.stderr
    found = re.search(r"^peak (\d+)$", done.stderr, re.MULTILINE)
    assert found is not None
    return int(found[1])


def fit_of(path: str | Path) -> dict[str, Any]:
    tensors = torch.load(path, weights_only=True)
    history = load_model(str(path))[1]["history"]
    return {name: t.tolist() for name, t in tensors.items() if isinstance(t, torch.Tensor)} | {"history": history}


@needs_proc
def test_rows_that_memory_does_not_hold(here: Path) -> None:
    """Of 5 million rows, 400 MB when laid out: less than half of it is taken beside what a small fit takes."""
    write_rows("small.parquet", 100_000)
    write_rows("big.parquet", ROWS)
    options = ("-k", "3", "--restarts", "1", "-q")
    base = measured("fit", "small.parquet", *options, "-o", "small.pt")
    little = measured("fit", "big.parquet", *options, "--memory", "50MB", "-o", "little.pt")
    much = measured("fit", "big.parquet", *options, "--memory", "4GB", "-o", "much.pt")
    assert fit_of("little.pt") == fit_of("much.pt")
    print(f"{(little - base) / 1e6:.0f} and {(much - base) / 1e6:.0f} MB")
    assert little - base < 220e6
    assert much - base > 340e6


@pytest.mark.usefixtures("hostile")
def test_rows_that_are_read_anew_under_a_hostile_blas(here: Path) -> None:
    """The least that is not kept under --memory, through the executable: the same model file, but for times."""
    write_rows("big.parquet", 550_000, 16)
    start = ("--init", "random-rows", "--restarts", "1", "--iterations", "3", "--tolerance", "0")
    options = ("-k", "2", "-f", "tied", *start)
    for name, memory in (("little", "20MB"), ("much", "4GB")):
        outcome = process("fit", "big.parquet", *options, "--memory", memory, "-q", "-o", f"{name}.pt")
        assert outcome.code == 0, outcome.stderr
    told = ok("fit", "big.parquet", *options, "--memory", "20MB", "--dry-run", "-o", "m.pt").stderr
    assert "read anew" in told
    assert fit_of("little.pt") == fit_of("much.pt")


def write_rows(path: str, rows: int, columns: int = 8) -> None:
    draw, names = np.random.default_rng(0), "abcdefghijklmnop"[:columns]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in names])) as writer:
        for first in range(0, rows, 500_000):
            numbers = np.arange(first, min(first + 500_000, rows))
            x = draw.normal(size=(len(numbers), columns)) + 4 * ((numbers % 3)[:, None] - 1)
            writer.write_table(pa.table({name: x[:, d].astype(np.float32) for d, name in enumerate(names)}))


def test_the_plan_is_told_without_fitting(here: Path) -> None:
    outcome = ok("fit", FAITHFUL, "-k", "2,3", "--dry-run", "-o", "m.pt", "--memory", "1GB")
    assert outcome.out == ""
    assert "272 rows of 2 columns" in outcome.stderr
    assert "GB that they may: they are kept in memory" in outcome.stderr
    assert "full, 3 components: 10 starts" in outcome.stderr
    assert new_files(here) == set()


def test_lines_for_machines(here: Path) -> None:
    lines = ok("fit", FAITHFUL, *QUICK, "--log-format", "json", "-q", "-o", "m.pt").stderr.splitlines()
    records = [json.loads(line) for line in lines]
    _, metadata = load_model("m.pt")
    own = [record for record in records if record["restart"] == metadata["restart"]]
    assert [record["passes"] for record in own] == [record["passes"] for record in metadata["history"]]
    assert own[-1]["stop"] == "converged"
    assert own[-1]["log_likelihood"] == metadata["history"][-1]["log_likelihood"]
    several = ok("fit", FAITHFUL, "-k", "1:2", "--log-format", "json", "--log-every", "5", "-q", "-o", "m.pt").stderr
    assert json.loads(several.splitlines()[0])["fit"].startswith("fit 1 of 2: full, 1 component")


def test_a_fit_ends_when_its_time_is_up(here: Path) -> None:
    long = ("--tolerance", "0", "--iterations", "1000000", "--acceleration", "none")
    told = ok("fit", FAITHFUL, "-k", "3", *long, "--time-limit", "2s", "-o", "m.pt").stderr
    assert "the allowed time was up" in told
    assert "not converged: raise --time-limit" in told
    assert load_model("m.pt")[1]["stop"]["name"] == "time limit"
    told = ok("fit", FAITHFUL, "-k", "1:4", *long, "--time-limit", "1s", "-o", "m.pt").stderr
    assert "not fitted, as the allowed time was up" in told


@pytest.mark.usefixtures("blas")
def test_a_checkpoint_is_kept_and_gone_on_from(here: Path) -> None:
    ok("fit", FAITHFUL, *QUICK, "-o", "one.pt")
    kept = ("--checkpoint", "c", "--checkpoint-every", "1", "--resume")
    for _ in range(2):
        ok("fit", FAITHFUL, *QUICK, *kept, "-o", "m.pt")
        assert fit_of("m.pt") == fit_of("one.pt")
    outcome = gmm("fit", FAITHFUL, "-k", "3", *kept, "-o", "m.pt")
    assert outcome.code == 3
    message = "gmm: error: c: it is of a fit with other --components, --restarts: give the same, or remove the file\n"
    assert outcome.stderr == message
    Path("c").write_bytes(Path("c").read_bytes()[:1000])
    outcome = gmm("fit", FAITHFUL, *QUICK, *kept, "-o", "m.pt")
    assert outcome.code == 3
    problem = "it is not a checkpoint of gmm, or it is cut short: remove it to start anew"
    assert outcome.stderr == f"gmm: error: c: {problem}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resume",), "--resume: goes on from a --checkpoint FILE: name one"),
        (("--checkpoint-every", "5"), "--checkpoint-every 5: applies to a --checkpoint FILE: name one"),
        (("--checkpoint", "c", "--checkpoint-every", "0"), "--checkpoint-every 0: must be at least 1"),
        (("--checkpoint", "c", "--checkpoint-every", "soon"), "--checkpoint-every soon: give a time such as 90s"),
        (("--checkpoint", "nowhere/c"), "nowhere/c: there is no folder"),
        (("--checkpoint", "c", "-k", "1:3"), "--checkpoint c: a checkpoint is of a single fit"),
        (("--time-limit", "10 minutes"), "--time-limit 10 minutes: give a time such as 90s, 10m or 1h30m"),
        (("--memory", "much"), "--memory much"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(options: tuple[str, ...], message: str, here: Path) -> None:
    outcome = gmm("fit", FAITHFUL, *options, "-o", "m.pt")
    assert outcome.code == 2
    assert message in outcome.stderr
    assert new_files(here) == set()


def test_durations() -> None:
    assert parse_duration("x", "90") == 90
    assert parse_duration("x", "1h30m") == 5400
    assert parse_duration("x", "1.5d") == 129_600
    assert parse_every("x", "10m") == Every(600)
    assert parse_every("x", "25") == Every(float("inf"), 25)
    for text in ("", "m", "1w", "10 m", "-5s", "1e3"):
        with pytest.raises(UsageError, match="x="):
            parse_duration("x", text)
