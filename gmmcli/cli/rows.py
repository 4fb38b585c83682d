"""Rows on their way out: rows that pass through a command and get more columns, and rows that are drawn.

- `Passage`, `open_passage`: the model, the data and the output of a command. `add_columns` writes the rows with the
  columns that it computes.
- `RowOutput`, `open_output`: a destination of rows. `write_draws` draws rows into one.

A destination that ends in a slash is a folder, in which every process writes a file of its own. Read in the order of
their names, the files hold the rows in their order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from gmmcli.cli import options
from gmmcli.cli.console import Console
from gmmcli.cli.files import column_names, not_over, open_model
from gmmcli.cli.processes import group_of, library_imports, refuse_stdin, sums_over, threads_here
from gmmcli.cli.progress import RowCount
from gmmcli.data.formats import COMPRESSIONS, FileFormat, ReadOptions, format_of_path, parse_format
from gmmcli.errors import Option, UsageError
from gmmcli.passes.distributed import place
from gmmcli.passes.execution import ALONE, Group
from gmmcli.storage.files import STDOUT
from gmmcli.storage.filesystem import has_entries, locate
from gmmcli.storage.names import inside, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.cli.assign import Comparison
    from gmmcli.data.sink import Sink
    from gmmcli.data.source import Rows, Source
    from gmmcli.data.source_blocks import Missing
    from gmmcli.data.writers import Encoded
    from gmmcli.model.mixture import GaussianMixture


@dataclass(frozen=True)
class RowOutput:
    """A destination of rows. name: given by the user; sink: of this process; group: the processes that write."""

    name: str | None
    sink: Sink
    group: Group = ALONE

    @contextlib.contextmanager
    def whole(self) -> Iterator[Sink]:
        """Context with the sink, whose file appears when every process has written all of its rows."""
        with self.sink:
            yield self.sink
            sums_over(self.group, 0)

    def report(self, console: Console, empty: int = 0) -> int:
        """Notes the number of rows, unless they are on standard output, and the number with empty cells added.

        Returns the number of rows that all processes have written.
        """
        rows, empty = sums_over(self.group, self.sink.rows_written, empty)
        if self.name not in STDOUT:
            files = f" in {self.group.size} files" if self.group.size > 1 else ""
            console.note(f"{printable(str(self.name))}: {rows} rows{files}")
        if empty:
            console.note(f"{empty} of {rows} rows have missing or infinite cells: their added cells are empty")
        return rows


def open_output(writing: options.Writing, reading: ReadOptions, group: Group) -> RowOutput:
    """The destination of rows, with the delimiter and decimal point of the input.

    Raises UsageError if several processes are not given a new or empty folder.
    """
    from gmmcli.data.sink import Sink, output_format

    output, chosen = writing.output, writing.output_format
    target = output
    if output is not None and output.endswith("/"):
        target = _part(output, chosen, group)
    elif group.size > 1:
        remedy = "name a new folder, as -o labelled/"
        raise UsageError("several processes write a file each", subject=Option("output"), remedy=remedy)
    delimiter = None if output_format(target, chosen).name == "tsv" else reading.delimiter_of("csv")
    return RowOutput(output, Sink(target, chosen, delimiter=delimiter, decimal=reading.decimal), group)


def _part(folder: str, output_format: str | None, group: Group) -> str:
    """This process's file in the folder, which is created if it is absent."""
    given = parse_format(output_format) if output_format else format_of_path(folder.rstrip("/"))
    form = given or FileFormat("parquet")
    first_attempt = not place().attempt  # a later one finds files of the earlier ones
    if group.rank == 0 and first_attempt and has_entries(folder):
        raise UsageError("this folder has files", subject=printable(folder), remedy="name a new one")
    sums_over(group, 0)  # no process makes the folder before the first has looked at it
    locate(folder, UsageError).make_folder()
    number = str(group.rank).zfill(len(str(group.size - 1)))
    suffix = next((suffix for suffix, name in COMPRESSIONS.items() if name == form.compression), "")
    return inside(folder.rstrip("/"), f"part-{number}-of-{group.size}.{form.name}{suffix}")


@dataclass(frozen=True)
class Passage:
    """Rows that pass through a command. output: None if they are not written."""

    model: GaussianMixture
    metadata: dict[str, Any]
    source: Source
    output: RowOutput | None
    reading: ReadOptions
    console: Console
    group: Group


