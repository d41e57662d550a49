"""Pairwise losses in the forms of other papers and trainers: IPO on means, SLiC-HF with its anchor.

`p` is the probability that the first completion is truly better, as in `pairwise`; exchanging the
completions and p for 1−p changes nothing.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from assay.formulas.pairwise import hinge, ipo


def ipo_per_token(
    chosen_logratio: Float[Tensor, "*S"],
    rejected_logratio: Float[Tensor, "*S"],
    chosen_length: Int[Tensor, "*S"],
    rejected_length: Int[Tensor, "*S"],
    *,
    tau: float,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """IPO on means over tokens: (ℓ_w/|y_w| − ℓ_l/|y_l| − 1/(2τ))², as TRL computes it.

    `pairwise.ipo` takes the sums. Of completions of L tokens each the two are one family: this
    is L⁻² times `pairwise.ipo` at τ/L, so the same τ lets the sums differ by L times as many nats.
    Of unequal lengths no τ makes them equal.

    Args:
        chosen_logratio: ℓ_w, a sum over tokens `[*S]`.
        rejected_logratio: ℓ_l, a sum over tokens `[*S]`.
        chosen_length: |y_w|, in tokens `[*S]`; an absent completion, of length 0, counts as 1.
        rejected_length: |y_l| `[*S]`.
        tau: τ, above 0.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`.

    Raises:
        ValueError: tau is not above 0.

    Source: Azar et al., arXiv:2310.12036, 2023; the mean: TRL's DPOTrainer, loss_type="ipo".
    """
    return ipo(
        chosen_logratio / chosen_length.clamp(min=1),
        rejected_logratio / rejected_length.clamp(min=1),
        tau=tau,
        p=p,
    )


def slic(
    chosen_logp: Float[Tensor, "*S"],
    rejected_logp: Float[Tensor, "*S"],
    target_logp: Float[Tensor, "*S"],
    *,
    margin: float,
    weight: float,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """SLiC-HF: max(0, δ − log π(y_w) + log π(y_l)) − λ·log π(y_sft).

    There is no reference policy in it: what holds the policy is the second term alone. The first
    has no gradient once the winner leads by δ nats, whatever the reference said of the two. On
    log-ratios it is RSO's hinge, `pairwise.hinge`.

    Args:
        chosen_logp: log π(y_w), a sum over tokens `[*S]`.
        rejected_logp: log π(y_l) `[*S]`.
        target_logp: log π(y_sft) `[*S]`: of what supervised fine-tuning would imitate.
        margin: δ, in nats.
        weight: λ, of imitation.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`.

    Raises:
        ValueError: weight is below 0: the loss would push the target's likelihood down.

    Source: Zhao et al., "SLiC-HF", arXiv:2305.10425, 2023.
    """
    if weight < 0:
        raise ValueError(f"weight is {weight}; the weight of imitation must be at least 0")
    return hinge(chosen_logp, rejected_logp, beta=1.0, margin=margin, p=p) - weight * target_logp
