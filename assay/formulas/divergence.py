"""KL divergences in nats: estimators from log-ratios `[B, N, T]`, distributions, and best-of-n.

With ℓ = log π − log π₀ on completions of π, an estimator that is right as a *value* can be wrong as
a *reward* (detached, times the score function) or as a *loss* (differentiated, with the completions
fixed):

    term                value              in the reward             in the loss
    k1 = ℓ              unbiased           ∇KL(π‖π₀)  ← use          0: it does nothing
    k2 = ½ℓ²            biased, ≥ 0        biased                    ∇KL(π‖π₀)  ← use
    k3 = e^−ℓ − 1 + ℓ   unbiased, ≥ 0      ∇KL(π‖π₀) − ∇KL(π₀‖π)     ∇KL(π₀‖π), the forward KL
    (and with the ratio upside down, e^ℓ − 1 − ℓ estimates χ² − KL, which is not a KL)

A term of each decision in the *loss* ignores how early decisions change later states; in the
reward, with returns to go, it does not. After the first update on a batch, multiply a KL loss by
`surrogate.ratio`. For evaluation, `kl_full` has the least variance.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FAR = 40.0  # e^−ℓ is taken at most as e^40: a number in float32, far outside any honest ratio


def log_ratio(
    logp: Float[Tensor, "B N T"], ref_logp: Float[Tensor, "B N T"], mask: Bool[Tensor, "B N T"]
) -> Float[Tensor, "B N"]:
    """Log-ratio of a whole completion, a sum and never a mean: ℓ = Σ_t (log π − log π₀).

    Args:
        logp: log π `[B, N, T]`.
        ref_logp: log π₀ `[B, N, T]`.
        mask: The policy's own decisions `[B, N, T]`.

    Returns:
        `[B, N]` in nats.
    """
    return torch.where(mask, logp - ref_logp, logp.new_zeros(())).sum(-1)


def k1(logp: Float[Tensor, "*S"], ref_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Log-ratio estimator, for the **reward**: ℓ = log π − log π₀.

    r − β·k1 has the gradient of KL(π‖π₀). As a value it is unbiased, of either sign and of high
    variance. As a loss its expected gradient is 0.

    Args:
        logp: log π `[*S]`.
        ref_logp: log π₀ `[*S]`.

    Returns:
        `[*S]` in nats.
    """
    return logp - ref_logp


def k2(logp: Float[Tensor, "*S"], ref_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Half the squared log-ratio, for the **loss**: ½·(log π − log π₀)².

    Its expected gradient as a loss is that of KL(π‖π₀). As a value and in the reward it is biased;
    it is never negative.

    Args:
        logp: log π `[*S]`.
        ref_logp: log π₀ `[*S]`.

    Returns:
        `[*S]`.

    Source: Schulman, "Approximating KL Divergence", 2020.
    """
    return 0.5 * (logp - ref_logp).square()


def k3(logp: Float[Tensor, "*S"], ref_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Low-variance estimator, for the **value**: e^−ℓ − 1 + ℓ.

    It is unbiased and never negative. As a loss its expected gradient is that of the *forward*
    KL(π₀‖π), which GRPO charges; in the reward it is biased.

    Args:
        logp: log π `[*S]`.
        ref_logp: log π₀ `[*S]`.

    Returns:
        `[*S]` in nats.

    Source: Schulman, "Approximating KL Divergence", 2020.
    """
    l = logp - ref_logp
    return torch.expm1((-l).clamp(max=FAR)) + l


def kl_full(
    logits: Float[Tensor, "*S V"], ref_logits: Float[Tensor, "*S V"]
) -> Float[Tensor, "*S"]:
    """KL divergence of whole distributions: KL(π‖π₀) = Σ_v π(v)·(log π(v) − log π₀(v)).

    Summed over the decisions of the policy's own completions it is an unbiased estimate of the
    sequence KL, and the one of least variance.

    Args:
        logits: Of π `[*S, V]`; −inf excludes a choice.
        ref_logits: Of π₀ `[*S, V]`.

    Returns:
        `[*S]` in nats, differentiable, never negative; +inf where π₀ alone excludes a choice.
    """
    lp, lq = torch.log_softmax(logits, -1), torch.log_softmax(ref_logits, -1)
    p = lp.exp()
    return (p * torch.where(p > 0, lp - lq, lp.new_zeros(()))).sum(-1).clamp(min=0)


def best_of_n_bound(n: int | Tensor) -> Float[Tensor, "*S"]:
    """Upper bound on the KL of best-of-n: log n − (n−1)/n.

    It is the KL itself if no completion is an atom. It is loose once n·π₀(completion) ≳ 1: then the
    policy has stopped moving and the bound has not.

    Args:
        n: At least 1.

    Returns:
        In nats, float64, of the shape of n.

    Raises:
        ValueError: n is below 1.

    Source: Beirami et al., "Theoretical guarantees on the best-of-n alignment policy",
        arXiv:2401.01879, 2024.
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
    """The distribution of the best of n draws, with ties broken at random.

    π_n(y) = (F(y)ⁿ − F⁻(y)ⁿ)·π₀(y)/π₀(tie class of y),  F(y) = π₀(r ≤ r(y)), F⁻(y) = π₀(r < r(y))

    Args:
        pmf: π₀ `[*S, V]`.
        reward: r `[*S, V]`.
        n: Draws.

    Returns:
        π_n `[*S, V]`.
    """
    p, ratio = _best_of_n_ratio(pmf, reward, n)
    return (p * ratio).to(pmf.dtype)


def best_of_n_exact(
    pmf: Float[Tensor, "*S V"], reward: Float[Tensor, "*S V"], n: int
) -> Float[Tensor, "*S"]:
    """KL(best of n‖π₀) = Σ π_n·log(π_n/π₀) over a finite set of completions, ties included.

    Args:
        pmf: π₀ `[*S, V]`.
        reward: `[*S, V]`.
        n: Draws.

    Returns:
        `[*S]` in nats, one value a prompt, to be averaged.
    """
    p, ratio = _best_of_n_ratio(pmf, reward, n)
    return torch.special.xlogy(ratio, ratio).mul(p).sum(-1).clamp(min=0).to(pmf.dtype)


def best_of_n_estimate(log_prob_of_winner: Float[Tensor, "*S"], n: int) -> Float[Tensor, "*S"]:
    """An estimate of the KL of best-of-n from the winner's probability alone.

    (1−ε)ⁿ·[log n + (n−1)·log(1−ε) − (n−1)/n] + (1−(1−ε)ⁿ)·log((1−(1−ε)ⁿ)/ε),  ε = π₀(winner)

    Its mean over winners estimates KL(best of n‖π₀). It is exact if the winner is an atom above a
    continuum, and the bound as ε → 0. It overestimates where rewards tie: use `best_of_n_exact`.

    Args:
        log_prob_of_winner: log ε of the whole completion `[*S]`; it may be far below where ε is 0.
        n: Draws.

    Returns:
        `[*S]` in nats.

    Raises:
        ValueError: n is below 1.

    Source: Beirami et al., arXiv:2401.01879, 2024.
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
