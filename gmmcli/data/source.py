"""Rows in: `Source`, the data of a command as blocks of numbers to fit or as tables to pass through.

- `Source`: files, globs, folders or standard input taken together as one sequence of rows.
- `Rows`: a piece of it as a command such as `assign` handles it, all columns beside the model's numbers.
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

from gmmcli.data.columns import ColumnKind, Items, Selection, match_columns, not_numeric, select_columns
from gmmcli.data.compute import float_columns, strings
from gmmcli.data.csv import CsvReader, SettledTypes
from gmmcli.data.formats import DELIMITED, ReadOptions
from gmmcli.data.inputs import Input, expand
from gmmcli.data.partitions import with_partitions
from gmmcli.data.reader import NotNumbersError, Reader
from gmmcli.data.scratch import Scratch
from gmmcli.data.side_by_side import AT_A_TIME, each, in_turn, together
from gmmcli.data.source_blocks import Missing, SourceBlocks, bad_cells, no_rows
from gmmcli.errors import InputError, Option, Remedy, UsageError
from gmmcli.passes.block import BLOCK_ROWS, Share
from gmmcli.storage.names import listing, printable

_NUMERIC = (ColumnKind.NUMBER, ColumnKind.EMPTY)


class Rows(NamedTuple):
    """Consecutive rows.

    table: all columns, as read. x: (B, D) float64, the model's columns, NaN where missing, each contiguous.
    first_row: its number, among the rows that this process reads.
    """

    table: pa.Table
    x: Tensor  # (B, D)
    first_row: int


class Source:
    """Rows of all inputs, in order; all inputs have the same columns, in the order of the first.

    paths: files, globs, folders and `-`; none is standard input. block_rows: most rows of a full block. scratch: room
    for data that is kept for later readings, in memory and on the disk.

    names: of the columns. label: short, for messages. by_position: whether the names are made up (no header).
    paths: of all files, without standard input.
    Raises InputError naming the file for all that is missing or cannot be read.
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
        arguments = self._options, block_rows, SettledTypes(), scratch
        # the first reading of a file, and one that surveys all of its text, needs little memory
        self._surveyed_at_a_time = AT_A_TIME if any(one.remote for one in inputs) else 1
        readers = each(lambda one: _open_reader(one, *arguments), inputs, self._surveyed_at_a_time)
        self._readers = with_partitions(readers, [one.partition for one in inputs], self._options)
        self._at_a_time = together(self._readers, scratch)
        first = self._readers[0]
        self.label = first.label if len(self._readers) == 1 else f"{len(self._readers)} files"
        self.names = first.names
        self._delimited = all(one.format in DELIMITED for one in inputs)
        self.by_position = not self._options.header and self._delimited
        for reader in self._readers[1:]:
            _check_same_columns(first, reader)
        if not any(reader.has_rows for reader in self._readers):
            raise no_rows(self.label)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all inputs, for messages."""
        return tuple(reader.label for reader in self._readers)

    @property
    def kinds(self) -> dict[str, ColumnKind]:
        """Kind of each column over all inputs; text where the inputs disagree."""
        return self._kinds(self.names)

    @property
    def details(self) -> dict[str, str]:
        """Reasons why columns that resemble numbers are none."""
        return self._details(self.names)

    def select(self, columns: Items = None, exclude: Items = None, weights: str | None = None) -> Selection:
        """Columns of a fit, as select_columns chooses them; errors name the input."""
        kinds, details = self.kinds, self.details
        with self._naming():
            return select_columns(kinds, columns, exclude, weights, details, self._all_numbers)

    def match(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Columns that are a model's columns, as match_columns finds them; errors name the input."""
        with self._naming():
            return match_columns(wanted, self.names, self.by_position)

    def blocks(
        self, columns: Sequence[str], weights: str | None = None, missing: Missing = "error", share: Share = Share()
    ) -> SourceBlocks:
        """Columns as blocks of numbers, and the row weights.

        missing: what to do with a row that has a missing, NaN or infinite cell: "error", "drop" (leave it out),
        or "keep" (NaN in x and False in `observed`; an infinite cell remains an error). share: the part of the rows
        that is read, by default all. Raises InputError for a column that is not numeric (text of which every cell is
        a number is numeric), and for weights among the columns.
        """
        if missing not in ("error", "drop", "keep"):
            raise UsageError(f"{missing!r} is unknown", subject=Option("missing"), remedy="give error, drop or keep")
        if weights in columns:
            raise self._error(f"column {printable(str(weights))} has values, not weights", "name another")
        self._require_numbers([*columns, weights] if weights is not None else columns)
        return SourceBlocks(self._readers, self.label, tuple(columns), weights, missing, share, self._at_a_time)

    def tables(
        self, columns: Sequence[str], typed: bool = False, missing: Missing = "keep", share: Share = Share()
    ) -> Iterator[Rows]:
        """All rows in order, in pieces as large as blocks, every column as it was read.

        Delimited text comes as strings exactly as written, with `typed` in the types of `schema`; other
        formats in their own types. missing: whether a missing, NaN or infinite cell in `columns` is an
        InputError ("error"), only an infinite one ("keep"), or none of them ("drop"). No row is left out; a
        missing cell is NaN in x. share: the part of the rows that is read, by default all: text is divided by files.
        A share without rows is one table without any.
        """
        if typed:
            self._kinds(self.names, keep=False)  # of all at once: for text it takes a reading of all of it
        if typed or not self._delimited:
            self._require_numbers(columns)
        else:  # a reading of all text is spared: whether all cells are numbers shows on the way
            self._require_names(columns)
        try:
            yield from self._rows(columns, typed, missing, share)
        except NotNumbersError:
            self._require_numbers(columns)
            raise

    def _rows(self, columns: Sequence[str], typed: bool, missing: Missing, share: Share) -> Iterator[Rows]:
        schema = self.schema(typed, columns)
        first_row = 0
        runs = share.of([reader.pair_pieces() for reader in self._readers])
        pairs = [partial(_pairs, self._readers[file], columns, typed, pieces) for file, pieces in runs]
        for label, table, numbers in in_turn(pairs, self._at_a_time):
            cells = float_columns(numbers, columns)
            if np.isinf(cells).any() if missing == "keep" else missing == "error" and not np.isfinite(cells).all():
                problem, remedies = bad_cells(self._readers, columns, missing == "keep", self._at_a_time)
                raise self._error(problem, remedies)
            yield Rows(_cast(table, schema, label), torch.from_numpy(cells).mT, first_row)
            first_row += table.num_rows
        if first_row:
            return
        if share.is_all:
            raise no_rows(self.label)
        yield Rows(schema.empty_table(), torch.empty(0, len(columns), dtype=torch.float64), 0)

    def schema(self, typed: bool = False, used: Sequence[str] = ()) -> pa.Schema:
        """Schema of `tables` for the columns `used`: that of the files if they agree.

        Where types differ it has the wider of them; where there is none, text, but with `typed` an InputError.
        Settling types for delimited text takes a reading of all of it.
        """
        schemas = [reader.schema(typed, used).remove_metadata() for reader in self._readers]
        if all(schema.equals(schemas[0]) for schema in schemas):
            return self._readers[0].schema(typed, used)
        return pa.schema([self._common(name, schemas, typed) for name in self.names])

    def _common(self, name: str, schemas: Sequence[pa.Schema], typed: bool) -> pa.Field:
        types = dict.fromkeys(schema.field(name).type for schema in schemas)
        plain = [dtype.value_type if isinstance(dtype, pa.DictionaryType) else dtype for dtype in types]
        try:  # dictionaries of several files need not agree, so their values count
            return pa.unify_schemas([pa.schema([(name, t)]) for t in plain], promote_options="permissive").field(0)
        except pa.ArrowException:
            if not typed:
                return pa.field(name, pa.string())
        remedies = Remedy("write CSV, which has no types,"), Remedy("give files of the same types")
        found = listing([str(dtype) for dtype in types])
        raise self._error(f"column {printable(name)} has types {found} in the files", remedies)

    def _all_numbers(self, name: str) -> bool:
        return all(reader.all_numbers(name) for reader in self._readers)

    def _kinds(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnKind]:
        merged = dict.fromkeys(columns, ColumnKind.EMPTY)
        for kinds in each(lambda reader: reader.kinds(columns, keep), self._readers, self._surveyed_at_a_time):
            for name, kind in kinds.items():
                if merged[name] is ColumnKind.EMPTY:
                    merged[name] = kind
                elif kind not in (merged[name], ColumnKind.EMPTY):
                    merged[name] = ColumnKind.TEXT
        return merged

    def _details(self, columns: Sequence[str]) -> dict[str, str]:
        if len(self._readers) == 1:
            return self._readers[0].details(columns)
        details: dict[str, str] = {}
        for reader in self._readers:
            for name, detail in reader.details(columns).items():
                details.setdefault(name, f"{detail} of {reader.label}")
            for name, kind in reader.kinds(columns).items():
                if kind not in _NUMERIC:
                    details.setdefault(name, f"{kind} in {reader.label}")
        return details

    def _require_names(self, columns: Sequence[str]) -> None:
        for name in columns:
            if name not in self.names:
                raise self._error(f"no column {printable(name)}: there are {listing(self.names)}")

    def _require_numbers(self, columns: Sequence[str]) -> None:
        self._require_names(columns)
        for name, kind in self._kinds(columns).items():
            if kind not in _NUMERIC and not self._all_numbers(name):
                raise self._error(not_numeric(name, kind, self._details(columns)))

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Names the input in errors about its columns, and the delimiter if that seems to be another."""
        try:
            yield
        except InputError as error:
            if error.notice.subject:  # one of the files
                raise
            remedies = [*error.notice.remedies]
            found = next((c for c in ";\t|," if c in "".join(self.names)), None)
            if len(self.names) == 1 and self._delimited and found:
                remedies.append(Remedy("try", "delimiter", "tab" if found == "\t" else repr(found)))
            raise self._error(error.notice.problem, remedies) from None

    def _error(self, problem: str, remedy: Sequence[Remedy] | str = ()) -> InputError:
        return InputError(problem, subject=self.label, remedy=remedy)


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


def _pairs(
    reader: Reader, columns: Sequence[str], typed: bool, pieces: range
) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    return ((reader.label, table, numbers) for table, numbers in reader.pairs(columns, typed, pieces))


def _cast(table: pa.Table, schema: pa.Schema, label: str) -> pa.Table:
    """Table of a file in the schema that the columns have over all files."""
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
