"""KL divergences in nats: estimators from log-ratios `[B,N,T]`, full distributions, and best-of-n.

With ℓ = log π − log π₀ on answers drawn from π, an estimator that is right as a *value* may be
wrong as a *reward* (detached, times the score function) or as a *loss* (differentiated, answers
held fixed):

    term                value              in the reward             in the loss
    k1 = ℓ              unbiased           ∇KL(π‖π₀)  ← use          0: it does nothing
    k2 = ½ℓ²            biased, ≥ 0        biased                    ∇KL(π‖π₀)  ← use
    k3 = e^−ℓ − 1 + ℓ   unbiased, ≥ 0      ∇KL(π‖π₀) − ∇KL(π₀‖π)     ∇KL(π₀‖π), the forward KL
    (and with the ratio upside down, e^ℓ − 1 − ℓ estimates χ² − KL: not a KL at all)

A term a decision in the *loss* ignores how early decisions change later states; in the reward, by
returns to go, it does not. After the first update on a batch, multiply a KL loss by
`surrogate.ratio`. For reading, `kl_full` varies least.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FAR = 40.0  # e^−ℓ is taken at most as e^40: a number in float32, far outside any honest ratio


def log_ratio(
    logp: Float[Tensor, "B N T"], ref_logp: Float[Tensor, "B N T"], mask: Bool[Tensor, "B N T"]
) -> Float[Tensor, "B N"]:
    """ℓ of the whole answer: Σ_t (log π − log π₀) over its decisions. A sum, never a mean over its
    length.
    """
    return torch.where(mask, logp - ref_logp, logp.new_zeros(())).sum(-1)


def k1(logp: Float[Tensor, "*S"], ref_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """ℓ = log π − log π₀. For the **reward**: r − β·k1 has the gradient of KL(π‖π₀).

    As a value unbiased, of either sign, of high variance. In the loss its expected gradient is 0.
    """
    return logp - ref_logp


def k2(logp: Float[Tensor, "*S"], ref_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """½(log π − log π₀)². For the **loss**: its expected gradient is that of KL(π‖π₀).

    As a value biased (never negative); in the reward biased too.
    """
    return 0.5 * (logp - ref_logp).square()


def k3(logp: Float[Tensor, "*S"], ref_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """e^−ℓ − 1 + ℓ (Schulman 2020). For the **value**: unbiased for KL(π‖π₀) and never negative.

    In the loss its expected gradient is that of the *forward* KL(π₀‖π) (what GRPO charges); in the
    reward it is biased.
    """
    l = logp - ref_logp
    return torch.expm1((-l).clamp(max=FAR)) + l


def kl_full(
    logits: Float[Tensor, "*S V"], ref_logits: Float[Tensor, "*S V"]
) -> Float[Tensor, "*S"]:
    """KL(π‖π₀) = Σ_v π(v)·(log π(v) − log π₀(v)) of whole distributions; differentiable, never
    negative.

    Summed over the decisions of the policy's own answers it is an unbiased value of the sequence
    KL, and the one of least variance. −inf excludes a choice: 0 to the sum where π excludes it,
    +inf where π₀ alone does.
    """
    lp, lq = torch.log_softmax(logits, -1), torch.log_softmax(ref_logits, -1)
    p = lp.exp()
    return (p * torch.where(p > 0, lp - lq, lp.new_zeros(()))).sum(-1).clamp(min=0)


def best_of_n_bound(n: int | Tensor) -> Float[Tensor, "*S"]:
    """log n − (n−1)/n: an upper bound on KL(best of n‖π₀), equal where no answer has an atom
    (Beirami et al. 2024).

    Loose once n·π₀(answer) ≳ 1: then the policy has stopped moving and the bound has not.
    """
    n = torch.as_tensor(n, dtype=torch.float64)
    if bool((n < 1).any()):
        raise ValueError("best-of-n needs n of at least 1")
    return n.log() - (n - 1) / n


def _best_of_n_ratio(pmf: Tensor, reward: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(π₀, π_n/π₀) in float64; within a tie class the ratio is one number."""
    if n < 1:
        raise ValueError(f"n is {n}; best-of-n needs n of at least 1")
    p = pmf.double()
    ranked, order = reward.sort(-1)
    cum = torch.nn.functional.pad(p.gather(-1, order).cumsum(-1), (1, 0))
    total = cum[..., -1:]
    upto = (
        cum.gather(-1, torch.searchsorted(ranked.contiguous(), reward.contiguous(), right=True))
        / total
    )
    mass = (
        upto - cum.gather(-1, torch.searchsorted(ranked.contiguous(), reward.contiguous())) / total
    )
    some = mass > 0
    m, f = (
        torch.where(some, mass, torch.ones_like(mass)),
        torch.where(some, upto, torch.ones_like(upto)),
    )
    # Fⁿ − (F−m)ⁿ = Fⁿ·(1 − (1−m/F)ⁿ), without the difference of two nearly equal powers
    ratio = (n * f.log()).exp() * -torch.expm1(n * torch.log1p(-(m / f).clamp(max=1))) / m
    return p / total, torch.where(some, ratio, torch.zeros_like(ratio))


