"""Rows on their way out: those that pass through a command with columns added, and those that are drawn.

- `Passage`, `open_passage`: the model, the data and the output of a command. `add_columns`: adds what it computes.
- `RowOutput`, `open_output`: where rows go. `write_draws`: draws rows.

A name that ends in a slash is a folder, in which every process writes a file of its own; read in the order of their
names they are the rows in their order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from gmmcli.cli import options
from gmmcli.cli.console import Console
from gmmcli.cli.files import rows_not_over
from gmmcli.cli.models import column_names, open_model
from gmmcli.cli.processes import group_of, library_imports, refuse_stdin, sums_over, threads_here
from gmmcli.cli.progress import RowCount
from gmmcli.data.formats import FileFormat, format_of_path, parse_format
from gmmcli.errors import Option, UsageError
from gmmcli.passes.distributed import place
from gmmcli.passes.group import ALONE, Group
from gmmcli.storage.addresses import inside
from gmmcli.storage.files import STDOUT
from gmmcli.storage.filesystem import has_entries, locate
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.cli.comparison import Comparison, Counted
    from gmmcli.data.formats import ReadOptions
    from gmmcli.data.sink import Sink
    from gmmcli.data.source import Rows, Source
    from gmmcli.data.source_blocks import Missing
    from gmmcli.data.writers import Encoded
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.model.synthetic import DrawnBlock

SUFFIX_OF = {"gzip": ".gz", "zstd": ".zst", None: ""}  # by compression


@dataclass(frozen=True)
class RowOutput:
    """A destination of rows. name: as the user gives it; sink: of this process; group: the processes that write."""

    name: str | None
    sink: Sink
    group: Group = ALONE

    @contextlib.contextmanager
    def whole(self) -> Iterator[Sink]:
        """The sink, whose file appears when all processes have written all of theirs."""
        with self.sink:
            yield self.sink
            sums_over(self.group, 0)

    def report(self, console: Console, empty: int = 0) -> int:
        """Notes how many rows were written, unless the user sees them, and how many have empty cells added.

        Returns the number of rows that all processes have written.
        """
        rows, empty = sums_over(self.group, self.sink.rows_written, empty)
        if self.name not in STDOUT:
            files = f" in {self.group.size} files" if self.group.size > 1 else ""
            console.note(f"{printable(str(self.name))}: {rows} rows{files}")
        if empty:
            console.note(f"{empty} of {rows} rows have missing or infinite cells: their added cells are empty")
        return rows


def open_output(
    output: str | None, output_format: str | None, reading: ReadOptions, group: Group = ALONE
) -> RowOutput:
    """The destination of rows that are read, with the delimiter and decimal point that they have.

    Raises UsageError where several processes are given no folder, or one that has files.
    """
    from gmmcli.data.sink import Sink
    from gmmcli.data.sink import output_format as format_of

    target = output
    if output is not None and output.endswith("/"):
        target = _part(output, output_format, group)
    elif group.size > 1:
        remedy = "name a new folder, as -o labelled/"
        raise UsageError("several processes write a file each", subject=Option("output"), remedy=remedy)
    delimiter = None if format_of(target, output_format).name == "tsv" else reading.delimiter_of("csv")
    return RowOutput(output, Sink(target, output_format, delimiter=delimiter, decimal=reading.decimal), group)


@dataclass(frozen=True)
class Passage:
    """Rows that pass through a command. output: None where they are not written."""

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
    reading: options.Reading,
    memory: options.Memory,
    common: options.Common,
) -> Passage:
    """The model, the data and the output that the options of a command name. writing: None for no output."""
    with library_imports():
        from gmmcli.data.source import Source

    group, read_options = group_of(context), reading.options()
    refuse_stdin(data, group)
    target = None if writing is None else writing.output
    output = None if writing is None else open_output(target, writing.output_format, read_options, group)
    mixture, metadata = open_model(model)
    source = Source(data or [], read_options, scratch=memory.scratch(place().local_size))
    rows_not_over(target, model, source.paths)
    console = Console(common.quiet or group.rank > 0)
    return Passage(mixture, metadata, source, output, read_options, console, group)


def add_columns(
    passage: Passage,
    names: Sequence[str],
    compute: Callable[[Tensor], Sequence[Tensor]],
    missing: options.MISSING_CHOICES,
    comparison: Comparison | None = None,
) -> int:
    """Writes this process's rows with the columns `names`, which `compute` makes of the rows (B, D).

    Rows with a missing or infinite cell get empty cells when missing is "drop", else they are an InputError; with
    "em" only the infinite ones are, and `compute` gets NaN for a missing cell. comparison: counts the rows by the
    first of the added columns, their component.

    Returns the number of rows with empty cells. Blocks are worked side by side and written in order; the number of
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

    def extended(rows: Rows) -> tuple[Encoded, int, Counted | None]:
        with torch.inference_mode():  # a setting of each thread
            complete = _complete(rows.x, missing)
            missed = len(complete) - int(complete.sum())
            added = compute(rows.x[complete] if missed else rows.x)
            counted = None if comparison is None else comparison.count(rows.table, added[0], complete)
            table = with_columns(rows.table, names, added, complete if missed else None)
            return output.sink.encode(table), missed, counted

    empty, passed = 0, RowCount()
    shown = console.live and output.name not in STDOUT  # there the rows themselves are shown
    watched = console.watch(passed) if shown else contextlib.nullcontext()
    with output.whole() as sink, watched, single_intra_op_thread():
        tables = source.tables(columns, sink.typed, as_read(missing), Share(group.rank, group.size))
        for piece, missed, counted in map_blocks(extended, tables, threads_here()):
            sink.write(piece)
            passed.rows = sink.rows_written
            empty += missed
            if comparison is not None and counted is not None:
                comparison.add(counted)
        if comparison is not None:
            comparison.join(group)
    return empty


