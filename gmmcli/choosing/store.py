"""Finished cells of a grid on disk, from which an interrupted grid goes on.

They are model files in one folder. A file is named by family, components and a hash of everything that the fit
depends on, so that several grids can share the folder. A file that cannot be read is ignored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from typing import Any

from gmmcli import __version__
from gmmcli.choosing.cells import Cause, Cell
from gmmcli.errors import GmmError
from gmmcli.fitting.options import FitOptions
from gmmcli.model.model_file import load_model, save_model
from gmmcli.storage.filesystem import has_entries, locate
from gmmcli.storage.names import inside

IRRELEVANT = ("threads",)  # options that change no result


class FolderStore:
    """A folder of cells, made for the first one. key: what the fits depend on besides options and data."""

    def __init__(self, folder: str, key: Any):
        self.folder = folder
        self._key = key
        self._kept: set[str] = set()  # files that are cells of this grid

    @property
    def cells(self) -> int:
        """Number of cells of this grid that are known to be in the folder."""
        return len(self._kept)

    def get(self, options: FitOptions, data: str) -> Cell | None:
        """The cell of these options and of data with this fingerprint, or None."""
        key = self._its_key(options, data)
        path = self._path(options, key)
        try:
            model, metadata = load_model(path)
        except (GmmError, OSError):
            return None
        kept = metadata.pop("cell", {})
        if kept.get("key") != key:
            return None
        self._kept.add(path)
        holdout = math.nan if kept["holdout"] is None else kept["holdout"]
        return Cell(
            options.family, options.components, model, metadata, holdout, kept["cause"] and Cause(**kept["cause"])
        )

    def put(self, options: FitOptions, cell: Cell) -> None:
        """Saves a cell that did not fail. A failed one costs little to repeat."""
        if cell.model is None:
            return
        locate(self.folder).make_folder()
        key = self._its_key(options, cell.metadata["data"]["fingerprint"])
        path = self._path(options, key)
        kept = {"key": key, "holdout": cell.holdout, "cause": cell.cause and dataclasses.asdict(cell.cause)}
        save_model(path, cell.model, {**cell.metadata, "cell": kept})
        self._kept.add(path)

    def remove(self) -> str | None:
        """Removes the cells of this grid, and the folder if it is then empty. Returns the folder if it stays.

        It may then hold the cells of another grid.
        """
        for path in self._kept:
            with contextlib.suppress(OSError, GmmError):
                locate(path).remove()
        with contextlib.suppress(OSError, GmmError):
            if has_entries(self.folder):
                return self.folder
            locate(self.folder).remove()
        return None

    def _path(self, options: FitOptions, key: str) -> str:
        digest = hashlib.sha256(key.encode()).hexdigest()[:12]
        return inside(self.folder, f"{options.family}-{options.components}-{digest}.pt")

    def _its_key(self, options: FitOptions, data: str) -> str:
        chosen = {name: value for name, value in dataclasses.asdict(options).items() if name not in IRRELEVANT}
        return json.dumps([__version__, self._key, data, chosen], sort_keys=True)
