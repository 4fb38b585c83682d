"""Data larger than the memory that they may take: how much they take, what is left behind, and nothing changes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from gmmcli.data.sink import Sink
from gmmcli.data.source import Source
from gmmcli.model.model_file import load_model
from tests.cli.conftest import ENVIRONMENT, EXECUTABLE, ok, shell

MB = 1_000_000
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")

# Reads a file as a fit does, twice, or as assign does, and prints by how many MB the process grew at its largest;
# not ru_maxrss, which counts the parent too.
READ = """
import re, sys
import pyarrow.parquet
from gmmcli.data.scratch import Scratch
from gmmcli.data.source import Source
from gmmcli.data import columnar, csv

def largest():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024 / 1e6

path, way, memory, folder = sys.argv[1:]
before = largest()
source = Source([path], scratch=Scratch(int(memory), folder))
if way == "tables":
    rows = sum(len(rows.x) for rows in source.tables(source.names))
else:
    blocks = source.blocks(source.select().used)
    rows = [sum(len(block.x) for block in blocks) for _ in range(2)][1]
print(rows, largest() - before)
"""


def grown(path: Path, way: str, memory: int, rows: int) -> float:
    """MB that a process takes to read so many rows of the file, beyond its libraries."""
    folder = path.parent / "cache"
    folder.mkdir(exist_ok=True)
    arguments = [str(path), way, str(memory), str(folder)]
    done = subprocess.run([sys.executable, "-c", READ, *arguments], capture_output=True, env=ENVIRONMENT, text=True)
    assert done.stderr == ""
    assert os.listdir(folder) == []
    read, size = done.stdout.split()
    assert int(read) == rows
    return float(size)


@needs_proc
def test_text_takes_what_it_may(tmp_path: Path) -> None:
    """And does not pass the cap when it may take more, which shows that the cap is worth something."""
    path, cap, rows = tmp_path / "large.csv", 135, 2_400_000
    table = pa.table({f"x{d}": np.random.default_rng(d).normal(size=rows // 3).round(6) for d in range(5)})
    with open(path, "wb") as stream:
        for part in range(3):
            pacsv.write_csv(table, stream, pacsv.WriteOptions(include_header=part == 0))
    assert path.stat().st_size > 2 * 20 * MB
    assert grown(path, "blocks", 20 * MB, rows) < cap
    assert grown(path, "blocks", 1000 * MB, rows) > cap
    assert grown(path, "tables", 1000 * MB, rows) < cap


@needs_proc
def test_a_wide_row_group_is_not_held(tmp_path: Path) -> None:
    path, rows = tmp_path / "large.parquet", 1_000_000
    x = np.random.default_rng(0).normal(size=rows)
    pq.write_table(pa.table({f"x{d}": x + d for d in range(24)}), path, row_group_size=rows, use_dictionary=False)
    assert path.stat().st_size > 190 * MB
    assert grown(path, "blocks", 1, rows) < 160


# ---- the same results


@pytest.fixture
def text(here: Path) -> Path:
    """A CSV with missing cells, numbers written in many ways, and a column of text."""
    x = np.random.default_rng(0).normal(size=(3000, 2)) + np.repeat([[0, 0], [5, 5], [9, 0]], 1000, 0)
    cells = [[f"{a:.3e}", f"{b:.1f}" if b > 0 else f" {b!r}", f'"row, {i}"'] for i, (a, b) in enumerate(x.tolist())]
    for row in range(0, 3000, 17):
        cells[row][row % 2] = ("NA", "", '"7"')[row % 3]
    Path("d.csv").write_text("a,b,name\n" + "".join(",".join(row) + "\n" for row in cells))
    return Path("d.csv")


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv.zst", "jsonl", "jsonl.gz", "parquet", "arrow", "arrows.gz"])
@pytest.mark.parametrize("piped", [False, True])
def test_results_do_not_depend_on_memory(suffix: str, piped: bool, text: Path) -> None:
    data = Path(f"data.{suffix}")
    with Sink(str(data)) as sink:
        for rows in Source([str(text)]).tables(["a", "b"], typed=sink.typed):
            sink.write(rows.table)
    content, paths = (data.read_bytes(), ["-"]) if piped else (b"", [str(data)])
    reading = ["--input-format", suffix] if piped and "tsv" in suffix else []
    results = []
    for memory in ("1", "1GB"):
        options = [*reading, "--missing", "em", "--memory", memory, "--cache-dir", "."]
        ok("fit", *paths, *options, "-k", "3", "--iterations", "15", "-o", "m.pt", stdin=content)
        model, _ = load_model("m.pt")
        outputs = []
        for command in ("assign", "score"):
            ok(command, "m.pt", *paths, *options, "-o", f"out.{suffix}", stdin=content)
            outputs.append(Path(f"out.{suffix}").read_bytes())
        ok("impute", "m.pt", *paths, *reading, "--memory", memory, "-o", f"out.{suffix}", stdin=content)
        outputs.append(Path(f"out.{suffix}").read_bytes())
        summed = ok("score", "m.pt", *paths, *options, "--summary", stdin=content).out
        results.append((model.weights.tolist(), model.means.tolist(), model.covariances.tolist(), outputs, summed))
    assert results[0] == results[1]


# ---- what is left behind


@pytest.fixture
def cache(here: Path) -> Path:
    """An empty folder, beside a file and a model for it."""
    ok("generate", "-n", "100000", "-o", "d.csv")
    ok("fit", "d.csv", "-k", "1", "-o", "d.pt")
    folder = here / "cache"
    folder.mkdir()
    return folder


@needs_proc
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_file_is_left_by_a_signal(sent: signal.Signals, code: int, cache: Path) -> None:
    arguments = [
        "fit",
        "d.csv",
        "-k",
        "20",
        "--tolerance",
        "0",
        "--memory",
        "1",
        "--cache-dir",
        str(cache),
        "-o",
        "m.pt",
    ]
    running = subprocess.Popen(
        [*EXECUTABLE, *arguments],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    assert running.stderr is not None
    while not (opened := temporary_files(running.pid, cache)) and running.poll() is None:
        time.sleep(0.01)
    assert opened
    time.sleep(0.2)
    assert os.listdir(cache) == []
    running.send_signal(sent)
    said = running.stderr.read().decode()
    assert running.wait(30) == code
    assert "Traceback" not in said
    assert os.listdir(cache) == []
    assert not Path("m.pt").exists()


def temporary_files(pid: int, folder: Path) -> list[str]:
    """What a process has open in a folder."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(descriptor))
        except OSError:  # closed since
            continue
    return [name for name in found if name.startswith(str(folder))]


