"""VL-Rethinker: what is drawn, where a completion is cut, what replaces it, what is replayed."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world

from assay.core import Rng
from assay.errors import InputError
from assay.formulas.replay import drawn, replay_probabilities
from assay.loops.rethinking import RETHOUGHT, alone, put_back, rethought, trigger_tokens
from assay.recipes import vl_rethinker

F = torch.float64


def test_completions_are_drawn_by_the_size_of_their_advantage() -> None:
    a = torch.tensor([0.0, -1.0, 3.0, 0.0, 0.5], dtype=F)
    p = replay_probabilities(a)
    torch.testing.assert_close(p, torch.tensor([0.0, 1.0, 3.0, 0.0, 0.5], dtype=F) / 4.5)
    flat = replay_probabilities(a, alpha=0.0)
    torch.testing.assert_close(flat, torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=F) / 3)
    u = (torch.arange(90000, dtype=F) + 0.5) / 90000
    share = torch.bincount(drawn(p, u), minlength=5) / 90000
    torch.testing.assert_close(share.double(), p, atol=1e-4, rtol=0)
    ends = drawn(p, torch.tensor([0.0, 1 - 1e-17], dtype=F))
    assert ends.tolist() == [1, 4], "what has no probability is not drawn at the ends either"
    assert replay_probabilities(a * 0).eq(0).all()
    with pytest.raises(ValueError, match="all probabilities are 0"):
        drawn(replay_probabilities(a * 0), u)
    with pytest.raises(ValueError, match="alpha is -1"):
        replay_probabilities(a, alpha=-1.0)
    with pytest.raises(ValueError, match="not finite"):
        replay_probabilities(a * torch.nan)


def test_the_mean_of_drawn_advantages_is_that_of_their_squares() -> None:
    a = torch.tensor([-1.0, 3.0, 0.5], dtype=F)
    p = replay_probabilities(a)
    assert float((p * a).sum()) == pytest.approx(float((a.abs() * a).sum() / a.abs().sum()))


@functools.cache
def completions() -> tuple[Any, Any]:
    world = small_world(vl_rethinker)
    policy = world.task.reference
    return policy, policy.sample(world.task.prompts[:4], 3, Rng(3))


def test_a_rethought_completion_is_the_original_the_trigger_and_what_the_policy_says() -> None:
    policy, x = completions()
    ids = trigger_tokens(policy, x, ":", by="a test")
    assert policy.vocabulary.decode(ids) == ":"
    which, count = torch.tensor([[2, 0]] * 4), torch.tensor([2, 1, 0, 2])
    y = rethought(policy, x, which, count, ids, Rng(5))
    assert y.present.sum(1).tolist() == [2, 1, 0, 2] and not y.given.any()
    torch.testing.assert_close(y.logp[y.mask], policy.logp(y).detach()[y.mask], atol=1e-4, rtol=0)
    for b, k in y.present.nonzero().tolist():
        n = int(which[b, k])
        before = x.action[b, n][x.mask[b, n]].tolist()[
            : int(x.lengths[b, n] - x.ended[b, n].long())
        ]
        after = y.action[b, k][y.mask[b, k]].tolist()
        room = policy.max_tokens - len(ids) - int(x.lengths[b, n])
        cut = min(len(before), max(0, room))  # as much room is left as the answer had
        assert after[:cut] == before[:cut] and after[cut] == ids[0] and len(after) > cut + 1
    z = put_back(x, y, which, y.present & torch.tensor([[True, False]] * 4))
    assert z.extra[RETHOUGHT].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert z.text()[0][2] == y.text()[0][0] and z.text()[0][:2] == x.text()[0][:2]
    with pytest.raises(InputError, match="--trigger is ''"):
        trigger_tokens(policy, x, "", by="a test")


def test_each_completion_alone_has_its_prompt_its_values_and_the_same_log_probability() -> None:
    policy, x = completions()
    mask = x.mask.clone()
    mask[1, 0] = False  # an absent completion
    x = replace(x, mask=mask, logp=x.logp.masked_fill(~mask, 0.0))
    rows = alone(x, a=torch.arange(12.0).reshape(4, 3))
    assert rows.extra["a"][:, 0].tolist() == [0, 1, 2, *range(4, 12)]
    assert rows.prompts.row.tolist() == [*[int(x.prompts.row[b]) for b in (0, 0, 0, 1, 1)]] + [
        int(x.prompts.row[b]) for b in (2, 2, 2, 3, 3, 3)
    ]
    torch.testing.assert_close(policy.logp(rows)[:, 0], policy.logp(x)[x.present])


LOOP = replace(SMALL, epochs=2, mini_batch_size=3, learning_rate=0.003)


def stats(**given: Any) -> list[dict[str, Any]]:
    read = drive(vl_rethinker, small_world(vl_rethinker), given, loop=LOOP)
    return [r for r in read if r["step"] and r["tag"] != "best"]


@pytest.mark.full
def test_replay_takes_from_older_steps_and_rethinking_is_counted() -> None:
    mine, plain = stats(capacity=4.0, skip=0.0), stats(capacity=0.0, rethink=0)
    assert [r["stats"]["replay/older"] > 0 for r in mine] == [False, True, True, True]
    assert all(0 < r["stats"]["replay/informative"] < 1 for r in plain)
    assert all(0 <= r["stats"]["rethought/right"] <= 1 for r in mine)
    assert mine[-1]["generated"] == plain[-1]["generated"] * 1.5, "two of four once more"
    half, alike = stats(keep="half", rethink=0), stats(keep="half", rethink=0, alpha=0.0)
    assert len({r[-1]["kl"] for r in (mine, plain, half, alike)}) == 4
    for given, said in (
        ({"keep": "x"}, "--keep is 'x'"),
        ({"retain": "x"}, "--retain is 'x'"),
        ({"skip": 2.0}, "--skip 2.0"),
    ):
        with pytest.raises(InputError, match=said):
            stats(**given)
