"""How often raters are wrong, from what they say alone: three raters who err independently of one
another given the truth.

One rater cannot be told from the truth, and two cannot be told from each other; three pin
everything down, up to which class is which (the raters are taken to be better than chance). All
rests on independence *given the truth*: raters who copy, or who all find the same items hard, look
more reliable than they are, and with three binary raters nothing in the data shows it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Binary(NamedTuple):
    """`prior`: P(truth = 1). `hit [3]`: P(a rater says 1 | 1). `alarm [3]`: P(a rater says 1 | 0)."""

    prior: Float[Tensor, ""]
    hit: Float[Tensor, "3"]
    alarm: Float[Tensor, "3"]


def three_raters(votes: Float[Tensor, "S 3"]) -> Binary:
    """The binary case in closed form, from means, covariances and the third central moment of 0/1
    votes; float64.

    With s = √(p(1−p)) and dⱼ = hitⱼ − alarmⱼ: cov(i,j) = s²dᵢdⱼ, so (s·d₁)² = c₁₂c₁₃/c₂₃ and so on,
    and the third moment is s²(1−2p)d₁d₂d₃, so 1−2p = q/√(4+q²) with q = t/Π(s·dⱼ). Rates are
    clipped to [0, 1]. Raises ValueError where two raters do not agree beyond chance: then there is
    nothing to solve. (Hui & Walter 1980; Zhu et al. 2023 for three weak proxies.)
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
    """`prior [K]`, `confusion [R,K,K]` (truth, vote), `posterior [S,K]` of each item's truth,
    `loglik`: mean an item, nats.
    """

    prior: Float[Tensor, "K"]
    confusion: Float[Tensor, "R K K"]
    posterior: Float[Tensor, "S K"]
    loglik: Float[Tensor, ""]


def dawid_skene(
    votes: Int[Tensor, "S R"], *, classes: int, rounds: int = 500, tolerance: float = 1e-10
) -> Latent:
    """Any number of raters and classes, −1 where a rater did not say: expectation–maximisation from
    the shares of votes, until the log-likelihood gains less than `tolerance` a round (Dawid & Skene
    1979). A local optimum; float64.
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
