"""The model file: a torch.save zip of plain tensors, with the fit's metadata as JSON in the same zip.

- `save_model` writes one, whole or not at all; `check_model_target` checks beforehand whether it could.
- `load_model` reads one and validates it before use; `read_metadata` reads the JSON alone.

In the zip, `data.pkl` is a dict of the format version, family, column names and float64 tensors: weights (K,), means
(K, D), the family's scale under its own name, shift (D,) and std (D,) and, where there is a background, its weight ()
and its box (2, D), bit for bit those of the model; `metadata.json` describes them and the fit. The checks that a
foreign file must pass are in inspection.py.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

import torch
from torch import Tensor

from gmmcli import __version__
from gmmcli.errors import GmmError, InputError
from gmmcli.families import FAMILIES, get_family
from gmmcli.families.base import Parameters
from gmmcli.model.inspection import FORMAT_VERSION, METADATA, REMEDY, Refusal, brief, check_tensor, inspect, refuse
from gmmcli.model.mixture import GaussianMixture
from gmmcli.storage.files import check_writable, named_failure, replace
from gmmcli.storage.filesystem import locate
from gmmcli.storage.names import one_line

AnyPath = str | os.PathLike[str]
T = TypeVar("T")


# ---- writing ----------------------------------------------------------------------------------------------


def save_model(path: AnyPath, model: GaussianMixture, metadata: Mapping[str, Any]) -> None:
    """Writes a model file, under a temporary name in the same folder that is then renamed; uploads a remote one.

    metadata: facts about the fit, as JSON values; tensors, arrays and tuples become lists, paths text, and numbers
    that are not finite null. format_version, program_version, family, components, dims, columns, standardisation
    (null, or the lists shift and std) and parameters (how many are free) are always the model's own. A pipe or device
    is written to directly.

    Raises UsageError where `check_model_target` does, InputError for parameters that are not a mixture's,
    GmmError where the disk or the network refuses; an older file is then still there, and nothing else.
    """
    target = os.fspath(path)
    check_model_target(target)
    try:
        with named_failure(target):
            replace(target, _serialised(model, metadata))
    except InputError as error:
        raise InputError(f"not written: {error}", subject=one_line(target)) from error


def check_model_target(path: AnyPath) -> None:
    """Raises UsageError where a model file could not be written: no such folder, a folder, no permission."""
    check_writable(os.fspath(path), "model.pt")


def _tensor_names(family: str, background: bool) -> list[str]:
    """Names of the tensors in a file, in order."""
    names = ["weights", "means", get_family(family).scale_name, "shift", "std"]
    return names + ["background", "box"] * background


def _serialised(model: GaussianMixture, metadata: Mapping[str, Any]) -> memoryview:
    """The content of the file."""
    values = (
        model.weights,
        model.inner_means,
        model.inner_scale,
        model.shift,
        model.std,
        model.background,
        model.box,
    )
    # Cloned, since torch.save writes the whole storage that a view looks into.
    stored = [
        t.detach().to("cpu", torch.float64).clone(memory_format=torch.contiguous_format)
        for t in values
        if t is not None
    ]
    names = _tensor_names(model.family, model.background is not None)
    tensors: dict[str, Tensor] = dict(zip(names, stored, strict=True))
    model.kind.validate(Parameters(*stored[:3], background=tensors.get("background")))
    facts = _facts(model)
    heading = {name: facts[name] for name in ("format_version", "family", "columns")}
    text = json.dumps(facts | _plain(metadata) | facts, ensure_ascii=False, indent=1, allow_nan=False)
    buffer = io.BytesIO()
    torch.save(heading | tensors, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        member = zipfile.ZipInfo(f"{root}/{METADATA}")  # dated 1980, as torch's: the same bytes each time
        member.external_attr = 0o644 << 16
        # A lone surrogate, from a file name that is not UTF-8, has no UTF-8 form: \udcff is its form in JSON.
        archive.writestr(member, text.encode("utf-8", "backslashreplace"))
    return buffer.getbuffer()


def _facts(model: GaussianMixture) -> dict[str, Any]:
    """Metadata about the model itself, which loading compares with the tensors."""
    units = {"shift": model.shift.double().tolist(), "std": model.std.double().tolist()}
    return {
        "format_version": FORMAT_VERSION,
        "program_version": __version__,
        "family": model.family,
        "components": model.components,
        "dims": model.dims,
        "columns": None if model.columns is None else [str(name) for name in model.columns],
        "standardisation": units if model.standardised else None,
        "background": None if model.background is None else float(model.background.detach()),
        "parameters": model.parameter_count,
    }


def _plain(value: Any) -> Any:
    """The value as JSON has it; json.dumps refuses all others."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


