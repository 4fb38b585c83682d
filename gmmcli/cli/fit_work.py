"""The work of `gmm fit` between its settings and its files: `fit_one`, `fit_several`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gmmcli.cli.grid_report import grid_metadata
from gmmcli.errors import InputError
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gmmcli.choosing.grid import Grid, Store
    from gmmcli.choosing.options import GridOptions
    from gmmcli.choosing.watcher import Watcher
    from gmmcli.data import Source
    from gmmcli.fitting.given_start import Start
    from gmmcli.fitting.options import FitOptions
    from gmmcli.fitting.rows import SurveyedRows
    from gmmcli.fitting.search import Keeper
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.passes.block import Block
    from gmmcli.passes.execution import Execution


@dataclass(frozen=True)
class Work:
    """What is fitted and how: the rows and their columns; options of the fit, or what all cells of a grid share."""

    blocks: Iterable[Block]
    columns: Sequence[str]
    options: FitOptions
    execution: Execution


@dataclass(frozen=True)
class Fitted:
    """What is saved: the mixture, what is known of it; order: see FitResult. grid: what it was chosen from."""

    model: GaussianMixture
    metadata: Mapping[str, Any]
    order: Sequence[int]
    grid: Grid | None = None


def fit_one(
    work: Work, start: Start | None, keeper: Callable[[SurveyedRows], Keeper] | None, watcher: Watcher
) -> Fitted:
    """A single fit, from the start where there is one."""
    from gmmcli.fitting.fit import fit_blocks
    from gmmcli.fitting.result import describe

    given = None if start is None else start.at(work.columns)
    result = fit_blocks(
        work.blocks, work.options, columns=work.columns, start=given, listener=watcher.listener, keeper=keeper,
        execution=work.execution,
    )  # fmt: skip
    return Fitted(result.model, describe(result), result.order)


def fit_several(
    work: Work, grid: GridOptions, store: Store | None, replicates: int | None, watcher: Watcher
) -> Fitted:
    """The best of a grid of fits. replicates: of the bootstrap, None for none."""
    from gmmcli.choosing.bootstrap import bootstrap
    from gmmcli.choosing.grid import fit_grid

    chosen = fit_grid(
        work.blocks, work.options, grid, columns=work.columns, watcher=watcher, store=store,
        execution=work.execution,
    )  # fmt: skip
    tested = bootstrap(work.blocks, chosen, work.options, replicates, watcher, work.execution)
    more = {"selection": grid_metadata(chosen), "bootstrap": tested}
    return Fitted(chosen.model, {**chosen.best.metadata, **more}, chosen.best.order, chosen)


@contextmanager
def naming(source: Source, checkpoint: str | None) -> Iterator[None]:
    """Puts the data's name before an error that the fit, which knows no files, raises of its rows."""
    try:
        yield
    except InputError as error:
        if error.notice.subject:
            raise
        known = (source.label, *source.labels, printable(checkpoint or "--"), "--")
        named = str(error).startswith(known)
        raise InputError(str(error) if named else f"{source.label}: {error}") from None
