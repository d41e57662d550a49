"""Surrogates whose trust region is a sequence's, a weight's or a gate's: what each one means."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assay.formulas import advantage, surrogate
from assay.formulas.sequence_ratio import (
    clipped_weight,
    geometric_mean,
    mean_log_ratio,
    sequence_clipped,
    soft_gate,
)

F = torch.float64
LENGTHS = torch.tensor([[5, 3], [1, 4]])
MASK = torch.arange(5) < LENGTHS[..., None]
LOSSES = {
    "gspo": lambda p, o, a: sequence_clipped(p, o, a, MASK),
    "gspo-token": lambda p, o, a: sequence_clipped(p, o, a, MASK, token=True),
    "cispo": lambda p, o, a: clipped_weight(p, o, a),
    "sapo": lambda p, o, a: soft_gate(p, o, a),
    "gmpo": lambda p, o, a: geometric_mean(p, o, a, MASK),
}


def drawn(seed: int, spread: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    old = torch.where(MASK, -3 * torch.rand(2, 2, 5, generator=g, dtype=F), 0.0)
    logp = torch.where(MASK, old + spread * torch.randn(2, 2, 5, generator=g, dtype=F), 0.0)
    return logp.requires_grad_(), old, torch.randn(2, 2, 1, generator=g, dtype=F)


def averaged(loss: Tensor) -> Tensor:
    return (torch.where(MASK, loss, 0.0).sum(-1) / LENGTHS).sum()


def gradient(loss: Tensor, logp: Tensor) -> Tensor:
    return torch.autograd.grad(averaged(loss), logp)[0]


@pytest.mark.parametrize("name", LOSSES)
def test_before_any_move_each_is_the_policy_gradient(name: str) -> None:
    logp, old, A = drawn(0)
    expected = torch.where(MASK, -A / LENGTHS[..., None], 0.0)
    torch.testing.assert_close(gradient(LOSSES[name](logp, old, A), logp), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_behind_the_mask_matters_and_an_unknown_sampler_is_refused(name: str) -> None:
    logp, old, A = drawn(1, 0.1)
    far = torch.where(MASK, old, -7.0)
    kept = torch.where(MASK, LOSSES[name](logp, far, A), 0.0)
    torch.testing.assert_close(kept, torch.where(MASK, LOSSES[name](logp, old, A), 0.0))
    old[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN in 1 of"):
        LOSSES[name](logp, old, A)


def test_the_sequence_s_ratio_is_the_geometric_mean_of_its_tokens_ratios() -> None:
    logp, old, _ = drawn(2, 0.3)
    each = (logp - old).exp()
    for b in range(2):
        for n in range(2):
            tokens = each[b, n, : LENGTHS[b, n]]
            found = mean_log_ratio(logp, old, MASK)[b, n, 0].exp()
            torch.testing.assert_close(found, tokens.prod() ** (1 / len(tokens)))


def test_gspo_s_gradient_weighs_all_tokens_alike_where_grpo_s_does_not() -> None:
    logp, old, A = drawn(3, 0.05)
    wide = sequence_clipped(logp, old, A, MASK, low=1.0, high=1e9)
    s = mean_log_ratio(logp, old, MASK).exp()
    expected = torch.where(MASK, -A * s / LENGTHS[..., None], 0.0)
    torch.testing.assert_close(gradient(wide, logp), expected)
    tokens = gradient(surrogate.clipped(logp, old, A, low=1.0, high=1e9), logp)
    rho = (logp - old).exp()
    torch.testing.assert_close(tokens, torch.where(MASK, -A * rho / LENGTHS[..., None], 0.0))
    one = torch.where(LENGTHS[..., None] == 1, tokens, 0.0)
    torch.testing.assert_close(one, torch.where(LENGTHS[..., None] == 1, expected, 0.0))


def test_gspo_token_has_the_gradient_of_gspo_for_one_advantage_a_completion() -> None:
    logp, old, A = drawn(4, 0.02)
    a, b = (
        gradient(sequence_clipped(logp, old, A, MASK, low=0.005, high=0.005, token=t), logp)
        for t in (False, True)
    )
    torch.testing.assert_close(a, b)
    whole = (a != 0).sum(-1)
    assert ((whole == 0) | (whole == LENGTHS)).all(), "a completion is clipped whole"
    assert (whole == 0).any() and (whole > 0).any()


def test_cispo_bounds_a_weight_and_never_silences_a_token() -> None:
    logp, old, A = drawn(5, 3.0)
    grad = gradient(clipped_weight(logp, old, A, low=1.0, high=1.0), logp)
    rho = (logp - old).exp().clamp(max=2.0)
    torch.testing.assert_close(grad, torch.where(MASK, -A * rho / LENGTHS[..., None], 0.0))
    assert (grad[MASK] != 0).all()
    hard = gradient(surrogate.clipped(logp, old, A, low=1.0, high=1.0), logp)
    assert (hard[MASK] == 0).any(), "where PPO's clip silences some"


def test_the_gate_s_gradient_is_the_surrogate_s_times_4_sigma_1_minus_sigma() -> None:
    logp, old, A = drawn(6, 0.5)
    tau = torch.where(A > 0, 3.0, 6.0)
    rho = (logp - old).exp().detach()
    gate = torch.sigmoid(tau * (rho - 1))
    expected = torch.where(MASK, -A * rho * 4 * gate * (1 - gate) / LENGTHS[..., None], 0.0)
    grad = gradient(soft_gate(logp, old, A, positive=3.0, negative=6.0), logp)
    torch.testing.assert_close(grad, expected)


def test_an_open_gate_is_the_surrogate_without_a_clip_and_a_narrow_one_shuts() -> None:
    logp, old, A = drawn(7, 0.5)
    plain = gradient(surrogate.clipped(logp, old, A, low=1.0, high=1e9), logp)
    open_ = gradient(soft_gate(logp, old, A, positive=1e-5, negative=1e-5), logp)
    torch.testing.assert_close(open_, plain, rtol=1e-6, atol=0)
    shut = gradient(soft_gate(logp, old, A, positive=1e4, negative=1e4), logp)
    assert shut.abs().max() < 1e-6 * plain.abs().max()


def test_gmpo_without_a_clip_is_gspo_without_a_clip() -> None:
    logp, old, A = drawn(8, 0.3)
    a = geometric_mean(logp, old, A, MASK, low=1e9, high=1e9)
    b = sequence_clipped(logp, old, A, MASK, low=1.0, high=1e9)
    torch.testing.assert_close(torch.where(MASK, a, 0.0), torch.where(MASK, b, 0.0))


def test_gmpo_clips_a_token_against_its_own_direction_alone() -> None:
    """By hand: log-ratios .6 and −.6, clip .4. A > 0 clips the first, A < 0 the second."""
    old = torch.zeros(1, 1, 2, dtype=F)
    mask = torch.ones(1, 1, 2, dtype=torch.bool)
    for A, mean, silent in ((1.0, (0.4 - 0.6) / 2, 0), (-1.0, (0.6 - 0.4) / 2, 1)):
        logp = torch.tensor([[[0.6, -0.6]]], dtype=F, requires_grad=True)
        loss = geometric_mean(logp, old, torch.full((1, 1, 1), A, dtype=F), mask)
        torch.testing.assert_close(loss[0, 0, 0], -A * torch.tensor(mean, dtype=F).exp())
        (grad,) = torch.autograd.grad(loss.mean(), logp)
        assert grad[0, 0, silent] == 0 and grad[0, 0, 1 - silent] != 0


def test_empty_bounds_are_refused() -> None:
    logp, old, A = drawn(9)
    for bad in (
        lambda: sequence_clipped(logp, old, A, MASK, low=-0.1),
        lambda: clipped_weight(logp, old, A, low=2.0),
        lambda: soft_gate(logp, old, A, positive=0.0),
        lambda: geometric_mean(logp, old, A, MASK, high=-1.0),
    ):
        with pytest.raises(ValueError, match="-0.1|2.0|0.0|-1.0"):
            bad()


class TestDecoupledRewards:
    PRESENT = torch.ones(1, 4, dtype=torch.bool)

    def test_one_reward_is_grpo_s(self) -> None:
        r = torch.randn(1, 1, 4, dtype=F, generator=torch.Generator().manual_seed(0))
        own = advantage.group_standardised(r[0], self.PRESENT)
        assert torch.equal(advantage.decoupled(r, self.PRESENT), own)

    def test_it_tells_apart_what_the_sum_does_not(self) -> None:
        """Rewards (1, 0) and (0, 1) have one sum; a rarer reward is worth more by itself."""
        r = torch.tensor([[[1.0, 0.0, 0.0, 0.0]], [[0.0, 1.0, 1.0, 0.0]]], dtype=F)
        summed = advantage.group_standardised(r.sum(0), self.PRESENT)
        apart = advantage.decoupled(r, self.PRESENT)
        assert summed[0, 0] == summed[0, 1] and apart[0, 0] > apart[0, 1]

    def test_no_unit_matters_and_the_weights_do(self) -> None:
        r = torch.randn(2, 1, 4, dtype=F, generator=torch.Generator().manual_seed(1))
        scaled = torch.stack([100 * r[0] + 3, r[1]])
        a, b = (advantage.decoupled(x, self.PRESENT, eps=0.0) for x in (r, scaled))
        torch.testing.assert_close(a, b)
        first = advantage.decoupled(r, self.PRESENT, weights=(1.0, 0.0))
        assert torch.equal(first, advantage.decoupled(r[:1], self.PRESENT))
        with pytest.raises(ValueError, match="1 weights and 2 rewards"):
            advantage.decoupled(r, self.PRESENT, weights=(1.0,))
