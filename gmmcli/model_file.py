"""The model file: a torch.save zip of plain tensors, with the fit's metadata as JSON in the same zip.

- `save_model` writes one, whole or not at all; `check_model_target` says beforehand whether it could.
- `load_model` reads one and validates it before use; `read_metadata` reads the JSON alone.

In the zip, `data.pkl` is a dict of the format version, family, column names and five float64 tensors: weights
(K,), means (K, D), the family's scale under its own name, shift (D,) and std (D,), bit for bit those of the
model; `metadata.json` describes them and the fit. A file is foreign until proven ours: nothing in it is run,
its pickle may name no class but those of a plain tensor, and no size that it declares is believed.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickletools
import re
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, NoReturn, TypeVar

import torch
from torch import Tensor

from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.families import FAMILIES, get_family
from gmmcli.families.base import Parameters
from gmmcli.mixture import GaussianMixture
from gmmcli.version import __version__

FORMAT_VERSION = 1
METADATA = "metadata.json"

_PLAIN_TENSOR = re.compile(r"torch\._utils _rebuild_tensor_v2|torch \w+Storage|collections OrderedDict")
_OTHER_LOOKUPS = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}  # opcodes that torch.save never writes
_BRIEF = 100  # characters of a name from the file that a message repeats

AnyPath = str | os.PathLike[str]
T = TypeVar("T")


class _Refusal(Exception):
    """Why a file is not one of ours."""


class _Newer(_Refusal):
    """The file is ours, of a format that this version does not know."""


# ---- writing ----------------------------------------------------------------------------------------------


def save_model(path: AnyPath, model: GaussianMixture, metadata: Mapping[str, Any]) -> None:
    """Writes a model file, under a temporary name in the same folder that is then renamed.

    metadata: what is known of the fit, as JSON values; tensors, arrays and tuples become lists, paths text,
    and numbers that are not finite null. format_version, program_version, family, components, dims, columns,
    standardisation (null, or the lists shift and std) and parameters (how many are free) are the model's own,
    whatever the caller says. A pipe or device is written to directly.

    Raises UsageError where `check_model_target` does, InputError for parameters that are not a mixture's,
    GmmError where the disk refuses; an older file is then still there, and nothing else.
    """
    target = os.fspath(path)
    check_model_target(target)
    try:
        content = _serialise(model, metadata)
        if _is_direct(target):
            with open(target, "wb") as file:
                file.write(content)
        else:
            _replace(os.path.realpath(target), content)  # a link stays a link, to the new content
    except BrokenPipeError:
        raise  # its reader has gone: not a failure of ours
    except InputError as error:
        raise InputError(f"{_shown(target)}: not written: {error}") from error
    except OSError as error:
        why = error.strerror or error
        raise GmmError(f"{_shown(target)}: cannot be written ({why}): name another file") from error


def check_model_target(path: AnyPath) -> None:
    """Raises UsageError where a model file could not be written: no such folder, a folder, no permission."""
    target = os.fspath(path)
    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.basename(target) or os.path.isdir(target):
        raise UsageError(f"{_shown(target)}: this is a folder: name a model file in it, such as model.pt")
    if _is_direct(target):
        return
    if not os.path.isdir(folder):
        raise UsageError(f"{_shown(target)}: there is no folder {_shown(folder)}: create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{_shown(target)}: no permission to write in {_shown(folder)}: name another folder")


def _serialise(model: GaussianMixture, metadata: Mapping[str, Any]) -> memoryview:
    kind = model.kind
    named = {
        "weights": model.weights,
        "means": model.inner_means,
        kind.scale_name: model.inner_scale,
        "shift": model.shift,
        "std": model.std,
    }
    # Cloned, since torch.save writes the whole storage that a view looks into.
    tensors = {
        name: t.detach().to("cpu", torch.float64).clone(memory_format=torch.contiguous_format)
        for name, t in named.items()
    }
    kind.validate(Parameters(tensors["weights"], tensors["means"], tensors[kind.scale_name]))
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
    """What the metadata says of the model itself, and loading compares with the tensors."""
    shift, std = model.shift.double().tolist(), model.std.double().tolist()
    plain = all(s == 0 for s in shift) and all(s == 1 for s in std)
    return {
        "format_version": FORMAT_VERSION,
        "program_version": __version__,
        "family": model.family,
        "components": model.components,
        "dims": model.dims,
        "columns": None if model.columns is None else [str(name) for name in model.columns],
        "standardisation": None if plain else {"shift": shift, "std": std},
        "parameters": model.parameter_count,
    }


def _plain(value: Any) -> Any:
    """The value as JSON has it; what JSON cannot hold is left for json.dumps to refuse."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _is_direct(target: str) -> bool:
    """Whether the target is written to, not replaced: a descriptor, a pipe, a device."""
    if target in ("/dev/stdout", "/dev/stderr") or target.startswith(("/dev/fd/", "/proc/")):
        return True
    try:
        return not stat.S_ISREG(os.stat(target).st_mode)
    except OSError:
        return False


