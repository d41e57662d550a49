"""General preference models on token counts: antisymmetric by construction, not always transitive.

    P(a beats b) − ½ = link(φ(a)ᵀ W φ(b)),   W = −Wᵀ,   φ(y)[v] = share of token v in y

A score for each completion can only say what is transitive; a skew form of two completions says
"a beats b, b beats c, c beats a" too. Where completions have one token, W is a table of all pairs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Pairs, Samples
from assay.errors import InputError
from assay.formulas.games import truncated_skew

MOST = 128  # tokens of a vocabulary: the fit has V·(V−1)/2 weights, and Newton's steps their cube


class SkewPreference:
    """A preference model that is bilinear in the shares of tokens.

    Args:
        weight: W `[V,V]`, skew.
        link: "linear": φ(a)ᵀ W φ(b) is P − ½ itself. "logistic": it is the log-odds of P.

    Raises:
        InputError: W is not skew.
    """

    def __init__(self, weight: Float[Tensor, "V V"], *, link: str = "logistic"):
        if link not in ("linear", "logistic"):
            raise InputError(f"the link is '{link}'; it is linear or logistic")
        if float((weight + weight.mT).abs().max()) > 1e-6 * max(1.0, float(weight.abs().max())):
            raise InputError("the weights of a preference model must be skew: W = −Wᵀ")
        self.weight, self.link = weight, link

    def __call__(self, a: Samples, b: Samples) -> Float[Tensor, "B Na Nb"]:
        left, right = (shares(x, len(self.weight)) for x in (a, b))
        form = left @ self.weight.to(left) @ right.mT
        return form if self.link == "linear" else torch.tanh(form / 2) / 2  # σ(x) − ½


def shares(samples: Samples, vocabulary: int) -> Float[Tensor, "B N V"]:
    """Share of each token in a completion, in float64; 0 everywhere for one that is absent.

    Args:
        samples: Completions of tokens.
        vocabulary: The number of tokens V.
    """
    held = (samples.mask | samples.given).double()
    counts = held.new_zeros(*samples.action.shape[:2], vocabulary)
    counts = counts.scatter_add(2, samples.action, held)
    return counts / held.sum(-1, keepdim=True).clamp(min=1)


def general_preference(
    pairs: Pairs, *, vocabulary: int, ridge: float = 0.05, rank: int = 0
) -> SkewPreference:
    """Fit a skew preference model to labelled pairs.

    min_W Σ_b −p·log σ(d_b) − (1−p)·log σ(−d_b) + ½·ridge·Σ_{i<j} W_ij²,   d_b = φ(a)ᵀ W φ(b)

    It is strictly convex. Newton's method in float64, to a gradient below 1e-8.

    Args:
        pairs: The pairs, chosen first.
        vocabulary: The number of tokens V.
        ridge: Weight of the penalty, above 0.
        rank: Planes that are kept of W, the largest; 0 for all. Each plane is one cycle of tastes,
            u vᵀ − v uᵀ.

    Raises:
        InputError: There are too many tokens, or the ridge is not above 0.

    Source: Zhang et al., "Beyond Bradley-Terry Models: A General Preference Model for Language
        Model Alignment", arXiv:2410.02197, 2024, the skew form; fitted exactly here.
    """
    if not 2 <= vocabulary <= MOST or not ridge > 0:
        raise InputError(
            f"a skew preference model of {vocabulary} tokens with a ridge of {ridge} cannot be "
            f"fitted; give 2 to {MOST} tokens and a ridge above 0"
        )
    i, j = torch.triu_indices(vocabulary, vocabulary, 1)
    won, lost = shares(pairs, vocabulary).unbind(1)
    x = won[:, i] * lost[:, j] - won[:, j] * lost[:, i]  # [n,D]
    p, w = pairs.p.double(), x.new_zeros(x.shape[1])

    def loss(w: Tensor) -> Tensor:
        z = x @ w
        softplus = torch.nn.functional.softplus
        return (p * softplus(-z) + (1 - p) * softplus(z)).sum() + ridge / 2 * w @ w

    for _ in range(100):
        q = torch.sigmoid(x @ w)
        gradient = x.mT @ (q - p) + ridge * w
        if float(gradient.abs().max()) < 1e-8:
            break
        curvature = (x * (q * (1 - q))[:, None]).mT @ x + ridge * torch.eye(len(w)).to(w)
        step, scale = torch.linalg.solve(curvature, gradient), 1.0
        while scale > 1e-6 and float(loss(w - scale * step)) > float(loss(w)):
            scale /= 2
        w = w - scale * step
    weight = x.new_zeros(vocabulary, vocabulary)
    weight[i, j] = w
    weight = weight - weight.mT
    return SkewPreference(truncated_skew(weight, rank=rank) if rank else weight)
