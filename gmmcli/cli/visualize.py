"""`gmm fit --visualize`: a picture of the finished fit, pictures by pass, or an animation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gmmcli.cli.console import Console
from gmmcli.cli.files import column_names
from gmmcli.cli.options import MISSING_CHOICES
from gmmcli.cli.processes import threads_here
from gmmcli.cli.rows import as_read
from gmmcli.errors import Option, UsageError
from gmmcli.storage.names import one_line, printable, suffix_of

if TYPE_CHECKING:
    from gmmcli.cli.fit_work import Fitted
    from gmmcli.data.source import Source
    from gmmcli.fitting.loop import Run
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.plot import RowSample
    from gmmcli.plot.coordinates import Coordinates

STEP = "{step}"  # in a name: the number of passes
EVERY = 10  # passes between pictures, unless --log-every says otherwise
LETTERS = 20  # most letters without a font in a warning
FRAMES = 400  # most frames of a restart; beyond that every second one is dropped


class Visualizer:
    """Pictures of a fit, drawn when it is done: of its end, of its mixtures by pass, or an animation.

    target: the picture's name; with STEP in it one picture every few passes, with .gif an animation. every: passes
    between pictures. several: whether the fit is chosen among several; then only its end can be drawn.
    """

    def __init__(self, target: str, every: int | None, several: bool):
        from gmmcli.plot import check_picture

        self._target, self._every = target, every or EVERY
        self._stepwise, self._animated = STEP in target, suffix_of(target) == ".gif"
        unknown, given = re.search(r"\{[^{}]*\}", target.replace(STEP, "")), Option("visualize", printable(target))
        if self._stepwise and self._animated:
            raise UsageError("a GIF has all steps in it", subject=given, remedy=f"leave out {STEP}")
        if unknown is not None:
            raise UsageError(f"unknown {unknown[0]}", subject=given, remedy=f"write {STEP} for the number of passes")
        if several and (self._stepwise or self._animated):
            remedy = "leave out what chooses among several"
            raise UsageError("steps are those of one fit", subject=given, remedy=remedy)
        check_picture(target.replace(STEP, "0"))
        self._seen: dict[int, list[tuple[int, float, GaussianMixture]]] = {}

    def keep(self, run: Run) -> None:
        """Stores a step of a run, if steps are wanted."""
        if not (self._stepwise or self._animated) or not run.history or run.failure is not None:
            return
        record, seen = run.history[-1], self._seen.setdefault(run.restart, [])
        if not seen or seen[-1][0] < record.passes:
            seen.append((record.passes, record.log_likelihood, run.mixture))
        if len(seen) > FRAMES:
            del seen[1::2]

    def draw(self, console: Console, source: Source, fitted: Fitted, restart: int, weights: str | None) -> str:
        """Writes the pictures, and returns the line about them.

        console: for a warning; restart: the best one; weights: the column of row weights.
        """
        from gmmcli.plot import choose_coordinates, write_animation, write_picture

        model, shown = fitted.model, printable(self._target)
        coordinates = choose_coordinates(model)
        warn_of_letters(console, coordinates.labels)
        rows = rows_to_draw(source, model, coordinates, "drop", weights)
        steps = [(passes, level, _ordered(seen, fitted.order)) for passes, level, seen in self._seen.get(restart, [])]
        if self._animated:
            frames = [(seen, _caption(passes, level)) for passes, level, seen in steps] or [(model, "")]
            return f"{shown}: {write_animation(self._target, rows, frames)} frames"
        if not self._stepwise:
            write_picture(self._target, rows, model)
            return f"{shown}: written"
        last = steps[-1][0] if steps else 0
        due: dict[int, tuple[int, float, GaussianMixture]] = {}
        for step in steps:
            due.setdefault(step[0] // self._every if step[0] < last else last + 1, step)
        width = len(str(last))
        for passes, level, seen in due.values():
            name = self._target.replace(STEP, f"{passes:0{width}d}")
            write_picture(name, rows, seen, title=_caption(passes, level))
        return f"{shown}: {len(due)} pictures, a step being a pass"


def warn_of_letters(console: Console, names: Iterable[str]) -> None:
    """Warns of names with letters that a picture cannot show."""
    from gmmcli.plot import undrawable

    letters = undrawable(names)
    if letters:
        shown = one_line(letters, LETTERS)
        console.warn(f"pictures have no font for the letters {shown} and draw boxes: give other names")


def rows_to_draw(
    source: Source, model: GaussianMixture, coordinates: Coordinates, missing: MISSING_CHOICES, weights: str | None
) -> RowSample:
    """A sample of the rows of a source that has the model's columns. weights: their column, None for none."""
    from gmmcli.passes.reading import Reading, drive, read
    from gmmcli.plot import RowSampler

    blocks = source.blocks(source.match(column_names(model)), weights, as_read(missing))
    sample = drive(read(Reading(partial(RowSampler, coordinates, model.dims), blocks)), threads_here())
    return replace(sample, left_out=sample.left_out + blocks.rows_dropped)


def _ordered(model: GaussianMixture, order: Sequence[int]) -> GaussianMixture:
    """The model with its components in the order of the fitted model: each keeps its colour."""
    return model if len(order) != model.components else model.ordered(order)  # fewer where one was dropped


def _caption(passes: int, level: float) -> str:
    number = f"{level:.6f}".replace("-", "−")
    return f"pass {passes} · log-likelihood per row {number}"
