"""`Watcher`: who is told of a grid of fits as it goes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmmcli.choosing.cells import Cell
    from gmmcli.fitting.loop import Listener


class Watcher:
    """Does nothing when told. listener: of every step of every fit, see fit_rows."""

    listener: Listener | None = None

    def begins(self, family: str, components: int, purpose: str) -> None:
        """Before every fit. purpose: what it is for, where that is not the cell itself, such as `fold 2`."""

    def several_begin(self, cells: Sequence[tuple[str, int]], purpose: str) -> Callable[[str, int], Listener | None]:
        """Before fits that go side by side, by family and components; returns the listener of each of them."""
        return lambda family, components: self.listener

    def ends(self, cell: Cell) -> None:
        """After every cell."""
