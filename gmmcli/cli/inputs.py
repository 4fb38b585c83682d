"""What commands have in common: opening a model, where one may be written, and adding columns to data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.options import MISSING_CHOICES
from gmmcli.data.formats import format_of_path
from gmmcli.errors import UsageError
from gmmcli.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.cli.comparison import Comparison, Counted
    from gmmcli.data import ReadOptions, Rows, Sink, Source
    from gmmcli.data.source_blocks import Missing
    from gmmcli.data.writers import Encoded
    from gmmcli.mixture import GaussianMixture


def open_model(path: str) -> tuple[GaussianMixture, dict[str, Any]]:
    """The model in a file, and its metadata. Raises UsageError for standard input, where the data comes from."""
    with library_imports():
        from gmmcli.model_file import load_model

    if path == "-":
        raise UsageError("MODEL cannot be standard input: name a model file")
    return load_model(path)


def column_names(model: GaussianMixture) -> tuple[str, ...]:
    """The names of the model's columns, x1 to xD where it has none."""
    return model.columns or tuple(f"x{d + 1}" for d in range(model.dims))


def open_output(output: str | None, output_format: str | None, reading: ReadOptions) -> Sink:
    """Where rows that were read are written, with the delimiter and decimal point that they had."""
    from gmmcli.data import open_sink
    from gmmcli.data import output_format as format_of

    delimiter = None if format_of(output, output_format).name == "tsv" else reading.delimiter_of("csv")
    return open_sink(output, output_format, delimiter=delimiter, decimal=reading.decimal)


def as_read(missing: MISSING_CHOICES) -> Missing:
    """What the reader is to do with missing cells: for `em` it keeps them."""
    return "keep" if missing == "em" else missing


def add_columns(
    source: Source,
    model: GaussianMixture,
    names: Sequence[str],
    compute: Callable[[Tensor], Sequence[Tensor]],
    sink: Sink,
    missing: MISSING_CHOICES,
    comparison: Comparison | None = None,
) -> int:
    """Writes all rows of the source with the columns `names`, which `compute` makes of the rows (B, D).

    Rows with a missing or infinite cell get empty cells when missing is "drop", else they are an InputError; with
    "em" only the infinite ones are, and `compute` gets NaN for a missing cell. comparison: counts the rows by what
    `compute` adds first, their component.
    Returns the number of such rows. Blocks are worked side by side and written in order; how many are held at a
    time depends on the processors alone, and what is written does not depend on them.
    """
    import torch

    from gmmcli.data import check_free, with_columns
    from gmmcli.fitting.workers import default_threads, map_blocks
    from gmmcli.threads import single_intra_op_thread

    columns = source.match(column_names(model))
    check_free(names, source.names)

    def extended(rows: Rows) -> tuple[Encoded, int, Counted | None]:
        with torch.inference_mode():  # which is a matter of each thread
            complete = ~rows.x.isinf().any(1) if missing == "em" else rows.x.isfinite().all(1)
            missed = len(complete) - int(complete.sum())
            added = compute(rows.x[complete] if missed else rows.x)
            counted = None if comparison is None else comparison.count(rows.table, added[0], complete)
            return sink.encode(with_columns(rows.table, names, added, complete if missed else None)), missed, counted

    empty = 0
    with sink, single_intra_op_thread():
        tables = source.tables(columns, typed=sink.typed, missing=as_read(missing))
        for piece, missed, counted in map_blocks(extended, tables, default_threads()):
            sink.write(piece)
            empty += missed
            if comparison is not None and counted is not None:
                comparison.add(counted)
    return empty


def rows_report(console: Console, output: str | None, sink: Sink, empty: int = 0) -> None:
    """Says what was written, unless it went where it can be seen, and what was left empty."""
    from gmmcli.data import printable

    if output not in (None, "-"):
        console.note(f"{printable(str(output))}: {sink.rows_written} rows")
    if empty:
        console.note(
            f"{empty} of {sink.rows_written} rows have missing or infinite cells: their added cells are empty"
        )


def check_model_option(option: str, path: str, example: str) -> None:
    """Raises UsageError where no model could be written, and where data would be overwritten by one."""
    from gmmcli.model_file import check_model_target

    if path == "-" or format_of_path(path) is not None:
        raise UsageError(f"{option} {printable(path)}: a model cannot go there: name a file such as {example}")
    check_model_target(path)
