"""Pretraining seeds and fine-tuning seeds: what each sets, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_fit_parts import PAIRS, loss

from assay.core import InputError, Loop, Rng, Samples, Task
from assay.models.backbones.llama import Config, Llama
from assay.rewards.pretraining import (
    Joined,
    Known,
    as_texts,
    fine_tuned,
    pretrained,
    text_loss,
    texts_of,
    token_logps,
)
from assay.worlds import table

KNOWN = Known.of(PAIRS)
TEXTS = as_texts(KNOWN(PAIRS))
SIZE = Config(len(KNOWN), 8, 1, heads=2, kv_heads=2, inner=16)
LOOP = Loop(max_steps=60, batch_size=16, learning_rate=0.02)


def test_a_text_is_its_prompt_and_its_completion_in_order() -> None:
    both = PAIRS.prompts.mask.sum() * 2 + (PAIRS.mask | PAIRS.given).sum()
    assert int(TEXTS.mask.sum()) + len(TEXTS) == int(both) and len(TEXTS) == 2 * len(PAIRS)
    some = as_texts(PAIRS)
    held = PAIRS.mask[3, 1] | PAIRS.given[3, 1]
    own = [*PAIRS.prompts.tokens[3][PAIRS.prompts.mask[3]], *PAIRS.action[3, 1][held]]
    row = [*some.prompts.tokens[7], *some.action[7, 0][some.mask[7, 0]]]
    assert [int(t) for t in row] == [int(t) for t in own]


def test_tokens_are_numbered_anew_and_strangers_are_one_token() -> None:
    known = Known(torch.tensor([3, 7, 9]))
    seen = replace(PAIRS, action=torch.full_like(PAIRS.action, 7))
    assert bool((known(seen).action == 1).all()) and len(known) == 4
    assert bool((known(replace(PAIRS, action=torch.full_like(PAIRS.action, 8))).action == 3).all())
    assert torch.equal(KNOWN.ids[KNOWN(PAIRS).action[PAIRS.mask]], PAIRS.action[PAIRS.mask])


def test_log_probabilities_are_those_of_the_plain_model() -> None:
    model = Llama(SIZE, Rng(4)).requires_grad_(False)
    ids = torch.cat([TEXTS.prompts.tokens, TEXTS.action[:, 0]], 1)
    keep = torch.cat([TEXTS.prompts.mask, TEXTS.mask[:, 0]], 1)
    each = model.logits(model.hidden(ids, keep)).log_softmax(-1)[:, :-1]
    plain = each.gather(-1, ids[:, 1:, None])[..., 0] * TEXTS.mask[:, 0]
    assert torch.allclose(token_logps(model, TEXTS)[:, 0], plain, atol=1e-5)
    assert text_loss(model, TEXTS, rows=7) == pytest.approx(float(-plain.sum() / TEXTS.mask.sum()))


@pytest.mark.full
def test_a_pretraining_seed_is_all_that_tells_two_language_models_apart() -> None:
    one, same, other = (
        pretrained(SIZE, TEXTS, seed=s, loop=LOOP, rng=Rng(1)).weights() for s in (0, 0, 1)
    )
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.allclose(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    none = pretrained(SIZE, TEXTS, seed=0, loop=replace(LOOP, max_steps=0), rng=Rng(1))
    first = Llama(SIZE, Rng(1)("pretraining seed", 0)("weights"))
    assert all(torch.equal(w, first.weights()[k]) for k, w in none.weights().items())
    trained = Llama(SIZE, weights={k: w.detach() for k, w in one.items()})
    assert text_loss(trained, TEXTS) < text_loss(none, TEXTS) - 0.3


def test_members_begin_as_their_trunk_with_a_head_of_their_own() -> None:
    trunks = [Llama(SIZE, Rng(s)) for s in (5, 6)]
    kw: dict[str, Any] = {"seeds": 2, "loss": loss, "rng": Rng(2)}
    fresh = fine_tuned(trunks, KNOWN(PAIRS), loop=Loop(max_steps=0), **kw)
    w = fresh.model.weights()
    for m, trunk in enumerate([trunks[0], trunks[0], trunks[1], trunks[1]]):
        for name, value in trunk.weights().items():
            assert torch.equal(w[f"backbone.{name}"][m], value)
    assert len({tuple(h.tolist()) for h in w["head"]}) == 4
    moved = fine_tuned(trunks, KNOWN(PAIRS), loop=Loop(max_steps=3, batch_size=8), **kw)
    name = "backbone.model.embed_tokens.weight"
    assert not torch.allclose(moved.model.weights()[name], w[name]), "the trunk is trained too"
    assert not torch.equal(moved.model.weights()[name][0], moved.model.weights()[name][1])
    wide = Llama(replace(SIZE, inner=24), Rng(0))
    with pytest.raises(InputError, match="one size"):
        fine_tuned([trunks[0], wide], KNOWN(PAIRS), loop=LOOP, **kw)


def test_joined_members_score_in_order_and_can_be_chosen() -> None:
    kw: dict[str, Any] = {"loss": loss, "loop": Loop(max_steps=0), "rng": Rng(2)}
    pairs = KNOWN(PAIRS)
    parts = [fine_tuned([Llama(SIZE, Rng(s))], pairs, seeds=n, **kw) for s, n in ((1, 2), (2, 1))]
    every = Joined(KNOWN, parts)
    found = every(PAIRS)
    assert found.shape[0] == len(every.names) == 3
    assert torch.equal(found[2], parts[1](pairs)[0])
    assert torch.equal(every.only([2, 0])(PAIRS), found[[2, 0]])


def test_the_text_is_the_demonstrations_else_the_pairs() -> None:
    demos: Samples = PAIRS.pick(torch.zeros(len(PAIRS), 1, dtype=torch.int64))
    bag = table.world(members=1, pairs=20, prompts=2).task
    without = Task(prompts=bag.prompts, reference=bag.reference, pairs=PAIRS)
    with_demos = without.replaced(demos=demos)
    assert texts_of(with_demos, "") is demos and texts_of(with_demos, "pairs") is PAIRS
    assert texts_of(without, "") is PAIRS
    with pytest.raises(InputError, match="--demos"):
        texts_of(without, "demos")
    with pytest.raises(InputError, match="--text is 'x'"):
        texts_of(without, "x")
