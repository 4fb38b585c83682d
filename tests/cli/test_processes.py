"""`gmm fit` as several processes under torchrun, and what becomes of it when one of them fails or dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gmmcli.model.model_file import load_model
from tests.cli.conftest import ENVIRONMENT, new_files, ok
from tests.cli.torchrun import done, torchrun

pytestmark = pytest.mark.usefixtures("hostile_module")  # in every process
FIT = ("-k", "3", "--restarts", "3", "-q")


def known(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a model file, and what its metadata say of the fit, times apart."""
    tensors = torch.load(path, weights_only=True)
    _, metadata = load_model(str(path))
    for name in ("seconds", "device", "options"):
        del metadata[name]
    return {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}, metadata


def assert_same_model(a: str | Path, b: str | Path) -> None:
    (one, told), (other, also) = known(a), known(b)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    assert told == also


def write_shards(folder: Path, sizes: list[int], columns: int = 3) -> None:
    """A file of each size, of rows about three centres."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for i, size in enumerate(sizes):
        x = draw.normal(size=(size, columns)) + 3 * draw.integers(0, 3, (size, 1))
        table = pa.table({name: x[:, d] for d, name in enumerate("abcd"[:columns])})
        pq.write_table(table, folder / f"{i}.parquet", row_group_size=max(1, min(400, size)))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, hostile_module: None) -> Path:
    """Files of which one is far larger than the others, and its model."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder / "data", [30, 4000, 1, 50])
    ok("fit", str(folder / "data"), *FIT, "-o", str(folder / "one.pt"))
    return folder


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_any_number_of_processes_gives_the_same_model(processes: int, shards: Path, here: Path) -> None:
    assert done(torchrun(processes, "fit", str(shards / "data"), *FIT, "-o", "m.pt")) == (0, "")
    assert_same_model("m.pt", shards / "one.pt")
    assert new_files(here) == {"m.pt"}


