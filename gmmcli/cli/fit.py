"""`gmm fit`: a mixture fitted to data, saved as a model file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.addresses import masked
from gmmcli.cli import console as out
from gmmcli.cli.console import Console
from gmmcli.cli.fit_options import Fitting, read_start
from gmmcli.cli.fit_report import columns_report, fit_report
from gmmcli.cli.grid_options import Choosing
from gmmcli.cli.grid_report import grid_metadata, grid_report, table_columns
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import as_read, check_model_option
from gmmcli.cli.options import (
    OUTPUT,
    REPORT,
    Columns,
    Common,
    Data,
    Exclude,
    Json,
    Memory,
    Missing,
    Reading,
    Weights,
)
from gmmcli.cli.plan import plan_report
from gmmcli.cli.processes import among_processes, group_of, refuse_stdin, sums_over
from gmmcli.cli.progress import follow
from gmmcli.cli.run_options import Running, checkpoint_key
from gmmcli.cli.visualize import Visualizer
from gmmcli.distributed import place
from gmmcli.errors import InputError, NotConvergedError
from gmmcli.names import printable

if TYPE_CHECKING:
    from gmmcli.blocks import Block
    from gmmcli.choosing.grid import Grid, Store
    from gmmcli.choosing.options import GridOptions
    from gmmcli.choosing.watcher import Watcher
    from gmmcli.data import Selection, Source
    from gmmcli.fitting.execution import Execution
    from gmmcli.fitting.options import FitOptions
    from gmmcli.fitting.race import Keeper
    from gmmcli.fitting.rows import SurveyedRows
    from gmmcli.mixture import GaussianMixture
    from gmmcli.starts import Start

EXAMPLES = """\
$ gmm fit sample_data/faithful.csv --components 2 -o faithful.pt

$ gmm fit sample_data/penguins.csv --columns 3:6 --missing drop -k 3 -o penguins.pt

