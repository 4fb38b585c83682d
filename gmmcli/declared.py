"""Declarations of options: help text, range, choices, and the options that one depends on. Imports no torch.

- `Panel`: a heading of the help. A call makes a declaration for an annotation, `field` one in a dataclass's field.
- `Declared`: the declaration. `declarations`: those of a dataclass. `unpack`: type and declaration in an annotation.
- `check_fields`: checks the fields of an instance.

The command line makes its options, and the README its reference, from the same declarations.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from numbers import Integral
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from gmmcli.errors import Option, Remedy, UsageError


@dataclass(frozen=True)
class Declared:
    """An option.

    panel, help: title and text in the help; `<name>` stands for another option, which the front end words. usage:
    placeholder of the value and other names, as "-k K"; empty for a switch or a choice. least, most: the smallest and
    largest value; above, below: limits that the value does not reach. choices: the only values. suggestions: what a
    shell offers, or the function that finds it. applies: values of other options with which this one has an effect.
    unless: values with which it has none. several: whether the command line takes several values, as text. open:
    whether the command line gives no default, so that other options may decide; it never does if it takes several.
    rank: position within the panel; options of equal rank come in the order of their fields.
    """

    panel: str
    usage: str
    help: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Collection[str] = ()
    suggestions: Sequence[str] | Callable[..., list[str]] = ()
    applies: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    unless: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    several: bool = False
    open: bool = False
    rank: int = 0

    def parse(self, name: str, kind: Any, given: Any) -> Any:
        """The value of a text. Raises UsageError where it is not of this kind, or out of range."""
        value = given
        if isinstance(given, str) and kind in (int, float):
            with suppress(ValueError):  # the check reports it
                value = kind(given)
        self.check(name, kind, value, given)
        return value

    def check(self, name: str, kind: Any, value: Any, shown: Any) -> None:
        """Raises UsageError for a value that is not of this kind, or out of range. shown: the value as given."""
        choices = get_args(kind) if get_origin(kind) is Literal else self.choices
        if choices and value not in choices:
            raise UsageError(
                "there is no such choice", subject=Option(name, shown), remedy=f"choose one of {', '.join(choices)}"
            )
        problem = self._problem(value, kind) if kind in (int, float) else ""
        if problem:
            raise UsageError(f"must {problem}", subject=Option(name, shown))

    def without_effect(self, options: Any) -> Iterator[tuple[str, Remedy]]:
        """The other options whose values leave this one without an effect, each with a remedy."""
        for other, values in self.applies.items():
            if getattr(options, other) not in values:
                yield other, Remedy("give", other, values[-1])
        for other, values in self.unless.items():
            if getattr(options, other) in values:
                yield other, Remedy("leave it out")

    def _problem(self, value: Any, kind: type) -> str:
        """The end of a sentence that begins with "must"; empty where the number is in range."""
        if kind is int and not issubclass(type(value), Integral):
            return "be a whole number"
        if not _finite(value):
            return "be a number"
        if self.above is not None and self.below is not None and not self.above < value < self.below:
            return f"be between {self.above:g} and {self.below:g}"
        if self.least is not None and value < self.least:
            return f"be at least {self.least:g}" if self.least else "not be negative"
        if self.most is not None and value > self.most:
            return f"be at most {self.most:g}"
        if self.above is not None and value <= self.above:
            return f"be more than {self.above:g}" if self.above else "be positive"
        if self.below is not None and value >= self.below:
            return f"be less than {self.below:g}"
        return ""


def _finite(value: Any) -> bool:
    """Whether a value is a number, and finite."""
    return isinstance(value, Integral) or (isinstance(value, float) and math.isfinite(value))


@dataclass(frozen=True)
class Panel:
    """A heading in the help of a command."""

    title: str

    def __call__(self, usage: str, help: str, **rest: Any) -> Declared:
        """A declaration under this heading, for an annotation."""
        return Declared(self.title, usage, help, **rest)

    def field(self, default: Any, usage: str, help: str, **rest: Any) -> Any:
        """A field of a dataclass with a declaration under this heading."""
        return field(default=default, metadata={"declared": self(usage, help, **rest)})


def unpack(annotation: Any) -> tuple[Any, Declared | None]:
    """The type in an annotation, without None, and the declaration in it, None where there is none."""
    base, *extras = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    inner = [one for one in get_args(base) if one is not NoneType]
    kind = inner[0] if NoneType in get_args(base) else base
    return kind, next((extra for extra in extras if isinstance(extra, Declared)), None)


@functools.cache
def declarations(options: type) -> dict[str, tuple[Any, Declared]]:
    """Type and declaration of each declared field of a dataclass."""
    hints, found = get_type_hints(options, include_extras=True), dict[str, tuple[Any, Declared]]()
    for f in fields(options):
        kind, declaration = unpack(hints[f.name])
        declaration = declaration or f.metadata.get("declared")
        if declaration is not None:
            found[f.name] = kind, declaration
    return found


def check_fields(options: Any) -> None:
    """Raises UsageError for the first declared field that is out of range, or has no effect. None is a default."""
    for name, (kind, declaration) in declarations(type(options)).items():
        value = getattr(options, name)
        if value is not None or getattr(type(options), name) is not None:
            declaration.check(name, kind, value, value)
    for name, (_, declaration) in declarations(type(options)).items():
        if getattr(options, name) is None:
            continue
        for other, remedy in declaration.without_effect(options):
            problem, given = f"has no effect with {other} {getattr(options, other)}", getattr(options, name)
            raise UsageError(problem, subject=Option(name, given), remedy=remedy)
