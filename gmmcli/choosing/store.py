"""Finished cells of a grid on disk, so that an interrupted one does not start anew.

A folder with a model file for each cell. One that was made of other data, by other options or by another version is
not used, and neither is one that cannot be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from typing import Any

from gmmcli.addresses import inside
from gmmcli.choosing.cells import Cell
from gmmcli.errors import GmmError
from gmmcli.files import make_folder, remove
from gmmcli.fitting.options import FitOptions
from gmmcli.model_file import load_model, save_model
from gmmcli.version import __version__

IRRELEVANT = ("threads",)  # options that change no result


class FolderStore:
    """A folder that is made when the first cell is kept. key: what the fits depend on beside their options.

    Whether a cell is of the same data its reader asks: the metadata have a fingerprint.
    """

    def __init__(self, folder: str, key: Any):
        self._folder = folder
        self._key = key
        self._kept: set[str] = set()  # files that are cells of this grid

    def get(self, options: FitOptions) -> Cell | None:
        """The cell of these options, where it is kept."""
        try:
            model, metadata = load_model(self._path(options))
        except (GmmError, OSError):
            return None
        kept = metadata.pop("cell", {})
        if kept.get("key") != self._its_key(options):
            return None
        self._kept.add(self._path(options))
        holdout = math.nan if kept["holdout"] is None else kept["holdout"]
        return Cell(options.family, options.components, model, metadata, holdout, kept["reason"])

    def put(self, options: FitOptions, cell: Cell) -> None:
        """Keeps a cell that did not fail; failing again costs little."""
        if cell.model is None:
            return
        make_folder(self._folder)
        kept = {"key": self._its_key(options), "holdout": cell.holdout, "reason": cell.reason}
        save_model(self._path(options), cell.model, {**cell.metadata, "cell": kept})
        self._kept.add(self._path(options))

    def remove(self) -> None:
        """Removes the cells, and the folder where nothing else is in it."""
        for path in self._kept:
            with contextlib.suppress(OSError, GmmError):
                remove(path)
        with contextlib.suppress(OSError, GmmError):
            remove(self._folder)

    def _path(self, options: FitOptions) -> str:
        return inside(self._folder, f"{options.family}-{options.components}.pt")

    def _its_key(self, options: FitOptions) -> str:
        chosen = {name: value for name, value in dataclasses.asdict(options).items() if name not in IRRELEVANT}
        return json.dumps([__version__, self._key, chosen], sort_keys=True)
