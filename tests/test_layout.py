"""The layout's rules, held by parsing every module: who may import whom, and what stands nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gmmcli
from tests.reference import FAMILY_NAMES

ROOT = Path(gmmcli.__file__).parent

# Imports run down this list: a module may import its own layer and those below it.
LAYERS = (
    ("cli", "__main__"),
    ("api", "__init__"),
    ("choosing",),
    ("fitting", "data", "plot"),
    ("model",),
    ("passes",),
    ("families",),
    ("storage",),
    ("declared",),
    ("errors",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

# Imports that the layers would allow and that are wrong all the same: fitting takes any blocks, data knows files and
# no mixtures, and families know nothing but errors.
FORBIDDEN = {
    "fitting": {"data", "plot"},
    "data": {"fitting", "plot", "model", "families"},
    "plot": {"data", "fitting"},
    "families": {"storage"},
}

# Third-party modules and the only parts that may import them.
OWNERS = {
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
    "pyarrow": {"data", "storage"},
    "fsspec": {"storage"},
    "matplotlib": {"plot"},
    "PIL": {"plot"},
    "torch.distributed": {"passes"},
}


def modules() -> dict[str, ast.Module]:
    """Every module under gmmcli by its path, parsed."""
    paths = sorted(ROOT.rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in paths}


MODULES = modules()
every_module = pytest.mark.parametrize("path", list(MODULES))


def part_of(path: str) -> str:
    """The top-level name that a file belongs to: fitting/em.py → fitting."""
    return Path(path).parts[0].removesuffix(".py")


def dotted(path: str) -> str:
    """fitting/em.py → gmmcli.fitting.em."""
    return ".".join(("gmmcli", *Path(path).with_suffix("").parts)).removesuffix(".__init__")


KNOWN = {dotted(path) for path in MODULES}


def imports(tree: ast.AST, path: str) -> Iterator[str]:
    """Full names of all that a module imports, wherever in it, and of modules named by import strings."""
    package = dotted(path).split(".") if path.endswith("__init__.py") else dotted(path).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                if inner == "gmmcli.__version__":  # every module imports the package itself
                    continue
                yield inner if inner in KNOWN or inner in OWNERS else module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.split(":")[0]
            if name in KNOWN - {"gmmcli"}:
                yield name


def name_of(node: ast.expr) -> str:
    """a.b.c as text, or an empty string where the expression is not a plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = name_of(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def own_imports(path: str) -> Iterator[str]:
    """The parts of gmmcli that a module imports."""
    for name in imports(MODULES[path], path):
        if name == "gmmcli" or name.startswith("gmmcli."):
            yield [*name.split("."), "__init__"][1]


def test_every_part_has_its_place():
    parts = {part_of(path) for path in MODULES}
    assert {"fitting", "data", "model", "families", "errors"} <= parts
    assert parts <= set(RANK)
    assert len(parts) <= 14


@every_module
def test_imports_run_one_way(path: str):
    part = part_of(path)
    upward = {other for other in own_imports(path) if other not in RANK or RANK[other] < RANK[part]}
    assert not upward


@every_module
def test_parts_that_must_not_know_each_other(path: str):
    assert not set(own_imports(path)) & FORBIDDEN.get(part_of(path), set())


@every_module
def test_each_third_party_package_has_one_owner(path: str):
    part = part_of(path)
    for name in imports(MODULES[path], path):
        for package, owners in OWNERS.items():
            if name == package or name.startswith(package + "."):
                assert part in owners, f"{path} imports {name}"


def runtime_imports(path: str) -> set[str]:
    """Modules of gmmcli that importing this one imports: those at its top level, not under TYPE_CHECKING."""

    def top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If) and name_of(node.test).endswith("TYPE_CHECKING"):
                continue
            yield node

    tree = ast.Module([n for n in top(MODULES[path].body) if isinstance(n, ast.Import | ast.ImportFrom)], [])
    return {name for name in imports(tree, path) if name in KNOWN}


