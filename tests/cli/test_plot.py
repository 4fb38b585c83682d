"""`gmm plot`: every picture it draws, what it says, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import ENVIRONMENT, gmm, new_files, ok, process, weigh

FAITHFUL = "sample_data/faithful.csv"
PENGUINS = "sample_data/penguins.csv"
GRID = """\
family,components,log_likelihood,parameters,bic,icl,aic,holdout,passes,seconds,chosen,reason
full,1,-1289.6,5,2607.2,2607.2,2589.2,,2,0.1,0,
full,2,-1130.3,11,2322.2,2322.7,2282.5,,9,0.1,1,
full,3,-1119.2,17,2333.7,2360,2272.4,,30,0.2,0,component 2 on 3 rows
full,4,,,,,,,,,0,singular
tied,1,-1289.6,5,2607.2,2607.2,2589.2,,2,0.1,0,
tied,2,-1135,8,2325,2326,2290,,12,0.1,0,
tied,3,-1130,11,2331,2334,2290,,15,0.1,0,
tied,4,-1128,14,2342,2347,2292,,21,0.1,0,
"""


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_model_and_its_data(here: Path) -> None:
    done = ok("plot", "faithful.pt", FAITHFUL, "-o", "out.png", "--dpi", "40", "--width", "5", "--height", "4")
    assert done.stderr == "272 rows\nout.png: written\n"
    assert not done.stdout
    assert size("out.png") == (200, 160)
    assert new_files(here) == {"out.png"}
    assert not ok("plot", "faithful.pt", FAITHFUL, "-o", "out.png", "--dpi", "40", "-q").stderr


def test_letters_without_a_font_are_told_in_one_line(here: Path) -> None:
    text = Path(FAITHFUL).read_text().replace("eruptions", "時間").replace("waiting", "待ち")
    Path("jp.csv").write_text(text)
    warning = "gmm: warning: pictures have no font for the letters 時間待ち and draw boxes"
    fitted = ok("fit", "jp.csv", "-k", "2", "--restarts", "1", "--visualize", "fit.png", "-o", "jp.pt")
    assert fitted.stderr.count(warning) == 1
    assert ok("plot", "jp.pt", "-o", "a.png").stderr.startswith(warning)
    Path("grid.csv").write_text(GRID.replace("tied", "共通"))
    selected = ok("plot", "--selection", "grid.csv", "-o", "a.png").stderr
    assert "letters 共通 and" in selected
    assert "warning" not in ok("plot", "faithful.pt", "-o", "a.png").stderr


def test_a_small_picture_leaves_words_out(here: Path) -> None:
    for arguments in (["penguins.pt"], ["faithful.pt"], ["faithful.pt", "--history"]):
        small = ok("plot", *arguments, "-o", "a.png", "--width", "2", "--height", "1.5", "--debug")
        assert small.stderr == "a.png: written\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["penguins.pt", "--columns", "2"],
        ["penguins.pt", "--columns", "body_mass_g,1"],
        ["penguins.pt", "--columns", "1:2", "--columns", "body_mass_g"],
        ["penguins.pt", "--projection", "pca"],
        ["penguins.pt", "--projection", "pca", "--columns", "2:4"],
        ["faithful.pt", "--history"],
    ],
)
def test_every_choice_is_another_picture(arguments: list[str], here: Path) -> None:
    ok("plot", *arguments, "-o", "chosen.svg")
    ok("plot", arguments[0], "-o", "plain.svg")
    assert Path("chosen.svg").read_bytes() != Path("plain.svg").read_bytes()


def test_missing_cells(here: Path) -> None:
    refused = gmm("plot", "penguins.pt", PENGUINS, "-o", "p.png")
    assert refused.code == 3
    assert "--missing drop" in refused.stderr
    assert not new_files(here)
    dropped = ok("plot", "penguins.pt", PENGUINS, "--missing", "drop", "-o", "p.png", "--dpi", "30")
    assert dropped.stderr.startswith("342 rows, 2 left out for missing cells\n")
    text = Path(PENGUINS).read_text().replace("39.1,18.7,181,3750", "39.1,NA,181,3750")
    Path("holes.csv").write_text(text)
    kept = ok("plot", "penguins.pt", "holes.csv", "--missing", "em", "-o", "p.png", "--dpi", "30")
    assert kept.stderr.startswith("342 rows, 2 left out")  # those that have no cell at all
    plane = ok("plot", "penguins.pt", "holes.csv", "--missing", "em", "--columns", "1,2", "-o", "p.png")
    assert plane.stderr.startswith("341 rows, 3 left out")


def test_row_weights_are_those_of_the_fit_unless_told_otherwise(here: Path) -> None:
    weigh(Path("w.csv"))
    ok("fit", "w.csv", "-k", "2", "--weights", "w", "--restarts", "2", "-o", "w.pt")
    fitted = ok("plot", "w.pt", "w.csv", "-o", "fitted.svg")
    assert fitted.stderr == (
        "217 rows\nrow weights: w, as in the fit; --weights '' draws every row alike\nfitted.svg: written\n"
    )
    asked = ok("plot", "w.pt", "w.csv", "--weights", "w", "-o", "asked.svg")
    assert asked.stderr == "217 rows\nasked.svg: written\n"
    assert Path("asked.svg").read_bytes() == Path("fitted.svg").read_bytes()
    assert ok("plot", "w.pt", "w.csv", "--weights", "", "-o", "alike.svg").stderr.startswith("272 rows\nalike")
    assert ok("plot", "w.pt", FAITHFUL, "-o", "without.svg").stderr.startswith("272 rows\nwithout")
    assert Path("alike.svg").read_bytes() == Path("without.svg").read_bytes() != Path("asked.svg").read_bytes()
    of_another = ok("plot", "faithful.pt", "w.csv", "--weights", "w", "-o", "other.svg")
    assert of_another.stderr == "217 rows\nother.svg: written\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["w.csv", "--weights", "v"], 3, "w.csv: no column v: there are eruptions, waiting, w"),
        (["w.csv", "--weights", "waiting"], 3, "w.csv: column waiting has values, not weights: name another"),
        (["--weights", "w"], 2, "--weights: applies only with DATA"),
        (["--history", "--weights", "w"], 2, "--weights: does not apply with --history"),
        (["bad.csv", "--weights", "w"], 3, "bad.csv: 1 negative in weights column w"),
    ],
)
def test_what_are_no_row_weights(arguments: list[str], code: int, said: str, here: Path) -> None:
    weigh(Path("w.csv"))
    Path("bad.csv").write_text("eruptions,waiting,w\n3,60,-1\n4,70,1\n")
    refused = gmm("plot", "faithful.pt", *arguments, "-o", "a.png")
    assert (refused.code, refused.stderr.count("\n")) == (code, 1)
    assert said in refused.stderr


def test_large_data_are_thinned_and_the_same_from_any_file(here: Path) -> None:
    ok("generate", "--samples", "70000", "--truth", "truth.pt", "-o", "big.csv")
    ok("generate", "--samples", "70000", "-o", "big.parquet")
    csv = ok("plot", "truth.pt", "big.csv", "-o", "csv.png", "--dpi", "40")
    assert "20,000 of 70,000 rows shown" in csv.stderr
    ok("plot", "truth.pt", "big.parquet", "-o", "parquet.png", "--dpi", "40")
    assert Path("csv.png").read_bytes() == Path("parquet.png").read_bytes()


def test_of_many_columns_some_are_shown_and_named(here: Path) -> None:
    ok("generate", "--dims", "9", "--samples", "20", "--truth", "truth.pt", "-o", "wide.csv")
    said = ok("plot", "truth.pt", "-o", "wide.png", "--dpi", "30").stderr
    assert said.startswith("6 of 9 columns shown, those that tell the components apart best: x")
    assert "; --columns picks others\n" in said


def test_data_from_standard_input(here: Path) -> None:
    done = ok("plot", "faithful.pt", "-", "-o", "out.png", "--dpi", "30", stdin=Path(FAITHFUL).read_bytes())
    assert "272 rows" in done.stderr


def test_a_table_of_fits(here: Path) -> None:
    Path("grid.csv").write_text(GRID)
    assert ok("plot", "--selection", "grid.csv", "-o", "grid.svg").stderr == "grid.svg: written\n"
    ok("plot", "--selection", "grid.csv", "--criterion", "bic", "-o", "bic.svg")
    assert Path("grid.svg").read_bytes() == Path("bic.svg").read_bytes()
    ok("plot", "--selection", "grid.csv", "--criterion", "aic", "-o", "aic.svg")
    assert Path("aic.svg").read_bytes() != Path("bic.svg").read_bytes()


@pytest.mark.parametrize(
    ("table", "arguments", "said"),
    [
        ("a,b\n1,2\n", [], "grid.csv: no column family, components, chosen, reason: a table of fits has"),
        (GRID, ["--criterion", "holdout"], "grid.csv: no row has a value of holdout: choose one of bic, icl, aic"),
        (GRID[: GRID.index("tied,4,")], [], "grid.csv: family tied with components 4 is nowhere: give the table as"),
        (GRID[: GRID.index("full,2,")], [], "grid.csv: no rows have 1 in chosen, not one: give the table as gmm fit"),
        (GRID.replace("0,\ntied,4", "1,\ntied,4"), [], "grid.csv: 2 rows have 1 in chosen, not one"),
        (GRID + GRID.partition("\n")[2], [], "grid.csv: family full with components 1 is more than once"),
        (GRID.replace("full,2,", "full,2.5,"), [], "grid.csv: row 2: family full with components 2.5"),
        (GRID.replace("full,2,", "full,,"), [], "row 2: family full with components missing"),
        (GRID.replace("full,2,", "full,two,"), [], "column components is not numeric"),
    ],
)
def test_what_is_no_table_of_fits(table: str, arguments: list[str], said: str, here: Path) -> None:
    Path("grid.csv").write_text(table)
    refused = gmm("plot", "--selection", "grid.csv", *arguments, "-o", "g.png")
    assert refused.code == 3
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["faithful.pt"], 2, "Missing option '--output'"),
        (["-o", "a.png"], 2, "nothing to draw"),
        (["faithful.pt", "-o", "a.jpg"], 2, "a.jpg: no picture by this suffix: give one of .png, .svg, .pdf, .gif"),
        (["faithful.pt", "-o", "nowhere/a.png"], 2, "there is no folder"),
        (["faithful.pt", "--selection", "g.csv", "-o", "a.png"], 2, "MODEL: does not apply with --selection"),
        (["faithful.pt", FAITHFUL, "--history", "-o", "a.png"], 2, "DATA: does not apply with --history"),
        (["faithful.pt", "--history", "--columns", "1", "-o", "a.png"], 2, "--columns: does not apply with"),
        (["faithful.pt", "--history", "--projection", "pca", "-o", "a.png"], 2, "--projection: does not apply"),
        (["faithful.pt", "--criterion", "bic", "-o", "a.png"], 2, "--criterion: applies only with --selection"),
        (["faithful.pt", "--projection", "tsne", "-o", "a.png"], 2, "tsne"),
        (["faithful.pt", "--projection", "pca", "--columns", "1", "-o", "a.png"], 2, "two columns"),
        (["faithful.pt", "--columns", ",", "-o", "a.png"], 2, "--columns: the list is empty"),
        (["faithful.pt", "--columns", "5", "-o", "a.png"], 3, "no column 5: the model has 2 columns"),
        (
            ["faithful.pt", "--columns", "weight", "-o", "a.png"],
            3,
            "no column weight: the model has eruptions, waiting",
        ),
        (["faithful.pt", PENGUINS, "-o", "a.png"], 3, "columns eruptions, waiting not found"),
        (["faithful.pt", "--dpi", "0", "-o", "a.png"], 2, "--dpi 0: must be at least 20"),
        (["faithful.pt", "--width", "1", "-o", "a.png"], 2, "--width 1: must be at least 2"),
        (["faithful.pt", "--height", "1", "-o", "a.png"], 2, "--height 1: must be at least 1.5"),
        (["faithful.pt", "--width", "100", "--height", "100", "--dpi", "1200", "-o", "a.png"], 2, "too large"),
        (["absent.pt", "-o", "a.png"], 3, "absent.pt"),
        ([FAITHFUL, "-o", "a.png"], 3, "faithful.csv"),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, said: str, here: Path) -> None:
    refused = gmm("plot", *arguments)
    assert refused.code == code, refused.stderr
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not new_files(here)


def test_a_model_that_was_not_fitted_has_no_history(here: Path) -> None:
    ok("generate", "--samples", "5", "--truth", "truth.pt", "-o", "d.csv")
    refused = gmm("plot", "truth.pt", "--history", "-o", "a.png")
    assert (refused.code, refused.stderr.count("\n")) == (3, 1)
    assert "truth.pt: it has no history of a fit" in refused.stderr


def test_as_a_process_it_needs_no_display(here: Path) -> None:
    done = process("plot", "faithful.pt", FAITHFUL, "-o", "out.pdf", "--debug")  # which shows warnings
    assert done.code == 0
    assert done.stderr == "272 rows\nout.pdf: written\n"
    assert Path("out.pdf").read_bytes().startswith(b"%PDF")


def test_pyplot_and_pandas_are_not_imported(here: Path) -> None:
    script = (
        "import sys; from gmmcli.cli.app import main; assert main(sys.argv[1:]) == 0; "
        "print(sorted(set(sys.modules) & {'matplotlib.pyplot', 'pandas', 'tkinter'}), file=sys.stderr)"
    )
    arguments = ["plot", "faithful.pt", FAITHFUL, "-q", "-o", "out.png"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, env=ENVIRONMENT, text=True)
    assert done.stderr == "[]\n"
