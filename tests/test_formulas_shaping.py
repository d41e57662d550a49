"""Shapings: which are no shaping at all under a standardised group, which bound, what each is centred on."""
from __future__ import annotations

import pytest
import torch

from assay.formulas import advantage, shaping

R = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
REFS = torch.randn(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.arange(24).reshape(4, 6)
AFFINE = {
    "standardise": lambda r: shaping.standardise(r, mean=0.3, std=2.5),
    "minmax": lambda r: shaping.minmax(r, low=-3.0, high=5.0),
    "centre": lambda r: shaping.centre(r, REFS.to(r.dtype)),
}
BENT = {
    "preference": lambda r: shaping.preference(r, REFS.to(r.dtype)),
    "sigmoid": lambda r: shaping.sigmoid(r, slope=2.0),
    "log_sigmoid": lambda r: shaping.log_sigmoid(r, REFS.to(r.dtype).quantile(0.85, dim=-1)),
    "clip": lambda r: shaping.clip(r, low=-0.5, high=0.5),
    "ceiling": lambda r: shaping.clip(r, high=0.5),
}
ALL = {**AFFINE, **BENT, "length_penalty": lambda r: shaping.length_penalty(r, LENGTHS, per=0.01, free=3)}


def standardised(r):
    return advantage.group_standardised(r, torch.ones_like(r, dtype=torch.bool), eps=0.0)


@pytest.mark.parametrize("name", AFFINE)
def test_an_affine_shaping_is_no_shaping_under_a_standardised_group(name):
    torch.testing.assert_close(standardised(AFFINE[name](R)), standardised(R), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BENT)
def test_a_bent_one_is(name):
    assert float((standardised(BENT[name](R)) - standardised(R)).abs().max()) > 0.01


@pytest.mark.parametrize("name", [n for n in ALL if n != "length_penalty"])
def test_a_better_score_is_never_a_worse_reward(name):
    up = R.sort(-1).values
    assert (ALL[name](up).diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("name", ALL)
def test_permuting_answers_permutes_and_absent_ones_touch_nobody(name):
    if name != "length_penalty":  # its lengths would have to be permuted too
        assert torch.equal(ALL[name](R.flip(-1)), ALL[name](R).flip(-1))
    spoiled = R.clone()
    spoiled[:, 2] = torch.nan
    keep = [0, 1, 3, 4, 5]
    assert torch.equal(ALL[name](spoiled)[:, keep], ALL[name](R)[:, keep])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [1e30, -1e30, 1e4, -1e4])
def test_finite_at_extremes(name, value):
    assert ALL[name](torch.full((4, 6), value)).isfinite().all()


def test_a_mean_of_sigmoids_is_not_the_sigmoid_of_the_mean():
    r, refs = torch.tensor([[0.0]]), torch.tensor([[-1.0, 4.0]])
    got = float(shaping.preference(r, refs))
    assert got == pytest.approx((1 / (1 + 2.718281828**-1) + 1 / (1 + 2.718281828**4)) / 2, abs=1e-6)
    assert abs(got - float(torch.sigmoid(shaping.centre(r, refs)))) > 0.1


def test_preference_is_a_probability_centred_on_the_prompts_references():
    assert ((BENT["preference"](R) > 0) & (BENT["preference"](R) < 1)).all()
    torch.testing.assert_close(shaping.preference(REFS[:, :1], REFS[:, :1]), torch.full((4, 1), 0.5, dtype=torch.float64))
    torch.testing.assert_close(shaping.preference(R + 7, REFS + 7), shaping.preference(R, REFS))  # the free constant is gone
    assert float((shaping.sigmoid(R + 7) - shaping.sigmoid(R)).abs().max()) > 0.1  # and here it is not


def test_one_reference_is_the_judges_own_probability():
    torch.testing.assert_close(shaping.preference(R, REFS[:, :1]), torch.sigmoid(R - REFS[:, :1]))


def test_lengths_by_hand():
    r, n = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[100, 300, 450]])
    assert shaping.length_penalty(r, n, per=0.01, free=300)[0].tolist() == pytest.approx([1, 1, -0.5])
    over = shaping.overlong(torch.tensor([[80, 90, 95, 100, 500]]), limit=100, cushion=20)
    assert over[0].tolist() == pytest.approx([0, -0.5, -0.75, -1, -1])


def test_clips_by_hand():
    r = torch.tensor([[-2.0, 0.0, 2.0]])
    assert shaping.clip(r, low=-1, high=1)[0].tolist() == [-1, 0, 1]
    assert shaping.clip(r, high=1)[0].tolist() == [-2, 0, 1]
    assert shaping.clip(r, low=0)[0].tolist() == [0, 0, 2]
    assert torch.equal(shaping.clip(r), r)
    assert shaping.minmax(r, low=-2, high=2)[0].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(("call", "said"), [
    (lambda: shaping.clip(R, low=1, high=0), "low is 1"), (lambda: shaping.standardise(R, mean=0, std=0), "std is 0"),
    (lambda: shaping.minmax(R, low=1, high=1), "high must be the greater"),
    (lambda: shaping.overlong(LENGTHS, limit=5, cushion=6), "cushion is 6")])
def test_constants_that_mean_nothing_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
