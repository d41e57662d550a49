"""Randomness by address: what a place draws depends on (seed, purpose, step, place) and on nothing
else.
"""

from __future__ import annotations

import hashlib
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.rng import Rng

b, n, t = torch.arange(6)[:, None, None], torch.arange(4)[None, :, None], torch.arange(5)


def uniform(rng: Rng, rows: int = 20000) -> torch.Tensor:
    return rng.uniform(torch.arange(rows), dtype=torch.float64)


def chi_square(counts: torch.Tensor, expected: torch.Tensor | float) -> float:
    """The statistic in standard deviations above its mean (degrees of freedom = cells − 1)."""
    cells = counts.numel() - 1
    return float(((counts - expected) ** 2 / expected).sum() - cells) / math.sqrt(2 * cells)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_a_row_keeps_its_numbers_in_any_batch(rows: list[int]) -> None:
    rng, index = Rng(3)("sample", 7), torch.tensor(rows)
    whole = rng.uniform(b, n, t)
    part = rng[index].uniform(torch.arange(len(rows))[:, None, None], n, t)
    assert torch.equal(part, whole[index])


def test_narrowing_twice_and_by_slice() -> None:
    rng = Rng(3)("sample", 7)
    whole = rng.bits(b, n)
    twice = rng[torch.tensor([5, 2, 0, 1])][torch.tensor([2, 1])]
    assert torch.equal(twice.bits(b[:2], n), whole[[0, 2]])
    assert torch.equal(rng[2:5].bits(b[:3], n), whole[2:5])
    assert torch.equal(rng[torch.tensor([5, 2])]("child").bits(b[:2]), rng("child").bits(b)[[5, 2]])


def test_a_slice_without_an_end_needs_places() -> None:
    with pytest.raises(ValueError, match="slice with a stop"):
        Rng(0)[1:]


def test_more_answers_or_longer_ones_change_no_number() -> None:
    rng = Rng(1)("sample")
    few = rng.uniform(b, torch.arange(2)[None, :, None], torch.arange(3))
    many = rng.uniform(b, torch.arange(9)[None, :, None], torch.arange(30))
    assert torch.equal(many[:, :2, :3], few)


def test_the_numbers_are_those_of_the_stated_function() -> None:
    """MurmurHash3's finaliser and BLAKE2b, written again in Python's integers: a record must replay
    for ever.
    """
    M = (1 << 64) - 1

    def mix(z: int) -> int:
        z = (z ^ (z >> 33)) * 0xFF51AFD7ED558CCD & M
        z = (z ^ (z >> 33)) * 0xC4CEB9FE1A85EC53 & M
        return z ^ (z >> 33)

    def signed(x: int) -> int:
        return x - (1 << 64) if x >> 63 else x

    def hashed(text: str) -> int:
        return signed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))

    golden = 0x9E3779B97F4A7C15
    key = hashed(f"{hashed('seed 5')} sample 12")
    for row, answer, decision in ((0, 0, 0), (3, 1, 40), (70000, 15, 2)):
        z = mix(row * golden + key & M)
        for c in (answer, decision):
            z = mix(z + (c + 1) * golden & M)
        assert int(Rng(5)("sample", 12).bits(row, answer, decision)) == signed(mix(z))


@pytest.mark.parametrize(
    "other",
    [Rng(0)("sample", 2), Rng(0)("order", 1), Rng(1)("sample", 1), Rng(0)("sample", 1)("again")],
)
def test_children_are_independent(other: Rng) -> None:
    u, v = uniform(Rng(0)("sample", 1)), uniform(other)
    assert abs(float(torch.corrcoef(torch.stack([u, v]))[0, 1])) < 4.5 / math.sqrt(len(u))
    joint = torch.bincount((u * 16).long() * 16 + (v * 16).long(), minlength=256).double()
    assert chi_square(joint, len(u) / 256) < 4.5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbouring_places_are_independent(axis: int) -> None:
    i = torch.arange(30)
    u = Rng(0)("sample").uniform(i[:, None, None], i[None, :, None], i, dtype=torch.float64)
    left, right = (u.movedim(axis, 0)[s].flatten() for s in (slice(None, -1), slice(1, None)))
    joint = torch.bincount((left * 16).long() * 16 + (right * 16).long(), minlength=256).double()
    assert chi_square(joint, len(left) / 256) < 4.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pattern", [0, -1])
def test_the_interval_is_open(
    dtype: torch.dtype, pattern: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rng, "bits", lambda self, *place: torch.tensor([pattern]))
    u = Rng(0).uniform(0, dtype=dtype)
    assert 0 < float(u) < 1
    assert torch.isfinite(Rng(0).normal(0)).all() and torch.isfinite(Rng(0).gumbel(0)).all()
    assert 0 <= int(Rng(0).integers(7, 0)) < 7


def test_moments_of_normal_and_gumbel() -> None:
    places = torch.arange(40000)
    z, g = (
        Rng(2)("z").normal(places, dtype=torch.float64),
        Rng(2)("g").gumbel(places, dtype=torch.float64),
    )
    assert abs(float(z.mean())) < 4.5 / 200 and abs(float(z.var()) - 1) < 4.5 * math.sqrt(2) / 200
    assert abs(float(g.mean()) - 0.5772157) < 4.5 * math.pi / math.sqrt(6) / 200


def test_integers_are_uniform() -> None:
    counts = torch.bincount(Rng(4)("i").integers(10, torch.arange(20000)), minlength=10).double()
    assert len(counts) == 10 and chi_square(counts, 2000.0) < 4.5


def test_every_order_is_equally_likely_and_the_same_for_all_rows() -> None:
    rng = Rng(9)("order")
    orders = [tuple(rng(f"epoch {e}").permutation(4).tolist()) for e in range(4800)]
    every = list(itertools.permutations(range(4)))
    assert set(orders) == set(every)
    assert chi_square(torch.tensor([orders.count(o) for o in every]).double(), 200.0) < 4.5
    assert torch.equal(rng[torch.tensor([3, 1])].permutation(50), rng.permutation(50))
    assert torch.equal(rng.permutation(50).sort().values, torch.arange(50))


def test_nothing_touches_the_global_stream() -> None:
    before = torch.get_rng_state()
    rng = Rng(0)("sample")
    rng.uniform(b, n), rng.normal(b), rng.gumbel(b), rng.integers(3, b), rng.permutation(5)
    torch.rand(3, generator=rng.generator())
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    first = rng.uniform(b, n)
    torch.manual_seed(2)
    assert torch.equal(first, rng.uniform(b, n))


def test_addresses_do_not_depend_on_the_order_of_drawing() -> None:
    rng = Rng(3)("sample", 2)
    rows = torch.arange(6)
    whole = rng.uniform(rows)
    assert torch.equal(rng[torch.tensor([4, 1])].uniform(torch.arange(2)), whole[[4, 1]])


def test_an_address_may_have_several_numbers() -> None:
    root = Rng(7)
    assert root("sample").key == root("sample", 0).key
    keys = {root("sample", *at).key for at in [(1,), (1, 0), (1, 1), (0, 1), (1, 1, 1), (11,)]}
    assert len(keys) == 6, "each address has numbers of its own"