$ gmm fit sample_data/faithful.csv --components 1:4 --family full,tied,diagonal -o best.pt"""


def fit(
    context: typer.Context,
    *,
    data: Data = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="MODEL", help="Model file to write.", rich_help_panel=OUTPUT)
    ],
    columns: Columns = None,
    exclude: Exclude = None,
    weights: Weights = None,
    missing: Missing = "error",
    fitting: Fitting,
    choosing: Choosing,
    running: Running,
    reading: Reading,
    memory: Memory,
    log_every: Annotated[
        int | None,
        typer.Option(
            "--log-every",
            "--log-freq",
            min=1,
            metavar="N",
            help="Print a line on stderr every N passes of each restart.",
            rich_help_panel=REPORT,
        ),
    ] = None,
    visualize: Annotated[
        str | None,
        typer.Option(
            "--visualize",
            metavar="FILE",
            help="Draw the fit: a PNG, SVG or PDF when it is done; with {step} in the name one every --log-every "
            "passes (10 unless given); a GIF for an animation. Default: none.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit with code 5 when the fit has not converged. The model is written all the same.",
            rich_help_panel=REPORT,
        ),
    ] = False,
    as_json: Json = False,
    common: Common,
) -> None:
    """Fits a Gaussian mixture to the numeric columns of data files, and saves it.

    Of several random starts the best is kept; of several --components or
    --family the best by --criterion. The model file holds the mixture, in
    the units of the data, and how it came to be; gmm show prints both.
    """
    begin = time.monotonic()
    group = group_of(context)
    read_options = reading.options()
    grid = choosing.grid(fitting)
    start = read_start(fitting.init, read_options)
    options = fitting.options(start) if grid is None else choosing.base(grid, fitting)
    choosing.check(weights, missing, as_json)
    running.check(grid is not None)
    refuse_stdin(data, group)
    # only now, since a wrong option is told without them
    with library_imports():
        from gmmcli.blocks import Share
        from gmmcli.data import Source, check_target, output_format
        from gmmcli.files import check_place
        from gmmcli.fitting.device import pass_dtype, resolve_device
        from gmmcli.fitting.execution import Execution
        from gmmcli.fitting.meter import Meter
        from gmmcli.model_file import save_model

    check_model_option("--output", output, "model.pt")
    check_target(choosing.table)
    output_format(choosing.table)
    if running.checkpoint is not None:
        check_place(running.checkpoint, "fit.ckpt")
    options = among_processes(options)
    pass_dtype(options.precision, resolve_device(options.device))
    console = Console(common.quiet or group.rank > 0)
    cells = 1 if grid is None else len(grid.order())
    visualizer = None if visualize is None else Visualizer(visualize, log_every, cells > 1)
    scratch = memory.scratch(place().local_size)
    source = Source(data or [], read_options, scratch=scratch)
    selection = _select(source, start, columns, exclude, weights)
    if console.live:  # elsewhere an error is to be the only line
        columns_report(console, selection, weights)
    blocks = source.blocks(selection.used, weights, as_read(missing), Share(group.rank, group.size))
    meter = Meter(blocks.rows, blocks.share_rows)
    execution = Execution(group, lambda: scratch.free, running.late(begin, group), meter)
    if running.dry_run:
        plan_report(console, blocks, options, grid, execution, missing == "em")
        return
    as_json_lines = running.log_format == "json" and group.rank == 0
    followed = follow(console, log_every, visualizer, cells, meter, as_json=as_json_lines)
    with _named(source, running.checkpoint), followed as watcher:
        if grid is None:
            key = checkpoint_key(options, blocks.files, selection.used, weights, missing)
            keeper = running.keeper(key, begin, group.rank == 0)
            fitted = _fit_one(blocks, options, selection, start, watcher, keeper, execution)
        else:
            store = running.store(output, [selection.used, weights, missing, grid.criterion, grid.folds])
            fitted = _fit_several(blocks, options, selection, grid, store, choosing.bootstrap, watcher, execution)
    rows_read, rows_left_out = sums_over(group, blocks.rows_read, blocks.rows_dropped)
    metadata = {
        **fitted.metadata,
        "kind": "fit",
        "source": source.label,
        "left_out": selection.left_out,
        "weights_column": weights,
        "missing": missing,
        "rows_read": rows_read,
        "rows_left_out": rows_left_out,
        "init": masked(fitting.init),
        "reading": asdict(reading),
    }
    if group.rank > 0:  # the first process alone writes
        return
    save_model(output, fitted.model, metadata)  # first: a table that cannot be written is to cost no fit
    if fitted.grid is not None and choosing.table is not None:
        _write_table(fitted.grid, choosing.table)
    if fitted.grid is not None and fitted.grid.store is not None:
        fitted.grid.store.remove()
    if not console.live:
        columns_report(console, selection, weights)
    if fitted.grid is not None:
        grid_report(console, fitted.grid)
    if visualizer is not None:
        visualizer.draw(console, source, fitted.model, metadata["restart"], fitted.order, weights)
    fit_report(console, fitted.model, metadata, output, time.monotonic() - begin, strict)
    if as_json:
        out.write_json({"model": masked(output), **{k: v for k, v in metadata.items() if k != "history"}})
    if strict and not metadata["converged"]:
        raise NotConvergedError(f"not converged: {metadata['stop']['prose']}: {metadata['stop']['remedy']}")


@dataclass(frozen=True)
class _Fitted:
    """What is saved: the mixture, what is known of it; order: see FitResult. grid: what it was chosen from."""

    model: GaussianMixture
    metadata: Mapping[str, Any]
    order: Sequence[int]
    grid: Grid | None = None


def _fit_one(
    blocks: Iterable[Block],
    options: FitOptions,
    selection: Selection,
    start: Start | None,
    watcher: Watcher,
    keeper: Callable[[SurveyedRows], Keeper] | None,
    execution: Execution,
) -> _Fitted:
    from gmmcli.fitting.fit import fit_blocks
    from gmmcli.metadata import describe

    given = None if start is None else start.at(selection.used)
    result = fit_blocks(
        blocks, options, columns=selection.used, start=given, listener=watcher.listener, keeper=keeper,
        execution=execution,
    )  # fmt: skip
    return _Fitted(result.model, describe(result), result.order)


def _fit_several(
    blocks: Iterable[Block],
    options: FitOptions,
    selection: Selection,
    grid: GridOptions,
    store: Store | None,
    replicates: int | None,
    watcher: Watcher,
    execution: Execution,
) -> _Fitted:
    from gmmcli.choosing.bootstrap import bootstrap
    from gmmcli.choosing.grid import fit_grid

    chosen = fit_grid(
        blocks, options, grid, columns=selection.used, watcher=watcher, store=store, execution=execution
    )
    tested = bootstrap(blocks, chosen, options, replicates, watcher, execution)
    more = {"selection": grid_metadata(chosen), "bootstrap": tested}
    return _Fitted(chosen.model, {**chosen.best.metadata, **more}, chosen.best.order, chosen)


def _write_table(grid: Grid, target: str) -> None:
    from gmmcli.data import open_sink, table_of_values

    with open_sink(target) as sink:
        sink.write(table_of_values(table_columns(grid)))


@contextmanager
def _named(source: Source, checkpoint: str | None) -> Iterator[None]:
    """Puts the data's name before an error that the fit, which knows no files, raises of its rows."""
    try:
        yield
    except InputError as error:
        known = (source.label, *source.labels, printable(checkpoint or "--"), "--")
        named = str(error).startswith(known)
        raise InputError(str(error) if named else f"{source.label}: {error}") from None


def _select(
    source: Source, start: Start | None, columns: list[str] | None, exclude: list[str] | None, weights: str | None
) -> Selection:
    """The columns that are asked for, else those of the model to go on from, else all that are numeric."""
    if columns is not None or exclude is not None or start is None or start.model is None or start.names is None:
        return source.select(columns, exclude, weights)
    chosen = source.select(source.match(start.names), None, weights)
    reasons = {name: "the weights" if name == weights else "not in --init" for name in chosen.left_out}
    return replace(chosen, left_out=reasons)
