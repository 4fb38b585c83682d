"""Targets on this machine: whole or not at all. Remote ones are in tests/data/test_remote.py."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gmmcli.errors import UsageError
from gmmcli.storage.files import check_writable, is_direct, replace, writing


def test_links_and_modes_are_kept(tmp_path: Path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    replace(str(link), b"new")
    assert (real.read_bytes(), link.is_symlink(), stat.S_IMODE(real.stat().st_mode)) == (b"new", True, 0o640)


def test_a_new_file_has_the_usual_mode_and_the_longest_name(tmp_path: Path):
    target = tmp_path / ("n" * 255)
    replace(str(target), b"new")
    (tmp_path / "other").touch()
    assert target.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(error: BaseException, tmp_path: Path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(error)), writing(str(tmp_path / "a")) as stream:  # noqa: PT012
        stream.write(b"new")
        assert len(os.listdir(tmp_path)) == 2
        raise error
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_rename_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        replace(str(tmp_path / "a"), b"new")
    assert not os.listdir(tmp_path)


def test_a_device_is_written_to_as_it_is():
    replace(os.devnull, b"gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert all(map(is_direct, (None, "-", "/dev/stdout", "/dev/stderr", "/dev/fd/9", "/dev/null")))
    assert not any(map(is_direct, (str(tmp_path / "a"), "s3://bucket/a")))
    for target in ("-", "/dev/null", str(tmp_path / "a"), "a"):
        check_writable(target, "out.csv")
    for target in (str(tmp_path), f"{tmp_path}/new/", ""):
        with pytest.raises(UsageError, match=r"this is a folder: name a file in it, such as out\.csv"):
            check_writable(target, "out.csv")
    with pytest.raises(UsageError, match=r"there is no folder .*: create it first"):
        check_writable(str(tmp_path / "absent" / "a"), "out.csv")
    monkeypatch.setattr("os.access", lambda *_: False)  # root, who runs some tests, may do all
    with pytest.raises(UsageError, match=r"no permission to write in .*: name another folder"):
        check_writable(str(tmp_path / "a"), "out.csv")
