import contextlib
import gzip
import http.server
import io
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, expand, header
from gmmcli.data.scratch import Scratch
from gmmcli.data.sink import Sink
from gmmcli.data.source import Source
from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.storage.files import PendingFile, replace
from gmmcli.storage.names import masked
from gmmcli.storage.remote import locate_remote
from tests.data.conftest import cells
from tests.s3 import S3

TEXT = b"a,b\n1,2\n3,4.5\n5,6\n"
ROWS = [[1.0, 2.0], [3.0, 4.5], [5.0, 6.0]]


def inputs(paths: list[str]) -> list[Input]:
    return expand(paths, ReadOptions(), None, Scratch())


def labels(paths: list[str]) -> list[str]:
    return [one.label for one in inputs(paths)]


def write_then_fail(target: str) -> None:
    """Writes a table, then fails for one of other columns, as a command would in the midst of its work."""
    with Sink(target) as sink:
        sink.write(pa.table({"a": [1, 2]}))
        sink.write(pa.table({"b": [1, 2]}))


@pytest.mark.parametrize(
    "name",
    ["t.csv", "t.tsv.gz", "t.json", "t.json.zst", "t.parquet", "t.parquet.gz", "t.arrow", "t.arrows", "noname"],
)
def test_every_format_is_read(name: str, s3: S3, tmp_path: Path):
    local = str(tmp_path / name)
    with Sink(local, None if "." in name else "parquet") as sink:
        sink.write(pa.table({"a": [1, 3, 5], "b": [2.0, 4.5, 6.0]}))
    source = Source([s3.put(f"folder/{name}", Path(local))])
    assert cells(source) == cells(Source([local])) == ROWS
    assert source.label == s3.address(f"folder/{name}")


@pytest.mark.parametrize(
    "name", ["with space.csv", "50%20.csv", "größe.csv", "a+b&c.csv", "q?.csv", "[1].csv", "a#b.csv"]
)
def test_names_are_taken_as_they_are(name: str, s3: S3):
    assert cells(Source([s3.put(name, TEXT)])) == ROWS


TREE = [
    "a.csv",
    "b.csv.gz",
    "c.parquet",
    ".hidden.csv",
    "_SUCCESS",
    "notes.txt",
    "x/a.csv",
    "x/b.csv",
    "x/y/a.csv",
    "z/a.csv",
]
TREE += ["x/.d/a.csv", "part-1.csv", "part-2.csv", "part-10.csv"]


@pytest.fixture
def tree(s3: S3, tmp_path: Path) -> Path:
    """The same files here and in the bucket."""
    table = pa.table({"a": [1, 3, 5], "b": [2.0, 4.5, 6.0]})
    for name in TREE:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(table, path)
        else:
            path.write_bytes(gzip.compress(TEXT) if name.endswith(".gz") else TEXT)
        s3.put(f"in/{name}", path)
    return tmp_path / "in"


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/",
        "/x",
        "/x/",
        "/*.csv",
        "/part-?.csv",
        "/part-[12]*.csv",
        "/*/a.csv",
        "/x/*/a.csv",
        "/**/a.csv",
        "/**/*.csv",
        "/x/**",
        "/**/x/*.csv",
        "/.*.csv",
        "/notes.txt",
        "/**/y/**/a.csv",
    ],
)
def test_folders_and_patterns_stand_for_the_same_files_as_here(pattern: str, tree: Path, s3: S3):
    here = [label.removeprefix(f"{tree}/") for label in labels([f"{tree}{pattern}"])]
    there = inputs([s3.address(f"in{pattern}")])
    assert [one.label.removeprefix(s3.address("in/")) for one in there] == here
    assert all(one.remote for one in there)
    options = labels([s3.address(f"in{pattern}") + s3.options])
    assert options == [one.label + s3.options for one in there]
    assert cells(Source([f"{tree}{pattern}"]), ["a", "b"]) == cells(Source([s3.address(f"in{pattern}")]), ["a", "b"])


def test_several_addresses_are_one_table(s3: S3, tmp_path: Path):
    local = tmp_path / "c.csv"
    local.write_bytes(TEXT)
    source = Source([s3.put("a.csv", TEXT), str(local), s3.put("b.csv", TEXT)])
    assert cells(source) == ROWS * 3
    assert source.label == "3 files"


