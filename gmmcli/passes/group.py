"""`Group`: the processes that hold the rows of one fit between them. A single process is the trivial case.

All processes do the same work on parameters, K × P numbers. Each does its own work on rows, and exchanges results
through the group. All get the same bits back, however the rows are divided: integers are added, a maximum is exact,
and rows are joined in the order of the processes, which is the order of the data. It imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Group:
    """A process alone. Every method is called on all processes, in the same order."""

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
