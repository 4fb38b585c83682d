"""Tables in four kinds: numbers in, results back in kind, columns by name."""

from __future__ import annotations

import decimal
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from gmmcli.errors import InputError
from gmmcli.model.frames import Wrap, read_table, row_weights

X = np.array([[1.5, -2.0], [0.25, 4.0], [3.0, 1e9]])


def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": X[:, 0], "note": ["u", "v", "w"], "b": X[:, 1]}, index=pd.Index([7, 3, 9]))


@pytest.mark.parametrize(
    ("data", "kind", "names"),
    [
        (torch.from_numpy(X), "tensor", None),
        (X, "numpy", None),
        (X.tolist(), "numpy", None),
        (frame(), "pandas", ("a", "b")),
        (pa.Table.from_pandas(frame(), preserve_index=False), "numpy", ("a", "b")),
        (pa.RecordBatch.from_pandas(frame(), preserve_index=False), "numpy", ("a", "b")),
    ],
    ids=["tensor", "array", "lists", "pandas", "arrow", "batch"],
)
def test_every_kind_of_table_gives_the_same_numbers(data: object, kind: str, names: tuple[str, ...] | None):
    x, found, wrap = read_table(data)
    assert x.dtype == torch.float64
    assert torch.equal(x, torch.from_numpy(X))
    assert (found, wrap.kind) == (names, kind)


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_columns_are_taken_by_name_in_the_order_asked_for(kind: str):
    data = frame() if kind == "pandas" else pa.Table.from_pandas(frame(), preserve_index=False)
    x, names, _ = read_table(data, ["b", "a"])
    assert names == ("b", "a")
    assert torch.equal(x, torch.from_numpy(X[:, ::-1].copy()))
    with pytest.raises(InputError, match=r"column c, d: not among a, note, b"):
        read_table(data, ["a", "c", "d"])
    with pytest.raises(InputError, match="column note: not numeric"):
        read_table(data, ["a", "note"])


def test_results_come_back_in_kind():
    values = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    index = frame().index
    assert Wrap("tensor").vector(values[:, 0], "v").requires_grad
    assert isinstance(Wrap("numpy").matrix(values, ["p", "q"]), np.ndarray)
    series = Wrap("pandas", index).vector(values[:, 0], "v")
    pd.testing.assert_series_equal(series, pd.Series([0.25, 1.0, 0.5], index=index, name="v"))
    matrix = Wrap("pandas", index).matrix(values, ["p", "q"])
    expected = pd.DataFrame({"p": [0.25, 1.0, 0.5], "q": [0.75, 0.0, 0.5]}, index=index)
    pd.testing.assert_frame_equal(matrix, expected)


def test_integers_decimals_and_missing_cells():
    data = pd.DataFrame({"i": pd.array([1, None, 3], dtype="Int64"), "f": [0.5, 1.5, np.nan], "t": [True] * 3})
    x, names, _ = read_table(data)
    assert names == ("i", "f")  # booleans are not numbers to fit
    expected = torch.tensor([[1.0, 0.5], [np.nan, 1.5], [3.0, np.nan]], dtype=torch.float64)
    torch.testing.assert_close(x, expected, rtol=0, atol=0, equal_nan=True)
    table = pa.table({
        "i": pa.array([1, None, 3]),
        "d": pa.array([decimal.Decimal("1.25"), decimal.Decimal("2.50"), None]),
        "t": pa.array([True, False, True]),
    })  # fmt: skip
    x, names, _ = read_table(table)
    assert names == ("i", "d")
    expected = torch.tensor([[1.0, 1.25], [np.nan, 2.5], [3.0, np.nan]], dtype=torch.float64)
    torch.testing.assert_close(x, expected, rtol=0, atol=0, equal_nan=True)


def test_names_that_are_not_text_find_their_columns_again():
    data = pd.DataFrame(X)  # columns 0 and 1, pandas' default
    x, names, _ = read_table(data)
    assert names == ("0", "1")
    again, _, _ = read_table(data, names)
    assert torch.equal(again, x)


@pytest.mark.parametrize("columns", [1, 2])
def test_reading_a_frame_neither_warns_nor_shares_memory_it_may_write(columns: int):
    data = pd.DataFrame(X[:, :columns], columns=pd.Index(["a", "b"][:columns]))
    before = data.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, _, _ = read_table(data)
    x.zero_()
    pd.testing.assert_frame_equal(data, before)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(3), r"data: shape \(3,\) is not rows × columns"),
        (np.zeros((2, 2, 2)), r"data: shape \(2, 2, 2\) is not"),
        (pd.DataFrame({"s": ["x"], "t": ["y"]}), "no numeric column among s, t"),
        (pa.table({"s": ["x"]}), "no numeric column among s"),
        (object(), "cannot read a table from object: give a tensor"),
        ([["x", "y"]], "cannot read a table from list"),
        (np.zeros((5, 0)), "with a column"),
        (np.ones((2, 2)) * 1j, "of real numbers"),
        (torch.ones(2, 2) * 1j, "complex"),
        (pd.DataFrame(np.ones((2, 2)), columns=["a", "a"]), "column a: more than one of that name"),
        (pa.table([[1.0], [2.0]], names=["b", "b"]), "column b: more than one of that name"),
    ],
    ids=[
        "vector",
        "cube",
        "text frame",
        "text table",
        "object",
        "text lists",
        "no columns",
        "complex",
        "complex tensor",
        "twice",
        "twice in a table",
    ],
)
def test_what_is_not_a_table_is_refused_in_one_line(data: object, message: str):
    with pytest.raises(InputError, match=message) as caught:
        read_table(data)
    assert "\n" not in str(caught.value)


def test_integers_beyond_a_floats_digits_are_rounded():
    x, _, _ = read_table(pa.table({"a": [2**60 + 1, 3]}))
    assert x[:, 0].tolist() == [float(2**60), 3.0]


@pytest.mark.parametrize(
    "weights",
    [
        torch.tensor([1, 0, 2]),
        np.array([1.0, 0.0, 2.0]),
        [1, 0, 2],
        pd.Series([1, 0, 2], [7, 3, 9]),
        pa.array([1, 0, 2]),
    ],
    ids=["tensor", "array", "list", "series", "arrow"],
)
def test_row_weights_of_every_kind(weights: object):
    found = row_weights(weights, 3)
    assert found is not None
    assert found.dtype == torch.float64
    assert found.tolist() == [1, 0, 2]


def test_what_are_no_row_weights():
    assert row_weights(None, 3) is None
    with pytest.raises(InputError, match=r"weights of shape \(2,\) for 3 rows"):
        row_weights([1, 2], 3)
    for bad in ([-1, 1], [float("inf"), 1]):
        with pytest.raises(InputError, match="finite and not negative"):
            row_weights(bad, 2)
    with pytest.raises(InputError, match="cannot read row weights from list: give a number for each row"):
        row_weights(["heavy", "light"], 2)