def as_read(missing: options.MISSING_CHOICES) -> Missing:
    """The reader's way with missing cells: for `em` it keeps them."""
    return "keep" if missing == "em" else missing


def write_draws(
    model: GaussianMixture, samples: int, seed: int, label: str | None, dtype: str, output: RowOutput
) -> None:
    """Draws rows and writes them as they come, blocks side by side and in order.

    label: name of the column of true components, None for none. dtype: of the other columns, float64 or float32.
    """
    import torch

    from gmmcli.data.columns import check_free
    from gmmcli.data.tensors import table_of
    from gmmcli.model.synthetic import draw, drawn_blocks
    from gmmcli.passes.workers import default_threads, map_blocks, single_intra_op_thread

    names = column_names(model)
    check_free([label] if label else [], names)
    header = [*names, label] if label else list(names)
    precision = {"float64": torch.float64, "float32": torch.float32}[dtype]

    def drawn(block: DrawnBlock) -> Encoded:
        _, x, components = draw(model, seed, block)
        return output.sink.encode(table_of(header, [*x.to(precision).unbind(1), *([components] if label else [])]))

    with output.sink as sink, single_intra_op_thread():
        for piece in map_blocks(drawn, drawn_blocks(model.dims, samples), default_threads()):
            sink.write(piece)


def _complete(x: Tensor, missing: options.MISSING_CHOICES) -> Tensor:
    """Mask (B,) of rows (B, D) without a cell that is infinite or, unless missing is "em", missing."""
    import torch

    columns = x.mT  # their order in memory
    if bool(
        columns.sum().isfinite()
    ):  # a cell that is not finite would spoil the sum, which takes a tenth of the time
        return torch.ones(len(x), dtype=torch.bool)
    return ~columns.isinf().any(0) if missing == "em" else columns.isfinite().all(0)


def _part(folder: str, output_format: str | None, group: Group) -> str:
    """This process's file in the folder, which is made where there is none."""
    given = parse_format(output_format) if output_format else format_of_path(folder.rstrip("/"))
    format = given or FileFormat("parquet")
    if (
        group.rank == 0 and not place().attempt and has_entries(folder)
    ):  # an earlier attempt has left files of its own
        raise UsageError("this folder has files", subject=printable(folder), remedy="name a new one")
    sums_over(group, 0)  # no process makes the folder before the first has looked at it
    locate(folder, UsageError).make_folder()
    number = str(group.rank).zfill(len(str(group.size - 1)))
    return inside(folder.rstrip("/"), f"part-{number}-of-{group.size}.{format.name}{SUFFIX_OF[format.compression]}")