def test_options_in_the_address_need_no_environment(s3: S3, monkeypatch: pytest.MonkeyPatch):
    s3.put("a.csv", TEXT)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    source = Source([f"s3://an-id:SECRET@{s3.bucket}/*.csv{s3.options}"])
    assert cells(source) == ROWS
    assert source.label == f"s3://***@{s3.bucket}/a.csv{s3.options}"


def test_of_parquet_only_what_is_asked_for_is_transferred(s3: S3):
    rows = np.random.default_rng(0).normal(size=(20, 20_000))
    file = io.BytesIO()
    pq.write_table(pa.table({f"x{d}": row for d, row in enumerate(rows)}), file, row_group_size=5_000)
    source = Source([s3.put("wide.parquet", file.getvalue())])
    s3.forget()
    assert len(cells(source, ["x3"])) == 20_000
    assert s3.sent < len(file.getvalue()) / 15
    assert len(s3.requests) <= 1 + 4  # its size, then a request for each row group


def test_text_is_transferred_once_for_its_numbers(s3: S3):
    text = "a,b\n" + "".join(f"{n}.5,{n % 7}\n" for n in range(200_000))
    address = s3.put("long.csv", text.encode())
    s3.forget()
    source = Source([address])
    assert source.select().used == ("a", "b")
    assert sum(len(block.x) for block in source.blocks(["a", "b"])) == 200_000
    assert s3.sent < 1.1 * len(text)


def test_the_order_is_that_of_the_names_however_many_are_read_at_a_time(s3: S3):
    for n in range(20):
        s3.put(f"many/{n:02}.csv", b"a\n" + b"%d\n" % n * (20 - n))
    assert cells(Source([s3.address("many/")])) == [[float(n)] for n in range(20) for _ in range(20 - n)]
    s3.put("many/07.csv", b"a\nx\n")
    s3.put("many/08.csv", b"a,a\n1,2\n")
    with pytest.raises(InputError, match=r"08\.csv: several columns are called a"):
        Source([s3.address("many/")])


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://{bucket}/none.csv", "no such file: check the name and the folder"),
        ("s3://{bucket}/none/", "no such file: check the name and the folder"),
        ("s3://{bucket}/*.csv", "no file matches: check the pattern and the folder"),
        ("s3://{bucket}", "no data files in this folder: name the files, whatever their suffix"),
        ("s3://no-bucket/a.csv", "there is no bucket no-bucket: check its name"),
        ("s3://no-bucket/*.csv", "there is no bucket no-bucket: check its name"),
        ("s3://{bucket}/a.csv?nonsense=1", "cannot be opened: Unexpected query parameter in S3 URI: 'nonsense'"),
        ("s3://{bucket}//a.csv", "cannot be opened: Empty path component"),
        ("s3:///a.csv", "cannot be opened: Missing bucket name"),
        ("memory://none.csv", "no such file: check the name and the folder"),
        ("file:///none/a.csv", "no such file: check the name and the folder"),
    ],
)
def test_what_is_missing_or_wrong(address: str, reason: str, s3: S3):
    s3.put("notes.txt", b"")
    address = address.format(bucket=s3.bucket)
    with pytest.raises(InputError) as caught:
        Source([address])
    label = address.replace("nonsense=1", "nonsense=***")
    assert str(caught.value).startswith(f"{label}: {reason}")


@pytest.mark.parametrize("address", ["s3://K:SEC/RET@b/a.csv", "s3://K:SEC%%RET@b/a.csv", "s3://K:SECRET@b b/a.csv"])
def test_an_address_that_is_none(address: str):
    with pytest.raises(UsageError, match=r"s3://\*\*\*@b.*/a.csv: not an address: .* as %2F for /") as caught:
        Source([address])
    assert "SEC" not in str(caught.value) + repr(caught.value.__cause__)


def test_empty_and_damaged_files(s3: S3):
    with pytest.raises(InputError, match=r"e\.csv: the file is empty"):
        Source([s3.put("e.csv", b"")])
    with pytest.raises(InputError, match=r"d\.parquet: cannot be read as parquet"):
        Source([s3.put("d.parquet", b"PAR1 and no more")])


def test_keys_that_the_server_does_not_know(s3: S3):
    address = s3.put("a.csv", TEXT)
    s3.require_known_keys(True)
    try:
        with pytest.raises(InputError, match=r"a\.csv: access denied: check the credentials"):
            Source([address])
        with pytest.raises(UsageError, match=r"b\.csv: access denied: check the credentials"):
            Sink(s3.address("b.csv"))
    finally:
        s3.require_known_keys(False)


