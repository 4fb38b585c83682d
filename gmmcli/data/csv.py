"""Reader of delimited text: `CsvReader`, for numbers of a model and for strings that pass through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from gmmcli.data.columns import ColumnFacts
from gmmcli.data.csv_text import CsvText, read_head
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input
from gmmcli.data.numbers import ColumnSurvey, TextFacts, convert, floats_of
from gmmcli.data.reader import CELL_BYTES, Piece, Reader, ahead, recut
from gmmcli.data.scratch import Scratch, TableStore
from gmmcli.passes.block import rows_of_block

_RECORD_BYTES = 1 << 26  # most bytes of a record if the memory is small
_RECORD_SHARE = 16  # a record may have this part of the free memory, since about as many copies are made
_BLOCKS_HELD = 4  # blocks in memory: one in the making, two that wait, one in use
_STREAM_BYTES = 1 << 24  # of text that is read ahead and parsed


@dataclass
class SettledTypes:
    """Types of the columns of delimited text, settled over all such files of a source.

    files: the readers. facts: facts about each column over all files; empty before the first use.
    """

    files: list[CsvReader] = field(default_factory=list)
    facts: dict[str, TextFacts] = field(default_factory=dict)

    def schema(self, names: Sequence[str], used: Sequence[str]) -> pa.Schema:
        """Types of the columns. used: the columns that must have a type of numbers."""
        if not self.facts:
            for file in self.files:
                for name, facts in file.text_facts(names).items():
                    self.facts[name] = facts.merge(self.facts.get(name, TextFacts()))
        return pa.schema([(name, self.facts[name].type(name in used)) for name in names])


class CsvReader(Reader):
    """One CSV or TSV file, read in memory of a constant size.

    Each reading goes through the text from start to end, as strings. The first reading surveys all cells of its
    columns and stores their numbers while the memory has room. Numbers without room are parsed by one more reading
    and stored on the disk. Rows that pass through need no survey: their numbers are parsed on the way, and a cell
    that is not a number raises.
    """

    def __init__(
        self, source: Input, options: ReadOptions, block_rows: int, settled: SettledTypes, scratch: Scratch
    ) -> None:
        self._settled = settled
        self._scratch = scratch
        head = read_head(source, options)
        super().__init__(source, options, head.names, rows_of_block(len(head.names), block_rows))
        self._text = CsvText(source, options, head, max(_RECORD_BYTES, scratch.free // _RECORD_SHARE))
        self._surveys: dict[str, ColumnSurvey] = {}
        self._stored: list[tuple[set[str], range, TableStore]] = []  # columns, blocks, and their numbers
        self._rows = 0
        self.has_rows = head.has_rows
        self._bytes = source.size or 1
        self.held = _STREAM_BYTES + _BLOCKS_HELD * self.block_rows * head.row_characters
        if source.size is not None and source.compression is None:
            self.held = min(self.held, _BLOCKS_HELD * source.size)
        settled.files.append(self)

    def facts(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnFacts]:
        """Kinds of the columns by all of their cells; identifiers are text."""
        self._survey(columns, keep)
        surveys = {name: self._surveys[name] for name in columns}
        return {name: ColumnFacts(survey.facts.kind, survey.detail) for name, survey in surveys.items()}

    def text_facts(self, columns: Sequence[str]) -> dict[str, TextFacts]:
        """Facts about all cells of the columns."""
        self._survey(columns)
        return {name: self._surveys[name].facts for name in columns}

    def all_numbers(self, name: str) -> bool:
        """Whether each cell is a number or missing."""
        return self.text_facts([name])[name].numbers

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """Strings, or the types settled over all text files of the source."""
        if typed:
            return self._settled.schema(self.names, used)
        return pa.schema([(name, pa.string()) for name in self.names])

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        """Blocks of the rows that the survey has counted."""
        self._survey(columns)
        return self._blocks_as_pieces(self._rows, columns)

    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Parsed columns, stored on the way unless they are stored already."""
        self._survey(columns)
        wanted = set(columns)
        blocks = range(-(-self._rows // self.block_rows)) if pieces is None else pieces
        for names, there, store in self._stored:
            if wanted <= names and (not blocks or (there.start <= blocks.start and blocks.stop <= there.stop)):
                return store.tables(columns, range(blocks.start - there.start, blocks.stop - there.start))
        return self._storing(columns, wanted, blocks)

    def table_pieces(self) -> list[int]:
        """The file as a whole: the start of its rows is not known without a reading of all rows before them."""
        return [self._bytes]

    def tables(self, typed: bool, used: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Strings as written, or in their types. The only piece is the whole file."""
        types = [(field.name, field.type) for field in self.schema(typed, used)]
        for table in self._blocks(self.names, as_written=True):
            columns = [self._checked(convert(table.column(name), dtype, self._options)) for name, dtype in types]
            yield pa.Table.from_arrays(columns, names=table.column_names)

    def _survey(self, columns: Sequence[str], keep: bool = True) -> None:
        """Survey the columns that were not surveyed yet, and store their numbers while there is room."""
        wanted = [name for name in self.names if name in set(columns) and name not in self._surveys]
        if not wanted:
            return
        surveys = {name: ColumnSurvey(self._options) for name in wanted}
        kept: dict[str, list[pa.Array]] = {name: [] for name in wanted} if keep else {}
        rows = 0
        for batch in ahead(self._text.batches(wanted, as_written=False)):
            rows += batch.num_rows
            for name, cells in zip(batch.schema.names, batch.columns, strict=True):
                values = surveys[name].add(cells)
                if name not in kept:
                    continue
                if values is not None and self._scratch.take(CELL_BYTES * len(values)):
                    kept[name].append(values)
                else:
                    for dropped in [name] if values is None else list(kept):
                        self._scratch.give_back(CELL_BYTES * sum(map(len, kept.pop(dropped))))
                    pa.default_memory_pool().release_unused()
        self.has_rows = rows > 0
        self._rows = rows
        self._surveys |= surveys
        if kept:
            chunked = [pa.chunked_array(arrays, pa.float64()) for arrays in kept.values()]
            self._scratch.give_back(CELL_BYTES * rows * len(kept))
            table = pa.Table.from_arrays(chunked, names=list(kept))
            with TableStore(table.schema, self._scratch) as store:
                for block in recut(table.to_batches(), table.schema, self.block_rows):
                    store.add(block)
            self._stored.append((set(kept), range(-(-rows // self.block_rows)), store))

    def _storing(self, columns: Sequence[str], wanted: set[str], blocks: range) -> Iterator[pa.Table]:
        """Blocks of the columns, each stored as it is parsed. A reading that ends early stores nothing."""
        names = [name for name in self.names if name in wanted]
        rows = 0
        with TableStore(pa.schema([(name, pa.float64()) for name in names]), self._scratch) as store:
            for block, table in enumerate(self._blocks(names, as_written=False)):
                rows += table.num_rows
                if block in blocks:
                    floats = [self._checked(floats_of(column, self._options)) for column in table.columns]
                    numbers = pa.Table.from_arrays(floats, names=names)
                    store.add(numbers)
                    yield numbers.select(list(columns))
                if block + 1 >= blocks.stop:
                    break
            if rows != min(self._rows, blocks.stop * self.block_rows):
                raise self._changed()
        self._stored.append((wanted, blocks, store))

    def _blocks(self, columns: Sequence[str], as_written: bool) -> Iterator[pa.Table]:
        """Strings of the columns in the order of the file, one table for each block, read ahead."""
        schema = pa.schema([(name, pa.string()) for name in columns])
        return ahead(recut(self._text.batches(columns, as_written), schema, self.block_rows))
