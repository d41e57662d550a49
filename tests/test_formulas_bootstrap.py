"""The bootstrap over prompts: its mean, error and interval; pairing; what is not known; speed."""

from __future__ import annotations

import time

import pytest
import torch

from assay.formulas import curves


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_error_and_interval_are_those_of_a_mean():
    x = torch.randn(400, 2, generator=gen(1), dtype=torch.float64) * torch.tensor([1.0, 3.0])
    e = curves.bootstrap_mean(x, draws=4000, generator=gen())
    torch.testing.assert_close(e.mean, x.mean(0))
    want = x.std(0, correction=0) / 20
    torch.testing.assert_close(e.err, want, rtol=0.05, atol=0)
    torch.testing.assert_close(e.high - e.low, 2 * 1.96 * want, rtol=0.08, atol=0)


def test_an_explicit_index_is_what_is_resampled():
    x = torch.tensor([1.0, 2.0, 4.0])
    e = curves.bootstrap_mean(
        x, index=torch.tensor([[0, 0, 0], [2, 2, 2], [0, 1, 2]]), level=0.9999999
    )
    assert [float(e.low), float(e.high), float(e.mean)] == pytest.approx([1, 4, 7 / 3], abs=1e-6)


def test_the_same_seed_gives_the_same_numbers_and_pieces_do_not_matter(monkeypatch):
    x = torch.randn(50, 3, generator=gen(2))
    a = curves.bootstrap_mean(x, draws=100, generator=gen(5))
    monkeypatch.setattr(curves, "_AT_ONCE", 50 * 7)
    b = curves.bootstrap_mean(x, draws=100, generator=gen(5))
    for u, v in zip(a, b, strict=True):
        torch.testing.assert_close(u, v)


def test_pairing_prompts_makes_a_difference_of_curves_sharp():
    base = torch.randn(200, 1, generator=gen(3)) * 10
    index = torch.randint(200, (500, 200), generator=gen(4))
    paired = curves.bootstrap_mean(base + 1 - base, index=index)
    assert float(paired.err) < 1e-5 and float(curves.bootstrap_mean(base, index=index).err) > 0.5


@pytest.mark.filterwarnings("error")
def test_unknown_values_have_no_part_and_nothing_known_is_nan():
    x = torch.tensor([[1.0, torch.nan, torch.nan], [3.0, torch.nan, 5.0]])
    e = curves.bootstrap_mean(x, draws=200, generator=gen())
    assert e.mean[0] == 2 and e.mean[2] == 5 and e.low[2] == e.high[2] == 5 and e.err[2] == 0
    assert all(v[1].isnan() for v in e)


def test_coverage_of_the_interval():
    """95 % intervals of 300 samples of 40 normal prompts cover the mean about 95 times in 100."""
    hits = 0
    index = torch.randint(40, (400, 40), generator=gen(6))
    for s in range(300):
        e = curves.bootstrap_mean(torch.randn(40, generator=gen(100 + s)), index=index)
        hits += bool(e.low <= 0 <= e.high)
    assert 0.89 <= hits / 300 <= 0.98


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "exactly one"),
        ({"generator": gen(), "index": torch.zeros(1, 2, dtype=torch.long)}, "exactly one"),
        ({"generator": gen(), "level": 1.0}, "level is 1.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        curves.bootstrap_mean(torch.zeros(2), **arguments)
    with pytest.raises(ValueError, match="0 prompts"):
        curves.bootstrap_mean(torch.zeros(0), generator=gen())


def test_a_million_scores_twenty_ns_and_a_thousand_bootstraps_take_seconds():
    p, g = torch.randn(1000, 1000, generator=gen()), torch.randn(1000, 1000, generator=gen(1))
    begun = time.process_time()
    curve = curves.best_of_n(
        p, g, [1 + 50 * k for k in range(20)], torch.ones(1000, 1000, dtype=torch.bool)
    )
    curves.bootstrap_mean(curve, generator=gen())
    assert time.process_time() - begun < 4  # 0.5 s on an idle core; the margin is for a busy one