def test_a_file_that_goes_while_it_is_read(s3: S3):
    source = Source([s3.put("a.csv", TEXT)])
    s3._client.delete_object(Bucket=s3.bucket, Key="a.csv")
    with pytest.raises(InputError, match=r"a\.csv: no such file"):
        cells(source)


def test_names_of_columns_are_not_fetched_for_a_look(s3: S3):
    address = s3.put("a.csv", TEXT)
    s3.forget()
    assert header(address) == ()
    assert not s3.requests


# ---- other stores -----------------------------------------------------------------------------------------


@pytest.fixture
def memory():
    """fsspec's file system in memory, empty again afterwards."""
    import fsspec

    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def test_fsspec_is_taken_for_what_pyarrow_does_not_know(memory):
    memory.pipe({"/in/a.csv": TEXT, "/in/b.csv": TEXT, "/in/x/c.csv": TEXT})
    assert cells(Source(["memory://in/a.csv"])) == ROWS
    assert labels(["memory://in/"]) == [
        "memory://in/a.csv",
        "memory://in/b.csv",
    ]
    assert labels(["memory://in/*/*.csv"]) == ["memory://in/x/c.csv"]


def test_files_within_an_archive(memory):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("b.csv", "a.csv", "notes.txt", "x/c.csv"):
            archive.writestr(name, TEXT)
    memory.pipe("/in/all.zip", file.getvalue())
    assert cells(Source(["zip://x/c.csv::memory://in/all.zip"])) == ROWS
    for name, expected in (("*.csv", ["a.csv", "b.csv"]), ("", ["a.csv", "b.csv"]), ("x/*", ["x/c.csv"])):
        found = labels([f"zip://{name}::memory://in/all.zip"])
        assert found == [f"zip://{one}::memory://in/all.zip" for one in expected]
    with pytest.raises(InputError, match=r"zip://none\.csv::memory://in/all\.zip: no such file"):
        Source(["zip://none.csv::memory://in/all.zip"])
    with pytest.raises(InputError, match=r"none\.zip: no such file"):
        Source(["zip://a.csv::memory://in/none.zip"])


def test_fsspec_writes_whole_or_not_at_all(memory):
    with Sink("memory://out/a.parquet") as sink:
        sink.write(pa.table({"a": [1, 2]}))
    assert cells(Source(["memory://out/a.parquet"])) == [[1.0], [2.0]]
    memory.pipe("/out/a.csv", b"old")
    with pytest.raises(InputError):
        write_then_fail("memory://out/a.csv")
    assert memory.cat("/out/a.csv") == b"old"
    with Sink("memory://out/a.csv") as sink:
        sink.write(pa.table({"a": [1, 2]}))
    assert memory.cat("/out/a.csv") == b"a\n1\n2\n"


def test_files_over_http(s3: S3):
    s3.put("a.csv", TEXT, public=True)
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 3, 5], "b": [2.0, 4.5, 6.0]}), file)
    s3.put("a.parquet", file.getvalue(), public=True)
    s3.put("private.csv", TEXT)
    web = f"{s3.url}/{s3.bucket}"
    assert cells(Source([f"{web}/a.csv"])) == cells(Source([f"{web}/a.parquet"])) == ROWS
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        Source([f"{web}/none.csv"])
    with pytest.raises(InputError, match=r"private\.csv: access denied"):
        Source([f"{web}/private.csv"])
    with pytest.raises(GmmError, match=r"a\.csv: cannot be reached") as caught:
        Source(["http://127.0.0.1:1/a.csv"])
    assert caught.value.exit_code == 1
    with pytest.raises(UsageError, match=r"b\.csv: over HTTP files can only be read"):
        Sink(f"{web}/b.csv")


