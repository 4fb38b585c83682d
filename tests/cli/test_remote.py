"""Commands on remote files: a real S3 server on loopback, and `gmm` as a process of its own where that may matter."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import gmmcli
from gmmcli.choosing.cells import Cell, FolderStore
from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.fitting.options import FitOptions
from gmmcli.model.model_file import load_model
from tests.cli.conftest import ENVIRONMENT, Outcome, executable, gmm, new_files, ok
from tests.cli.test_completion import variables
from tests.s3 import S3

FAITHFUL = Path("sample_data/faithful.csv")
QUICK = ["-k", "2", "--restarts", "1", "-q"]


def run(*arguments: str, s3: S3) -> Outcome:
    """`gmm` as a process that finds the server."""
    done = subprocess.run(
        [*executable(), *arguments],
        capture_output=True,
        env={**ENVIRONMENT, **s3.environment},
        timeout=60,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


def start(*arguments: str, s3: S3, temporary: Path) -> subprocess.Popen[bytes]:
    """The same, to be interrupted."""
    return subprocess.Popen(
        [*executable(), *arguments],
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, **s3.environment, "TMPDIR": str(temporary)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )


@pytest.mark.usefixtures("hostile")
def test_a_fit_of_a_remote_folder_is_that_of_the_local_one(here: Path, s3: S3) -> None:
    table = pacsv.read_csv(FAITHFUL)
    Path("parts").mkdir()
    for n in range(3):
        pq.write_table(table.slice(n * 100, 100), f"parts/{n}.parquet", row_group_size=40)
        s3.put(f"parts/{n}.parquet", Path(f"parts/{n}.parquet"))
    local = run("fit", "parts", "-k", "3", "-o", "here.pt", s3=s3)
    remote = run("fit", s3.address("parts/"), "-k", "3", "-o", s3.address("models/there.pt"), s3=s3)
    assert (local.code, remote.code, remote.stdout) == (0, 0, b"")
    assert remote.stderr.splitlines()[:-1] == local.stderr.splitlines()[:-1]  # the last has the name and the time
    (mine, about_mine), (theirs, about_theirs) = load_model("here.pt"), load_model(s3.address("models/there.pt"))
    for name, tensor in mine.state_dict().items():
        assert tensor.equal(theirs.state_dict()[name])
    for name in set(about_mine) - {"seconds", "history", "restarts", "source"}:
        assert about_mine[name] == about_theirs[name], name
    assert sorted(s3.listed()) == ["models/there.pt", *(f"parts/{n}.parquet" for n in range(3))]


def test_models_and_rows_go_there_and_back(here: Path, s3: S3) -> None:
    data = s3.put("in/faithful.csv.gz", gzip.compress(FAITHFUL.read_bytes()))
    model = s3.put("faithful.pt", Path("faithful.pt"))
    labelled = s3.address("out/labelled.parquet")
    outcome = run("assign", model, data, "-o", labelled, s3=s3)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, b"", f"{labelled}: 272 rows\n")
    ok("assign", "faithful.pt", str(FAITHFUL), "-o", "labelled.parquet")
    assert pq.read_table(pa.BufferReader(s3.get("out/labelled.parquet"))).equals(pq.read_table("labelled.parquet"))
    summary = ok("score", "faithful.pt", str(FAITHFUL), "--summary").out
    for address in (s3.address("in/*.gz"), labelled, s3.address("in/*.gz") + s3.options):
        assert ok("score", model, address, "--summary").out == summary
    shown = ok("show", model).lines
    assert shown[0].startswith(f"{model}: family full, 2 components")
    assert shown[1:] == ok("show", "faithful.pt").lines[1:]
    assert ok("sample", model, "-n", "5").out == ok("sample", "faithful.pt", "-n", "5").out


def test_every_output_of_a_fit_may_be_remote(here: Path, s3: S3) -> None:
    first, again = s3.address("first.pt"), s3.address("again.pt")
    ok("fit", str(FAITHFUL), *QUICK, "-o", first + s3.options)
    ok("fit", str(FAITHFUL), "--init", first, "-q", "-o", again, "--visualize", s3.address("fit.gif") + s3.options)
    assert load_model(again)[1]["init"] == first
    means = s3.put("means.csv", b"eruptions,waiting\n2,55\n4,80\n")
    ok("fit", str(FAITHFUL), "--init", means, *QUICK[:2], "-q", "-o", again)
    grid = ["-k", "1:2", "-q", "--resume", "-o", again, "--table", s3.address("table.csv")]
    ok("fit", str(FAITHFUL), *grid, "--restarts", "1", "--visualize", s3.address("fit.png"))
    ok("plot", again, "--history", "-o", s3.address("history.svg"))
    ok("plot", "--selection", s3.address("table.csv"), "-o", s3.address("selection.pdf"))
    ok("generate", "--truth", s3.address("truth.pt"), "-o", s3.address("rows.csv.zst"), "-n", "10")
    named = [
        "again.pt",
        "first.pt",
        "fit.gif",
        "fit.png",
        "history.svg",
        "means.csv",
        "rows.csv.zst",
        "selection.pdf",
    ]
    assert sorted(s3.listed()) == [*named, "table.csv", "truth.pt"]  # and no cell of the grid
    assert s3.get("fit.gif")[:4] == b"GIF8"
    assert not new_files(here)


def test_cells_of_a_grid_are_kept_beside_a_remote_model(here: Path, s3: S3, tmp_path: Path) -> None:
    model, metadata = load_model("faithful.pt")
    cell = Cell("full", 2, model, metadata, float("nan"))
    options, data = FitOptions(components=2, family="full"), metadata["data"]["fingerprint"]
    for folder in (s3.address("m.pt.cells") + s3.options, f"file://{tmp_path}/m.pt.cells"):
        store = FolderStore(folder, ["key"])
        assert store.get(options, data) is None
        store.put(options, cell)
        kept = FolderStore(folder, ["key"]).get(options, data)
        assert kept is not None
        assert kept.model is not None
        assert kept.model.means.equal(model.means)
        assert FolderStore(folder, ["other"]).get(options, data) is None
        assert all(name.startswith("m.pt.cells/full-2-") for name in s3.listed())
        assert store.remove() is None
    assert not s3.listed()
    assert not new_files(here)


def test_from_python(here: Path, s3: S3) -> None:
    model = gmmcli.load("faithful.pt")
    gmmcli.save(s3.address("m.pt"), model)
    assert gmmcli.load(s3.address("m.pt")).means.equal(model.means)
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        gmmcli.load(s3.address("none.pt"))
    with pytest.raises(UsageError, match="there is no bucket no-bucket"):
        gmmcli.save("s3://no-bucket/m.pt", model)
    with pytest.raises(GmmError, match="this is a folder"):
        gmmcli.load(f"s3://{s3.bucket}")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("fit {bucket}/none.csv -o m.pt", 3, "{bucket}/none.csv: no such file: check the name and the folder"),
        ("fit s3://no-bucket/a.csv -o m.pt", 3, "s3://no-bucket/a.csv: there is no bucket no-bucket: check its name"),
        ("fit {faithful} -o s3://no-bucket/m.pt", 2, "s3://no-bucket/m.pt: there is no bucket no-bucket: create"),
        ("fit {faithful} -o {bucket}/m.csv", 2, "--output {bucket}/m.csv: a model cannot go there: name a file such"),
        ("fit {faithful} -o {bucket}/m.csv?region=eu", 2, "--output {bucket}/m.csv?region=eu: a model cannot go"),
        ("fit {faithful} -o {bucket}/folder", 2, "{bucket}/folder: this is a folder: name a file in it, such as m"),
        ("fit {faithful} -o nonsense://m.pt", 2, "nonsense://m.pt: unknown scheme: s3, gs, abfs, hdfs, http, https"),
        ("fit {faithful} --table s3://no-bucket/t.csv -o m.pt", 2, "s3://no-bucket/t.csv: there is no bucket"),
        ("fit {faithful} --visualize s3://no-bucket/t.png -o m.pt", 2, "s3://no-bucket/t.png: there is no bucket"),
        ("fit {faithful} --init {bucket}/none.pt -o m.pt", 3, "{bucket}/none.pt: no such file: check the name"),
        ("show {bucket}/none.pt", 3, "{bucket}/none.pt: no such file: check the name and the folder"),
        ("show {bucket}/folder/a.csv", 3, "{bucket}/folder/a.csv: not a gmm model file"),
        ("assign faithful.pt {faithful} -o {bucket}/a", 2, "{bucket}/a: no format by this suffix"),
        ("sample faithful.pt -o http://{host}/a.csv", 2, "http://{host}/a.csv: over HTTP files can only be read"),
        ("plot faithful.pt -o {bucket}/a.xyz", 2, "{bucket}/a.xyz: no picture by this suffix"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: str, code: int, said: str, here: Path, s3: S3) -> None:
    s3.put("folder/a.csv", b"a\n1\n")
    names = {"bucket": f"s3://{s3.bucket}", "faithful": FAITHFUL, "host": s3.host}
    outcome = gmm(*arguments.format(**names).split())
    assert outcome.code == code
    assert outcome.stderr.startswith("gmm: error: " + said.format(**names))
    assert outcome.stderr.count("\n") == 1
    assert not new_files(here)
    assert s3.listed() == ["folder/a.csv"]


def test_a_server_that_does_not_answer(here: Path, s3: S3) -> None:
    address = "s3://elsewhere/a.csv?endpoint_override=127.0.0.1:1&scheme=http"
    before = time.monotonic()
    outcome = gmm("fit", address, "-o", "m.pt")
    assert outcome.code == 1
    assert outcome.stderr.startswith(f"gmm: error: {address}: cannot be reached: ")
    assert outcome.stderr.endswith(": check the network and the endpoint\n")
    assert outcome.stderr.count("\n") == 1
    assert time.monotonic() - before < 30  # pyarrow tries for six seconds


def test_keys_that_the_server_does_not_know(here: Path, s3: S3) -> None:
    s3.put("a.csv", FAITHFUL)
    s3.require_known_keys(True)
    try:
        for arguments, code in (
            ("fit {}/a.csv -o m.pt", 3),
            (f"fit {FAITHFUL} -o {{}}/m.pt", 2),
            ("show {}/m.pt", 3),
        ):
            outcome = gmm(*arguments.format(f"s3://{s3.bucket}").split())
            assert outcome.code == code
            assert "access denied: check the credentials" in outcome.stderr
            assert outcome.stderr.count("\n") == 1
    finally:
        s3.require_known_keys(False)


def test_keys_in_an_address_are_shown_and_kept_nowhere(here: Path, s3: S3) -> None:
    s3.put("in/faithful.csv", FAITHFUL)
    s3.put("means.csv", b"eruptions,waiting\n2,55\n4,80\n")
    place = f"s3://an-id:SECRET@{s3.bucket}"
    model = f"{place}/m.pt{s3.options}"
    said = []
    for arguments in (
        f"fit {place}/in/ --init {place}/means.csv -k 2 -o {model} --json",
        f"fit {place}/in/*.csv -k 1:2 --restarts 1 -o {place}/g.pt --resume --table {place}/t.csv --json",
        f"show {model}",
        f"show {model} --json",
        f"score {model} {place}/in/*.csv --summary --json",
        f"assign {model} {place}/in/faithful.csv -o {place}/a.csv --compare eruptions --json",
        f"plot {model} {place}/in/ -o {place}/p.png",
        f"fit {place}/none.csv -o m.pt --debug",
        f"fit {place}/in/?token=SECRET -o m.pt --debug",
        f"fit {place.replace('SECRET', 'SEC/RET')}/in/ -o m.pt --debug",
        f"fit {FAITHFUL} -o {place.replace(s3.bucket, 'no-bucket')}/m.pt --debug",
        f"show {place}/in/faithful.csv --debug",
    ):
        outcome = gmm(*arguments.split())
        said.append(outcome.stderr + outcome.out)
        assert (outcome.code == 0) is ("--debug" not in arguments), outcome.stderr
    assert not [text for text in said if "SEC" in text or "an-id" in text]
    assert "s3://***@" in said[0]
    assert not [key for key in s3.listed() if b"SECRET" in s3.get(key)]
    assert load_model(model)[1]["init"] == f"s3://***@{s3.bucket}/means.csv"


def test_ctrl_c_before_the_upload_leaves_nothing(here: Path, s3: S3) -> None:
    temporary = here / "temporary"
    temporary.mkdir()
    running = start("sample", "faithful.pt", "-n", "50000000", "-o", s3.address("a.csv"), s3=s3, temporary=temporary)
    while running.poll() is None and not any(path.stat().st_size for path in temporary.iterdir()):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 130
    assert running.stderr is not None
    assert running.stderr.read() == b""
    assert not s3.listed()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("method", ["POST", "PUT"])  # of the beginning of an upload, and of a part of it
def test_ctrl_c_during_the_upload_leaves_what_was_there(method: str, here: Path, s3: S3) -> None:
    s3.put("a.csv", b"old")
    temporary = here / "temporary"
    temporary.mkdir()
    with s3.holding(method):
        # of less than a part of an upload all requests are one call of pyarrow's, after which it is whole
        running = start(
            "sample", "faithful.pt", "-n", "500000", "-o", s3.address("a.csv"), s3=s3, temporary=temporary
        )
        assert s3.waiting.wait(30)
        running.send_signal(signal.SIGINT)
        time.sleep(1)  # until it is told, however busy the machine; in three seconds the request is given up
    assert running.wait(30) == 130
    assert running.stderr is not None
    assert running.stderr.read() == b""
    assert s3.get("a.csv") == b"old"
    assert not list(temporary.iterdir())


def test_completion_leaves_the_network_alone(here: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = s3.put("faithful.pt", Path("faithful.pt")), s3.put("a.csv", FAITHFUL)
    s3.forget()
    for line in (
        f"gmm fit {data} --columns ",
        f"gmm assign {model} {data} --compare ",
        f"gmm plot {model} --columns ",
    ):
        for name, value in variables(line).items():
            monkeypatch.setenv(name, value)
        outcome = gmm()
        assert (outcome.code, outcome.out.strip(), outcome.stderr) == (0, "", "")
    assert not s3.requests


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"pyarrow", "fsspec", "torch"}),
        (
            ["fit", str(FAITHFUL), *QUICK, "-o", "m.pt"],
            {"gmmcli.storage.remote", "fsspec"},
        ),
    ],
)
def test_local_files_do_not_wait_for_remote_ones(arguments: list[str], unwanted: set[str], here: Path) -> None:
    script = (
        "import json, sys; from gmmcli.cli.app import main; code = main(sys.argv[1:]); "
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, env=ENVIRONMENT, text=True, cwd=os.getcwd()
    )
    code, modules = json.loads(done.stderr)
    assert code == 0
    assert not unwanted & set(modules)