def _replace(target: str, content: memoryview) -> None:
    temporary = os.path.join(os.path.dirname(target), f".gmm-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


# ---- reading ----------------------------------------------------------------------------------------------


def load_model(path: AnyPath) -> tuple[GaussianMixture, dict[str, Any]]:
    """The model in a file and its metadata, as `save_model` got them, on the CPU in float64.

    Raises InputError in one line where the file is missing, cut short, not ours, of a newer format or holds
    code, or where its parts are not a mixture's or contradict each other.
    """
    return _read(path, _parse_model)


def read_metadata(path: AnyPath) -> dict[str, Any]:
    """The metadata of a model file, not compared with its tensors. Raises InputError as `load_model` does."""
    return _read(path, lambda file: _inspect(file)[0])


def _read(path: AnyPath, parse: Callable[[IO[bytes]], T]) -> T:
    shown = _shown(os.fspath(path))
    try:
        opened = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{shown}: cannot be read ({why}): give a model file that gmm fit wrote") from error
    with opened as file:
        try:
            return parse(file if file.seekable() else io.BytesIO(file.read()))
        except MemoryError:
            raise
        except _Newer as error:
            raise InputError(f"{shown}: {error}: upgrade gmmcli") from error
        except Exception as error:  # zipfile, json and torch raise some twenty kinds on what is not theirs
            known = isinstance(error, _Refusal | GmmError)
            why = str(error) if known else f"it is damaged or cut short ({type(error).__name__})"
            raise InputError(f"{shown}: not a gmm model file: {why}: give one that gmm fit wrote") from error


def _inspect(file: IO[bytes]) -> tuple[dict[str, Any], list[int]]:
    """The metadata, and the sizes in bytes of the tensors' records, of a zip that torch.load may be given."""
    signature = file.read(4)
    if signature != b"PK\x03\x04":  # torch.load would take other kinds by other ways
        _refuse("it is no zip archive" if signature else "it is empty")
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        root = names[0].partition("/")[0]
        if len({name.lower() for name in names}) < len(names):  # torch looks members up whatever their case
            _refuse("it holds two members of the same name")
        if any(not name.startswith(f"{root}/") for name in names) or f"{root}/data.pkl" not in names:
            _refuse("it is a zip archive of something else")
        if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
            _refuse("its members are compressed")
        if sum(member.file_size for member in members) > size:
            _refuse("its members are larger than the file")
        if archive.testzip() is not None:
            _refuse("its contents do not match their checksums")
        ours = f"{root}/{METADATA}" in names
        metadata: dict[str, Any] = {}
        if ours:
            metadata = json.loads(archive.read(f"{root}/{METADATA}"))
            _check_version(metadata)
        _check_pickle(archive.read(f"{root}/data.pkl"))
        if not ours:
            _refuse(f"it has no {METADATA}")
    return metadata, sorted(m.file_size for m in members if m.filename.startswith(f"{root}/data/"))


def _check_version(metadata: Any) -> None:
    version = metadata.get("format_version") if isinstance(metadata, dict) else None
    if type(version) is not int or version < 1:
        _refuse(f"its {METADATA} has no format_version")
    if version > FORMAT_VERSION:
        raise _Newer(f"of a newer format ({version}) than gmm {__version__} reads ({FORMAT_VERSION})")


def _check_pickle(data: bytes) -> None:
    """Refuses a pickle that names anything but what plain tensors are rebuilt with."""
    for opcode, argument, _ in pickletools.genops(data):
        foreign = opcode.name == "GLOBAL" and not _PLAIN_TENSOR.fullmatch(str(argument))
        if foreign or opcode.name in _OTHER_LOOKUPS:
            name = _brief(str(argument or opcode.name).replace(" ", "."))
            _refuse(f"it holds code or objects ({name}), which are never loaded")


def _parse_model(file: IO[bytes]) -> tuple[GaussianMixture, dict[str, Any]]:
    metadata, records = _inspect(file)
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    if type(state) is not dict or any(type(name) is not str for name in state):
        _refuse("it holds no tensors by name")
    family = state.get("family")
    if type(family) is not str or family not in FAMILIES:
        name = _brief(family) if type(family) is str else "without a name"
        _refuse(f"gmm {__version__} knows no family {name}")
    kind = get_family(family)
    tensors = ("weights", "means", kind.scale_name, "shift", "std")
    expected = {"format_version", "family", "columns", *tensors}
    for wrong, names in (("lacks", expected - set(state)), ("should not hold", set(state) - expected)):
        if names:
            _refuse(f"it {wrong} {_brief(', '.join(sorted(names)))}")
    for name in tensors:
        _check_tensor(name, state[name])
    if sorted(state[name].untyped_storage().nbytes() for name in tensors) != records:
        _refuse("its tensors are not of the sizes of their records")
    return _build(state, tensors, metadata), metadata


def _check_tensor(name: str, tensor: Any) -> None:
    """Refuses all but a float64 tensor that fills its storage: a view could declare any shape."""
    if type(tensor) is not Tensor or tensor.layout != torch.strided:
        _refuse(f"{name} is no tensor")
    if tensor.dtype != torch.float64:
        _refuse(f"{name} is of {tensor.dtype}, not torch.float64")
    if tensor.numel() * 8 != tensor.untyped_storage().nbytes() or not tensor.is_contiguous():
        _refuse(f"{name} of shape {tuple(tensor.shape)} is not of the size of its record")


def _build(state: dict[str, Any], tensors: tuple[str, ...], metadata: dict[str, Any]) -> GaussianMixture:
    """The model of checked tensors, when they are a mixture's and the metadata says the same."""
    weights, means, scale, shift, std = (state[name] for name in tensors)
    columns = state["columns"]
    if columns is not None and not (isinstance(columns, list) and all(type(name) is str for name in columns)):
        _refuse("columns is no list of names")
    model = GaussianMixture(weights, means, scale, state["family"], columns=columns, shift=shift, std=std)
    if model.dims < 1:
        _refuse("its means have no columns")
    with torch.no_grad():
        model.weights.copy_(weights)  # weights that sum to 1 within rounding only keep their bits
    facts = _facts(model)
    if state["format_version"] != metadata["format_version"]:
        _refuse("its metadata and its tensors disagree on format_version")
    for name, value in facts.items():
        if name != "program_version" and (name not in metadata or metadata[name] != value):
            _refuse(f"its metadata and its tensors disagree on {name}")
    return model


def _refuse(why: str) -> NoReturn:
    raise _Refusal(why)


def _shown(name: str) -> str:
    """The name as a line of text may hold it, escaped where it has line ends and the like."""
    return name if name.isprintable() else repr(name)


def _brief(name: str) -> str:
    """A name that comes from the file, cut when very long."""
    return _shown(name if len(name) <= _BRIEF else name[: _BRIEF - 1] + "…")
