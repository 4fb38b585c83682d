"""Errors that a user can act on, as fields: the subject, the problem and the remedies, with an exit code by kind.

- `Notice`: subject, problem and remedies. `GmmError`: an exception with one; warnings and stop reasons have one too.
- `Remedy`: an action on an option. `Option`: an option by its name in Python, with or without a value.

Nothing here knows how a front end spells an option. `str()` words it as a Python argument, `variance_floor`. The
command line passes a function of its own to `worded`, which makes it a flag.

Exit codes: 1 failure of input or output, or the unexpected; 2 usage; 3 a named input; 4 numerical failure; 5 not
converged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Word = Callable[["Option"], str]  # the words for an option


@dataclass(frozen=True)
class Option:
    """An option by its name as a Python argument. value: the one given or to be given; None leaves it out."""

    name: str
    value: object = None


def as_argument(option: Option) -> str:
    """The option as Python has it: `tolerance`, or `missing='drop'`."""
    return option.name if option.value is None else f"{option.name}={option.value!r}"


@dataclass(frozen=True)
class Remedy:
    """An action that cures a problem.

    action: a verb phrase, such as "lower" or "remove the file". option: name of the option that it acts on, or None;
    value: to give it, or None. purpose: the rest of the sentence, such as "to leave those rows out".
    """

    action: str
    option: str | None = None
    value: object = None
    purpose: str = ""

    def worded(self, word: Word = as_argument) -> str:
        """The action as part of a sentence."""
        option = "" if self.option is None else word(Option(self.option, self.value))
        return " ".join(part for part in (self.action, option, self.purpose) if part)


def alternatives(remedies: Sequence[Remedy], word: Word = as_argument) -> str:
    """The remedies as a list in words: "a, b or c"."""
    parts = [remedy.worded(word) for remedy in remedies]
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


@dataclass(frozen=True)
class Notice:
    """A message about a problem, on one line: "subject: problem: remedy".

    subject: the file, column, component or option at fault, or an empty text.
    """

    problem: str
    subject: str | Option = ""
    remedies: Sequence[Remedy] = ()

    def worded(self, word: Word = as_argument) -> str:
        """The line, with every option in the words of the front end."""
        subject = word(self.subject) if isinstance(self.subject, Option) else self.subject
        return ": ".join(part for part in (subject, self.problem, alternatives(self.remedies, word)) if part)

    def __str__(self) -> str:
        return self.worded()


class GmmError(Exception):
    """Anything that gmmcli reports on purpose.

    `str(error)` is one line that words options as Python arguments, `worded` words them for another front end.
    `exit_code`: of the program. kind: a text that errors share if they differ only in numbers; None takes the line.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str = "",
        kind: str | None = None,
        *,
        subject: str | Option = "",
        remedy: Remedy | Sequence[Remedy] | str = (),
    ) -> None:
        given = Remedy(remedy) if isinstance(remedy, str) else remedy
        self.notice = Notice(problem, subject, (given,) if isinstance(given, Remedy) else tuple(given))
        super().__init__(str(self.notice))
        self.kind = str(self) if kind is None else kind

    def worded(self, word: Word = as_argument) -> str:
        """The error on one line, with every option in the words of the front end."""
        return self.notice.worded(word)


class UsageError(GmmError):
    """An option or argument is wrong: unknown family or device, options that exclude each other."""

    exit_code = 2


class InputError(GmmError):
    """A named input is missing or wrong: file, column, cell, model file, more components than distinct rows."""

    exit_code = 3


class RowsError(InputError):
    """Rows cannot be fitted. It is raised where their file is not known; `of` adds its name."""

    def of(self, name: str) -> InputError:
        """The error with the name of the file before its subject."""
        subject = ": ".join(part for part in (name, str(self.notice.subject)) if part)
        return InputError(self.notice.problem, self.kind, subject=subject, remedy=self.notice.remedies)


class NumericalError(GmmError):
    """The arithmetic failed: a covariance that is not positive definite, a likelihood that is not finite."""

    exit_code = 4


class NotConvergedError(GmmError):
    """The fit stopped before it converged and the user asked for `--strict`."""

    exit_code = 5
