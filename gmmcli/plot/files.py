"""Figures and animations as files, which appear whole or not at all. The suffix gives the format.

- `check_picture`, `check_animation`: refuse a file that could not be written, before any work is done.
- `write_figure`: any figure. `write_picture`: data and a mixture. `write_animation`: several mixtures, one after the
  other, as a GIF.

Data and weights are those of plot_data_and_model. A RowSample, which sample_rows makes, has its weights. With it a
call does not read all rows again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.errors import Option, Remedy, UsageError
from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.coordinates import choose_coordinates
from gmmcli.plot.data_and_model import draw_figure
from gmmcli.plot.picture import picture, sample_rows
from gmmcli.plot.style import house_style
from gmmcli.storage.files import check_writable, named_failure, writing
from gmmcli.storage.names import one_line, suffix_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf", "gif")
DPI = 160
MOST_PIXELS = 100_000_000
MOST_FRAMES = 80
FRAME_DPI = 100
FRAME_MS, LAST_MS = 150, 2500  # milliseconds of a frame, and of the last
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # same bytes each time


def check_picture(path: str) -> None:
    """Raises UsageError if no picture can be written: unknown suffix, no such folder, no permission."""
    if _format(path) not in FORMATS:
        known = f"give one of .{', .'.join(FORMATS)}"
        raise UsageError("no picture by this suffix", subject=one_line(path), remedy=known)
    check_writable(path, "out.png")


def check_animation(path: str) -> None:
    """Raises UsageError where no animation could be written, as check_picture does."""
    check_picture(path)
    if _format(path) != "gif":
        raise UsageError("an animation is a GIF", subject=one_line(path), remedy="name a file such as fit.gif")


def write_figure(path: str, figure: Figure, dpi: int = DPI) -> None:
    """Writes a figure. dpi: pixels per inch, in an SVG or PDF those of parts with many points.

    Raises UsageError as check_picture does and for more than MOST_PIXELS, GmmError if the disk refuses; an older file
    then remains.
    """
    check_picture(path)
    width, height = (round(inches * dpi) for inches in figure.get_size_inches().tolist())
    if width * height > MOST_PIXELS:
        lower = Remedy("lower its size"), Remedy("lower", "dpi")
        raise UsageError(
            f"a picture of {width} × {height} pixels is too large", subject=Option("dpi", dpi), remedy=lower
        )
    format = _format(path)
    with named_failure(path), writing(path) as stream:
        if format == "gif":
            _image(figure, dpi).save(stream, format=format)
            return
        with house_style():
            figure.savefig(stream, format=format, dpi=dpi, metadata=_METADATA.get(format))


def write_picture(
    path: str,
    data: Any,
    model: GaussianMixture,
    *,
    title: str | None = None,
    weights: Any = None,
    columns: Sequence[str] | None = None,
    projection: str | None = None,
    dpi: int = DPI,
) -> None:
    """Writes the picture of plot_data_and_model to a .png, .svg, .pdf or .gif.

    title: the small line above it, such as `pass 12, log-likelihood −4.1553 per row`; by default it has the numbers
    of rows and components. Raises as plot_data_and_model and write_figure do.
    """
    shown = picture(data, model, choose_coordinates(model, columns, projection), weights)
    write_figure(path, draw_figure(shown, title=title), dpi)


def write_animation(
    path: str,
    data: Any,
    frames: Sequence[tuple[GaussianMixture, str]],
    *,
    weights: Any = None,
    columns: Sequence[str] | None = None,
    projection: str | None = None,
    most: int = MOST_FRAMES,
    dpi: int = FRAME_DPI,
) -> int:
    """Writes mixtures one after the other as a GIF, the last shown longer; returns the number of frames.

    frames: mixtures of the same columns, each with its title, in order; they may differ in K. Of more than `most`
    some are left out, never the first and the last. The axes are those that the last mixture suggests, with limits
    that hold for all frames. Frames are drawn one at a time, about five a second, ten times slower in a grid.

    Raises UsageError for a path that is no GIF and if there are no frames, else as write_figure does.
    """
    check_animation(path)
    if not frames:
        raise UsageError("no frames", subject=one_line(path), remedy="give one at least")
    numbers = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    models, titles = zip(*(frames[number] for number in numbers), strict=True)
    coordinates = choose_coordinates(models[-1], columns, projection)
    sample = sample_rows(data, models[-1], coordinates, weights)
    shown = [picture(sample, model, coordinates) for model in models]
    bounds = np.stack([one.limits() for one in shown])
    limits = np.stack([bounds[:, 0].min(0), bounds[:, 1].max(0)])
    widest = draw_figure(max(shown, key=lambda one: len(one.shares)), limits=limits, title=titles[-1])
    width, height = widest.get_size_inches().tolist()
    position = widest.axes[0].get_position()  # beside which every legend fits
    images = (
        _image(draw_figure(one, (width, height), limits=limits, title=title, position=position), dpi)
        for one, title in zip(shown, titles, strict=True)
    )
    duration = [FRAME_MS] * (len(shown) - 1) + [LAST_MS]
    with named_failure(path), writing(path) as stream:
        options = {"save_all": True, "append_images": images, "duration": duration, "loop": 0, "disposal": 1}
        next(images).save(stream, format="gif", **options)
    return len(shown)


def _format(path: str) -> str:
    """The suffix of a path, without its dot."""
    return suffix_of(path).removeprefix(".")


def _image(figure: Figure, dpi: int) -> Any:
    """The figure as a PIL.Image of 256 colours, such as a GIF holds.

    Matplotlib's PillowWriter shows all frames equally long and cannot write to a stream.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    with house_style():
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    return image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
