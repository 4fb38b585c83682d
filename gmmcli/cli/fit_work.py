"""The settings of `gmm fit`, read off its options and checked; the files that it writes; and the fit.

- `Settings`, `read_settings`: the options of a fit or of a grid, with their start. `Targets`: the output files.
- `select_columns`: the columns to fit.
- `run_fit`: the fit, or the best of a grid. `Fitted`: its result.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gmmcli.choosing.options import GridOptions, parse_components
from gmmcli.cli.console import Console
from gmmcli.cli.files import apart, check_model, check_table, naming, not_over
from gmmcli.cli.fit_report import grid_columns, grid_metadata
from gmmcli.cli.long_fits import Running, checkpoint_key, interruptible, saved_by_fit, saved_by_grid
from gmmcli.cli.processes import library_imports
from gmmcli.data.formats import ReadOptions, format_of_path
from gmmcli.errors import Option, UsageError
from gmmcli.fitting.options import INITS, FitOptions
from gmmcli.storage.addresses import is_address, suffix_of
from gmmcli.storage.files import STDOUT, check_writable
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.choosing.cells import FolderStore
    from gmmcli.choosing.grid import Grid
    from gmmcli.choosing.watcher import Watcher
    from gmmcli.data import Selection, Source
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.fitting.checkpoint import Checkpoint
    from gmmcli.fitting.given_start import Start
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.passes.execution import Execution


@dataclass(frozen=True)
class Targets:
    """The files of a fit: the model; a table of the fits, a picture, and a checkpoint, None for none."""

    output: str
    table: str | None
    visualize: str | None
    checkpoint: str | None

    def check(self) -> None:
        """Raises UsageError where a file cannot be written, the picture aside, and where two are the same."""
        check_model("output", self.output, "model.pt")
        check_table("table", self.table)
        if self.checkpoint is not None:
            check_writable(self.checkpoint, "fit.ckpt")
        apart(vars(self))

    def check_inputs(self, data: Sequence[str], init: str, start: Start | None) -> None:
        """Raises UsageError where an input would be overwritten; a model may go on from itself."""
        not_over(vars(self), "data", data)
        if start is not None:
            others = {option: file for option, file in vars(self).items() if option != "output"}
            not_over(vars(self) if start.model is None else others, "--init", [init])


@dataclass(frozen=True)
class Settings:
    """A fit or several. options: of a single fit, or shared by the cells of a grid; grid: None for a single fit.

    start: the file of --init, None for a random start. replicates: of the bootstrap, None for none.
    """

    options: FitOptions
    grid: GridOptions | None
    start: Start | None
    targets: Targets
    running: Running
    missing: str
    replicates: int | None

    def check(self, weights: str | None, as_json: bool) -> None:
        """Raises UsageError for options of the command that do not go together."""
        self.running.check(self.grid is not None)
        table = self.targets.table
        if as_json and table in STDOUT[1:]:
            both = f"--table {table} and --json both write to standard output"
            raise UsageError(both, remedy="name a file for one")
        if self.replicates is not None and (weights is not None or self.missing == "em"):
            given, remedy = Option("bootstrap", self.replicates), "leave out --weights and --missing em"
            raise UsageError("draws whole rows that each weigh 1", subject=given, remedy=remedy)

    @property
    def fits(self) -> int:
        """Number of fits, the bootstrap's aside."""
        return 1 if self.grid is None else len(self.grid.cells(self.options))


def read_settings(
    fitting: Mapping[str, Any],
    choosing: Mapping[str, Any],
    targets: Targets,
    running: Running,
    reading: ReadOptions,
    missing: str,
    replicates: int | None,
) -> Settings:
    """The settings. Raises UsageError for options that are wrong, or do not go together."""
    grid = GridOptions.of(fitting, choosing, replicates is not None or targets.table is not None)
    start = _read_start(fitting["init"], reading)
    if grid is not None:
        options = grid.shared(fitting)
    else:
        given = dict(fitting)
        if "components" in given:
            given["components"] = parse_components(given["components"])[0]
        options = FitOptions(**(given if start is None else start.complete(given)))
    return Settings(options, grid, start, targets, running, missing, replicates)


def _read_start(init: str, reading: ReadOptions) -> Start | None:
    """The start in a file that --init names; None for the name of a random start."""
    if init in INITS or not (os.path.exists(init) or os.path.dirname(init) or os.path.splitext(init)[1]):
        return None
    with library_imports():
        import torch

        from gmmcli.data import Source
        from gmmcli.fitting.given_start import Start
        from gmmcli.model.model_file import load_model

    option = Option("init", one_line(init))
    if _names_model(init, reading):
        return Start(load_model(init)[0], option=option)
    source = Source([init], reading)
    names = source.select().used
    means = torch.cat([block.x for block in source.blocks(names)])
    return Start(means=means, names=None if source.by_position else names, option=option)


