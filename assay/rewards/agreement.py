"""How far reward models agree, and whether what one likes is liked by its siblings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from assay.formulas.curves import best_of_n_shares
from assay.formulas.dependence import midranks, pearson, rank_correlation


def between(table: Float[Tensor, "M M"], groups: Sequence[Sequence[int]]) -> float:
    """Mean of a symmetric table over the pairs of different members of a group.

    Args:
        table: One number for each two members.
        groups: Members by index, two or more each.
    """
    each = [float(table[i, j]) for g in groups for i in g for j in g if i != j]
    return sum(each) / len(each)


def rank_agreement(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "M M"]:
    """Rank correlation within prompts of each two members, averaged over prompts."""
    return rank_correlation(*_crossed(scores)).mean(-1)


def _crossed(x: Float[Tensor, "M *S"]) -> tuple[Tensor, Tensor]:
    """Each member beside each, `[M,M,*S]` twice."""
    wide = x.expand(len(x), *x.shape)
    return wide.transpose(0, 1), wide


def error_agreement(
    scores: Float[Tensor, "M B N"], gold: Float[Tensor, "B N"]
) -> Float[Tensor, "M M"]:
    """Correlation of each two members' errors; 0 for a member without error.

    An error is what gold does not explain of a score: both are centred on their prompt, and each
    member's best multiple of gold is taken off.

    Args:
        scores: The members' scores of N completions a prompt.
        gold: The gold of the same.
    """
    g = gold - gold.mean(-1, keepdim=True)
    r = scores - scores.mean(-1, keepdim=True)
    slope = (r * g).sum((-2, -1), keepdim=True) / g.square().sum().clamp(min=1e-300)
    error = (r - slope * g).flatten(1)
    return pearson(*_crossed(error))


def wins(
    scores: Float[Tensor, "M B N"], by: Float[Tensor, "K B N"], n: int
) -> Float[Tensor, "M K"]:
    """How often a member's favourite of n beats a random completion, as another sees it.

    Args:
        scores: The members who choose.
        by: The scores of those who compare; ties count by half.
        n: Completions among which a favourite is chosen.
    """
    share = torch.stack([best_of_n_shares(r, n) for r in scores])
    return torch.einsum("mbn,kbn->mk", share, midranks(by.double())) / scores.shape[1]


def favourites(proxy: Float[Tensor, "B N"], n: int) -> Tensor:
    """The best of each run of n completions by proxy, by index `[B, N/n]`.

    They are independent samples of the best-of-n policy, where the completions are of the
    reference.

    Args:
        proxy: Scores of N completions a prompt.
        n: Completions of a run; what is left over at the end is not used.
    """
    B, N = proxy.shape
    runs = N // n
    best = proxy[:, : runs * n].reshape(B, runs, n).argmax(-1)
    return best + n * torch.arange(runs)
