"""What recipes on flows and diffusions share: the steps that are trained, and their advantages."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import DrawsBySteps, Policy, Samples
from assay.formulas.advantage import group_centred
from assay.loops.online import Rollouts, require_group

STEP_MEAN = "step_mean"  # μ of each step under the policy that drew it, `[B,N,T,D]` in `extra`


def batch_scaled(
    reward: Float[Tensor, "B N"], x: Samples, *, eps: float = 1e-4, limit: float = 5.0
) -> Float[Tensor, "B N 1"]:
    """Reward minus its prompt's mean, over the deviation of the whole batch's rewards, held.

    Args:
        reward: Of each completion.
        x: The completions.
        eps: Added to the deviation, which divides by the count.
        limit: The advantage is held within ±limit.
    """
    centred = group_centred(require_group(reward), x.present)
    every = reward[x.present].double()
    scale = float(every.std(correction=0)) if len(every) > 1 else 0.0
    return (centred / (scale + eps)).clamp(-limit, limit)[..., None]


def first_steps(x: Samples, share: float) -> Samples:
    """The completions with the last steps as given: they are not trained on.

    Args:
        x: Completions of T steps.
        share: int(T·share) steps are trained, at least one.
    """
    T = x.mask.shape[2]
    late = torch.arange(T, device=x.mask.device) >= max(1, int(T * share))
    rest = x.mask & late
    return replace(
        x,
        mask=x.mask & ~late,
        given=x.given | rest,
        logp=torch.where(rest, x.logp.new_zeros(()), x.logp),
    )


def trained_on(batch: Rollouts, advantage: Float[Tensor, "B N 1"], share: float) -> Rollouts:
    """The batch with these advantages, its last steps given, without prompts that teach nothing.

    Args:
        batch: What was drawn.
        advantage: Of each completion; a prompt whose are all 0 is left out.
        share: Share of the steps that are trained, see `first_steps`.
    """
    batch = replace(batch, samples=first_steps(batch.samples, share), advantage=advantage)
    return batch[(advantage != 0).any(1)[:, 0]]


def step_penalty(policy: DrawsBySteps, reference: Policy, rows: Samples) -> Float[Tensor, "B N T"]:
    """KL(π‖π₀) of each step, reduced over coordinates as the policy's log-probabilities are."""
    kl = policy.step_kl(reference, rows)
    return kl / rows.action.shape[-1] if policy.reduction == "mean" else kl
