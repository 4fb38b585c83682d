"""Completion in the shell: choices, and columns of the file on the command line, without torch or an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gmmcli.families import FAMILIES
from tests.cli.conftest import ENVIRONMENT, EXECUTABLE, gmm, new_files, ok

PENGUINS = "sample_data/penguins.csv"
COLUMNS = ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex", "year"]
MEASURED = COLUMNS[2:6]
Complete = Callable[[str], list[str]]


def variables(line: str) -> dict[str, str]:
    """What bash tells of a line whose last word is to be completed."""
    return {"_GMM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> Complete:
    """What bash would offer after a line."""

    def offered(line: str) -> list[str]:
        for name, value in variables(line).items():
            monkeypatch.setenv(name, value)
        outcome = gmm()
        assert (outcome.code, outcome.stderr) == (0, "")
        return outcome.out.split()

    return offered


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gmm s", ["score", "sample", "show"]),
        ("gmm fit --family ", [*FAMILIES, "all"]),
        ("gmm fit --family full,ti", ["full,tied"]),
        ("gmm fit --family tied,ti", []),
        ("gmm fit --method gr", ["gradient"]),
        ("gmm fit --device cu", ["cuda", "cuda:0"]),
        ("gmm assign --input-format pa", ["parquet"]),
    ],
)
def test_choices(line: str, expected: list[str], complete: Complete) -> None:
    assert complete(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"gmm fit {PENGUINS} --columns ", COLUMNS),
        (f"gmm fit {PENGUINS} --columns b", ["bill_length_mm", "bill_depth_mm", "body_mass_g"]),
        (f"gmm fit {PENGUINS} --columns body_mass_g,bi", [f"body_mass_g,{name}" for name in MEASURED[:2]]),
        (f"gmm fit {PENGUINS} --columns year,sex,year,b", [f"year,sex,year,{n}" for n in MEASURED if n[0] == "b"]),
        (f"gmm fit {PENGUINS} --columns bill_length_mm,bill", ["bill_length_mm,bill_depth_mm"]),
        (f"gmm fit --components 3 {PENGUINS} --quiet --exclude s", ["species", "sex"]),
        (f"gmm fit {PENGUINS} --exclude year --weights y", ["year"]),
        ("gmm fit sample_data/*.parquet --columns f", ["flipper_length_mm"]),
        ("gmm fit sample_data/penguins.parquet --columns x", []),
        ("gmm fit --columns ", []),
        (f"gmm score penguins.pt {PENGUINS} --summary --weights y", ["year"]),
        (f"gmm assign penguins.pt {PENGUINS} --compare s", ["species", "sex"]),
        (f"gmm assign --compare species --soft penguins.pt {PENGUINS} --compare i", ["island"]),
        ("gmm assign penguins.pt --compare f", ["flipper_length_mm"]),
        ("gmm impute penguins.pt --given ", MEASURED),
        (f"gmm impute penguins.pt {PENGUINS} --given body_mass_g,", [f"body_mass_g,{n}" for n in MEASURED[:3]]),
        ("gmm impute --given ", []),
        (f"gmm plot penguins.pt {PENGUINS} --columns b", MEASURED[:2] + MEASURED[3:]),
        ("gmm plot penguins.pt --columns body_mass_g,bill_d", ["body_mass_g,bill_depth_mm"]),
        ("gmm assign --compare ", []),
    ],
)
def test_columns(line: str, expected: list[str], complete: Complete, here: Path) -> None:
    assert complete(line) == expected


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--delimiter ;", "one;two\n1;2\n"),
        ("--delimiter tab", "one\ttwo\n1\t2\n"),
        ("--decimal ,", "one;two\n1;2\n"),
        ("--quote '", "'one','two'\n1,2\n"),
        ("--encoding utf-16", "one,two\n1,2\n"),
    ],
)
def test_the_file_is_read_as_the_line_says(options: str, text: str, complete: Complete, here: Path) -> None:
    Path("d.csv").write_text(text, "utf-16" if "utf-16" in options else "utf-8")
    quoted = options.replace("'", '"\'"').replace(";", '";"')
    assert complete(f"gmm fit d.csv {quoted} --columns ") == ["one", "two"]
    assert complete(f"gmm fit {quoted} d.csv --columns ") == ["one", "two"]


def test_without_a_header_columns_have_numbers(complete: Complete, here: Path) -> None:
    Path("d.csv").write_text("1,2,3\n4,5,6\n")
    assert complete("gmm fit d.csv --no-header --columns ") == ["x1", "x2", "x3"]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "jsonl", "json.zst", "parquet", "arrow", "arrows"])
def test_every_format(suffix: str, complete: Complete, here: Path) -> None:
    ok("generate", "-n", "5", "-o", f"d.{suffix}")
    assert complete(f"gmm fit d.{suffix} --columns ") == ["x1", "x2"]
    Path("folder").mkdir()
    shutil.copy(f"d.{suffix}", "folder")
    assert complete("gmm fit folder --columns ") == ["x1", "x2"]
    Path("bare").write_bytes(Path(f"d.{suffix}").read_bytes())
    expected = [] if suffix == "tsv" else ["x1", "x2"]  # which only its suffix tells from CSV
    assert complete("gmm fit bare --columns ") == expected


def test_names_that_a_shell_would_not_take_as_they_are_are_not_offered(complete: Complete, here: Path) -> None:
    odd = [
        "$(touch sprung)",
        "a b",
        "a;b",
        "a\x1b[2J",
        "a\nb",
        "*",
        "a'b",
        'a"b',
        "-x",
        "a,b",
        "`id`",
        "~",
        "",
        "a|b",
    ]
    plain = ["größe", "a.b", "x_1", "a/b", "a+b", "100%"]
    pq.write_table(pa.table({name: [1.0] for name in (*odd, *plain)}), "odd.parquet")
    assert complete("gmm fit odd.parquet --columns ") == plain


def bad_files() -> None:
    """Files in which no column can be found, and one that must not be opened."""
    contents = {
        "empty.csv": b"",
        "latin.csv": "größe\n".encode("latin-1"),
        "twice.csv": b"a,a\n1,2\n",
        "cut.parquet": b"PAR1\x00\x00PAR1",
        "cut.arrow": b"ARROW1\x00\x00",
        "cut.csv.gz": b"\x1f\x8b\x08\x00",
        "array.json": b"[1, 2]",
        "number.json": b"3\n",
        "model.pt": b"PK\x03\x04 no zip",
    }
    for name, content in contents.items():
        Path(name).write_bytes(content)
    unsound = {"no_json.pt": "{", "no_columns.pt": "{}", "text.pt": '"x"', "odd.pt": '{"columns": 3}'}
    for name, metadata in unsound.items():
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("m/metadata.json", metadata)
    Path("folder").mkdir()
    os.mkfifo("pipe.csv")


def test_whatever_the_file_nothing_is_said(complete: Complete, here: Path) -> None:
    bad_files()
    for path in ("-", "nothing.csv", "nothing-*.csv", "/**/*.csv", "~nobody/x.csv", *new_files(here)):
        assert complete(f"gmm fit {path} --columns ") == [], path
        assert complete(f"gmm impute {path} --given ") == [], path
    assert complete("gmm fit penguins.pt --columns ") == []
    assert complete(f"gmm impute {PENGUINS} --given ") == []
    assert complete(f"gmm fit {PENGUINS} --decimal x --columns ") == []


def test_a_model_without_names(complete: Complete, here: Path) -> None:
    with zipfile.ZipFile("plain.pt", "w") as archive:
        archive.writestr("m/metadata.json", json.dumps({"columns": None, "dims": 3}))
    assert complete("gmm impute plain.pt --given x2,") == ["x2,x1", "x2,x3"]


@pytest.mark.parametrize("start", [b"a,b\n1,2\n", b'{"a": 1, "b": 2}\n'])
@pytest.mark.parametrize("rest", [b"", b"x" * 4_000_000])
def test_a_large_file_is_not_read(start: bytes, rest: bytes, complete: Complete, here: Path) -> None:
    name = "large.csv" if start.startswith(b"a") else "large.json"
    Path(name).write_bytes(start + rest)
    os.truncate(name, 1 << 36)  # a hole, which takes no room on the disk
    began = time.process_time()
    assert complete(f"gmm fit {name} --columns ") == ["a", "b"]
    assert time.process_time() - began < 1


def test_the_executable_completes_without_torch(here: Path) -> None:
    line = f"gmm assign penguins.pt {PENGUINS} --compare is"
    run = {"capture_output": True, "text": True, "env": ENVIRONMENT | variables(line)}
    done = subprocess.run(EXECUTABLE, **run)
    assert (done.returncode, done.stdout, done.stderr) == (0, "island\n", "")
    script = (
        "import sys; from gmmcli.cli.app import main; main(); "
        "print(sorted(set(sys.modules) & {'torch', 'pandas', 'matplotlib'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], **run)
    assert (done.stdout, done.stderr) == ("island\n", "[]\n")


def test_the_completion_script_is_shown_and_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = gmm("--show-completion", "bash").out
    assert "_GMM_COMPLETE=complete_bash" in shown
    assert gmm("--install-completion", "bash").code == 0
    assert ".bash_completions/gmm.sh" in (tmp_path / ".bashrc").read_text()
    script = (tmp_path / ".bash_completions" / "gmm.sh").read_text()
    assert script.strip() == shown.strip()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    executable = here / "gmm"
    executable.write_text(f'#!/bin/sh\nexec {" ".join(EXECUTABLE)} "$@"\n')
    executable.chmod(0o755)
    script = gmm("--show-completion", "bash").out + (
        f"COMP_WORDS=(gmm fit {PENGUINS} --columns year,bi); COMP_CWORD=4\n"
        f"_gmm_completion {executable}; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.split() == ["year,bill_length_mm", "year,bill_depth_mm"]
