"""`gmm fit --dry-run`: how many rows there are, what a pass reads, what is held in memory, where the passes go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmmcli.cli.console import Console
from gmmcli.cli.tables import count

if TYPE_CHECKING:
    from gmmcli.choosing.options import GridOptions
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.fitting.options import FitOptions
    from gmmcli.passes.execution import Execution

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def plan_report(
    console: Console,
    blocks: SourceBlocks,
    options: FitOptions,
    grid: GridOptions | None,
    execution: Execution,
    incomplete: bool,
) -> None:
    """What the fit would do. incomplete: whether rows may have missing cells."""
    from gmmcli.fitting.plan import memory_plan
    from gmmcli.passes.device import pass_dtype, resolve_device
    from gmmcli.passes.workers import default_threads

    device = resolve_device(options.device)
    dtype = pass_dtype(options.precision, device)
    plan = memory_plan(
        rows=blocks.rows,
        own_rows=blocks.share_rows,
        columns=len(blocks.columns),
        weighted=blocks.weights is not None,
        incomplete=incomplete,
        dtype=dtype,
        memory=execution.memory(),
    )
    share = "" if execution.group.size == 1 else f", of which this process reads {blocks.share_rows}"
    console.note(f"{count(blocks.rows, 'row')} of {count(len(blocks.columns), 'column')}{share}")
    console.note(f"a reading is of {size(blocks.bytes_per_reading)}: {_files(len(blocks.files))}")
    held = "they are kept in memory" if plan.in_memory else "they are read anew for every pass"
    if plan.in_memory and plan.bytes > plan.budget:
        held += ", since they are no more than the sample that every fit keeps"
    console.note(f"rows laid out take {size(plan.bytes)}, of {size(plan.budget)} that they may: {held}")
    threads = options.threads or default_threads()
    where = f"by {count(threads, 'worker')} on the CPU" if device.type == "cpu" else f"on {device}"
    processes = "" if execution.group.size == 1 else f" of each of {execution.group.size} processes"
    console.note(f"passes run {where}{processes}, in {str(dtype).removeprefix('torch.')}")
    console.note(f"readings before the first pass: {plan.readings}")
    for one in [options] if grid is None else [grid.options(options, *cell) for cell in grid.order()]:
        on = " after samples of " + ", ".join(f"{rows:,}" for rows in plan.samples(one)) if plan.samples(one) else ""
        console.note(
            f"{one.family}, {count(one.components, 'component')}: {count(one.restart_count, 'start')}{on}, the best "
            f"of them up to {one.passes} passes each over all rows"
        )


def _files(number: int) -> str:
    return "from one file" if number == 1 else f"from {number} files"


def size(number: float) -> str:
    """Bytes for people: `1.6 GB`."""
    for unit, name in _UNITS:
        if number >= 0.9995 * unit:  # which three digits round to one
            return f"{number / unit:.3g} {name}"
    return f"{number:.0f} B"
