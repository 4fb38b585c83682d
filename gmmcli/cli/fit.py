"""`gmm fit`: a mixture fitted to data, saved as a model file."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from gmmcli.choosing.options import CHOOSING
from gmmcli.cli import console as out
from gmmcli.cli import options
from gmmcli.cli.console import Console
from gmmcli.cli.fit_report import columns_report, fit_report, plan_report
from gmmcli.cli.fit_settings import FitTargets, read_settings, select_columns
from gmmcli.cli.fit_work import Work, run_fit
from gmmcli.cli.long_fits import Running
from gmmcli.cli.processes import among_processes, group_of, library_imports, refuse_stdin, sums_over
from gmmcli.cli.progress import follow
from gmmcli.cli.rows import as_read
from gmmcli.cli.visualize import Visualizer
from gmmcli.errors import NotConvergedError
from gmmcli.passes.distributed import place
from gmmcli.storage.addresses import masked
from gmmcli.storage.names import printable

EXAMPLES = """\
$ gmm fit sample_data/faithful.csv --components 2 -o faithful.pt

$ gmm fit sample_data/penguins.csv --columns 3:6 --missing drop -k 3 -o penguins.pt

$ gmm fit sample_data/faithful.csv --components 1:4 --family full,tied,diagonal -o best.pt"""

Output = Annotated[str, options.OUTPUT("-o MODEL", "Model file to write.")]
TableFile = Annotated[
    str | None,
    CHOOSING(
        "FILE",
        "Write a row for every fit: log-likelihood, parameters, criteria, passes, seconds, and why a fit is "
        "not to be trusted. Default: none.",
    ),
]
Bootstrap = Annotated[
    int | None,
    CHOOSING(
        "B",
        "Test the chosen number of components against one more by the likelihood ratio of B samples drawn "
        "from the fit, and give standard errors from B resamplings of the rows. Default: neither.",
        least=2,
    ),
]
LogEvery = Annotated[
    int | None, options.REPORT("--log-freq N", "Print a line on stderr every N passes of each restart.", least=1)
]
Visualize = Annotated[
    str | None,
    options.OUTPUT(
        "FILE",
        "Draw the fit: a PNG, SVG or PDF when it is done; with {step} in the name one every --log-every "
        "passes (10 unless given); a GIF for an animation. Default: none.",
    ),
]
Strict = Annotated[
    bool, options.REPORT("", "Exit with code 5 when the fit has not converged. The model is written all the same.")
]


def fit(
    context: typer.Context,
    *,
    data: options.Data = None,
    output: Output,
    columns: options.Columns = None,
    exclude: options.Exclude = None,
    weights: options.Weights = None,
    missing: options.Missing = "error",
    fitting: options.Fitting,
    choosing: options.Choosing,
    table: TableFile = None,
    bootstrap: Bootstrap = None,
    running: Running,
    reading: options.Reading,
    memory: options.Memory,
    log_every: LogEvery = None,
    visualize: Visualize = None,
    strict: Strict = False,
    json: options.Json = False,
    common: options.Common,
) -> None:
    """Fits a Gaussian mixture to the numeric columns of data files, and saves it.

    Of several random starts the best is kept; of several --components or
    --family the best by --criterion. The model file holds the mixture, in
    the units of the data, and how it came to be; gmm show prints both.
    """
    begin, group = time.monotonic(), group_of(context)
    reading_options, targets = reading.options(), FitTargets(output, table, visualize, running.checkpoint)
    settings = read_settings(fitting, choosing, bootstrap, running, targets, reading_options)
    settings.check(weights, missing, json)
    refuse_stdin(data, group)
    with library_imports():  # only now: a wrong option is an error without them, and so at once
        from gmmcli.data.source import Source
        from gmmcli.passes.block import Share
        from gmmcli.passes.device import pass_dtype, resolve_device
        from gmmcli.passes.execution import Execution
        from gmmcli.passes.meter import Meter

    targets.check()
    fit_options = among_processes(settings.options)
    pass_dtype(fit_options.precision, resolve_device(fit_options.device))
    console = Console(common.quiet or group.rank > 0)
    visualizer = None if visualize is None else Visualizer(visualize, log_every, settings.fits > 1)
    scratch = memory.scratch(place().local_size)
    source = Source(data or [], reading_options, scratch=scratch)
    targets.check_inputs(source.paths, fitting["init"], settings.start)
    selection = select_columns(source, settings.start, columns, exclude, weights)
    if console.live:  # elsewhere an error is to be the only line
        columns_report(console, selection, weights)
    blocks = source.blocks(selection.used, weights, as_read(missing), Share(group.rank, group.size))
    meter = Meter(blocks.rows, blocks.share_rows)
    execution = Execution(group, lambda: scratch.free, running.late(begin, group), meter, out.as_flag)
    if running.dry_run:
        plan_report(console, blocks, fit_options, settings.grid, execution, missing == "em")
        return

    json_lines = running.log_format == "json" and group.rank == 0
    followed = follow(console, log_every, visualizer, settings.fits, meter, as_json=json_lines)
    work = Work(blocks, source.label, missing, fit_options, execution)
    fitted = run_fit(work, settings, begin, console, followed)
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
    others = fitted.save(targets, metadata)
    notes = [] if visualizer is None else [visualizer.draw(console, source, fitted, metadata["restart"], weights)]
    if others is not None:
        notes.append(f"{printable(others)}: stays, as there is more in it, such as fits of another grid")
    if not console.live:
        columns_report(console, selection, weights)
    fit_report(console, fitted, metadata, notes, output, time.monotonic() - begin, strict)
    if json:
        out.write_json({"model": masked(output), **{k: v for k, v in metadata.items() if k != "history"}})
    if strict and not metadata["converged"]:
        raise NotConvergedError(f"not converged: {metadata['stop']['prose']}", remedy=metadata["stop"]["remedy"])
