"""How deep JSON is nested: as a parser would tell, in blocks of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmcli.data import json_depth
from gmmcli.data.json_depth import nested_deeper

TEXT = st.text('ab"\\{}[]:, \n', max_size=6)
VALUE = st.recursive(TEXT | st.none(), lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=2))


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(TEXT, VALUE, max_size=3), min_size=1, max_size=5), st.integers(1, 40), st.booleans())
def test_as_a_parser_tells(rows: list[dict[str, object]], size: int, over_lines: bool) -> None:
    content = "".join(json.dumps(row, indent=1 if over_lines else None) + "\n" for row in rows).encode()

    def read() -> Iterator[bytes]:
        return (content[i : i + size] for i in range(0, len(content), size))

    deepest = max(map(depth, rows))
    assert json_depth._deepest(read()) == deepest
    assert not nested_deeper(read, deepest)
    assert deepest == 1 or nested_deeper(read, deepest - 1)


@pytest.mark.parametrize(
    ("content", "deep"),
    [
        (b'{"a":1}\n' * 1000, False),
        (b'{"a":[1,2]}\r\n' * 1000, False),
        (b'{"a":"' + b"{" * 1000 + b'"}\n', False),
        (b'{"a":' * 200 + b"1" + b"}" * 200, True),
        (b'{"a":\n' * 200 + b"1" + b"}\n" * 200, True),
        (b'{"}":' * 200, True),
        (b'{"a":' + b"[" * 200, True),
        (b"}" * 500 + b"\n" + b'{"a":' * 200, True),
        (b'{"a\n' + b'{"a":' * 200, True),
    ],
)
def test_what_is_deep(content: bytes, deep: bool) -> None:
    assert nested_deeper(lambda: [content], 100) is deep
