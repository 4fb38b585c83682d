"""The command line: a file per command, each of which parses, calls the library and reports.

- `app`: the commands together, `main`, and the one table that turns errors into messages and exit codes.
- `options`: the options that commands share, declared once, and how Typer gets them; the options of a fit are in
  gmmcli.fitting.options and gmmcli.choosing.options. `completion`: what the shell offers for them.
- `console`: all that is printed. `progress`: a fit while it runs. `report`: a model and its fit in words and tables.
- `models`: model files. `files`: outputs, checked before any work. `rows`: rows in and out. `processes`: torchrun.
- `fit` has parts of its own: `fit_settings`, `fit_work`, `fit_report`, `long_fits` and `visualize`; `assign` has
  `comparison`.

Heavy imports are inside the commands: help needs neither torch nor pyarrow.
"""
