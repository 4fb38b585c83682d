"""`pc`: pyarrow.compute, whose functions are made when it is imported, where no type checker sees them.

`null`, `text`, `false`, `zero`, `cell`: values for them, made off buffers: pyarrow's own way from Python's imports
pandas, which takes 0.3 s.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute


def null(dtype: pa.DataType) -> pa.Scalar:
    """The scalar of this type that has no value."""
    return pa.nulls(1, dtype)[0]


def text(value: str) -> pa.Scalar:
    """The text as a scalar of large_string."""
    return cell(value)[0]


def cell(value: str) -> pa.Array:
    """The text as an array of one large_string."""
    content = value.encode()
    offsets = pa.py_buffer(np.array([0, len(content)], np.int64))
    return pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(content)])


def false() -> pa.Scalar:
    """False as a scalar."""
    return pa.Array.from_buffers(pa.bool_(), 1, [None, pa.py_buffer(bytes(1))])[0]


def zero() -> pa.Scalar:
    """The length 0 as a scalar of int32."""
    return pa.Array.from_buffers(pa.int32(), 1, [None, pa.py_buffer(bytes(4))])[0]
