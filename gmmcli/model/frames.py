"""The kinds of table a Python user holds, as tensors and back: tensor, numpy array, pandas DataFrame, arrow Table.

`read_table` gives the numbers and a `Wrap` that returns results in the caller's own kind, a DataFrame's on its
index. Columns of frames are matched by name. `row_weights` reads the weights that the rows have.
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

Rows = Any  # Tensor | np.ndarray | pandas.DataFrame | pyarrow.Table: the kinds `read_table` takes


@dataclass(frozen=True)
class Wrap:
    """Turns result tensors into the kind of table that the data came in; `index` is a DataFrame's."""

    kind: str  # "tensor", "numpy" or "pandas"
    index: Any = None

    @property
    def differentiable(self) -> bool:
        """Whether the caller can ask for gradients of the results."""
        return self.kind == "tensor"

    def vector(self, values: Tensor, name: str) -> Any:
        """One value a row: Tensor, ndarray or Series called `name`."""
        if self.kind == "tensor":
            return values
        array = values.detach().cpu().numpy()
        if self.kind == "numpy":
            return array
        import pandas as pd

        return pd.Series(array, index=self.index, name=name)

    def matrix(self, values: Tensor, names: Sequence[Any]) -> Any:
        """Several values a row: Tensor, ndarray or DataFrame with these column names."""
        if self.kind == "tensor":
            return values
        array = values.detach().cpu().numpy()
        if self.kind == "numpy":
            return array
        import pandas as pd

        return pd.DataFrame(array, index=self.index, columns=pd.Index(list(names)))


def read_table(data: Rows, columns: Sequence[str] | None = None) -> tuple[Tensor, tuple[str, ...] | None, Wrap]:
    """Rows (N, D) as a tensor, the names of its columns where the data has names, and the way back.

    columns: the columns to take, by name, in this order; None takes the numeric ones of a frame, and all of a
    tensor or array. Raises InputError when a column is absent or is not numeric, or the data is not a table.
    """
    if isinstance(data, Tensor):
        return _matrix(data), None, Wrap("tensor")
    pandas = sys.modules.get("pandas")  # nobody holds a DataFrame without having imported pandas
    if pandas is not None and isinstance(data, pandas.DataFrame):
        _unique(list(data.columns))
        is_real = pandas.api.types.is_any_real_numeric_dtype  # no booleans, no complex numbers
        numeric = [name for name in data.columns if is_real(data[name])]
        names = _names(columns, list(data.columns), numeric)
        array = data[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)
        return (
            torch.from_numpy(np.array(array, order="C")),
            tuple(map(str, names)),
            Wrap("pandas", data.index),
        )
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and isinstance(data, pyarrow.Table | pyarrow.RecordBatch):
        _unique(data.schema.names)
        types = pyarrow.types
        numeric = [
            f.name for f in data.schema
            if types.is_integer(f.type) or types.is_floating(f.type) or types.is_decimal(f.type)
        ]  # fmt: skip
        names = _names(columns, data.schema.names, numeric)
        columns_as_floats = [data.column(name).cast(pyarrow.float64(), safe=False) for name in names]
        arrays = [column.to_numpy(zero_copy_only=False) for column in columns_as_floats]
        return torch.from_numpy(np.column_stack(arrays)), tuple(names), Wrap("numpy")
    try:
        plain = np.asarray(data)
        if plain.dtype.kind not in "iufb":
            raise TypeError(plain.dtype)
        array = plain.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"cannot read a table from {type(data).__name__}: "
            "give a tensor, a numpy array, a pandas DataFrame or a pyarrow Table of real numbers"
        ) from None
    return _matrix(torch.tensor(array)), None, Wrap("numpy")


def row_weights(weights: Any, rows: int) -> Tensor | None:
    """The weights of so many rows, (N,) float64, from a tensor, array, Series or list; None stays None.

    Raises InputError for another number of them, for negative ones and for what is no finite number.
    """
    if weights is None:
        return None
    try:
        if not isinstance(weights, Tensor):  # torch takes a Series for a list of its labels
            weights = np.array(weights, dtype=np.float64)
        w = torch.as_tensor(weights, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError):
        raise InputError(
            f"cannot read row weights from {type(weights).__name__}: give a number for each row"
        ) from None
    if w.shape != (rows,):
        raise InputError(f"weights of shape {tuple(w.shape)} for {rows} rows")
    if not bool((w.isfinite() & (w >= 0)).all()):
        raise InputError("weights must be finite and not negative")
    return w


def _unique(names: Sequence[Any]) -> None:
    twice = [str(name) for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"column {', '.join(twice)} occurs more than once: give each column a name of its own")


def _names(wanted: Sequence[str] | None, available: list[str], numeric: list[str]) -> list[str]:
    if wanted is None:
        if not numeric:
            raise InputError(f"no numeric column among {', '.join(map(str, available))}")
        return numeric
    labels = {str(name): name for name in available}  # a DataFrame's labels may be numbers
    wanted = [name if name in available else labels.get(name, name) for name in wanted]
    missing = [name for name in wanted if name not in available]
    if missing:
        raise InputError(f"no column {', '.join(map(str, missing))}: there are {', '.join(map(str, available))}")
    text = [name for name in wanted if name not in numeric]
    if text:
        raise InputError(f"column {', '.join(map(str, text))} is not numeric")
    return list(wanted)


def _matrix(x: Tensor) -> Tensor:
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"data of shape {tuple(x.shape)}: expected rows × columns, (N, D), at least one column")
    if x.is_complex():
        raise InputError("data are complex numbers: give real ones")
    return x