def open_passage(
    context: typer.Context,
    model: str,
    data: list[str] | None,
    writing: options.Writing | None,
    reading: ReadOptions,
    memory: options.Memory,
    common: options.Common,
) -> Passage:
    """The model, the data and the output that the options of a command name. writing: None for no output."""
    with library_imports():
        from gmmcli.data.source import Source

    group = group_of(context)
    refuse_stdin(data, group)
    output = None if writing is None else open_output(writing, reading, group)
    mixture, metadata = open_model(model)
    source = Source(data or [], reading, scratch=memory.scratch(place().local_size))
    outputs = {"output": None if output is None else output.name}
    not_over(outputs, "the model", [model])
    if len(source.paths) > 1:  # a single file may be replaced: the output has all of its rows, and is written whole
        not_over(outputs, "a part of the data", source.paths)
    console = Console(common.quiet or group.rank > 0)
    return Passage(mixture, metadata, source, output, reading, console, group)


def add_columns(
    passage: Passage,
    names: Sequence[str],
    compute: Callable[[Tensor], Sequence[Tensor]],
    missing: options.MISSING_CHOICES,
    comparison: Comparison | None = None,
) -> int:
    """Writes this process's rows with more columns: `compute` makes them from the rows (B, D), `names` are theirs.

    Rows with a missing or infinite cell get empty cells if missing is "drop", else they are an InputError. With "em"
    only infinite cells are an error, and `compute` gets NaN for a missing cell. comparison: counts the rows by the
    first of the added columns, their component.

    Returns the number of rows with empty cells. Blocks are worked side by side and written in order. The number of
    blocks in memory depends on the processors, the output does not.
    """
    import torch

    from gmmcli.data.columns import check_free
    from gmmcli.data.tensors import with_columns
    from gmmcli.passes.block import Share
    from gmmcli.passes.workers import map_blocks, single_intra_op_thread

    source, output, console, group = passage.source, passage.output, passage.console, passage.group
    assert output is not None
    columns = source.match(column_names(passage.model))
    check_free(names, source.names)

    def extended(rows: Rows) -> tuple[Encoded, int]:
        with torch.inference_mode():  # a setting of each thread
            complete = _complete(rows.x, missing)
            missed = len(complete) - int(complete.sum())
            added = compute(rows.x[complete] if missed else rows.x)
            if comparison is not None:
                comparison.add(rows.table, added[0], complete)
            table = with_columns(rows.table, names, added, complete if missed else None)
            return output.sink.encode(table), missed

    empty, passed = 0, RowCount()
    shown = console.live and output.name not in STDOUT  # on standard output the rows themselves are shown
    watched = console.watch(passed) if shown else contextlib.nullcontext()
    with output.whole() as sink, watched, single_intra_op_thread():
        tables = source.tables(columns, sink.typed, as_read(missing), Share(group.rank, group.size))
        for piece, missed in map_blocks(extended, tables, threads_here()):
            sink.write(piece)
            passed.rows = sink.rows_written
            empty += missed
        if comparison is not None:
            comparison.join(group)
    return empty


def as_read(missing: options.MISSING_CHOICES) -> Missing:
    """The reader's treatment of missing cells: it keeps them for "em"."""
    return "keep" if missing == "em" else missing


def _complete(x: Tensor, missing: options.MISSING_CHOICES) -> Tensor:
    """Mask (B,) of rows (B, D) without a cell that is infinite or, unless missing is "em", missing."""
    import torch

    columns = x.mT  # their order in memory
    if bool(columns.sum().isfinite()):  # the quicker test: a cell that is not finite spoils the sum
        return torch.ones(len(x), dtype=torch.bool)
    return ~columns.isinf().any(0) if missing == "em" else columns.isfinite().all(0)


def write_draws(
    model: GaussianMixture, samples: int, seed: int, label: str | None, dtype: str, output: RowOutput
) -> None:
    """Draws rows in blocks, side by side, and writes them in order.

    label: name of the column of true components, None for none. dtype: of the other columns, float64 or float32.
    """
    import torch

    from gmmcli.data.columns import check_free
    from gmmcli.data.tensors import table_of
    from gmmcli.model.synthetic import draw, drawn_blocks
    from gmmcli.passes.workers import default_threads, map_blocks, single_intra_op_thread

    names, labels = column_names(model), [label] if label else []
    check_free(labels, names)

    def drawn(index: int) -> Encoded:
        x, components = draw(model, samples, seed, index)
        columns = [*x.to(getattr(torch, dtype)).unbind(1), *([components] if label else [])]
        return output.sink.encode(table_of([*names, *labels], columns))

    with output.sink as sink, single_intra_op_thread():
        for piece in map_blocks(drawn, drawn_blocks(model.dims, samples), default_threads()):
            sink.write(piece)
