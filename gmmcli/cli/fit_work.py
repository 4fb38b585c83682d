"""The work of `gmm fit` between its settings and its report: the fit or the grid, and the files that are written.

- `Work`: the rows and the options; `run_fit` fits them. `Fitted`: the result; `save` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gmmcli.cli.console import Console
from gmmcli.cli.files import naming
from gmmcli.cli.fit_report import grid_columns, grid_metadata
from gmmcli.cli.fit_settings import FitTargets, Settings
from gmmcli.cli.long_fits import checkpoint_key, interruptible, saved_by_fit, saved_by_grid

if TYPE_CHECKING:
    from gmmcli.choosing.grid import Grid
    from gmmcli.choosing.store import FolderStore
    from gmmcli.choosing.watcher import Watcher
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.fitting.checkpoint import Checkpoint
    from gmmcli.fitting.options import FitOptions
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.passes.execution import Execution


@dataclass(frozen=True)
class Work:
    """The rows of a fit, and the options of the fit, or what all cells of a grid share. label: name of the data."""

    blocks: SourceBlocks
    label: str
    missing: str
    options: FitOptions
    execution: Execution


@dataclass(frozen=True)
class Fitted:
    """A mixture and its metadata. order: see FitResult. grid: the fits among which it was chosen."""

    model: GaussianMixture
    metadata: Mapping[str, Any]
    order: Sequence[int]
    grid: Grid | None = None

    def save(self, targets: FitTargets, metadata: Mapping[str, Any]) -> str | None:
        """Writes the model, then the table of the fits: a table that cannot be written costs no fit.

        Returns the folder where fits of other grids are kept, None where there is none.
        """
        from gmmcli.data.sink import Sink
        from gmmcli.data.tensors import table_of_values
        from gmmcli.model.model_file import save_model

        save_model(targets.output, self.model, metadata)
        if self.grid is None:
            return None
        if targets.table is not None:
            with Sink(targets.table) as sink:
                sink.write(table_of_values(grid_columns(self.grid)))
        return None if self.grid.store is None else self.grid.store.remove()


def run_fit(
    work: Work, settings: Settings, begin: float, console: Console, followed: AbstractContextManager[Watcher]
) -> Fitted:
    """The fit, or the best of several. begin: by time.monotonic(); console: for the line of an interrupt."""
    blocks, running = work.blocks, settings.running
    if settings.grid is None:
        key = checkpoint_key(work.options, blocks.files, blocks.columns, blocks.weights, work.missing)
        checkpoint = running.checkpoint_of(key, begin, work.execution.group.rank == 0)
        fit, saved = partial(_fit_one, work, settings, checkpoint), partial(saved_by_fit, checkpoint)
    else:
        key = [blocks.columns, blocks.weights, work.missing, settings.grid.criterion, settings.grid.folds]
        store = running.store(settings.targets.output, key)
        fit, saved = partial(_fit_several, work, settings, store), partial(saved_by_grid, store, settings.fits)
    with naming(work.label), interruptible(console, saved), followed as watcher:
        return fit(watcher)


def _fit_one(work: Work, settings: Settings, checkpoint: Checkpoint | None, watcher: Watcher) -> Fitted:
    """A single fit, from the start where there is one."""
    from gmmcli.fitting.fit import fit_task, run
    from gmmcli.fitting.result import describe

    columns = work.blocks.columns
    task = fit_task(
        work.blocks,
        work.options,
        columns=columns,
        start=None if settings.start is None else settings.start.at(columns),
        listener=watcher.listener,
        keeper=checkpoint,
        execution=work.execution,
    )
    result = run(task, work.options)
    return Fitted(result.model, describe(result), result.order)


def _fit_several(work: Work, settings: Settings, store: FolderStore | None, watcher: Watcher) -> Fitted:
    """The best of a grid of fits."""
    from gmmcli.choosing.bootstrap import bootstrap
    from gmmcli.choosing.grid import grid_task
    from gmmcli.fitting.fit import run

    assert settings.grid is not None
    blocks, columns, execution = work.blocks, work.blocks.columns, work.execution
    task = grid_task(
        blocks, work.options, settings.grid, columns=columns, watcher=watcher, store=store, execution=execution
    )
    chosen = run(task, work.options)
    tested = bootstrap(blocks, chosen, work.options, settings.replicates, watcher, execution)
    metadata = {**chosen.best.metadata, "selection": grid_metadata(chosen), "bootstrap": tested}
    return Fitted(chosen.model, metadata, chosen.best.order, chosen)
