"""The command line: a file per command, each of which parses, calls the library and reports.

- `app`: the commands together, `main`, and the one table that turns errors into messages and exit codes.
- `options`: the options that commands share, declared once.
- `console`: whatever is printed.

Heavy imports are inside the commands: help needs neither torch nor pyarrow.
"""
