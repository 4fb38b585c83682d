"""The command line: a file per command, each of which parses, calls the library and reports.

- `app`: the commands together, `main`, and the one table that turns errors into messages and exit codes.
- `options`: the options that commands share, and the way from a declaration to Typer. An option of a single command
  is declared in its signature, those of the library in gmmcli.fitting.options, gmmcli.choosing.options and
  gmmcli.data.formats. `completion`: what the shell offers for them.
- `console`: all that is printed. `progress`: a fit while it runs. `report`: a model and its fit in words and tables.
- `files`: model files opened, and outputs checked before any work. `rows`: rows in and out. `processes`: torchrun.
- `fit` has parts of its own: `fit_work` (settings and the fit), `fit_report`, `long_fits` (checkpoints, time limits)
  and `visualize` (pictures of a fit). `assign` also compares with labels.

Heavy imports are inside the commands: help needs neither torch nor pyarrow.
"""
