"""Completions of several steps: sums over a step's decisions, and rewards for steps.

`step [B, N, T]` is the step that a decision belongs to, from 0, and −1 where there is none. Tensors
of steps are `[B, N, S]`, with S the most steps of a completion; entries after a completion's last
step are absent and 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def step_index(closes: Bool[Tensor, "B N T"], here: Bool[Tensor, "B N T"]) -> Int[Tensor, "B N T"]:
    """The step that each decision belongs to.

    A decision that closes a step is its last one. What is open at the end of a completion is a step
    of its own.

    Args:
        closes: Decisions that end a step `[B, N, T]`.
        here: Decisions that exist `[B, N, T]`.

    Returns:
        `[B, N, T]`, from 0; −1 where there is no decision.
    """
    ends = (closes & here).long()
    return torch.where(here, ends.cumsum(-1) - ends, -1)


def step_mask(step: Int[Tensor, "B N T"]) -> Bool[Tensor, "B N S"]:
    """Which steps a completion has.

    Args:
        step: `[B, N, T]`.

    Returns:
        `[B, N, S]`; S is at least 1.
    """
    count = step.amax(-1, keepdim=True) + 1
    return torch.arange(max(1, int(count.max())), device=step.device) < count


def step_sums(x: Float[Tensor, "B N T"], step: Int[Tensor, "B N T"]) -> Float[Tensor, "B N S"]:
    """Sums over the decisions of each step.

    Args:
        x: `[B, N, T]`; values where there is no step do not count, not even NaN.
        step: `[B, N, T]`.

    Returns:
        `[B, N, S]`.
    """
    S = step_mask(step).shape[-1]
    out = x.new_zeros(*x.shape[:2], S)
    return out.scatter_add(-1, step.clamp(min=0), torch.where(step >= 0, x, x.new_zeros(())))


def on_steps(values: Float[Tensor, "B N S"], step: Int[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """The value of each decision's step: an advantage a step as an advantage a decision.

    Args:
        values: `[B, N, S]`.
        step: `[B, N, T]`.

    Returns:
        `[B, N, T]`, 0 where there is no step.
    """
    return torch.where(step >= 0, values.gather(-1, step.clamp(min=0)), values.new_zeros(()))


def gated(
    outcome: Float[Tensor, "B N"],
    bonus: Float[Tensor, "B N"],
    *,
    gate: float,
    keep_penalties: bool = False,
    opens: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B N"]:
    """Outcome plus step rewards, which count only if the outcome reaches a gate.

    R + 1[R ≥ gate]·Σ_t r_t

    With a gate at the highest outcome, > would never open, hence ≥. A closed gate also hides
    penalties, so that failing avoids them.

    Args:
        outcome: R `[B, N]`.
        bonus: Σ_t r_t `[B, N]`.
        gate: In units of outcome; −inf leaves it open.
        keep_penalties: Gate only what is above 0.
        opens: What is compared with the gate `[B, N]`; the outcome if not given.

    Returns:
        `[B, N]`.

    Raises:
        ValueError: The gate is NaN.

    Source: Sun et al., "G-RA", 2025.
    """
    if gate != gate:
        raise ValueError("the gate is NaN; it is an outcome, and -inf leaves it open for all")
    shut = (outcome if opens is None else opens) < gate
    return outcome + torch.where(
        shut, bonus.clamp(max=0) if keep_penalties else bonus.new_zeros(()), bonus
    )


def by_priority(
    channels: Float[Tensor, "K B N"], *, gates: tuple[float, ...]
) -> Float[Tensor, "B N"]:
    """Sum of rewards in order of priority, each counted only where all above it reach their gates.

    Σ_k R_k · Π_{j<k} 1[R_j ≥ gate_j]

    With two channels this is `gated`.

    Args:
        channels: R_k `[K, B, N]`, the highest priority first.
        gates: One for each channel but the last; −inf leaves it open.

    Returns:
        `[B, N]`.

    Raises:
        ValueError: There are not K − 1 gates, or one is NaN.

    Source: Sun et al., "G-RA", 2025.
    """
    if len(gates) != len(channels) - 1 or any(g != g for g in gates):
        raise ValueError(
            f"the gates are {gates}; {len(channels)} channels have {len(channels) - 1} numbers"
        )
    total, below = channels[0], channels[1:]
    reached = torch.ones_like(total, dtype=torch.bool)
    for above, own, gate in zip(channels, below, gates, strict=False):
        reached = reached & (above >= gate)
        total = total + torch.where(reached, own, own.new_zeros(()))
    return total


def step_advantages(
    q: Float[Tensor, "B N S"], start: Float[Tensor, "B N"], steps: Bool[Tensor, "B N S"]
) -> Float[Tensor, "B N S"]:
    """Process advantages of a prover: A_h = Q(s_h, a_h) − Q(s_{h−1}, a_{h−1}), Q(s₀, ·) = V(s₀).

    Under any prover Σ_h A_h = outcome − V(s₀): summed over a completion, or to go, the prover
    leaves only a baseline. It tells steps apart only if each step is paid its own.

    Args:
        q: The prover's probability of success after step h `[B, N, S]`; after the last step it is
            the outcome itself.
        start: V(s₀) `[B, N]`.
        steps: Which steps exist `[B, N, S]`.

    Returns:
        `[B, N, S]`.

    Source: Setlur et al., "Rewarding Progress" (PAV), arXiv:2410.08146, 2024.
    """
    before = torch.cat([start[..., None], q[..., :-1]], -1)
    return torch.where(steps, q - before, q.new_zeros(()))


def best_of_k(value: Float[Tensor, "*S"], *, k: int) -> Float[Tensor, "*S"]:
    """Probability that the best of k independent attempts succeeds: 1 − (1 − V)^k.

    Args:
        value: V, the probability that one succeeds `[*S]`.
        k: Attempts, at least 1.

    Returns:
        `[*S]`.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; a prover takes the best of at least 1")
    return 1 - (1 - value) ** k


