"""Files of earlier versions: models open, score and assign as they did; a checkpoint is refused before any work.

tests/data/models has a folder for each version that is kept: its models, and in expected.json what it made of the
first rows of the data that they were fitted to. `python -m tests.cli.test_old_files FOLDER` writes one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.model_file import load_model
from tests.cli.conftest import ROOT, gmm, new_files, ok

KEPT = Path(__file__).parents[1] / "data" / "models"
MODELS = [f"{folder.name}/{path.stem}" for folder in sorted(KEPT.iterdir()) for path in sorted(folder.glob("*.pt"))]
ROWS = 40
ROUNDING = 1e-9  # nats: densities may be evaluated in another way

PENGUINS = f"{ROOT}/sample_data/penguins.csv --columns 3:6"
FITS = {
    **{
        family: f"{PENGUINS} --missing drop -k 3 --family {family} --restarts 2"
        for family in ("full", "diagonal", "isotropic", "shared_isotropic", "tied", "shared_diagonal")
    },
    "constant": f"{PENGUINS} --missing drop -k 3 --family constant --variance 400 --restarts 2",
    "noise": f"{PENGUINS} --missing em -k 3 --noise --restarts 2",
    "standardized": f"{PENGUINS} --missing drop -k 3 --family isotropic --standardize --restarts 2",
    "selected": f"{ROOT}/sample_data/faithful.csv -k 1:3 --family full,tied",
}


def found(model: GaussianMixture) -> dict[str, list[float]]:
    """Scores and components of the first rows of the model's data."""
    assert model.columns is not None
    name = "penguins" if "bill_length_mm" in model.columns else "faithful"
    frame = pd.read_csv(f"{ROOT}/sample_data/{name}.csv")[list(model.columns)].iloc[:ROWS]
    x = torch.from_numpy(frame.to_numpy(float))
    with torch.inference_mode():
        component = model.most_probable(x, marginal=True)[0]
        return {"log_prob": model.log_prob(x, marginal=True).tolist(), "component": component.tolist()}


@pytest.mark.parametrize("name", MODELS)
def test_models_score_and_assign_as_before(name: str):
    version, stem = name.split("/")
    expected = json.loads((KEPT / version / "expected.json").read_text())[stem]
    actual = found(load_model(str(KEPT / f"{name}.pt"))[0])
    assert len(actual["log_prob"]) == ROWS
    np.testing.assert_allclose(actual["log_prob"], expected["log_prob"], rtol=0, atol=ROUNDING)
    assert actual["component"] == expected["component"]


@pytest.mark.parametrize("name", MODELS)
def test_models_are_shown(name: str, here: Path):
    assert json.loads(ok("show", str(KEPT / f"{name}.pt"), "--json").out)["metadata"]["rows"] in (272, 342, 344)


@pytest.mark.parametrize("path", sorted(KEPT.glob("*/fit.ckpt")), ids=lambda path: path.parent.name)
@pytest.mark.parametrize("resume", [True, False])
def test_a_checkpoint_of_another_version_is_refused_before_any_work(path: Path, resume: bool, here: Path):
    """And stays as it is."""
    Path("fit.ckpt").write_bytes(content := path.read_bytes())
    options = ["--checkpoint", "fit.ckpt", *(["--resume"] if resume else []), "-o", "m.pt"]
    outcome = gmm("fit", f"{ROOT}/sample_data/faithful.csv", "-k", "2", "--restarts", "2", *options)
    assert outcome.code == 3
    assert (
        outcome.stderr
        == "gmm: error: fit.ckpt: it is a checkpoint of another version of gmm: remove it to start anew\n"
    )
    assert Path("fit.ckpt").read_bytes() == content
    assert new_files(here) == {"fit.ckpt"}


def main(folder: Path) -> None:
    """Writes the models of this version and what they make of their rows."""
    folder.mkdir(parents=True)
    for name, arguments in FITS.items():
        ok("fit", *arguments.split(), "-q", "-o", str(folder / f"{name}.pt"))
    answers = {name: found(load_model(str(folder / f"{name}.pt"))[0]) for name in FITS}
    (folder / "expected.json").write_text(json.dumps(answers, indent=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
