"""`gmm fit --visualize`: the picture at the end, pictures on the way, and an animation."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

import gmmcli
from tests.cli.conftest import gmm, new_files, ok, weigh

FAITHFUL = "sample_data/faithful.csv"
FIT = ("fit", FAITHFUL, "-k", "3", "--restarts", "2", "--init", "random", "--iterations", "25", "-o", "m.pt")


def test_a_picture_when_it_is_done(here: Path) -> None:
    assert "out.svg: written" in ok(*FIT, "--visualize", "out.svg").stderr
    drawn = Path("out.svg").read_text()
    assert drawn.startswith("<?xml")
    assert new_files(here) == {"m.pt", "out.svg"}


def test_a_picture_every_so_many_passes(here: Path) -> None:
    told = ok(*FIT, "--visualize", "at-{step}.png", "--log-every", "8").stderr
    files = sorted(new_files(here) - {"m.pt"})
    assert f"{len(files)} pictures" in told
    steps = [int(re.fullmatch(r"at-(\d+)\.png", name)[1]) for name in files]  # type: ignore[index]
    assert len(steps) >= 3
    assert all(b // 8 > a // 8 or b == steps[-1] for a, b in pairwise(steps))
    assert Image.open(files[0]).size == Image.open(files[-1]).size


def test_an_animation(here: Path) -> None:
    told = ok(*FIT, "--visualize", "fit.gif").stderr
    frames = int(re.search(r"fit\.gif: (\d+) frames", told)[1])  # type: ignore[index]
    assert frames > 5
    assert getattr(Image.open("fit.gif"), "n_frames") == frames  # noqa: B009


def test_of_one_cell_its_own_steps_are_drawn(here: Path) -> None:
    """Not those of the resamples and of the drawn samples that are fitted afterwards."""
    alone = ok(*FIT, "--visualize", "alone.gif").stderr
    tested = ok(*FIT, "--bootstrap", "2", "--visualize", "tested.gif").stderr
    frames = [re.search(r"gif: (\d+) frames", told)[1] for told in (alone, tested)]  # type: ignore[index]
    assert frames[0] == frames[1]


def test_of_a_grid_the_best_fit_is_drawn(here: Path) -> None:
    ok("fit", FAITHFUL, "-k", "1:2", "--restarts", "2", "-o", "m.pt", "--visualize", "out.png")
    assert Image.open("out.png").format == "PNG"


def test_rows_with_missing_cells_are_left_out_of_the_picture(here: Path) -> None:
    ok("fit", "sample_data/penguins.csv", "--exclude", "year", "--missing", "em", "-k", "2", "--restarts", "1",
       "-o", "m.pt", "--visualize", "out.png")  # fmt: skip
    assert Path("out.png").exists()


@pytest.mark.parametrize("columns", ["eruptions", "eruptions,waiting"])
def test_row_weights_are_those_of_the_fit(columns: str, here: Path) -> None:
    weigh(Path("w.csv"))
    fit = ("fit", "w.csv", "-k", "2", "--columns", columns, "--restarts", "2", "--weights", "w", "-o", "m.pt")
    told = ok(*fit, "--visualize", "fit.svg").stderr
    assert "alike" not in told
    ok("plot", "m.pt", "w.csv", "-o", "weighted.svg")
    ok("plot", "m.pt", "w.csv", "--weights", "", "-o", "alike.svg")
    assert Path("fit.svg").read_bytes() == Path("weighted.svg").read_bytes() != Path("alike.svg").read_bytes()
    assert "frames" in ok(*fit, "--visualize", "fit.gif").stderr
    assert "pictures" in ok(*fit, "--visualize", "{step}.png").stderr


def test_a_background_stays_in_every_frame() -> None:
    x = torch.cat([torch.randn(100, 2), 20 * torch.rand(30, 2) - 10]).double()
    model = gmmcli.fit(x, 2, noise=True, restarts=2).model
    turned = model.ordered([1, 0])
    torch.testing.assert_close(turned.log_prob(x), model.log_prob(x))
    assert torch.equal(turned.means[0], model.means[1])


@pytest.mark.parametrize(
    ("target", "more", "message"),
    [
        ("out.bmp", [], r"out\.bmp"),
        ("nowhere/out.png", [], "there is no folder"),
        ("{step}.gif", [], "a GIF has all steps in it"),
        ("z{stp}.png", [], r"unknown \{stp\}: write \{step\} for the number of passes"),
        ("{step}.png", ["-k", "1:3"], "steps are those of one fit"),
        ("out.gif", ["-f", "full,tied"], "steps are those of one fit"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(target: str, more: list[str], message: str, here: Path) -> None:
    outcome = gmm("fit", FAITHFUL, "-o", "m.pt", "--visualize", target, *more)
    assert outcome.code == 2
    assert re.search(message, outcome.stderr)
    assert new_files(here) == set()
