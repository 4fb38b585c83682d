"""Figures as files, which appear whole or not at all: the format is told by the suffix.

- `check_picture`: whether a picture can be written, before any work is done. `write_figure` writes one.
- `write_whole`: what it and the animations are written through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from gmmcli.errors import GmmError, UsageError
from gmmcli.storage.addresses import suffix_of
from gmmcli.storage.files import check_writable, writing
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf", "gif")
ANIMATED = ("gif",)
DPI = 160
MOST_PIXELS = 100_000_000
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}  # the same bytes each time


def picture_format(path: str) -> str:
    """One of FORMATS, by the suffix. Raises UsageError that lists them."""
    suffix = suffix_of(path).removeprefix(".")
    if suffix not in FORMATS:
        raise UsageError(f"{one_line(path)}: no picture by this suffix: give one of .{', .'.join(FORMATS)}")
    return suffix


def check_picture(path: str) -> None:
    """Raises UsageError where no picture could be written: unknown suffix, no such folder, no permission."""
    picture_format(path)
    check_writable(path, "out.png")


def write_figure(path: str, figure: Figure, dpi: int = DPI) -> None:
    """Writes a figure. dpi: pixels per inch, in an SVG or PDF those of parts with many points.

    Raises UsageError where check_picture does and for more than MOST_PIXELS, GmmError where the disk refuses; an
    older file is then still there.
    """
    from gmmcli.plot.style import house_style

    check_picture(path)
    width, height = (round(inches * dpi) for inches in figure.get_size_inches().tolist())
    if width * height > MOST_PIXELS:
        raise UsageError(f"a picture of {width} × {height} pixels is too large: lower its size or the dpi")
    format = picture_format(path)

    def write(stream: BinaryIO) -> None:
        if format == "gif":
            pixels(figure, dpi).save(stream, format="gif")
            return
        with house_style():
            figure.savefig(stream, format=format, dpi=dpi, metadata=_METADATA.get(format))

    write_whole(path, write)


def write_whole(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file by a function of its stream, under another name until it is whole; errors as write_figure's."""
    try:
        with writing(path) as stream:
            write(stream)
    except BrokenPipeError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise GmmError(f"{one_line(path)}: cannot be written ({why}): name another file") from error


def pixels(figure: Figure, dpi: int) -> Any:
    """The figure as an image of 256 colours, a PIL.Image, such as a GIF holds."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    from gmmcli.plot.style import house_style

    with house_style():
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    return image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
