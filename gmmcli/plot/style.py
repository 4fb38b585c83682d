"""The look of all pictures: colours, letters, the frame of axes.

- `colour`: the colour of a component, the same in every picture. `label`: its name in a legend.
- `house_style`: matplotlib's settings for a figure of our own, whatever the user's are.
- `tidy`, `legend`: the frame and the legend that all axes share. Nothing here changes a global setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

FONT = "DejaVu Sans"  # comes with matplotlib: the same letters on every machine
# Okabe & Ito's colours with the yellow darkened. Each further one is the farthest from all before it and from white,
# by the OKLab distance that readers without the red or the green cone see.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6a3d9a", "#783c00", "#48d89c",
    "#8478fc", "#a83060", "#6c0060", "#3c0c90", "#a84824", "#78b478", "#606084", "#6090d8", "#60303c",
    "#6ccccc", "#3c54cc", "#c0c06c", "#780000", "#d8843c", "#606cd8", "#e45460", "#906c90", "#900c60",
    "#00a8c0", "#788448", "#9c90fc", "#84b4a8", "#903c3c", "#90c0fc", "#a848a8", "#a85460", "#3c4878",
)  # fmt: skip
BACKGROUND = "#aaacb0"  # of the background: to readers without green, darker greys equal the pink of component 3
INK = "#23272e"  # of text, and of sums over components
QUIET = "#6a707a"  # of captions, ticks and contours
FAINT = "#c3c8d0"  # of axes
BARS = "#dfe3e8"  # of histograms

TEXT = 9.0  # points
SMALL = 8.0
STYLE = {
    "font.family": [FONT],
    "font.size": TEXT,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "gmm",  # else the names in an SVG differ from run to run
}


def colour(component: int) -> str:
    """Colour of a component by its number; −1 is the background. Numbers beyond the palette repeat it."""
    return BACKGROUND if component < 0 else PALETTE[component % len(PALETTE)]


def percent(share: float) -> str:
    """`45 %`, `4.5 %`, `< 0.1 %`."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def label(component: int, weight: float, *, short: bool = False) -> str:
    """`component 0 · 45 %`, or `0 · 45 %` for a legend under the title "component"."""
    name = "background" if component < 0 else str(component) if short else f"component {component}"
    return f"{name} · {percent(weight)}"


def undrawable(texts: Iterable[str]) -> str:
    """Letters, each once, that FONT lacks: pictures show boxes for them."""
    letters = dict.fromkeys(one_line("".join(texts)))
    return "".join(letter for letter in letters if not _font().get_char_index(ord(letter)))


@lru_cache(4096)
def width_of(text: str, size: float) -> float:
    """Width in points of one line of text with letters of this size."""
    font = _font()
    font.set_size(size, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64


def _font() -> Any:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties(family=FONT)))


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's own defaults and STYLE in place of the user's settings, until the block ends."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def figure_of(ax: Axes) -> Figure:
    """Figure that holds the axes, at whatever depth."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def tidy(ax: Axes, *, left: bool = True) -> None:
    """Replaces the box by two quiet lines; left=False leaves only the lower one."""
    for side in ("top", "right", *(() if left else ("left",))):
        ax.spines[side].set_visible(False)
    for spine in ax.spines.values():
        spine.set(color=FAINT, linewidth=0.8)
    ax.tick_params(colors=QUIET, labelsize=SMALL, length=3, width=0.8, color=FAINT)
    ax.set_axisbelow(True)


def legend(ax: Axes, handles: Sequence[Any], *, title: str = "", columns: int = 1, inside: bool = False) -> Legend:
    """Draws a legend to the right of the axes or, with `inside`, in their upper right corner."""
    corner, anchor = ("upper right", (1.0, 1.0)) if inside else ("upper left", (1.02, 1.0))
    style: dict[str, Any] = {"alignment": "left", "fontsize": SMALL, "title_fontsize": SMALL, "labelcolor": INK}
    style |= {"frameon": False, "borderaxespad": 0, "handlelength": 1.4, "labelspacing": 0.55, "columnspacing": 1.4}
    found = ax.legend(handles=handles, title=title, ncols=columns, loc=corner, bbox_to_anchor=anchor, **style)
    found.get_title().set_color(QUIET)
    for entry in found.get_texts():
        entry.set_parse_math(False)  # a dollar sign is a dollar sign
    return found
