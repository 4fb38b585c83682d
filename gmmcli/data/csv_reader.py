"""Delimited text in: `CsvReader` reads CSV and TSV, as numbers for a model and as strings to pass through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from gmmcli.data.ahead import ahead
from gmmcli.data.column_survey import ColumnSurvey
from gmmcli.data.columns import ColumnKind
from gmmcli.data.csv_header import read_head
from gmmcli.data.csv_text import CsvText
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input
from gmmcli.data.numbers import TextFacts, convert, floats_of, without_missing
from gmmcli.data.reader import CELL_BYTES, NotNumbersError, Pair, Piece, Reader, pieces_of, recut, slices
from gmmcli.data.scratch import Scratch
from gmmcli.data.settled_types import SettledTypes
from gmmcli.data.stored_numbers import StoredNumbers, storing
from gmmcli.errors import InputError
from gmmcli.passes.block import rows_of_block

_RECORD_BYTES = 1 << 26  # that a record may have, however little memory there is
_RECORD_SHARE = 16  # of the memory that is free, the part that a record may have: about that many copies are made
_BLOCKS_HELD = 4  # at a time: one that is made, of pieces of text, two that wait, and one that is used
_STREAM_BYTES = 1 << 24  # of text that is read ahead and parsed


class CsvReader(Reader):
    """One CSV or TSV file, of any size in memory that does not depend on it.

    The text is read as strings, from start to end each time. The first reading settles what its columns are, over all
    of their cells; numbers that it finds are kept while the memory has room for them. Those that are asked for and
    are not kept are made of the text in one more reading, and stored. What passes through is read as it comes, and
    its numbers with it: whether they all are is found out on the way.
    """

    def __init__(
        self, source: Input, options: ReadOptions, block_rows: int, settled: SettledTypes, scratch: Scratch
    ) -> None:
        self._options = options
        self._settled = settled
        self._scratch = scratch
        head = read_head(source, options, options.delimiter_of(source.format))
        self.block_rows = rows_of_block(len(head.names), block_rows)
        self._text = CsvText(source, options, head, max(_RECORD_BYTES, scratch.free // _RECORD_SHARE))
        self._surveys: dict[str, ColumnSurvey] = {}
        self._stored: list[StoredNumbers] = []
        self._rows = 0
        self.label = source.label
        self.names = head.names
        self.has_rows = head.has_rows
        self.remote = source.remote
        self._bytes = source.stored_bytes
        self.held = _STREAM_BYTES + _BLOCKS_HELD * self.block_rows * head.row_characters
        if source.size is not None:
            self.held = min(self.held, _BLOCKS_HELD * source.size)
        settled.add(self._facts)

    def kinds(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnKind]:
        """What pyarrow infers from all cells of the columns, but text for identifiers."""
        self._survey(columns, keep)
        return {name: self._surveys[name].kind for name in columns}

    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """How many cells of a column of numbers are text, and the first of them; what makes it an identifier."""
        self._survey(columns)
        return {name: detail for name in columns if (detail := self._surveys[name].detail)}

    def all_numbers(self, name: str) -> bool:
        """Whether pyarrow could parse it, and it is not in hexadecimal."""
        self._survey([name])
        return self._surveys[name].is_numbers

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """Strings, or the types settled over all text files of the source."""
        if typed:
            return self._settled.schema(self.names, used)
        return pa.schema([(name, pa.string()) for name in self.names])

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        """The blocks, as many as the text was found to have."""
        self._survey(columns)
        return pieces_of(self._rows, self.block_rows, len(columns))

    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """The parsed columns, which are stored on their way if they are not yet."""
        self._survey(columns)
        blocks = range(-(-self._rows // self.block_rows)) if pieces is None else pieces
        stored = next((one for one in self._stored if one.has(columns, blocks)), None)
        if stored is not None:
            return stored.tables(columns, blocks)
        names = [name for name in self.names if name in set(columns)]
        rows = min(blocks.stop * self.block_rows, self._rows) - blocks.start * self.block_rows
        made = storing(names, blocks, rows, self._parsed(names, blocks), self._scratch, self._stored.append)
        return (table.select(list(columns)) for table in made)

    def pair_pieces(self) -> list[int]:
        """The file as a whole: where its rows begin is not known without a reading of all before them."""
        return [self._bytes]

    def pairs(self, columns: Sequence[str], typed: bool, pieces: range | None = None) -> Iterator[Pair]:
        """The strings in their types, and the same rows of the columns as numbers, as the text goes by."""
        if pieces is not None and not pieces:
            return
        schema = self.schema(typed, columns)
        for table in self._cut(self._text.written(self.names), self.names):
            cells = [without_missing(table.column(name), self._options) for name in columns]
            numbers = self._floats(pa.Table.from_arrays(cells, names=list(columns))) if columns else table.select([])
            if typed:
                table = pa.Table.from_arrays([self._typed(table, numbers, field) for field in schema], schema=schema)
            yield table, numbers

    def _typed(self, table: pa.Table, numbers: pa.Table, field: pa.Field) -> pa.ChunkedArray:
        """The cells of a column in its type; `numbers` are those of some columns."""
        if field.name in numbers.column_names and pa.types.is_float64(field.type):
            return numbers.column(field.name)
        return convert(table.column(field.name), field.type, self._options)

    def _facts(self, columns: Sequence[str]) -> dict[str, TextFacts]:
        """What holds for the cells of the columns."""
        self._survey(columns)
        return {name: self._surveys[name].facts for name in columns}

    def _survey(self, columns: Sequence[str], keep: bool = True) -> None:
        """Look at those of the columns that have not been looked at, and keep their numbers while there is room."""
        wanted = [name for name in self.names if name in set(columns) and name not in self._surveys]
        if not wanted:
            return
        surveys = {name: ColumnSurvey(self._options) for name in wanted}
        kept = _Kept(wanted, self._scratch) if keep else None
        rows = 0
        for batch in ahead(self._text.cells(wanted)):
            rows += batch.num_rows
            for name, cells in zip(batch.schema.names, batch.columns, strict=True):
                values = surveys[name].add(cells)
                if kept is not None:
                    kept.add(name, values)
        self.has_rows = rows > 0
        self._rows = rows
        self._surveys |= surveys
        if kept is not None and (table := kept.table()) is not None:
            tables = list(slices(table, self.block_rows))
            self._stored.append(StoredNumbers(table.column_names, range(len(tables)), tables))

    def _parsed(self, columns: Sequence[str], blocks: range) -> Iterator[pa.Table]:
        """These blocks of the columns as numbers, made of the text, which is looked through from its start."""
        rows = 0
        for place, table in enumerate(self._cut(self._text.cells(columns), columns)):
            if place >= blocks.stop:
                return
            rows += table.num_rows
            if place in blocks:
                yield self._floats(table)
        if rows != min(self._rows, blocks.stop * self.block_rows):
            raise InputError(f"{self.label}: it has changed while it was read: start again")

    def _cut(self, batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows, of columns in the order of the file, as one table for each block, read ahead of their use."""
        schema = pa.schema([(name, pa.string()) for name in columns])
        return ahead(recut(batches, schema, self.block_rows))

    def _floats(self, table: pa.Table) -> pa.Table:
        """Strings that are all numbers, null where missing, as float64. Raises NotNumbersError where some are not."""
        found = [floats_of(column, self._options) for column in table.columns]
        columns = [column for column in found if column is not None]
        if len(columns) < len(found):
            raise NotNumbersError(f"{self.label}: it has changed while it was read: start again")
        return pa.Table.from_arrays(columns, names=table.column_names)


class _Kept:
    """Numbers found while a file is looked at, of the columns that have no other cells, while there is room."""

    def __init__(self, columns: Sequence[str], scratch: Scratch) -> None:
        self._scratch = scratch
        self._columns: dict[str, list[pa.Array]] = {name: [] for name in columns}

    def add(self, name: str, values: pa.Array | None) -> None:
        """More cells of a column, None where they are no numbers."""
        if name not in self._columns:
            return
        if values is None:
            self._drop([name])
        elif self._scratch.take(CELL_BYTES * len(values)):
            self._columns[name].append(values)
        else:
            self._drop(list(self._columns))

    def table(self) -> pa.Table | None:
        """The columns that are left; None without any."""
        if not self._columns:
            return None
        chunked = [pa.chunked_array(arrays, pa.float64()) for arrays in self._columns.values()]
        return pa.Table.from_arrays(chunked, names=list(self._columns))

    def _drop(self, columns: Sequence[str]) -> None:
        for name in columns:
            self._scratch.give_back(CELL_BYTES * sum(map(len, self._columns.pop(name))))
        pa.default_memory_pool().release_unused()
