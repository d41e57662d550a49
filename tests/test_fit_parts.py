"""What the fitting papers stand on: penalties of a whole batch, folds, attributes, soups, a second
head, moved parameters.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import InputError, Loop, Pairs, Prompts, Rng
from assay.engine.descend import micro_batches
from assay.formulas.pairwise import bradley_terry, centring
from assay.models.backbones.attention import Config
from assay.recipes.preference_strength import Contrast
from assay.rewards import weight_average
from assay.rewards.attributes import attributes, scaled
from assay.rewards.cross_fit import partition, trust, votes
from assay.rewards.ensemble import Members
from assay.rewards.fit import fitted, trained
from assay.rewards.linear import LinearModel
from assay.rewards.two_heads import TwoHeads

LOOP = Loop(max_steps=12, batch_size=10, learning_rate=0.02)


def some_pairs(n: int = 60, T: int = 8, V: int = 9, seed: int = 0) -> Pairs:
    """Answers of 1 … T random tokens to one prompt; the label likes token 1."""
    rng, b = Rng(seed), torch.arange(n)[:, None, None]
    tokens = rng("tokens").integers(V - 1, b, torch.arange(2)[:, None], torch.arange(T)) + 1
    mask = torch.arange(T) <= rng("length").integers(T, b, torch.arange(2)[:, None])
    better = ((tokens == 1) & mask).sum(-1).float() + 0.1 * rng("noise").normal(
        b[..., 0], torch.arange(2)
    )
    first = (better[:, 0] >= better[:, 1]).long()
    at = torch.stack([1 - first, first], 1)[..., None].expand(-1, -1, T)
    prompts = Prompts(
        torch.ones(n, 1, dtype=torch.int64),
        torch.ones(n, 1, dtype=torch.bool),
        torch.zeros(n, dtype=torch.int64),
    )
    tokens, mask = tokens.gather(1, at), mask.gather(1, at)
    return Pairs(
        prompts,
        tokens,
        mask,
        torch.zeros_like(mask),
        torch.zeros(n, 2, T),
        torch.ones(n, 2, dtype=torch.bool),
        p=torch.ones(n),
        margin=torch.zeros(n),
    )


PAIRS = some_pairs()


def linear(members: int = 3) -> LinearModel:
    return LinearModel(members, vocabulary=9, rng=Rng(4), dtype=torch.float64)


def llamas(members: int = 2) -> Members:
    return Members(Config(9, 8, 1, 2, 1, 16), members, Rng(4)).double()


def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
    return bradley_terry(chosen, rejected, p=p, margin=margin)


class Centring:
    """A penalty that is a mean over pairs, and so can be a part of the loss as well."""

    def view(self, model: Any, each: Any, t: int) -> Tensor:
        return model(list(each))

    def __call__(self, view: Tensor, each: Any) -> Tensor:
        return 0.3 * centring(view[..., 0], view[..., 1]).mean(-1)


@pytest.mark.parametrize("make", [linear, llamas])
def test_a_penalty_of_the_batch_is_the_same_step_as_its_part_of_the_loss(make: Any) -> None:
    def whole(c: Tensor, r: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return loss(c, r, p, margin) + 0.3 * centring(c, r)

    a = fitted(make(), PAIRS, loss=loss, penalty=Centring(), loop=LOOP)(PAIRS)
    b, plain = (fitted(make(), PAIRS, loss=f, loop=LOOP)(PAIRS) for f in (whole, loss))
    assert torch.allclose(a, b, atol=1e-9) and not torch.allclose(a, plain, atol=1e-3)


def test_micro_batches_change_no_penalty() -> None:
    def run(rows: int) -> Tensor:
        with micro_batches(rows):
            return fitted(
                llamas(),
                PAIRS,
                loss=loss,
                penalty=Contrast(0.5, 0),
                loop=replace(LOOP, max_steps=4),
            )(PAIRS)

    assert torch.allclose(run(0), run(3), atol=1e-7)
    assert not torch.allclose(
        run(0),
        fitted(llamas(), PAIRS, loss=loss, loop=replace(LOOP, max_steps=4))(PAIRS),
        atol=1e-4,
    )


def test_a_member_sees_its_own_rows_alone() -> None:
    rows = [torch.arange(20), torch.arange(20, 40), torch.arange(40, 60)]
    turned = PAIRS.pick((torch.arange(60) >= 40).long()[:, None] ^ torch.tensor([[0, 1]]))
    a, b = (fitted(linear(), x, loss=loss, rows=rows, loop=LOOP).table for x in (PAIRS, turned))
    assert torch.equal(a[:2], b[:2]) and not torch.allclose(a[2], b[2])


@pytest.mark.parametrize("make", [linear, llamas])
def test_parameters_moved_by_a_constant_take_the_steps_of_a_model_that_begins_there(
    make: Any,
) -> None:
    """The gradient is taken at θ + δ and moves θ; so θ + δ goes the way of a model that began at θ
    + δ.
    """
    shift = 0.05
    model, begun = make(), make()
    with torch.no_grad():
        for p in begun.parameters():
            p.add_(shift)
    trained(
        model,
        PAIRS,
        loss=loss,
        moved=lambda m, t: {k: p + shift for k, p in m.named_parameters()},
        loop=LOOP,
    )
    trained(begun, PAIRS, loss=loss, loop=LOOP)
    for p, q in zip(model.parameters(), begun.parameters(), strict=True):
        assert torch.allclose(p + shift, q, atol=1e-8)


@pytest.mark.parametrize("make", [linear, llamas])
def test_what_heads_read_times_the_heads_is_the_score(make: Any) -> None:
    model = make()
    each = [PAIRS[torch.arange(5)]] * model.members
    for x in (PAIRS, each):
        assert torch.allclose(
            torch.einsum("mbnh,mh->mbn", model.hidden(x), model.heads()), model(x), atol=1e-12
        )


def test_two_heads_are_a_sum_and_the_first_is_what_remains() -> None:
    model = TwoHeads(linear(), Rng(1))
    both = model.both(PAIRS)
    assert torch.allclose(model(PAIRS), both.sum(-1))
    assert torch.allclose(model.freeze(("a", "b", "c"))(PAIRS), both[..., 0])
    with torch.no_grad():
        model.second.copy_(-3 * model.model.heads())
    assert torch.allclose(model.alignment(), torch.ones(3, dtype=torch.float64))
    with torch.no_grad():
        model.second.zero_()
    (slope,) = torch.autograd.grad(model.alignment().sum(), model.second)
    assert bool(torch.isfinite(slope).all())
    with pytest.raises(InputError, match="does not give them"):
        TwoHeads(model, Rng(0))


def test_folds_are_of_like_size_and_a_member_s_own() -> None:
    place = partition(23, 4, 5, Rng(0))
    assert all(sorted(torch.bincount(p).tolist()) == [4, 4, 5, 5, 5] for p in place)
    assert not torch.equal(place[0], place[1])
    with pytest.raises(InputError, match="--folds is 1"):
        partition(23, 4, 1, Rng(0))


def test_a_cross_fitted_vote_does_not_know_its_pair_s_label_and_an_in_sample_one_does() -> None:
    turned = PAIRS.pick((torch.arange(60) == 7).long()[:, None] ^ torch.tensor([[0, 1]]))
    for crossfit in (True, False):
        model = linear()
        before = copy.deepcopy(model.state_dict())
        a, b = (
            votes(model, x, loss=loss, folds=3, rounds=2, crossfit=crossfit, loop=LOOP)
            for x in (PAIRS, turned)
        )
        assert a.shape == (6, 60) and torch.equal(model.weight, before["weight"])
        assert torch.allclose(a[:, 7], -b[:, 7], atol=1e-6) is crossfit


def test_trust_turns_votes_into_log_odds() -> None:
    vote = torch.linspace(-2, 2, 401)
    assert trust(vote, torch.sigmoid(1.7 * vote)) == pytest.approx(1.7, abs=1e-4)
    assert trust(vote, (vote > 0).float()) == 20.0
    assert trust(vote, (vote < 0).float()) == 0.0


def test_attributes_count_what_they_name() -> None:
    got = attributes(PAIRS, "length, tokens:1-1,tokens:5-")
    assert torch.equal(got[..., 0], PAIRS.mask.sum(-1).float())
    assert torch.equal(got[..., 1], ((PAIRS.action == 1) & PAIRS.mask).sum(-1).float())
    assert torch.equal(got[..., 2], ((PAIRS.action >= 5) & PAIRS.mask).sum(-1).float())
    z = scaled(PAIRS, "length", PAIRS)
    assert float(z.mean()) == pytest.approx(0, abs=1e-6) and float(
        z.std(correction=0)
    ) == pytest.approx(1, abs=1e-6)
    with pytest.raises(InputError, match="no attribute 'width'"):
        attributes(PAIRS, "length,width")
    with pytest.raises(InputError, match="tokens:90-99 is 0 for every completion"):
        scaled(PAIRS, "length,tokens:90-99", PAIRS)


def test_the_average_of_linear_weights_is_the_average_of_scores_exactly() -> None:
    model = linear(4)
    trained(model, PAIRS, loss=loss, bootstrap=True, loop=LOOP)
    mean = model(PAIRS).mean(0)
    assert weight_average.hill(model, PAIRS, loss=loss) == pytest.approx(0, abs=1e-12)
    weight_average.average(model)
    assert torch.allclose(model(PAIRS), mean.expand(4, -1, -1), atol=1e-12)


def test_small_llamas_of_one_start_are_connected_and_others_are_not() -> None:
    apart, together = llamas(3), llamas(3)
    weight_average.of_one_start(together)
    assert torch.equal(together(PAIRS)[0], together(PAIRS)[2])
    for model in (apart, together):
        trained(model, PAIRS, loss=loss, loop=LOOP)
    near, far = (weight_average.hill(m, PAIRS, loss=loss) for m in (together, apart))
    assert near < 0.03 and far > 4 * near
    with pytest.raises(InputError, match="at least 2"):
        weight_average.average(linear(1))
