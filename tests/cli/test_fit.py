"""`gmm fit` and `gmm show`: what is fitted, what is said and what is saved."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

from gmmcli.families import FAMILIES
from gmmcli.model.model_file import load_model
from tests.cli.conftest import new_files, ok

FAITHFUL = "sample_data/faithful.csv"
PENGUINS = "sample_data/penguins.csv"
QUICK = ("--restarts", "2")


def report(*arguments: str, stdin: str = "") -> dict:
    return json.loads(ok("fit", *arguments, *QUICK, "--json", "-o", "m.pt", stdin=stdin).out)


@pytest.mark.parametrize("method", ["em", "gradient"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_method_goes_through_all_commands(family: str, method: str, here: Path) -> None:
    arguments = ["--family", family, "--method", method, "-k", "2", "--restarts", "1"]
    ok("fit", FAITHFUL, *arguments, "-o", "m.pt")
    assert f"family {family}, 2 components" in ok("show", "m.pt").out
    drawn = ok("sample", "m.pt", "--samples", "20").out
    assert len(ok("assign", "m.pt", stdin=drawn).lines) == len(ok("score", "m.pt", stdin=drawn).lines) == 21


def test_it_says_what_it_used_and_what_it_left_out(here: Path) -> None:
    said = ok("fit", PENGUINS, "--exclude", "year", "--missing", "drop", "-k", "2", *QUICK, "-o", "m.pt").stderr
    assert "columns: bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g\n" in said
    assert "left out: species, island, sex (text); year (excluded)\n" in said
    assert "344 rows, 2 left out for missing or infinite cells\n" in said
    assert re.search(r"^log-likelihood -\d+\.\d+, -\d+\.\d+ per row, with 29 parameters$", said, re.M)
    assert re.search(r"^BIC \d+\.\d+, AIC \d+\.\d+, ICL \d+\.\d+$", said, re.M)
    assert re.search(r"^converged after \d+ passes: the estimated remaining gain", said, re.M)
    assert re.search(r"^m.pt: written after \d+\.\d s", said, re.M)


def test_quiet_says_nothing(here: Path) -> None:
    outcome = ok("fit", FAITHFUL, "-k", "2", *QUICK, "-q", "-o", "m.pt")
    assert not outcome.stderr
    assert not outcome.stdout


def test_the_json_report_and_the_metadata(here: Path) -> None:
    got = report(PENGUINS, "--columns", "3:6", "--missing", "drop", "-k", "3")
    _, metadata = load_model("m.pt")
    assert got["model"] == "m.pt"
    assert {name: metadata[name] for name in got if name != "model"} == {k: v for k, v in got.items() if k != "model"}
    assert metadata["columns"] == ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    assert metadata["left_out"]["year"] == "not chosen"
    assert (metadata["rows_read"], metadata["rows_left_out"], metadata["missing"]) == (344, 2, "drop")
    assert metadata["source"] == PENGUINS
    assert metadata["bic"] == pytest.approx(-2 * metadata["log_likelihood"] + 44 * torch.tensor(342.0).log().item())


def test_weights_are_total_weight_everywhere(here: Path) -> None:
    rows = [line.split(",") for line in Path(FAITHFUL).read_text().splitlines()[1:]]
    weighted = "a,b,w\n" + "".join(f"{a},{b},{i % 3}\n" for i, (a, b) in enumerate(rows))
    repeated = "a,b\n" + "".join(f"{a},{b}\n" * (i % 3) for i, (a, b) in enumerate(rows))
    Path("w.csv").write_text(weighted)
    Path("r.csv").write_text(repeated)
    ok("fit", "w.csv", "-k", "2", *QUICK, "--weights", "w", "-o", "w.pt")
    a = json.loads(ok("score", "w.pt", "w.csv", "--weights", "w", "--summary", "--json").out)
    b = json.loads(ok("score", "w.pt", "r.csv", "--summary", "--json").out)
    assert a["total_weight"] == b["total_weight"] == b["rows"]
    for name in ("log_likelihood", "mean_log_likelihood", "aic", "bic", "icl"):
        assert a[name] == pytest.approx(b[name], rel=1e-12)
    _, metadata = load_model("w.pt")
    assert metadata["weights_column"] == "w"
    assert metadata["bic"] == pytest.approx(a["bic"])
    assert metadata["icl"] == pytest.approx(a["icl"])
    said = ok("fit", "w.csv", "-k", "2", *QUICK, "--weights", "w", "-o", "w.pt").stderr
    assert "row weights: w\n" in said
    assert f"total weight N = {b['rows']}" in said


def test_log_every_prints_plain_lines(here: Path) -> None:
    for option in ("--log-every", "--log-freq"):
        said = ok("fit", FAITHFUL, "-k", "3", *QUICK, option, "2", "-o", "m.pt").stderr
        line = r"restart \d+  pass \d+  log-likelihood -\d\S+ per row  gain \S+  remaining \S+  elapsed \S+ s"
        assert len(re.findall(line, said)) >= 4
        ends = re.findall(line + "  stopped: (.*)$", said, re.M)
        assert len(ends) == 2
        assert "converged" in ends


def test_a_start_from_a_model_takes_its_components_family_and_columns(here: Path) -> None:
    before, _ = load_model("penguins.pt")
    ok("fit", PENGUINS, "--init", "penguins.pt", "--missing", "drop", "-o", "m.pt")
    after, metadata = load_model("m.pt")
    assert (after.components, after.family, after.columns) == (before.components, before.family, before.columns)
    assert torch.allclose(after.means, before.means, rtol=1e-2)
    assert metadata["init"] == "penguins.pt"


def test_a_start_from_a_model_is_matched_by_name(here: Path) -> None:
    ok("fit", FAITHFUL, "--init", "faithful.pt", "--columns", "waiting,eruptions", "-o", "m.pt")
    before, after = load_model("faithful.pt")[0], load_model("m.pt")[0]
    assert torch.allclose(after.means, before.means.flip(1), rtol=1e-3)


def test_a_warm_start_may_change_method_and_family(here: Path) -> None:
    ok("fit", FAITHFUL, "--init", "faithful.pt", "--method", "gradient", "-o", "gradient.pt")
    ok("fit", FAITHFUL, "--init", "gradient.pt", "-o", "em.pt")
    ok("fit", FAITHFUL, "--init", "em.pt", "--family", "constant", "--variance", "4", "-o", "constant.pt")
    ok("fit", FAITHFUL, "--init", "constant.pt", "-o", "again.pt")
    assert torch.equal(load_model("again.pt")[0].covariances, load_model("constant.pt")[0].covariances)


@pytest.mark.parametrize("header", ["waiting,eruptions,note", "waiting,eruptions"])
def test_a_start_from_a_table_of_means(header: str, here: Path) -> None:
    extra = ",x" if "note" in header else ""
    Path("means.csv").write_text(f"{header}\n55,2{extra}\n80,4.3{extra}\n")
    ok("fit", FAITHFUL, "--init", "means.csv", "-o", "m.pt")
    model, _ = load_model("m.pt")
    assert model.components == 2
    assert torch.allclose(model.means, load_model("faithful.pt")[0].means, rtol=1e-3)


def test_several_files_globs_and_stdin_are_one_data_set(here: Path) -> None:
    head, *rows = Path(FAITHFUL).read_text().splitlines(keepends=True)
    Path("part1.csv").write_text(head + "".join(rows[:100]))
    Path("part2.csv").write_text(head + "".join(rows[100:]))
    whole = report(FAITHFUL, "-k", "2")["log_likelihood"]
    assert report("part1.csv", "part2.csv", "-k", "2")["log_likelihood"] == pytest.approx(whole, abs=1e-6)
    assert report("part*.csv", "-k", "2")["log_likelihood"] == pytest.approx(whole, abs=1e-6)
    assert report("-", "-k", "2", stdin=head + "".join(rows))["log_likelihood"] == pytest.approx(whole, abs=1e-6)
    assert report("-k", "2", stdin=head + "".join(rows))["log_likelihood"] == pytest.approx(whole, abs=1e-6)


def test_reading_options(here: Path) -> None:
    text = "2,5;x;-99\n1,5;y;3\n4;y;6\n3;x;5,5\n"
    options = ["--no-header", "--decimal", ",", "--null-values", "-99", "--missing", "drop"]
    got = report(*options, "-k", "1", stdin=text)
    assert load_model("m.pt")[0].columns == ("x1", "x3")
    assert (got["rows"], got["data"]["maximum"]) == (3, [4.0, 6.0])


def test_standardize_shows_original_units(here: Path) -> None:
    ok("fit", FAITHFUL, "-k", "2", "--standardize", *QUICK, "-o", "m.pt")
    shown = json.loads(ok("show", "m.pt", "--json").out)
    assert shown["metadata"]["standardisation"] is not None
    assert torch.tensor(shown["means"]).isclose(load_model("faithful.pt")[0].means.float(), rtol=1e-3).all()
    assert "standardized" in ok("show", "m.pt").out


def test_names_are_never_markup_nor_control_characters(here: Path) -> None:
    Path("odd.csv").write_text("[red]a[/red],\x1b[31mb,c\n" + "".join(f"{i},{i * i},x\n" for i in range(9)))
    said = ok("fit", "odd.csv", "-k", "1", *QUICK, "-o", "m.pt").stderr
    shown = ok("show", "m.pt").out
    for text in (said, shown):
        assert "[red]a[/red]" in text
        assert r"\x1b[31mb" in text
        assert "\x1b" not in text


def test_an_unsound_fit_is_warned_of(here: Path) -> None:
    Path("u.csv").write_text("a\n" + "".join(f"{value}\n" for value in (1, 2, 3, 4, 5, 9, 9.0000001)))
    said = ok("fit", "u.csv", "-k", "4", *QUICK, "-o", "m.pt").stderr
    assert re.search("gmm: warning: this fit is not to be trusted: component . .*: lower --components", said)


def test_collinear_columns_are_named_with_a_remedy(here: Path) -> None:
    rows = [[float(cell) for cell in line.split(",")] for line in Path(FAITHFUL).read_text().splitlines()[1:]]
    Path("c.csv").write_text("a,b,c\n" + "".join(f"{a!r},{b!r},{a - 2 * b!r}\n" for a, b in rows))
    said = ok("fit", "c.csv", "-k", "2", *QUICK, "-o", "m.pt").stderr
    assert re.search("gmm: warning: .*columns a, b, c may be collinear: leave some out with --exclude", said)
    assert "collinear" not in ok("fit", "c.csv", "--exclude", "c", "-k", "2", *QUICK, "-o", "m.pt").stderr


def test_show_tells_a_person(here: Path) -> None:
    shown = ok("show", "penguins.pt").out
    for words in ("family full, 3 components, 4 columns, 44 parameters", "weights and means"):
        assert words in shown
    for words in ("standard deviations", "correlations", "342 rows", "method: em"):
        assert words in shown
    assert re.search(r"converged after \d+ passes: the estimated remaining gain fell below the tolerance", shown)


def test_show_as_json_has_all_parameters(here: Path) -> None:
    shown = json.loads(ok("show", "faithful.pt", "--json").out)
    model, metadata = load_model("faithful.pt")
    assert shown["columns"] == ["eruptions", "waiting"]
    assert shown["weights"] == model.weights.tolist()
    assert shown["means"] == model.means.tolist()
    assert shown["covariances"] == model.covariances.tolist()
    assert shown["metadata"] == metadata


@pytest.mark.usefixtures("blas")
def test_the_same_bits_for_any_number_of_threads(here: Path) -> None:
    for threads in ("1", "2"):
        ok("fit", PENGUINS, "--missing", "drop", *QUICK, "--threads", threads, "-o", f"{threads}.pt")
    one, two = load_model("1.pt")[0], load_model("2.pt")[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_only_the_model_is_left_behind(here: Path) -> None:
    ok("fit", FAITHFUL, "-k", "2", *QUICK, "-o", "m.pt")
    assert new_files(here) == {"m.pt"}


def test_the_report_as_json_tells_what_was_fitted(here: Path) -> None:
    told = report(FAITHFUL, "--family", "tied", "-k", "2")
    assert (told["family"], told["components"], told["dims"], told["parameters"]) == ("tied", 2, 2, 8)
    assert told["columns"] == ["eruptions", "waiting"]
    assert told["bic"] == pytest.approx(-2 * told["log_likelihood"] + 8 * math.log(272), rel=1e-12)
