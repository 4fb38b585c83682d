"""The hostile BLAS itself: near the true product, and the same bits only for the same operation in the same place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from gmmcli.passes.workers import compiled
from tests.cli.conftest import ENVIRONMENT
from tests.hostile_blas import MOVED, hostile_blas
from tests.reference import EPS


def tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, B, C = tensor(4, 6), tensor(6, 70), tensor(4, 70)
TRIANGLE = tensor(4, 4).tril() + 5 * torch.eye(4).double()
OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mm": lambda b: A @ b,
    "mm.out": lambda b: torch.mm(A, b, out=torch.empty(4, b.shape[1], dtype=b.dtype)),
    "addmm": lambda b: torch.addmm(C[:, : b.shape[1]], A, b),
    "addmm.out": lambda b: torch.addmm(out := C[:, : b.shape[1]].clone(), A, b, out=out),
    "bmm": lambda b: torch.bmm(A[None].expand(3, -1, -1), b[None].expand(3, -1, -1)),
    "baddbmm": lambda b: torch.baddbmm(C[None, :, : b.shape[1]], A[None], b[None]),
    "matmul": lambda b: torch.matmul(A[None], b),
    "mv": lambda b: b.mT @ A[0],
    "solve": lambda b: torch.linalg.solve_triangular(TRIANGLE, C[:, : b.shape[1]], upper=False),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_products_are_right_to_rounding_and_no_further(name: str):
    work = OPERATIONS[name]
    expected, part = work(B), work(B[:, :40])
    with hostile_blas() as calls:
        found, again, fewer = work(B), work(B), work(B[:, :40])
        assert sum(calls.values()) == 3
    torch.testing.assert_close(found, expected, rtol=(MOVED + 6) * EPS, atol=20 * EPS)
    torch.testing.assert_close(fewer, part, rtol=(MOVED + 6) * EPS, atol=20 * EPS)
    assert torch.equal(found, again)
    columns = found[..., :40] if found.ndim > 1 else found[:40]
    assert not torch.equal(columns, fewer), "a column does not know how many are beside it"
    assert torch.equal(work(B), expected), "and after it torch is as it was"


def test_alignment_and_place_show():
    shifted = torch.empty(6 * 70 + 1, dtype=torch.float64)[1:].view(6, 70).copy_(B)
    turned = B.roll(1, 1)
    with hostile_blas():
        assert not torch.equal(A @ shifted, A @ B)
        assert not torch.equal(A @ turned, (A @ B).roll(1, 1))


def test_compiled_functions_gradients_and_float32_meet_it_too():
    def product(a: Tensor, b: Tensor) -> Tensor:
        return torch.mm(a, b)

    with hostile_blas() as calls:
        assert torch.equal(compiled(product)(A, B), A @ B)
        a = A.clone().requires_grad_()
        (a @ B).sum().backward()
        assert calls["mm"] == 4
        assert (A.float() @ B.float()).dtype == torch.float32


def test_every_process_moves_the_same_bits():
    code = """
import torch
from tests.hostile_blas import hostile_blas
x = torch.arange(420, dtype=torch.float64).view(6, 70) / 7
with hostile_blas():
    print((x @ x.mT).tolist())
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=True, env=ENVIRONMENT | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1
    x = torch.arange(420, dtype=torch.float64).view(6, 70) / 7
    with hostile_blas():
        assert outputs.pop().strip() == str((x @ x.mT).tolist())
    np.testing.assert_allclose((x @ x.mT).numpy(), x.numpy() @ x.numpy().T, rtol=1e-14)