def test_no_import_cycles():
    graph = {dotted(path): runtime_imports(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_listing_families_and_options_imports_no_torch():
    """`gmm --help` lists the families and their defaults without torch, so nothing on that way imports it."""
    reached, new = set(), {"gmmcli", "gmmcli.families", "gmmcli.errors", "gmmcli.fitting.options"}
    paths = {dotted(path): path for path in MODULES}
    while new:
        reached |= new
        new = {other for name in new for other in runtime_imports(paths[name])} - reached
    heavy = {"torch", "pandas", "pyarrow", "matplotlib", "numpy"}
    for name in reached:
        top = [n for n in MODULES[paths[name]].body if isinstance(n, ast.Import | ast.ImportFrom)]
        found = {full.split(".")[0] for full in imports(ast.Module(top, []), paths[name])}  # type: ignore[arg-type]
        assert not found & heavy, f"{name} imports {found & heavy}"


@every_module
def test_matplotlib_and_pandas_are_imported_inside_functions(path: str):
    top = {name.split(".")[0] for node in MODULES[path].body for name in imports_of_statement(node, path)}
    assert not top & {"matplotlib", "PIL", "pandas"}


@every_module
def test_pictures_need_no_window_and_change_no_setting(path: str):
    """pyplot keeps figures and may open a display; rcParams are the user's."""
    assert "matplotlib.pyplot" not in set(imports(MODULES[path], path))
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"pyplot", "rcParams"}, node.lineno


def imports_of_statement(node: ast.stmt, path: str) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from imports(ast.Module([node], []), path)


@every_module
def test_nothing_is_printed_outside_the_console(path: str):
    if path == str(Path("cli", "console.py")):
        return
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Call):
            assert name_of(node.func) not in {"print", "builtins.print", "typer.echo", "click.echo"}, node.lineno


GLOBAL_SEEDING = {
    "torch.manual_seed",
    "torch.seed",
    "torch.random.manual_seed",
    "torch.random.seed",
    "torch.set_rng_state",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.mps.manual_seed",
    "np.random.seed",
    "numpy.random.seed",
    "random.seed",
}


@every_module
def test_no_global_seeding(path: str):
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Attribute | ast.Name):
            assert name_of(node) not in GLOBAL_SEEDING, node.lineno
        if isinstance(node, ast.ImportFrom) and node.module in {"torch", "torch.random", "random", "numpy.random"}:
            assert not {alias.name for alias in node.names} & {"manual_seed", "seed"}, node.lineno


def literals(node: ast.expr) -> set[str]:
    """The text constants of an expression: of itself, or of the tuple, list or set that it is."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return set().union(*(literals(element) for element in node.elts))
    return set()


@every_module
def test_no_familys_name_is_compared_with(path: str):
    for node in ast.walk(MODULES[path]):
        found: set[str] = set()
        if isinstance(node, ast.Compare):
            found = set().union(*(literals(side) for side in (node.left, *node.comparators)))
        elif isinstance(node, ast.MatchValue):
            found = literals(node.value)
        elif isinstance(node, ast.Call) and name_of(node.func).split(".")[-1] in {"startswith", "endswith"}:
            found = set().union(*(literals(argument) for argument in node.args))
        assert not found & set(FAMILY_NAMES), f"{path}:{getattr(node, 'lineno', '?')} asks which family it is"


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The docstrings of a module, its classes and its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


# A docstring begins with the name of what is returned or done, not with a word that stands in for it.
NO_FIRST_WORDS = re.compile(r"(That|Those|Of|As|Itself|Themselves|What|Which|Where|When|The same|But|Its|Their)\b")


@every_module
def test_a_docstring_begins_with_a_name(path: str):
    for text in docstrings(MODULES[path]):
        assert not NO_FIRST_WORDS.match(str(text.value)), f"{path}:{text.lineno}: {text.value}"


@every_module
def test_only_the_command_line_knows_flags(path: str):
    """Errors and findings of the library name options as `Option` and `Remedy` values."""
    if part_of(path) in ("cli", "__main__"):
        return
    described = {id(text) for text in docstrings(MODULES[path])}
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            assert "--" not in node.value, f"{path}:{node.lineno}: {node.value}"


def text_of_an_error(node: ast.expr) -> bool:
    """Whether an expression is `str(…)` of a name that an error usually has."""
    return (
        isinstance(node, ast.Call)
        and name_of(node.func) == "str"
        and any(name_of(argument).split(".")[-1] in {"error", "failure", "exc", "err"} for argument in node.args)
    )


@every_module
def test_no_text_of_an_error_is_inspected(path: str):
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Compare):
            assert not any(text_of_an_error(side) for side in (node.left, *node.comparators)), f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute) and text_of_an_error(node.value):
            assert node.attr in {"splitlines", "replace", "strip", "partition"}, f"{path}:{node.lineno}: {node.attr}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.distributed", {"torch.distributed"}),
        ("from torch import distributed", {"torch.distributed"}),
        ("from torch import Tensor", {"torch"}),
        ("def f():\n    from gmmcli.families import base", {"gmmcli.families.base"}),
        ("from . import objective", {"gmmcli.fitting.objective"}),
        ("from ..data import source", {"gmmcli.data.source"}),
        ("X = import_module('gmmcli.families.full')", {"gmmcli.families.full"}),
    ],
)
def test_the_parser_sees_every_way_of_importing(source: str, expected: set[str]):
    assert set(imports(ast.parse(source), "fitting/em.py")) == expected
