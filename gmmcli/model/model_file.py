"""The model file: a torch.save zip of plain tensors, with the fit's metadata as JSON in the same zip.

- `save_model` writes one, whole or not at all. `load_model` reads one and validates it before use.

In the zip, `data.pkl` is a dict of the format version, family, column names and float64 tensors: weights (K,), means
(K, D), the family's scale under its own name, shift (D,) and std (D,) and, where there is a background, its weight ()
and its box (2, D), bit for bit those of the model; `metadata.json` describes them and the fit.

A file is foreign until proven ours: nothing in it is run, its pickle may name no class but those of a plain tensor,
and no size that it declares is believed.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor

from gmmcli import __version__
from gmmcli.errors import GmmError, InputError
from gmmcli.families import FAMILIES, get_family
from gmmcli.families.base import Parameters
from gmmcli.model.mixture import GaussianMixture
from gmmcli.storage.files import check_writable, named_failure, replace
from gmmcli.storage.filesystem import locate
from gmmcli.storage.names import one_line

AnyPath = str | os.PathLike[str]

FORMAT_VERSION = 1
METADATA = "metadata.json"
REMEDY = "give one that gmm fit wrote"

_PLAIN_TENSOR = re.compile(r"torch\._utils _rebuild_tensor_v2|torch \w+Storage|collections OrderedDict")
_OTHER_LOOKUPS = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}  # opcodes that torch.save never writes
_BRIEF = 100  # most characters of a name from the file in a message


# ---- writing ----------------------------------------------------------------------------------------------


def save_model(path: AnyPath, model: GaussianMixture, metadata: Mapping[str, Any]) -> None:
    """Writes a model file, under a temporary name in the same folder that is then renamed; uploads a remote one.

    metadata: facts about the fit, as JSON values; tensors, arrays and tuples become lists, paths text, and numbers
    that are not finite null. format_version, program_version, family, components, dims, columns, standardisation
    (null, or the lists shift and std) and parameters (how many are free) are always the model's own. A pipe or device
    is written to directly.

    Raises UsageError where `check_writable` does, InputError for parameters that are not a mixture's, GmmError where
    the disk or the network refuses; an older file is then still there, and nothing else.
    """
    target = os.fspath(path)
    check_writable(target, "model.pt")
    try:
        with named_failure(target):
            replace(target, _serialised(model, metadata))
    except InputError as error:
        raise InputError(f"not written: {error}", subject=one_line(target)) from error


def _serialised(model: GaussianMixture, metadata: Mapping[str, Any]) -> memoryview:
    """The content of the file."""
    own = (model.weights, model.inner_means, model.inner_scale, model.shift, model.std, model.background, model.box)
    # Cloned, since torch.save writes the whole storage that a view looks into.
    tensors = {
        name: tensor.detach().to("cpu", torch.float64).clone(memory_format=torch.contiguous_format)
        for name, tensor in zip(_names(model.family), own, strict=True)
        if tensor is not None
    }
    weights, means, scale, *_ = tensors.values()
    model.kind.validate(Parameters(weights, means, scale, tensors.get("background")))
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


def _names(family: str) -> list[str]:
    """Names of the tensors in a file, in order; the last two are those of a background."""
    return ["weights", "means", get_family(family).scale_name, "shift", "std", "background", "box"]


def _facts(model: GaussianMixture) -> dict[str, Any]:
    """Metadata about the model itself. Loading compares it with the tensors."""
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


class Refusal(InputError):
    """A file is not ours, or of a newer format. The error has no subject yet: the path is not known here."""


def load_model(path: AnyPath) -> tuple[GaussianMixture, dict[str, Any]]:
    """The model in a file and its metadata, as `save_model` got them, on the CPU in float64.

    Raises InputError in one line where the file is missing, cut short, not ours, of a newer format or holds
    code, or where its parts are not a mixture's or contradict each other.
    """
    shown = one_line(os.fspath(path))
    try:
        opened = locate(os.fspath(path)).read()
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise InputError(problem, subject=shown, remedy="give a model file that gmm fit wrote") from error
    with opened as file:
        try:
            return _parsed(file if file.seekable() else io.BytesIO(file.read()))
        except MemoryError:
            raise
        except Refusal as error:
            raise InputError(error.notice.problem, subject=shown, remedy=error.notice.remedies) from error
        except Exception as error:  # zipfile, json and torch raise some twenty kinds on foreign files
            is_known = isinstance(error, GmmError)
            why = str(error) if is_known else f"it is damaged or cut short ({type(error).__name__})"
            raise InputError(f"not a gmm model file: {why}", subject=shown, remedy=REMEDY) from error


def _parsed(file: IO[bytes]) -> tuple[GaussianMixture, dict[str, Any]]:
    metadata, records = _inspected(file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    _refuse_if(type(state) is not dict or any(type(name) is not str for name in state), "it holds no tensors by name")
    given = state.get("family")
    family = one_line(given, _BRIEF) if type(given) is str else "without a name"
    _refuse_if(family not in FAMILIES, f"gmm {__version__} knows no family {family}")
    names = _names(family)[: None if metadata.get("background") is not None else -2]
    expected = {"format_version", "family", "columns", *names}
    for wrong, others in (("lacks", expected - set(state)), ("should not hold", set(state) - expected)):
        _refuse_if(others, f"it {wrong} {one_line(', '.join(sorted(others)), _BRIEF)}")
    for name in names:
        _check_tensor(name, state[name])
    sizes = sorted(state[name].untyped_storage().nbytes() for name in names)
    _refuse_if(sizes != records, "its tensors are not of the sizes of their records")
    return _mixture(state, metadata), metadata


def _inspected(file: IO[bytes]) -> tuple[dict[str, Any], list[int]]:
    """The metadata, and the sizes in bytes of the tensors' records, of a zip that torch.load may be given."""
    signature = file.read(4)
    _refuse_if(not signature, "it is empty")
    _refuse_if(signature != b"PK\x03\x04", "it is no zip archive")  # torch.load would take other kinds by other ways
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        root = names[0].partition("/")[0]
        repeated = len({name.lower() for name in names}) < len(names)  # torch looks members up whatever their case
        _refuse_if(repeated, "it holds two members of the same name")
        foreign = any(not name.startswith(f"{root}/") for name in names) or f"{root}/data.pkl" not in names
        _refuse_if(foreign, "it is a zip archive of something else")
        packed = any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members)
        _refuse_if(packed, "its members are compressed")
        _refuse_if(sum(member.file_size for member in members) > size, "its members are larger than the file")
        _refuse_if(archive.testzip() is not None, "its contents do not match their checksums")
        described = f"{root}/{METADATA}" in names
        metadata = json.loads(archive.read(f"{root}/{METADATA}")) if described else {}
        if described:
            _check_version(metadata)
        _check_pickle(archive.read(f"{root}/data.pkl"))
        _refuse_if(not described, f"it has no {METADATA}")
    return metadata, sorted(m.file_size for m in members if m.filename.startswith(f"{root}/data/"))