def best_of_k_estimate(wins: Float[Tensor, "*S"], *, n: int, k: int) -> Float[Tensor, "*S"]:
    """Unbiased estimate of `best_of_k` from n attempts: 1 − C(n−wins, k)/C(n, k).

    `best_of_k` of the mean is biased downward for k > 1.

    Args:
        wins: Attempts that succeeded `[*S]`.
        n: Attempts.
        k: From 1 to n.

    Returns:
        `[*S]`.

    Raises:
        ValueError: k is outside 1 … n.

    Source: Chen et al., "Evaluating Large Language Models Trained on Code", arXiv:2107.03374, 2021.
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
    """How far a reward model of thinking is trusted on a prompt: γ = min(1, e^{μ_c − μ_w}).

    μ_c and μ_w are its mean scores of the prompt's right and wrong completions.

    Args:
        score: `[B, N]`.
        right: Which completions are right `[B, N]`.
        present: Which completions count `[B, N]`.

    Returns:
        γ `[B]`; 0 for a prompt whose completions are all right or all wrong.

    Source: Fan et al., 2025.
    """

    def mean(where: Tensor) -> tuple[Tensor, Tensor]:
        count = where.sum(-1)
        return torch.where(where, score, score.new_zeros(())).sum(-1) / count.clamp(min=1), count

    (good, rights), (bad, wrongs) = mean(present & right), mean(present & ~right)
    both = (rights > 0) & (wrongs > 0)
    return torch.where(both, (good - bad).clamp(max=0).exp(), score.new_zeros(()))


def first_times(hit: Bool[Tensor, "B N S"], goal: Int[Tensor, "B N S"]) -> Bool[Tensor, "B N S"]:
    """Hits that are the first of their goal in a completion: a subgoal is paid once an episode.

    Args:
        hit: Which steps reach a goal `[B, N, S]`.
        goal: Which goal `[B, N, S]`.

    Returns:
        `[B, N, S]`.
    """
    same = (goal[..., :, None] == goal[..., None, :]) & hit[..., None, :]  # [.., s, earlier]
    earlier = torch.ones(*hit.shape[-1:], hit.shape[-1], dtype=torch.bool, device=hit.device).tril(
        -1
    )
    return hit & ~(same & earlier).any(-1)
