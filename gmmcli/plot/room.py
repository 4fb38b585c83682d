"""What is left out of a picture whose words have no room, and how much room they need.

One rule for all figures of their own: numbers and names of axes stay, and axes have LEAST inches, each panel of a
grid PANEL; until they have, the legend goes, then the caption. What is left out is invisible, not absent.

- `settle`, `make_room`: lay out a figure, the second by the rule. `crowded`: whether words are missing, meet or leave
  the paper. `roomy_size`: the size of a figure that is not crowded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.plot.style import caption, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

LEAST = (1.4, 0.8)  # inches, width and height
PANEL = 0.4
RIGHT = 7.0  # points between a caption and the edge of the paper
STEPS = 6  # sizes that are tried from one that is too small to the natural one
SLACK = 0.5  # pixels by which words may meet

Size = tuple[float | None, float | None]  # inches, None for what suits the picture


def settle(ax: Axes) -> None:
    """Lays out the figure, where it has a way to, so that its axes are where they will be."""
    figure = figure_of(ax)
    engine = figure.get_layout_engine()
    if engine is None:
        return
    with warnings.catch_warnings():  # of axes without any room, which make_room is there for
        warnings.simplefilter("ignore", UserWarning)
        engine.execute(figure)


def make_room(ax: Axes, words: str, describe: Callable[[], None], least: tuple[float, float] = LEAST) -> None:
    """Lays out the only axes of a figure by the rule.

    words: of its caption. describe: sets ticks and names of the axes by the size that they then have.
    """
    figure, legend = figure_of(ax), ax.get_legend()
    for drop in (None, legend, caption(ax, words)):
        if drop is not None:
            drop.set_visible(False)
        describe()
        settle(ax)
        caption(ax, words, (figure.bbox.x1 - ax.get_window_extent().x0) * 72 / figure.dpi - RIGHT)
        settle(ax)
        describe()
        fits = legend is None or not legend.get_visible() or _inside(figure, legend.get_window_extent())
        if fits and (ax.get_window_extent().size >= np.array(least) * figure.dpi).all():
            return


def crowded(figure: Figure) -> bool:
    """Whether some words were left out, leave the paper, or stand on others."""
    settle(figure.axes[0])
    boxes = []
    for artist in _words(figure):
        if not artist.get_visible():
            return True
        boxes.append(_extent(artist))
    if not all(_inside(figure, box) for box in boxes):
        return True
    low, high = (np.array([getattr(box, end) for box in boxes]).reshape(-1, 2) for end in ("min", "max"))
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)  # (n, n, 2)
    return bool((shared > SLACK).all(-1).sum() > len(boxes))  # each meets itself


def roomy_size(draw: Callable[[Size], Figure], size: Size) -> tuple[float, float] | None:
    """Inches at which a picture is not crowded, next above a size that is; None where there is no such size.

    They lie between the size and that of the picture at (None, None).
    """
    natural = np.array(draw((None, None)).get_size_inches())
    given = np.array([own or suits for own, suits in zip(size, natural.tolist(), strict=True)])
    for step in range(1, STEPS + 1):
        target = (given + np.maximum(natural - given, 0) * step / STEPS).tolist()
        width, height = (math.ceil(10 * inches - 1e-6) / 10 for inches in target)
        if not crowded(draw((width, height))):
            return width, height
    return None


def _extent(artist: Any) -> Bbox:
    """The place of a legend, or of a text without the line that leads to it."""
    from matplotlib.text import Text

    return Text.get_window_extent(artist) if isinstance(artist, Text) else artist.get_window_extent()


def _inside(figure: Figure, box: Bbox) -> bool:
    x0, y0, x1, y1 = figure.bbox.padded(SLACK).extents
    return bool(x0 <= box.x0 and y0 <= box.y0 and box.x1 <= x1 and box.y1 <= y1)


def _words(figure: Figure) -> Iterator[Any]:
    """The texts of a figure that are not empty, and its legends as wholes."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    everything = [*figure.axes, *(child for ax in figure.axes for child in ax.child_axes if isinstance(child, Axes))]
    for ax in everything:
        legend = ax.get_legend()
        if legend is not None:
            yield legend
        yield from (text for text in ax.get_children() if isinstance(text, Text) and text.get_text())
        for axis in (ax.xaxis, ax.yaxis):
            if not ax.axison or not axis.get_visible():
                continue
            if axis.label.get_text():
                yield axis.label
            axis.get_ticklabels()  # which brings the ticks up to date
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high and tick.label1.get_visible() and tick.label1.get_text():
                    yield tick.label1