# ---- reading ----------------------------------------------------------------------------------------------


def load_model(path: AnyPath) -> tuple[GaussianMixture, dict[str, Any]]:
    """The model in a file and its metadata, as `save_model` got them, on the CPU in float64.

    Raises InputError in one line where the file is missing, cut short, not ours, of a newer format or holds
    code, or where its parts are not a mixture's or contradict each other.
    """
    return _read(path, _parse_model)


def read_metadata(path: AnyPath) -> dict[str, Any]:
    """The metadata of a model file, not compared with its tensors. Raises InputError as `load_model` does."""
    return _read(path, lambda file: inspect(file)[0])


def _read(path: AnyPath, parse: Callable[[IO[bytes]], T]) -> T:
    shown = one_line(os.fspath(path))
    try:
        opened = locate(os.fspath(path)).read()
    except OSError as error:
        why = error.strerror or error
        raise InputError(
            f"cannot be read ({why})", subject=shown, remedy="give a model file that gmm fit wrote"
        ) from error
    with opened as file:
        try:
            return parse(file if file.seekable() else io.BytesIO(file.read()))
        except MemoryError:
            raise
        except Refusal as error:
            raise InputError(error.notice.problem, subject=shown, remedy=error.notice.remedies) from error
        except Exception as error:  # zipfile, json and torch raise some twenty kinds on foreign files
            known = isinstance(error, GmmError)
            why = str(error) if known else f"it is damaged or cut short ({type(error).__name__})"
            raise InputError(f"not a gmm model file: {why}", subject=shown, remedy=REMEDY) from error


def _parse_model(file: IO[bytes]) -> tuple[GaussianMixture, dict[str, Any]]:
    metadata, records = inspect(file)
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    if type(state) is not dict or any(type(name) is not str for name in state):
        refuse("it holds no tensors by name")
    family = state.get("family")
    if type(family) is not str or family not in FAMILIES:
        name = brief(family) if type(family) is str else "without a name"
        refuse(f"gmm {__version__} knows no family {name}")
    tensors = _tensor_names(family, metadata.get("background") is not None)
    expected = {"format_version", "family", "columns", *tensors}
    for wrong, names in (("lacks", expected - set(state)), ("should not hold", set(state) - expected)):
        if names:
            refuse(f"it {wrong} {brief(', '.join(sorted(names)))}")
    for name in tensors:
        check_tensor(name, state[name])
    if sorted(state[name].untyped_storage().nbytes() for name in tensors) != records:
        refuse("its tensors are not of the sizes of their records")
    return _mixture(state, [state[name] for name in tensors], metadata), metadata


def _mixture(state: dict[str, Any], tensors: list[Tensor], metadata: dict[str, Any]) -> GaussianMixture:
    """The mixture of checked tensors, when they are one and the metadata agrees."""
    weights, means, scale, shift, std, *uniform = tensors
    background, box = uniform or (None, None)
    columns = state["columns"]
    if columns is not None and not (isinstance(columns, list) and all(type(name) is str for name in columns)):
        refuse("columns is no list of names")
    p = Parameters(weights, means, scale, background)
    model = GaussianMixture.of(p, state["family"], columns=columns, shift=shift, std=std, box=box)
    if model.dims < 1:
        refuse("its means have no columns")
    with torch.no_grad():
        model.weights.copy_(weights)  # weights that sum to 1 within rounding only keep their bits
    facts = _facts(model) | {"format_version": state["format_version"]}
    for name, value in facts.items():
        if name != "program_version" and metadata.get(name) != value:
            refuse(f"its metadata and its tensors disagree on {name}")
    return model
