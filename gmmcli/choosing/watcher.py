"""`Watcher`: who is told of a grid of fits as it goes. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmmcli.choosing.cells import Cell
    from gmmcli.fitting.loop import Listener


class Watcher:
    """Does nothing when told. listener: of every step of every fit, see fit_rows."""

    listener: Listener | None = None

    def begins(self, family: str, components: int, purpose: str) -> None:
        """Before every fit. purpose: what it is for, where that is not the cell itself, such as `fold 2`."""

    def ends(self, cell: Cell) -> None:
        """After every cell."""
