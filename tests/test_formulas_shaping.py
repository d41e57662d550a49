"""Shapings: which are no shaping at all under a standardised group, which bound, what each is
centred on.
"""

from __future__ import annotations

import pytest
import torch

from assay.formulas import advantage, length, shaping

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
    "tanh": lambda r: shaping.tanh(r, slope=0.7),
    "slow_then_fast": lambda r: shaping.slow_then_fast(r, REFS.to(r.dtype)),
    "against": lambda r: shaping.against(r, REFS.to(r.dtype), shaping.tanh),
    "clip": lambda r: shaping.clip(r, low=-0.5, high=0.5),
    "ceiling": lambda r: shaping.clip(r, high=0.5),
}
ALL = {
    **AFFINE,
    **BENT,
    "length_penalty": lambda r: length.length_penalty(r, LENGTHS, per=0.01, free=3),
}


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
    assert got == pytest.approx(
        (1 / (1 + 2.718281828**-1) + 1 / (1 + 2.718281828**4)) / 2, abs=1e-6
    )
    assert abs(got - float(torch.sigmoid(shaping.centre(r, refs)))) > 0.1


def test_preference_is_a_probability_centred_on_the_prompts_references():
    assert ((BENT["preference"](R) > 0) & (BENT["preference"](R) < 1)).all()
    torch.testing.assert_close(
        shaping.preference(REFS[:, :1], REFS[:, :1]), torch.full((4, 1), 0.5, dtype=torch.float64)
    )
    torch.testing.assert_close(
        shaping.preference(R + 7, REFS + 7), shaping.preference(R, REFS)
    )  # the free constant is gone
    assert (
        float((shaping.sigmoid(R + 7) - shaping.sigmoid(R)).abs().max()) > 0.1
    )  # and here it is not


def test_one_reference_is_the_judges_own_probability():
    torch.testing.assert_close(shaping.preference(R, REFS[:, :1]), torch.sigmoid(R - REFS[:, :1]))


def test_lengths_by_hand():
    r, n = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[100, 300, 450]])
    assert length.length_penalty(r, n, per=0.01, free=300)[0].tolist() == pytest.approx(
        [1, 1, -0.5]
    )
    over = length.overlong(torch.tensor([[80, 90, 95, 100, 500]]), limit=100, cushion=20)
    assert over[0].tolist() == pytest.approx([0, -0.5, -0.75, -1, -1])


def test_clips_by_hand():
    r = torch.tensor([[-2.0, 0.0, 2.0]])
    assert shaping.clip(r, low=-1, high=1)[0].tolist() == [-1, 0, 1]
    assert shaping.clip(r, high=1)[0].tolist() == [-2, 0, 1]
    assert shaping.clip(r, low=0)[0].tolist() == [0, 0, 2]
    assert torch.equal(shaping.clip(r), r)
    assert shaping.minmax(r, low=-2, high=2)[0].tolist() == [0, 0.5, 1]


BOUNDED = {
    "preference": (0, 1),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "slow_then_fast": (0, 1),
    "against": (-1, 1),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_ones_are_bounded_and_lsc_is_not(name):
    low, high = BOUNDED[name]
    far = BENT[name](torch.tensor([[-1e6, -50.0, 0.0, 50.0, 1e6, 3.0]]).repeat(4, 1).double())
    assert float(far.min()) >= low and float(far.max()) <= high
    assert float(BENT["log_sigmoid"](torch.full((4, 6), -1e6)).max()) < -1e5


def test_any_shape_against_references_is_the_mean_of_shapes():
    torch.testing.assert_close(shaping.against(R, REFS, torch.sigmoid), shaping.preference(R, REFS))
    torch.testing.assert_close(shaping.against(R, REFS, lambda d: d), shaping.centre(R, REFS))
    torch.testing.assert_close(
        shaping.slow_then_fast(R, REFS, late=0.0), shaping.preference(R, REFS)
    )
    by_hand = [sum(float(torch.tanh(R[1, 2] - x)) for x in REFS[1]) / 10]
    torch.testing.assert_close(float(shaping.against(R, REFS, shaping.tanh)[1, 2]), by_hand[0])


def test_slow_then_fast_is_slow_where_the_preference_is_fast():
    up, refs = torch.tensor([[0.0, 0.5, 3.0, 3.5]]).double(), torch.zeros(1, 1).double()
    late, par = (f(up, refs)[0].diff() for f in (shaping.slow_then_fast, shaping.preference))
    assert late[0] < late[2] and par[0] > par[2]


def test_the_quintic_is_near_the_sigmoid_inside_and_held_outside():
    x = torch.linspace(-4.9, 4.9, 99, dtype=torch.float64)[None]
    assert float((shaping.polynomial(x) - torch.sigmoid(x)).abs().max()) < 0.04
    assert shaping.polynomial(torch.tensor([[-1e30, -5.0, 5.0, 1e30]]))[0].tolist() == [0, 0, 1, 1]
    np = pytest.importorskip("numpy")
    grid = np.linspace(-5, 5, 100)
    assert list(shaping.QUINTIC) == pytest.approx(
        np.polyfit(grid, 1 / (1 + np.exp(-grid)), 5)[::-1].tolist(), abs=1e-9
    )


def test_the_bend_of_lsc_is_the_normal_s_quantile():
    refs = torch.tensor([[1.0, 3.0], [5.0, 5.0]]).double()  # deviations (÷ count) 1 and 0
    assert shaping.normal_quantile(refs, q=0.8413447460685429).tolist() == pytest.approx(
        [3.0, 5.0], abs=1e-9
    )
    torch.testing.assert_close(shaping.normal_quantile(refs, q=0.5), refs.mean(-1))


@pytest.mark.parametrize("sizes", [[24], [1] * 24, [5, 0, 19], [23, 1]])
def test_running_statistics_do_not_depend_on_the_batches(sizes):
    state = tuple(torch.zeros((), dtype=torch.float64) for _ in range(3))
    for part in (R * 3 + 1e6).flatten().split(sizes):
        state = shaping.running(*state, part)
    flat = (R * 3 + 1e6).flatten()
    assert float(state[0]) == 24 and float(state[1]) == pytest.approx(float(flat.mean()), rel=1e-14)
    assert float((state[2] / state[0]).sqrt()) == pytest.approx(
        float(flat.std(correction=0)), rel=1e-8
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: shaping.normal_quantile(REFS, q=1.0), "q is 1.0"),
        (lambda: shaping.clip(R, low=1, high=0), "low is 1"),
        (lambda: shaping.standardise(R, mean=0, std=0), "std is 0"),
        (lambda: shaping.minmax(R, low=1, high=1), "high must be the greater"),
        (lambda: length.overlong(LENGTHS, limit=5, cushion=6), "cushion is 6"),
    ],
)
def test_constants_that_mean_nothing_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
