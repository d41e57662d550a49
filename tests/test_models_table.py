"""The table policy: drawing has the stated law, addresses decide alone, and its optima are what
they are called.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from assay.core import Policy, Rng, Samples
from assay.errors import InputError
from assay.models.policies.table import TablePolicy, Words


def policy(
    rows: int = 3,
    tokens: int = 4,
    length: int = 5,
    seed: int = 1,
    dtype: torch.dtype = torch.float32,
) -> TablePolicy:
    r, v = torch.arange(rows)[:, None], torch.arange(tokens)
    return TablePolicy(Rng(seed)("logits").normal(r, v, dtype=dtype), length=length)


def same(x: Samples, y: Samples) -> bool:
    return all(
        torch.equal(getattr(x, f), getattr(y, f))
        for f in ("action", "mask", "given", "logp", "ended")
    )


def cut(x: Samples, lengths: Tensor) -> Samples:
    """The first decisions of each answer, as if it were not finished."""
    keep = torch.arange(x.mask.shape[2]) < lengths[:, :, None]
    return Samples(
        x.prompts,
        torch.where(keep, x.action, 0),
        x.mask & keep,
        x.given & keep,
        torch.where(keep, x.logp, 0.0),
        torch.zeros_like(x.ended),
    )


def test_it_is_a_policy() -> None:
    assert isinstance(policy(), Policy)


def test_frequencies_are_the_probabilities() -> None:
    p = policy()
    x = p.sample(p.prompts(torch.arange(3).repeat(20)), 500, Rng(0)("sample"))
    want = p.log_probs(p.prompts(torch.arange(3))).exp().detach()
    for row in range(3):
        got = torch.bincount(x.action[x.prompts.row == row].flatten(), minlength=4)
        expected = want[row] * got.sum()
        assert float(((got - expected) ** 2 / expected).sum()) < 3 + 4.5 * math.sqrt(
            6
        )  # chi-square of 3 degrees


def test_decisions_are_independent() -> None:
    p = policy(rows=1)
    pairs = (
        p.sample(p.prompts(torch.zeros(20, dtype=torch.int64)), 1000, Rng(0)("sample"))
        .action[:, :, :2]
        .flatten(0, 1)
    )
    got = torch.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=16)
    one = p.logits[0].softmax(-1).detach()
    expected = torch.outer(one, one).flatten() * len(pairs)
    assert float(((got - expected) ** 2 / expected).sum()) < 15 + 4.5 * math.sqrt(30)


def test_a_token_of_no_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, -20.0, -math.inf]])
    p = TablePolicy(logits, length=50)
    x = p.sample(p.prompts(torch.zeros(50, dtype=torch.int64)), 100, Rng(0)("sample"))
    assert set(x.action.unique().tolist()) <= {1, 3} and x.logp.isfinite().all()


def test_logp_at_drawing_is_logp() -> None:
    p = policy()
    x = p.sample(
        p.prompts(torch.tensor([2, 0, 0, 1])), torch.tensor([3, 0, 1, 2]), Rng(0)("sample")
    )
    torch.testing.assert_close(p.logp(x).detach(), x.logp, rtol=0, atol=1e-6)
    assert p.logp(x).requires_grad and not x.logp.requires_grad


def test_a_number_of_answers_for_each_prompt() -> None:
    p, n = policy(), torch.tensor([3, 0, 1])
    prompts = p.prompts(torch.arange(3))
    x, full = p.sample(prompts, n, Rng(0)("sample")), p.sample(prompts, 3, Rng(0)("sample"))
    assert torch.equal(x.present, torch.arange(3) < n[:, None]) and torch.equal(x.ended, x.present)
    assert torch.equal(x.action[x.mask], full.action[x.mask]) and not x.logp[~x.present].any()


def test_rows_and_answers_are_drawn_by_address_alone() -> None:
    p, rng = policy(), Rng(0)("sample")
    whole = p.sample(p.prompts(torch.tensor([2, 0, 1, 1])), 6, rng)
    rows = torch.tensor([3, 1])
    part = p.sample(p.prompts(torch.tensor([1, 0])), 2, rng[rows])
    assert same(part, whole[rows].pick(torch.tensor([[0, 1], [0, 1]])))
    assert not torch.equal(whole.action[2], whole.action[3])  # the same prompt twice is two places


def test_going_on_gives_what_would_have_been_drawn() -> None:
    p, rng, n = policy(), Rng(0)("sample"), torch.tensor([3, 2, 3])
    prompts = p.prompts(torch.arange(3))
    whole = p.sample(prompts, n, rng)
    lengths = Rng(5).integers(6, torch.arange(3)[:, None], torch.arange(3))
    assert same(p.sample(prompts, n, rng, start=cut(whole, lengths)), whole)
    assert same(p.sample(prompts, n, rng, start=whole), whole)


def test_going_on_from_given_tokens_keeps_them_given() -> None:
    p, rng = policy(), Rng(0)("sample")
    prompts = p.prompts(torch.arange(3))
    first = p.sample(prompts, 1, Rng(9))
    given = cut(first, torch.full((3, 1), 2))
    given = Samples(
        prompts,
        given.action,
        torch.zeros_like(given.mask),
        given.mask,
        torch.zeros_like(given.logp),
        given.ended,
    )
    x = p.sample(prompts, 4, rng, start=given)
    assert torch.equal(x.action[:, :, :2], first.action[:, :, :2].expand(3, 4, 2)) and x.ended.all()
    assert torch.equal(
        x.given, torch.tensor([True, True, False, False, False]).expand(3, 4, 5)
    ) and torch.equal(x.mask, ~x.given)
    assert not torch.equal(x.action[:, 0, 2:], x.action[:, 1, 2:])


def test_answers_that_do_not_fit_are_refused() -> None:
    p = policy()
    prompts = p.prompts(torch.arange(3))
    with pytest.raises(InputError, match=r"shape \[3, 2, 5\], not \[B, 1 or 3, at most 5\]"):
        p.sample(prompts, 3, Rng(0), start=p.sample(prompts, 2, Rng(0)))
    with pytest.raises(InputError, match="prompt 7 has no row in a table of 3 contexts"):
        p.sample(p.prompts(torch.tensor([7])), 1, Rng(0))


def test_sampling_is_walking_to_the_end() -> None:
    p, rng, n = policy(), Rng(0)("sample"), torch.tensor([2, 4, 1])
    prompts = p.prompts(torch.tensor([1, 1, 2]))
    state = p.decoding(prompts, n, rng)
    while bool(state.open.any()):
        torch.testing.assert_close(state.next_logprobs()[:, 0], p.log_probs(prompts))
        state.append(state.draw())
    assert same(state.samples(), p.sample(prompts, n, rng))


def test_a_walk_takes_gives_and_picks() -> None:
    p = policy(rows=1, length=3)
    state = p.decoding(p.prompts(torch.zeros(2, dtype=torch.int64)), 2, Rng(0))
    state.append(torch.tensor([[0, 1], [2, 3]]))
    state.force(torch.tensor([[3, 2], [1, 0]]))
    half = state.samples()
    assert (
        half.action[:, :, :2].tolist() == [[[0, 3], [1, 2]], [[2, 1], [3, 0]]]
        and not half.ended.any()
    )
    state.select(torch.tensor([[1, 1], [0, 1]]))
    state.append(torch.tensor([[0, 1], [0, 1]]))
    state.append(torch.tensor([[3, 3], [3, 3]]))  # complete answers ignore it
    x = state.samples()
    assert x.action.tolist() == [[[1, 2, 0], [1, 2, 1]], [[2, 1, 0], [3, 0, 1]]] and x.ended.all()
    assert x.mask.tolist() == [[[True, False, True]] * 2] * 2 and torch.equal(x.given, ~x.mask)
    torch.testing.assert_close(p.logp(x).detach(), x.logp)
    assert half.action[0, 0, 0] == 0  # what was read before is not changed by going on


def test_kl_is_the_sum_over_all_answers() -> None:
    p, q = policy(length=3, dtype=torch.float64), policy(length=3, seed=2, dtype=torch.float64)
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))[None].expand(3, -1, -1)
    mask = torch.ones_like(every, dtype=torch.bool)
    x = Samples(
        p.prompts(torch.arange(3)), every, mask, ~mask, torch.zeros(every.shape), mask.any(-1)
    )
    lp, lq = p.logp(x).sum(-1), q.logp(x).sum(-1)
    torch.testing.assert_close(lp.exp().sum(-1), torch.ones(3, dtype=torch.float64))
    expected = (lp.exp() * (lp - lq)).sum(-1)
    torch.testing.assert_close(p.kl(q, x), expected[:, None].expand(3, 64).detach())
    assert p.kl(p, x).abs().max() < 1e-12 and not p.kl(q, x).requires_grad


def test_the_kl_of_an_absent_answer_is_zero_and_given_tokens_cost_nothing() -> None:
    p, q = policy(), policy(seed=2)
    prompts = p.prompts(torch.arange(3))
    x = p.sample(prompts, torch.tensor([2, 1, 2]), Rng(0))
    x = Samples(
        x.prompts,
        x.action,
        x.mask & (torch.arange(5) > 0),
        x.mask & (torch.arange(5) == 0),
        x.logp,
        x.ended,
    )
    kl, one = p.kl(q, x), p.kl_per_decision(q, prompts).detach()
    assert float(kl[1, 1]) == 0
    torch.testing.assert_close(kl[:, 0], 4 * one)


def test_the_exact_kl_is_to_a_table() -> None:
    class Foreign:
        kl_kind = "sampled"
        sample = logp = kl = state = scorer = encode = copy = parameters = state_dict = (
            load_state_dict
        ) = len

    p = policy()
    with pytest.raises(InputError, match="not to a Foreign"):
        p.kl(Foreign(), p.sample(p.prompts(torch.arange(3)), 1, Rng(0)))


def test_a_copy_is_trainable_and_its_own() -> None:
    p = policy()
    p.requires_grad_(False)
    twin = p.copy()
    assert twin.logits.requires_grad and not p.logits.requires_grad
    with torch.no_grad():
        twin.logits.add_(1)
    assert (
        not torch.equal(twin.logits, p.logits) and twin.words == p.words and twin.length == p.length
    )


def test_text_goes_round() -> None:
    p = policy()
    x = p.sample(p.prompts(torch.tensor([2, 0])), 3, Rng(0)("sample"))
    y = p.encode(x.prompts.text(), x.text())
    assert (
        torch.equal(y.action, x.action)
        and torch.equal(y.mask, x.mask)
        and y.ended.all()
        and y.logp.isnan().all()
    )
    assert torch.equal(y.prompts.row, x.prompts.row) and y.prompts.text() == ["x2", "x0"]
    uneven = p.encode(["x0", "x1"], [["a0 a1 a2 a3 a0"], ["a1 a1 a1 a1 a1", "a2 a2 a2 a2 a2"]])
    assert (
        uneven.present.tolist() == [[True, False], [True, True]]
        and not uneven.logp[0, 1].isnan().any()
    )


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        ("x9", "a0 a0 a0 a0 a0", "row 0, prompt: 'x9' is no context"),
        ("x0", "a0 a0", "row 0, completion 0: 'a0 a0' is not 5"),
        ("x0", "a0 a0 a0 a0 b7", "row 0, completion 0"),
    ],
)
def test_text_that_is_not_of_the_table_is_named(prompt: str, answer: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        policy().encode([prompt], [[answer]])


def test_names_must_fit_the_table() -> None:
    with pytest.raises(InputError, match="1 context names and 2 token names, got 2 and 1"):
        TablePolicy(torch.zeros(1, 2), words=Words(("a",), ("x", "y")))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_score_sees_only_what_came_before_it(rows: int) -> None:
    p = policy(rows=rows)
    scorer = p.value_head(2, Rng(0)("critic"))
    x = p.sample(p.prompts(torch.arange(3) % rows), 4, Rng(0)("sample"))
    v = scorer(x)
    assert v.shape == (3, 4, 6, 2) and v.requires_grad
    for t in range(5):
        changed = replace(x, action=torch.where(torch.arange(5) >= t, (x.action + 1) % 4, x.action))
        assert torch.equal(scorer(changed)[:, :, : t + 1], v[:, :, : t + 1])
        assert not torch.equal(scorer(changed)[:, :, t + 1 :], v[:, :, t + 1 :])
    assert torch.equal(p.value_head(2, Rng(0)("critic")).weight, scorer.weight)


def test_a_score_can_be_the_exact_value_of_an_additive_reward() -> None:
    p = policy(rows=1, dtype=torch.float64)
    score = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    scorer = p.value_head(1, Rng(0))
    with torch.no_grad():
        scorer.weight[0, :, 0] = score
        scorer.bias[0, :, 0] = (p.logits[0].softmax(-1) * score).sum() * (5 - torch.arange(6))
    x = p.sample(p.prompts(torch.zeros(200, dtype=torch.int64)), 50, Rng(0)("sample"))
    v, final = scorer(x)[..., 0].detach(), score[x.action].sum(-1)
    torch.testing.assert_close(v[:, :, -1], final)
    assert (
        float((v[:, :, 1:] - v[:, :, :-1]).mean((0, 1)).abs().max()) < 4.5 * 2 / 100
    )  # a martingale
