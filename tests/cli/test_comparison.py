"""`assign --compare`: the cross-table of components and labels, and the adjusted Rand index."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from gmmcli import adjusted_rand_index
from tests.cli.conftest import Outcome, gmm, ok

FAITHFUL = "sample_data/faithful.csv"
PENGUINS = "sample_data/penguins.csv"
ASSIGN = ["assign", "penguins.pt", PENGUINS, "--missing", "drop"]


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def table(said: str) -> dict[str, list[str]]:
    """The printed cross-table: the cells of each row by its first."""
    lines = said.split("components against ")[1].splitlines()[1:]
    end = next(i for i, line in enumerate(lines) if line.startswith("adjusted"))
    return {cells[0]: cells[1:] for cells in map(str.split, lines[:end])}


def compared(data: str, column: str, *more: str) -> tuple[dict[str, Any], Outcome]:
    """The JSON of a comparison of faithful's components, and all that was said."""
    outcome = ok("assign", "faithful.pt", data, "--compare", column, "--json", "-o", "out.csv", *more)
    return json.loads(outcome.out), outcome


def test_the_table_of_the_penguins(here: Path) -> None:
    outcome = ok(*ASSIGN, "--compare", "species", "-o", "a.csv")
    assert not outcome.out
    rows = rows_of("a.csv")
    counts = Counter((row["component"], row["species"]) for row in rows if row["component"])
    species = ["Adelie", "Chinstrap", "Gentoo"]
    expected = {k: [counts[k, name] for name in species] for k in "012"}
    totals = [sum(column) for column in zip(*expected.values(), strict=True)]
    expected["all"] = totals
    assert table(outcome.stderr) == {
        "component": ["rows", *species],
        **{name: [str(sum(cells)), *map(str, cells)] for name, cells in expected.items()},
    }
    assert totals == [151, 68, 123]
    with_component = [row for row in rows if row["component"]]
    index = adjusted_rand_index(
        [row["component"] for row in with_component], [row["species"] for row in with_component]
    )
    assert index > 0.9
    assert f"adjusted Rand index {index:.4f}: " in outcome.stderr
    assert outcome.stderr.splitlines()[-1] == "not compared: 2 rows without a component"


def test_the_rows_are_written_as_without_it(here: Path) -> None:
    outcome = ok(*ASSIGN, "--compare", "species")
    assert outcome.stdout == ok(*ASSIGN).stdout
    assert "adjusted Rand index" in outcome.stderr
    assert not ok(*ASSIGN, "--compare", "species", "--quiet").stderr


def test_rows_without_a_label_or_a_component_are_counted_apart(here: Path) -> None:
    outcome = ok(*ASSIGN, "--compare", "sex", "-o", "a.csv", "--json")
    assert "not compared: 2 rows without a component, 9 rows without a label\n" in outcome.stderr
    found = json.loads(outcome.out)
    assert (found["rows"], found["rows_compared"]) == (344, 333)
    assert (found["rows_without_component"], found["rows_without_label"]) == (2, 9)
    assert found["labels"] == ["female", "male"]
    assert sum(map(sum, found["counts"])) == 333


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow"])
def test_any_type_of_label_and_file(suffix: str, here: Path) -> None:
    kinds = ["b", "a", None, "a\x1b[2J\n"] * 68
    columns = {
        "text": pa.array(kinds),
        "whole": pa.array([10, 9, None, -1] * 68),
        "truth": pa.array([True, False, None, True] * 68),
        "coded": pa.array(kinds).dictionary_encode(),
    }
    data = pyarrow.csv.read_csv(FAITHFUL)
    for name, column in columns.items():
        data = data.append_column(name, column)
    pq.write_table(data, "source.parquet")
    fitted = f"data.{suffix}"
    ok("assign", "faithful.pt", "source.parquet", "--prefix", "first_", "-o", fitted)
    found = {name: compared(fitted, name, "-q")[0] for name in columns}
    labels = {name: report["labels"] for name, report in found.items()}
    assert labels["text"] == labels["coded"] == ["a", "a\x1b[2J\n", "b"]
    assert labels["whole"] == ["-1", "9", "10"]
    assert labels["truth"] == ["false", "true"]
    assert found["text"]["counts"] == found["coded"]["counts"]
    for report in found.values():
        assert report["rows_without_label"] == 68
        assert report["rows_compared"] == 204
    assert found["text"]["adjusted_rand_index"] == pytest.approx(found["whole"]["adjusted_rand_index"])


def test_a_column_of_the_model_may_be_the_labels(here: Path) -> None:
    found, outcome = compared(FAITHFUL, "waiting")
    assert found["labels"] == sorted(found["labels"], key=float)
    assert len(found["labels"]) == 51
    assert found["rows_compared"] == sum(map(sum, found["counts"])) == 272
    cells = table(outcome.stderr)
    assert len(cells["component"]) == 1 + 12 + 2  # "39 others" is two words
    assert cells["component"][-2:] == ["39", "others"]
    assert cells["all"][0] == "272"
    assert sum(map(int, cells["all"][1:])) == 272
    sizes = Counter(row["waiting"] for row in rows_of(FAITHFUL))
    assert sorted(map(int, cells["all"][1:-1])) == sorted(sizes.values())[-12:]


