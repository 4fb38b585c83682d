"""Checks of a foreign model file before torch may load it, and of its tensors before they become a mixture.

A file is foreign until proven ours: nothing in it is run, its pickle may name no class but those of a plain
tensor, and no size that it declares is believed.
"""

from __future__ import annotations

import json
import os
import pickletools
import re
import zipfile
from typing import IO, Any, NoReturn

import torch
from torch import Tensor

from gmmcli import __version__
from gmmcli.errors import InputError
from gmmcli.storage.names import one_line

FORMAT_VERSION = 1
METADATA = "metadata.json"
REMEDY = "give one that gmm fit wrote"

_PLAIN_TENSOR = re.compile(r"torch\._utils _rebuild_tensor_v2|torch \w+Storage|collections OrderedDict")
_OTHER_LOOKUPS = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}  # opcodes that torch.save never writes
_BRIEF = 100  # characters of a name from the file that a message repeats


class Refusal(InputError):
    """A file is not one of ours, or of a newer format; its path is not known here."""


def refuse(why: str) -> NoReturn:
    """Raises Refusal."""
    raise Refusal(f"not a gmm model file: {why}", remedy=REMEDY)


def inspect(file: IO[bytes]) -> tuple[dict[str, Any], list[int]]:
    """The metadata, and the sizes in bytes of the tensors' records, of a zip that torch.load may be given."""
    signature = file.read(4)
    if signature != b"PK\x03\x04":  # torch.load would take other kinds by other ways
        refuse("it is no zip archive" if signature else "it is empty")
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        root = names[0].partition("/")[0]
        if len({name.lower() for name in names}) < len(names):  # torch looks members up whatever their case
            refuse("it holds two members of the same name")
        if any(not name.startswith(f"{root}/") for name in names) or f"{root}/data.pkl" not in names:
            refuse("it is a zip archive of something else")
        if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
            refuse("its members are compressed")
        if sum(member.file_size for member in members) > size:
            refuse("its members are larger than the file")
        if archive.testzip() is not None:
            refuse("its contents do not match their checksums")
        ours = f"{root}/{METADATA}" in names
        metadata: dict[str, Any] = {}
        if ours:
            metadata = json.loads(archive.read(f"{root}/{METADATA}"))
            _check_version(metadata)
        _check_pickle(archive.read(f"{root}/data.pkl"))
        if not ours:
            refuse(f"it has no {METADATA}")
    return metadata, sorted(m.file_size for m in members if m.filename.startswith(f"{root}/data/"))


def _check_version(metadata: Any) -> None:
    version = metadata.get("format_version") if isinstance(metadata, dict) else None
    if type(version) is not int or version < 1:
        refuse(f"its {METADATA} has no format_version")
    if version > FORMAT_VERSION:
        raise Refusal(
            f"of a newer format ({version}) than gmm {__version__} reads ({FORMAT_VERSION})", remedy="upgrade gmmcli"
        )


def _check_pickle(data: bytes) -> None:
    """Refuses a pickle that names anything but what plain tensors are rebuilt with."""
    for opcode, argument, _ in pickletools.genops(data):
        foreign = opcode.name == "GLOBAL" and not _PLAIN_TENSOR.fullmatch(str(argument))
        if foreign or opcode.name in _OTHER_LOOKUPS:
            name = brief(str(argument or opcode.name).replace(" ", "."))
            refuse(f"it holds code or objects ({name}), which are never loaded")


def check_tensor(name: str, tensor: Any) -> None:
    """Refuses all but a float64 tensor that fills its storage: a view could declare any shape."""
    if type(tensor) is not Tensor or tensor.layout != torch.strided:
        refuse(f"{name} is no tensor")
    if tensor.dtype != torch.float64:
        refuse(f"{name} is of {tensor.dtype}, not torch.float64")
    if tensor.numel() * 8 != tensor.untyped_storage().nbytes() or not tensor.is_contiguous():
        refuse(f"{name} of shape {tuple(tensor.shape)} is not of the size of its record")


def brief(name: str) -> str:
    """A name that comes from the file, cut when very long."""
    return one_line(name, _BRIEF)
