"""The fits of a grid's cells from random starts, which need nothing of one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from gmmcli.choosing.watcher import Watcher
from gmmcli.errors import GmmError
from gmmcli.families import get_family
from gmmcli.fitting.fit import fit_rows
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.fitting.rows import SurveyedRows
from gmmcli.fitting.side_by_side import Ask, fit_side_by_side
from gmmcli.model.mixture import GaussianMixture

AT_A_TIME = 8  # cells that share their readings: of more, an interrupted grid would lose more


class RandomStarts:
    """The fits, one after the other; where the rows are read anew for each pass, some ahead of their turn.

    rows: of all fits; order: in which they are asked for; done: whether one will not be asked for any more; purpose:
    see Watcher.begins.
    """

    def __init__(
        self,
        rows: SurveyedRows,
        order: Sequence[FitOptions],
        watcher: Watcher,
        done: Callable[[FitOptions], bool],
        purpose: str = "",
    ) -> None:
        self._rows, self._order, self._watcher, self._done, self._purpose = rows, order, watcher, done, purpose
        self._ahead: dict[FitOptions, FitResult | GmmError] = {}

    def has(self, options: FitOptions) -> bool:
        """Whether this fit has been made ahead of its turn."""
        return options in self._ahead

    def fit(self, options: FitOptions) -> FitResult:
        """The fit of these options. Raises InputError or NumericalError where there is none."""
        if options not in self._ahead and self._rows.rereads(get_family(options.family)):
            self._fit_several(options)
        if options in self._ahead:
            found = self._ahead.pop(options)
            if isinstance(found, GmmError):
                raise found
            return found
        self._watcher.begins(options.family, options.components, self._purpose)
        return fit_cell(self._rows, options, self._watcher)

    def _fit_several(self, first: FitOptions) -> None:
        """This fit and the next of those that will be asked for, side by side."""
        place = self._order.index(first)
        some = [first, *(one for one in self._order[place + 1 :] if not self._done(one))][:AT_A_TIME]
        if len(some) == 1:
            return
        cells = [(options.family, options.components) for options in some]
        listener_of = self._watcher.several_begin(cells, self._purpose)

        def fit(options: FitOptions, ask: Ask) -> FitResult:
            rows = self._rows.sharing(get_family(options.family), ask)
            return fit_rows(rows, options, listener=listener_of(options.family, options.components))

        fits = [partial(fit, options) for options in some]
        found = fit_side_by_side(self._rows.blocks, fits, self._rows.threads)
        self._ahead = dict(zip(some, found, strict=True))


def fit_cell(
    rows: SurveyedRows, options: FitOptions, watcher: Watcher, start: Sequence[GaussianMixture] | None = None
) -> FitResult:
    """A fit whose passes are its own: the readings that cells share count for none of them."""
    rows.laid_out(get_family(options.family))
    rows.take_readings()
    return fit_rows(rows, options, start=start, listener=watcher.listener)
