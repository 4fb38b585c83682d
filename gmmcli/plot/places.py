"""Where text can stand without covering what is drawn: `Taken`, and `best_place` among some places. All in points."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from gmmcli.plot.style import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTSIDE = 1_000_000  # things that a text beyond the edge counts as covering: more than are ever drawn


class Taken:
    """An area, and the boxes and lines that are drawn in it."""

    def __init__(
        self,
        low: np.ndarray,  # (2,) lower left corner of the area
        high: np.ndarray,  # (2,) upper right
    ) -> None:
        self._low, self._high = low, high
        self._boxes = np.empty((0, 2, 2))  # middles, and halves of width and height
        self._lines = np.empty((0, 2, 2))  # both ends

    @staticmethod
    def of(ax: Axes) -> Taken:
        """Axes and the lines and markers on them."""
        per_point, area = figure_of(ax).dpi / 72, ax.get_window_extent()
        taken = Taken(np.array([area.x0, area.y0]) / per_point, np.array([area.x1, area.y1]) / per_point)
        for line in ax.lines:
            points = line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float)) / per_point
            if line.get_linestyle() != "None":
                taken.add_line(points)
            if line.get_marker() != "None":
                for point in points:
                    taken.add_box(point, np.full(2, float(line.get_markersize()) / 2))
        return taken

    def add_box(
        self,
        middle: np.ndarray,  # (2,)
        half: np.ndarray,  # (2,) of width and height
    ) -> None:
        """A text or a marker."""
        self._boxes = np.concatenate([self._boxes, np.stack([middle, half])[None]])

    def add_line(
        self,
        points: np.ndarray,  # (n, 2), broken where one is NaN
    ) -> None:
        """A line through some points."""
        self._lines = np.concatenate([self._lines, np.stack([points[:-1], points[1:]], 1)])

    def moved_in(self, middle: np.ndarray, half: np.ndarray) -> np.ndarray:
        """The place nearest to a text's at which it does not leave the area, where the area is large enough."""
        return np.minimum(np.maximum(middle, self._low + half), self._high - half)

    def covered(self, middle: np.ndarray, half: np.ndarray) -> int:
        """How many boxes and pieces of lines a text would cover; OUTSIDE where it leaves the area."""
        if (middle - half < self._low).any() or (middle + half > self._high).any():
            return OUTSIDE
        boxes = (np.abs(self._boxes[:, 0] - middle) < self._boxes[:, 1] + half).all(1)
        lines = _meet(self._lines[:, 0], self._lines[:, 1], middle, half)
        return int(boxes.sum() + lines.sum())

    def crossed(self, begin: np.ndarray, end: np.ndarray) -> int:
        """How many boxes a line between two points would cross."""
        return int(_meet(begin, end, self._boxes[:, 0], self._boxes[:, 1]).sum())


def best_place(
    places: Iterable[np.ndarray],  # (2,) each
    covered: Callable[[np.ndarray], int],
) -> tuple[np.ndarray, int]:
    """The first of the places where a text covers nothing, else that where it covers least; and how much."""
    found, least = np.zeros(2), 2 * OUTSIDE
    for place in places:
        count = covered(place)
        if count < least:
            found, least = place, count
        if not count:
            break
    return found, least


def _meet(
    begin: np.ndarray,  # (n, 2) or (2,)
    end: np.ndarray,
    middle: np.ndarray,  # (2,) or (n, 2)
    half: np.ndarray,
) -> np.ndarray:
    """Whether lines and boxes meet, (n,): neither the axes nor the way across the line keeps them apart."""
    along = (end - begin) / 2
    apart = (begin + end) / 2 - middle
    beside = (np.abs(apart) <= half + np.abs(along)).all(-1)
    off = np.abs(along[..., 0] * apart[..., 1] - along[..., 1] * apart[..., 0])
    return beside & (off <= half[..., 0] * np.abs(along[..., 1]) + half[..., 1] * np.abs(along[..., 0]))
