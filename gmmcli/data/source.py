"""Rows in: `Source`, the data of a command as blocks of numbers to fit or as tables to pass through.

- `Source`: files, globs, folders or standard input taken together as one sequence of rows.
- `Rows`: a piece of it as a command such as `assign` handles it, all columns beside the model's numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gmmcli.blocks import BLOCK_ROWS
from gmmcli.data.cells import float_table
from gmmcli.data.columnar_readers import ArrowReader, JsonReader, ParquetReader
from gmmcli.data.columns import (
    ColumnKind,
    Selection,
    listing,
    match_columns,
    not_numeric,
    printable,
    select_columns,
)
from gmmcli.data.csv_reader import CsvReader
from gmmcli.data.formats import DELIMITED, ReadOptions
from gmmcli.data.inputs import Input, expand
from gmmcli.data.reader import Reader
from gmmcli.data.settle import TextFacts, convert, settled_type, text_facts
from gmmcli.data.source_blocks import Missing, SourceBlocks, count_bad
from gmmcli.data.text import strings
from gmmcli.errors import InputError, UsageError


class Rows(NamedTuple):
    """Consecutive rows.

    table: all columns, as read. x: (B, D) float64, the model's columns, NaN where missing. first_row: its
    number.
    """

    table: pa.Table
    x: Tensor  # (B, D)
    first_row: int


class Source:
    """The rows of all inputs, in order; all inputs have the same columns, in the order of the first.

    paths: files, globs, folders and `-`; none is standard input. block_rows: rows of a full block.

    names: of the columns. label: short, for messages. by_position: whether the names are made up (no header).
    Raises InputError naming the file for whatever is missing or cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        options: ReadOptions | None = None,
        *,
        stdin: BinaryIO | None = None,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self._options = options or ReadOptions()
        inputs = expand(paths, self._options, stdin)
        self._readers = [_open_reader(one, self._options, block_rows) for one in inputs]
        self._facts: dict[str, TextFacts] | None = None
        first = self._readers[0]
        self.label = first.label if len(self._readers) == 1 else f"{len(self._readers)} files"
        self.names = first.names
        self.by_position = not self._options.header and all(one.format in DELIMITED for one in inputs)
        for reader in self._readers[1:]:
            _check_same_columns(first, reader)
        if not any(reader.has_rows for reader in self._readers):
            raise self._no_rows()

    @property
    def kinds(self) -> dict[str, ColumnKind]:
        """What the cells of each column are, over all inputs; text where the inputs disagree."""
        return self._kinds(self.names)

    @property
    def details(self) -> dict[str, str]:
        """For columns that nearly are numbers, what keeps them from it."""
        return self._details(self.names)

    def select(
        self,
        columns: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        weights: str | None = None,
    ) -> Selection:
        """The columns of a fit, as select_columns chooses them; errors name the input."""
        kinds, details = self.kinds, self.details
        try:
            return select_columns(kinds, columns, exclude, weights, details)
        except InputError as error:
            raise InputError(f"{self.label}: {error}{self._delimiter_hint()}") from None

    def match(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The columns that are a model's columns, as match_columns finds them; errors name the input."""
        try:
            return match_columns(wanted, self.names, self.by_position)
        except InputError as error:
            raise InputError(f"{self.label}: {error}{self._delimiter_hint()}") from None

    def blocks(self, columns: Sequence[str], weights: str | None = None, missing: Missing = "error") -> SourceBlocks:
        """The columns as blocks of numbers, and the row weights.

        missing: what is done with a row that has a missing, NaN or infinite cell: "error", "drop" (left out),
        or "keep" (NaN in x and False in `observed`; an infinite cell remains an error). Raises InputError for
        a column that is not numeric.
        """
        if missing not in ("error", "drop", "keep"):
            raise UsageError(f"missing is {missing!r}: give error, drop or keep")
        self._require_numbers([*columns, weights] if weights is not None else columns)
        return SourceBlocks(self._readers, self.label, tuple(columns), weights, missing)

    def tables(self, columns: Sequence[str], typed: bool = False, missing: Missing = "keep") -> Iterator[Rows]:
        """All rows in order, in pieces as large as blocks, every column as it was read.

        Delimited text comes as strings exactly as written, with `typed` as the types of `schema`; other
        formats as their own types. missing: whether a missing, NaN or infinite cell in `columns` is an
        InputError ("error"), only an infinite one ("keep"), or none of them ("drop"). No row is left out; a
        missing cell is NaN in x.
        """
        self._require_numbers(columns)
        schema = self.schema(typed)
        first_row = 0
        for reader in self._readers:
            for table, numbers in reader.pairs(columns):
                cells = float_table(numbers, columns)
                if (
                    np.isinf(cells).any()
                    if missing == "keep"
                    else missing == "error" and not np.isfinite(cells).all()
                ):
                    bad = count_bad(self._readers, tuple(columns)).message(unobserved=missing == "error")
                    raise InputError(f"{self.label}: {bad}: use --missing drop")
                yield Rows(self._fit_schema(reader, table, schema), torch.from_numpy(cells), first_row)
                first_row += table.num_rows
        if not first_row:
            raise self._no_rows()

    def schema(self, typed: bool = False) -> pa.Schema:
        """The schema of `tables`. Settling types for delimited text takes a reading of all of it."""
        schemas = [self._schema_of(reader, typed) for reader in self._readers]
        if all(schema.equals(schemas[0], check_metadata=False) for schema in schemas):
            return schemas[0]
        fields = []
        for name in self.names:
            parts = [pa.schema([pa.field(name, _plain(s.field(name).type))]) for s in schemas]
            try:
                fields += pa.unify_schemas(parts, promote_options="permissive")
            except pa.ArrowException:
                types = listing(dict.fromkeys(str(s.field(name).type) for s in schemas))
                raise InputError(f"{self.label}: column {printable(name)} has types {types} in the files") from None
        return pa.schema(fields)

    def _schema_of(self, reader: Reader, typed: bool) -> pa.Schema:
        if not typed and any(isinstance(other, CsvReader) for other in self._readers):
            return pa.schema([(name, pa.string()) for name in self.names])
        if isinstance(reader, CsvReader):
            facts = self._text_facts()
            return pa.schema([(name, settled_type(facts[name])) for name in self.names])
        return pa.schema([reader.schema.field(name) for name in self.names], reader.schema.metadata)

    def _text_facts(self) -> dict[str, TextFacts]:
        if self._facts is None:
            facts = dict.fromkeys(self.names, TextFacts())
            for reader in self._readers:
                if isinstance(reader, CsvReader):
                    table = reader.strings()
                    facts = {n: f.merge(text_facts(table.column(n), self._options)) for n, f in facts.items()}
            self._facts = facts
        return self._facts

    def _fit_schema(self, reader: Reader, table: pa.Table, schema: pa.Schema) -> pa.Table:
        if table.schema.equals(schema, check_metadata=False):
            return table
        columns = []
        for field in schema:
            column = table.column(field.name)
            if isinstance(reader, CsvReader):
                column = convert(column, settled_type(self._text_facts()[field.name]), self._options)
            elif pa.types.is_string(field.type):
                column = strings(column, field.name)
            try:
                columns.append(column.cast(field.type))
            except pa.ArrowException as error:
                raise InputError(
                    f"{reader.label}: column {printable(field.name)} does not fit the type {field.type} "
                    f"that it has over all files: {printable(' '.join(str(error).splitlines()[:1]))}"
                ) from None
        return pa.Table.from_arrays(columns, schema=schema)

    def _kinds(self, columns: Sequence[str]) -> dict[str, ColumnKind]:
        merged = dict.fromkeys(columns, ColumnKind.EMPTY)
        for reader in self._readers:
            for name, kind in reader.kinds(columns).items():
                if merged[name] is ColumnKind.EMPTY:
                    merged[name] = kind
                elif kind not in (merged[name], ColumnKind.EMPTY):
                    merged[name] = ColumnKind.TEXT
        return merged

    def _details(self, columns: Sequence[str]) -> dict[str, str]:
        details: dict[str, str] = {}
        several = len(self._readers) > 1
        for reader in self._readers:
            for name, detail in reader.details(columns).items():
                details.setdefault(name, f"{detail} of {reader.label}" if several else detail)
            for name, kind in reader.kinds(columns).items() if several else ():
                if kind not in (ColumnKind.NUMBER, ColumnKind.EMPTY):
                    details.setdefault(name, f"{kind} in {reader.label}")
        return details

    def _require_numbers(self, columns: Sequence[str]) -> None:
        for name in columns:
            if name not in self.names:
                raise InputError(f"{self.label}: no column {printable(name)}: there are {listing(self.names)}")
        for name, kind in self._kinds(columns).items():
            if kind not in (ColumnKind.NUMBER, ColumnKind.EMPTY):
                raise InputError(f"{self.label}: {not_numeric(name, kind, self._details(columns))}")

    def _delimiter_hint(self) -> str:
        if len(self.names) > 1 or not isinstance(self._readers[0], CsvReader):
            return ""
        found = next((c for c in ";\t|," if c in "".join(self.names)), "")
        return f": perhaps --delimiter {'tab' if found == chr(9) else repr(found)}" if found else ""

    def _no_rows(self) -> InputError:
        return InputError(f"{self.label}: no rows")


def _open_reader(source: Input, options: ReadOptions, block_rows: int) -> Reader:
    if source.format in DELIMITED:
        return CsvReader(source, options, block_rows)
    if source.format == "parquet":
        return ParquetReader(source, block_rows)
    return JsonReader(source, block_rows) if source.format == "json" else ArrowReader(source, block_rows)


def _check_same_columns(first: Reader, other: Reader) -> None:
    lacking = [name for name in first.names if name not in set(other.names)]
    extra = [name for name in other.names if name not in set(first.names)]
    if lacking or extra:
        parts = [f"{verb} {listing(names)}" for verb, names in (("lacks", lacking), ("has", extra)) if names]
        raise InputError(f"{other.label}: other columns than {first.label}: it {' and '.join(parts)}")


def _plain(dtype: pa.DataType) -> pa.DataType:
    """The type of the values: dictionaries of several files need not agree."""
    return dtype.value_type if isinstance(dtype, pa.DictionaryType) else dtype