def best_of_n_pmf(
    pmf: Float[Tensor, "*S V"], reward: Float[Tensor, "*S V"], n: int
) -> Float[Tensor, "*S V"]:
    """π_n(y) = (F(y)ⁿ − F⁻(y)ⁿ)·π₀(y)/π₀(tie class of y): the best of n draws, ties broken at
    random.

    F(y) = π₀(r ≤ r(y)) and F⁻(y) = π₀(r < r(y)).
    """
    p, ratio = _best_of_n_ratio(pmf, reward, n)
    return (p * ratio).to(pmf.dtype)


def best_of_n_exact(
    pmf: Float[Tensor, "*S V"], reward: Float[Tensor, "*S V"], n: int
) -> Float[Tensor, "*S"]:
    """KL(best of n‖π₀) = Σ π_n log(π_n/π₀) of a finite set of answers, ties included; a prompt at a
    time: average after.
    """
    p, ratio = _best_of_n_ratio(pmf, reward, n)
    return torch.special.xlogy(ratio, ratio).mul(p).sum(-1).clamp(min=0).to(pmf.dtype)


def best_of_n_estimate(log_prob_of_winner: Float[Tensor, "*S"], n: int) -> Float[Tensor, "*S"]:
    """g_n(ε) with ε = π₀(winner), whose mean over winners estimates KL(best of n‖π₀) (Beirami et
    al. 2024):

        (1−ε)ⁿ·[log n + (n−1)·log(1−ε) − (n−1)/n] + (1−(1−ε)ⁿ)·log((1−(1−ε)ⁿ)/ε)

    Exact where the winner is an atom above a continuum, the bound where ε → 0. Takes log ε of the
    whole answer, which may be far below where ε is 0. Overshoots where rewards tie: use
    `best_of_n_exact` there.
    """
    if n < 1:
        raise ValueError(f"n is {n}; best-of-n needs n of at least 1")
    e = log_prob_of_winner.double().clamp(max=0).exp()
    miss = torch.log1p(-e)  # log(1−ε), −inf at ε = 1
    none = (n * miss).exp()
    tiny = (
        e < 1e-200
    )  # here −log(1−ε)/ε and (1−e^a)/(−a) are 1 to the last bit, and cannot be computed
    safe = torch.where(tiny, torch.full_like(e, 0.5), e)
    hit = torch.where(
        tiny,
        torch.full_like(e, float(n)).log(),
        (-torch.expm1(n * torch.log1p(-safe)) / safe).log(),
    )
    rest = torch.where(
        none > 0,
        none * (best_of_n_bound(n) + (n - 1) * torch.where(none > 0, miss, torch.zeros_like(miss))),
        0.0,
    )
    return (rest + (1 - none) * hit).to(log_prob_of_winner.dtype)
