"""Random draws that depend on a seed and a row number alone, not on the reader of the row or the order of reading.

A row's draw is a hash of (seed, purpose, row number): splitmix64, after Steele, Lea & Flood, "Fast splittable
pseudorandom number generators" (OOPSLA 2014), in wrapping int64 arithmetic.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # torch's shift is arithmetic: clear the copies of the sign


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _key(seed: int, purpose: str) -> Tensor:
    return _mix(torch.tensor(_signed(seed * _GOLDEN + zlib.crc32(purpose.encode()))))


def row_uniforms(seed: int, purpose: str, rows: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), one for each global row number in `rows` (B,) int64; returns (B,) float64."""
    bits = _mix(_mix(rows * _signed(_GOLDEN) + _key(seed, purpose)) + _signed(_GOLDEN))
    return (_shift_right(bits, 12).double() + 0.5) * 2.0**-52


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """A torch generator of its own for (seed, purpose, index)."""
    state = _mix(_key(seed, purpose) + _signed(index * _GOLDEN))
    return torch.Generator().manual_seed(int(state) & _MASK)
