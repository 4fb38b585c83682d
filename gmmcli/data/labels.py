"""A column of labels: `label_codes`, its cells as numbers of their distinct texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gmmcli.data.formats import ReadOptions
from gmmcli.data.text_lines import strings
from gmmcli.errors import InputError
from gmmcli.storage.names import printable


def label_codes(column: pa.ChunkedArray, name: str, options: ReadOptions) -> tuple[Tensor, list[str]]:
    """The place of each cell (B,), int64, in the list of the column's distinct texts; −1 for a cell without a label.

    Missing are null, NaN and text that is among the null values, in a typed file too: so the same data has the same
    labels in CSV and in the Parquet written of it. Raises InputError for cells that are no text and have none.
    """
    dtype = column.type.value_type if isinstance(column.type, pa.DictionaryType) else column.type
    try:
        encoded = strings(column, name).dictionary_encode("encode")
    except InputError:
        raise InputError(f"column {printable(name)} has no labels: its cells are {dtype}, not text") from None
    missing = {None, *options.null_values} | ({"nan"} if pa.types.is_floating(dtype) else set())
    texts = encoded.dictionary.to_pylist()
    labels = [text for text in texts if text not in missing]
    places = {text: place for place, text in enumerate(labels)}
    codes = np.array([places.get(text, -1) for text in texts], np.int64)
    # off its buffer, since to_numpy would import pandas, which takes 0.3 s
    indices = np.frombuffer(encoded.indices.buffers()[1], np.int32)[encoded.indices.offset :][: len(encoded)]
    return torch.from_numpy(codes[indices]), labels
