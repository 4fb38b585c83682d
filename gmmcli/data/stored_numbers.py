"""Numbers made of text, kept for further readings: `StoredNumbers`, in memory or in a file, made by `storing`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from gmmcli.data.reader import CELL_BYTES
from gmmcli.data.scratch import Scratch, ScratchFile


class StoredNumbers:
    """Columns of float64, null where missing, of consecutive blocks of a file.

    columns: their names. blocks: the numbers of the blocks. content: a table for each, or an Arrow file with a record
    batch for each, from which they are read one by one.
    """

    def __init__(self, columns: Sequence[str], blocks: range, content: Sequence[pa.Table] | ScratchFile) -> None:
        self._columns = tuple(columns)
        self._blocks = blocks
        self._content = content

    def has(self, columns: Sequence[str], blocks: range) -> bool:
        """Whether all of these are stored."""
        there = self._blocks.start <= blocks.start and blocks.stop <= self._blocks.stop
        return (there or not blocks) and set(columns) <= set(self._columns)

    def tables(self, columns: Sequence[str], blocks: range) -> Iterator[pa.Table]:
        """These columns of these blocks, one table each."""
        places = range(blocks.start - self._blocks.start, blocks.stop - self._blocks.start)
        if isinstance(self._content, ScratchFile):
            fields = sorted(self._columns.index(name) for name in columns)
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            reader = pa.ipc.open_file(self._content.open(), options=options)
            for place in places:
                yield pa.Table.from_batches([reader.get_batch(place)]).select(list(columns))
        else:
            for place in places:
                yield self._content[place].select(list(columns))


def storing(
    columns: Sequence[str],
    blocks: range,
    rows: int,
    tables: Iterable[pa.Table],
    scratch: Scratch,
    done: Callable[[StoredNumbers], None],
) -> Iterator[pa.Table]:
    """Passes on the tables of the blocks, of so many rows, and stores them; `done` gets them when all have passed.

    They are stored in memory where it has room for them, else in a file. A reading that ends early leaves nothing.
    """
    size = CELL_BYTES * len(columns) * rows
    if not scratch.take(size):
        file = scratch.file()
        with pa.ipc.new_file(file.sink(), pa.schema([(name, pa.float64()) for name in columns])) as writer:
            for table in tables:
                writer.write_table(table.combine_chunks())
                yield table
        done(StoredNumbers(columns, blocks, file))
        return
    kept = []
    try:
        for table in tables:
            kept.append(table)
            yield table
    except BaseException:
        scratch.give_back(size)
        raise
    done(StoredNumbers(columns, blocks, kept))
