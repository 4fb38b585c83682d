"""The settings of `gmm fit`, read off its options and checked, and the files that it writes.

- `Settings`, `read_settings`: what is fitted. `FitTargets`: the files. `read_start`: the start that --init names.
- `select_columns`: the columns to fit.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gmmcli.choosing.options import GridOptions, parse_components
from gmmcli.cli.files import apart, check_model, check_table, not_over
from gmmcli.cli.long_fits import Running
from gmmcli.cli.processes import library_imports
from gmmcli.data.formats import format_of_path
from gmmcli.errors import Option, UsageError
from gmmcli.fitting.options import INITS, FitOptions
from gmmcli.storage.addresses import is_address, suffix_of
from gmmcli.storage.files import STDOUT, check_writable
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.data.columns import Selection
    from gmmcli.data.formats import ReadOptions
    from gmmcli.data.source import Source
    from gmmcli.fitting.given_start import Start


@dataclass(frozen=True)
class FitTargets:
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
    """A fit or several. options: of a single fit, or what all cells share; grid: None for a single fit.

    start: the file of --init, None for a random start. replicates: of the bootstrap, None for none.
    """

    options: FitOptions
    grid: GridOptions | None
    start: Start | None
    replicates: int | None
    running: Running
    targets: FitTargets

    def check(self, weights: str | None, missing: str, as_json: bool) -> None:
        """Raises UsageError for options of the command that do not go together."""
        self.running.check(self.grid is not None)
        table = self.targets.table
        if as_json and table in STDOUT[1:]:
            both = f"--table {table} and --json both write to standard output"
            raise UsageError(both, remedy="name a file for one")
        if self.replicates is not None and (weights is not None or missing == "em"):
            raise UsageError(
                "draws whole rows that each weigh 1",
                subject=Option("bootstrap", self.replicates),
                remedy="leave out --weights and --missing em",
            )

    @property
    def fits(self) -> int:
        """Number of fits, the bootstrap's aside."""
        return 1 if self.grid is None else len(self.grid.order())


def read_settings(
    fitting: Mapping[str, Any],
    choosing: Mapping[str, Any],
    replicates: int | None,
    running: Running,
    targets: FitTargets,
    reading: ReadOptions,
) -> Settings:
    """The settings, whose options are checked. Raises UsageError for what does not go together."""
    grid = GridOptions.of(fitting, choosing, replicates is not None or targets.table is not None)
    start = read_start(fitting["init"], reading)
    if grid is not None:
        return Settings(grid.shared(fitting), grid, start, replicates, running, targets)
    given = dict(fitting)
    if "components" in given:
        given["components"] = parse_components(given["components"])[0]
    options = FitOptions(**(given if start is None else start.complete(given)))
    return Settings(options, None, start, None, running, targets)


def read_start(init: str, reading: ReadOptions) -> Start | None:
    """The start in a file that --init names; None for the name of a random start."""
    if init in INITS or not _names_file(init):
        return None
    with library_imports():
        from gmmcli.fitting.given_start import Start

    option = Option("init", one_line(init))
    if _names_model(init, reading):
        from gmmcli.model.model_file import load_model

        return Start(load_model(init)[0], option=option)
    import torch

    from gmmcli.data.source import Source

    source = Source([init], reading)
    names = source.select().used
    means = torch.cat([block.x for block in source.blocks(names)])
    return Start(means=means, names=None if source.by_position else names, option=option)


def _names_model(init: str, reading: ReadOptions) -> bool:
    if suffix_of(init) == ".pt":
        return True
    if is_address(init):  # not fetched only to see its content
        return format_of_path(init) is None and reading.format is None
    return zipfile.is_zipfile(init)


def _names_file(init: str) -> bool:
    return os.path.exists(init) or bool(os.path.dirname(init) or os.path.splitext(init)[1])


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
