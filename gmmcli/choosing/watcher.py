"""`Watcher`: a listener of a grid of fits. It imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmmcli.choosing.cells import Cell
    from gmmcli.fitting.loop import Listener


class Watcher:
    """Does nothing at any event. listener: of every step of every fit, see fit_rows."""

    listener: Listener | None = None

    def begins(self, family: str, components: int, purpose: str) -> None:
        """Called before every fit. purpose: its purpose if it is not the cell itself, such as `fold 2`."""

    def several_begin(self, cells: Sequence[tuple[str, int]], purpose: str) -> Callable[[str, int], Listener | None]:
        """Called before fits that go side by side. Returns the listener of each, by family and components."""
        return lambda family, components: self.listener

    def ends(self, cell: Cell) -> None:
        """Called after every cell."""
