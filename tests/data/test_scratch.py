"""Room for data: how much memory there is, who takes what of it, and files for the rest."""

from __future__ import annotations

import io
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gmmcli.data.scratch import Scratch, ScratchFile, available_memory, hold, is_in_memory
from gmmcli.data.source import Source
from gmmcli.errors import GmmError, InputError, UsageError

MIB = 1 << 20


# ---- memory


def system(root: Path, files: dict[str, str]) -> Path:
    """The root of a file system that has these files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


MACHINE = {"proc/meminfo": "MemTotal: 4096000 kB\nMemFree: 100 kB\nMemAvailable:    3072000 kB\n"}
V2 = {"proc/self/cgroup": "0::/user/job\n"}
V1 = {"proc/self/cgroup": "11:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (MACHINE, 3000 * MIB),
        (MACHINE | V2 | {"sys/fs/cgroup/user/job/memory.max": "max\n"}, 3000 * MIB),
        (
            MACHINE
            | V2
            | {
                "sys/fs/cgroup/user/job/memory.max": f"{500 * MIB}\n",
                "sys/fs/cgroup/user/job/memory.current": f"{200 * MIB}\n",
                "sys/fs/cgroup/user/job/memory.stat": f"anon 1\ninactive_file {50 * MIB}\nactive_file 7\n",
            },
            350 * MIB,
        ),
        (  # the limit is that of a group above
            MACHINE
            | V2
            | {
                "sys/fs/cgroup/user/job/memory.max": "max\n",
                "sys/fs/cgroup/user/job/memory.current": "1\n",
                "sys/fs/cgroup/user/memory.max": f"{100 * MIB}\n",
                "sys/fs/cgroup/user/memory.current": f"{60 * MIB}\n",
            },
            40 * MIB,
        ),
        (  # in a container, where the path is the host's and the group seen at the top
            MACHINE
            | V1
            | {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{64 * MIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{80 * MIB}\n",
                "sys/fs/cgroup/memory/memory.stat": f"cache 5\ntotal_inactive_file {20 * MIB}\n",
            },
            4 * MIB,
        ),
        (
            MACHINE
            | V1
            | {
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": f"{80 * MIB}\n",
            },
            3000 * MIB,
        ),
        (
            MACHINE
            | V2
            | {"sys/fs/cgroup/user/job/memory.max": "10\n", "sys/fs/cgroup/user/job/memory.current": "20\n"},
            0,
        ),
    ],
)
def test_available_memory(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_memory(system(tmp_path, files)) == expected


def test_available_memory_where_no_file_tells(tmp_path: Path) -> None:
    assert MIB < available_memory(tmp_path) <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory() > MIB


MOUNTS = (
    "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk ext4 rw 0 0\ntmpfs /a\\040b tmpfs rw 0 0\n"
)


def test_files_that_take_memory(tmp_path: Path) -> None:
    root = system(tmp_path, {"proc/self/mounts": MOUNTS})
    found = {folder: is_in_memory(folder, root) for folder in ("/", "/tmp", "/tmp/x", "/tmpx", "/tmp/disk", "/a b")}
    assert [folder for folder, told in found.items() if told] == ["/tmp", "/tmp/x", "/a b"]
    assert not is_in_memory("/tmp", tmp_path / "nowhere")


def test_temporary_files_go_to_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """But where the user says."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    in_memory = {"/tmp"}
    monkeypatch.setattr("gmmcli.data.scratch.is_in_memory", lambda folder: folder in in_memory)
    assert Scratch(0).file()._folder == "/var/tmp"
    assert Scratch(0, "/tmp").file()._folder == "/tmp"
    in_memory.add("/var/tmp")
    assert Scratch(0).file()._folder == "/tmp"
    in_memory.remove("/var/tmp")
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert Scratch(0).file()._folder == "/tmp"


def test_the_budget_is_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmmcli.data.scratch.available_memory", lambda: 1000)
    scratch = Scratch()
    assert scratch.memory_bytes == 500
    assert scratch.take(400)
    assert not scratch.take(101)
    assert scratch.free == 100
    scratch.give_back(400)
    assert scratch.take(500)


def test_files_share_the_budget(tmp_path: Path) -> None:
    content = "x,t\n" + "1.5,a\n" * 1000
    paths = []
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text(content)
        paths.append(str(tmp_path / f"{name}.csv"))
    scratch = Scratch(2 * 8 * 1000)
    source = Source(paths, scratch=scratch)
    assert sum(len(block.x) for block in source.blocks(source.select().used)) == 3000
    assert scratch.free == 0
    stores = [store for reader in source._files.readers for _, _, store in reader._stored]  # type: ignore[attr-defined]
    assert [store._file is None for store in stores] == [True, True, False]


