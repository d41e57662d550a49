"""A language model as a policy: what is drawn is what is scored, at any cut, whoever the neighbours
are and whoever leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from alike import EXACT, same
from torch import Tensor

from assay.core import Policy, Prompts, Samples, cat
from assay.core.rng import Rng
from assay.engine.parallel import meter
from assay.errors import InputError
from assay.models.backbones.llama import Config, Llama
from assay.models.policies import causal
from assay.models.policies.causal import Causal
from assay.models.samplers.categorical import truncated
from assay.models.vocabulary import Vocabulary

WORDS = Vocabulary([f"w{i}" for i in range(9)])
CUTS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.6},
    {"top_k": 4},
    {"top_p": 0.7},
    {"temperature": 1.5, "top_k": 6, "top_p": 0.8, "min_tokens": 3},
]


def policy(seed: int = 1, **settings: Any) -> Causal:
    backbone = Llama(Config(len(WORDS), 16, 2, 4, 2, 24), Rng(seed)).double()
    return Causal(backbone, WORDS, **{"max_tokens": 7, **settings})


def prompts() -> Prompts:
    return WORDS.prompts(["w1 w2", "w3", "", "w1 w4 w5 w6"])


def plain_logp(p: Causal, x: Samples) -> Tensor:
    """The plain twin: every answer a padded row with its prompt, every logit held."""
    B, N = x.mask.shape[:2]
    P = x.prompts.tokens.shape[1]
    tokens = torch.cat([x.prompts.tokens[:, None].expand(B, N, P), x.action], -1).flatten(0, 1)
    keep = torch.cat([x.prompts.mask[:, None].expand(B, N, P), x.mask | x.given], -1).flatten(0, 1)
    logits = p.backbone.logits(p.backbone.hidden(tokens, keep))[:, P - 1 : -1].unflatten(0, (B, N))
    barred = torch.zeros(logits.shape, dtype=torch.bool)
    barred[..., [WORDS.pad, WORDS.bos]] = True
    barred[:, :, : p.min_tokens, WORDS.eos] = True
    law = truncated(
        logits.masked_fill(barred, -torch.inf),
        temperature=p.temperature,
        top_k=p.top_k,
        top_p=p.top_p,
    )
    each = law.gather(-1, x.action[..., None])[..., 0]
    return torch.where(x.mask, each, 0.0)


@pytest.fixture(autouse=True)
def _global_stream_untouched() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_a_policy() -> None:
    assert isinstance(policy(), Policy)


@pytest.mark.parametrize("cut", CUTS)
def test_scoring_equals_sampling_equals_the_plain_twin(cut: dict[str, Any]) -> None:
    p = policy(**cut)
    x = p.sample(prompts(), 16, Rng(3))
    again = p.logp(x)
    torch.testing.assert_close(again.detach(), x.logp, **EXACT)
    torch.testing.assert_close(again, plain_logp(p, x), **EXACT)
    assert (x.logp[x.mask] <= 0).all() and (x.logp[~x.mask] == 0).all()
    weight = torch.arange(x.mask.numel(), dtype=torch.float64).reshape(x.mask.shape).cos()
    mine = torch.autograd.grad((again * weight).sum(), list(p.parameters()))
    plain = torch.autograd.grad((plain_logp(p, x) * weight).sum(), list(p.parameters()))
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_float32_scoring_equals_sampling() -> None:
    p = policy(top_p=0.95).float()
    x = p.sample(prompts(), 32, Rng(3))
    torch.testing.assert_close(p.logp(x).detach(), x.logp, rtol=0, atol=2e-5)


def test_ends_are_decisions_and_truncation_is_no_end() -> None:
    p = policy(min_tokens=2)
    x = p.sample(prompts(), 64, Rng(5))
    end = (x.action == WORDS.eos) & x.mask
    assert torch.equal(end.any(-1), x.ended)
    assert (x.lengths[~x.ended] == 7).all() and (~x.ended).any() and x.ended.any()
    assert (x.lengths > 2).all()  # at least two words before the end token
    assert (end.sum(-1) <= 1).all() and (x.mask.long().diff(dim=-1) <= 0).all()
    assert not ((x.action == WORDS.bos) | (x.action == WORDS.pad))[x.mask].any()
    assert x.text()[0][0] == " ".join(
        WORDS.words[i] for i in x.action[0, 0][x.mask[0, 0]].tolist() if i > 2
    )


@pytest.mark.parametrize("cut", [CUTS[0], CUTS[4]])
def test_sample_is_the_walk_to_its_end(cut: dict[str, Any]) -> None:
    p = policy(**cut)
    state = p.decoding(prompts(), 5, Rng(3))
    while state.open.any():
        dist, tokens = state.next_logprobs().exp(), state.draw()
        torch.testing.assert_close(dist.sum(-1), torch.ones(4, 5, dtype=torch.float64))
        assert (dist.gather(-1, tokens[..., None]) > 0).all()
        state.append(tokens)
    assert state.open.shape == (4, 5)
    same(state.samples(), p.sample(prompts(), 5, Rng(3)))


def test_what_was_first_drawn_in_inference_mode_can_be_learned_from() -> None:
    p = policy(min_tokens=1)
    causal._bars.cache_clear()
    with torch.inference_mode():
        p.sample(prompts(), 2, Rng(3))
    x = p.sample(prompts(), 2, Rng(3))
    p.logp(x).sum().backward()


def test_rows_keep_their_answers_wherever_they_are_drawn() -> None:
    p, x = policy(), prompts()
    whole = p.sample(x, 6, Rng(3))
    for rows in (
        torch.tensor([0, 1]),
        torch.tensor([2, 3]),
        torch.tensor([3]),
        torch.tensor([3, 0]),
    ):
        part = p.sample(x[rows], 6, Rng(3)[rows])
        same(part, whole[rows])
    halves = cat([p.sample(x[:2], 6, Rng(3)[:2]), p.sample(x[2:], 6, Rng(3)[2:4])])
    same(halves, whole)
    fewer = p.sample(x, 2, Rng(3))
    same(fewer, whole.pick(torch.tensor([[0, 1]]).expand(4, 2)))


def test_scores_do_not_depend_on_padding_or_neighbours() -> None:
    p, other = policy(), policy(8)
    x = other.sample(prompts(), 6, Rng(3))
    whole = p.logp(x).detach()
    for b in range(4):
        alone = x[torch.tensor([b])]
        torch.testing.assert_close(p.logp(alone).detach()[0], whole[b], **EXACT)
        full = alone.prompts.mask[0]
        shortest = Prompts(
            alone.prompts.tokens[:, full], alone.prompts.mask[:, full], alone.prompts.row
        )
        bare = Samples(shortest, alone.action, alone.mask, alone.given, alone.logp, alone.ended)
        torch.testing.assert_close(p.logp(bare).detach()[0], whole[b], **EXACT)
    order = torch.tensor([[4, 1, 5, 0, 0, 2]]).expand(4, 6)
    torch.testing.assert_close(
        p.logp(x.pick(order)).detach(), whole.gather(1, order[..., None].expand_as(whole)), **EXACT
    )
    torch.testing.assert_close(
        p.logp(x.widened(11)).detach()[..., : whole.shape[2]], whole, **EXACT
    )


def test_n_may_differ_by_prompt_and_absent_answers_are_all_false() -> None:
    p, n = policy(), torch.tensor([3, 0, 1, 5])
    meter.counts["generated"] = 0
    x = p.sample(prompts(), n, Rng(3))
    assert torch.equal(x.present, torch.arange(5) < n[:, None])
    assert meter.counts["generated"] == 9
    full = p.sample(prompts(), 5, Rng(3))
    T = x.mask.shape[2]
    assert torch.equal(x.action[x.present], full.action[x.present][:, :T])
    assert (p.logp(x)[~x.present] == 0).all()
    nobody = p.sample(prompts(), torch.zeros(4, dtype=torch.int64), Rng(3))
    assert not nobody.present.any()
    assert p.logp(nobody).shape == nobody.mask.shape


def test_start_is_gone_on_from() -> None:
    """A draw cut after two tokens and gone on from at the same address is the draw itself."""
    p = policy()
    whole = p.sample(prompts(), 6, Rng(3))
    state = p.decoding(prompts(), 6, Rng(3))
    for _ in range(2):
        state.append(state.draw())
    begun = state.samples()
    assert not begun.ended.all()
    same(p.sample(prompts(), 6, Rng(3), begun), whole)
    given = Samples(
        begun.prompts, begun.action, begun.mask & False, begun.mask, begun.logp * 0, begun.ended
    )
    x = p.sample(prompts(), 6, Rng(3), given)
    assert torch.equal(x.given[..., :2], begun.mask) and torch.equal(x.action, whole.action)
    torch.testing.assert_close(p.logp(x).detach(), torch.where(x.mask, whole.logp, 0.0), **EXACT)
    one = p.sample(prompts(), 4, Rng(3), begun.pick(torch.zeros(4, 1, dtype=torch.int64)))
    assert (one.action[:, :, :2] == begun.action[:, :1]).all()
    with pytest.raises(InputError, match="not \\[4, 1 or 3, at most 7\\]"):
        p.sample(prompts(), 3, Rng(3), begun)


def test_a_walk_takes_given_tokens_and_picks() -> None:
    p = policy()
    state = p.decoding(prompts(), 3, Rng(3))
    state.force(torch.full((4, 3), 5))
    state.append(state.draw())
    index = torch.tensor([[2, 2, 0, 1], [0, 0, 0, 0], [1, 2, 2, 2], [0, 1, 2, 2]])
    before = state.samples()
    state.select(index)
    same(state.samples(), before.pick(index))
    while state.open.any():
        state.append(state.draw())
    x = state.samples()
    assert x.given[:, :, 0].all() and not x.given[:, :, 1:].any()
    torch.testing.assert_close(p.logp(x).detach(), x.logp, **EXACT)
    torch.testing.assert_close(p.logp(x), plain_logp(p, x), **EXACT)
    twins = x.action[0, 0, 2:].tolist(), x.action[0, 1, 2:].tolist()
    assert twins[0] != twins[1]  # doubled answers go their own ways


def test_kl_is_the_mean_log_ratio_and_zero_at_home() -> None:
    p, q = policy(1), policy(1).copy(temperature=1.3).frozen()
    x = p.sample(WORDS.prompts(["w1 w2"]), 6000, Rng(3))
    kl = p.kl(q, x)
    ratio = (x.logp - q.logp(x)).sum(-1)
    assert kl.shape == (1, 6000) and (kl >= 0).all() and not kl.requires_grad
    error = float((kl - ratio).std() / 6000**0.5)
    assert abs(float((kl - ratio).mean())) < 4 * error
    assert kl.std() < ratio.std()  # the reason to sum whole distributions
    assert (p.kl(p.copy(), x) == 0).all()


def test_kl_by_hand_at_one_decision_and_infinite_where_the_reference_is_cut() -> None:
    p, q = policy(1, max_tokens=1), policy(2, max_tokens=1)
    x = p.sample(prompts(), 2, Rng(3))
    a, b = (m.decoding(prompts(), 1, Rng(0)).next_logprobs().exp()[:, 0] for m in (p, q))
    want = torch.where(a > 0, a * (a / b).log(), 0.0).sum(-1)
    torch.testing.assert_close(p.kl(q, x), want[:, None].expand(4, 2), **EXACT)
    assert (p.kl(q.copy(top_k=2), x) == torch.inf).all()
    assert torch.isfinite(p.copy(top_k=2).kl(q, x)).all()


def test_large_vocabularies_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = policy(1), policy(2)
    x = q.sample(prompts(), 6, Rng(3))
    results = []
    for chunk in (1 << 24, 5 * len(WORDS)):
        monkeypatch.setattr(causal, "_CHUNK", chunk)
        logp = p.logp(x)
        results.append(
            (logp.detach(), p.kl(q, x), torch.autograd.grad(logp.sum(), list(p.parameters())))
        )
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_scorer_reads_what_came_before_each_decision() -> None:
    p = policy()
    x = p.sample(prompts(), 5, Rng(3))
    head = p.value_head(3, Rng(9))
    values = head(x)
    B, N, T = x.mask.shape
    assert values.shape == (B, N, T + 1, 3)
    assert torch.equal(
        values[:, :1, 0].expand(B, N, 3), values[:, :, 0]
    )  # a prompt's answers share entry 0
    changed = x.action.clone()
    changed[:, :, 2] = 3 + (changed[:, :, 2] + 1) % 9
    moved = head(Samples(x.prompts, changed, x.mask, x.given, x.logp, x.ended)) != values
    assert not moved[:, :, :3].any()
    assert moved[:, :, 3:][x.mask[:, :, 2]].all()
    assert not moved[~x.mask[:, :, 2]].any()
    before = [t.clone() for t in p.parameters()]
    values.square().mean().backward()
    torch.optim.SGD(head.parameters(), 0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(before, p.parameters(), strict=True))
    assert all(t.grad is not None for t in head.parameters())


def test_copies_share_no_storage_and_the_reference_is_frozen() -> None:
    reference = policy(temperature=0.7, top_p=0.9).frozen()
    child = reference.copy()
    assert not any(t.requires_grad for t in reference.parameters()) and all(
        t.requires_grad for t in child.parameters()
    )
    assert not {t.data_ptr() for t in reference.parameters()} & {
        t.data_ptr() for t in child.parameters()
    }
    assert (child.temperature, child.top_p, child.max_tokens) == (0.7, 0.9, 7)
    assert not reference.logp(reference.sample(prompts(), 2, Rng(1))).requires_grad
    other = policy(5)
    other.load_state_dict(reference.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), reference.parameters(), strict=True)
    )
