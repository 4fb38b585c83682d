"""How all pictures look: colours, type, and the frame of a figure.

- `colour`: of a component, the same in every picture. `label`: what a legend calls it.
- `new_figure`: a figure without a window, in the house style whatever the user's own settings are.
- `tidy`, `caption`, `legend`: the parts that all axes share; they set nothing global.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gmmcli.plot.text import FONT, plain, within, wrapped
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.text import Text

# Okabe & Ito's colours with their yellow darkened, then those that are farthest from all before, and from white, in
# the OKLab distance that is left to readers without the red or the green cone.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6a3d9a", "#783c00", "#48d89c",
    "#8478fc", "#a83060", "#6c0060", "#3c0c90", "#a84824", "#78b478", "#606084", "#6090d8", "#60303c",
    "#6ccccc", "#3c54cc", "#c0c06c", "#780000", "#d8843c", "#606cd8", "#e45460", "#906c90", "#900c60",
    "#00a8c0", "#788448", "#9c90fc", "#84b4a8", "#903c3c", "#90c0fc", "#a848a8", "#a85460", "#3c4878",
)  # fmt: skip
BACKGROUND = "#aaacb0"  # of the component −1: darker greys are the pink of component 3 to readers without green
INK = "#23272e"  # of text and of what is summed over components
QUIET = "#6a707a"  # of captions, ticks and contours
FAINT = "#c3c8d0"  # of axes
BARS = "#dfe3e8"  # of histograms

TEXT = 9.0  # points
SMALL = 8.0
LEGEND_ENTRIES = 12  # in one column
HANDLE, BETWEEN_LINES, BETWEEN_COLUMNS = 1.4, 0.55, 1.4  # of a legend, of the size of its letters
STYLE = {
    "font.family": [FONT],
    "font.size": TEXT,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.formatter.use_mathtext": False,
    "svg.hashsalt": "gmm",  # else the names in an SVG differ from run to run
}


def colour(component: int) -> str:
    """The colour of a component by its number; −1 is the background. Beyond the palette they come again."""
    return BACKGROUND if component < 0 else PALETTE[component % len(PALETTE)]


def percent(share: float) -> str:
    """`45 %`, `4.5 %`, `< 0.1 %`."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def label(component: int, weight: float, *, short: bool = False) -> str:
    """`component 0 · 45 %`, or `0 · 45 %` for a legend that says above what the numbers are."""
    name = "background" if component < 0 else str(component) if short else f"component {component}"
    return f"{name} · {percent(weight)}"


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's own defaults and STYLE in place of the user's settings, until the block ends."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, which no window and no pyplot knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.1, h_pad=0.1)
    return figure


def figure_of(ax: Axes) -> Figure:
    """The figure that the axes are on, whatever part of it they are in."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def tidy(ax: Axes, *, left: bool = True) -> None:
    """Two quiet lines in place of the box; with left=False the one below alone."""
    for side in ("top", "right", *(() if left else ("left",))):
        ax.spines[side].set_visible(False)
    for spine in ax.spines.values():
        spine.set(color=FAINT, linewidth=0.8)
    ax.tick_params(colors=QUIET, labelsize=SMALL, length=3, width=0.8, color=FAINT)
    ax.set_axisbelow(True)


def caption(ax: Axes, text: str, room: float | None = None) -> Text:
    """A small line above the axes, on the left, or as many as it needs to be no wider than `room` points, or they."""
    figure = figure_of(ax)
    if room is None:
        room = ax.get_window_extent().width * 72 / figure.dpi
    lines = wrapped(one_line(text), within(figure, room, SMALL))
    return plain(ax.set_title(lines, loc="left", fontsize=SMALL, color=QUIET, pad=9, linespacing=1.4))


def legend(ax: Axes, handles: Sequence[Any], *, title: str = "", inside: bool = False, longest: int = 20) -> Legend:
    """The handles beside the axes on the right, or in their upper right corner, in columns of `longest` entries."""
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (1.0, 1.0)}
    if not inside:
        place = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0)}
    found = ax.legend(
        handles=handles,
        ncols=-(-len(handles) // longest),
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0,
        handlelength=HANDLE,
        labelspacing=BETWEEN_LINES,
        columnspacing=BETWEEN_COLUMNS,
        labelcolor=INK,
        title=title,
        title_fontsize=SMALL,
        alignment="left",
        **place,
    )
    found.get_title().set_color(QUIET)
    for text in found.get_texts():
        plain(text)
    return found