def test_control_characters_and_long_labels_are_never_printed_raw(here: Path) -> None:
    name = "ki\x1bnd"
    long = "x" * 500
    odd = f'1.8,54,"a\x1b[2J\nb"\n3.6,79,{long}\n3.6,79,{long}\n1.8,54,\x9b31m\u202e\n'
    Path("odd.csv").write_text(f"eruptions,waiting,{name}\n{odd}")
    found, outcome = compared("odd.csv", name)
    assert "\x1b" not in outcome.stderr + outcome.out
    assert not any(character in outcome.out for character in "\x9b\u202e")
    assert found["labels"] == ["a\x1b[2J\nb", long, "\x9b31m\u202e"]
    assert found["adjusted_rand_index"] < 1
    assert "components against ki\\x1bnd\n" in outcome.stderr
    assert "a\\x1b[2J\\nb" in outcome.stderr
    assert "x" * 29 + "…" in outcome.stderr
    assert "x" * 31 not in outcome.stderr


def test_the_background_has_a_row_of_its_own(here: Path) -> None:
    scattered = "\n".join(f"{10 * i % 97 - 50},{31 * i % 389 - 150},far" for i in range(40))
    near = "\n".join(f"{line},near" for line in Path(FAITHFUL).read_text().splitlines()[1:])
    Path("noisy.csv").write_text(f"eruptions,waiting,place\n{near}\n{scattered}\n")
    ok("fit", "noisy.csv", "-k", "2", "--noise", "--restarts", "2", "-o", "noisy.pt")
    outcome = ok("assign", "noisy.pt", "noisy.csv", "--compare", "place", "-o", "out.csv", "--json")
    found = json.loads(outcome.out)
    assert found["components"] == [0, 1, -1]
    far = found["labels"].index("far")
    assert found["counts"][2][far] > 30
    written = Counter(row["component"] for row in rows_of("out.csv"))
    assert [sum(row) for row in found["counts"]] == [written["0"], written["1"], written["-1"]]
    assert "-1 (noise)" in outcome.stderr


def test_blocks_and_workers_add_up(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("generate", "-n", "150000", "--truth", "truth.pt", "--labels", "--separation", "2", "-o", "d.parquet")
    said = []
    for workers in (1, 3):
        monkeypatch.setattr("gmmcli.passes.workers.default_threads", lambda workers=workers: workers)
        arguments = ["--compare", "true_component", "--json", "-o", "a.parquet"]
        said.append(ok("assign", "truth.pt", "d.parquet", *arguments).out)
    assert said[0] == said[1]
    found = json.loads(said[0])
    assigned = pq.read_table("a.parquet")
    index = adjusted_rand_index(assigned["component"], assigned["true_component"])
    assert found["adjusted_rand_index"] == index > 0.9
    assert found["rows_compared"] == 150_000


def test_nothing_to_compare(here: Path) -> None:
    Path("none.csv").write_text("eruptions,waiting,kind\n1.8,54,\n3.6,79,NA\n")
    found, outcome = compared("none.csv", "kind")
    assert found["adjusted_rand_index"] is None
    assert found["labels"] == []
    assert "no row has a component and a label in kind: nothing to compare" in outcome.stderr
    assert "not compared: 2 rows without a label" in outcome.stderr
    missing = ok("assign", "faithful.pt", "--missing", "drop", "--compare", "k", stdin="eruptions,waiting,k\n1,,a\n")
    assert "not compared: 1 row without a component" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--compare", "kind", "-o", "a.csv"], 3, "penguins.csv: --compare: no column kind: there are species, isl"),
        (["--json", "-o", "a.csv"], 2, "--json: applies only with --compare"),
        (["--compare", "species", "--json"], 2, "--json and the rows would both go to standard output"),
        (["--compare", "species", "--json", "-o", "-"], 2, "give the rows a file by -o"),
    ],
)
def test_what_cannot_be_compared(arguments: list[str], code: int, message: str, here: Path) -> None:
    outcome = gmm(*ASSIGN, *arguments)
    assert outcome.code == code
    assert message in outcome.stderr
    assert not outcome.out
    assert not Path("a.csv").exists()


def test_a_measure_is_no_column_of_classes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmmcli.cli.assign.MOST_LABELS", 50)
    outcome = gmm("assign", "faithful.pt", FAITHFUL, "--compare", "waiting", "-o", "a.csv")
    assert outcome.code == 3
    assert "--compare waiting: more than 50 different labels: name a column of classes" in outcome.stderr
    assert not Path("a.csv").exists()


def test_cells_that_are_no_labels(here: Path) -> None:
    data = pyarrow.csv.read_csv(FAITHFUL).slice(0, 2).append_column("raw", pa.array([b"\xff", b"\x00"]))
    pq.write_table(data, "raw.parquet")
    outcome = gmm("assign", "faithful.pt", "raw.parquet", "--compare", "raw", "-o", "a.parquet")
    assert outcome.code == 3
    assert "column raw has no labels: its cells are binary, not text" in outcome.stderr
    assert not Path("a.parquet").exists()
