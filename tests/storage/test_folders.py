"""Files of folders and patterns on this machine: patterns against Python's glob, which has the last word."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from gmmcli.errors import InputError
from gmmcli.storage.folders import find_files, keys_of

TREE = ["a.csv", "b.csv", ".hidden.csv", "[x].csv", "notes.txt", "x/a.csv", "x/b.csv", "x/y/a.csv", "x/.d/a.csv"]
TREE += ["z/a.csv", ".e/a.csv", "z/y/x/a.csv", "x/y.d/c.csv", "z 1/ä.csv"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "to x").symlink_to("x")
    (tmp_path / "nowhere.csv").symlink_to("none")
    os.mkfifo(tmp_path / "z" / "pipe.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_csv(name: str) -> bool:
    return name.endswith(".csv")


def paths(name: str) -> list[str]:
    return [found.location.path for found in find_files(name, is_csv)]


PATTERNS = ["*.csv", "./*.csv", "*/a.csv", "x/*", "*/*/a.csv", "**/a.csv", "**/*.csv", "x/**", "**/x/*.csv", ".*.csv"]
PATTERNS += [
    "**/y/a.csv",
    "**/.d/*.csv",
    ".e/*",
    "x/../*.csv",
    "x//*.csv",
    "*/y/*",
    "[ab].csv",
    "?.csv",
    "z/p*",
    "**",
]
PATTERNS += ["[[]x].csv", "x/y*/*.csv", "*/.d/a.csv", "z */*", "none/*.csv", "a.csv/*", "x/*/", "*/none.csv"]


@pytest.mark.parametrize("pattern", [*PATTERNS, *(f"/{pattern}" for pattern in PATTERNS)])
def test_patterns_mean_what_they_mean_to_python(pattern: str, tree: Path):
    name = f"{tree}{pattern}" if pattern.startswith("/") else pattern
    expected = sorted(path for path in glob.glob(name, recursive=True) if not os.path.isdir(path))
    if expected:
        assert paths(name) == expected
    else:
        with pytest.raises(InputError, match="no file matches: check the pattern and the folder"):
            paths(name)


def test_a_name_with_signs_of_a_pattern_is_a_file_where_there_is_one(tree: Path):
    assert paths("[x].csv") == ["[x].csv"]


def test_links_in_a_circle_are_read_once(tree: Path):
    (tree / "x" / "up").symlink_to(tree)
    assert paths("**/b.csv") == ["b.csv", "to x/b.csv", "x/b.csv"]


def test_folders_that_cannot_be_read(tree: Path, monkeypatch: pytest.MonkeyPatch):
    """A pattern passes over them, as the shell's does; data of a folder of keys would be lost."""
    (tree / "k=1").mkdir()
    (tree / "k=1" / "a.csv").touch()
    real = os.scandir

    def scandir(path: str):
        if os.path.basename(path) == "k=1":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)  # root, who runs some tests, may read all
    assert paths("*/a.csv") == ["to x/a.csv", "x/a.csv", "z/a.csv"]
    assert "k=1/a.csv" not in paths("**/a.csv")
    with pytest.raises(PermissionError, match="k=1"):
        paths(".")


def test_names_that_are_not_utf8(tmp_path: Path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).touch()
    assert [os.fsencode(path)[-5:] for path in paths(str(tmp_path))] == [b"\xff.csv"]


def test_a_folder_stands_for_its_data_in_the_order_of_names(tree: Path):
    assert paths("x") == ["x/a.csv", "x/b.csv"]
    assert paths("x/") == ["x/a.csv", "x/b.csv"]
    with pytest.raises(InputError, match="no data files in this folder: name the files"):
        find_files("x", lambda _: False)
    with pytest.raises(InputError, match=r"none\.csv: no such file: check the name and the folder"):
        find_files("none.csv", is_csv)


def test_keys_of_folders(tmp_path: Path):
    names = ["k=2/b=x%20y/a.csv", "k=10/a.csv", "k=2/_temporary/a.csv", "other/a.csv", "k=2/.h/a.csv", "k=2/_a.csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [(os.path.relpath(one.location.path, tmp_path), one.keys) for one in find_files(str(tmp_path), is_csv)]
    assert found == [
        ("k=10/a.csv", (("k", "10"),)),
        ("k=2/b=x%20y/a.csv", (("k", "2"), ("b", "x y"))),
        ("other/a.csv", ()),
    ]


def test_names_and_values_are_decoded():
    found = keys_of(["a%20b=x%2Fy", "other", "c=", "e=f=g", "=h", "_i=j", "k=__HIVE_DEFAULT_PARTITION__"])
    assert found == (("a b", "x/y"), ("c", ""), ("e", "f=g"), ("k", None))
