"""Rows in, rows out: files of delimited text, JSON lines, Parquet and Arrow as blocks of numbers, and back.

- `Source` reads, as `ReadOptions` tell: `blocks` for a fit, `tables` for a command that passes rows through.
  `Scratch` is the memory that it may take, and the folder of its temporary files.
- `open_sink` writes tables whole or not at all.
- `table_of`, `with_columns`: tensors as columns of tables. `table_of_values`: a table of Python values.
- `label_codes`: a column of labels as numbers.
- `select_columns`, `match_columns`, `check_free`, `printable`: names of columns.

What its modules hold, rows in:

- numbers: what counts as a number, by type and in text, and cells as float64. bad_cells: cells that cannot be used.
- columns: kinds of columns, and which are chosen or matched. formats: names of formats, options of reading. - inputs:
  files and standard input, to be opened any number of times. partitions: columns of folders called `key=value`.
  scratch, memory: room for what is kept of any of them.
- reader: what a reader of a file is, and pieces of it. columnar_readers: those of typed files. ipc_headers: sizes of
  Arrow's batches.
- csv_reader: the reader of delimited text. csv_header: its names. csv_text: its cells. column_survey: what they are.
  cell_bytes: which of them need a closer look. stored_numbers: the numbers that were made of them.
- json_reader, json_types, json_depth: JSON lines.
- ahead: reading while what was read is worked on. side_by_side: several remote files at a time.
- settled_types: the types that text gets in a typed output. labels: cells as labels. header: names alone, quickly.
- source: all files as one. source_blocks: their numbers as blocks for a fit.

Rows out:

- tensors: tensors as columns. text_lines: tables as lines of CSV and JSON. writers: one for each kind of format.
- sink: tables into a file, whole or not at all.

compute is pyarrow's functions, and what they lack, for all of them.

Names are imported when they are first used: pyarrow and torch cost more than a help page may take.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmmcli.data.columns import (
        ColumnKind,
        Selection,
        check_free,
        match_columns,
        pick_columns,
        printable,
        select_columns,
    )
    from gmmcli.data.formats import FORMATS, ReadOptions
    from gmmcli.data.header import header
    from gmmcli.data.labels import label_codes
    from gmmcli.data.scratch import Scratch
    from gmmcli.data.sink import Sink, open_sink, output_format
    from gmmcli.data.source import Rows, Source
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.data.tensors import table_of, table_of_values, with_columns

__all__ = [
    "FORMATS",
    "ColumnKind",
    "ReadOptions",
    "Rows",
    "Scratch",
    "Selection",
    "Sink",
    "Source",
    "SourceBlocks",
    "check_free",
    "header",
    "label_codes",
    "match_columns",
    "open_sink",
    "output_format",
    "pick_columns",
    "printable",
    "select_columns",
    "table_of",
    "table_of_values",
    "with_columns",
]

_MODULES = {
    "columns": (
        "ColumnKind",
        "Selection",
        "check_free",
        "match_columns",
        "pick_columns",
        "printable",
        "select_columns",
    ),
    "formats": ("FORMATS", "ReadOptions"),
    "header": ("header",),
    "labels": ("label_codes",),
    "scratch": ("Scratch",),
    "sink": ("Sink", "open_sink", "output_format"),
    "source": ("Rows", "Source"),
    "source_blocks": ("SourceBlocks",),
    "tensors": ("table_of", "table_of_values", "with_columns"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
