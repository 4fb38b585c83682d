"""Missing cells through the commands: `fit --missing em`, score and assign by the cells that are there, `impute`."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gmmcli.model.model_file import load_model
from tests.cli.conftest import gmm, new_files, ok

FAITHFUL = "sample_data/faithful.csv"
PENGUINS = "sample_data/penguins.csv"
HOLES = "eruptions,waiting,note\n3.600,79,a\n1.8,,b\n,54,\n,,d\n"


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_a_fit_by_the_cells_that_are_there(here: Path) -> None:
    said = ok("fit", PENGUINS, "--columns", "3:6", "--missing", "em", "-k", "3", "--restarts", "2", "-o", "em.pt")
    assert "344 rows, 2 without a cell or of weight 0\n" in said.stderr
    total = ok("score", "em.pt", PENGUINS, "--missing", "em", "--summary").out
    assert re.search(r"rows +344", total)
    metadata = load_model("em.pt")[1]
    assert metadata["missing"] == "em"
    level = re.search(r"log_?.?likelihood +(-\d+\.\d+)", total)
    assert level is not None
    assert float(level[1]) == pytest.approx(metadata["log_likelihood"], rel=1e-9)


def test_scores_and_components_by_the_cells_that_are_there(here: Path) -> None:
    Path("holes.csv").write_text(HOLES)
    model = load_model("faithful.pt")[0]
    header, *rows = cells(ok("score", "faithful.pt", "holes.csv", "--missing", "em").out)
    assert header[-1] == "log_likelihood"
    sub = model.to_distribution()
    means, variances = model.means.detach(), model.covariances.detach().diagonal(dim1=1, dim2=2)
    for row, column, value in ((1, 0, 1.8), (2, 1, 54.0)):
        normal = torch.distributions.Normal(means[:, column], variances[:, column].sqrt())
        expected = (model.weights.log() + normal.log_prob(torch.tensor(value, dtype=torch.float64))).logsumexp(0)
        assert float(rows[row][-1]) == pytest.approx(float(expected.detach()), rel=1e-12)
    whole = sub.log_prob(torch.tensor([3.6, 79], dtype=torch.float64))
    assert float(rows[0][-1]) == pytest.approx(float(whole.detach()), rel=1e-12)
    assert float(rows[3][-1]) == pytest.approx(0, abs=1e-15)  # a row without a cell: the density of nothing is 1
    assigned = cells(ok("assign", "faithful.pt", "holes.csv", "--missing", "em", "--soft").out)[1:]
    assert float(assigned[3][-2]) == pytest.approx(model.weights[0].item())
    assert [row[:3] for row in assigned] == [row[:3] for row in rows]


@pytest.mark.usefixtures("blas")
def test_complete_rows_score_the_same_bits_beside_rows_with_holes(here: Path) -> None:
    Path("holes.csv").write_text(HOLES)
    alone = cells(ok("score", "faithful.pt", FAITHFUL).out)[1]
    Path("both.csv").write_text("eruptions,waiting\n3.600,79\n,54\n")
    beside = cells(ok("score", "faithful.pt", "both.csv", "--missing", "em").out)[1]
    assert beside[-1] == alone[-1]


def test_imputed_cells_are_conditional_means_and_the_others_stay_as_written(here: Path) -> None:
    Path("holes.csv").write_text(HOLES)
    outcome = ok("impute", "faithful.pt", "holes.csv")
    rows = cells(outcome.out)
    assert outcome.out.startswith("eruptions,waiting,note\n3.600,79,a\n1.8,")
    assert [row[2] for row in rows] == ["note", "a", "b", "", "d"]
    assert "4 missing cells filled" in outcome.stderr
    model = load_model("faithful.pt")[0]
    mean = (model.weights[:, None] * model.means).sum(0)
    assert [float(cell) for cell in rows[4][:2]] == pytest.approx(mean.tolist(), rel=1e-12)
    assert 50 < float(rows[2][1]) < 60  # short eruptions come after short waits
    assert cells(ok("impute", "faithful.pt", "holes.csv", "--quiet").out) == rows


def test_draws_depend_on_the_seed_alone(here: Path) -> None:
    Path("holes.csv").write_text(HOLES)
    one, again, other = (
        ok("impute", "faithful.pt", "holes.csv", "--draw", "--seed", seed).out for seed in ("1", "1", "2")
    )
    assert one == again != other


def test_draws_have_the_conditional_distribution(here: Path) -> None:
    Path("many.csv").write_text("eruptions,waiting\n" + "1.8,\n" * 20_000)
    drawn = torch.tensor([float(row[1]) for row in cells(ok("impute", "faithful.pt", "many.csv", "--draw").out)[1:]])
    mean = float(cells(ok("impute", "faithful.pt", "many.csv").out)[1][1])
    spread = float(drawn.double().std())
    assert 3 < spread < 10
    assert float(drawn.double().mean()) == pytest.approx(mean, abs=5 * spread / 20_000**0.5)


def test_types_and_observed_cells_of_parquet(here: Path) -> None:
    table = pa.table(
        {
            "waiting": pa.array([79, None, 54], pa.int32()),
            "eruptions": pa.array([3.6, 1.8, None], pa.float32()),
            "label": pa.array(["a", None, "c"]),
        }
    )
    pq.write_table(table, "holes.parquet")
    ok("impute", "faithful.pt", "holes.parquet", "-o", "filled.parquet")
    filled = pq.read_table("filled.parquet")
    assert filled.schema.field("waiting").type == pa.float64()
    assert filled.schema.field("eruptions").type == pa.float32()
    assert filled["label"].equals(table["label"])
    assert filled["eruptions"].to_pylist()[:2] == table["eruptions"].to_pylist()[:2]
    assert filled["waiting"].null_count == filled["eruptions"].null_count == 0


@pytest.mark.parametrize("name", ["filled.parquet", "filled.csv"])
def test_integers_that_float64_does_not_hold_come_out_as_they_are_or_not_at_all(name: str, here: Path) -> None:
    """Whichever row group has the missing cell; and a column without one keeps its type."""
    wide = 2**53 + 1
    for place, waiting in enumerate(([wide, 79, 54], [79, wide, None], [None, 79, wide], [wide - 1, 79, None])):
        table = pa.table({"waiting": pa.array(waiting, pa.int64()), "eruptions": [3.6, None, 1.8]})
        pq.write_table(table, "wide.parquet", row_group_size=1)
        outcome = gmm("impute", "faithful.pt", "wide.parquet", "-o", name)
        if place in (1, 2):
            assert outcome.code == 3
            assert "column waiting has missing cells to fill and 9007199254740993, which float64" in outcome.stderr
            assert not new_files(here, ("sample_data", "faithful.pt", "penguins.pt", "wide.parquet"))
            continue
        assert outcome.code == 0
        if name == "filled.parquet":
            filled = pq.read_table(name)
            assert filled.schema.field("waiting").type == (pa.float64() if place else pa.int64())
            assert filled["waiting"].to_pylist()[:2] == waiting[:2]
            assert filled["eruptions"].null_count == filled["waiting"].null_count == 0
        elif not place:
            assert Path(name).read_text().splitlines()[1].split(",")[0] == str(wide)
        Path(name).unlink()


def test_observed_decimals_become_the_nearest_float64(here: Path) -> None:
    written = ["-0.13210", "1234567890.12345", "0.30000", None]
    cells = pa.array([None if text is None else Decimal(text) for text in written], pa.decimal128(20, 5))
    pq.write_table(pa.table({"waiting": cells, "eruptions": [3.6, 1.8, 2.0, 4.0]}), "decimals.parquet")
    ok("impute", "faithful.pt", "decimals.parquet", "-o", "filled.parquet")
    assert pq.read_table("filled.parquet")["waiting"].to_pylist()[:3] == [float(text) for text in written if text]


def test_other_columns_are_predicted_from_those_given(here: Path) -> None:
    Path("waits.csv").write_text("id,waiting\n1,54\n2,80\n3,\n")
    rows = cells(ok("impute", "faithful.pt", "waits.csv", "--given", "waiting").out)
    assert rows[0] == ["id", "waiting", "eruptions"]
    assert 1.5 < float(rows[1][2]) < 2.5 < 4 < float(rows[2][2]) < 4.6
    assert rows[3][1] == ""
    beside = cells(ok("impute", "faithful.pt", FAITHFUL, "--given", "waiting", "--prefix", "predicted_").out)
    assert beside[0] == ["eruptions", "waiting", "predicted_eruptions"]
    error = gmm("impute", "faithful.pt", FAITHFUL, "--given", "waiting", "-o", "x.csv")
    assert error.code == 3
    assert "eruptions already in the data: use --prefix" in error.stderr
    assert not new_files(here, ("sample_data", "faithful.pt", "penguins.pt", "waits.csv"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--given", "speed"], 3, "--given: no column speed in the model: it has eruptions, waiting"),
        (["--given", "eruptions,waiting"], 2, "--given: names every column of the model: leave out those to predict"),
        (["--prefix", "p_"], 2, "--prefix p_: applies only with --given, which adds columns"),
    ],
)
def test_what_cannot_be_imputed(here: Path, arguments: list[str], code: int, message: str) -> None:
    error = gmm("impute", "faithful.pt", FAITHFUL, *arguments)
    assert error.code == code
    assert message in error.stderr
