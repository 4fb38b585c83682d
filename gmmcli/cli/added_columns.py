"""Rows that pass through a command with columns added: `add_columns`, and `open_output`, where they go.

A name that ends in a slash is a folder, in which every process writes a file of its own; read in the order of their
names they are the rows in their order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gmmcli.cli.console import Console
from gmmcli.cli.inputs import as_read, column_names
from gmmcli.cli.options import MISSING_CHOICES
from gmmcli.cli.processes import sums_over, threads_here
from gmmcli.cli.progress import RowCount
from gmmcli.data.formats import FileFormat, format_of_path, parse_format
from gmmcli.errors import UsageError
from gmmcli.passes.distributed import place
from gmmcli.passes.group import ALONE, Group
from gmmcli.storage.addresses import inside
from gmmcli.storage.files import STDOUT
from gmmcli.storage.filesystem import has_entries, locate
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.cli.comparison import Comparison, Counted
    from gmmcli.data import ReadOptions, Rows, Sink, Source
    from gmmcli.data.writers import Encoded
    from gmmcli.model.mixture import GaussianMixture

_COMPRESSED = {"gzip": ".gz", "zstd": ".zst", None: ""}


@dataclass(frozen=True)
class RowOutput:
    """Where rows are written. name: as the user has given it; sink: of this process; group: those that write."""

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
        """Says what was written, unless it went where it can be seen, and how many rows have empty cells added.

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
    """Where rows that were read are written, with the delimiter and decimal point that they had.

    Raises UsageError where several processes are given no folder, or one that has files.
    """
    from gmmcli.data import open_sink
    from gmmcli.data import output_format as format_of

    target = output
    if output is not None and output.endswith("/"):
        target = _part(output, output_format, group)
    elif group.size > 1:
        raise UsageError("--output: several processes write a file each: name a new folder, as -o labelled/")
    delimiter = None if format_of(target, output_format).name == "tsv" else reading.delimiter_of("csv")
    return RowOutput(output, open_sink(target, output_format, delimiter=delimiter, decimal=reading.decimal), group)


def add_columns(
    source: Source,
    model: GaussianMixture,
    names: Sequence[str],
    compute: Callable[[Tensor], Sequence[Tensor]],
    output: RowOutput,
    missing: MISSING_CHOICES,
    console: Console,
    comparison: Comparison | None = None,
) -> int:
    """Writes this process's rows of the source with the columns `names`, which `compute` makes of the rows (B, D).

    Rows with a missing or infinite cell get empty cells when missing is "drop", else they are an InputError; with
    "em" only the infinite ones are, and `compute` gets NaN for a missing cell. console: where a terminal shows how
    far it is. comparison: counts the rows by what
    `compute` adds first, their component.
    Returns the number of such rows. Blocks are worked side by side and written in order; how many are held at a
    time depends on the processors alone, and what is written does not depend on them.
    """
    import torch

    from gmmcli.data import check_free, with_columns
    from gmmcli.passes.block import Share
    from gmmcli.passes.workers import map_blocks, single_intra_op_thread

    columns = source.match(column_names(model))
    check_free(names, source.names)

    def extended(rows: Rows) -> tuple[Encoded, int, Counted | None]:
        with torch.inference_mode():  # which is a matter of each thread
            complete = _complete(rows.x, missing)
            missed = len(complete) - int(complete.sum())
            added = compute(rows.x[complete] if missed else rows.x)
            counted = None if comparison is None else comparison.count(rows.table, added[0], complete)
            table = with_columns(rows.table, names, added, complete if missed else None)
            return output.sink.encode(table), missed, counted

    empty, passed = 0, RowCount()
    shown = console.live and output.name not in STDOUT  # the rows themselves else
    watched = console.watch(passed) if shown else contextlib.nullcontext()
    with output.whole() as sink, watched, single_intra_op_thread():
        tables = source.tables(columns, sink.typed, as_read(missing), Share(output.group.rank, output.group.size))
        for piece, missed, counted in map_blocks(extended, tables, threads_here()):
            sink.write(piece)
            passed.rows = sink.rows_written
            empty += missed
            if comparison is not None and counted is not None:
                comparison.add(counted)
        if comparison is not None:
            comparison.join(output.group)
    return empty


def _complete(x: Tensor, missing: MISSING_CHOICES) -> Tensor:
    """Which rows (B, D) have no cell that is infinite or, but for "em", missing."""
    import torch

    columns = x.mT  # as they lie in memory
    if bool(columns.sum().isfinite()):  # which a cell that is not finite would spoil, in a tenth of the time
        return torch.ones(len(x), dtype=torch.bool)
    return ~columns.isinf().any(0) if missing == "em" else columns.isfinite().all(0)


def _part(folder: str, output_format: str | None, group: Group) -> str:
    """This process's file in the folder, which is made where it is not there."""
    told = parse_format(output_format) if output_format else format_of_path(folder.rstrip("/"))
    format = told or FileFormat("parquet")
    if group.rank == 0 and not place().attempt and has_entries(folder):  # of an earlier attempt are files of its own
        raise UsageError(f"{printable(folder)}: this folder has files: name a new one")
    sums_over(group, 0)  # none makes it before it was looked at
    locate(folder, UsageError).make_folder()
    number = str(group.rank).zfill(len(str(group.size - 1)))
    return inside(folder.rstrip("/"), f"part-{number}-of-{group.size}.{format.name}{_COMPRESSED[format.compression]}")
