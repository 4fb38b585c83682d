"""Model files whose metadata were tampered with: one line that names the file, and nothing printed before it."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Outcome, gmm, ok

CHECKED = ("format_version", "family", "components", "dims", "columns", "standardisation", "background", "parameters")
LONG = "x" * 1_000_000
VALUES = [None, "12", [], [1], {}, {"a": 1}, True, -1, 1e308, float("nan"), 10**400, LONG, [LONG] * 3]
SHOW = ("show",)
SCORE = ("score", "--quantile", "0.1", "sample_data/faithful.csv")
PLOT = ("plot", "--history", "-o", "history.svg")


@pytest.fixture
def metadata(here: Path) -> dict[str, Any]:
    with zipfile.ZipFile("faithful.pt") as archive:
        return json.loads(archive.read(next(name for name in archive.namelist() if name.endswith("/metadata.json"))))


def run(metadata: dict[str, Any], command: tuple[str, ...], *more: str) -> Outcome:
    """The command on the model with these metadata."""
    with zipfile.ZipFile("faithful.pt") as sound, zipfile.ZipFile("told.pt", "w") as archive:
        for name in sound.namelist():
            text = json.dumps(metadata).encode() if name.endswith("/metadata.json") else sound.read(name)
            archive.writestr(name, text)
    return gmm(command[0], "told.pt", *command[1:], *more)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all that is in the metadata, of lists the first item only."""
    items = (
        value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    )
    for name, item in items:
        if path or name not in CHECKED:
            yield (*path, name)
            yield from places(item, (*path, name))


def changed(metadata: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any, Any], object]) -> dict[str, Any]:
    metadata = copy.deepcopy(metadata)
    inner: Any = metadata
    for name in path[:-1]:
        inner = inner[name]
    change(inner, path[-1])
    return metadata


def sound(outcome: Outcome) -> None:
    assert "unexpected" not in outcome.stderr, outcome.stderr[:500]
    assert outcome.code in (0, 3), outcome.stderr[:500]
    assert len(outcome.stderr) < 1000
    if outcome.code:
        assert outcome.stderr.startswith("gmm: error: told.pt: ")
        assert outcome.stderr.count("\n") == 1
        assert not outcome.stdout
    elif outcome.stdout.startswith(b"told.pt: family"):
        assert len(outcome.stdout) < 10_000


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_any_value_in_any_place(value: Any, metadata: dict[str, Any]) -> None:
    for path in places({name: item for name, item in metadata.items() if name not in ("history", "scores", "data")}):
        sound(run(changed(metadata, path, lambda inner, name: inner.__setitem__(name, value)), SHOW))


def test_any_place_missing(metadata: dict[str, Any]) -> None:
    for path in places(metadata):
        sound(run(changed(metadata, path, lambda inner, name: inner.__delitem__(name)), SHOW))


@pytest.mark.parametrize("name", ["stop", "options", "restarts", "rows", "seed", "weight", "converged"])
@pytest.mark.parametrize("value", [None, "12", [1], {"a": 1}], ids=repr)
def test_damage_is_told_in_one_line_and_json_still_works(name: str, value: Any, metadata: dict[str, Any]) -> None:
    outcome = run(metadata | {name: value}, SHOW)
    assert outcome.code == 3
    assert "told.pt: its record of the fit is damaged: " in outcome.stderr
    assert outcome.stderr.endswith(": use --json, or fit anew\n")
    assert json.loads(ok("show", "told.pt", "--json").out)["metadata"][name] == value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(("name", "command"), [("scores", SCORE), ("history", PLOT)])
def test_scores_and_history(name: str, command: tuple[str, ...], value: Any, metadata: dict[str, Any]) -> None:
    for path in [(name,), *((name, *path) for path in places(metadata[name]))]:
        outcome = run(changed(metadata, path, lambda inner, name: inner.__setitem__(name, value)), command)
        assert "unexpected" not in outcome.stderr, (path, outcome.stderr[:500])
        assert outcome.code in (0, 3)
        assert outcome.code == 0 or outcome.stderr.splitlines()[-1].startswith("gmm: error: told.pt: ")


def test_a_sound_model_is_shown_whole(metadata: dict[str, Any]) -> None:
    assert run(metadata, SHOW).out.replace("told.pt", "faithful.pt") == ok("show", "faithful.pt").out
