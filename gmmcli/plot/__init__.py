"""Pictures with matplotlib, without a window: nothing here calls show(), imports pyplot or changes a global setting.

- `plot_data_and_model`: rows and the mixture fitted to them, on given axes or its own; `data_figure`: as a figure.
- `plot_selection`, `plot_history`: a criterion by number of components, a log-likelihood by pass.
- `write_picture`, `write_animation`: a mixture, or several one after the other, to a file; `check_picture` and
  `check_animation` say beforehand whether it could be written. `write_figure` writes any figure.
- `crowded`, `roomy_size`: whether words of a figure are missing or meet, and the size at which none are.
- `undrawable`: the letters of some words that no picture can show.
- `RowSampler`, `sample_rows`: the rows that a picture shows, from blocks of any number or from a table.

What its modules hold: `coordinates`, which columns or projections; `rows`, which rows; `marginal`, the mixture in
these coordinates; `picture`, the three together. `panels`, `pairs`, `tags` draw; `axes`, `style` say how it looks. Of
a selection `span` is the part of the range that is shown, `lines` what is drawn; `places` finds room for text, which
`tags` and `beside` write; `text` measures and folds it, and `room` says what is left out where there is too little.
"""

from gmmcli.plot.animation import check_animation, write_animation, write_picture
from gmmcli.plot.coordinates import PROJECTIONS, choose_coordinates
from gmmcli.plot.data_and_model import data_figure, plot_data_and_model
from gmmcli.plot.files import check_picture, write_figure
from gmmcli.plot.history import plot_history
from gmmcli.plot.room import crowded, roomy_size
from gmmcli.plot.rows import RowSample, RowSampler, sample_rows
from gmmcli.plot.selection import plot_selection
from gmmcli.plot.style import figure_of
from gmmcli.plot.text import undrawable

__all__ = [
    "PROJECTIONS",
    "RowSample",
    "RowSampler",
    "check_animation",
    "check_picture",
    "choose_coordinates",
    "crowded",
    "data_figure",
    "figure_of",
    "plot_data_and_model",
    "plot_history",
    "plot_selection",
    "roomy_size",
    "sample_rows",
    "undrawable",
    "write_animation",
    "write_figure",
    "write_picture",
]
