"""The types of JSON lines: `timeless`, pyarrow's but for times that it sees in text, and `merged`, of two pieces."""

from __future__ import annotations

from typing import cast

import pyarrow as pa


class Changed(Exception):
    """Values of one place are of two kinds; the names of both, as pyarrow's parser calls them."""

    def __init__(self, before: str, after: str) -> None:
        super().__init__(before, after)
        self.before, self.after = before, after


def timeless(dtype: pa.DataType) -> pa.DataType:
    """The type with strings wherever pyarrow took text for a time stamp."""
    if pa.types.is_timestamp(dtype):
        return pa.string()
    if isinstance(dtype, pa.ListType):
        return pa.list_(timeless(dtype.value_type))
    if isinstance(dtype, pa.StructType):
        return pa.struct([(field.name, timeless(field.type)) for field in fields_of(dtype)])
    return dtype


def merged(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that values of both have, as one parser would find it that sees them all. Raises Changed for none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if isinstance(one, pa.ListType) and isinstance(other, pa.ListType):
        return pa.list_(merged(one.value_type, other.value_type))
    if isinstance(one, pa.StructType) and isinstance(other, pa.StructType):
        types = {field.name: field.type for field in fields_of(one)}
        for field in fields_of(other):
            types[field.name] = merged(types.get(field.name, pa.null()), field.type)
        return pa.struct(list(types.items()))
    if _name(one) == _name(other) == "number":
        return pa.float64()
    raise Changed(_name(one), _name(other))


def fields_of(dtype: pa.StructType) -> list[pa.Field]:
    """The fields of a struct."""
    return cast("list[pa.Field]", list(dtype))


def _name(dtype: pa.DataType) -> str:
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return "number"
    if pa.types.is_boolean(dtype):
        return "boolean"
    if isinstance(dtype, pa.ListType):
        return "array"
    return "object" if isinstance(dtype, pa.StructType) else "string"
