"""Importing the libraries: the collector of garbage is spared them, and works as before for all else."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from gmmcli.cli.processes import library_imports
from tests.cli.conftest import ENVIRONMENT

FAITHFUL = "sample_data/faithful.csv"
COMMANDS = [
    "show faithful.pt",
    "sample faithful.pt",
    f"assign faithful.pt {FAITHFUL} -q -o labelled.csv",
    f"fit {FAITHFUL} -k 2 -q -o m.pt --checkpoint m.ckpt --checkpoint-every 5 --time-limit 1h",
]


@pytest.mark.parametrize(
    "arguments",
    [
        "show faithful.pt",
        "sample faithful.pt -q",
        "assign faithful.pt sample_data/faithful.csv -q",
        "fit sample_data/faithful.csv -k 2 -o m.pt -q --checkpoint c --checkpoint-every 5 --time-limit 1h",
        "fit sample_data/faithful.csv --init faithful.pt -o m.pt -q",
    ],
)
def test_the_collector_is_on_again_and_looks_through_no_library(arguments: str, here: Path) -> None:
    """It is spared them only if torch is imported inside library_imports, and not before."""
    script = (
        "import gc, sys; from gmmcli.cli.app import main; main(sys.argv[1:]); "
        "print(gc.isenabled(), gc.get_freeze_count() > 50_000 > len(gc.get_objects()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments.split()], capture_output=True, env=ENVIRONMENT, text=True
    )
    assert done.stderr == "True True\n"


def test_a_caller_with_torch_keeps_the_collector_as_it_is() -> None:
    import torch  # noqa: F401

    before = gc.isenabled(), gc.get_freeze_count()
    with library_imports():
        assert gc.isenabled()
    assert (gc.isenabled(), gc.get_freeze_count()) == before


@pytest.mark.parametrize("output", ["out.csv", "out.json", "out.parquet", "out.arrow"])
@pytest.mark.parametrize("command", ["assign faithful.pt data.csv --missing drop", "sample faithful.pt"])
def test_pyarrow_is_used_in_ways_that_import_no_pandas(command: str, output: str, here: Path) -> None:
    text = Path("sample_data/penguins.csv").read_text()
    Path("data.csv").write_text(text.replace("bill_length_mm,bill_depth_mm", "eruptions,waiting"))
    script = (
        "import sys; from gmmcli.cli.app import main; "
        "assert main(sys.argv[1:]) == 0; print('pandas' in sys.modules, file=sys.stderr)"
    )
    arguments = [*command.split(), "-q", "-o", output]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, env=ENVIRONMENT, text=True)
    assert done.stderr == "False\n"
