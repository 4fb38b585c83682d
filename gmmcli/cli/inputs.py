"""What commands have in common: opening a model, and where one may be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmmcli.cli.imports import library_imports
from gmmcli.cli.options import MISSING_CHOICES
from gmmcli.data.formats import format_of_path
from gmmcli.errors import UsageError
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.data.source_blocks import Missing
    from gmmcli.model.mixture import GaussianMixture


def open_model(path: str) -> tuple[GaussianMixture, dict[str, Any]]:
    """The model in a file, and its metadata. Raises UsageError for standard input, where the data comes from."""
    with library_imports():
        from gmmcli.model.model_file import load_model

    if path == "-":
        raise UsageError("MODEL cannot be standard input: name a model file")
    return load_model(path)


def column_names(model: GaussianMixture) -> tuple[str, ...]:
    """The names of the model's columns, x1 to xD where it has none."""
    return model.columns or tuple(f"x{d + 1}" for d in range(model.dims))


def as_read(missing: MISSING_CHOICES) -> Missing:
    """What the reader is to do with missing cells: for `em` it keeps them."""
    return "keep" if missing == "em" else missing


def check_model_option(option: str, path: str, example: str) -> None:
    """Raises UsageError where no model could be written, and where data would be overwritten by one."""
    from gmmcli.model.model_file import check_model_target

    if path == "-" or format_of_path(path) is not None:
        raise UsageError(f"{option} {printable(path)}: a model cannot go there: name a file such as {example}")
    check_model_target(path)
