"""`gmm fit` with several --components or --family: the table, the file of it, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from gmmcli.choosing.cells import Cause, Cell
from gmmcli.cli.fit_report import by_cause
from gmmcli.model.model_file import load_model
from tests.cli.conftest import ENVIRONMENT, executable, gmm, ok, process

FAITHFUL, PENGUINS = "sample_data/faithful.csv", "sample_data/penguins.csv"

QUICK = ("--restarts", "3")


def test_the_table_names_the_winner_and_the_model_is_it(here: Path) -> None:
    told = ok("fit", FAITHFUL, "-k", "1:3", "-f", "full,tied", *QUICK, "-o", "m.pt", "--table", "g.csv").stderr
    assert "BIC by number of components and family, less is better" in told
    assert re.search(r"^K +tied +full$", told, re.M)
    assert re.search(r"^3 +2314\.30\* +\d+\.\d\d$", told, re.M)
    assert "* best by BIC: family tied, 3 components, 2314.30" in told
    model, metadata = load_model("m.pt")
    assert (model.family, model.components) == ("tied", 3)
    assert metadata["selection"]["criterion"] == "bic"
    assert len(metadata["selection"]["cells"]) == 6
    with Path("g.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["components"] for row in rows if row["chosen"] == "1"] == ["3"]
    assert all(row["reason"] == "" and row["holdout"] == "" for row in rows)
    assert float(rows[2]["bic"]) == pytest.approx(metadata["bic"])
    assert "chosen among 6 fits by bic" in ok("show", "m.pt").out


def test_unsound_and_failed_cells_are_told_with_their_reason(here: Path) -> None:
    Path("few.csv").write_text("a,b\n1,2\n2,1\n3,5\n4,4\n5,9\n6,7\n")
    told = ok("fit", "few.csv", "-k", "1,4,9", "-f", "full", "-o", "m.pt").stderr
    assert re.search(r"^9 +–$", told, re.M)
    assert "– full, 9 components: 9 components for 6 distinct rows" in told
    assert re.search(r"^! full, 4 components: .*component", told, re.M)


def test_cells_of_one_cause_are_told_together(here: Path) -> None:
    Path("few.csv").write_text("a,b\n1,2\n2,1\n3,5\n4,4\n5,9\n6,7\n")
    told = ok("fit", "few.csv", "-k", "1,7:9", "-f", "isotropic", "-o", "m.pt", "--table", "g.csv").stderr
    assert "– isotropic, 7, 8 and 9 components: with 7, 7 components for 6 distinct rows" in told
    assert told.count("distinct rows") == 1
    with Path("g.csv").open() as file:
        assert sum("distinct rows" in row["reason"] for row in csv.DictReader(file)) == 3


def test_causes_of_different_kinds_are_told_apart() -> None:
    def cell(components: int, kind: str, share: float) -> Cell:
        return Cell("full", components, None, {}, cause=Cause(kind, f"component {components} at {share}"))

    cells = [cell(3, "flat", 1e-9), cell(4, "few rows", 0.5), cell(5, "flat", 2e-9)]
    assert [[one.components for one in alike] for alike in by_cause(cells)] == [[3, 5], [4]]


def test_other_criteria_and_outputs(here: Path) -> None:
    told = ok("fit", FAITHFUL, "-k", "1:2", "--criterion", "holdout", "--folds", "3", *QUICK, "-o", "m.pt").stderr
    assert "held-out log-likelihood per row by number of components and family, more is better" in told
    assert "best by held-out log-likelihood per row: family full, 2 components" in told
    report = json.loads(ok("fit", FAITHFUL, "-k", "2,3", *QUICK, "-o", "m.pt", "--json", "-q").out)
    assert report["components"] == 2
    table = ok("fit", FAITHFUL, "-k", "2,3", *QUICK, "-o", "m.pt", "--table", "-").out
    assert table.startswith(
        "family,components,log_likelihood,parameters,bic,icl,aic,holdout,passes,seconds,converged"
    )


@pytest.mark.usefixtures("hostile")
def test_an_interrupted_grid_goes_on_with_resume(here: Path) -> None:
    """To the model that it would have found without the interrupt."""
    ok("generate", "--samples", "3000", "--dims", "3", "-o", "d.csv", "-q")
    fit = ["fit", "d.csv", "-k", "1:9", "-f", "full"]
    command = [*fit, "--resume", "-o", "m.pt", "--log-every", "1000000"]
    with subprocess.Popen(
        [*executable(), *command],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a runner in the background ignores it
    ) as running:
        while not any(Path().glob("m.pt.cells/full-3-*.pt")):
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        last = running.stderr.read().splitlines()[-1]
    assert running.returncode == 130
    kept = {path.name for path in Path("m.pt.cells").iterdir()}
    assert last == (
        f"gmm: interrupted: {len(kept)} of 9 fits are kept in m.pt.cells: the same command goes on from them"
    )
    assert not Path("m.pt").exists()
    told = process(*command).stderr
    assert told.count("\nfit ") <= 10 - len(kept)
    assert not Path("m.pt.cells").exists()
    ok(*fit, "-q", "-o", "one.pt")
    (model, metadata), (one, expected) = load_model("m.pt"), load_model("one.pt")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), one.parameters(), strict=True))
    cells, others = ([cell | {"seconds": None} for cell in m["selection"]["cells"]] for m in (metadata, expected))
    assert len(cells) == 9
    assert cells == others


def test_what_is_kept_of_another_grid_stays(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ("fit", FAITHFUL, "-k", "1:2", *QUICK, "--resume", "-o", "m.pt")
    with monkeypatch.context() as patched:
        patched.setattr("gmmcli.cli.fit_work.grid_metadata", interrupt)
        assert gmm(*first).code == 130
    kept = {path.name for path in Path("m.pt.cells").iterdir()}
    assert len(kept) == 2
    Path("other.csv").write_text(Path(FAITHFUL).read_text().replace("3.6", "3.7"))  # of the same columns
    told = ok("fit", "other.csv", *first[2:]).stderr
    assert "m.pt.cells: stays, as there is more in it, such as fits of another grid\n" in told
    assert {path.name for path in Path("m.pt.cells").iterdir()} == kept
    told = ok(*first, "--log-every", "100000").stderr
    assert "\nfit " not in told
    assert "stays" not in told
    assert not Path("m.pt.cells").exists()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "nothing of the fit is kept: --checkpoint FILE would keep it"),
        (("--checkpoint", "c"), "nothing is kept in c yet"),
        (
            ("--checkpoint", "c", "--checkpoint-every", "1"),
            "the fit is kept in c as far as it came: --resume goes on from it",
        ),
        (("-f", "full,tied"), "none of the fits is kept: --resume would keep those that are done"),
        (("-f", "full,tied", "--resume"), "no fit is kept, as none of 2 was done"),
    ],
)
def test_an_interrupt_tells_what_is_kept(
    options: tuple[str, ...], told: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gmmcli.fitting.fit.closing_pass", interrupt)
    outcome = gmm("fit", FAITHFUL, "-k", "2", *QUICK, *options, "-o", "m.pt")
    assert (outcome.code, outcome.stderr) == (130, f"gmm: interrupted: {told}\n")
    assert Path("c").exists() == ("--checkpoint-every" in options)
    assert gmm("fit", FAITHFUL, "-k", "2", *QUICK, *options, "-q", "-o", "m.pt").stderr == ""


def test_the_bootstrap_is_told_and_kept(here: Path) -> None:
    told = ok("fit", FAITHFUL, "-k", "1", "--bootstrap", "4", *QUICK, "-o", "m.pt").stderr
    assert "likelihood-ratio test of 1 component against 2: 2 Δ log L = 319.07, p = 0.2 by 4 samples drawn" in told
    assert "from the fit of 1, the least that p can be with so many: raise --bootstrap" in told
    assert "standard errors of weights" in told
    assert load_model("m.pt")[1]["bootstrap"]["ratio_test"]["replicates"] == 4
    assert "likelihood-ratio test" in ok("show", "m.pt").out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-k 3:1", "--components 3:1: numbers are at least 1, and a range runs upwards"),
        ("-k 1:3 -f fulll", "--family fulll: there is no such family: choose one of .*, or all"),
        ("-k 1:3 --folds 3", "--folds 3: has no effect with criterion bic: give --criterion holdout"),
        ("-k 1:3 --criterion holdout --folds 1", "--folds 1: must be at least 2"),
        ("-k 1:3 --init faithful.pt", "--init faithful.pt: a file starts one fit"),
        ("-k 1:3 --table nowhere/g.csv", "nowhere/g.csv: there is no folder"),
        ("-k 1:3 --table g.xyz", "--table g.xyz: no format by this suffix: give one of .csv, .tsv"),
        ("-k 1:3 --table - --json", "both write to standard output"),
        ("-k 1:3 --bootstrap 10 --weights waiting", "--bootstrap 10: draws whole rows"),
        (
            "-k 1:3 --variance 2 -f full,tied",
            "--variance 2.0: has no effect with family full: give --family",
        ),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(line: str, message: str, here: Path) -> None:
    outcome = gmm("fit", FAITHFUL, *line.split(), "-o", "out.pt")
    assert outcome.code == 2
    assert re.search(message, outcome.stderr)
    assert not Path("out.pt").exists()


def test_penguins_as_the_readme_has_them(here: Path) -> None:
    told = ok(
        "fit", PENGUINS, "--exclude", "year", "--missing", "drop", "-k", "3:4", "-f", "all", "-o", "m.pt"
    ).stderr
    assert "* best by BIC: family tied, 4 components, 10505.69" in told
