"""Devices and precisions: refused in one line where they are not there, and nothing of the caller's left changed."""

from __future__ import annotations

import pytest
import torch

from gmmcli.errors import UsageError
from gmmcli.passes import device
from gmmcli.passes.device import float32_products, pass_dtype, resolve_device

CPU = torch.device("cpu")


def test_precisions_of_the_cpu():
    assert pass_dtype("auto", CPU) == torch.float64
    assert pass_dtype("float64", CPU) == torch.float64
    assert pass_dtype("float32", CPU) == torch.float32
    with pytest.raises(
        UsageError, match="precision='tf32': only CUDA devices have tf32, not cpu: use precision='float32'"
    ):
        pass_dtype("tf32", CPU)


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), torch.float64), ((8, 6), torch.float32)])
def test_cuda_runs_in_float64_where_that_is_fast(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    cuda = torch.device("cuda")
    assert pass_dtype("auto", cuda) == expected
    assert pass_dtype("float32", cuda) == torch.float32
    assert pass_dtype("tf32", cuda) == torch.float32


def test_metal_has_no_float64():
    assert pass_dtype("auto", torch.device("mps")) == torch.float32
    with pytest.raises(UsageError, match="Metal has no float64"):
        pass_dtype("float64", torch.device("mps"))


def test_tf32_is_off_unless_asked_for_and_the_callers_setting_comes_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with float32_products("float32"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
        with float32_products("tf32"):
            assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cpu:1", "mps:0"])
def test_unknown_devices(name: str):
    with pytest.raises(UsageError, match="there is no such device"):
        resolve_device(name)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="there are 0 CUDA devices here"):
        resolve_device("cuda")
