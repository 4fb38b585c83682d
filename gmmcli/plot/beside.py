"""The name of a point of a picture of lines, beside it: `write_beside` finds a place where it covers none of them.

The figure is to be laid out before, since places on the paper are known only then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gmmcli.plot.places import OUTSIDE, Taken, best_place
from gmmcli.plot.style import INK, SMALL, figure_of
from gmmcli.plot.text import plain, text_size, within, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

PAD = 2.0  # points around a text
GAPS = (0.0, 5.0, 11.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0, 120.0, 160.0)  # points, between a point and its name
DIRECTIONS = 16
LEADER_FROM = 11.0  # points between a point and its name from which a line leads to it


def write_beside(ax: Axes, text: str, point: tuple[float, float], *, clear: float, above: bool) -> Annotation:
    """Writes a text near a point of the data where it covers no line and no marker, with a line to it if it is away.

    clear: points around the point that stay free. above: on which side it is best. Where everything is covered it
    has a white rim; where the axes are too small for it, it is invisible.
    """
    from matplotlib.patheffects import Normal, Stroke

    per_point = figure_of(ax).dpi / 72
    room = np.array(ax.get_window_extent().size) / per_point
    text = wrapped(text, within(figure_of(ax), room[0] - 2 * PAD, SMALL))
    half = text_size(figure_of(ax), text, SMALL) / 2 + PAD
    middle = ax.transData.transform(point) / per_point
    taken = Taken.of(ax)

    def covered(place: np.ndarray) -> int:
        if (np.abs(place - middle) < half + clear - 0.5).all():
            return OUTSIDE  # on the point itself
        count = taken.covered(place, half)
        begin, end = _leader(middle, place, half, clear)
        return count + (taken.crossed(begin, end) if np.linalg.norm(end - begin) > LEADER_FROM else 0)

    places = (taken.moved_in(place, half) for place in _beside(middle, half, clear, above))
    found, _ = best_place(places, covered)
    begin, end = _leader(middle, found, half, clear)
    line = {"arrowstyle": "-", "color": INK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": clear}
    shown = ax.annotate(
        text,
        point,
        xytext=tuple(found - middle),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=SMALL,
        color=INK,
        path_effects=[Stroke(linewidth=2.6, foreground="white"), Normal()] if taken.covered(found, half) else None,
        arrowprops=line if np.linalg.norm(end - begin) > LEADER_FROM else None,
        zorder=5,
    )
    plain(shown).set_visible(bool((2 * half <= room).all()))
    return shown


def _beside(middle: np.ndarray, half: np.ndarray, clear: float, above: bool) -> Iterator[np.ndarray]:
    """Places around a point, the nearest first and of these those on the side that is best."""
    turns = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    turns = turns[np.argsort(-np.cos(turns), kind="stable")]
    for gap in GAPS:
        for turn in turns:
            way = np.array([np.sin(turn), np.cos(turn) if above else -np.cos(turn)])
            yield middle + (clear + gap) * way + half * way / np.abs(way).max()


def _leader(middle: np.ndarray, place: np.ndarray, half: np.ndarray, clear: float) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the line from around a point to the edge of its text."""
    way = place - middle
    end = place - way * min(half / np.maximum(np.abs(way), 1e-9))
    return middle + clear * way / np.linalg.norm(way), end
