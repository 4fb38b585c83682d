"""Axes that can be read: what their ticks are, and how large numbers and large offsets are written.

- `describe`: limits, ticks and the label of one axis. `density_axis`: those of an axis of densities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gmmcli.plot.style import INK, SMALL, TEXT, figure_of
from gmmcli.plot.text import fold, plain, text_size, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

MARGIN = 0.04  # of the width, on each side of what is drawn
OFFSET_FROM = 2e4  # an axis this many times as far from 0 as it is long is counted from an offset
SCALE_ABOVE, SCALE_BELOW = 1e6, 1e-3  # numbers beyond are written in a power of 10
ROUND = (1, 2, 2.5, 5, 10)  # times a power of 10: how far apart ticks may be
SPILL = 0.03  # of an axis of a grid, by which a tick's label may leave it
APART = 4.0  # points between the labels of two ticks
LONGEST = 210.0  # points of a line of a label
INSET = 0.06  # of an axis of a grid, at either end, where a tick's label would meet those of the next panel
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def widened(low: float, high: float, margin: float = MARGIN) -> tuple[float, float]:
    """The interval with a margin; one without a width gets one."""
    width = high - low
    if not width > 1e-12 * max(abs(low), abs(high)):
        width = max(abs(low), abs(high)) * 0.1 or 1.0
        low, high = low - width / 2, high + width / 2
    return low - margin * width, high + margin * width


def describe(
    ax: Axes,
    side: str,
    low: float,
    high: float,
    name: str,
    *,
    ticks: int = 6,
    inset: bool = False,
    locate: Callable[[int], Locator] | None = None,
) -> None:
    """Sets limits, ticks and label of the axis `side`, "x" or "y".

    ticks: at most so many, and fewer where their labels would meet; locate: makes a locator of at most so many, in
    place of one of round numbers. inset: none near the ends. The label is folded
    to the length of the axis, and also says by what the ticks are shifted and scaled where they would be too long:
    `time − 1,600,000,000`, `mass, in 10⁶`.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    figure, place = figure_of(ax), "xy".index(side)
    length = ax.get_window_extent().size[place] * 72 / figure.dpi
    axis = ax.xaxis if side == "x" else ax.yaxis
    (ax.set_xlim if side == "x" else ax.set_ylim)(low, high)
    offset, power = offset_and_power(low, high)
    smallest = 1e-9 * (high - low)  # what rounding leaves of a 0

    def shown(value: float, _: object = None) -> str:
        value = 0.0 if abs(value - offset) < smallest else value - offset
        return f"{value / 10.0**power:,.6g}".replace("-", "−")

    def meet(places: np.ndarray) -> bool:
        sizes = np.array([text_size(figure, shown(value), SMALL)[place] for value in places])
        apart = np.diff(places) * length / (high - low)
        return bool((apart < (sizes[1:] + sizes[:-1]) / 2 + APART).any())

    if inset:
        places = inner_ticks(low - offset, high - offset, ticks) + offset
        to_edge = np.minimum(places - low, high - places) * length / (high - low)
        halves = np.array([text_size(figure, shown(value), SMALL)[place] / 2 for value in places])
        places = places[halves <= to_edge + SPILL * length]
        while meet(places):
            places = places[::2]
        locator = FixedLocator(places.tolist())
    else:
        locate = locate or partial(MaxNLocator, steps=ROUND)
        locators = [locate(most) for most in range(ticks, 0, -1)]
        locator = next((one for one in locators if not meet(_on_axis(one, low, high))), locators[-1])
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(shown))
    shift = f" {'−' if offset > 0 else '+'} {number(abs(offset))}" if offset else ""
    scale = f", in 10{str(power).translate(_RAISED)}" if power else ""
    fits = within(figure, min(length, LONGEST), TEXT)
    text = fold(name, fits)
    beside = fits(text.split("\n")[-1] + shift + scale)
    text += shift + scale if beside else f"\n{(shift + scale).strip(' ,')}"
    plain(axis.set_label_text(text, fontsize=TEXT, color=INK, linespacing=1.25))
    axis.labelpad = 6


def _on_axis(locator: Locator, low: float, high: float) -> np.ndarray:
    """The ticks between two values."""
    places = np.asarray(locator.tick_values(low, high))
    return places[(places >= low) & (places <= high)]


def inner_ticks(low: float, high: float, most: int) -> np.ndarray:
    """At most so many round numbers within the axis and not near its ends, but two at least."""
    from matplotlib.ticker import MaxNLocator

    within = INSET * (high - low)
    places = np.empty(0)
    for ticks in range(most, most + 4):
        places = np.asarray(MaxNLocator(ticks, steps=ROUND).tick_values(low, high))
        places = places[(places >= low + within) & (places <= high - within)]
        if len(places) > 1:
            break
    return places


def offset_and_power(low: float, high: float) -> tuple[float, int]:
    """What is taken off the numbers on an axis, and the power of 10 that they are then written in; 0 as a rule."""
    offset = 0.0
    span, farthest = high - low, max(abs(low), abs(high))
    if farthest > OFFSET_FROM * span:
        step = 10.0 ** math.ceil(math.log10(span))
        offset = round((low + high) / 2 / step) * step
        farthest = max(abs(low - offset), abs(high - offset))
    if SCALE_BELOW <= farthest < SCALE_ABOVE:
        return offset, 0
    return offset, 3 * math.floor(math.log10(farthest) / 3)


def number(value: float) -> str:
    """All digits of a whole number below 10¹⁵, ten of any other."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.10g}"


def density_axis(ax: Axes, highest: float) -> None:
    """The vertical axis of densities from 0 to the highest, with little on it."""
    describe(ax, "y", 0.0, highest * 1.06 if highest > 0 else 1.0, "density", ticks=4)


def hide_density_axis(ax: Axes, highest: float) -> None:
    """The same without ticks and label, for the panels of a grid."""
    ax.set_ylim(0.0, highest * 1.12 if highest > 0 else 1.0)
    ax.yaxis.set_visible(False)
