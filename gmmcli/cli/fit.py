"""`gmm fit`: a mixture fitted to data, saved as a model file."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Annotated

import typer

from gmmcli.choosing.options import CHOOSING
from gmmcli.cli import options
from gmmcli.cli.completion import column, column_list
from gmmcli.cli.console import Console, as_flag, write_json
from gmmcli.cli.fit_report import columns_report, fit_report, plan_report
from gmmcli.cli.fit_work import Targets, Work, read_settings, select_columns
from gmmcli.cli.long_fits import Running
from gmmcli.cli.options import DATA, OUTPUT, REPORT
from gmmcli.cli.processes import among_processes, group_of, library_imports, refuse_stdin, sums_over
from gmmcli.cli.progress import follow
from gmmcli.cli.rows import as_read
from gmmcli.cli.visualize import Visualizer
from gmmcli.errors import NotConvergedError
from gmmcli.passes.distributed import place
from gmmcli.storage.names import masked, printable

EXAMPLES = """\
$ gmm fit sample_data/faithful.csv --components 2 -o faithful.pt

$ gmm fit sample_data/penguins.csv --columns 3:6 --missing drop -k 3 -o penguins.pt

$ gmm fit sample_data/faithful.csv --components 1:4 --family full,tied,diagonal -o best.pt"""


def fit(
    context: typer.Context,
    *,
    data: options.Data = None,
    output: Annotated[str, OUTPUT("-o MODEL", "Model file to write.")],
    columns: list[str] | None = DATA.field(
        None,
        "LIST",
        "Columns to use: names, positions from 1 or ranges such as 2:4, comma-separated. "
        "Default: all numeric columns but those that gmm itself adds.",
        suggestions=column_list,
    ),
    exclude: list[str] | None = DATA.field(
        None, "LIST", "Columns to leave out, given alike. Default: none.", suggestions=column_list
    ),
    weights: str | None = DATA.field(
        None,
        "COLUMN",
        "Column of row weights, not negative; N is then the total weight wherever it occurs. Default: every "
        "row weighs 1.",
        suggestions=column,
    ),
    missing: options.MISSING_CHOICES = DATA.field(
        "error",
        "",
        "Rows with a missing, NaN or infinite cell: an error that counts them, or left out of the fit (drop). "
        "With em the cells that are there are fitted, as is right where the others are missing at random; infinite "
        "ones are an error.",
    ),
    fitting: options.Fitting,
    choosing: options.Choosing,
    table: str | None = CHOOSING.field(
        None,
        "FILE",
        "Write a row for every fit: log-likelihood, parameters, criteria, passes, seconds, and why a fit is "
        "not to be trusted. Default: none.",
    ),
    bootstrap: int | None = CHOOSING.field(
        None,
        "B",
        "Test the chosen number of components against one more by the likelihood ratio of B samples drawn "
        "from the fit, and give standard errors from B resamplings of the rows. Default: neither.",
        least=2,
    ),
    running: Running,
    reading: options.ReadOptions,
    memory: options.Memory,
    log_every: int | None = REPORT.field(
        None, "--log-freq N", "Print a line on stderr every N passes of each restart.", least=1
    ),
    visualize: str | None = OUTPUT.field(
        None,
        "FILE",
        "Draw the fit: a PNG, SVG or PDF when it is done; with {step} in the name one every --log-every "
        "passes (10 unless given); a GIF for an animation. Default: none.",
    ),
    strict: bool = REPORT.field(
        False, "", "Exit with code 5 when the fit has not converged. The model is written all the same."
    ),
    json: options.Json = False,
    common: options.Common,
) -> None:
    """Fits a Gaussian mixture to the numeric columns of data files, and saves it.

    Of several random starts the best is kept; of several --components or
    --family the best by --criterion. The model file holds the mixture, in
    the units of the data, and how it came to be; gmm show prints both.
    """
    begin, group = time.monotonic(), group_of(context)
    targets = Targets(output, table, visualize, running.checkpoint)
    settings = read_settings(fitting, choosing, targets, running, reading, missing, bootstrap)
    settings.check(weights, json)
    refuse_stdin(data, group)
    with library_imports():  # after the checks: a wrong option is an error at once
        from gmmcli.data.source import Source
        from gmmcli.passes.block import Share
        from gmmcli.passes.device import pass_dtype, resolve_device
        from gmmcli.passes.execution import Execution, Meter

    targets.check()
    settings = replace(settings, options=among_processes(settings.options))
    pass_dtype(settings.options.precision, resolve_device(settings.options.device))
    console = Console(common.quiet or group.rank > 0)
    visualizer = None if visualize is None else Visualizer(visualize, log_every, settings.fits > 1)
    scratch = memory.scratch(place().local_size)
    source = Source(data or [], reading, scratch=scratch)
    targets.check_inputs(source.paths, fitting["init"], settings.start)
    selection = select_columns(source, settings.start, columns, exclude, weights)
    if console.live:  # elsewhere an error stays the only line
        columns_report(console, selection, weights)
    blocks = source.blocks(selection.used, weights, as_read(missing), Share(group.rank, group.size))
    meter = Meter(blocks.rows, blocks.share_rows)
    execution = Execution(group, lambda: scratch.free, running.late(begin, group), meter, as_flag)
    if running.dry_run:
        plan_report(console, blocks, settings, execution)
        return

    json_lines = running.log_format == "json" and group.rank == 0
    followed = follow(console, log_every, visualizer, settings.fits, meter, as_json=json_lines)
    fitted = Work(blocks, settings, execution).run(begin, console, followed)
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
        "init": masked(fitting["init"]),
        "reading": asdict(reading),
    }
    other_fits = fitted.save(targets, metadata)
    notes = [] if visualizer is None else [visualizer.draw(console, source, fitted, metadata["restart"], weights)]
    if other_fits is not None:
        notes.append(f"{printable(other_fits)}: stays, as there is more in it, such as fits of another grid")
    if not console.live:
        columns_report(console, selection, weights)
    fit_report(console, fitted, metadata, notes, output, time.monotonic() - begin, strict)
    if json:
        write_json({"model": masked(output), **{k: v for k, v in metadata.items() if k != "history"}})
    if strict and not metadata["converged"]:
        raise NotConvergedError(f"not converged: {metadata['stop']['prose']}", remedy=metadata["stop"]["remedy"])
