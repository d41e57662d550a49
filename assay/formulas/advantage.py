"""Outcomes `[B,N]` and steps `[B,N,T]` to advantages. No gradient passes through any of them.

Absent answers and masked steps have no part in a baseline or a deviation, whatever stands behind
the mask, and get 0. To leave out answers that could not be scored, take them out of `present`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def _above_least(x: Tensor, where: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """x − (least of x where `where`), 0 elsewhere. Equal values give exact zeros, and means of it
    lose no digits.
    """
    least = torch.where(where, x, torch.inf).amin(dim, keepdim=True)
    return torch.where(where, x - least, x.new_zeros(()))


def _deviation(d: Tensor, where: Tensor, dim: int | tuple[int, ...], ddof: int) -> Tensor:
    """Standard deviation of already centred d, 0 where there are not more than ddof values. Scaled:
    1e30² is no number.
    """
    scale = d.abs().amax(dim, keepdim=True)
    unit = torch.where(
        scale > 0, d / torch.where(scale > 0, scale, torch.ones_like(scale)), d.new_zeros(())
    )
    free = where.sum(dim, keepdim=True) - ddof
    return torch.where(
        free > 0,
        scale * (unit.square().sum(dim, keepdim=True) / free.clamp(min=1)).sqrt(),
        d.new_zeros(()),
    )


@torch.no_grad()
def group_centred(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """Aᵢ = rᵢ − mean of the prompt's present answers, itself included (Dr. GRPO).

    Because the baseline includes rᵢ, the expected gradient is (K−1)/K of the true one for K
    answers.
    """
    d = _above_least(reward, present, -1)
    centre = d.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(present, d - centre, d.new_zeros(()))


@torch.no_grad()
def leave_one_out(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """Aᵢ = rᵢ − mean of the prompt's *other* present answers (RLOO; Kool et al. 2019, Ahmadian et
    al. 2024). Unbiased.

    Equals K/(K−1)·(rᵢ − r̄). A prompt's only answer has nothing to be compared with and gets 0; N =
    1 is refused.
    """
    if reward.shape[1] < 2:
        raise ValueError(
            "leave-one-out needs at least two answers a prompt, and N is 1; draw more, or use "
            "another baseline"
        )
    d = _above_least(reward, present, -1)
    others = present.sum(-1, keepdim=True) - 1
    baseline = (d.sum(-1, keepdim=True) - d) / others.clamp(min=1)
    return torch.where(present & (others > 0), d - baseline, d.new_zeros(()))


@torch.no_grad()
def group_standardised(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"], *, eps: float = 1e-4, ddof: int = 1
) -> Float[Tensor, "B N"]:
    """Aᵢ = (rᵢ − r̄)/(s + eps) over the prompt's present answers (GRPO; Shao et al. 2024).

    s divides by K − ddof: published code mostly has ddof 1 (torch's), a factor √(8/7) from ddof 0
    at K = 8. Blind to any affine shaping of r when eps = 0. Not a rescaled ∇E[r] for graded
    rewards: it weighs prompts and arms differently. A group of equal rewards, or of not more than
    ddof answers, gets 0, also at eps = 0.
    """
    d = group_centred(reward, present)
    s = _deviation(d, present, -1, ddof)
    return torch.where(
        present & (s > 0), d / torch.where(s > 0, s + eps, torch.ones_like(s)), d.new_zeros(())
    )


@torch.no_grad()
def returns_to_go(
    rewards: Float[Tensor, "B N T"], mask: Bool[Tensor, "B N T"], *, gamma: float = 1.0
) -> Float[Tensor, "B N T"]:
    """G_t = r_t + γ·G_next over an answer's own decisions; `given` steps between two decisions take
    no time.
    """
    out, after = torch.zeros_like(rewards), rewards.new_zeros(rewards.shape[:2])
    for t in reversed(range(rewards.shape[2])):
        after = torch.where(mask[..., t], rewards[..., t] + gamma * after, after)
        out[..., t] = torch.where(mask[..., t], after, out[..., t])
    return out


@torch.no_grad()
def gae(
    rewards: Float[Tensor, "B N T"],
    values: Float[Tensor, "B N T+1"],
    mask: Bool[Tensor, "B N T"],
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
) -> Float[Tensor, "B N T"]:
    """A_t = Σ_k (γλ)^k δ_{t+k}, δ_t = r_t + γV_next − V_t (Schulman et al. 2015), over an answer's
    own decisions.

    `values[…,t]` is before decision t. The value after the last decision is 0, whether the answer
    ended or was cut, so entries behind the mask and entry T are never read. At λ = 1, A =
    returns_to_go − V; the critic's target is A + V.
    """
    out = torch.zeros_like(rewards)
    after, next_value = rewards.new_zeros(rewards.shape[:2]), rewards.new_zeros(rewards.shape[:2])
    for t in reversed(range(rewards.shape[2])):
        here, value = mask[..., t], values[..., t].to(rewards.dtype)
        after = torch.where(
            here, rewards[..., t] + gamma * next_value - value + gamma * lam * after, after
        )
        next_value = torch.where(here, value, next_value)
        out[..., t] = torch.where(here, after, out[..., t])
    return out


@torch.no_grad()
def whiten(x: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """(x − mean)/standard deviation (÷ count) over all that is not masked; 0 where masked, and
    everywhere if x is constant.

    Done to advantages it makes an affine change of the reward a change of the KL weight.
    """
    dims = tuple(range(x.dim()))
    d = _above_least(x, mask, dims)
    d = torch.where(mask, d - d.sum(dims, keepdim=True) / mask.sum().clamp(min=1), d.new_zeros(()))
    s = _deviation(d, mask, dims, 0)
    return torch.where(s > 0, d / torch.where(s > 0, s, torch.ones_like(s)), d.new_zeros(()))
