"""Axes that can be read: limits, ticks, names and captions, and the layout of a figure.

- `new_axes`: axes of a new figure without a window.
- `set_axis`: limits and ticks of one axis. `widened`: an interval with a margin.
- `write_words`: the caption and the names of axes, folded to the length at hand.
- `lay_out`: both for a figure of our own. It leaves out the words that do not fit.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.plot.style import INK, QUIET, SMALL, TEXT, figure_of, width_of
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.text import Text
    from matplotlib.ticker import Locator

MARGIN = 0.04  # of the width, on either side of the drawing
POWERS = (-4, 6)  # powers of 10 from which on numbers are written in one
ROUND = (1, 2, 2.5, 5, 10)  # steps between ticks, times a power of 10
APART = 4.0  # points between the labels of two ticks
SAFE = 0.93  # share of a line that is filled: its letters may be wider than the text's on average
INSET = 0.06  # share of a short axis without ticks at either end
LONGEST = 210.0  # points: the longest line of a name
LABEL_GAP = 15.0  # points between panels and their names, besides the widest label of a tick
RIGHT = 7.0  # points between a caption and the edge of the paper
LEAST = (1.4, 0.8)  # inches, width and height: smaller axes lose the legend, then the caption

Names = list[tuple["XAxis | YAxis", str]]  # axes and their names
Span = tuple[float, float]
Size = tuple[float | None, float | None]  # inches; None for what suits the picture


def new_axes(size: Size, usual: Span) -> Axes:
    """The axes of a new figure of this size or, if a side is None, of the usual one. pyplot does not know it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(size[0] or usual[0], size[1] or usual[1]), layout=layout)
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def widened(low: float, high: float, margin: float = MARGIN) -> Span:
    """The interval with a margin; one without a width gets one."""
    largest = max(abs(low), abs(high))
    if high - low <= 1e-12 * largest:
        low, high = low - (0.05 * largest or 0.5), high + (0.05 * largest or 0.5)
    return low - margin * (high - low), high + margin * (high - low)


def points_of(axis: XAxis | YAxis) -> float:
    """Length of an axis in points."""
    box = axis.axes.get_window_extent()
    return (box.width if axis.axis_name == "x" else box.height) * 72 / figure_of(axis.axes).dpi


def set_axis(axis: XAxis | YAxis, low: float, high: float, most: int = 6, **ticks: Any) -> None:
    """Sets limits and ticks. most, ticks: as `round_ticks` takes them.

    Numbers that would be too long are shifted and scaled; `write_words` says by how much beside the name.
    """
    from matplotlib.ticker import ScalarFormatter

    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})
    formatter = ScalarFormatter(useOffset=True, useMathText=False)
    formatter.set_powerlimits(POWERS)
    axis.set_major_formatter(formatter)
    axis.set_major_locator(round_ticks(most, **ticks))
    axis.get_offset_text().set_visible(False)


def round_ticks(most: int, *, short: bool = False, whole: bool = False, within: Span = (-np.inf, np.inf)) -> Locator:
    """Locator of at most `most` round numbers, fewer if their labels would meet.

    short: whether the labels must stay within the axis, as beside other panels; the axis may have more ticks, to have
    two at least. whole: integers only. within: range of the ticks.
    """
    from matplotlib.ticker import MaxNLocator

    class RoundTicks(MaxNLocator):
        def __call__(self) -> Any:
            axis: Any = self.axis
            low, high = sorted(axis.get_view_interval())
            length = points_of(axis)
            best = np.empty(0)
            for bins in (*range(most, 0, -1), *(range(most + 1, most + 4) if short else ())):
                self.set_params(nbins=bins)
                ticks = np.asarray(self.tick_values(low, high))
                ticks = ticks[(ticks >= max(low, within[0])) & (ticks <= min(high, within[1]))]
                labels = axis.get_major_formatter().format_ticks(ticks.tolist())
                size = 1.2 * SMALL
                if axis.axis_name == "x":
                    size = max((width_of(text, SMALL) for text in labels), default=0.0)
                at = (ticks - low) / (high - low) * length
                if short:
                    clear = np.minimum(at, length - at) >= max(size / 2, INSET * length)
                    ticks, at = ticks[clear], at[clear]
                for step in (1, 2):
                    if (np.diff(at[::step]) >= size + APART).all() and len(ticks[::step]) > len(best):
                        best = ticks[::step]
                if len(best) > 1:
                    break
            return best

    return RoundTicks(steps=ROUND, integer=whole, min_n_ticks=1)


