"""The work of `gmm fit`: its settings, checked; its output files; the fit or the grid of fits.

- `Settings`, `read_settings`: options and start of a fit or of a grid. `Targets`: the output files.
- `select_columns`: the columns to fit.
- `Work`: makes the fit, or the best of a grid. `Fitted`: its result.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gmmcli.choosing.options import GridOptions, parse_components
from gmmcli.cli.console import Console
from gmmcli.cli.files import apart, check_model, check_table, not_over
from gmmcli.cli.fit_report import grid_columns, grid_metadata
from gmmcli.cli.long_fits import Running, checkpoint_key, ends_named, parse_every, saved_by_fit, saved_by_grid
from gmmcli.cli.processes import library_imports
from gmmcli.data.formats import ReadOptions, format_of_path
from gmmcli.errors import Option, UsageError
from gmmcli.fitting.options import INITS, FitOptions
from gmmcli.storage.files import STDOUT, check_writable
from gmmcli.storage.names import beside, is_address, one_line, suffix_of

if TYPE_CHECKING:
    from gmmcli.choosing.cells import FolderStore
    from gmmcli.choosing.grid import Grid
    from gmmcli.choosing.watcher import Watcher
    from gmmcli.data.columns import Selection
    from gmmcli.data.source import Source
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.fitting.checkpoint import Checkpoint
    from gmmcli.fitting.given_start import Start
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.passes.execution import Execution


@dataclass(frozen=True)
class Targets:
    """Output files of a fit: the model; a table of the fits, a picture and a checkpoint, each None if not wanted."""

    output: str
    table: str | None
    visualize: str | None
    checkpoint: str | None

    def check(self) -> None:
        """Raises UsageError if a file cannot be written, or if two are the same. `Visualizer` checks the picture."""
        check_model("output", self.output, "model.pt")
        check_table("table", self.table)
        if self.checkpoint is not None:
            check_writable(self.checkpoint, "fit.ckpt")
        apart(vars(self))

    def check_inputs(self, data: Sequence[str], init: str, start: Start | None) -> None:
        """Raises UsageError if an output is an input. A fit may replace the model that it goes on from."""
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
        """Raises UsageError for options of the command that exclude each other."""
        self.running.check(self.grid is not None)
        if as_json and self.targets.table in STDOUT[1:]:
            both = f"--table {self.targets.table} and --json both write to standard output"
            raise UsageError(both, remedy="name a file for one")
        if self.replicates is not None and (weights is not None or self.missing == "em"):
            given, remedy = Option("bootstrap", self.replicates), "leave out --weights and --missing em"
            raise UsageError("draws whole rows that each weigh 1", subject=given, remedy=remedy)

    @property
    def fits(self) -> int:
        """Number of fits without those of the bootstrap."""
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
    """The settings. Raises UsageError for options that are wrong, or exclude each other."""
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

        from gmmcli.data.source import Source
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
    if is_address(init):  # an address is not fetched only to see its content
        return format_of_path(init) is None and reading.input_format is None
    return zipfile.is_zipfile(init)


def select_columns(
    source: Source, start: Start | None, columns: list[str] | None, exclude: list[str] | None, weights: str | None
) -> Selection:
    """The requested columns, else the columns of the model to go on from, else all numeric columns."""
    names = None if start is None or start.model is None else start.model.columns
    if columns is not None or exclude is not None or names is None:
        return source.select(columns, exclude, weights)
    chosen = source.select(source.match(names), None, weights)
    reasons = {name: "the weights" if name == weights else "not in --init" for name in chosen.left_out}
    return replace(chosen, left_out=reasons)


@dataclass(frozen=True)
class Fitted:
    """A mixture and its metadata. order: see FitResult. grid: the fits that it was chosen from; None for one fit."""

    model: GaussianMixture
    metadata: Mapping[str, Any]
    order: Sequence[int]
    grid: Grid | None = None

    def save(self, targets: Targets, metadata: Mapping[str, Any]) -> str | None:
        """Writes the model, then the table of the fits: a table that cannot be written costs no fit.

        Returns the folder that still holds fits of other grids; None if there is none.
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


@dataclass(frozen=True)
class Work:
    """The fits to be made to blocks of data."""

    blocks: SourceBlocks
    settings: Settings
    execution: Execution

    def run(self, begin: float, console: Console, followed: AbstractContextManager[Watcher]) -> Fitted:
        """The fit, or the best of several. begin: time.monotonic() at the start. console: notes an interrupt."""
        label, settings, running = self.blocks.sources.label, self.settings, self.settings.running
        if settings.grid is None:
            checkpoint = None
            if running.checkpoint is not None:
                from gmmcli.fitting.checkpoint import Checkpoint

                checkpoint = Checkpoint(
                    running.checkpoint,
                    parse_every(running.checkpoint_every),
                    key=checkpoint_key(settings.options, self.blocks, settings.missing),
                    resume=running.resume,
                    writes=self.execution.group.rank == 0,
                    begin=begin,
                )
            with ends_named(label, console, partial(saved_by_fit, checkpoint)), followed as watcher:
                return self._one(checkpoint, watcher)
        store = None
        if running.resume:
            from gmmcli.choosing.cells import FolderStore

            grid, blocks = settings.grid, self.blocks
            key = [blocks.columns, blocks.weights, settings.missing, grid.criterion, grid.folds]
            store = FolderStore(beside(settings.targets.output, ".cells"), key)
        with ends_named(label, console, partial(saved_by_grid, store, settings.fits)), followed as watcher:
            return self._several(settings.grid, store, watcher)

    def _one(self, checkpoint: Checkpoint | None, watcher: Watcher) -> Fitted:
        """A single fit, from the given start if there is one."""
        from gmmcli.fitting.fit import fit_task, run
        from gmmcli.fitting.result import describe

        start, columns = self.settings.start, self.blocks.columns
        task = fit_task(
            self.blocks,
            self.settings.options,
            columns=columns,
            start=None if start is None else start.at(columns),
            listener=watcher.listener,
            keeper=checkpoint,
            execution=self.execution,
        )
        result = run(task, self.settings.options)
        return Fitted(result.model, describe(result), result.order)

    def _several(self, grid: GridOptions, store: FolderStore | None, watcher: Watcher) -> Fitted:
        """The best of a grid of fits, and its bootstrap if it is wanted."""
        from gmmcli.choosing.bootstrap import Bootstrap
        from gmmcli.choosing.grid import grid_task
        from gmmcli.fitting.fit import run

        blocks, options, execution = self.blocks, self.settings.options, self.execution
        task = grid_task(
            blocks, options, grid, columns=blocks.columns, watcher=watcher, store=store, execution=execution
        )
        chosen, replicates, tested = run(task, options), self.settings.replicates, None
        if replicates is not None:
            options = grid.options(options, chosen.best.family, chosen.best.components)
            bootstrap = Bootstrap(blocks, chosen.model, options, replicates, watcher, execution)
            ratio_test, errors = run(bootstrap.ratio_test(), options), run(bootstrap.standard_errors(), options)
            tested = {"replicates": replicates, "ratio_test": asdict(ratio_test), "standard_errors": asdict(errors)}
        metadata = {**chosen.best.metadata, "selection": grid_metadata(chosen), "bootstrap": tested}
        return Fitted(chosen.model, metadata, chosen.best.order, chosen)