def _check_version(metadata: Any) -> None:
    version: Any = metadata.get("format_version") if isinstance(metadata, dict) else None
    _refuse_if(type(version) is not int or version < 1, f"its {METADATA} has no format_version")
    if version > FORMAT_VERSION:
        problem = f"of a newer format ({version}) than gmm {__version__} reads ({FORMAT_VERSION})"
        raise Refusal(problem, remedy="upgrade gmmcli")


def _check_pickle(data: bytes) -> None:
    """Refuses a pickle that names anything but what plain tensors are rebuilt with."""
    for opcode, argument, _ in pickletools.genops(data):
        foreign = opcode.name == "GLOBAL" and not _PLAIN_TENSOR.fullmatch(str(argument))
        name = one_line(str(argument or opcode.name).replace(" ", "."), _BRIEF)
        _refuse_if(
            foreign or opcode.name in _OTHER_LOOKUPS, f"it holds code or objects ({name}), which are never loaded"
        )


def _check_tensor(name: str, tensor: Any) -> None:
    """Refuses all but a float64 tensor that fills its storage: a view could declare any shape."""
    _refuse_if(type(tensor) is not Tensor or tensor.layout != torch.strided, f"{name} is no tensor")
    _refuse_if(tensor.dtype != torch.float64, f"{name} is of {tensor.dtype}, not torch.float64")
    whole = tensor.numel() * 8 == tensor.untyped_storage().nbytes() and tensor.is_contiguous()
    _refuse_if(not whole, f"{name} of shape {tuple(tensor.shape)} is not of the size of its record")


def _mixture(state: dict[str, Any], metadata: dict[str, Any]) -> GaussianMixture:
    """The mixture of checked tensors. Refuses tensors that are none, or that the metadata contradicts."""
    family, columns = state["family"], state["columns"]
    named = columns is None or (isinstance(columns, list) and all(type(name) is str for name in columns))
    _refuse_if(not named, "columns is no list of names")
    tensors: list[Any] = [state.get(name) for name in _names(family)]
    weights, means, scale, shift, std, background, box = tensors
    p = Parameters(weights, means, scale, background)
    model = GaussianMixture.of(p, family, columns=columns, shift=shift, std=std, box=box)
    _refuse_if(model.dims < 1, "its means have no columns")
    with torch.no_grad():
        model.weights.copy_(weights)  # weights that sum to 1 within rounding only keep their bits
    facts = _facts(model) | {"format_version": state["format_version"]}
    for name, value in facts.items():
        agreed = name == "program_version" or metadata.get(name) == value
        _refuse_if(not agreed, f"its metadata and its tensors disagree on {name}")
    return model


def _refuse_if(fault: object, why: str) -> None:
    """Raises Refusal if there is a fault."""
    if fault:
        raise Refusal(f"not a gmm model file: {why}", remedy=REMEDY)
