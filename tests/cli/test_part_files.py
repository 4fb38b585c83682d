"""`gmm score` and `gmm assign` as several processes, each of which writes a file of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import gmm, new_files, ok
from tests.cli.torchrun import done, torchrun

pytestmark = pytest.mark.usefixtures("hostile_module")  # in every process


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, hostile_module: None) -> Path:
    """Files of which one is far larger than the others, with a missing cell and labels; their model and its rows."""
    folder = tmp_path_factory.mktemp("parts")
    draw = np.random.default_rng(0)
    (folder / "in").mkdir()
    for i, size in enumerate([7, 3000, 400]):
        label = draw.integers(0, 3, size)
        x = draw.normal(size=(size, 2)) + 4 * label[:, None]
        a = [None, *x[1:, 0].tolist()]
        table = pa.table({"a": a, "name": [f"it's {k}" for k in label], "b": x[:, 1]})
        pq.write_table(table, folder / f"in/{i}.parquet", row_group_size=300)
    ok("fit", str(folder / "in"), "--columns", "a,b", "-k", "3", "--missing", "drop", "-q", "-o", f"{folder}/m.pt")
    return folder


@pytest.mark.parametrize("processes", [1, 3])
def test_the_files_together_are_what_one_process_writes(processes: int, data: Path, here: Path) -> None:
    arguments = ("assign", f"{data}/m.pt", f"{data}/in", "--missing", "drop", "--compare", "name")
    said = ok(*arguments, "-o", "one.parquet").stderr
    started = torchrun(processes, *arguments, "-o", "out/")
    _, also = started.communicate(timeout=120)
    assert started.returncode == 0
    files = sorted(os.listdir("out"))
    assert files == [f"part-{i}-of-{processes}.parquet" for i in range(processes)]
    parts = [pq.read_table(f"out/{name}") for name in files]
    assert all(part.num_rows for part in parts)
    assert pa.concat_tables(parts).equals(pq.read_table("one.parquet"))
    assert "3 of 3407 rows have missing or infinite cells" in said
    for line in said.splitlines()[1:]:  # all but the name of the output
        assert line in also


def test_text_is_divided_by_files_and_a_process_may_have_none(data: Path, here: Path) -> None:
    for i in range(2):
        Path(f"{i}.csv").write_text("b,a\n" + "".join(f"0.5,{n}.25\n" for n in range(5 + i)))
    ok("score", f"{data}/m.pt", "0.csv", "1.csv", "-o", "one.csv")
    code, _ = done(torchrun(3, "score", f"{data}/m.pt", "0.csv", "1.csv", "-o", "out.csv/"))
    assert code == 0
    texts = [Path(f"out.csv/part-{i}-of-3.csv").read_text().splitlines() for i in range(3)]
    assert {text[0] for text in texts} == {"b,a,log_likelihood"}
    assert [line for text in texts for line in text[1:]] == Path("one.csv").read_text().splitlines()[1:]
    assert [len(text) for text in texts].count(1) == 1


def test_a_summary_is_the_same_whoever_adds(data: Path, here: Path) -> None:
    arguments = ("score", f"{data}/m.pt", f"{data}/in", "--summary", "--missing", "em", "--json")
    one = ok(*arguments).out
    started = torchrun(3, *arguments)
    out, _ = started.communicate(timeout=120)
    assert json.loads(out) == json.loads(one)


def test_several_processes_are_given_a_new_folder(data: Path, here: Path) -> None:
    code, said = done(torchrun(2, "assign", f"{data}/m.pt", f"{data}/in", "-o", "out.csv"))
    assert code != 0
    assert said == "gmm: error: --output: several processes write a file each: name a new folder, as -o labelled/"
    Path("out").mkdir()
    Path("out/mine.csv").write_text("a,b\n1,2\n")
    code, said = done(torchrun(2, "assign", f"{data}/m.pt", f"{data}/in", "-o", "out/"))
    assert code != 0
    assert said == "gmm: error: out/: this folder has files: name a new one"
    assert new_files(here) == {"out"}
    assert os.listdir("out") == ["mine.csv"]


def test_an_error_on_one_process_leaves_no_file(data: Path, here: Path) -> None:
    code, said = done(torchrun(3, "assign", f"{data}/m.pt", f"{data}/in", "-o", "out/"))
    assert code != 0
    assert "3 missing cells in a" in said
    assert not [name for _, _, names in os.walk("out") for name in names]


def test_one_process_writes_a_folder_too(data: Path, here: Path) -> None:
    ok("score", f"{data}/m.pt", f"{data}/in", "--missing", "drop", "-o", "out/", "--output-format", "csv.gz")
    assert os.listdir("out") == ["part-0-of-1.csv.gz"]
    assert (
        json.loads(ok("score", f"{data}/m.pt", "out/", "--summary", "--missing", "drop", "--json").out)["rows"]
        == 3404
    )
    again = gmm("score", f"{data}/m.pt", f"{data}/in", "--missing", "drop", "-o", "out/")
    assert (again.code, again.stderr) == (2, "gmm: error: out/: this folder has files: name a new one\n")
