"""`gmm fit`: a mixture fitted to data, saved as a model file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.cli import console as out
from gmmcli.cli.console import Console
from gmmcli.cli.fit_options import Fitting
from gmmcli.cli.fit_report import columns_report, fit_report
from gmmcli.cli.fit_settings import Targets, read_settings
from gmmcli.cli.fit_work import Fitted, Work, fit_one, fit_several, naming
from gmmcli.cli.grid_options import Choosing
from gmmcli.cli.grid_report import grid_report, table_columns
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import as_read
from gmmcli.cli.interrupts import kept_of_fit, kept_of_grid, telling_what_is_kept
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
from gmmcli.errors import NotConvergedError
from gmmcli.passes.distributed import place
from gmmcli.storage.addresses import masked
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.data import Selection, Source
    from gmmcli.fitting.given_start import Start

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
    settings = read_settings(fitting, choosing, running, read_options)
    choosing.check(weights, missing, as_json)
    refuse_stdin(data, group)
    # only now, since a wrong option is told without them
    with library_imports():
        from gmmcli.data import Source
        from gmmcli.passes.block import Share
        from gmmcli.passes.device import pass_dtype, resolve_device
        from gmmcli.passes.execution import Execution
        from gmmcli.passes.meter import Meter

    targets = Targets(output, choosing.table, visualize, running.checkpoint)
    targets.check()
    options = among_processes(settings.options)
    pass_dtype(options.precision, resolve_device(options.device))
    console = Console(common.quiet or group.rank > 0)
    visualizer = None if visualize is None else Visualizer(visualize, log_every, settings.fits > 1)
    scratch = memory.scratch(place().local_size)
    source = Source(data or [], read_options, scratch=scratch)
    targets.check_inputs(source.paths, fitting.init, settings.start)
    selection = _select(source, settings.start, columns, exclude, weights)
    if console.live:  # elsewhere an error is to be the only line
        columns_report(console, selection, weights)
    blocks = source.blocks(selection.used, weights, as_read(missing), Share(group.rank, group.size))
    meter = Meter(blocks.rows, blocks.share_rows)
    execution = Execution(group, lambda: scratch.free, running.late(begin, group), meter, out.as_flag)
    if running.dry_run:
        plan_report(console, blocks, options, settings.grid, execution, missing == "em")
        return

    as_json_lines = running.log_format == "json" and group.rank == 0
    followed = follow(console, log_every, visualizer, settings.fits, meter, as_json=as_json_lines)
    work = Work(blocks, selection.used, options, execution)
    if settings.grid is None:
        key = checkpoint_key(options, blocks.files, selection.used, weights, missing)
        checkpoints = running.checkpoints(key, begin, group.rank == 0)
        run, kept = partial(fit_one, work, settings.start, checkpoints), partial(kept_of_fit, checkpoints)
    else:
        key = [selection.used, weights, missing, settings.grid.criterion, settings.grid.folds]
        store = running.store(output, key)
        run = partial(fit_several, work, settings.grid, store, choosing.bootstrap)
        kept = partial(kept_of_grid, store, settings.fits)
    with naming(source, running.checkpoint), telling_what_is_kept(console, kept), followed as watcher:
        fitted = run(watcher)
    rows_read, rows_left_out = sums_over(group, blocks.rows_read, blocks.rows_dropped)
    if group.rank > 0:  # the first process alone writes
        return

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
    others = _save(fitted, metadata, targets)
    drawn = None if visualizer is None else visualizer.draw(console, source, fitted, metadata["restart"], weights)

    if not console.live:
        columns_report(console, selection, weights)
    if fitted.grid is not None:
        grid_report(console, fitted.grid)
    if drawn is not None:
        console.note(drawn)
    if others is not None:
        console.note(f"{printable(others)}: stays, as there is more in it, such as fits of another grid")
    fit_report(console, fitted.model, metadata, output, time.monotonic() - begin, strict)
    if as_json:
        out.write_json({"model": masked(output), **{k: v for k, v in metadata.items() if k != "history"}})
    if strict and not metadata["converged"]:
        raise NotConvergedError(f"not converged: {metadata['stop']['prose']}: {metadata['stop']['remedy']}")


def _save(fitted: Fitted, metadata: Mapping[str, Any], targets: Targets) -> str | None:
    """Writes the model, before all else: a table that cannot be written is to cost no fit.

    Returns the folder where other grids' fits are kept, None where there is none.
    """
    from gmmcli.data import open_sink, table_of_values
    from gmmcli.model.model_file import save_model

    save_model(targets.model, fitted.model, metadata)
    if fitted.grid is None:
        return None
    if targets.table is not None:
        with open_sink(targets.table) as sink:
            sink.write(table_of_values(table_columns(fitted.grid)))
    return None if fitted.grid.store is None else fitted.grid.store.remove()


def _select(
    source: Source, start: Start | None, columns: list[str] | None, exclude: list[str] | None, weights: str | None
) -> Selection:
    """The columns that are asked for, else those of the model to go on from, else all that are numeric."""
    if columns is not None or exclude is not None or start is None or start.model is None or start.names is None:
        return source.select(columns, exclude, weights)
    chosen = source.select(source.match(start.names), None, weights)
    reasons = {name: "the weights" if name == weights else "not in --init" for name in chosen.left_out}
    return replace(chosen, left_out=reasons)
