"""Errors that a user can act on: each is one line that names the culprit and the remedy, with its exit code.

Exit codes: 1 I/O failure or the unexpected, 2 usage, 3 a named input, 4 numerical failure, 5 not converged.
"""


class GmmError(Exception):
    """Anything gmmcli reports on purpose. `str(error)` is one line; `exit_code` is what the program exits with.

    kind: what errors have in common that differ in their numbers only; by default the line itself.
    """

    exit_code = 1

    def __init__(self, line: str = "", kind: str | None = None) -> None:
        super().__init__(line)
        self.kind = line if kind is None else kind


class UsageError(GmmError):
    """An option or argument is wrong: unknown family or device, options that exclude each other."""

    exit_code = 2


class InputError(GmmError):
    """A named input is missing or wrong: file, column, cell, model file, more components than distinct rows."""

    exit_code = 3


class NumericalError(GmmError):
    """The arithmetic failed: a covariance that is not positive definite, a likelihood that is not finite."""

    exit_code = 4


class NotConvergedError(GmmError):
    """The fit stopped before it converged and the user asked for `--strict`."""

    exit_code = 5