# ---- files


def test_a_file_has_no_name_and_is_the_users_alone(tmp_path: Path) -> None:
    file = Scratch(0, str(tmp_path)).file()
    file.write(b"secret")
    assert os.listdir(tmp_path) == []
    assert stat.S_IMODE(os.fstat(file._file.fileno()).st_mode) & 0o077 == 0


def test_streams_have_places_of_their_own(tmp_path: Path) -> None:
    file = ScratchFile(str(tmp_path))
    with file.sink() as sink:
        sink.write(b"0123456789" * 1000)
    assert file.size == 10_000
    one, other = file.open(), file.open()
    assert one.read(5) == b"01234"
    assert other.read(3) == b"012"
    assert one.read(5) == b"56789"
    other.seek(9_995)
    assert other.read() == b"56789"
    assert other.read(1) == b""
    assert (one.tell(), one.size()) == (10, 10_000)


def test_streams_on_several_threads(tmp_path: Path) -> None:
    file = ScratchFile(str(tmp_path))
    content = os.urandom(1 << 18)
    file.write(content)
    found: list[bytes] = []

    def read() -> None:
        stream = file.open()
        found.append(b"".join(iter(lambda: stream.read(1001), b"")))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [content] * 8


def test_the_descriptor_goes_with_the_file(tmp_path: Path) -> None:
    file = ScratchFile(str(tmp_path))
    stream = file.open()
    descriptor = file._file.fileno()
    del file
    os.fstat(descriptor)  # still open, for the stream
    del stream
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_no_folder_for_files(tmp_path: Path) -> None:
    with pytest.raises(
        GmmError, match=r"none: no temporary file .*: no such file or directory: .* by cache_dir or raise memory"
    ) as e:
        Scratch(0, str(tmp_path / "none")).file()
    assert (e.value.exit_code, isinstance(e.value, InputError | UsageError)) == (1, False)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files cannot grow beyond 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".csv piped", ".parquet.gz"])
def test_a_full_disk_is_one_line_with_the_remedy(suffix: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / f"x{suffix.split()[0]}"
    if suffix == ".parquet.gz":
        with pa.CompressedOutputStream(str(path), "gzip") as stream:
            pq.write_table(pa.table({"x": range(100_000)}), stream)
    else:
        line = '{"x":1.5}\n' if suffix == ".jsonl" else "1.5\n"
        path.write_text(("" if suffix == ".jsonl" else "x\n") + line * 40_000)

    def read() -> None:
        content = io.BytesIO(path.read_bytes())
        paths = [] if suffix == ".csv piped" else [str(path)]
        list(Source(paths, stdin=content, scratch=Scratch(0, str(tmp_path))).blocks(["x"]))

    request.getfixturevalue("full_disk")
    with pytest.raises(GmmError, match="file too large: name a folder with room by cache_dir or raise") as caught:
        read()
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == [path.name]


def test_a_reading_that_ends_early_keeps_nothing() -> None:
    content = b"x,t\n" + b"1.5,a\n" * 1000
    for memory in (0, 7 * 8 * 1000):
        scratch = Scratch(memory)
        source = Source([], stdin=io.BytesIO(content), block_rows=100, scratch=scratch)
        source.facts(source.names)
        free = scratch.free
        blocks = source.blocks(["x"])
        for _ in blocks:
            break
        assert scratch.free == free
        assert sum(len(block.x) for block in blocks) == 1000


# ---- what is held


def test_content_is_held_in_memory_or_in_a_file(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 5)
    for memory, kind in ((20 * MIB, pa.Buffer), (4 * MIB, ScratchFile), (0, ScratchFile)):
        scratch = Scratch(memory, str(tmp_path))
        held = hold(io.BytesIO(content), scratch)
        assert isinstance(held, kind)
        found = held.open().read() if isinstance(held, ScratchFile) else held.to_pybytes()
        assert found == content
        assert scratch.free == memory - (0 if isinstance(held, ScratchFile) else len(content))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_nothing_is_left_by_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        f"import sys; from gmmcli.data.scratch import Scratch; f = Scratch(0, {str(tmp_path)!r}).file(); "
        "f.write(b'x' * 9999); print('written', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"written\n"
        running.kill()
    assert os.listdir(tmp_path) == []
