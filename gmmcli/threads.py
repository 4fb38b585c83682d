"""torch's kernels on one thread, so that their last bits do not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_intra_op_thread() -> Iterator[None]:
    """Runs torch's kernels on one thread inside, and restores the caller's setting."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
