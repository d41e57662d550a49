"""Preference losses of reward models and of policies, one term a pair, never reduced.

`p` is the probability that the first completion is truly better (None for 1). Every loss is
p·f(first, second) + (1−p)·f(second, first), so that exchanging the completions and p for 1−p
changes nothing. Log-ratios ℓ are `divergence.log_ratio`: *sums* of log π − log π₀ over a
completion, never means.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def _labeled(f: Callable[[Tensor], Tensor], z: Tensor, p: Tensor | None) -> Tensor:
    """p·f(z) + (1−p)·f(−z)."""
    return f(z) if p is None else p.to(z.dtype) * f(z) + (1 - p.to(z.dtype)) * f(-z)


def _smoothed(p: Tensor | None, z: Tensor, smoothing: float) -> Tensor | None:
    """The label after a share `smoothing` of it went to the other completion."""
    if not 0 <= smoothing <= 0.5:
        raise ValueError(
            f"smoothing is {smoothing}; it is the share of labels taken as wrong, in [0, 0.5]"
        )
    if smoothing == 0:
        return p
    return smoothing + (1 - 2 * smoothing) * (torch.ones_like(z) if p is None else p.to(z.dtype))


def bradley_terry(
    chosen: Float[Tensor, "*M B"],
    rejected: Float[Tensor, "*M B"],
    *,
    p: Float[Tensor, "*#M B"] | None = None,
    margin: Float[Tensor, "*#M B"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, "*M B"]:
    """Bradley–Terry loss of scores: −log σ(r_w − r_l − margin).

    Args:
        chosen: Scores r_w of the preferred completions `[*M, B]`.
        rejected: Scores r_l of the others `[*M, B]`.
        p: Probability that the first is truly better `[B]`.
        margin: In units of score `[B]`; exchanging the completions changes its sign.
        smoothing: Share ε of labels taken as wrong; the best difference is then margin +
            log((1−ε)/ε).

    Returns:
        `[*M, B]`.

    Raises:
        ValueError: smoothing is outside [0, 0.5].

    Source: Bradley & Terry, 1952; margin: Touvron et al., "Llama 2", arXiv:2307.09288, 2023.
    """
    z = chosen - rejected if margin is None else chosen - rejected - margin.to(chosen.dtype)
    return _labeled(lambda x: -logsigmoid(x), z, _smoothed(p, z, smoothing))


def centring(chosen: Float[Tensor, "*S"], rejected: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Centring term: (r_w + r_l)². It fixes the constant a prompt that Bradley–Terry leaves free.

    Args:
        chosen: Scores `[*S]`.
        rejected: Scores `[*S]`.

    Returns:
        `[*S]`, to be added with a weight of about 0.01.

    Source: Eisenstein et al., "Helping or Herding?", arXiv:2312.09244, 2023.
    """
    return (chosen + rejected).square()


