"""Workers over blocks, side by side, each with one intra-op thread; and functions that run without the interpreter.

- `map_blocks`, `fold_blocks`: a function of every block, a fold over all of them. torch releases the interpreter lock
  inside its kernels, so that Python threads run them in parallel. With one intra-op thread a worker, the bits of a
  block do not depend on the number of threads.
- `compiled`: a function of tensors as TorchScript. Between two torch operations a Python thread takes the interpreter
  lock; with two workers it mostly finds it taken, sleeps, and wakes too late: measured on chunks that fit the cache,
  two threads were no faster than one. Compiled they are 1.9 times as fast, and one alone gains a sixth. The
  operations are the same, and so are the bits. The function keeps to the part of Python that TorchScript knows, and
  does the same when it is not compiled.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W", bound=Callable[[Any], None])
F = TypeVar("F", bound=Callable[..., object])
_END = object()
_one_at_a_time = threading.Lock()  # neither filters of warnings nor the cache bear two threads


def default_threads() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_intra_op_thread() -> Iterator[None]:
    """Context in which torch's kernels run on one thread. The caller's setting is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that outlive a pass: a pass over a small table takes less time than starting a thread."""
    return ThreadPoolExecutor(threads, thread_name_prefix="gmm")


def map_blocks(function: Callable[[T], R], blocks: Iterable[T], threads: int) -> Iterator[R]:
    """`function` of every block, in order, by `threads` workers that read at most twice as many blocks ahead."""
    if threads <= 1 or (isinstance(blocks, Sized) and len(blocks) <= 1):
        yield from map(function, blocks)
        return
    pending: deque[Future[R]] = deque()
    try:
        for block in blocks:
            pending.append(_pool(threads).submit(function, block))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def fold_blocks(new: Callable[[], W], blocks: Iterable[Any], threads: int) -> list[W]:
    """Gives every block to one of up to `threads` workers, each made by `new`, and returns them all.

    Timing decides which blocks a worker is given, so that results must not depend on it. The calling thread is one of
    the workers. Raises the first error of any worker.
    """
    if threads <= 1 or (isinstance(blocks, Sized) and len(blocks) <= 1):
        worker = new()
        for block in blocks:
            worker(block)
        return [worker]
    shared, lock, stop = iter(blocks), threading.Lock(), threading.Event()

    def work() -> W:
        worker = new()
        try:
            while not stop.is_set():
                with lock:
                    block = next(shared, _END)
                if block is _END:
                    break
                worker(block)
        except BaseException:
            stop.set()  # the other workers take no further block
            raise
        return worker

    helpers = [_pool(threads).submit(work) for _ in range(threads - 1)]
    try:
        workers = [work()]
    except BaseException:
        stop.set()
        raise
    return [*workers, *(helper.result() for helper in helpers)]


def compiled(function: F) -> F:
    """The function as TorchScript; itself where that cannot be had: no source, PYTORCH_JIT=0, a newer Python.

    Each is compiled once, which takes some hundredths of a second, the first call included.
    """
    with _one_at_a_time:
        return _compile(function)


@cache
def _compile(function: F) -> F:
    try:
        with warnings.catch_warnings():  # deprecated for models; nothing else runs a loop without the lock
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.script(function)  # type: ignore[return-value]
    except Exception:  # of many kinds, which are not documented; the function serves as it is
        return function
