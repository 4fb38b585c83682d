"""What bad input gets: one line on stderr that names the culprit and the remedy, an exit code, and no output file."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch

from gmmcli.cli import app as app_module
from gmmcli.cli.app import explain
from gmmcli.errors import NotConvergedError, NumericalError
from tests.cli.conftest import gmm, new_files, ok

FILES = {
    "empty.csv": "",
    "header.csv": "a,b\n",
    "text.csv": "name,when\nann,2020-01-01\nbob,2021-01-01\n",
    "ragged.csv": "a,b\n1,2\n3\n",
    "missing.csv": "eruptions,waiting\n1,2\n,3\n4,NaN\n5,\n",
    "infinite.csv": "eruptions,waiting\n1,2\ninf,3\n",
    "few.csv": "a,b\n1,2\n1,2\n3,4\n",
    "constant.csv": "a,b\n1,7\n2,7\n4,7\n5,7\n",
    "taken.csv": "eruptions,waiting,component\n1,2,3\n",
    "negative.csv": "a,w\n1,1\n2,-1\n3,2\n",
    "data.unknown": "a,b\n1,2\n3,4\n",
}
FAITHFUL = "sample_data/faithful.csv"
PENGUINS = "sample_data/penguins.csv"

FIT = [
    ("no*.csv", 3, "no file matches"),
    ("text.csv", 3, "text.csv: no numeric column.*name: text"),
    ("few.csv -k 3", 3, "3 components for 2 distinct rows: lower --components to 2"),
    ("constant.csv -k 2", 3, "constant.csv: column b: all values are equal"),
    ("constant.csv -k 1:3 -f full,tied", 3, "constant.csv: column b: all values are equal"),
    ("negative.csv --weights w -k 1", 3, "1 negative in weights column w"),
    (f"{PENGUINS} --columns species --missing drop", 3, "column species is not numeric: text"),
    (f"{FAITHFUL} --device cuda:99", 2, "--device cuda:99: there are . CUDA devices here"),
    (f"{FAITHFUL} --components 0", 2, "--components 0: numbers are at least 1"),
    (f"{FAITHFUL} --components two", 2, "--components two: give a number, a range such as 1:9"),
    (f"{FAITHFUL} --tolerance -1", 2, "--tolerance -1: must not be negative"),
    (f"{FAITHFUL} --variance 2", 2, "--variance 2.0: has no effect with family full: give --family constant"),
    (
        f"{FAITHFUL} --method gradient --acceleration none",
        2,
        "--acceleration none: has no effect with method gradient",
    ),
    (f"{FAITHFUL} --batch-size 10", 2, "--batch-size 10: has no effect with method em: give --method gradient"),
    (f"{FAITHFUL} --precision tf32 --device cpu", 2, "--precision tf32: only CUDA devices have tf32, not cpu"),
    (
        f"{FAITHFUL} --method gradient --optimizer lbfgs --mixture-lr 1",
        2,
        "--mixture-lr 1.0: has no effect",
    ),
    (f"{FAITHFUL} --init kmeans", 2, "--init kmeans: there is no such start: choose auto, ward,"),
    (f"{FAITHFUL} --input-format excel", 2, "unknown format 'excel'"),
    (f"{FAITHFUL} --encoding martian", 2, "--encoding: 'martian' makes no sense"),
    (f"{FAITHFUL} --nope", 2, "No such option.*--nope.*gmm fit --help"),
]
OTHERS = [
    ("fit nofile.csv -o nodir/m.pt", 2, "nodir"),  # the folder is looked at before any data
    (f"fit {FAITHFUL} -o other.csv", 2, "other.csv: a model cannot go there"),
    (f"assign nope.pt {FAITHFUL}", 3, "nope.pt"),
    (f"assign fake.pt {FAITHFUL}", 3, "fake.pt: not a gmm model file"),
    (f"assign code.pt {FAITHFUL}", 3, "code.pt: not a gmm model file"),
    (f"assign {FAITHFUL} {FAITHFUL}", 3, "faithful.csv: not a gmm model file"),
    ("assign - -", 2, "MODEL cannot be standard input"),
    (f"assign faithful.pt {PENGUINS}", 3, "columns eruptions, waiting not found.*species"),
    ("score faithful.pt missing.csv -o out.csv", 3, "missing.csv: 1 missing cell in eruptions.*--missing drop"),
    ("score faithful.pt missing.csv --summary", 3, "missing.csv: 1 missing cell in eruptions.*--missing drop"),
    (f"assign faithful.pt {FAITHFUL} -o nodir/out.csv", 2, "nodir"),
    (f"score faithful.pt {FAITHFUL} --json", 2, "--json: applies only with --summary"),
    (f"score faithful.pt {FAITHFUL} --summary -o out.csv", 2, "--output: does not apply with --summary"),
    ("sample faithful.pt --samples 0", 2, "--samples 0: must be at least 1$"),
    ("generate -n -1", 2, "--samples -1: must be at least 1"),
    ("generate --dims 0", 2, "--dims 0: must be at least 1"),
    ("generate -k 1.5", 2, "--components 1.5: must be a whole number"),
    ("generate --radius wide", 2, "--radius wide: must be a number"),
    ("generate --radius 0", 2, "--radius 0: must be positive"),
    ("generate --radius nan", 2, "--radius nan: must be a number"),
    ("generate --family constant --variance 0", 2, "--variance 0: must be positive"),
    ("generate --family constant --variance inf", 2, "--variance inf: must be a number"),
    ("generate --separation -0.5", 2, r"--separation -0\.5: must not be negative"),
    (f"fit {FAITHFUL} -o out.pt --log-every 0", 2, "--log-every 0: must be at least 1"),
    ("sample faithful.pt -o nodir/x.csv", 2, "nodir"),
    ("generate --family nope", 2, "--family nope: unknown family"),
    ("generate --variance 2", 2, "--variance"),
    ("generate --radius 1 --separation 50 -o out.csv", 2, "--separation"),
    ("generate --truth nodir/t.pt", 2, "nodir"),
    ("generate --truth out.pt -o out.pt --output-format csv", 2, "--truth and --output are both out.pt"),
    ("generate --truth out.pt -o ./out.pt --output-format csv", 2, r"--truth and --output are both \./out.pt"),
    ("generate --truth link.pt -o linked.pt --output-format csv", 2, "--truth and --output are both linked.pt"),
    ("generate --truth -", 2, "--truth -: a model cannot go there: name a file such as truth.pt"),
    ("generate --truth out.csv", 2, "--truth out.csv: a model cannot go there"),
]
CASES = [(f"fit {arguments} -o out.pt", code, message) for arguments, code, message in FIT] + OTHERS


@pytest.fixture
def broken(here: Path) -> Path:
    """The working folder with files that are wrong in all these ways."""
    for name, text in FILES.items():
        (here / name).write_text(text)
    (here / "fake.pt").write_text("not a model")
    (here / "link.pt").symlink_to("linked.pt")
    torch.save({"weights": torch.ones(1)}, here / "code.pt")
    with zipfile.ZipFile(here / "code.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(here / "code.pt", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, pickle.dumps(Path) if name.endswith("data.pkl") else content)
    return here


@pytest.mark.parametrize(("line", "code", "message"), CASES, ids=[case[0] for case in CASES])
def test_bad_input(line: str, code: int, message: str, broken: Path) -> None:
    before = new_files(broken)
    outcome = gmm(*line.split())
    *notes, last = outcome.stderr.splitlines()
    assert outcome.code == code
    assert last.startswith("gmm: error: ")
    assert re.search(message, last), last
    assert not any("error" in note or "Traceback" in note for note in notes)
    assert not outcome.stdout
    assert new_files(broken) == before


def test_a_model_file_with_code_is_not_run(broken: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (broken / "sprung",)

    with zipfile.ZipFile(broken / "code.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(broken / "trap.pt", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, pickle.dumps(Trap()) if name.endswith("data.pkl") else content)
    assert gmm("show", "trap.pt").code == 3
    assert not (broken / "sprung").exists()


@pytest.mark.parametrize("line", ["--debug fit nofile.csv -o m.pt", "fit nofile.csv -o m.pt --debug"])
def test_debug_shows_the_traceback(line: str, here: Path) -> None:
    outcome = gmm(*line.split())
    assert outcome.code == 3
    assert "Traceback" in outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith("gmm: error: nofile.csv: no such file")


def test_strict_writes_the_model_and_exits_with_5(here: Path) -> None:
    outcome = gmm("fit", FAITHFUL, "-k", "3", "--iterations", "2", "--strict", "-o", "m.pt")
    assert outcome.code == 5
    assert re.search("error: not converged: .*--iterations", outcome.stderr.splitlines()[-1])
    assert "not converged" in ok("show", "m.pt").out


def test_without_strict_a_warning_names_the_remedy(here: Path) -> None:
    outcome = ok("fit", FAITHFUL, "-k", "3", "--iterations", "2", "-o", "m.pt")
    assert re.search("gmm: warning: not converged: raise --iterations", outcome.stderr)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FileNotFoundError(2, "No such file or directory", "x\n.csv"), 1, "x\n.csv: No such file or directory"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (BrokenPipeError(), 141, ""),
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 1, "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), 1, "not enough memory: CUDA out of memory."),
        (NumericalError("why"), 4, "why"),
        (NotConvergedError("why"), 5, "why"),
        (SystemExit(3), 3, ""),
        (SystemExit(None), 0, ""),
        (ZeroDivisionError("x"), 1, "unexpected ZeroDivisionError: x: run with --debug for the traceback"),
    ],
)
def test_the_table_of_errors(error: BaseException, code: int, message: str) -> None:
    assert explain(error) == (code, message)


def test_the_unexpected_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise AssertionError("two\nlines\x1b[31m")

    monkeypatch.setattr(app_module.typer.main, "get_command", fail)
    outcome = gmm("show", "x")
    assert outcome.code == 1
    assert outcome.stderr == (
        r"gmm: error: unexpected AssertionError: two\nlines\x1b[31m: run with --debug for the traceback" + "\n"
    )