def test_no_file_is_left_by_a_closed_pipe(cache: Path) -> None:
    command = f"cat d.csv | gmm assign d.pt - --memory 1 --cache-dir {cache} | head -n 1; echo ${{PIPESTATUS[1]}}"
    done = shell(command)
    assert done.lines == ["x1,x2,component,probability", "141"]
    assert not done.stderr
    assert os.listdir(cache) == []


@pytest.mark.parametrize(
    "command", ["fit d.csv -o m.pt", "assign d.pt - -o a.csv < d.csv", "score d.pt d.csv --summary"]
)
def test_a_full_disk_is_told_with_the_remedy(command: str, cache: Path) -> None:
    done = shell(f"ulimit -f 100; gmm {command} --memory 1 --cache-dir {cache}")
    assert done.code == 1
    assert done.stderr.startswith(f"gmm: error: {cache}: no temporary file for data larger than the memory: ")
    assert done.stderr.endswith(": name a folder with room by --cache-dir or raise --memory\n")
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(cache) == []
    assert not Path("m.pt").exists()
    assert not Path("a.csv").exists()


def test_the_folder_of_temporary_files_is_the_systems(cache: Path) -> None:
    done = shell("ulimit -f 100; gmm fit d.csv --memory 1 -o m.pt", {"TMPDIR": str(cache)})
    assert done.stderr.startswith(f"gmm: error: {cache}: no temporary file")
    shutil.rmtree(cache)
