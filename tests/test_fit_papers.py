"""The papers that fit: each reduces to what it must, each repair and dependence does what its name
says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_fit_parts import LOOP, PAIRS, linear, llamas, loss

from assay.core import InputError, Loop, Rng, World
from assay.formulas.dependence import distance_covariance as squared
from assay.formulas.dependence import pearson
from assay.recipes import (
    bradley_terry,
    distance_covariance,
    meta_rm,
    odin,
    preference_strength,
    warm,
)
from assay.rewards.attributes import attributes, elsewhere
from assay.rewards.fit import fitted
from assay.worlds import table

U = torch.tensor([-3.0, -1.0, 0.5, 2.0, -0.2])
FIVE = replace(PAIRS[torch.arange(5)], margin=torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))


@pytest.fixture(scope="module")
def world() -> World:
    return table.world(testbed="bag", pairs=150, members=3, seed=1)


def test_repairs_by_hand() -> None:
    """A share of 0.4 of five pairs: the two lowest, which are the first and the second."""

    def after(repair: str) -> Any:
        return preference_strength.repaired(FIVE, U, repair=repair, share=0.4, smoothing=0.1)

    turned = after("flip")
    assert torch.equal(turned.action[:2], FIVE.action[:2].flip(1)) and torch.equal(
        turned.action[2:], FIVE.action[2:]
    )
    assert turned.margin.tolist() == pytest.approx([0, 0, 0.3, 0.4, 0.5]) and torch.equal(
        turned.p, FIVE.p
    )
    assert after("flip+margin").margin.tolist() == pytest.approx([3, 1, 0.8, 2.4, 0.7])
    assert after("margin").margin.tolist() == pytest.approx([-2.9, -0.8, 0.8, 2.4, 0.3])
    assert torch.equal(after("margin").action, FIVE.action)
    assert after("smooth").p.tolist() == pytest.approx([0.9, 0.9, 1, 1, 1])
    assert len(after("drop")) == 3 and torch.equal(after("drop").action, FIVE.action[2:])
    with pytest.raises(InputError, match="--share is 2"):
        preference_strength.repaired(FIVE, U, repair="flip", share=2.0, smoothing=0.1)


def test_no_pair_with_a_vote_above_0_is_repaired() -> None:
    same = preference_strength.repaired(FIVE, U.abs(), repair="flip", share=1.0, smoothing=0.1)
    assert torch.equal(same.action, FIVE.action)


def test_strength_is_the_mean_and_the_population_deviation() -> None:
    mean, deviation = preference_strength.strength(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    assert mean.tolist() == [2, 2] and deviation.tolist() == [1, 0]


def test_without_repair_it_is_bradley_terry() -> None:
    plain = bradley_terry.fit(linear(), PAIRS, loop=LOOP)
    assert torch.equal(
        preference_strength.fit(linear(), PAIRS, repair="none", loop=LOOP)(PAIRS), plain(PAIRS)
    )
    for repair in ("flip+margin", "smooth"):
        other = preference_strength.fit(
            linear(), PAIRS, repair=repair, folds=2, share=0.5, loop=LOOP
        )
        assert not torch.allclose(other(PAIRS), plain(PAIRS))
    with pytest.raises(InputError, match="--repair is 'mend'"):
        preference_strength.fit(linear(), PAIRS, repair="mend")


def test_planted_flips_are_voted_against() -> None:
    """The label follows token 1; every fifth pair is turned, and the votes find most of those that
    say something.
    """
    wrong = torch.arange(60) % 5 == 0
    planted = PAIRS.pick(wrong.long()[:, None] ^ torch.tensor([[0, 1]]))
    u = preference_strength.votes(
        linear(), planted, loss=loss, folds=3, loop=replace(LOOP, max_steps=30, learning_rate=0.05)
    ).mean(0)
    assert (
        float((u[wrong] < 0).float().mean()) > 0.65 and float((u[~wrong] < 0).float().mean()) < 0.35
    )


def test_the_contrastive_term_needs_something_to_learn_and_tells_pairs_apart() -> None:
    with pytest.raises(InputError, match="that learn their features"):
        preference_strength.fit(linear(), PAIRS, repair="none", contrast=0.1, loop=LOOP)
    term = preference_strength.Contrast(1.0, 0)
    before, after = llamas(), llamas()
    fitted(
        after,
        PAIRS,
        loss=lambda c, r, p, m: 0 * c,
        penalty=term,
        loop=replace(LOOP, max_steps=30, batch_size=20),
    )
    each = [PAIRS[torch.arange(20)]] * 2
    with torch.no_grad():
        costs = [term(term.view(m, each, 99), each) for m in (before, after)]
    assert bool((costs[1] < costs[0] - 0.1).all())
    rows = torch.tensor([4, 11])
    assert torch.equal(
        term.thinned(PAIRS, 3)[rows], term.thinned(PAIRS[rows], 3)
    )  # an answer's twin is its own
    assert bool((term.thinned(PAIRS, 3).sum(-1) >= 1).all())


@pytest.mark.full
def test_dependence_at_0_is_bradley_terry_and_above_it_scores_leave_length() -> None:
    long = PAIRS.pick(
        (PAIRS.lengths[:, 0] < PAIRS.lengths[:, 1]).long()[:, None] ^ torch.tensor([[0, 1]])
    )  # the longer wins
    said = attributes(long, "length")[..., 0].flatten()
    loop = replace(LOOP, max_steps=60, batch_size=40)
    plain = bradley_terry.fit(linear(), long, loop=loop)(long).float()
    assert torch.allclose(
        distance_covariance.fit(linear(), long, lam=0.0, loop=loop)(long).float(), plain, atol=1e-6
    )
    for kept in (
        distance_covariance.fit(linear(), long, lam=10.0, measure="pearson", loop=loop),
        odin.fit(linear(), long, lam_length=5.0, loop=loop),
    ):
        r = pearson(kept(long).float().flatten(1), said).abs()
        assert bool((r < 0.6 * pearson(plain.flatten(1), said).abs()).all()), r
    kept = distance_covariance.fit(linear(), long, lam=5.0, loop=loop)
    v = [
        squared(x.float().flatten(1)[..., None], said[:, None]) for x in (kept(long), plain)
    ]  # in units of the scores
    assert bool((v[0] < 0.2 * v[1]).all()), v


def test_several_attributes_at_once_and_what_cannot_be() -> None:
    score, z = torch.randn(2, 20, dtype=torch.float64), torch.randn(2, 20, 2, dtype=torch.float64)
    values = [
        distance_covariance.dependence(score, z, measure="distance", several=s)
        for s in distance_covariance.SEVERAL
    ]
    assert all(v.shape == (2,) for v in values) and not torch.allclose(values[0], values[2])
    one = [
        distance_covariance.dependence(score, z[..., :1], measure="distance", several=s)
        for s in distance_covariance.SEVERAL
    ]
    assert torch.equal(one[0], one[1]) and torch.equal(
        one[0], one[2]
    )  # of a single attribute there is one way
    for wrong, said in (
        ({"measure": "cosine"}, "--measure is 'cosine'"),
        ({"lam": -1.0}, "--lam is -1"),
        ({"attribute": "tokens:77-"}, "for every completion"),
    ):
        with pytest.raises(InputError, match=said):
            distance_covariance.fit(linear(), PAIRS, loop=LOOP, **wrong)


def test_the_linear_penalty_takes_exactly_its_credit() -> None:
    """What Bradley–Terry sees is score + λ·attribute. A linear judge can say the attribute itself,
    so the fit goes the way of a plain one that begins with it, step for step.
    """
    spread = attributes(PAIRS, "tokens:2-2").std(correction=0)
    begun = linear()
    with torch.no_grad():
        begun.weight[:, 0, 2] += 0.7 / spread
    plain = bradley_terry.fit(begun, PAIRS, centre=0.0, loop=LOOP)(PAIRS)
    less = distance_covariance.fit(
        linear(), PAIRS, lam=0.7, measure="margin", attribute="tokens:2-2", centre=0.0, loop=LOOP
    )(PAIRS)
    z = attributes(PAIRS, "tokens:2-2")[..., 0] / spread
    assert torch.allclose(less + 0.7 * z, plain, atol=1e-5)


def test_a_shuffled_attribute_takes_nothing_of_the_real_one_away() -> None:
    """The negative control keeps the penalty and its size, and leaves the link with length."""
    long = PAIRS.pick(
        (PAIRS.lengths[:, 0] < PAIRS.lengths[:, 1]).long()[:, None] ^ torch.tensor([[0, 1]])
    )
    said = attributes(long, "length")[..., 0].flatten()
    loop = replace(LOOP, max_steps=60, batch_size=40)
    kept, shuffled = (
        distance_covariance.fit(linear(), long, lam=5.0, shuffled=s, loop=loop)(long).float()
        for s in (False, True)
    )
    r, other = (pearson(x.flatten(1), said).abs() for x in (kept, shuffled))
    assert bool((r < 0.8 * other).all()), (r, other)
    heads = [odin.fit(linear(), long, shuffled=s, loop=LOOP)(long) for s in (False, True, True)]
    assert not torch.equal(heads[0], heads[1]) and torch.equal(heads[1], heads[2])


def test_other_completions_attributes_are_the_same_ones_in_another_order() -> None:
    z = torch.arange(24.0).reshape(2, 6, 2)
    other = elsewhere(z, Rng(0)("step", 1))
    for m in range(2):
        assert sorted(map(tuple, other[m].tolist())) == sorted(map(tuple, z[m].tolist()))
    assert not torch.equal(other[0], z[0]) and not torch.equal(other[0] + 12, other[1])
    assert torch.equal(other, elsewhere(z, Rng(0)("step", 1)))


def test_odin_s_second_head_takes_the_length() -> None:
    made: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(odin, "TwoHeads", lambda *a: made.append(type_of(*a)) or made[-1])
        odin.fit(
            linear(),
            PAIRS,
            lam_length=3.0,
            loop=replace(LOOP, max_steps=80, batch_size=40, learning_rate=0.05),
        )
    quality, other = made[0].both(PAIRS).detach().unbind(-1)
    said = attributes(PAIRS, "length")[..., 0].flatten().double()
    assert bool((pearson(other.flatten(1), said) > 0.6).all()) and bool(
        (pearson(quality.flatten(1), said).abs() < 0.25).all()
    )
    with pytest.raises(InputError, match="takes one alone"):
        odin.fit(linear(), PAIRS, attribute="length,tokens:1-1")


type_of = odin.TwoHeads


def test_on_linear_judges_warm_is_the_mean_ensemble() -> None:
    one = warm.fit(linear(), PAIRS, bootstrap=True, loop=LOOP)
    several = warm.fit(linear(), PAIRS, bootstrap=True, average=False, loop=LOOP)
    assert one.names == ("judge0",) and len(several.names) == 3
    assert torch.allclose(one(PAIRS)[0], several(PAIRS).mean(0), atol=1e-12)
    assert not torch.allclose(several(PAIRS)[0], several(PAIRS)[1])
    with pytest.raises(InputError, match="at least 2"):
        warm.fit(linear(1), PAIRS, loop=LOOP)


def test_on_llamas_warm_is_not_and_hills_are_named(caplog: pytest.LogCaptureFixture) -> None:
    several = warm.fit(llamas(), PAIRS, average=False, loop=LOOP)
    one = warm.fit(llamas(), PAIRS, valley=1e-9, loop=LOOP)
    assert not torch.allclose(one(PAIRS)[0], several(PAIRS).mean(0), atol=1e-6)
    assert "on the way between members" in caplog.text


def test_meta_rm_without_a_step_is_the_plain_judge_and_the_step_raises_the_spread(
    world: World,
) -> None:
    shown = world.task.reference.sample(world.task.prompts, 6, Rng(0))
    move = meta_rm.ascended(shown, 0.5, Rng(1))
    model = linear_of(world)
    with torch.no_grad():
        at = move(model, 0)
        moved = linear_of(world)
        moved.load_state_dict({**moved.state_dict(), **at})
        assert bool(
            (meta_rm.spread(moved(shown)).mean(-1) > meta_rm.spread(model(shown)).mean(-1)).all()
        )
    loop = Loop(max_steps=4, batch_size=16, learning_rate=0.02)
    still, plain = (
        fitted(linear_of(world), world.task.pairs, loss=loss, moved=m, loop=loop)(shown)
        for m in (meta_rm.ascended(shown, 0.0, Rng(1)), None)
    )
    assert torch.equal(still, plain)
    stepped = fitted(linear_of(world), world.task.pairs, loss=loss, moved=move, loop=loop)(shown)
    assert not torch.allclose(stepped, plain)


def linear_of(world: World) -> Any:
    kept: list[Any] = []
    assert world.refit is not None

    def by(model: Any, pairs: Any, loop: Any) -> Any:
        kept.append(model)
        return model.freeze(tuple(f"judge{m}" for m in range(model.members)))

    world.refit(by)
    return kept[0]