def write_words(ax: Axes, words: str, names: Names, length: float | None = None) -> Text:
    """Writes the caption and the names of axes; returns the caption.

    length: points of a line of the caption, by default the width of the axes.
    """
    words = one_line(words)
    letters = _letters(words, SMALL, length or points_of(ax.xaxis))
    lines = textwrap.wrap(words.replace(" ·", "\u00a0·"), letters)  # no line begins with a dot
    caption = ax.set_title("\n".join(lines), loc="left", fontsize=SMALL, color=QUIET, pad=9, linespacing=1.4)
    caption.set_parse_math(False)
    for axis, name in names:
        text = axis.set_label_text(named(axis, name), fontsize=TEXT, color=INK, linespacing=1.25)
        text.set_parse_math(False)
        axis.labelpad = 6
    upright = [axis for axis, _ in names if axis.axis_name == "y"]
    if len(upright) > 1:  # at one distance from the panels of a grid
        widths = [tick.get_window_extent().width for axis in upright for tick in axis.get_ticklabels()]
        distance = max(widths, default=0.0) + LABEL_GAP * figure_of(ax).dpi / 72
        for axis in upright:
            axis.set_label_coords(-distance / axis.axes.get_window_extent().width, 0.5)
    return caption


def named(axis: XAxis | YAxis, name: str) -> str:
    """The name on one or two lines, with the shift and the scale of its numbers: `time (+1.6e9)`, `mass (1e6)`."""
    formatter = axis.get_major_formatter()
    formatter.set_locs(axis.get_majorticklocs().tolist())
    units = f"({formatter.get_offset()})" if formatter.get_offset() else ""
    name = one_line(name)
    letters = _letters(name, TEXT, min(points_of(axis), LONGEST))
    lines = fold(name, letters)
    gap = " " if len(lines[-1] + units) < letters else "\n"
    return "\n".join(lines) + (gap + units if units else "")


def _letters(text: str, size: float, length: float) -> int:
    """Number of letters of the text's mean width that fit into so many points."""
    return max(int(SAFE * length * len(text) / max(width_of(text, size), 1.0)), 2)


def fold(name: str, letters: int) -> list[str]:
    """The name on at most two lines of so many letters, broken after spaces and underscores, cut with an ellipsis."""
    lines = [""]
    for piece in re.findall(r"[^ _]+[ _]*|[ _]+", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > letters:
            lines.append("")
        lines[-1] += piece
    lines = [line.strip() for line in (lines[0], "".join(lines[1:])) if line]
    return [line if len(line) <= letters else line[: letters - 1] + "…" for line in lines]


def settle(figure: Any) -> None:
    """Runs the layout of a figure, if it has one, so that its axes have their final extents."""
    with warnings.catch_warnings():  # of axes without any extent: `lay_out` then leaves words out
        warnings.simplefilter("ignore", UserWarning)
        if figure.get_layout_engine() is not None:
            figure.get_layout_engine().execute(figure)


def lay_out(ax: Axes, words: str, names: Names, least: Span = LEAST) -> None:
    """Lays out the only axes of a figure, with their caption and names.

    If the axes would be smaller than `least` inches, the legend becomes invisible, then the caption too.
    """
    figure, legend = figure_of(ax), ax.get_legend()
    for left_out in (None, legend, write_words(ax, words, names)):
        if left_out is not None:
            left_out.set_visible(False)
        for move in (True, True, False):
            write_words(ax, words, names, (figure.bbox.x1 - ax.get_window_extent().x0) * 72 / figure.dpi - RIGHT)
            if move:
                settle(figure)
        fits = legend is None or not legend.get_visible() or legend.get_window_extent().x1 <= figure.bbox.x1 + 1
        if fits and (ax.get_window_extent().size >= np.array(least) * figure.dpi).all():
            return
