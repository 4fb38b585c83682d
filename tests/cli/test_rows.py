"""`generate`, `sample`, `score` and `assign`: rows in, rows out."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gmmcli.data.source import Source
from gmmcli.model.model_file import load_model
from tests.cli.conftest import gmm, new_files, ok

FAITHFUL = "sample_data/faithful.csv"
PENGUINS = "sample_data/penguins.csv"


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_any_number_of_workers_writes_the_same_bytes_in_order(
    suffix: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks go to workers and come back in order; none of it shows, in any command that writes or sums rows."""
    commands = [
        ["generate", "-n", "150000", "--seed", "3", "--truth", "truth.pt", "--labels", "-o", f"d{suffix}"],
        ["assign", "truth.pt", f"d{suffix}", "--soft", "-o", f"a{suffix}"],
        ["score", "truth.pt", f"d{suffix}", "-o", f"s{suffix}"],
        ["score", "truth.pt", f"d{suffix}", "--summary", "--json"],
    ]
    outcomes = []
    for workers in (1, 2, 3):
        monkeypatch.setattr("gmmcli.passes.workers.default_threads", lambda workers=workers: workers)
        said = [ok(*command).out for command in commands]
        outcomes.append((said, [Path(f"{name}{suffix}").read_bytes() for name in "das"]))
    assert outcomes[1] == outcomes[0]
    assert outcomes[2] == outcomes[0]
    given, assigned = (pa.concat_tables(r.table for r in Source([f"{n}{suffix}"]).tables([])) for n in "da")
    assert assigned.select(given.column_names).equals(given)


def test_assign_and_soft_agree_on_the_probability(here: Path) -> None:
    hard, soft = (cells(ok("assign", "faithful.pt", FAITHFUL, *more).out) for more in ([], ["--soft"]))
    assert [row[:4] for row in soft] == hard
    assert all(row[3] == max(row[4:], key=float) for row in soft[1:])


def test_generate_defaults() -> None:
    header, *rows = cells(ok("generate").out)
    assert header == ["x1", "x2"]
    assert len(rows) == 1000
    assert ok("generate").out == ok("generate", "--samples", "1000", "--seed", "42").out
    assert ok("generate").out != ok("generate", "--seed", "1").out


def test_rows_in_single_precision(here: Path) -> None:
    for command in (["generate", "--labels", "-n", "100000"], ["sample", "faithful.pt", "--labels", "-n", "100000"]):
        for dtype in ("float64", "float32"):
            ok(*command, "--dtype", dtype, "-o", f"{dtype}.parquet")
        double, single = (pq.read_table(f"{dtype}.parquet") for dtype in ("float64", "float32"))
        *rows, labels = single.schema.types
        assert (set(rows), labels) == ({pa.float32()}, pa.int64())
        assert double.cast(single.schema, safe=False).equals(single)
        assert Path("float32.parquet").stat().st_size < 0.6 * Path("float64.parquet").stat().st_size


def test_generated_data_have_a_truth_that_scores_them(here: Path) -> None:
    said = ok("generate", "--labels", "--truth", "truth.pt", "--separation", "3", "-o", "d.parquet").stderr
    assert "truth.pt: the true mixture, 5 components, family full" in said
    table = pq.read_table("d.parquet")
    assert table.column_names == ["x1", "x2", "true_component"]
    assert table.schema.field("true_component").type == pa.int64()
    ok("assign", "truth.pt", "d.parquet", "-o", "a.parquet")
    found = pq.read_table("a.parquet")
    same = sum(
        a == b for a, b in zip(found["true_component"].to_pylist(), found["component"].to_pylist(), strict=True)
    )
    assert same > 990
    assert "a known mixture" in ok("show", "truth.pt").out


def test_sample_takes_names_from_training(here: Path) -> None:
    header, *rows = cells(ok("sample", "penguins.pt", "-n", "7", "--labels", "--prefix", "my_").out)
    assert header == ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "my_true_component"]
    assert len(rows) == 7
    assert {row[-1] for row in rows} <= {"0", "1", "2"}
    assert ok("sample", "penguins.pt", "-n", "7").out == ok("sample", "penguins.pt", "-n", "7", "--seed", "42").out


def test_assign_keeps_everything_as_it_was(here: Path) -> None:
    written = ok("assign", "penguins.pt", PENGUINS, "--missing", "drop").lines
    original = Path(PENGUINS).read_text().splitlines()
    assert len(written) == len(original)
    assert [line.rsplit(",", 2)[0] for line in written] == original
    assert written[0].endswith(",component,probability")
    assert written[4].endswith("2007,,")  # the row whose measurements are all missing
    model = load_model("penguins.pt")[0]
    frame = pd.read_csv(PENGUINS)
    expected = model.responsibilities(torch.tensor(frame[list(model.columns or ())].to_numpy()[[0, 1, 2]]))
    for line, shares in zip(written[1:4], expected, strict=True):
        component, probability = line.rsplit(",", 2)[1:]
        assert int(component) == int(shares.argmax())
        assert float(probability) == pytest.approx(float(shares.detach().max()), rel=1e-12)


