"""Tables as text: `csv_lines` and `json_lines`, and `strings`, the cells of a column as text.

pyarrow's CSV writer is not used, since it quotes every text or none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import Column, cell, false, null, pc, text
from gmmcli.data.numbers import kind_of
from gmmcli.errors import InputError
from gmmcli.storage.names import printable

_LARGE = pa.large_string()  # a batch of long cells may pass the 2 GiB of plain strings
_CONTROL = r"[\x00-\x1f]"


def strings(column: Column, name: str, decimal: str = ".") -> pa.Array:
    """Cells as text, null if missing; floats in the shortest form that reads back as the same number.

    Lists and structs come as JSON. Raises InputError for bytes that are not text.
    """
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
    dtype = column.type
    if isinstance(dtype, pa.DictionaryType):
        return strings(column.cast(dtype.value_type), name, decimal)
    if kind_of(dtype) is ColumnKind.NESTED:
        return _dumped(column)
    if pa.types.is_duration(dtype):
        column = column.cast(pa.int64())
    elif pa.types.is_string_view(dtype):
        column = column.cast(pa.string())
    try:
        cells = pc.cast(column, _LARGE)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        problem = f"column {printable(name)} ({dtype}) cannot be written as text"
        raise InputError(problem, remedy="write Parquet") from error
    if decimal != "." and (pa.types.is_floating(dtype) or pa.types.is_decimal(dtype)):
        return pc.replace_substring(cells, ".", decimal)
    return cells


def csv_header(names: Sequence[str], delimiter: str) -> bytes:
    """Line of the names, quoted like cells."""
    row = pa.table([cell(name) for name in names], names=[str(d) for d in range(len(names))])
    return csv_lines(row, delimiter, ".").to_pybytes()


def csv_lines(table: pa.Table, delimiter: str, decimal: str) -> pa.Buffer:
    """Rows as delimited text, one line each.

    A cell is in quotes only if it has a delimiter, a quote or a line end in it, or is the empty string (a
    cell with nothing is null). In a table of one column null is in quotes too: a blank line would not be a
    row elsewhere.
    """
    special = f'{delimiter}"\r\n'
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        cells = strings(column, name, decimal)
        quoted = pc.equal(cells, text(""))
        if _holds_any(cells, special):
            quoted = pc.or_(quoted, pc.match_substring_regex(cells, f"[{re.escape(special)}]"))
        if pc.any(quoted).as_py():
            inner = pc.replace_substring(cells, '"', '""')
            cells = pc.if_else(pc.fill_null(quoted, false()), _glue('"', inner, '"'), cells)
        columns.append(pc.fill_null(cells, text('""')) if table.num_columns == 1 else cells)
    return _join(columns, delimiter, table.num_rows)


def json_lines(table: pa.Table) -> pa.Buffer:
    """Rows as JSON objects, one line each; NaN and infinite numbers, which JSON has not, are null."""
    pieces: list[pa.Array | str] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        opening = "," if pieces else "{"
        pieces += [f"{opening}{json.dumps(name, ensure_ascii=False)}:", _json_tokens(column, name)]
    pieces.append("}")
    return _join([_glue(*pieces)], "", table.num_rows)


def _holds_any(cells: pa.Array, characters: str) -> bool:
    """Whether some cell may hold one of the ASCII characters: a test of all bytes, far quicker than of each cell."""
    _, offsets, values = cells.buffers()
    if not len(cells) or values is None:
        return False
    first, last = np.frombuffer(offsets, np.int64)[[cells.offset, cells.offset + len(cells)]]
    content = np.frombuffer(values, np.uint8)[first:last]
    return any(bool((content == ord(character)).any()) for character in characters)


def _json_tokens(column: pa.ChunkedArray, name: str) -> pa.Array:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, null(column.type))
    cells = strings(column, name)
    if kind_of(column.type) not in (ColumnKind.NUMBER, ColumnKind.BOOLEAN, ColumnKind.NESTED):
        if pc.any(pc.match_substring_regex(cells, _CONTROL)).as_py():
            cells = _dumped(cells)
        else:
            cells = pc.replace_substring(pc.replace_substring(cells, "\\", "\\\\"), '"', '\\"')
            cells = _glue('"', cells, '"')
    return pc.fill_null(cells, text("null"))


def _join(columns: Sequence[pa.Array], delimiter: str, rows: int) -> pa.Buffer:
    """Cells of each row joined and ended by a line feed, as one buffer."""
    if not rows:
        return pa.py_buffer(b"")
    line = pc.binary_join_element_wise(*columns, text(delimiter), null_handling="replace", null_replacement="")
    # the values of a string array lie one behind the other: with its line ends that is the text itself
    return _glue(line, "\n").buffers()[2]


def _glue(*parts: pa.Array | str) -> pa.Array:
    """Parts of each row as one text, null where a part is null."""
    typed = [text(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*typed, text(""))


def _dumped(cells: pa.Array) -> pa.Array:
    """Cells as JSON, null where missing."""
    encode = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode
    return pa.array([None if value is None else encode(value) for value in cells.to_pylist()], _LARGE)
