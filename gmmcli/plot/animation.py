"""A fit as it goes on: `write_animation`, one GIF of several mixtures, and `write_picture`, one still of one.

Both take data and weights as plot_data_and_model does. A RowSample, made once by sample_rows, spares each call the
reading of all rows, and has their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.errors import UsageError
from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.coordinates import choose_coordinates
from gmmcli.plot.data_and_model import draw_figure, natural_size
from gmmcli.plot.files import ANIMATED, DPI, check_picture, picture_format, pixels, write_figure, write_whole
from gmmcli.plot.picture import picture
from gmmcli.plot.rows import sample_rows
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

MOST_FRAMES = 80
FRAME_DPI = 100
FRAME_MS, LAST_MS = 150, 2500  # how long a frame is shown, and the last


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

    title: the small line above it, such as `pass 12, log-likelihood −4.1553 per row`; by default it tells the numbers
    of rows and components. Raises as plot_data_and_model and write_figure do.
    """
    shown = picture(data, model, columns=columns, projection=projection, weights=weights)
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
    """Writes mixtures one after the other as a GIF, the last shown longer; returns how many frames it has.

    frames: mixtures of the same columns, each with its title, the first first; they may differ in K. Of more than
    `most` some are left out, never the first and the last. The axes are those that the last mixture suggests, with
    limits that hold for all frames. Frames are drawn one at a time, about five a second, ten times slower in a grid.

    Raises UsageError for a path that is no GIF and where there are no frames, else as write_figure does.
    """
    check_animation(path)
    if not frames:
        raise UsageError(f"{one_line(path)}: no frames: an animation needs one at least")
    places = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    chosen = [frames[place] for place in places]
    coordinates = choose_coordinates(chosen[-1][0], columns, projection)
    sample = sample_rows(data, chosen[-1][0], coordinates, weights)
    shown = [picture(sample, model, coordinates=coordinates) for model, _ in chosen]
    bounds = np.stack([one.limits() for one in shown])
    limits = np.stack([bounds[:, 0].min(0), bounds[:, 1].max(0)])
    by_legend = {model.components: one for (model, _), one in zip(chosen, shown, strict=True)}.values()
    size = max(natural_size(one) for one in by_legend)
    places = [_place(draw_figure(one, size, limits=limits, title=chosen[-1][1])) for one in by_legend]
    place = min(places, key=lambda place: place.width)  # beside which every legend has room

    def images() -> Iterator[Any]:
        for one, (_, title) in zip(shown, chosen, strict=True):
            yield pixels(draw_figure(one, size, limits=limits, title=title, place=place), dpi)

    def write(stream: Any) -> None:
        drawn = images()
        durations = [FRAME_MS] * (len(chosen) - 1) + [LAST_MS]
        next(drawn).save(
            stream, format="gif", save_all=True, append_images=drawn, duration=durations, loop=0, disposal=1
        )

    write_whole(path, write)
    return len(chosen)


def _place(figure: Figure) -> Bbox:
    """Where the layout puts the axes, which else would move with the width of the legend."""
    return figure.axes[0].get_position()


def check_animation(path: str) -> None:
    """Raises UsageError where no animation could be written: see check_picture."""
    check_picture(path)
    if picture_format(path) not in ANIMATED:
        raise UsageError(f"{one_line(path)}: an animation is a GIF: name a file such as fit.gif")
