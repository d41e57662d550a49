"""D3S: entropies are the policy's, choices are shares, and what is left out stays as context."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from small import BANDIT, _built, small_world
from test_contract import drive

from assay.core import InputError, Rng
from assay.loops.entropies import entropies
from assay.recipes import d3s

SUMS = '{"task": "modular", "rewards": "outcome", "prompts": 12, "held_out": 6, "pairs": 12,'
SUMS += ' "taught": 400, "least": 2, "most": 2, "pass_rate": 0.8, "width": 32, "layers": 1,'
SUMS += ' "sft_steps": 120, "sft_lr": 0.01}'


def test_entropies_are_those_of_the_next_decision() -> None:
    task = _built("sums", SUMS).task
    policy: Any = task.reference
    x = policy.sample(task.prompts[:3], 4, Rng(5))
    found = entropies(policy, x, by="test")
    assert (found[x.mask] >= 0).all() and (found[~x.mask] == 0).all()
    # one completion by hand: every prefix is begun anew, and its next decision read
    state = policy.decoding(task.prompts[:1], 1, Rng(9))
    for t in range(int(x.lengths[0, 0])):
        p = state.next_logprobs()[0, 0].exp()
        want = -torch.special.xlogy(p, p).sum()
        torch.testing.assert_close(found[0, 0, t], want, atol=1e-6, rtol=1e-6)
        state.append(x.action[:1, :1, t])
    # the mean surprise of a policy's own decisions is its mean entropy
    many = policy.sample(task.prompts, 64, Rng(6))
    gap = (entropies(policy, many, by="test") + many.logp).sum(-1)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / gap.numel() ** 0.5
    held = replace(x, given=x.mask)
    with pytest.raises(InputError, match="one turn"):
        entropies(policy, held, by="test")


def test_a_table_is_equally_uncertain_everywhere() -> None:
    task = _built("table", json.dumps(BANDIT)).task
    x = task.reference.sample(task.prompts, 5, Rng(1))
    p = task.reference.log_probs(task.prompts).exp()  # type: ignore[attr-defined]
    want = -torch.special.xlogy(p, p).sum(-1)[:, None, None].expand_as(x.logp)
    torch.testing.assert_close(entropies(task.reference, x, by="test"), want)


def test_choices_are_shares_across_the_batch_or_within_a_group() -> None:
    value = torch.tensor([[-9.0, 8.0, 0.0, 0.0], [0.1, 0.2, 7.0, -6.0]])
    present = torch.ones(2, 4, dtype=torch.bool)
    batch = d3s.chosen(value, present, 0.25, across=True)
    assert batch.tolist() == [[True, True, False, False], [False] * 4]
    group = d3s.chosen(value, present, 0.5, across=False)
    assert group.tolist() == [[True, True, False, False], [False, False, True, True]]
    absent = d3s.chosen(value, present & (value < 5), 1.0, across=True)
    assert torch.equal(absent, value < 5)


def test_what_is_not_learned_from_stays_as_context() -> None:
    task = _built("sums", SUMS).task
    x = task.reference.sample(task.prompts[:2], 2, Rng(3))
    mask = x.mask.clone()
    mask[..., 0] = False
    mask[1, 1] = False
    kept = d3s.only(x, mask)
    assert kept.present.tolist() == [[True, True], [True, False]]
    whole, some = (task.reference.logp(y) for y in (x, kept))
    torch.testing.assert_close(some[mask], whole[mask])


def test_stats_say_what_is_kept_and_both_denominators_run() -> None:
    said = [
        r["stats"]
        for over in ("kept", "all")
        for r in drive(d3s, small_world(d3s), {"divide_by": over})
        if r["step"] == 1
    ]
    assert said[0]["kept/rollouts"] == pytest.approx(0.5) and said[0]["kept/tokens"] < 0.2
    assert said[0]["loss"] != said[-1]["loss"]
    with pytest.raises(InputError, match="--rollouts"):
        drive(d3s, small_world(d3s), {"rollouts": (0.0, 1.0)})
