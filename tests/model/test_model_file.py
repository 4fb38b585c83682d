"""Model files: bits and metadata that round-trip, other tools that read them, atomic writing, refusals."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import shutil
import stat
import subprocess
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gmmcli import __version__
from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.families import get_family
from gmmcli.families.base import Family
from gmmcli.model import model_file
from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.model_file import FORMAT_VERSION, load_model, save_model
from tests import reference
from tests.conftest import to_parameters

UNICODE = ["höhe [cm]", "重さ", 'a"b,\nc']


def build(name: str = "full", components: int = 2, dims: int = 3, **options: Any) -> GaussianMixture:
    p = to_parameters(get_family(name), reference.random_moments(name, components, dims))
    return GaussianMixture(p.weights, p.means, p.scale, name, **options)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    save_model(path, build(columns=["a", "b", "c"]), {"seed": 1})
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def refusal(path: Path) -> str:
    """What the one line says after the file's name."""
    with pytest.raises(InputError) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    return text.removeprefix(f"{path}: ")


def resave(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """The same file with another torch.save state, its metadata as before."""
    state = torch.load(path, weights_only=True)
    metadata = members(path)["archive/metadata.json"]
    changed = change(state)
    buffer = io.BytesIO()
    torch.save(state if changed is None else changed, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/metadata.json", metadata)
    path.write_bytes(buffer.getvalue())


def retell(path: Path, **changes: Any) -> None:
    """The same file with other metadata, its tensors as before."""
    contents = members(path)
    told = json.loads(contents["archive/metadata.json"]) | changes
    write(path, contents | {"archive/metadata.json": json.dumps(told).encode()})


# ---- round trips ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardised", [False, True])
def test_every_family_comes_back_bit_for_bit(family: Family, standardised: bool, tmp_path: Path):
    shift, std = [1e6, -1 / 3, 0.1], [1e-3, 1 / 3, 7.0]
    affine = {"shift": torch.tensor(shift).double(), "std": torch.tensor(std).double()}
    options: dict[str, Any] = affine if standardised else {}
    model = build(family.name, columns=UNICODE, **options)
    save_model(tmp_path / "m.pt", model, {"seed": 3})
    loaded, metadata = load_model(tmp_path / "m.pt")
    assert loaded.family == family.name
    assert loaded.columns == tuple(UNICODE)
    expected, actual = model.state_dict(), loaded.state_dict()
    assert expected.keys() == actual.keys() == {"weights", "inner_means", "inner_scale", "shift", "std"}
    for name, tensor in expected.items():
        assert actual[name].dtype == torch.float64
        assert actual[name].numpy().tobytes() == tensor.numpy().tobytes()
    assert metadata == {
        "format_version": FORMAT_VERSION,
        "program_version": __version__,
        "family": family.name,
        "components": 2,
        "dims": 3,
        "columns": UNICODE,
        "standardisation": {n: t.tolist() for n, t in affine.items()} if standardised else None,
        "background": None,
        "parameters": family.parameter_count(2, 3),
        "seed": 3,
    }


def test_weights_that_sum_to_one_only_nearly_keep_their_bits(tmp_path: Path):
    model = build()
    with torch.no_grad():
        model.weights.mul_(1 + 1e-9)  # the constructor would normalise these
    save_model(tmp_path / "m.pt", model, {})
    assert torch.equal(load_model(tmp_path / "m.pt")[0].weights, model.weights)


def test_models_without_names_in_float32_and_of_one_column(tmp_path: Path):
    model = build("diagonal", 1, 1).float()
    save_model(tmp_path / "m.pt", model, {})
    loaded, metadata = load_model(tmp_path / "m.pt")
    assert loaded.columns is None
    assert metadata["columns"] is None
    assert torch.equal(loaded.inner_means, model.inner_means.double())
    assert (metadata["components"], metadata["dims"]) == (1, 1)


def test_metadata_numbers_round_trip_and_those_not_finite_are_null(tmp_path: Path):
    given = {
        "numbers": (0.1, 1e-310, -0.0, 2**70, 1.7976931348623157e308, True, None),
        "not finite": [math.inf, -math.inf, math.nan, np.float32("nan"), {"deep": torch.tensor(math.inf)}],
        "tensor": torch.tensor([[1.5, math.nan]]),
        "numpy": {"one": np.float64(1 / 3), "two": np.int64(7), "many": np.arange(2), "flag": np.bool_(True)},
        "path": tmp_path,
        "name that is not UTF-8": os.fsdecode(b"\xff.csv"),
        "family": "the caller is wrong",
        "parameters": -1,
        3: "three",
    }
    save_model(tmp_path / "m.pt", build(), given)
    _, metadata = load_model(tmp_path / "m.pt")
    assert metadata["numbers"] == list(given["numbers"])
    assert math.copysign(1, metadata["numbers"][2]) == -1
    assert type(metadata["numbers"][3]) is int
    assert metadata["not finite"] == [None, None, None, None, {"deep": None}]
    assert metadata["tensor"] == [[1.5, None]]
    assert metadata["numpy"] == {"one": 1 / 3, "two": 7, "many": [0, 1], "flag": True}
    assert metadata["path"] == str(tmp_path)
    assert metadata["name that is not UTF-8"] == os.fsdecode(b"\xff.csv")
    assert metadata["family"] == "full"
    assert metadata["parameters"] == build().parameter_count
    assert metadata["3"] == "three"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path):
    for name in ("one.pt", "two.pt"):
        save_model(tmp_path / name, build(), {"seed": 1})
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()


def test_a_loaded_model_can_be_saved_again(saved: Path, tmp_path: Path):
    save_model(tmp_path / "again.pt", *load_model(saved))
    assert (tmp_path / "again.pt").read_bytes() == saved.read_bytes()


# ---- other tools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_opens_it_with_weights_only(family: Family, mmap: bool, tmp_path: Path):
    model = build(family.name, columns=UNICODE)
    save_model(tmp_path / "m.pt", model, {})
    state = torch.load(tmp_path / "m.pt", weights_only=True, mmap=mmap)
    assert torch.equal(state[family.scale_name], model.inner_scale)
    assert torch.equal(state["means"], model.inner_means)
    assert state["columns"] == UNICODE
    assert {name for name, value in state.items() if isinstance(value, torch.Tensor)} == {
        *("weights", "means", "shift", "std"),
        family.scale_name,
    }


def test_zip_tools_read_the_metadata(tmp_path: Path):
    path = tmp_path / "model.pt"
    save_model(path, build(columns=UNICODE), {"log_likelihood": -1 / 3})
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        member = archive.getinfo("archive/metadata.json")
        assert member.compress_type == zipfile.ZIP_STORED
        assert stat.S_IMODE(member.external_attr >> 16) == 0o644
        printed = archive.read(member)
    if shutil.which("unzip"):
        command = ["unzip", "-p", str(path), "*/metadata.json"]
        assert subprocess.run(command, capture_output=True, check=True).stdout == printed
    text = printed.decode()
    assert "höhe" in text  # to be found by grep, not as an escape
    assert json.loads(text)["columns"] == UNICODE
    assert json.loads(text)["log_likelihood"] == -1 / 3


# ---- whole or not at all ----------------------------------------------------------------------------------


def fail(error: BaseException) -> Callable[..., None]:
    def raises(*_: object, **__: object) -> None:
        raise error

    return raises


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left on device"), GmmError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_save_that_fails_leaves_the_old_file_alone(
    step: str, error: BaseException, expected: type, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    before = saved.read_bytes()
    monkeypatch.setattr(model_file.os, step, fail(error))
    with pytest.raises(expected) as caught:
        save_model(saved, build("diagonal"), {})
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]
    if isinstance(caught.value, GmmError):
        assert caught.value.exit_code == 1
        assert str(caught.value).startswith(f"{saved}: cannot be written (No space left on device)")


