"""A BLAS that keeps none of the habits that a promise of equal bits could lean on by luck.

Inside `hostile_blas()`, and in a process begun as `python -m tests.hostile_blas MODULE ARGUMENTS…`, every matrix
product of torch on a CPU, and every triangular solve, is numpy's with its last bits moved: by up to MOVED units of
roundoff, at random but fixed by the shapes, the strides and the alignment of all operands and by the place in the
result. So two results have the same bits only where the whole operation is the same, in the same place. It is what
no BLAS promises to be better than, and it does not depend on the machine's own.

The operations are replaced where torch dispatches them, so that compiled loops, gradients and other threads meet them
too.
"""

from __future__ import annotations

import math
import runpy
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOVED = 3  # units of roundoff
LINE = 64  # bytes: alignment is told up to a cache line

_count_lock = threading.Lock()
calls: dict[str, int] = {}  # of each operation, so that a test can see that there were some
_installed: list[torch.library.Library] = []


def command(module: str) -> list[str]:
    """Arguments of Python that run a module under the BLAS of this process."""
    return ["-m", "tests.hostile_blas", module] if _installed else ["-m", module]


def _mixed(x: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """SplitMix64's finaliser."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=256)
def _factors(name: str, shape: tuple[int, ...], dtype: Any, layout: Any) -> np.ndarray[Any, Any]:
    """1 and up to MOVED units of roundoff more or less, for each number of a result."""
    seed = np.uint64(zlib.crc32(repr((name, shape, layout)).encode()))  # the same in every process
    with np.errstate(over="ignore"):
        draws = _mixed(np.arange(math.prod(shape), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + seed)
    units = (draws % np.uint64(2 * MOVED + 1)).astype(np.int64) - MOVED
    return (1 + np.finfo(dtype).eps / 2 * units.reshape(shape)).astype(dtype)


def _moved(name: str, result: np.ndarray[Any, Any], operands: Sequence[Tensor]) -> Tensor:
    """The result with other last bits: a matter of the operation, its operands' layout, and the place."""
    with _count_lock:
        calls[name] = calls.get(name, 0) + 1
    layout = tuple((t.dtype, tuple(t.shape), t.stride(), t.data_ptr() % LINE) for t in operands)
    if result.dtype.kind == "f" and result.size:
        result = result * _factors(name, result.shape, result.dtype.type, layout)
    return torch.from_numpy(np.asarray(result)).clone(memory_format=torch.contiguous_format)  # aligned as torch does


def _array(t: Tensor) -> np.ndarray[Any, Any]:
    return t.detach().resolve_conj().resolve_neg().numpy()


def _product(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    def product(a: Tensor, b: Tensor) -> Tensor:
        return _moved(name, np.matmul(_array(a), _array(b)), [a, b])

    return product


def _added(name: str) -> Callable[..., Tensor]:
    def added(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        with np.errstate(all="ignore"):
            result = alpha * (_array(a) @ _array(b))
            if beta:  # else what is there does not count, be it no number
                result = beta * _array(c) + result
        return _moved(name, result, [c, a, b])

    return added


def _solved(a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """By substitution, a row at a time."""
    matrix, right = (a, b) if left else (a.mT, b.mT)
    upper = upper if left else not upper
    size, shape = a.shape[-1], torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, r = _array(matrix.expand(*shape, *matrix.shape[-2:])), _array(right.expand(*shape, *right.shape[-2:]))
    found = np.zeros(r.shape, dtype=r.dtype)
    with np.errstate(all="ignore"):
        for i in range(size - 1, -1, -1) if upper else range(size):
            rest = r[..., i, :] - (m[..., i, :, None] * found).sum(-2)
            found[..., i, :] = rest if unitriangular else rest / m[..., i, i, None]
    return _moved("linalg_solve_triangular", found if left else found.swapaxes(-1, -2), [a, b])


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "mm": _product("mm"),
    "bmm": _product("bmm"),
    "dot": _product("dot"),
    "addmm": _added("addmm"),
    "addmv": _added("addmv"),
    "baddbmm": _added("baddbmm"),
    "linalg_solve_triangular": _solved,
}


def _out(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def written(*operands: Any, out: Tensor, **options: Any) -> Tensor:
        return out.copy_(function(*operands, **options))

    return written


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda c, *operands, **options: c.copy_(function(c, *operands, **options))


def install() -> None:
    """Replaces the products, for good or until `hostile_blas` ends."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that kernels of torch's own are replaced, which is meant
        for name, function in FUNCTIONS.items():
            library.impl(name, function, "CPU")
            library.impl(f"{name}.out", _out(function), "CPU")
            if name.startswith(("add", "badd")):
                library.impl(f"{name}_", _in_place(function), "CPU")
    _installed.append(library)


@contextmanager
def hostile_blas() -> Iterator[dict[str, int]]:
    """Replaces the products inside; gives the number of calls of each."""
    install()
    calls.clear()
    try:
        yield calls
    finally:
        _installed.pop()._destroy()


if __name__ == "__main__":
    install()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
