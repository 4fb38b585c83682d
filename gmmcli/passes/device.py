"""Device and precision of a fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gmmcli.errors import Option, Remedy, UsageError

# Compute capabilities that do float64 at half of float32's rate; others do 1/32 or 1/64 of it (CUDA C++ Programming
# Guide, throughput of native arithmetic instructions).
FAST_FLOAT64 = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}
ELSEWHERE = (Remedy("use", "device", "cpu"), Remedy("use", "device", "auto"))


def resolve_device(name: str) -> torch.device:
    """The device of this name; "auto" is CUDA if there is one, else the CPU. Raises UsageError for an absent one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (number.isdigit() and kind == "cuda")):
        raise UsageError(
            "there is no such device", subject=Option("device", name), remedy="choose auto, cpu, cuda, cuda:N or mps"
        )
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise UsageError(f"there are {count} CUDA devices here", subject=Option("device", name), remedy=ELSEWHERE)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("there is no Metal device here", subject=Option("device", name), remedy=ELSEWHERE)
    return torch.device(name)


def pass_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of a precision; "auto" is float64 on devices that are fast in it, else float32.

    Raises UsageError for float64 on MPS, and for tf32 on a device other than CUDA.
    """
    if precision == "auto":
        slow = device.type == "cuda" and torch.cuda.get_device_capability(device) not in FAST_FLOAT64
        return torch.float32 if slow or device.type == "mps" else torch.float64
    if precision == "float64" and device.type == "mps":
        raise UsageError(
            "Metal has no float64",
            subject=Option("precision", precision),
            remedy=(Remedy("use", "precision", "float32"), Remedy("use", "device", "cpu")),
        )
    if precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"only CUDA devices have tf32, not {device.type}",
            subject=Option("precision", precision),
            remedy=Remedy("use", "precision", "float32"),
        )
    return torch.float64 if precision == "float64" else torch.float32


def unit_roundoff(dtype: torch.dtype, device: torch.device) -> float:
    """Unit roundoff of the operands of a matrix product."""
    if dtype == torch.float32 and device.type == "cuda" and torch.get_float32_matmul_precision() != "highest":
        return 2.0**-11  # TF32 keeps 10 bits after the first
    return torch.finfo(dtype).eps / 2


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Context in which float32 matrix products keep float32, or TF32 if asked. The caller's setting is restored."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