def test_metadata_or_parameters_that_cannot_be_saved_leave_nothing(tmp_path: Path):
    with pytest.raises(TypeError):
        save_model(tmp_path / "m.pt", build(), {"model": build()})
    model = build()
    with torch.no_grad():
        model.inner_means[0, 0] = math.nan
    with pytest.raises(InputError, match=r"m\.pt: not written: means: not all finite"):
        save_model(tmp_path / "m.pt", model, {})
    assert os.listdir(tmp_path) == []


def test_the_mode_is_the_umasks_and_that_of_an_older_file_stays(tmp_path: Path):
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "m.pt", build(), {})
        assert stat.S_IMODE((tmp_path / "m.pt").stat().st_mode) == 0o640
        (tmp_path / "m.pt").chmod(0o604)
        save_model(tmp_path / "m.pt", build("tied"), {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m.pt").stat().st_mode) == 0o604
    assert load_model(tmp_path / "m.pt")[0].family == "tied"


def test_a_link_stays_a_link(saved: Path, tmp_path: Path):
    (tmp_path / "link.pt").symlink_to(saved.name)
    save_model(tmp_path / "link.pt", build("tied"), {})
    assert (tmp_path / "link.pt").is_symlink()
    assert load_model(saved)[0].family == "tied"


def test_a_pipe_is_written_to_and_read_from(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    model = build()
    writer = threading.Thread(target=save_model, args=(tmp_path / "pipe", model, {}))
    writer.start()
    loaded, _ = load_model(tmp_path / "pipe")
    writer.join()
    assert torch.equal(loaded.inner_scale, model.inner_scale)
    assert os.listdir(tmp_path) == ["pipe"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_device_stays_a_device():
    save_model("/dev/null", build(), {})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_whose_reader_has_gone_is_told_as_such():
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        save_model(f"/dev/fd/{writer}", build(), {})
    os.close(writer)


def test_targets_that_cannot_be_are_usage_errors(tmp_path: Path):
    (tmp_path / "file").touch()
    for target in (tmp_path / "absent" / "m.pt", tmp_path / "file" / "m.pt"):
        with pytest.raises(UsageError, match=r"there is no folder .*: create it first"):
            save_model(target, build(), {})
    for target in (str(tmp_path), f"{tmp_path}/new/", ""):
        with pytest.raises(UsageError, match="this is a folder"):
            save_model(target, build(), {})
    with pytest.raises(UsageError) as caught:
        save_model(tmp_path / "two\nlines" / "m.pt", build(), {})
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_a_folder_without_permission_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_file.os, "access", lambda *_: False)  # root, who runs some tests, has them all
    with pytest.raises(UsageError, match="no permission"):
        save_model(tmp_path / "m.pt", build(), {})


# ---- refusals ---------------------------------------------------------------------------------------------


class Code:
    """Its unpickling would create a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_never_run(protocol: int, saved: Path, tmp_path: Path):
    marker = tmp_path / "marker"
    contents = members(saved)
    write(saved, contents | {"archive/data.pkl": pickle.dumps({"weights": Code(marker)}, protocol)})
    assert "it holds code or objects" in refusal(saved)
    torch.save(Code(marker), saved, pickle_protocol=protocol)
    assert "it holds code or objects" in refusal(saved)
    torch.save(Code(marker), saved, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert "it is no zip archive" in refusal(saved)
    saved.write_bytes(pickle.dumps(Code(marker), protocol))
    assert "it is no zip archive" in refusal(saved)
    assert not marker.exists()
    pickle.loads(saved.read_bytes())  # it would have
    assert marker.exists()


def test_objects_are_refused_by_name_even_where_torch_would_load_them(saved: Path):
    resave(saved, lambda state: state | {"more": nn.Parameter(torch.ones(2))})
    assert len(torch.load(saved, weights_only=True)["more"]) == 2
    assert "torch._utils._rebuild_parameter" in refusal(saved)
    torch.save(nn.Linear(2, 2), saved)
    assert refusal(saved) == (
        "not a gmm model file: it holds code or objects (torch.nn.modules.linear.Linear), "
        "which are never loaded: give one that gmm fit wrote"
    )


def test_files_that_are_something_else(tmp_path: Path):
    path = tmp_path / "other"
    assert refusal(path) == "cannot be read (No such file or directory): give a model file that gmm fit wrote"
    assert refusal(tmp_path).startswith("cannot be read (Is a directory)")
    path.touch()
    assert refusal(path) == "not a gmm model file: it is empty: give one that gmm fit wrote"
    path.write_text("a,b\n1,2\n")
    assert "it is no zip archive" in refusal(path)
    write(path, {"xl/workbook.xml": b"<xml/>"}, zipfile.ZIP_DEFLATED)
    assert "a zip archive of something else" in refusal(path)
    torch.save(nn.Linear(2, 2).state_dict(), path)
    assert refusal(path) == "not a gmm model file: it has no metadata.json: give one that gmm fit wrote"


def test_every_cut_and_every_flipped_member_is_refused(saved: Path):
    whole = saved.read_bytes()
    for size in (3, 5, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        saved.write_bytes(whole[:size])
        assert "not a gmm model file" in refusal(saved)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        contents = {member.filename: archive.read(member) for member in archive.infolist()}
    for name, content in contents.items():
        place = whole.index(content, whole.index(name.encode()))
        flipped = bytearray(whole)
        flipped[place + len(content) - 1] ^= 1
        saved.write_bytes(flipped)
        assert "not match their checksums" in refusal(saved), name
    saved.write_bytes(whole)
    load_model(saved)


def test_no_damage_gives_another_model_or_another_error(saved: Path):
    whole, model = saved.read_bytes(), load_model(saved)[0]
    pickled = members(saved)["archive/data.pkl"]
    refused = 0
    for place in range(0, len(whole), 23):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        saved.write_bytes(flipped)
        refused += is_refused(saved, model)
    assert refused > 50
    saved.write_bytes(whole)
    contents = members(saved)
    for place in range(0, len(pickled), 3):  # with checksums that match
        flipped = bytearray(pickled)
        flipped[place] ^= 1 << place % 8
        write(saved, contents | {"archive/data.pkl": bytes(flipped)})
        refused += is_refused(saved, model)
    assert refused > 100


def is_refused(path: Path, model: GaussianMixture) -> bool:
    """Whether the file is refused in one line; if not, it must give the model."""
    line, loaded = None, model
    try:
        loaded, _ = load_model(path)
    except InputError as error:
        line = str(error)
    assert line is None or line.isprintable()
    assert loaded.columns == model.columns
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    return line is not None


def test_a_newer_format_says_to_upgrade(saved: Path):
    retell(saved, format_version=FORMAT_VERSION + 1, family="of the future")
    known = f"than gmm {__version__} reads ({FORMAT_VERSION})"
    assert refusal(saved) == f"of a newer format ({FORMAT_VERSION + 1}) {known}: upgrade gmmcli"
    for wrong in (0, -1, True, 1.0, "1", None):
        retell(saved, format_version=wrong)
        assert "no format_version" in refusal(saved)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000, b'{"format_version": 1', b'{"a": 1}']
)
def test_metadata_that_is_no_json_object_is_refused(text: bytes, saved: Path):
    write(saved, members(saved) | {"archive/metadata.json": text})
    assert "not a gmm model file" in refusal(saved)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"components": 1_000_000_000}, "components"),
        ({"dims": 4}, "dims"),
        ({"family": "tied"}, "family"),
        ({"columns": ["a", "b", "x"]}, "columns"),
        ({"columns": None}, "columns"),
        ({"standardisation": {"shift": [0, 0, 0], "std": [1, 1, 1]}}, "standardisation"),
        ({"parameters": 5}, "parameters"),
    ],
)
def test_metadata_that_disagrees_with_the_tensors_is_refused(changes: dict[str, Any], name: str, saved: Path):
    retell(saved, **changes)
    assert f"disagree on {name}:" in refusal(saved)


def test_metadata_of_another_program_version_or_with_more_in_it_is_fine(saved: Path):
    retell(saved, program_version="99.0", more=1)
    assert load_model(saved)[1]["program_version"] == "99.0"


def changed(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        old = state[name]
        state[name] = value(old) if callable(value) else value

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: s["weights"], "it holds no tensors by name"),
        (lambda s: {k: v for k, v in s.items() if k != "weights"}, "it lacks weights"),
        (lambda s: s | {"more": 1}, "it should not hold more"),
        (
            lambda s: {k: v for k, v in s.items() if k != "scale_tril"} | {"variances": s["scale_tril"]},
            "lacks scale_tril",
        ),
        (lambda s: s | {7: 1}, "it holds no tensors by name"),
        (changed("family", "cubic"), "knows no family cubic"),
        (changed("family", 3), "knows no family"),
        (changed("family", "a\n" * 1000), "knows no family a\\n"),
        (changed("family", "diagonal"), "it lacks variances"),
        (changed("family", "tied"), "scale_tril: shape (2, 3, 3): expected (1, 3, 3) of family tied"),
        (changed("format_version", 2), "disagree on format_version"),
        (changed("weights", [0.5, 0.5]), "weights is no tensor"),
        (changed("weights", lambda w: w.float()), "weights is of torch.float32, not torch.float64"),
        (changed("means", lambda m: m.long()), "means is of torch.int64"),
        (changed("weights", lambda w: w[:, None].clone()), "expected (K,) and (K, D)"),
        (changed("means", lambda m: m[:1].clone()), "expected (K,) and (K, D)"),
        (changed("scale_tril", lambda t: t[:, :2].clone()), "scale_tril: shape (2, 2, 3)"),
        (changed("scale_tril", lambda t: t.mT.clone()), "not of the size of its record"),  # by its strides
        (changed("scale_tril", lambda t: t.mT.contiguous()), "not lower triangular"),
        (changed("scale_tril", lambda t: -t), "not positive definite"),
        (changed("weights", lambda w: w * 2), "sum to 1"),
        (changed("weights", lambda w: w - 2 * w.amin() * torch.tensor([1.0, -1.0]).double()), "non-negative"),
        (changed("means", lambda m: m / 0), "means: not all finite"),
        (changed("shift", lambda s: s + math.nan), "shift and std: must be finite"),
        (changed("std", lambda s: -s), "shift and std: must be finite, and std positive"),
        (changed("std", lambda s: s[:2].clone()), "shift and std: must have shape (3,)"),
        (changed("std", lambda s: s * 2), "disagree on standardisation"),
        (changed("columns", ["a", "b"]), "column names: 2 names for 3 columns"),
        (changed("columns", ["a", "b", 3]), "columns is no list of names"),
        (changed("columns", "abc"), "columns is no list of names"),
        (changed("columns", ["a", "c", "b"]), "disagree on columns"),
        (changed("means", lambda m: m[:, :1].clone().expand(2, 10**9)), "not of the size of its record"),
        (changed("means", lambda m: m.to_sparse()), "it holds code or objects"),
    ],
)
def test_tensors_that_are_not_the_models_are_refused(change: Callable[..., Any], why: str, saved: Path):
    resave(saved, change)
    line = refusal(saved)
    assert why in line
    assert len(line) < 300


def test_two_tensors_of_one_record_are_refused(saved: Path):
    def share(state: dict[str, Any]) -> None:
        state["std"] = state["shift"]

    resave(saved, share)
    assert "not of the sizes of their records" in refusal(saved)


def test_a_pickle_that_declares_more_numbers_than_there_are_is_refused(saved: Path):
    contents = members(saved)
    data = contents["archive/data.pkl"]
    assert data.count(b"K\x02tq") == 1  # numbers of the storage of the weights, and their shape
    data = data.replace(b"K\x02tq", b"J\x00\x00\x10\x00tq").replace(b"K\x02\x85q", b"J\x00\x00\x10\x00\x85q")
    write(saved, contents | {"archive/data.pkl": data})
    assert "not a gmm model file" in refusal(saved)


@pytest.mark.parametrize("name", ["metadata.json", "data.pkl", "DATA.PKL"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(name: str, saved: Path):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(f"archive/{name}", b"{}")
    assert "two members of the same name" in refusal(saved)


def test_compressed_members_are_refused_unread(saved: Path):
    write(saved, members(saved) | {"archive/data/5": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert saved.stat().st_size < 100_000
    assert "its members are compressed" in refusal(saved)


def test_members_of_impossible_sizes_are_refused(saved: Path):
    whole = saved.read_bytes()
    for member in (b"archive/data/0", b"archive/metadata.json"):
        sizes = whole.rindex(member) - 26  # in the central directory: compressed, then plain
        assert whole[sizes - 20 : sizes - 16] == b"PK\x01\x02"
        saved.write_bytes(whole[:sizes] + (2**31).to_bytes(4, "little") * 2 + whole[sizes + 8 :])
        assert "its members are larger than the file" in refusal(saved)


@pytest.mark.filterwarnings("error")
def test_a_background_is_saved_and_loaded_without_a_warning(tmp_path: Path):
    p = to_parameters(get_family("full"), reference.random_moments("full", 2, 3))
    box, background = torch.tensor([[-9.0] * 3, [9.0] * 3]).double(), torch.tensor(0.1).double()
    model = GaussianMixture(0.9 * p.weights, p.means, p.scale, "full", background=background, box=box)
    model.requires_grad_(True)
    save_model(tmp_path / "m.pt", model, {})
    assert load_model(tmp_path / "m.pt")[1]["background"] == pytest.approx(0.1)


def test_loading_changes_nothing_global(saved: Path, recwarn: pytest.WarningsRecorder):
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    load_model(saved)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not recwarn.list
