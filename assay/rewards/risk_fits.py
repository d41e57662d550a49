"""The encoder of risk and its companions, fitted to the same answers.

`cut` has labels that are cut at a half, `length` reads how many words a question has, and
`shuffled` is the negative control: the encoder on labels that are exchanged between questions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Prompts, Rng
from assay.rewards.linear_solvers import bradley_terry_optimum
from assay.rewards.risk_encoder import Labelled, RiskEncoder, fitted, told

ARMS = ("encoder", "cut", "length", "shuffled")
Fit = RiskEncoder | Float[Tensor, "R 2"]


def fits(
    words: Prompts,
    shares: Float[Tensor, "B H"],
    routes: int,
    size: int,
    width: int,
    loop: Loop,
    rng: Rng,
) -> dict[str, Fit]:
    """Fit the encoder, its two companions on other labels, and the fit to a question's length.

    Args:
        words: The labelled questions.
        shares: Of wrong answers by each route, then any other labels.
        routes: Routes, R; the fit to length has no other labels.
        size: Of the vocabulary.
        width: Of the encoder.
        loop: Of its fit.
        rng: Address of weights, order and exchange.
    """
    other = rng("shuffled").permutation(len(shares))
    labels = {"encoder": shares, "cut": (shares > 0.5).double(), "shuffled": shares[other]}
    out: dict[str, Fit] = {}
    for name in ARMS:
        if name == "length":
            length = words.mask.sum(1).double()
            out[name] = torch.stack([of_length(length, shares[:, r]) for r in range(routes)])
            continue
        data = Labelled(words.tokens, words.mask, labels[name])
        out[name] = fitted(data, size, rng("fit"), width=width, loop=loop)
    return out


def logits(model: Fit, questions: Prompts, routes: int) -> Float[Tensor, "B R"]:
    """Logit of a wrong answer by each route, as a model predicts it."""
    if isinstance(model, Tensor):
        return questions.mask.sum(1, keepdim=True).double() / 10 * model[:, 0] + model[:, 1]
    return told(model, questions)[:, :routes]


def of_length(length: Float[Tensor, "B"], share: Float[Tensor, "B"]) -> Float[Tensor, "2"]:
    """Slope and intercept of the logit of a wrong answer in a question's words.

    It is a Bradley–Terry fit of each row against a row of zeros.
    """
    n = len(length)
    x = torch.stack([length / 10, torch.ones(n, dtype=length.dtype)], 1)
    dense = F.pad(x, (0, 0, 0, 1)).float()
    against = torch.stack([torch.arange(n), torch.full((n,), n)], 1)
    found = bradley_terry_optimum(
        dense, against, p=share.float(), margin=torch.zeros(n), ridge=1e-3, counts=torch.ones(n, 1)
    )
    return found[:, 0].double()
