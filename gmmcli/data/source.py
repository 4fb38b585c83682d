"""Rows in: the data of a command as blocks of numbers for a fit, or as tables that pass through.

- `Source`: files, patterns, folders or standard input as one sequence of rows.
- `Rows`: consecutive rows for a command such as `assign`, all columns beside the model's numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gmmcli.data.columns import ColumnFacts, ColumnKind, Items, Selection, match_columns, not_numeric, select_columns
from gmmcli.data.compute import common_type, float_columns, strings, type_of_values
from gmmcli.data.csv import CsvReader, SettledTypes
from gmmcli.data.formats import DELIMITED, ReadOptions
from gmmcli.data.inputs import Input, expand
from gmmcli.data.reader import AT_A_TIME, NotNumbersError, Reader, each, in_turn, with_folder_columns
from gmmcli.data.scratch import Scratch
from gmmcli.data.source_blocks import Files, Missing, SourceBlocks
from gmmcli.errors import InputError, Option, Remedy, UsageError
from gmmcli.passes.block import BLOCK_ROWS, Share
from gmmcli.storage.names import listing, printable

_NUMERIC = (ColumnKind.NUMBER, ColumnKind.EMPTY)
_HELD_BYTES, _HELD_SHARE = 1 << 28, 8  # readers side by side hold at most these bytes, or this part of the memory


class Rows(NamedTuple):
    """Consecutive rows.

    table: all columns, as read. x: (B, D) float64, the model's columns, NaN if missing, each contiguous. first_row:
    number of the first row among the rows that this process reads.
    """

    table: pa.Table
    x: Tensor  # (B, D)
    first_row: int


class Source:
    """Rows of all inputs, in order; all inputs have the same columns, in the order of the first.

    paths: files, patterns, folders and `-`; none is standard input. block_rows: most rows of a full block. scratch:
    room for data that is kept for later readings, in memory and on the disk.

    Attributes: names of the columns; a short label for messages; by_position, whether the names are made up since
    there is no header; paths of all files, without standard input. Raises InputError, which names the file, for
    inputs that are missing or cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        options: ReadOptions | None = None,
        *,
        stdin: BinaryIO | None = None,
        block_rows: int = BLOCK_ROWS,
        scratch: Scratch | None = None,
    ) -> None:
        self._options = options or ReadOptions()
        scratch = scratch or Scratch()
        inputs = expand(paths, self._options, stdin, scratch)
        self.paths = tuple(one.path for one in inputs if one.path is not None)
        self._delimited = all(one.format in DELIMITED for one in inputs)
        self.by_position = self._options.no_header and self._delimited
        # opening a file and surveying its text need little memory
        self._surveyed_at_a_time = AT_A_TIME if any(one.remote for one in inputs) else 1
        arguments = self._options, block_rows, SettledTypes(), scratch
        opened = each(lambda one: _open_reader(one, *arguments), inputs, self._surveyed_at_a_time)
        readers = with_folder_columns(opened, [one.keys for one in inputs], self._options)
        self.label = readers[0].label if len(readers) == 1 else f"{len(readers)} files"
        self.names = readers[0].names
        self._files = Files(readers, self.label, _at_a_time(readers, scratch))
        for reader in readers[1:]:
            _check_same_columns(readers[0], reader)
        if not any(reader.has_rows for reader in readers):
            raise self._files.no_rows()

    def facts(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnFacts]:
        """Kind of each column over all inputs, text if the inputs disagree, and why it is not numeric.

        keep: whether the parsed numbers may be kept in memory for blocks.
        """
        readers = self._files.readers
        merged = dict.fromkeys(columns, ColumnFacts(ColumnKind.EMPTY))
        by_file = each(lambda reader: reader.facts(columns, keep), readers, self._surveyed_at_a_time)
        if len(readers) == 1:
            return by_file[0]
        for reader, facts in zip(readers, by_file, strict=True):
            for name, (kind, detail) in facts.items():
                before, reason = merged[name]
                if not reason and kind not in _NUMERIC:
                    reason = f"{detail} of {reader.label}" if detail else f"{kind} in {reader.label}"
                if kind is ColumnKind.EMPTY:
                    kind = before
                elif before not in (kind, ColumnKind.EMPTY):
                    kind = ColumnKind.TEXT
                merged[name] = ColumnFacts(kind, reason)
        return merged

    def select(self, columns: Items = None, exclude: Items = None, weights: str | None = None) -> Selection:
        """Columns of a fit: see select_columns. Errors name the input."""
        facts = self.facts(self.names)
        with self._naming():
            return select_columns(facts, columns, exclude, weights, self._all_numbers)

    def match(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Columns that match a model's columns: see match_columns. Errors name the input."""
        with self._naming():
            return match_columns(wanted, self.names, self.by_position)

    def blocks(
        self, columns: Sequence[str], weights: str | None = None, missing: Missing = "error", share: Share = Share()
    ) -> SourceBlocks:
        """Columns as blocks of numbers, and the row weights.

        missing: treatment of a row that has a missing, NaN or infinite cell: "error"; "drop" leaves it out; "keep"
        has NaN in x and False in `observed`, and an infinite cell remains an error. share: the part of the rows that
        is read, by default all. Raises InputError for a column that is not numeric (text is, if every cell is a
        number), and for weights among the columns.
        """
        if missing not in ("error", "drop", "keep"):
            raise UsageError(f"{missing!r} is unknown", subject=Option("missing"), remedy="give error, drop or keep")
        if weights in columns:
            raise self._files.error(f"column {printable(str(weights))} has values, not weights", "name another")
        self._require_numbers([*columns, weights] if weights is not None else columns)
        return SourceBlocks(self._files, tuple(columns), weights, missing, share)

    def tables(
        self, columns: Sequence[str], typed: bool = False, missing: Missing = "keep", share: Share = Share()
    ) -> Iterator[Rows]:
        """All rows in order, in pieces as large as blocks, every column as read.

        Delimited text comes as strings exactly as written, or with `typed` in the types of `schema`; other formats in
        their own types. missing: "error" raises InputError for a missing, NaN or infinite cell in `columns`, "keep"
        for an infinite cell only, "drop" for none. No row is left out; a missing cell is NaN in x. share: the part of
        the rows that is read, by default all; text is divided by files. A share without rows is one empty table.
        """
        if typed:
            self.facts(self.names, keep=False)  # of all columns at once: a survey reads all text
        if typed or not self._delimited:
            self._require_numbers(columns)
        else:  # no survey of the text is needed: a cell that is not a number raises on the way
            self._require_names(columns)
        try:
            yield from self._rows(columns, typed, missing, share)
        except NotNumbersError:
            self._require_numbers(columns)
            raise

    def _rows(self, columns: Sequence[str], typed: bool, missing: Missing, share: Share) -> Iterator[Rows]:
        schema = self.schema(typed, columns)
        first_row = 0
        readers = self._files.readers
        runs = share.of([reader.table_pieces() for reader in readers])
        tables = [partial(_tables, readers[file], schema, typed, columns, pieces) for file, pieces in runs]
        for table, numbers in in_turn(tables, self._files.at_a_time):
            cells = float_columns(numbers, columns)
            if np.isinf(cells).any() if missing == "keep" else missing == "error" and not np.isfinite(cells).all():
                problem, remedies = self._files.bad_cells(columns, missing == "keep")
                raise self._files.error(problem, remedies)
            yield Rows(table, torch.from_numpy(cells).mT, first_row)
            first_row += table.num_rows
        if first_row:
            return
        if share.is_all:
            raise self._files.no_rows()
        yield Rows(schema.empty_table(), torch.empty(0, len(columns), dtype=torch.float64), 0)

    def schema(self, typed: bool = False, used: Sequence[str] = ()) -> pa.Schema:
        """Schema of `tables` over all files, for the columns `used` as numbers.

        Types that differ become the wider type. If there is none, the column is text, or with `typed` an InputError.
        Typed delimited text needs a survey, which reads all of it.
        """
        schemas = [reader.schema(typed, used) for reader in self._files.readers]
        if all(schema.equals(schemas[0]) for schema in schemas):  # whatever their metadata
            return schemas[0]
        return pa.schema([self._common(name, schemas, typed) for name in self.names])

    def _common(self, name: str, schemas: Sequence[pa.Schema], typed: bool) -> pa.Field:
        types = dict.fromkeys(schema.field(name).type for schema in schemas)
        try:  # files may have different dictionaries, so the types of the values count
            return pa.field(name, common_type(map(type_of_values, types)))
        except pa.ArrowException:
            if not typed:
                return pa.field(name, pa.string())
        remedies = Remedy("write CSV, which has no types,"), Remedy("give files of the same types")
        listed = listing([str(dtype) for dtype in types])
        raise self._files.error(f"column {printable(name)} has types {listed} in the files", remedies)

    def _all_numbers(self, name: str) -> bool:
        return all(reader.all_numbers(name) for reader in self._files.readers)

    def _require_names(self, columns: Sequence[str]) -> None:
        for name in columns:
            if name not in self.names:
                raise self._files.error(f"no column {printable(name)}: there are {listing(self.names)}")

    def _require_numbers(self, columns: Sequence[str]) -> None:
        self._require_names(columns)
        for name, facts in self.facts(columns).items():
            if facts.kind not in _NUMERIC and not self._all_numbers(name):
                raise self._files.error(not_numeric(name, facts))

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Name the input in errors about its columns, and suggest the delimiter that the header seems to have."""
        try:
            yield
        except InputError as error:
            if error.notice.subject:  # one of the files
                raise
            remedies = [*error.notice.remedies]
            delimiter = next((c for c in ";\t|," if c in "".join(self.names)), None)
            if len(self.names) == 1 and self._delimited and delimiter:
                remedies.append(Remedy("try", "delimiter", "tab" if delimiter == "\t" else repr(delimiter)))
            raise self._files.error(error.notice.problem, remedies) from None


def _at_a_time(readers: Sequence[Reader], scratch: Scratch) -> int:
    """Number of files that are read side by side: one if none is remote, else as many as the memory allows."""
    if not any(reader.remote for reader in readers):
        return 1
    held = max(reader.held for reader in readers)
    return max(1, min(AT_A_TIME, min(_HELD_BYTES, scratch.memory_bytes // _HELD_SHARE) // max(held, 1)))


def _open_reader(
    source: Input, options: ReadOptions, block_rows: int, settled: SettledTypes, scratch: Scratch
) -> Reader:
    if source.format in DELIMITED:
        return CsvReader(source, options, block_rows, settled, scratch)
    # imported here, since pyarrow's Parquet and JSON cost the start of a command that reads CSV some 15 ms
    if source.format == "json":
        from gmmcli.data.json import JsonReader

        return JsonReader(source, options, block_rows, scratch)
    from gmmcli.data.columnar import ArrowReader, ParquetReader

    return (ParquetReader if source.format == "parquet" else ArrowReader)(source, options, block_rows)


def _tables(
    reader: Reader, schema: pa.Schema, typed: bool, used: Sequence[str], pieces: range
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Tables of a file in the schema of all files, each with its columns `used` as numbers."""
    for table in reader.tables(typed, used, pieces):
        yield _cast(table, schema, reader.label), reader.as_numbers(table, used)


def _cast(table: pa.Table, schema: pa.Schema, label: str) -> pa.Table:
    """Table of a file in the schema of all files."""
    if table.schema.equals(schema, check_metadata=False):
        return table
    columns = []
    for field in schema:
        column = table.column(field.name)
        try:
            column = strings(column, field.name) if pa.types.is_string(field.type) else column
            columns.append(column.cast(field.type))
        except pa.ArrowException as error:
            problem = f"column {printable(field.name)} does not fit the type {field.type} that it has over all files"
            reason = printable(" ".join(str(error).splitlines()[:1]))
            raise InputError(f"{problem}: {reason}", subject=label) from None
    return pa.Table.from_arrays(columns, schema=schema)


def _check_same_columns(first: Reader, other: Reader) -> None:
    lacking = [name for name in first.names if name not in set(other.names)]
    extra = [name for name in other.names if name not in set(first.names)]
    if lacking or extra:
        parts = [f"{verb} {listing(names)}" for verb, names in (("lacks", lacking), ("has", extra)) if names]
        raise InputError(f"other columns than {first.label}: it {' and '.join(parts)}", subject=other.label)