def dpo(
    chosen_logratio: Float[Tensor, "*S"],
    rejected_logratio: Float[Tensor, "*S"],
    *,
    beta: float,
    smoothing: float = 0.0,
    p: Float[Tensor, "*S"] | None = None,
    margin: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """Direct preference optimisation: −log σ(β·(ℓ_w − ℓ_l) − margin).

    Both likelihoods can fall while the loss does; completions outside the data then gain mass.

    Args:
        chosen_logratio: ℓ_w `[*S]`.
        rejected_logratio: ℓ_l `[*S]`.
        beta: β.
        smoothing: Share ε of labels taken as wrong (cDPO); the best logit is then log((1−ε)/ε).
        p: Probability that the first is truly better `[*S]`.
        margin: `[*S]`; −α·(|y_w| − |y_l|) is the length-regularised form, in which longer winners
            need less log-ratio.

    Returns:
        `[*S]`.

    Raises:
        ValueError: smoothing is outside [0, 0.5].

    Source: Rafailov et al., "Direct Preference Optimization", arXiv:2305.18290, 2023, eq. 7.
    """
    z = beta * (chosen_logratio - rejected_logratio)
    z = z if margin is None else z - margin.to(z.dtype)
    return _labeled(lambda x: -logsigmoid(x), z, _smoothed(p, z, smoothing))


def ipo(
    chosen_logratio: Float[Tensor, "*S"],
    rejected_logratio: Float[Tensor, "*S"],
    *,
    tau: float,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """Identity preference optimisation: (ℓ_w − ℓ_l − 1/(2τ))².

    The difference settles at 1/(2τ) nats, however certain the label. On sums, as here, τ has 10 to
    1000 times another strength than on means over lengths.

    Args:
        chosen_logratio: ℓ_w `[*S]`.
        rejected_logratio: ℓ_l `[*S]`.
        tau: τ, above 0; it plays the part of DPO's β.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`.

    Raises:
        ValueError: tau is not above 0.

    Source: Azar et al., "A General Theoretical Paradigm to Understand Learning from Human
        Preferences", arXiv:2310.12036, 2023.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}; IPO's target 1/(2·tau) needs it above 0")
    return _labeled(lambda x: (x - 1 / (2 * tau)).square(), chosen_logratio - rejected_logratio, p)


def hinge(
    chosen_logratio: Float[Tensor, "*S"],
    rejected_logratio: Float[Tensor, "*S"],
    *,
    beta: float = 1.0,
    margin: float = 1.0,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """Hinge loss: max(0, margin − β·(ℓ_w − ℓ_l)). Beyond the margin there is no gradient.

    Args:
        chosen_logratio: ℓ_w `[*S]`; plain log-probabilities make it SLiC.
        rejected_logratio: ℓ_l `[*S]`.
        beta: β.
        margin: At which the loss is 0.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`.

    Source: Liu et al., "Statistical Rejection Sampling Improves Preference Optimization" (RSO),
        arXiv:2309.06657, 2023; Zhao et al., "SLiC-HF", arXiv:2305.10425, 2023.
    """
    return _labeled(
        lambda x: (margin - x).clamp(min=0), beta * (chosen_logratio - rejected_logratio), p
    )


def rdpo(
    chosen_logratio: Float[Tensor, "*S"],
    rejected_logratio: Float[Tensor, "*S"],
    *,
    beta: float,
    flip: float,
    limit: float = math.inf,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """Robust DPO: [(1−ε)·f(z) − ε·f(−z)]/(1−2ε), with f = −log σ and z = β·(ℓ_w − ℓ_l).

    If a share ε of the labels is flipped, its expectation is the DPO loss of the clean labels. It
    is unbounded below with slope −ε/(1−2ε): stop early on finite data, or give a limit.

    Args:
        chosen_logratio: ℓ_w `[*S]`.
        rejected_logratio: ℓ_l `[*S]`.
        beta: β.
        flip: ε, in [0, 0.5).
        limit: Beyond this z the loss is that at the limit, which bounds it below, and has no
            gradient. Up to it, and so where |z| is below it, the loss stays unbiased.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`.

    Raises:
        ValueError: flip is outside [0, 0.5), or limit is not above 0.

    Source: Chowdhury et al., "Provably Robust DPO", arXiv:2403.00409, 2024; the limit is ours.
    """
    if not 0 <= flip < 0.5:
        raise ValueError(f"flip is {flip}; the share of flipped labels must lie in [0, 0.5)")
    if not limit > 0:
        raise ValueError(f"limit is {limit}; it must be above 0, where pairs are still learned")

    def f(z: Tensor) -> Tensor:
        z = z.clamp(max=limit)
        return ((1 - flip) * -logsigmoid(z) + flip * logsigmoid(-z)) / (1 - 2 * flip)

    return _labeled(f, beta * (chosen_logratio - rejected_logratio), p)


def odds_ratio(
    chosen_mean_logp: Float[Tensor, "*S"],
    rejected_mean_logp: Float[Tensor, "*S"],
    *,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """Odds-ratio loss, without a reference: −log σ(log odds_w − log odds_l), odds = P/(1−P).

    P = e^(mean log-probability of a decision). With summed log-probabilities P ≈ 0, and the odds
    would be P itself.

    Args:
        chosen_mean_logp: Mean log-probability of the preferred completions' decisions `[*S]`.
        rejected_mean_logp: Of the others' `[*S]`.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`; a P of 1 counts as the largest number of its dtype below 1.

    Source: Hong et al., "ORPO", arXiv:2403.07691, 2024.
    """

    def log_odds(mean_logp: Tensor) -> Tensor:
        below = mean_logp.clamp(max=-torch.finfo(mean_logp.dtype).eps)
        return below - (-torch.expm1(below)).log()

    return _labeled(
        lambda x: -logsigmoid(x), log_odds(chosen_mean_logp) - log_odds(rejected_mean_logp), p
    )