def test_two_hosts(shards: Path, here: Path) -> None:
    """As the README has it, but that both are this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    meeting = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint)
    hosts = [torchrun(2, "fit", str(shards / "data"), *FIT, "-o", "m.pt", meeting=meeting) for _ in range(2)]
    assert [done(host) for host in hosts] == [(0, ""), (0, "")]
    assert_same_model("m.pt", shards / "one.pt")


def test_processes_without_rows_and_text_files(here: Path) -> None:
    """Of three rows and four processes, in a CSV that each reads."""
    Path("few.csv").write_text("a,b\n1,2\n3,4\n5,7\n")
    options = ("-k", "1", "-f", "diagonal", "-q")
    ok("fit", "few.csv", *options, "-o", "one.pt")
    assert done(torchrun(4, "fit", "few.csv", *options, "-o", "m.pt")) == (0, "")
    assert_same_model("m.pt", "one.pt")


def test_a_grid(shards: Path, here: Path) -> None:
    options = ("-k", "2:3", "-f", "full,diagonal", "--criterion", "holdout", "--folds", "2", "--restarts", "2", "-q")
    ok("fit", str(shards / "data"), *options, "-o", "one.pt", "--table", "one.csv")
    code, said = done(torchrun(2, "fit", str(shards / "data"), *options, "-o", "m.pt", "--table", "m.csv"))
    assert (code, said) == (0, "")
    (one, told), (other, also) = known("one.pt"), known("m.pt")
    assert all(torch.equal(one[name], other[name]) for name in one)
    for metadata in (told, also):
        for cell in metadata["selection"]["cells"]:
            del cell["seconds"]
    assert told == also


def test_only_the_first_process_speaks(shards: Path, here: Path) -> None:
    started = torchrun(2, "fit", str(shards / "data"), "-k", "3", "--restarts", "3", "-o", "m.pt", "--json")
    stdout, stderr = started.communicate(timeout=120)
    assert json.loads(stdout)["rows"] == 4081
    assert stderr.count("columns: a, b, c") == 1


def test_standard_input_is_refused(here: Path) -> None:
    code, said = done(torchrun(2, "fit", "-", *FIT, "-o", "m.pt"))
    assert code == 1  # torchrun's
    assert said == "gmm: error: standard input cannot be read by several processes: name files"


def test_other_commands_are_work_for_one_process(shards: Path, here: Path) -> None:
    code, said = done(torchrun(2, "impute", str(shards / "one.pt"), str(shards / "data"), "-o", "out/"))
    assert code == 1
    assert said == "gmm: error: gmm impute is work for one process: under torchrun only fit, score, assign run"
    assert new_files(here) == set()


def test_an_error_on_one_process_is_told_once_and_ends_all(here: Path) -> None:
    write_shards(Path("data"), [3000, 3000, 3000])
    content = Path("data/2.parquet").read_bytes()
    Path("data/2.parquet").write_bytes(content[:4000] + bytes(12_000) + content[16_000:])
    begin = time.monotonic()
    code, said = done(torchrun(3, "fit", "data", *FIT, "-o", "m.pt"))
    assert code == 1
    assert said.count("\n") == 0
    assert said.startswith("gmm: error: data/2.parquet: cannot be read as parquet")
    assert time.monotonic() - begin < 60
    assert new_files(here) == {"data"}


def test_an_error_in_the_data_is_not_tried_again(here: Path) -> None:
    write_shards(Path("data"), [300, 300], columns=2)
    pq.write_table(pa.table({"a": [1.0, float("nan")], "b": [1.0, 2.0]}), "data/2.parquet")
    code, said = done(torchrun(2, "fit", "data", *FIT, "-o", "m.pt", restarts=2))
    assert code == 1
    assert set(said.splitlines()) == {"gmm: error: 3 files: 1 NaN cell in a: use --missing drop or use --missing em"}


def fit_of_some_seconds(folder: Path, output: str, *more: str) -> tuple[str, ...]:
    """Passes enough that it can be stopped in their midst."""
    return ("fit", str(folder / "data"), "-k", "4", "--restarts", "3", "--tolerance", "0", "--iterations", "150",
            "-q", "--acceleration", "none", "-o", output, *more)  # fmt: skip


@pytest.fixture(scope="module")
def long_model(shards: Path) -> Path:
    """The model of that fit, never stopped."""
    ok(*fit_of_some_seconds(shards, str(shards / "long.pt")))
    return shards / "long.pt"


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.02)


def workers_of(started: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    return [int(pid) for pid in children]


def test_a_killed_process_ends_all_others(shards: Path, here: Path) -> None:
    arguments = fit_of_some_seconds(shards, "m.pt", "--checkpoint", "c", "--checkpoint-every", "1")
    started = torchrun(2, *arguments)
    wait_for(Path("c"))
    os.kill(workers_of(started)[-1], signal.SIGKILL)
    begin = time.monotonic()
    code, _ = done(started)
    assert code == 1
    assert time.monotonic() - begin < 30
    assert new_files(here) == {"c"}


def test_a_killed_process_is_started_again_and_the_fit_goes_on(shards: Path, long_model: Path, here: Path) -> None:
    arguments = fit_of_some_seconds(shards, "m.pt")
    kept = ("--checkpoint", "c", "--checkpoint-every", "1", "--resume")
    started = torchrun(2, *arguments, *kept, restarts=1)
    wait_for(Path("c"))
    os.kill(workers_of(started)[-1], signal.SIGKILL)
    assert done(started)[0] == 0
    assert_same_model("m.pt", long_model)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_fit_keeps_its_state_and_goes_on(
    number: signal.Signals, code: int, shards: Path, long_model: Path, here: Path
) -> None:
    """Also by another number of processes."""
    arguments = fit_of_some_seconds(shards, "m.pt")
    kept = ("--checkpoint", "c", "--checkpoint-every", "1h", "--resume")
    command = [sys.executable, "-c", _WITH_SIGNALS, *arguments, *kept, "--log-every", "1"]
    command = [*command[:3], *(one for one in command[3:] if one != "-q")]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert started.stderr is not None
    for line in started.stderr:
        if "pass 30 " in line:
            break
    started.send_signal(number)
    assert started.wait(30) == code
    started.stderr.close()
    assert new_files(here) == {"c"}
    if number == signal.SIGTERM:
        assert done(torchrun(2, *arguments, *kept))[0] == 0
    else:
        ok(*arguments, *kept)
    assert_same_model("m.pt", long_model)


_WITH_SIGNALS = """\
import signal, sys  # a background runner may have had them ignored
from tests.hostile_blas import install
install()
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
from gmmcli.__main__ import run
sys.exit(run())
"""