class NoRanges(http.server.BaseHTTPRequestHandler):
    """What a program that makes its answer as it is asked does: all of it, of an unknown or a known length."""

    files: ClassVar[dict[str, bytes]] = {}
    answers: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        content = self.files[self.path.partition("?")[0]]
        self.answers.append(self.command)
        step = 997 if "slowly" in self.path else 1 << 16
        self.send_response(200)
        if "length" in self.path:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):  # of a reader of its beginning
                for first in range(0, len(content) // (2 if "cut" in self.path else 1), step):
                    self.wfile.write(content[first : first + step])
                    time.sleep(0.01 * (step == 997))

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def web_server(files: dict[str, bytes]) -> Iterator[str]:
    """Its address."""
    NoRanges.files = files
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoRanges) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_text_that_comes_in_small_parts():
    names = [f"größe{d}" for d in range(800)]
    text = "\n".join([",".join(names), *[",".join(["1.5"] * 800)] * 2]).encode()
    with web_server({"/a.csv": text, "/b.csv": gzip.compress(text)}) as web:
        for name in ("a.csv", "b.csv"):
            source = Source([f"{web}/{name}?slowly=1"])
            assert source.names == tuple(names)
            assert cells(source) == [[1.5] * 800] * 2


def test_a_connection_that_breaks_is_one_line():
    with web_server({"/a.csv": b"a\n" + b"1.5\n" * 1_000_000}) as web:
        source = Source([f"{web}/a.csv?length=1&cut=1"])
        with pytest.raises(InputError, match=r"a\.csv\?.*: cannot be read to its end: Response payload [^\n]*$"):
            cells(source)


@pytest.mark.parametrize("options", ["?a=1", "?length=1"])
def test_web_servers_that_answer_in_whole_only(options: str):
    file = io.BytesIO()
    pq.write_table(pa.table({"a": np.arange(3.0)}), file)
    rows = 1_500_000
    with web_server({"/long.csv": b"a\n" + b"12.5\n" * rows, "/a.parquet": file.getvalue()}) as web:
        assert cells(Source([f"{web}/a.parquet{options}"])) == [[0.0], [1.0], [2.0]]
        NoRanges.answers.clear()
        assert sum(len(block.x) for block in Source([f"{web}/long.csv{options}"]).blocks(["a"])) == rows
        assert NoRanges.answers.count("GET") <= 7  # three readings, each after a look for its size, and that once


@pytest.mark.parametrize(
    ("address", "kind", "path"),
    [
        ("s3a://b/x/y?region=eu-west-1", "s3", "b/x/y"),
        ("s3n://b/?region=eu-west-1", "s3", "b"),
        ("S3://b/x?region=eu-west-1", "s3", "b/x"),
        ("gs://b/x", "gcs", "b/x"),
        ("gcs://anonymous@b/x/?project_id=p", "gcs", "b/x"),
        ("abfss://c@account.dfs.core.windows.net/x/y", "abfs", "c/x/y"),
        ("abfs://account.blob.core.windows.net/c/x", "abfs", "c/x"),
        ("file:///x/y%20z", "local", "/x/y z"),
        ("memory://x/y", "py::fsspec+memory", "/x/y"),
        ("simplecache::memory://x/y", "py::fsspec+simplecache", "/x/y"),
    ],
)
def test_what_an_address_names(address: str, kind: str, path: str):
    location = locate_remote(address)
    assert (location.filesystem.type_name, location.path, location.name) == (kind, path, masked(address))


def test_hadoop_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    def fails(address: str) -> None:
        raise OSError("Unable to load libjvm\n/usr/lib/jvm: no such file\n")

    monkeypatch.setattr("gmmcli.storage.remote._root", fails)
    with pytest.raises(UsageError, match=r"hdfs://h:1/a\.csv: hdfs needs Java and .*: Unable to load libjvm$"):
        Source(["hdfs://h:1/a.csv"])


def test_fsspec_is_taken_where_pyarrow_was_built_without_a_scheme(monkeypatch: pytest.MonkeyPatch):
    def fails(address: str) -> None:
        raise pa.ArrowNotImplementedError("built without it")

    monkeypatch.setattr("gmmcli.storage.remote._root", fails)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r"gs://b/a\.csv: not all is installed that this scheme needs: .*gcsfs"):
        Source(["gs://b/a.csv"])


@pytest.mark.parametrize("scheme", ["nonsense", "x-y.z+1"])
def test_unknown_schemes(scheme: str):
    with pytest.raises(UsageError, match="unknown scheme: s3, gs, abfs, hdfs"):
        Source([f"{scheme}://a/b.csv"])
    with pytest.raises(UsageError, match="unknown scheme: s3, gs, abfs, hdfs"):
        Sink(f"{scheme}://a/b.csv")


def test_without_fsspec_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    said = r"memory://a\.csv: not all is installed .*fsspec.*: install it; pip install 'gmmcli\[remote\]'"
    with pytest.raises(UsageError, match=said):
        Source(["memory://a.csv"])


