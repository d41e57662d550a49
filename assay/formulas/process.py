"""Answers of several steps: sums over a step's decisions, and what papers make of rewards for
steps.

`step [B,N,T]` says which step a decision belongs to, counted from 0, and −1 where there is none.
Tensors a step are `[B,N,S]`, S the most steps of any answer; entries behind an answer's last step
are absent and 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def step_index(closes: Bool[Tensor, "B N T"], here: Bool[Tensor, "B N T"]) -> Int[Tensor, "B N T"]:
    """Which step each decision belongs to, where `closes` marks the decisions that end one; −1
    where not `here`.

    A decision that closes a step is its last; what is left open at an answer's end is a step of its
    own.
    """
    ends = (closes & here).long()
    return torch.where(here, ends.cumsum(-1) - ends, -1)


def step_mask(step: Int[Tensor, "B N T"]) -> Bool[Tensor, "B N S"]:
    """Which steps an answer has. S is at least 1."""
    count = step.amax(-1, keepdim=True) + 1
    return torch.arange(max(1, int(count.max())), device=step.device) < count


def step_sums(x: Float[Tensor, "B N T"], step: Int[Tensor, "B N T"]) -> Float[Tensor, "B N S"]:
    """Σ of x over each step's decisions; what stands where there is no step has no part, be it NaN."""
    S = step_mask(step).shape[-1]
    out = x.new_zeros(*x.shape[:2], S)
    return out.scatter_add(-1, step.clamp(min=0), torch.where(step >= 0, x, x.new_zeros(())))


def on_steps(values: Float[Tensor, "B N S"], step: Int[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Every decision's own step's value, 0 where there is none: an advantage a step as an advantage
    a decision.
    """
    return torch.where(step >= 0, values.gather(-1, step.clamp(min=0)), values.new_zeros(()))


def gated(
    outcome: Float[Tensor, "B N"],
    bonus: Float[Tensor, "B N"],
    *,
    gate: float,
    keep_penalties: bool = False,
) -> Float[Tensor, "B N"]:
    """R + 1[R ≥ gate]·Σ_t r_t: step rewards count in answers whose outcome reaches the gate (G-RA;
    Sun et al. 2025).

    ≥ and not >: with a gate at the highest level, > would never open. A closed gate also hides
    penalties, so that failing saves them; `keep_penalties` gates what is above 0 alone. Gate −∞ is
    accumulation without a gate.
    """
    if gate != gate:
        raise ValueError("the gate is NaN; it is an outcome, and -inf leaves it open for all")
    shut = outcome < gate
    return outcome + torch.where(
        shut, bonus.clamp(max=0) if keep_penalties else bonus.new_zeros(()), bonus
    )


def step_advantages(
    q: Float[Tensor, "B N S"], start: Float[Tensor, "B N"], steps: Bool[Tensor, "B N S"]
) -> Float[Tensor, "B N S"]:
    """A_h = Q(s_h, a_h) − Q(s_{h−1}, a_{h−1}), with V(s_0) before the first (PAV; Setlur et al.
    2024).

    `q`: the prover's chance of success when it goes on after step h; after the last step it is the
    outcome itself. Under any prover Σ_h A_h = outcome − V(s_0): summed over an answer, or to go,
    the prover leaves nothing but a baseline. It tells steps apart only where each step is paid its
    own.
    """
    before = torch.cat([start[..., None], q[..., :-1]], -1)
    return torch.where(steps, q - before, q.new_zeros(()))


def best_of_k(value: Float[Tensor, "*S"], *, k: int) -> Float[Tensor, "*S"]:
    """1 − (1 − V)^k: the chance that the best of k independent goes succeeds, for outcomes 0 and 1."""
    if k < 1:
        raise ValueError(f"k is {k}; a prover takes the best of at least 1")
    return 1 - (1 - value) ** k


def best_of_k_estimate(wins: Float[Tensor, "*S"], *, n: int, k: int) -> Float[Tensor, "*S"]:
    """1 − C(n−wins, k)/C(n, k): the unbiased estimate of `best_of_k` from n goes, `wins` of them
    right (Chen et al. 2021).

    Putting the mean into `best_of_k` is biased, downward for k > 1 (the function is concave).
    """
    if not 1 <= k <= n:
        raise ValueError(
            f"k is {k} and n {n}; the best of k is estimated without bias from n ≥ k goes"
        )
    i = torch.arange(k, device=wins.device, dtype=wins.dtype)
    return 1 - ((n - wins[..., None] - i).clamp(min=0) / (n - i)).prod(-1)


def trust(
    score: Float[Tensor, "B N"], right: Bool[Tensor, "B N"], present: Bool[Tensor, "B N"]
) -> Float[Tensor, "B"]:
    """γ = 1 if μ_c ≥ μ_w, else e^{μ_c − μ_w}: how far a judge of thinking is believed on a prompt
    (Fan et al. 2025).

    μ_c, μ_w: its mean score over the prompt's right and wrong answers. A prompt whose answers are
    all right or all wrong says nothing of the judge, and gets 0.
    """

    def mean(where: Tensor) -> tuple[Tensor, Tensor]:
        count = where.sum(-1)
        return torch.where(where, score, score.new_zeros(())).sum(-1) / count.clamp(min=1), count

    (good, rights), (bad, wrongs) = mean(present & right), mean(present & ~right)
    both = (rights > 0) & (wrongs > 0)
    return torch.where(both, (good - bad).clamp(max=0).exp(), score.new_zeros(()))


def first_times(hit: Bool[Tensor, "B N S"], goal: Int[Tensor, "B N S"]) -> Bool[Tensor, "B N S"]:
    """Hits that are the first of their goal within the answer: a subgoal is paid once an episode,
    or it is farmed.
    """
    same = (goal[..., :, None] == goal[..., None, :]) & hit[..., None, :]  # [.., s, earlier]
    earlier = torch.ones(*hit.shape[-1:], hit.shape[-1], dtype=torch.bool, device=hit.device).tril(
        -1
    )
    return hit & ~(same & earlier).any(-1)
