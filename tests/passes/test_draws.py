"""Draws by row number: against a plain-integer splitmix64, uniform, in range, and independent of who reads."""

from __future__ import annotations

import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmcli.passes.draws import generator, row_uniforms

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1


def mix(x: int) -> int:
    """splitmix64's finaliser in unbounded integers."""
    x = ((x ^ (x >> 30)) * FIRST) & MASK
    x = ((x ^ (x >> 27)) * SECOND) & MASK
    return x ^ (x >> 31)


def unshift(x: int, bits: int) -> int:
    """Inverse of x ^ (x >> bits)."""
    result = x
    for _ in range(64 // bits + 1):
        result = x ^ (result >> bits)
    return result


def unmix(x: int) -> int:
    """Inverse of `mix`."""
    x = (unshift(x, 31) * pow(SECOND, -1, 1 << 64)) & MASK
    x = (unshift(x, 27) * pow(FIRST, -1, 1 << 64)) & MASK
    return unshift(x, 30)


def key(seed: int, purpose: str) -> int:
    return mix((seed * GOLDEN + zlib.crc32(purpose.encode())) & MASK)


def bits(seed: int, purpose: str, row: int) -> int:
    return mix((mix((row * GOLDEN + key(seed, purpose)) & MASK) + GOLDEN) & MASK)


def row_with(seed: int, purpose: str, wanted: int) -> int:
    """The row number, as int64, whose bits are `wanted`."""
    row = ((unmix((unmix(wanted) - GOLDEN) & MASK) - key(seed, purpose)) * pow(GOLDEN, -1, 1 << 64)) & MASK
    return row - (1 << 64) if row >> 63 else row


@settings(max_examples=50)
@given(
    seed=st.integers(-(2**40), 2**63 - 1),
    purpose=st.sampled_from(["", "a", "epoch 12", "random rows", "größe"]),
    rows=st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
)
def test_equals_plain_integer_arithmetic(seed: int, purpose: str, rows: list[int]):
    actual = row_uniforms(seed, purpose, torch.tensor(rows)).tolist()
    expected = [(bits(seed, purpose, row) >> 11) * 2.0**-53 for row in rows]
    assert all(abs(a - e) <= 2.0**-53 for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("wanted", [0, MASK, MASK - (1 << 11)], ids=["all zeros", "all ones", "next to all ones"])
def test_the_ends_of_the_range_are_left_out(wanted: int):
    row = row_with(5, "ends", wanted)
    assert bits(5, "ends", row % (1 << 64)) == wanted
    value = float(row_uniforms(5, "ends", torch.tensor([row]))[0])
    assert 0 < value < 1


def test_depends_on_the_row_number_only():
    rows = torch.arange(1000, 1200)
    together = row_uniforms(1, "a", rows)
    shuffled = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(row_uniforms(1, "a", rows[shuffled]), together[shuffled])
    assert torch.equal(torch.cat([row_uniforms(1, "a", part) for part in rows.split(7)]), together)


def test_seeds_purposes_and_rows_give_independent_uniform_numbers():
    rows = torch.arange(100_000)
    streams = [
        row_uniforms(0, "a", rows),
        row_uniforms(1, "a", rows),
        row_uniforms(0, "b", rows),
        row_uniforms(0, "epoch 0", rows),
        row_uniforms(0, "epoch 1", rows),
        row_uniforms(0, "a", rows + 1),
    ]
    n, sigmas = len(rows), 4.5
    for u in streams:
        counts = torch.histc(u, 50, 0, 1)
        chi_squared = float(((counts - n / 50).square() / (n / 50)).sum())
        assert abs(chi_squared - 49) <= sigmas * (2 * 49) ** 0.5
        assert len(u.unique()) == n
        serial = torch.corrcoef(torch.stack([u[1:], u[:-1]]))[0, 1]
        assert abs(float(serial)) <= sigmas * n**-0.5
    cross = torch.corrcoef(torch.stack(streams)) - torch.eye(len(streams), dtype=torch.float64)
    assert float(cross.abs().max()) <= sigmas * n**-0.5


def test_generators_are_their_own_for_seed_purpose_and_index():
    def numbers(*args: int | str) -> tuple[float, ...]:
        return tuple(torch.rand(4, generator=generator(*args)).tolist())  # type: ignore[arg-type]

    different = [numbers(0, "a"), numbers(1, "a"), numbers(0, "b"), numbers(0, "a", 1), numbers(-1, "a")]
    assert len(set(different)) == len(different)
    assert numbers(0, "a") == numbers(0, "a", 0) == different[0]


def test_no_draw_touches_the_global_generator():
    before = torch.random.get_rng_state()
    row_uniforms(0, "a", torch.arange(5))
    torch.rand(3, generator=generator(0, "a"))
    assert torch.equal(torch.random.get_rng_state(), before)