def _names_model(init: str, reading: ReadOptions) -> bool:
    if suffix_of(init) == ".pt":
        return True
    if is_address(init):  # not fetched only to see its content
        return format_of_path(init) is None and reading.input_format is None
    return zipfile.is_zipfile(init)


def select_columns(
    source: Source, start: Start | None, columns: list[str] | None, exclude: list[str] | None, weights: str | None
) -> Selection:
    """The columns that are asked for, else those of the model to go on from, else all that are numeric."""
    names = None if start is None or start.model is None else start.model.columns
    if columns is not None or exclude is not None or names is None:
        return source.select(columns, exclude, weights)
    chosen = source.select(source.match(names), None, weights)
    reasons = {name: "the weights" if name == weights else "not in --init" for name in chosen.left_out}
    return replace(chosen, left_out=reasons)


@dataclass(frozen=True)
class Fitted:
    """A mixture and its metadata. order: see FitResult. grid: the fits among which it was chosen."""

    model: GaussianMixture
    metadata: Mapping[str, Any]
    order: Sequence[int]
    grid: Grid | None = None

    def save(self, targets: Targets, metadata: Mapping[str, Any]) -> str | None:
        """Writes the model, then the table of the fits: a table that cannot be written costs no fit.

        Returns the folder where fits of other grids are kept, None where there is none.
        """
        from gmmcli.data import open_sink, table_of_values
        from gmmcli.model.model_file import save_model

        save_model(targets.output, self.model, metadata)
        if self.grid is None:
            return None
        if targets.table is not None:
            with open_sink(targets.table) as sink:
                sink.write(table_of_values(grid_columns(self.grid)))
        return None if self.grid.store is None else self.grid.store.remove()


def run_fit(
    blocks: SourceBlocks,
    settings: Settings,
    execution: Execution,
    begin: float,
    console: Console,
    followed: AbstractContextManager[Watcher],
) -> Fitted:
    """The fit, or the best of several. begin: by time.monotonic(); console: for the line of an interrupt."""
    options, grid, running = settings.options, settings.grid, settings.running
    fit: Callable[[Watcher], Fitted]
    if grid is None:
        checkpoint = running.checkpoint_of(
            checkpoint_key(options, blocks, settings.missing), begin, execution.group.rank == 0
        )
        fit = partial(_fit_one, blocks, settings, execution, checkpoint)
        saved = partial(saved_by_fit, checkpoint)
    else:
        key = [blocks.columns, blocks.weights, settings.missing, grid.criterion, grid.folds]
        store = running.store(settings.targets.output, key)
        fit = partial(_fit_several, blocks, settings, grid, execution, store)
        saved = partial(saved_by_grid, store, settings.fits)
    with naming(blocks.label), interruptible(console, saved), followed as watcher:
        return fit(watcher)


def _fit_one(
    blocks: SourceBlocks, settings: Settings, execution: Execution, checkpoint: Checkpoint | None, watcher: Watcher
) -> Fitted:
    """A single fit, from the start where there is one."""
    from gmmcli.fitting.fit import fit_task, run
    from gmmcli.fitting.result import describe

    task = fit_task(
        blocks,
        settings.options,
        columns=blocks.columns,
        start=None if settings.start is None else settings.start.at(blocks.columns),
        listener=watcher.listener,
        keeper=checkpoint,
        execution=execution,
    )
    result = run(task, settings.options)
    return Fitted(result.model, describe(result), result.order)


def _fit_several(
    blocks: SourceBlocks,
    settings: Settings,
    grid: GridOptions,
    execution: Execution,
    store: FolderStore | None,
    watcher: Watcher,
) -> Fitted:
    """The best of a grid of fits."""
    from gmmcli.choosing.bootstrap import bootstrap
    from gmmcli.choosing.grid import grid_task
    from gmmcli.fitting.fit import run

    task = grid_task(
        blocks, settings.options, grid, columns=blocks.columns, watcher=watcher, store=store, execution=execution
    )
    chosen = run(task, settings.options)
    tested = bootstrap(blocks, chosen, settings.options, settings.replicates, watcher, execution)
    metadata = {**chosen.best.metadata, "selection": grid_metadata(chosen), "bootstrap": tested}
    return Fitted(chosen.model, metadata, chosen.best.order, chosen)
