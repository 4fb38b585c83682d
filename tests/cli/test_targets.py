"""What is read is not written over, nor one output over another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import gmm, new_files, ok

FAITHFUL = "sample_data/faithful.csv"
QUICK = ("--restarts", "1", "-q")


@pytest.fixture
def files(here: Path) -> dict[str, bytes]:
    """Data under several names, a model of its own, and what each of them holds."""
    for name in ("my.csv", "my.dat", "folder/part.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(FAITHFUL, name)
    shutil.copy("faithful.pt", "m.pt")
    Path("link.csv").symlink_to("my.csv")
    os.link("my.csv", "hard.csv")
    names = ("my.csv", "my.dat", "folder/part.csv", "m.pt", "hard.csv")
    return {name: Path(name).read_bytes() for name in names}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fit my.csv -k 1:2 --table my.csv -o z.pt", "--table my.csv: this file is read as data"),
        ("fit my.csv -k 1:2 --table ./my.csv -o z.pt", "--table ./my.csv: this file is read as data"),
        ("fit my.csv -k 1:2 --table link.csv -o z.pt", "--table link.csv: this file is read as data"),
        ("fit my.csv -k 1:2 --table hard.csv -o z.pt", "--table hard.csv: this file is read as data"),
        ("fit folder -k 1:2 --table folder/part.csv -o z.pt", "--table folder/part.csv: this file is read as data"),
        ("fit m*.csv -k 1:2 --table my.csv -o z.pt", "--table my.csv: this file is read as data"),
        ("fit my.dat --input-format csv -o my.dat", "--output my.dat: this file is read as data"),
        (
            "fit my.dat --input-format csv --checkpoint my.dat -o z.pt",
            "--checkpoint my.dat: this file is read as data",
        ),
        ("fit my.csv --init my.dat -o my.dat", "--output my.dat: this file is read as --init"),
        ("fit my.csv --init m.pt --checkpoint m.pt -o z.pt", "--checkpoint m.pt: this file is read as --init"),
        (
            "fit my.csv --visualize q.png -o q.png",
            "--output and --visualize are both q.png: give them different names",
        ),
        ("fit my.csv --checkpoint z.pt -o ./z.pt", "--output and --checkpoint are both z.pt"),
        ("assign m.pt my.csv hard.csv -o my.csv", "--output my.csv: this file is read as a part of the data"),
        ("assign m.pt my.csv -o m.pt --output-format csv", "--output m.pt: this file is read as the model"),
        ("score m.pt my.csv -o m.pt --output-format csv", "--output m.pt: this file is read as the model"),
        ("impute m.pt my.csv -o m.pt --output-format csv", "--output m.pt: this file is read as the model"),
        ("sample m.pt -o m.pt --output-format csv", "--output m.pt: this file is read as the model"),
    ],
)
def test_what_is_read_is_not_written_over(line: str, message: str, files: dict[str, bytes], here: Path) -> None:
    before = new_files(here)
    outcome = gmm(*line.split())
    assert outcome.code == 2
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert {name: Path(name).read_bytes() for name in files} == files
    assert new_files(here) == before


def test_a_picture_is_not_drawn_over_its_model(here: Path) -> None:
    shutil.copy("faithful.pt", "m.png")
    outcome = gmm("plot", "m.png", "-o", "m.png")
    assert (outcome.code, outcome.stderr) == (
        2, "gmm: error: --output m.png: this file is read as the model: name another\n"
    )  # fmt: skip


def test_a_model_may_go_on_from_itself(files: dict[str, bytes]) -> None:
    ok("fit", "my.csv", "--init", "m.pt", "-o", "m.pt", *QUICK)
    assert Path("m.pt").read_bytes() != files["m.pt"]


def test_the_only_file_of_the_data_may_be_replaced(files: dict[str, bytes]) -> None:
    ok("assign", "m.pt", "my.csv", "-o", "my.csv")
    before, after = (text.decode().splitlines() for text in (files["my.csv"], Path("my.csv").read_bytes()))
    assert after[0] == "eruptions,waiting,component,probability"
    assert [line.rsplit(",", 2)[0] for line in after[1:]] == before[1:]


def test_several_outputs_may_go_nowhere(files: dict[str, bytes]) -> None:
    nowhere = ("-o", os.devnull, "--table", os.devnull)
    assert gmm("fit", "my.csv", "-k", "1:2", *QUICK, *nowhere).code == 0
