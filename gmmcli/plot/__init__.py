"""Pictures with matplotlib, without a window: nothing here calls show(), imports pyplot or changes a global setting.

- `plot_data_and_model`: rows and the mixture fitted to them, on given axes or its own; `data_figure`: as a figure.
- `plot_selection`, `plot_history`: a criterion by number of components, a log-likelihood by pass.
- `write_picture`, `write_animation`: a mixture, or several one after the other, to a file; `write_figure`: a figure.
  `check_picture` and `check_animation` refuse a file beforehand.
- `undrawable`: the letters of some words that no picture can show.
- `RowSampler`, `sample_rows`: the rows that a picture shows, from blocks of any number or from a table.

Modules. `coordinates`: columns or projections. `picture`: the rows drawn and the mixture, as numbers. `panels`: one
histogram, one plane, a grid of both. `data_and_model`: the whole picture with its legend. `selection`: a table of
fits. `history`: the course of a fit. `files`: formats, GIFs. `axes`: limits, ticks, names, captions, layout. `style`:
colours, letters, legends.
"""

from gmmcli.plot.coordinates import choose_coordinates
from gmmcli.plot.data_and_model import data_figure, plot_data_and_model
from gmmcli.plot.files import check_animation, check_picture, write_animation, write_figure, write_picture
from gmmcli.plot.history import plot_history
from gmmcli.plot.picture import RowSample, RowSampler, sample_rows
from gmmcli.plot.selection import plot_selection
from gmmcli.plot.style import figure_of, undrawable

__all__ = [
    "RowSample",
    "RowSampler",
    "check_animation",
    "check_picture",
    "choose_coordinates",
    "data_figure",
    "figure_of",
    "plot_data_and_model",
    "plot_history",
    "plot_selection",
    "sample_rows",
    "undrawable",
    "write_animation",
    "write_figure",
    "write_picture",
]
