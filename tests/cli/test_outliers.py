"""Outliers through the commands: `fit --noise` and what becomes of its background, `score --quantile`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import torch

from gmmcli.model.model_file import load_model
from tests.cli.conftest import gmm, ok


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def contaminated(path: str) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.randn(300, 2, generator=draw), 40 * torch.rand(30, 2, generator=draw) - 20])
    Path(path).write_text("a,b\n" + "".join(f"{x},{y}\n" for x, y in rows.tolist()))


def test_a_background_from_fit_to_sample(here: Path) -> None:
    contaminated("d.csv")
    said = ok("fit", "d.csv", "--noise", "-k", "1", "-o", "noisy.pt").stderr
    assert "7 parameters" in said
    assert "noise" in said
    shown = ok("show", "noisy.pt").out
    assert "noise" in shown
    background = json.loads(ok("show", "noisy.pt", "--json").out)["background"]
    assert 0.05 < background["weight"] < 0.15
    header, *rows = cells(ok("assign", "noisy.pt", "d.csv", "--soft").out)
    assert header == ["a", "b", "component", "probability", "probability_0", "probability_noise"]
    assert {row[2] for row in rows} == {"0", "-1"}
    assert all(float(row[3]) == max(map(float, row[4:])) for row in rows)
    drawn = cells(ok("sample", "noisy.pt", "-n", "500", "--labels").out)[1:]
    assert 20 < sum(row[-1] == "-1" for row in drawn) < 80
    ok("assign", "noisy.pt", "d.csv", "--soft", "-o", "a.csv")
    assert "columns: a, b\n" in ok("fit", "a.csv", "-k", "1", "-o", "again.pt").stderr


def test_a_fit_goes_on_with_the_background_of_its_start(here: Path) -> None:
    contaminated("d.csv")
    ok("fit", "d.csv", "--noise", "-k", "1", "-o", "noisy.pt")
    ok("fit", "d.csv", "--init", "noisy.pt", "-o", "on.pt")
    assert load_model("on.pt")[0].background is not None


def test_rows_below_a_quantile_are_marked(here: Path) -> None:
    data = "sample_data/faithful.csv"
    outcome = ok("score", "faithful.pt", data, "--quantile", "0.05")
    header, *rows = csv.reader(io.StringIO(outcome.out))
    assert header[-2:] == ["log_likelihood", "outlier"]
    marked = [float(row[-2]) for row in rows if row[-1] == "1"]
    assert 10 <= len(marked) <= 17
    assert max(marked) < min(float(row[-2]) for row in rows if row[-1] == "0")
    assert "outliers: rows of a log-likelihood below" in outcome.stderr
    assert gmm("score", "faithful.pt", data, "--quantile", "1.5").code == 2
    assert gmm("score", "faithful.pt", data, "--quantile", "0.1", "--summary").code == 2
    ok("generate", "-n", "10", "--truth", "truth.pt", "-o", "d.csv")
    error = gmm("score", "truth.pt", "d.csv", "--quantile", "0.1")
    assert error.code == 3
    assert "truth.pt: it does not say how its rows scored" in error.stderr


def test_of_a_background_without_rows_no_overlap_is_told(here: Path) -> None:
    said = ok("fit", "sample_data/faithful.csv", "--noise", "-k", "2", "--restarts", "2", "-o", "noisy.pt").stderr
    overlaps = load_model("noisy.pt")[1]["certainty"]["overlaps"]
    assert [pair[:2] for pair in overlaps] == [[2, 0], [2, 1]]  # 2 is the background
    assert "overlap" not in said
