import io
from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest

from gmmcli.data.columns import ColumnKind
from gmmcli.data.formats import ReadOptions
from gmmcli.data.sink import Sink
from gmmcli.data.source import Source


def stdin(content: bytes, block_rows: int = 4, **options) -> Source:
    """The content as it would come through a pipe, in small blocks."""
    return Source([], ReadOptions(**options), stdin=io.BytesIO(content), block_rows=block_rows)


def kinds(source: Source) -> dict[str, ColumnKind]:
    return {name: facts.kind for name, facts in source.facts(source.names).items()}


def details(source: Source) -> dict[str, str]:
    return {name: facts.detail for name, facts in source.facts(source.names).items() if facts.detail}


def cells(source: Source, columns: Sequence[str] | None = None, **arguments) -> list[list[float]]:
    """All rows of the blocks, one after the other."""
    return [row for block in source.blocks(columns or source.names, **arguments) for row in block.x.tolist()]


def passed(source: Source, columns: Sequence[str] = (), typed: bool = False) -> pa.Table:
    """All rows that pass through."""
    return pa.concat_tables([rows.table for rows in source.tables(columns, typed)])


@pytest.fixture(params=["in memory", "on disk"])
def budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for all data, and with memory for none, the text in small pieces: the same must come of it."""
    if request.param == "on disk":
        monkeypatch.setattr("gmmcli.data.scratch.available_memory", lambda: 0)
        monkeypatch.setattr("gmmcli.data.csv_text._PARSE_BYTES", 1 << 13)
        monkeypatch.setattr("gmmcli.data.json._CHUNK_BYTES", 1 << 13)


@pytest.fixture
def copy(tmp_path) -> Callable[[Source, str], str]:
    """Write a source to a file of this suffix, as `assign` would, and return its path."""

    def write(source: Source, suffix: str) -> str:
        path = str(tmp_path / f"copy{suffix}")
        with Sink(path) as sink:
            for rows in source.tables([], typed=sink.typed):
                sink.write(rows.table)
        return path

    return write