def test_components_are_integers_beside_missing_rows(here: Path) -> None:
    ok("assign", "penguins.pt", PENGUINS, "--missing", "drop", "-o", "a.parquet")
    table = pq.read_table("a.parquet")
    assert table.schema.field("component").type == pa.int64()
    assert table["component"].null_count == table["probability"].null_count == 2


def test_soft_adds_a_column_for_each_component(here: Path) -> None:
    header, *rows = cells(ok("assign", "faithful.pt", FAITHFUL, "--soft").out)
    assert header[2:] == ["component", "probability", "probability_0", "probability_1"]
    for row in rows:
        shares = [float(cell) for cell in row[4:]]
        assert sum(shares) == pytest.approx(1)
        assert max(shares) == float(row[3]) == shares[int(row[2])]


def test_score_adds_nats_and_leaves_incomplete_rows_empty(here: Path) -> None:
    text = "id,waiting,eruptions,when\n007,79,3.60,2020-01-01\n008,,1.8,2020-01-02\n009,inf,1.8,2020-01-02\n"
    header, first, *others = cells(ok("score", "faithful.pt", "--missing", "drop", stdin=text).out)
    assert header == ["id", "waiting", "eruptions", "when", "log_likelihood"]
    assert first[:4] == ["007", "79", "3.60", "2020-01-01"]
    expected = load_model("faithful.pt")[0].log_prob(torch.tensor([[3.6, 79.0]], dtype=torch.float64))
    assert float(first[4]) == pytest.approx(expected.item(), rel=1e-12)
    assert others == [["008", "", "1.8", "2020-01-02", ""], ["009", "inf", "1.8", "2020-01-02", ""]]


def test_only_incomplete_rows(here: Path) -> None:
    assert ok("assign", "faithful.pt", "--missing", "drop", stdin="eruptions,waiting\n1,\n").lines[1:] == ["1,,,"]


def test_score_summary(here: Path) -> None:
    got = json.loads(ok("score", "faithful.pt", FAITHFUL, "--summary", "--json").out)
    _, metadata = load_model("faithful.pt")
    for name in ("rows", "log_likelihood", "mean_log_likelihood", "aic", "bic", "icl", "parameters"):
        assert got[name] == pytest.approx(metadata[name], rel=1e-9)
    table = ok("score", "faithful.pt", FAITHFUL, "--summary").out
    assert "mean log likelihood" in table
    assert f"{metadata['bic']:.6f}"[:9] in table


def test_prefix_where_names_are_taken(here: Path) -> None:
    once = ok("assign", "faithful.pt", FAITHFUL).out
    assert gmm("assign", "faithful.pt", stdin=once).code == 3
    again = ok("assign", "faithful.pt", "--prefix", "second_", stdin=once).lines[0]
    assert again == "eruptions,waiting,component,probability,second_component,second_probability"


def test_columns_are_matched_by_name_or_without_header_by_position(here: Path) -> None:
    named = ok("score", "faithful.pt", stdin="b,waiting,eruptions\nx,79,3.6\n").lines[1]
    placed = ok("score", "faithful.pt", "--no-header", stdin="3.6,79\n").lines[1]
    assert named.split(",")[-1] == placed.split(",")[-1]


def test_fit_leaves_out_what_the_other_commands_added(here: Path) -> None:
    ok("assign", "faithful.pt", FAITHFUL, "-o", "a.csv")
    said = ok("fit", "a.csv", "-k", "2", "--restarts", "1", "-o", "m.pt").stderr
    assert "columns: eruptions, waiting\n" in said
    assert "left out: component, probability (written by gmm)\n" in said


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "arrow", "arrows", "csv.gz", "csv.zst"])
def test_formats_by_suffix_go_round(suffix: str, here: Path) -> None:
    ok("generate", "-n", "50", "-o", f"d.{suffix}")
    ok("fit", f"d.{suffix}", "-k", "2", "--restarts", "1", "-o", "m.pt")
    ok("assign", "m.pt", f"d.{suffix}", "-o", f"a.{suffix}")
    assert len(ok("score", "m.pt", f"a.{suffix}").lines) == 51
    assert new_files(here) == {f"d.{suffix}", "m.pt", f"a.{suffix}"}


def test_formats_of_streams(here: Path) -> None:
    data = ok("generate", "-n", "50", "--output-format", "parquet").stdout
    ok("fit", "-", "-k", "2", "--restarts", "1", "-o", "m.pt", stdin=data)
    lines = ok("assign", "m.pt", "-", "--output-format", "json", stdin=data).lines
    assert list(json.loads(lines[0])) == ["x1", "x2", "component", "probability"]


def test_decimal_commas_come_out_as_they_went_in(here: Path) -> None:
    text = "waiting;eruptions\n79;3,60\n"
    header, row = ok("assign", "faithful.pt", "--decimal", ",", stdin=text).lines
    assert header == "waiting;eruptions;component;probability"
    assert row.startswith("79;3,60;0;0,9")
