"""Looks for input that is not told in one line: `python -m tests.benchmarks.fuzz --seconds 60`.

Hypothesis invents delimited text, damages model files and makes up column lists; whatever comes of them must be an
answer or an error of gmmcli's own. What is found is printed, made as small as it can be, and belongs into the tests.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from gmmcli import GaussianMixture
from gmmcli.data.columns import ColumnFacts, ColumnKind, match_columns, select_columns
from gmmcli.data.formats import ReadOptions
from gmmcli.data.source import Source
from gmmcli.errors import GmmError
from gmmcli.model.model_file import load_model, save_model

EXAMPLES = 200  # between two looks at the clock
CELLS = (
    "",
    "1",
    "-2.5",
    "1e3",
    "007",
    "nan",
    "inf",
    "1e400",
    "x",
    '"a,b"',
    '"',
    "é",
    "\x00",
    "\ufeff",
    " 3 ",
    "1,5",
    "true",
)
TEXT = st.one_of(
    st.binary(max_size=200),
    st.lists(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4), max_size=8).map(
        lambda rows: "\n".join(",".join(row) for row in rows).encode()
    ),
    st.tuples(
        st.lists(st.lists(st.sampled_from(CELLS), min_size=2, max_size=2), min_size=1, max_size=6),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
    ).map(lambda t: t[1].join(",".join(row) for row in [["a", "b"], *t[0]]).encode(t[2])),
)
NAMES = st.one_of(st.sampled_from(["a", "b", "a,b", "1", "1:2", "", "component", "\x1b[31m"]), st.text(max_size=6))


def _require_line(error: GmmError) -> None:
    """An error is one line of characters that a terminal shows as they are."""
    message = str(error)
    assert message.isprintable(), message


def text(content: bytes, header: bool, delimiter: str, decimal: str, missing: str) -> None:
    """Whatever is read as numbers has as many rows as what is passed through."""
    try:
        options = ReadOptions(no_header=not header, delimiter=delimiter, decimal=decimal)
        source = Source([], options, stdin=io.BytesIO(content))
        rows = sum(len(part.x) for part in source.tables([], missing="keep"))
        used = source.select().used
        read = sum(len(block.x) for block in source.blocks(used, missing=missing))  # type: ignore[arg-type]
    except GmmError as error:
        _require_line(error)
        return
    assert read == rows if missing != "drop" else read <= rows


def _model() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.pt"
        save_model(path, GaussianMixture([0.5, 0.5], [[0.0], [1.0]], [[1.0], [1.0]], "diagonal"), {})
        return path.read_bytes()


MODEL = _model()
FOLDER = tempfile.TemporaryDirectory()


def _load(content: bytes) -> None:
    path = Path(FOLDER.name) / "fuzz.pt"
    path.write_bytes(content)
    try:
        model = load_model(path)[0]
    except GmmError as error:
        _require_line(error)
        return
    assert model.means.isfinite().all()
    assert float(model.weights.sum().detach()) - 1 < 1e-6


def damaged_model(changes: list[tuple[int, int]], length: int | None) -> None:
    """A model file with bytes changed, or cut short."""
    content = bytearray(MODEL)
    for place, value in changes:
        content[place] = value
    _load(bytes(content[:length]))


def rewritten_model(data: st.DataObject) -> None:
    """A sound zip whose members were changed, so that no checksum tells."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(MODEL)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = bytearray(old.read(name))
            places = st.tuples(st.integers(0, max(0, len(content) - 1)), st.integers(0, 255))
            for place, value in data.draw(st.lists(places, max_size=2)):
                if content:
                    content[place] = value
            new.writestr(name, bytes(content))
    _load(buffer.getvalue())


def columns(
    kinds: dict[str, ColumnKind], chosen: list[str] | None, exclude: list[str] | None, weights: str | None
) -> None:
    """Columns that are chosen are numbers that are there; a message says why there are none."""
    available = {name: ColumnFacts(kind) for name, kind in kinds.items()}
    try:
        selection = select_columns(available, chosen, exclude, weights)
        assert selection.used
        assert set(selection.used) <= set(available) - {weights}
        assert set(selection.used) | set(selection.left_out) == set(available)
        match_columns(selection.used, list(available))
    except GmmError as error:
        _require_line(error)


PLACES = st.lists(st.tuples(st.integers(0, len(MODEL) - 1), st.integers(0, 255)), max_size=4)
TARGETS: dict[str, tuple[Callable[..., None], Sequence[st.SearchStrategy[Any]]]] = {
    "text": (
        text,
        [
            TEXT,
            st.booleans(),
            st.sampled_from([",", ";", "\t"]),
            st.sampled_from([".", ","]),
            st.sampled_from(["error", "drop", "keep"]),
        ],
    ),
    "damaged": (damaged_model, [PLACES, st.one_of(st.none(), st.integers(0, len(MODEL)))]),
    "rewritten": (rewritten_model, [st.data()]),
    "columns": (
        columns,
        [
            st.dictionaries(NAMES, st.sampled_from(list(ColumnKind)), max_size=5),
            st.one_of(st.none(), st.lists(NAMES, max_size=3)),
            st.one_of(st.none(), st.lists(NAMES, max_size=3)),
            st.one_of(st.none(), NAMES),
        ],
    ),
}


def search(name: str, seconds: float, first_seed: int) -> tuple[int, str | None]:
    """How many rounds of examples went by, and the finding that ended them, if any."""
    end, rounds = time.monotonic() + seconds, 0
    limits = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    target, strategies = TARGETS[name]
    while rounds == 0 or time.monotonic() < end:
        try:
            seeded(first_seed + rounds)(limits(given(*strategies)(target)))()
        except Exception:
            return rounds, traceback.format_exc()
        rounds += 1
    return rounds, None


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzzes each target for its share of the time; 1 when something was found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.fuzz", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together; default: %(default)s")
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = 0
    for name in options.target:
        rounds, finding = search(name, options.seconds / len(options.target), options.seed)
        print(f"{name}: {rounds * EXAMPLES} examples, {'nothing found' if finding is None else 'FOUND:'}")
        if finding is not None:
            found += 1
            print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
