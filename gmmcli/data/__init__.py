"""Rows in, rows out: files of delimited text, JSON lines, Parquet and Arrow as blocks of numbers, and back.

Rows in:

- source: all files as one sequence of rows. source_blocks: their numbers as blocks for a fit.
- csv, json, columnar: a reader of one file for each kind of format, by the contract in reader. csv_text: delimited
  text as strings. numbers: which text is a number, surveyed over a whole column.
- columns: kinds of columns, and which are chosen or matched. formats: names of formats, options of reading.
- inputs, partitions: from arguments to files that can be opened, and columns that folders tell. header: column names
  alone, quickly.
- scratch: room for data, in memory and in temporary files.

Rows out:

- sink: tables into a file, whole or not at all. writers: one for each kind of format.
- tensors: tensors as columns, and columns of labels as tensors. text_lines: tables as lines of CSV and JSON.

compute has pyarrow's functions, and numbers as float64, for all of them.

Names are imported when they are first used: pyarrow and torch cost more than a help page may take.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmmcli.data.columns import Selection as Selection
    from gmmcli.data.columns import check_free as check_free
    from gmmcli.data.columns import pick_columns as pick_columns
    from gmmcli.data.formats import ReadOptions as ReadOptions
    from gmmcli.data.scratch import Scratch as Scratch
    from gmmcli.data.sink import Sink as Sink
    from gmmcli.data.sink import open_sink as open_sink
    from gmmcli.data.sink import output_format as output_format
    from gmmcli.data.source import Rows as Rows
    from gmmcli.data.source import Source as Source
    from gmmcli.data.source_blocks import SourceBlocks as SourceBlocks
    from gmmcli.data.tensors import label_codes as label_codes
    from gmmcli.data.tensors import table_of as table_of
    from gmmcli.data.tensors import table_of_values as table_of_values
    from gmmcli.data.tensors import with_columns as with_columns

_MODULES = {
    "columns": ("Selection", "check_free", "pick_columns"),
    "formats": ("ReadOptions",),
    "scratch": ("Scratch",),
    "sink": ("Sink", "open_sink", "output_format"),
    "source": ("Rows", "Source"),
    "source_blocks": ("SourceBlocks",),
    "tensors": ("label_codes", "table_of", "table_of_values", "with_columns"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
