"""Soft thoughts: the density of their noise, what they are read as, and who has them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from assay.core import Rng, Samples
from assay.errors import InputError
from assay.formulas.soft_thinking import gumbel_logp, soft_mixture
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.models.policies.soft_thinking import SoftThinking, Thoughts
from assay.models.samplers.soft_decoding import IDS, NOISY
from assay.worlds.arithmetic import VOCABULARY

F = torch.float64
U = torch.linspace(-6, 40, 46001, dtype=F)  # of G − log p: beyond, next to no mass
PLAIN = Causal(
    Llama(Config(len(VOCABULARY), 16, 1, heads=2, kv_heads=2, inner=32), Rng(3)),
    VOCABULARY,
    max_tokens=7,
)
PROMPTS = VOCABULARY.prompts(["3 + 5 mod 7 :", "2 * 6 - 1 mod 7 :"])


def thinks(**given: Any) -> SoftThinking:
    mine: dict[str, Any] = {"most": 5, "think_end": "answer", **given}
    return SoftThinking.of(PLAIN, Thoughts(**mine))


def drawn(policy: SoftThinking, n: Any = 6) -> Samples:
    with torch.no_grad():
        return policy.sample(PROMPTS, n, Rng(1))


def test_the_density_is_one_and_its_slope_has_mean_zero_and_variance_one() -> None:
    mu = torch.tensor(-1.2, dtype=F, requires_grad=True)
    logp = mu.expand(len(U), 1)
    noisy = (U + mu.detach())[:, None]
    density = gumbel_logp(noisy, logp, form="joint")
    (slope,) = torch.autograd.grad(density.sum(), logp)
    p = density.detach().exp()
    for found, right in ((p, 1.0), (p * slope[:, 0], 0.0), (p * slope[:, 0] ** 2, 1.0)):
        assert float(torch.trapezoid(found, U)) == pytest.approx(right, abs=1e-6)
    # the KL of two locations is what k3 estimates of tokens
    d = 0.7
    other = gumbel_logp(noisy, (mu.detach() - d).expand(len(U), 1), form="joint")
    kl = float(torch.trapezoid(p * (density.detach() - other), U))
    assert kl == pytest.approx(d + math.exp(-d) - 1, abs=1e-6)


def test_the_largest_is_drawn_as_often_as_it_is_likely() -> None:
    p = torch.tensor([0.6, 0.3, 0.1])
    g = Rng(0)("g").gumbel(torch.arange(40000)[:, None], torch.arange(3))
    share = torch.bincount((p.log() + g).argmax(-1), minlength=3) / 40000
    torch.testing.assert_close(share, p, atol=0.01, rtol=0)


def test_the_surrogate_is_the_mean_where_nothing_is_clipped_and_has_no_slope_elsewhere() -> None:
    logp = torch.tensor([[0.5, 0.3, 0.2]], dtype=F).log().requires_grad_()
    noisy = logp.detach() + torch.tensor([[0.4, -1.0, 2.5]], dtype=F)
    joint = gumbel_logp(noisy, logp, form="joint")
    torch.testing.assert_close(gumbel_logp(noisy, logp), joint / 3)
    far = logp.detach() + torch.tensor([[-2.0, 0.4, 5.0]], dtype=F)
    (slope,) = torch.autograd.grad(gumbel_logp(far, logp).sum(), logp)
    assert slope[0, 0] == slope[0, 2] == 0 and float(slope[0, 1]) == pytest.approx(
        (1 - float(torch.tensor(-0.4).exp())) / 3
    )
    # noise that was clipped when it was drawn is at the end, whatever rounding says
    ends = logp.detach() + torch.tensor([[-1.5 + 1e-7, 0.4, 3 - 1e-7]], dtype=F)
    (again,) = torch.autograd.grad(gumbel_logp(ends, logp).sum(), logp)
    torch.testing.assert_close(again, slope)
    # a token of probability below e⁻³ counts in the density alone, and an empty slot in none
    rare = torch.tensor([[0.96, 0.04]], dtype=F).log()
    both = torch.stack([gumbel_logp(rare + 0.3, rare, form=f) for f in ("surrogate", "joint")])
    torch.testing.assert_close(both[1], 2 * both[0])
    empty = torch.tensor([[0.3, -torch.inf]], dtype=F)
    alone = gumbel_logp(empty, torch.tensor([[0.0, -torch.inf]], dtype=F), form="joint")
    assert float(alone) == pytest.approx(-0.3 - float(torch.tensor(-0.3).exp()))
    with pytest.raises(ValueError, match="no token of some thought"):
        gumbel_logp(rare, rare, least=0.5)
    with pytest.raises(ValueError, match="form is 'sum'"):
        gumbel_logp(rare, rare, form="sum")


def test_a_mixture_becomes_its_largest_token() -> None:
    e = torch.randn(3, 4, dtype=F, requires_grad=True)
    noisy = torch.tensor([0.2, 0.9, -torch.inf], dtype=F)
    torch.testing.assert_close(soft_mixture(noisy, e, temperature=0.01), e[1].detach())
    flat = soft_mixture(noisy, e, temperature=1e6)
    torch.testing.assert_close(flat, e[:2].detach().mean(0), rtol=1e-4, atol=1e-5)
    assert not flat.requires_grad
    with pytest.raises(ValueError, match="temperature is 0"):
        soft_mixture(noisy, e, temperature=0)


@pytest.mark.parametrize("form", ["surrogate", "joint"])
def test_reading_says_what_drawing_said(form: str) -> None:
    policy = thinks(form=form, temperature=0.7)
    x = drawn(policy, torch.tensor([6, 2]))
    soft = (x.extra[NOISY] > -torch.inf).any(-1)[:, :, : x.mask.shape[2]]
    assert soft[0].sum() > 15 and not soft[1, 2:].any() and not soft[:, :, 5:].any()
    assert not (soft & (x.action == VOCABULARY.ids["answer"])).any()
    top = x.extra[IDS].gather(-1, x.extra[NOISY].argmax(-1, keepdim=True))[..., 0]
    assert torch.equal(top[:, :, : x.mask.shape[2]][soft], x.action[soft])
    with torch.no_grad():
        torch.testing.assert_close(policy.logp(x), x.logp, rtol=1e-4, atol=1e-4)
        assert float((PLAIN.logp(x) - x.logp)[soft].abs().min()) > 0
    logp = policy.copy().logp(x)
    assert logp.requires_grad and torch.equal(logp.detach(), policy.logp(x).detach())
    assert drawn(policy).action.tolist() == drawn(policy).action.tolist()


def test_what_ends_a_thought_is_a_token_with_its_own_probability() -> None:
    policy = thinks(most=7)
    ends = [VOCABULARY.ids["answer"], VOCABULARY.eos]
    x = drawn(policy, 400)
    soft = (x.extra[NOISY] > -torch.inf).any(-1)[:, :, : x.mask.shape[2]]
    ended = x.mask & torch.isin(x.action, torch.tensor(ends))
    first = ended & (ended.long().cumsum(-1) == 1)
    assert first.any() and not (soft & (ended.long().cumsum(-1) > 0)).any()
    with torch.no_grad():
        states, place = policy.states(x)
        plain = policy.log_probs(states, place).gather(1, x.action[x.mask][:, None])[:, 0]
    torch.testing.assert_close(plain[first[x.mask]], x.logp[first], rtol=1e-4, atol=1e-4)


def test_cold_thoughts_are_read_as_tokens_and_none_are_the_plain_policy() -> None:
    cold = thinks(temperature=1e-4)
    x = drawn(cold)
    with torch.no_grad():
        torch.testing.assert_close(cold.states(x)[0], PLAIN.states(x)[0], rtol=1e-4, atol=1e-4)
        warm = thinks(temperature=1.0)
        assert float((warm.states(x)[0] - PLAIN.states(x)[0]).abs().max()) > 0.01
        none = thinks(most=0)
        y, z = (p.sample(PROMPTS, 6, Rng(1)) for p in (none, PLAIN))
        assert torch.equal(y.action, z.action) and torch.equal(none.logp(y), PLAIN.logp(z))
        assert float(warm.kl(PLAIN, x).abs().max()) < 1e-5, "the reference reads the same thoughts"


def test_what_cannot_think_is_told_so() -> None:
    for given, said in (
        ({"think_end": "</think>"}, "--think-end is '</think>'"),
        ({"top_k": 1}, "--top-k 1"),
        ({"top_k": 21}, "--top-k is 21"),
        ({"most": -1}, "--thoughts is -1"),
        ({"temperature": 0.0}, "--tau 0"),
        ({"form": "mean"}, "--density is 'mean'"),
    ):
        with pytest.raises(InputError, match=said):
            thinks(**given)
    with pytest.raises(InputError, match="a dict is no language model"):
        SoftThinking.of({}, Thoughts(5, "answer"))
    state = thinks().decoding(PROMPTS, 2, Rng(1))
    with pytest.raises(InputError, match="draws its thoughts itself"):
        state.force(torch.full((2, 2), 5))
    with pytest.raises(InputError, match="does not continue"):
        thinks().decoding(PROMPTS, 2, Rng(1), PLAIN.sample(PROMPTS, 2, Rng(1)))
