"""Tables of a Python user as tensors, and results as tables: tensor, numpy array, pandas DataFrame, arrow Table.

- `read_table`: the numbers, the names of the columns, and a `Wrap` that returns results in the caller's own kind, a
  DataFrame's on its index. Columns of frames are matched by name.
- `row_weights`: the weights of the rows.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmmcli.errors import InputError
from gmmcli.storage.names import listing

Rows = Any  # Tensor | np.ndarray | pandas.DataFrame | pyarrow.Table: the kinds `read_table` takes


@dataclass(frozen=True)
class Wrap:
    """Conversion of result tensors to the kind of table that the caller gave. index: that of a DataFrame."""

    kind: str  # "tensor", "numpy" or "pandas"
    index: Any = None

    @property
    def differentiable(self) -> bool:
        """Whether the caller can ask for gradients of the results."""
        return self.kind == "tensor"

    def vector(self, values: Tensor, name: str) -> Any:
        """One value a row: Tensor, ndarray or Series called `name`."""
        return self._wrapped(values, "Series", name=name)

    def matrix(self, values: Tensor, names: Sequence[Any]) -> Any:
        """Several values a row: Tensor, ndarray or DataFrame with these column names."""
        return self._wrapped(values, "DataFrame", columns=list(names))

    def _wrapped(self, values: Tensor, pandas_type: str, **labels: Any) -> Any:
        if self.kind == "tensor":
            return values
        array = values.detach().cpu().numpy()
        if self.kind == "numpy":
            return array
        import pandas as pd

        return getattr(pd, pandas_type)(array, index=self.index, **labels)


def read_table(
    data: Rows, columns: Sequence[str] | None = None, exclude: Sequence[str] = ()
) -> tuple[Tensor, tuple[str, ...] | None, Wrap]:
    """Rows (N, D) as a tensor, the names of its columns where the data has names, and the way back.

    columns: the columns to take of a frame, by name, in this order; None takes the numeric ones. exclude: names of
    columns to leave out. The columns of a tensor or array are x1 to xD; all but the excluded ones are taken.
    Raises InputError when a column is absent or is not numeric, or the data is not a table.
    """
    pandas, pyarrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")  # imported by whoever holds their tables
    if pandas is not None and isinstance(data, pandas.DataFrame):
        is_real = pandas.api.types.is_any_real_numeric_dtype  # no booleans, no complex numbers
        labels = list(data.columns)
        real = [label for label, dtype in zip(labels, data.dtypes, strict=True) if is_real(dtype)]
        names = _chosen(labels, real, columns, exclude)
        array = data[names].to_numpy(dtype=np.float64, na_value=np.nan)
        return torch.from_numpy(np.array(array, order="C")), tuple(map(str, names)), Wrap("pandas", data.index)
    if pyarrow is not None and isinstance(data, pyarrow.Table | pyarrow.RecordBatch):
        of = pyarrow.types
        real = [
            f.name for f in data.schema if of.is_integer(f.type) or of.is_floating(f.type) or of.is_decimal(f.type)
        ]
        names = _chosen(data.schema.names, real, columns, exclude)
        floats = [data.column(name).cast(pyarrow.float64(), safe=False) for name in names]
        arrays = [column.to_numpy(zero_copy_only=False) for column in floats]
        return torch.from_numpy(np.column_stack(arrays)), tuple(names), Wrap("numpy")
    x = _matrix(data)
    if exclude:
        labels = [f"x{d + 1}" for d in range(x.shape[1])]
        x = x[:, [labels.index(name) for name in _chosen(labels, labels, None, exclude)]]
    return x, None, Wrap("tensor" if isinstance(data, Tensor) else "numpy")


def row_weights(weights: Any, rows: int) -> Tensor | None:
    """The weights of so many rows, (N,) float64, from a tensor, array, Series or list; None stays None.

    Raises InputError for another number of them, for negative ones and for values that are no finite numbers.
    """
    if weights is None:
        return None
    remedy = "give a number for each row"
    try:
        if not isinstance(weights, Tensor):  # torch takes a Series for a list of its labels
            weights = np.array(weights, dtype=np.float64)
        w = torch.as_tensor(weights, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError):
        raise InputError(f"cannot read row weights from {type(weights).__name__}", remedy=remedy) from None
    if w.shape != (rows,):
        raise InputError(f"weights of shape {tuple(w.shape)} for {rows} rows", remedy=remedy)
    if not bool((w.isfinite() & (w >= 0)).all()):
        raise InputError("must be finite and not negative", subject="weights")
    return w


def _chosen(labels: list[Any], real: list[Any], wanted: Sequence[str] | None, exclude: Sequence[str]) -> list[Any]:
    """Labels of the wanted columns, or of all that hold real numbers, without the excluded ones."""
    by_text = {str(label): label for label in labels}  # a DataFrame's labels may be numbers
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise InputError("more than one of that name", subject=_columns(twice), remedy="give each a name of its own")
    label_of = {name: name if name in labels else by_text.get(name) for name in (*(wanted or ()), *exclude)}
    absent = [name for name, label in label_of.items() if label is None]
    if absent:
        raise InputError(f"not among {listing([*by_text])}", subject=_columns(absent))
    excluded = {label_of[name] for name in exclude}
    chosen = [label for label in (real if wanted is None else map(label_of.get, wanted)) if label not in excluded]
    text = [label for label in chosen if label not in real]
    if text:
        raise InputError("not numeric", subject=_columns(text))
    if not chosen:
        raise InputError(f"no numeric column among {listing([*by_text])}")
    return chosen


def _columns(names: Sequence[Any]) -> str:
    return f"column {listing([str(name) for name in names])}"


def _matrix(data: Any) -> Tensor:
    """The numbers of a tensor or array (N, D), or of lists."""
    x = data
    if not isinstance(data, Tensor):
        try:
            array = np.asarray(data)
            if array.dtype.kind not in "iufb":
                raise TypeError(array.dtype)
            x = torch.tensor(array.astype(np.float64))
        except (TypeError, ValueError):
            remedy = "give a tensor, a numpy array, a pandas DataFrame or a pyarrow Table of real numbers"
            raise InputError(f"cannot read a table from {type(data).__name__}", remedy=remedy) from None
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"shape {tuple(x.shape)} is not rows × columns, (N, D), with a column", subject="data")
    if x.is_complex():
        raise InputError("complex numbers", subject="data", remedy="give real ones")
    return x
