"""Pictures and animations as files: formats by suffix, whole or not at all, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gmmcli.errors import GmmError, UsageError
from gmmcli.plot import data_figure, files, write_animation, write_figure, write_picture
from tests.plot.conftest import mixture, rows_of

MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "gif": b"GIF8"}


@pytest.mark.parametrize("suffix", list(MAGIC))
def test_the_suffix_tells_the_format_and_the_bytes_are_the_same_each_time(suffix: str, tmp_path: Path) -> None:
    model = mixture(2)
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        write_picture(str(path), rows_of(model), model, title="pass 3", dpi=50)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith(MAGIC[suffix])
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_pixels_are_inches_times_dpi(tmp_path: Path) -> None:
    write_figure(str(tmp_path / "a.png"), data_figure(None, mixture(2), size=(4.0, 3.0)), 50)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (200, 150)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", r"no picture by this suffix: give one of \.png, \.svg, \.pdf, \.gif"),
        ("a", "no picture by this suffix"),
        ("nowhere/a.png", "there is no folder"),
    ],
)
def test_targets_that_cannot_be(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        write_picture(str(tmp_path / name), None, mixture(2))
    assert not list(tmp_path.iterdir())


def test_a_picture_too_large(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pixels is too large"):
        write_figure(str(tmp_path / "a.png"), data_figure(None, mixture(1), size=(100, 100)), 1200)


def test_a_failure_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.gif"
    target.write_bytes(b"older")
    model = mixture(2)
    calls = iter(range(10))

    def failing(*arguments: object) -> object:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        return image(*arguments)  # type: ignore[arg-type]

    image = files._image
    monkeypatch.setattr(files, "_image", failing)
    with pytest.raises(GmmError, match="cannot be written"):
        write_animation(str(target), None, [(model, str(i)) for i in range(4)], dpi=40)
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_an_animation_keeps_its_axes(dims: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fit.gif"
    frames = [(mixture(dims, components=k, radius=14.0), f"pass {k}") for k in (1, 20, 2)]
    drawn = []
    draw = files.draw_figure
    monkeypatch.setattr(files, "draw_figure", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    assert write_animation(str(path), rows_of(frames[-1][0]), frames, dpi=40) == 3
    with Image.open(path) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
        durations = []
        for k in range(3):
            image.seek(k)
            durations.append(image.info["duration"])
    assert durations == [files.FRAME_MS, files.FRAME_MS, files.LAST_MS]
    seen = drawn[-3:]
    assert [figure.axes[0].get_title(loc="left") for figure in seen] == ["pass 1", "pass 20", "pass 2"]
    limits = [[ax.get_xlim() for ax in [f.axes[0], *f.axes[0].child_axes]] for f in seen]
    assert limits[0] == limits[1] == limits[2]
    places = [np.asarray(figure.axes[0].get_position()) for figure in seen]
    assert np.array_equal(places[0], places[1])
    assert len({tuple(figure.get_size_inches()) for figure in seen}) == 1
    for figure in seen:
        legend = figure.axes[0].get_legend()
        assert legend is None or legend.get_window_extent().x1 <= figure.bbox.x1


def test_of_many_frames_the_first_and_last_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []
    draw = files.draw_figure
    monkeypatch.setattr(files, "draw_figure", lambda *a, **k: titles.append(k["title"]) or draw(*a, **k))
    frames = [(mixture(1), str(i)) for i in range(7)]
    assert write_animation(str(tmp_path / "a.gif"), None, frames, most=3, dpi=30) == 3
    assert titles[1:] == ["0", "3", "6"]


def test_what_is_no_animation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"an animation is a GIF: name a file such as fit\.gif"):
        write_animation(str(tmp_path / "a.png"), None, [])
    with pytest.raises(UsageError, match="no frames"):
        write_animation(str(tmp_path / "a.gif"), None, [])
