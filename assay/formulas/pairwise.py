"""Preference losses, one term a pair, for reward models and policies alike; never reduced.

`p` is the probability that the first answer is truly the better (1 where it is None): every loss is
p·f(first, second) + (1−p)·f(second, first), so exchanging the answers and p for 1−p changes
nothing. Log-ratios are `divergence.log_ratio`: *sums* of log π − log π₀ over an answer, never
means.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def _labeled(f: Callable[[Tensor], Tensor], z: Tensor, p: Tensor | None) -> Tensor:
    """p·f(z) + (1−p)·f(−z)."""
    return f(z) if p is None else p.to(z.dtype) * f(z) + (1 - p.to(z.dtype)) * f(-z)


def _smoothed(p: Tensor | None, z: Tensor, smoothing: float) -> Tensor | None:
    """The label after a share `smoothing` of it went to the other answer."""
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
    """−log σ(chosen − rejected − margin), for scores (Bradley & Terry 1952; margin: Touvron et al.
    2023).

    With label smoothing ε the best difference is margin + log((1−ε)/ε) instead of infinity. A
    margin belongs to an order of the answers: exchanging them changes its sign.
    """
    z = chosen - rejected if margin is None else chosen - rejected - margin.to(chosen.dtype)
    return _labeled(lambda x: -logsigmoid(x), z, _smoothed(p, z, smoothing))


def centring(chosen: Float[Tensor, "*S"], rejected: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """(chosen + rejected)²: pins the constant a prompt that Bradley–Terry leaves free (Eisenstein
    et al. 2023, weight ≈ 0.01).
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
    """−log σ(β(ℓ_w − ℓ_l) − margin) (Rafailov et al. 2023); smoothing is cDPO, whose best logit is
    log((1−ε)/ε).

    margin = −α(|y_w| − |y_l|) is the length-regularised form: longer winners need less log-ratio.
    Both likelihoods may fall while the loss does; unseen answers take the mass.
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
    """(ℓ_w − ℓ_l − 1/(2τ))² (Azar et al. 2023): the difference settles at 1/(2τ) nats, however
    certain the label.

    τ plays DPO's β. On sums, as here, it is 10–1000 times another strength than on means over
    lengths.
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
    """max(0, margin − β(ℓ_w − ℓ_l)): RSO's hinge (Liu et al. 2023); on plain log-probabilities SLiC
    (Zhao et al. 2023).

    No gradient past the margin, so the KL saturates by itself.
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
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """[(1−ε)·f(z) − ε·f(−z)]/(1−2ε), f = −log σ, z = β(ℓ_w − ℓ_l), ε = flip (robust DPO; Chowdhury
    et al. 2024).

    When a share ε of labels is flipped its expectation is the DPO loss of the clean labels.
    Unbounded below, of slope −ε/(1−2ε): on finite data stop early.
    """
    if not 0 <= flip < 0.5:
        raise ValueError(f"flip is {flip}; the share of flipped labels must lie in [0, 0.5)")

    def f(z: Tensor) -> Tensor:
        return ((1 - flip) * -logsigmoid(z) + flip * logsigmoid(-z)) / (1 - 2 * flip)

    return _labeled(f, beta * (chosen_logratio - rejected_logratio), p)


def odds_ratio(
    chosen_mean_logp: Float[Tensor, "*S"],
    rejected_mean_logp: Float[Tensor, "*S"],
    *,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """−log σ(log odds_w − log odds_l), odds = P/(1−P), P = e^(mean log-probability of a decision)
    (Hong et al. 2024).

    Of *means*, and without a reference: with summed log-probabilities P ≈ 0 and the odds are P. A P
    of 1 counts as the largest number of its type below 1.
    """

    def log_odds(mean_logp: Tensor) -> Tensor:
        below = mean_logp.clamp(max=-torch.finfo(mean_logp.dtype).eps)
        return below - (-torch.expm1(below)).log()

    return _labeled(
        lambda x: -logsigmoid(x), log_odds(chosen_mean_logp) - log_odds(rejected_mean_logp), p
    )
