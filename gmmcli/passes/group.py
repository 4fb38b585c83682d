"""`Group`: the processes that hold the rows of one fit between them. A single process is the trivial case.

Every process does the same with parameters, K × P numbers, and its own with rows. What it says of its rows goes
through the group; what comes back is the same on all of them, bit for bit, however the rows are divided: integers
are added, a greatest is exact, and rows are put together in the order of the processes, which is that of the data.
Imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Group:
    """A process alone. What is called on one process is called on all, in the same order."""

    rank: int = 0
    size: int = 1

    def sum(
        self,
        numbers: Tensor,  # int64
    ) -> Tensor:
        """The sums over the processes, exactly."""
        return numbers

    def greatest(
        self,
        numbers: Tensor,  # float64
    ) -> Tensor:
        """The greatest of each number over the processes."""
        return numbers

    def joined(
        self,
        rows: Tensor,  # (B, …), where each process has a B of its own
    ) -> Tensor:
        """The rows of all processes, one after the other."""
        return rows


ALONE = Group()
