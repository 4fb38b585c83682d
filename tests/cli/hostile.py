"""Bad inputs of every kind, each with its exit code and what its message says; run by test_hostile.py.

`files` makes the files; a case is a command line, an exit code, and a regular expression for the last line on stderr
(none where the command is to be silent).
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

FAITHFUL = "sample_data/faithful.csv"
PENGUINS = "sample_data/penguins.csv"


Change = Callable[[dict[str, bytes]], object]  # of a zip's members


class Case(NamedTuple):
    """kind: what the case is a case of."""

    kind: str
    line: str
    code: int
    message: str | None


# ---- files ------------------------------------------------------------------------------------------------


def files(folder: Path, model: Path) -> None:
    """All files that the cases need. model: a sound model of faithful's columns."""
    _text_files(folder)
    _parquet_files(folder)
    _model_files(folder, model)


def _text_files(folder: Path) -> None:
    content: dict[str, bytes] = {
        "empty.csv": b"",
        "header.csv": b"a,b\n",
        "ragged.csv": b"a,b\n1,2\n3\n",
        "nul.csv": b"a,b\n1,2\n3\x00,4\n",
        "latin1.csv": "größe,b\n1,2\n3,4\n".encode("latin-1"),
        "utf16.csv": "a,b\n1,2\n3,4\n".encode("utf-16"),
        "twice.csv": b"a,a\n1,2\n3,4\n",
        "words.csv": b"name,when\nann,2020-01-01\nbob,2021-01-01\n",
        "stray.csv": b"a,b\n1,2\n3,4\nx,5\n6,7\n",
        "semicolons.csv": b"a;b\n1;2\n3;4\n",
        "fat.csv": b"a,b\n1,2\n" + b"9" * 10_000_000 + b",4\n",
        "wide.csv": (",".join(f"c{i}" for i in range(5000)) + "\n" + ",".join(["1"] * 5000) + "\n").encode(),
        "control.csv": b"\x1b[31mred\x07,b\n1,2\n3,4\n",
        "binary.csv": bytes(range(256)) * 40,
        "folder.csv/readme.txt": b"no data",
        "json.jsonl": b'{"a": 1}\n{"a": [1, 2]}\n{broken\n',
        "deep.jsonl": b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"\n",
        "deeplist.jsonl": b'{"a":' + b"[\n" * 200_000 + b"]" * 200_000 + b"}\n",
        "missing.csv": b"eruptions,waiting\n1,2\n,3\n4,NaN\n5,\n",
        "infinite.csv": b"eruptions,waiting\n1,2\ninf,3\n",
        "same.csv": b"a,b\n" + b"1,2\n" * 50,
        "constant.csv": b"a,b\n" + b"".join(b"1,%d\n" % i for i in range(50)),
        "huge.csv": b"a,b\n1e308,1\n-1e308,2\n3,4\n1,9\n2,7\n",
        "negative.csv": b"a,w\n1,1\n2,-1\n3,2\n",
        "zeros.csv": b"a,w\n1,0\n2,0\n3,0\n",
        "heavy.csv": b"a,w\n1,1e308\n2,1e308\n3,1e308\n",
        "wordweights.csv": b"a,w\n1,x\n2,y\n3,z\n",
        "taken.csv": b"eruptions,waiting,component,log_likelihood\n1,2,3,4\n",
        "half.csv": b"eruptions\n1\n2\n",
        "text.csv": b"eruptions,waiting\n1,long\n2,short\n",
        "three.csv": b"1,2,3\n4,5,6\n",
        "means.csv": b"eruptions,waiting\n1,2\nx,3\n",
        "data.unknown": b"a,b\n1,2\n3,4\n",
    }
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def _parquet_files(folder: Path) -> None:
    def write(name: str, columns: dict[str, Any]) -> None:
        pq.write_table(pa.table(columns), folder / name)

    write("nested.parquet", {"a": [[1.0], [2.0]], "b": [{"x": 1}, {"x": 2}]})
    write("empty.parquet", {"a": pa.array([], pa.float64())})
    write("words.parquet", {"a": ["x", "y"], "t": pa.array([1, 2], pa.timestamp("s"))})
    write("nulls.parquet", {"a": [1.0, None, 3.0], "b": [1.0, 2.0, None]})
    write("allnull.parquet", {"a": pa.nulls(3, pa.float64()), "b": [1.0, 2.0, 4.0]})
    write("infinite.parquet", {"a": [1.0, np.inf, 3.0]})
    write("sound.parquet", {"a": list(np.arange(500.0)), "b": list(np.arange(500.0) ** 0.5)})
    content = (folder / "sound.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(content[: len(content) // 2])
    (folder / "text.parquet").write_text("a,b\n1,2\n")
    damaged = bytearray(content)
    damaged[40:400] = b"\xff" * 360
    (folder / "damaged.parquet").write_bytes(bytes(damaged))


def _model_files(folder: Path, model: Path) -> None:
    with zipfile.ZipFile(model) as archive:
        sound = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(sound)).partition("/")[0]

    def rewritten(name: str, change: Change, compression: int = zipfile.ZIP_STORED) -> None:
        members = dict(sound)
        change(members)
        with zipfile.ZipFile(folder / name, "w", compression) as archive:
            for member, content in members.items():
                archive.writestr(member, content)

    def facts(**changes: Any) -> Change:
        def change(members: dict[str, bytes]) -> None:
            metadata = json.loads(members[f"{root}/metadata.json"]) | changes
            members[f"{root}/metadata.json"] = json.dumps(metadata).encode()

        return change

    def pickled(value: Any) -> Change:
        return lambda members: members.update({f"{root}/data.pkl": pickle.dumps(value)})

    def resaved(name: str, **changes: Any) -> None:
        """The model with other tensors, its metadata as they were."""
        state = torch.load(model, weights_only=True) | changes
        torch.save(state, folder / name)
        with zipfile.ZipFile(folder / name, "a") as archive:
            inner = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{inner}/metadata.json", sound[f"{root}/metadata.json"])

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (folder / "sprung",)

    content = model.read_bytes()
    (folder / "fake.pt").write_text("not a model")
    (folder / "half.pt").write_bytes(content[: len(content) // 2])
    flipped = bytearray(content)
    flipped[len(content) // 3] ^= 0xFF
    (folder / "flipped.pt").write_bytes(bytes(flipped))
    rewritten("trap.pt", pickled(Trap()))
    rewritten("million.pt", facts(components=1_000_000))
    rewritten("newer.pt", facts(format_version=99))
    rewritten("nometa.pt", lambda members: members.pop(f"{root}/metadata.json") and None)
    rewritten("bomb.pt", lambda members: members.update({f"{root}/data/9": bytes(50_000_000)}), zipfile.ZIP_DEFLATED)
    rewritten("outside.pt", lambda members: members.update({"../outside": b"x"}))
    weights, means = torch.tensor([0.5, 0.5]).double(), torch.zeros(2, 2).double()
    resaved("nan.pt", means=torch.full((2, 2), torch.nan).double())
    resaved("swapped.pt", weights=means, means=weights)
    resaved("indefinite.pt", scale_tril=-torch.eye(2).double().repeat(2, 1, 1))
    resaved("sums.pt", weights=torch.tensor([0.7, 0.7]).double())
    resaved("view.pt", means=torch.zeros(1, 1).double().expand(2, 2))
    resaved("family.pt", family="banana")


# ---- cases ------------------------------------------------------------------------------------------------

_FIT = "gmm fit {} -o out.pt"
_FIRST = "code=${PIPESTATUS[0]}; cat err.txt >&2; exit $code"  # how the first command of a pipe ended


def _fits(kind: str, *cases: tuple[str, int, str]) -> list[Case]:
    return [Case(kind, _FIT.format(arguments), code, message) for arguments, code, message in cases]


def _lines(kind: str, *cases: tuple[str, int, str | None]) -> list[Case]:
    return [Case(kind, line, code, message) for line, code, message in cases]


CASES: list[Case] = [
    *_fits(
        "options",
        (f"{FAITHFUL} --family fulll", 2, "--family fulll: there is no such choice: choose one of full"),
        (f"{FAITHFUL} --method newton", 2, "--method newton: there is no such choice: choose one of em, gradient"),
        (f"{FAITHFUL} -k 0", 2, "--components 0: numbers are at least 1"),
        (f"{FAITHFUL} -k 2.5", 2, "--components 2.5: give a number, a range"),
        (f"{FAITHFUL} --tolerance nan", 2, "--tolerance nan: must be a number"),
        (f"{FAITHFUL} --variance-floor 2", 2, "--variance-floor 2: must be between 0 and 1"),
        (f"{FAITHFUL} --device gpu", 2, "--device gpu: there is no such device"),
        (f"{FAITHFUL} --on-collapse explode", 2, "--on-collapse explode: there is no such choice"),
        (f"{FAITHFUL} --missing guess", 2, "--missing guess: there is no such choice"),
        (f"{FAITHFUL} --prior --nope", 2, "No such option.*--nope"),
        (f"{FAITHFUL} --optimizer adam", 2, "--optimizer adam: has no effect with method em: give --method gradient"),
        (f"{FAITHFUL} --delimiter ab", 2, "--delimiter: 'ab' makes no sense: give one ASCII character, or tab"),
        (f"{FAITHFUL} --encoding rot13", 2, "--encoding: 'rot13' makes no sense"),
        (f"{FAITHFUL} --seed x", 2, "--seed x: must be a whole number"),
    ),
    *_lines(
        "options",
        ("gmm nonsense", 2, "No such command 'nonsense'"),
        (f"gmm fit {FAITHFUL}", 2, "Missing option '--output'"),
        (f"gmm score faithful.pt {FAITHFUL} --quantile 2", 2, "--quantile 2: must be between 0 and 1"),
        (f"gmm impute faithful.pt {FAITHFUL} --given nope", 3, "--given: no column nope in the model"),
        ("gmm sample faithful.pt -n 0", 2, "--samples 0: must be at least 1"),
        ("gmm generate --separation -1", 2, "--separation"),
    ),
    *_fits(
        "CSV",
        ("empty.csv", 3, "empty.csv: the file is empty"),
        ("header.csv", 3, "header.csv: no rows"),
        ("ragged.csv", 3, "ragged.csv: 1 cell in row 2 where the header has 2"),
        ("nul.csv", 3, "nul.csv: "),
        ("latin1.csv", 3, "latin1.csv: .*--encoding"),
        ("utf16.csv", 3, "utf16.csv: "),
        ("twice.csv", 3, "twice.csv: several columns are called a: rename them"),
        ("semicolons.csv", 3, "semicolons.csv: .*--delimiter"),
        ("fat.csv", 3, "fat.csv: "),
        ("wide.csv", 3, "components for 1 distinct row"),
        ("binary.csv", 3, "binary.csv: "),
        ("folder.csv", 3, "folder.csv"),
        ("json.jsonl", 3, "json.jsonl: "),
        ("deep.jsonl", 3, "deep.jsonl: not JSON lines: objects or lists nested more than 100 deep"),
        ("deeplist.jsonl", 3, "deeplist.jsonl: not JSON lines: objects or lists nested more than 100 deep"),
        ("data.unknown", 3, "data.unknown"),
        ("nofile.csv", 3, "nofile.csv: no such file"),
    ),
    *_fits(
        "Parquet",
        ("cut.parquet", 3, "cut.parquet: "),
        ("text.parquet", 3, "text.parquet: "),
        ("damaged.parquet", 3, "damaged.parquet: "),
        ("nested.parquet", 3, "nested.parquet: no numeric column left .*a: nested"),
        ("empty.parquet", 3, "empty.parquet: no rows"),
        ("words.parquet", 3, "words.parquet: no numeric column left .*a: text; t: time"),
        ("nulls.parquet", 3, "nulls.parquet: 1 missing cell in a, 1 in b: use --missing drop or use --missing em"),
        ("allnull.parquet --missing em -k 1", 3, "column a: no row has a value: leave it out with --exclude"),
        ("infinite.parquet --missing em", 3, "infinite.parquet: 1 infinite cell in a: use --missing drop"),
        ("sound.parquet sample_data/faithful.csv", 3, "other columns"),
    ),
    *_lines(
        "model files",
        ("gmm show nope.pt", 3, "nope.pt: "),
        *(
            (f"gmm show {name}.pt", 3, f"{name}.pt: {why}")
            for name, why in (
                ("fake", "not a gmm model file: it is no zip archive"),
                ("half", "not a gmm model file"),
                ("flipped", "not a gmm model file"),
                ("trap", "not a gmm model file: it holds code or objects"),
                ("million", "not a gmm model file: its metadata and its tensors disagree on components"),
                ("newer", "of a newer format .*upgrade gmmcli"),
                ("nometa", "not a gmm model file: it has no metadata.json"),
                ("bomb", "not a gmm model file: its members are compressed"),
                ("outside", "not a gmm model file: it is a zip archive of something else"),
                ("nan", "not a gmm model file: means: not all finite"),
                ("swapped", "not a gmm model file"),
                ("indefinite", "not a gmm model file: .*not positive definite"),
                ("sums", "not a gmm model file: weights: must be non-negative and sum to 1"),
                ("view", "not a gmm model file: "),
                ("family", "not a gmm model file: .*knows no family banana"),
            )
        ),
    ),
    *_fits(
        "columns",
        (f"{FAITHFUL} --columns eruption", 3, "no column eruption: the data have eruptions, waiting"),
        (f"{FAITHFUL} --columns 3", 3, "no column 3: the data have 2 columns"),
        (f"{FAITHFUL} --exclude 1:2", 3, "no numeric column left"),
        (f"{FAITHFUL} --weights nope", 3, "weights column nope not found"),
        (f"{FAITHFUL} --columns 1:2 --weights waiting", 3, "column waiting has the weights"),
        (f"{PENGUINS} --columns species", 3, "column species is not numeric: text"),
        ("words.csv", 3, "words.csv: no numeric column left .*name: text"),
        ("stray.csv --columns a", 3, "column a is not numeric: .*1 cell is not a number, the first 'x' in row 3"),
        ("control.csv --columns 3", 3, r"\\x1b\[31mred\\x07"),
        ("wordweights.csv --weights w", 3, "weights column w is not numeric"),
        (f"{FAITHFUL} --init means.csv", 3, "means.csv"),
    ),
    *_fits(
        "values",
        ("missing.csv", 3, "2 in waiting: use --missing drop or use --missing em"),
        ("missing.csv --missing drop -k 2", 3, "2 components for 1 distinct row"),
        ("infinite.csv", 3, "infinite.csv: 1 infinite cell in eruptions: use --missing drop"),
        ("same.csv -k 1", 3, "same.csv: column a, b: all values are equal.*--exclude"),
        ("constant.csv -k 1", 3, "constant.csv: column a: all values are equal.*--exclude"),
        ("constant.csv -k 1 --noise --family isotropic", 3, "a: all values are equal, so that a background has no"),
        ("huge.csv -k 1", 3, "huge.csv: column a: the values span more than a number can hold"),
        ("negative.csv --weights w", 3, "1 negative in weights column w"),
        ("zeros.csv --weights w", 3, "all weights in w are 0"),
        ("heavy.csv --weights w -k 1", 3, "weights add up to more than a number can hold"),
    ),
    *_lines(
        "streams and disks",
        (f"gmm fit {FAITHFUL} -o nodir/m.pt", 2, "nodir"),
        (f"gmm fit {FAITHFUL} -o sample_data", 2, "sample_data"),
        (f"gmm fit {FAITHFUL} -o /proc/m.pt", 1, "/proc/m.pt"),
        (f"gmm fit {FAITHFUL} -o out.csv", 2, "out.csv: a model cannot go there"),
        (f"gmm fit {FAITHFUL} -k 1 -o /dev/full", 1, "/dev/full: .*No space left on device"),
        (f"gmm assign faithful.pt {FAITHFUL} > /dev/full", 1, "No space left on device"),
        (f"gmm assign faithful.pt {FAITHFUL} -o /dev/full --output-format csv", 1, "/dev/full: No space left"),
        ("gmm show faithful.pt > /dev/full", 1, "No space left on device"),
        (f"gmm assign faithful.pt {FAITHFUL} -o /proc/out.csv", 1, "/proc/out.csv"),
        (f"gmm assign faithful.pt {FAITHFUL} -o out.xyz", 2, "out.xyz: no format by this suffix"),
        (f"gmm assign faithful.pt {FAITHFUL} >&-", 1, "standard output|closed"),
        ("gmm fit -o out.pt < /dev/null", 3, "stdin: "),
        ("gmm fit -o out.pt <&-", 3, "stdin: "),
        ("gmm assign - < /dev/null", 2, "MODEL cannot be standard input"),
        (f"gmm generate -n 200000 2> err.txt | head -n 1 > /dev/null; {_FIRST}", 141, None),
        (f"gmm sample faithful.pt -n 200000 2> err.txt | true; {_FIRST}", 141, None),
    ),
    *_lines(
        "models that do not fit the data",
        (f"gmm assign faithful.pt {PENGUINS} -o out.csv", 3, "columns eruptions, waiting not found"),
        (f"gmm assign faithful.pt {FAITHFUL} --compare $'a\\x1b' -o out.csv", 3, r"--compare: no column a\\x1b"),
        ("gmm score faithful.pt half.csv -o out.csv", 3, "half.csv: column waiting not found"),
        ("gmm assign faithful.pt text.csv -o out.csv", 3, "text.csv: column waiting is not numeric: text"),
        ("gmm assign faithful.pt three.csv --no-header", 3, "data without a header has 3 columns, the model 2"),
        ("gmm assign faithful.pt taken.csv -o out.csv", 3, "column component already in the data: use --prefix"),
        ("gmm assign faithful.pt missing.csv -o out.csv", 3, "missing.csv: 1 missing cell in eruptions"),
        ("gmm impute faithful.pt infinite.csv -o out.csv", 3, "infinite.csv: 1 infinite cell in eruptions"),
        (f"gmm fit {FAITHFUL} --init penguins.pt --columns 1:2 -o out.pt", 3, "--init penguins.pt"),
        (f"gmm fit {FAITHFUL} --init faithful.pt -k 3 -o out.pt", 3, "2 components"),
        (f"gmm impute faithful.pt {FAITHFUL} --given eruptions", 3, "column waiting already in the data"),
    ),
]  # fmt: skip
