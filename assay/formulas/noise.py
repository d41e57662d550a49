"""How often raters are wrong, from their votes alone, if errors are independent given the truth.

One rater cannot be told from the truth, and two cannot be told from each other. Three determine
everything, up to which class is which (raters are assumed to be better than chance). It all rests
on independence *given the truth*: raters who copy each other, or who find the same items hard, seem
more reliable than they are, and three binary raters leave no trace of it in the data.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Binary(NamedTuple):
    """Three raters of a binary truth.

    Attributes:
        prior: P(truth = 1).
        hit: P(vote 1 | truth 1) of each rater `[3]`.
        alarm: P(vote 1 | truth 0) of each rater `[3]`.
    """

    prior: Float[Tensor, ""]
    hit: Float[Tensor, "3"]
    alarm: Float[Tensor, "3"]


def three_raters(votes: Float[Tensor, "S 3"]) -> Binary:
    """Error rates of three binary raters in closed form.

    With s = √(p(1−p)) and d_j = hit_j − alarm_j:
    cov(i,j) = s²·d_i·d_j, hence (s·d₁)² = c₁₂·c₁₃/c₂₃;
    third central moment = s²·(1−2p)·d₁d₂d₃, hence 1−2p = q/√(4+q²), q = t/Π(s·d_j)

    Args:
        votes: 0 or 1 `[S, 3]`.

    Returns:
        Prior and rates in float64; rates are clipped to [0, 1].

    Raises:
        ValueError: Two raters do not agree beyond chance, so that there is no solution.

    Source: Hui & Walter, "Estimating the error rates of diagnostic tests", 1980; Zhu et al., 2023,
        for three weak proxies.
    """
    x = votes.double()
    m = x.mean(0)
    d = x - m
    cov = (d.T @ d) / len(x)
    c = torch.stack([cov[0, 1], cov[0, 2], cov[1, 2]])
    if not bool((c > 0).all()):
        raise ValueError(
            f"the covariances of the three raters are {[round(float(v), 4) for v in c]}; all must "
            "be above 0"
        )
    spread = torch.stack(
        [c[0] * c[1] / c[2], c[0] * c[2] / c[1], c[1] * c[2] / c[0]]
    ).sqrt()  # s·dⱼ
    q = d.prod(-1).mean() / spread.prod()
    prior = (1 - q / (4 + q * q).sqrt()) / 2
    gap = spread / (prior * (1 - prior)).sqrt()
    return Binary(prior, (m + (1 - prior) * gap).clamp(0, 1), (m - prior * gap).clamp(0, 1))


class Latent(NamedTuple):
    """The result of `dawid_skene`.

    Attributes:
        prior: P(truth = k) `[K]`.
        confusion: P(vote v | truth k) of each rater `[R, K, K]`.
        posterior: P(truth = k | votes) of each item `[S, K]`.
        loglik: Mean log-likelihood of an item, in nats.
    """

    prior: Float[Tensor, "K"]
    confusion: Float[Tensor, "R K K"]
    posterior: Float[Tensor, "S K"]
    loglik: Float[Tensor, ""]


def dawid_skene(
    votes: Int[Tensor, "S R"], *, classes: int, rounds: int = 500, tolerance: float = 1e-10
) -> Latent:
    """Error rates of any number of raters and classes, by expectation–maximisation.

    It starts from the shares of votes, and ends in a local optimum of the likelihood.

    Args:
        votes: Classes `[S, R]`, −1 for no vote.
        classes: K.
        rounds: Most rounds.
        tolerance: It stops when the log-likelihood gains less in a round.

    Returns:
        Prior, confusions and posteriors in float64.

    Raises:
        ValueError: A vote is no class.

    Source: Dawid & Skene, "Maximum likelihood estimation of observer error-rates using the EM
        algorithm", 1979.
    """
    if votes.numel() and (int(votes.max()) >= classes or int(votes.min()) < -1):
        raise ValueError(
            f"a vote is {int(votes.max())} or {int(votes.min())}; votes lie in 0 … {classes - 1}, "
            "−1 for none"
        )
    said = (
        torch.nn.functional.one_hot(votes.clamp(min=0), classes).double() * (votes >= 0)[..., None]
    )  # [S,R,K]
    posterior = said.sum(1) / said.sum((1, 2)).clamp(min=1)[:, None]
    last = -torch.inf
    for _ in range(rounds):
        prior = posterior.mean(0)
        counts = torch.einsum("sk,srv->rkv", posterior, said)
        total = counts.sum(-1, keepdim=True)
        confusion = torch.where(
            total > 0, counts / total.clamp(min=1e-300), torch.full_like(counts, 1 / classes)
        )
        joint = prior.log() + torch.einsum("srv,rkv->sk", said, confusion.clamp(min=1e-300).log())
        each = joint.logsumexp(-1)
        posterior, now = (joint - each[:, None]).exp(), float(each.mean())
        if now - last < tolerance:
            break
        last = now
    return Latent(prior, confusion, posterior, each.mean())


def corrected(
    joint: Float[Tensor, "V D"], confusion: Float[Tensor, "D K V"] | Float[Tensor, "K V"]
) -> Float[Tensor, "K D"]:
    """Shares of (truth, decision) behind shares of (vote, decision), by the noise matrix.

    P(vote = v, f = d) = Σ_k P(vote = v | truth = k, f = d)·P(truth = k, f = d), hence for each
    decision d:

        x_d = (T_dᵀ)⁻¹·joint_d

    by least squares, with what falls below 0 set to 0; each decision keeps its share. One matrix
    for all decisions is the paper's "global" method, one for each its "local" one.

    Args:
        joint: P(vote, decision) `[V, D]`, summing to 1.
        confusion: T: P(vote v | truth k), for each decision or for all.

    Returns:
        P(truth, decision) `[K, D]` in float64.

    Source: Zhu et al., "Weak Proxies are Sufficient and Preferable for Fairness with Missing
        Sensitive Attributes", arXiv:2210.03175, 2023.
    """
    seen = joint.double()
    T = confusion.double()
    T = T if T.dim() == 3 else T.expand(seen.shape[1], *T.shape)
    x = (torch.linalg.pinv(T.mT) @ seen.T[..., None])[..., 0].clamp(min=0)  # [D,K]
    total = x.sum(-1, keepdim=True).clamp(min=1e-300)
    return (x / total * seen.sum(0)[:, None]).T


class Audit(NamedTuple):
    """What an audit says of decisions.

    Attributes:
        accuracy: P(decision = truth).
        gap: Mean |P(f = d | truth k) − P(f = d | truth k')| over decisions and pairs of classes:
            the demographic disparity where the classes are groups, and for a judge of two classes
            how far it tells them apart.
    """

    accuracy: Float[Tensor, ""]
    gap: Float[Tensor, ""]


def audit(joint: Float[Tensor, "K D"]) -> Audit:
    """Accuracy and disparity of decisions, from shares of (truth, decision).

    Args:
        joint: P(truth, decision) `[K, D]`; class d is what decision d should be.

    Source: Zhu et al., arXiv:2210.03175, for the disparity of two groups or more.
    """
    rates = joint / joint.sum(1, keepdim=True).clamp(min=1e-300)
    apart = [(rates[a] - rates[b]).abs().mean() for a in range(len(rates)) for b in range(a)]
    return Audit(joint.diagonal().sum(), torch.stack(apart).mean())