def test_without_what_a_scheme_needs_one_line_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(UsageError, match=r"sftp://h/a\.csv: not all is installed that this scheme needs: .*paramiko"):
        Source(["sftp://h/a.csv"])


# ---- rows out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.json", "a.parquet", "a.arrow"])
def test_what_is_written_is_read_back(name: str, s3: S3):
    with Sink(s3.address(f"new/{name}") + s3.options) as sink:
        for _ in range(2):
            sink.write(pa.table({"a": [1, 2]}))
        assert not s3.listed()
    assert s3.listed() == [f"new/{name}"]
    assert cells(Source([s3.address(f"new/{name}")])) == [[1.0], [2.0]] * 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("s3://{bucket}/folder", "this is a folder: name a file in it, such as out.csv"),
        ("s3://{bucket}/a/", "this is a folder: name a file in it, such as out.csv"),
        ("s3://{bucket}", "this is a folder: name a file in it, such as out.csv"),
        ("s3://no-bucket/a.csv", "there is no bucket no-bucket: create it first"),
        ("file:///no/folder/a.csv", "there is no folder /no/folder: create it first"),
        ("s3://{bucket}/a.xyz", "no format by this suffix"),
    ],
)
def test_targets_that_cannot_be(name: str, reason: str, s3: S3):
    s3.put("folder/a.csv", TEXT)
    with pytest.raises(UsageError, match=reason):
        Sink(name.format(bucket=s3.bucket))


def test_an_error_while_rows_are_written_leaves_what_was_there(s3: S3, temporary: Path):
    s3.put("a.csv", b"old")
    with pytest.raises(InputError):
        write_then_fail(s3.address("a.csv"))
    assert s3.get("a.csv") == b"old"
    assert not list(temporary.iterdir())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


class Breaks(io.BytesIO):
    """A file whose second part is not there any more."""

    def __init__(self, error: BaseException):
        super().__init__(bytes(20 << 20))
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise self._error
        return super().read(size)


@pytest.mark.parametrize("place", ["s3", "memory", "file"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_an_upload_that_ends_early_leaves_what_was_there(
    place: str, error: BaseException, s3: S3, memory, temporary: Path, tmp_path: Path
):
    s3.put("a.csv", b"old")
    memory.pipe("/a.csv", b"old")
    (tmp_path / "a.csv").write_bytes(b"old")
    address = {"s3": s3.address("a.csv"), "memory": "memory://a.csv", "file": f"file://{tmp_path}/a.csv"}[place]
    pending = PendingFile(address)
    pending.stream.close()
    pending.stream = Breaks(error)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else GmmError) as caught:
        pending.commit()
    assert s3.get("a.csv") == memory.cat("/a.csv") == (tmp_path / "a.csv").read_bytes() == b"old"
    assert s3.listed() == ["a.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "temporary"]
    kept = [str(path) for path in temporary.iterdir()]
    if isinstance(error, KeyboardInterrupt):
        assert not kept
    else:
        assert str(caught.value) == f"{address}: cannot be written: Input/output error; it is kept as {kept[0]}"
        assert kept[0].endswith("-a.csv")


def test_a_file_of_many_parts_is_uploaded_whole(s3: S3):
    content = np.random.default_rng(0).bytes((40 << 20) + 17)
    replace(s3.address("large"), content)
    assert s3.get("large") == content


def test_an_upload_that_is_refused_keeps_the_file_and_names_it(s3: S3, temporary: Path):
    with pytest.raises(GmmError, match=r"there is no such bucket; it is kept as .*: check its name") as caught:
        replace("s3://no-bucket/folder/model.pt", b"content")
    assert caught.value.exit_code == 1
    [kept] = temporary.iterdir()
    assert str(kept) in caught.value.notice.problem
    assert kept.read_bytes() == b"content"


def test_file_addresses_are_local_files(tmp_path: Path):
    with Sink(f"file://{tmp_path}/a%20b.csv") as sink:
        sink.write(pa.table({"a": [1, 2]}))
    assert (tmp_path / "a b.csv").read_bytes() == b"a\n1\n2\n"
    assert cells(Source([f"file://{tmp_path}/a%20b.csv"])) == [[1.0], [2.0]]
    assert [path.name for path in tmp_path.iterdir()] == ["a b.csv"]
