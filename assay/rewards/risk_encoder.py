"""A text encoder that reads a question alone, a head a label: will answers be wrong, and agree?"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import InputError, Loop, Prompts, Rng, order
from assay.data.faults import Faults
from assay.data.read import open_source
from assay.engine import descend
from assay.formulas.reduce import per_pair
from assay.models.backbones.llama import Config, Llama

EVERY = 10  # updates between two looks at the questions that are kept apart


@dataclass(frozen=True)
class Labelled:
    """Questions and, of each, the share of answers that are wrong, and that agree with the most.

    Attributes:
        tokens: `[B, P]`.
        keep: `[B, P]`.
        shares: `[B, H]`: of wrong answers, and of those that agree where that is known.
    """

    tokens: Int[Tensor, "B P"]
    keep: Bool[Tensor, "B P"]
    shares: Float[Tensor, "B H"]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Int[Tensor, "b"]) -> Labelled:
        return Labelled(self.tokens[rows], self.keep[rows], self.shares[rows])

    @property
    def mask(self) -> Bool[Tensor, "B 1 1"]:
        """One loss a question."""
        return torch.ones(len(self), 1, 1, dtype=torch.bool)


class RiskEncoder(nn.Module):
    """A small Llama, the mean of its hidden states, and a linear head for each label.

    Args:
        tokens: Size of the vocabulary.
        width: Of the backbone.
        rng: Address of the first weights.
        heads: Labels, H.
    """

    def __init__(self, tokens: int, width: int, rng: Rng, heads: int = 2):
        super().__init__()
        size = Config(tokens, width, 1, heads=1, kv_heads=1, inner=2 * width)
        self.backbone = Llama(size, rng("encoder"))
        self.head = nn.Linear(width, heads)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, tokens: Int[Tensor, "B P"], keep: Bool[Tensor, "B P"]
    ) -> Float[Tensor, "B H"]:
        """Logits of the labels."""
        hidden = self.backbone.hidden(tokens, keep)
        kept = torch.where(keep[..., None], hidden, torch.zeros_like(hidden))
        mean = kept.sum(1) / keep.sum(1, keepdim=True).clamp(min=1)
        return torch.as_tensor(self.head(mean))


def fitted(data: Labelled, tokens: int, rng: Rng, *, width: int, loop: Loop) -> RiskEncoder:
    """Fit all heads by the binomial likelihood of the shares.

        −Σ_q [k·log σ(z) + (d − k)·log(1 − σ(z))]/d

    and not by least squares on labels that are cut at a half: of six draws, a share has a standard
    deviation of up to 0.2. A fifth of the questions is kept apart, and the weights at which its
    likelihood is highest are taken.

    Args:
        data: Labelled questions, ten or more.
        tokens: Size of the vocabulary.
        rng: Address of weights and order.
        width: Of the backbone.
        loop: Steps, rows a step, learning rate.
    """
    model = RiskEncoder(tokens, width, rng, data.shares.shape[1])
    optimiser = loop.optimiser(model)
    rows = rng("apart").permutation(len(data))
    apart, mine = data[rows[: len(rows) // 5]], data[rows[len(rows) // 5 :]]

    def loss(x: Labelled, _: Any) -> Tensor:
        logit = model(x.tokens, x.keep)
        y = x.shares.to(logit.dtype)
        return F.binary_cross_entropy_with_logits(logit, y, reduction="none").sum(-1)

    best, kept = math.inf, copy.deepcopy(model.state_dict())
    for t in range(loop.max_steps):
        batch = mine[order(len(mine), loop.batch_size, t, rng("order"))]
        descend.descend(optimiser, loss, batch, reduce=per_pair)
        if (t + 1) % EVERY == 0:
            with torch.no_grad():
                now = float(loss(apart, None).mean())
            if now < best:
                best, kept = now, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return model


@torch.no_grad()
def told(model: RiskEncoder, prompts: Prompts, *, rows: int = 4096) -> Float[Tensor, "B H"]:
    """Logits of the labels, in passes of some rows."""
    parts = [
        model(prompts.tokens[i : i + rows], prompts.mask[i : i + rows])
        for i in range(0, len(prompts), rows)
    ]
    return torch.cat(parts).double()


def read(
    path: Path,
) -> tuple[list[str], tuple[str, ...], Float[Tensor, "Q R"], Float[Tensor, "R"]]:
    """Read questions in lower case, and the share of the answers to each that were wrong.

    Args:
        path: JSON lines with question, wrong and draws; and route, where questions were sent by
            several, each question by all of them, with the words that were read beside it.

    Returns:
        The questions, the routes ("" where the file names none), the shares, and each route's mean
        number of words beside the question, 0 where the file says nothing.

    Raises:
        InputError: A row lacks one of them, a question lacks a route, or there are fewer than 20.
    """
    faults, found = Faults(str(path)), dict[tuple[str, int], dict[str, tuple[float, float]]]()
    for i, row in open_source(path).rows(faults):
        text, wrong, draws = (row.get(k) for k in ("question", "wrong", "draws"))
        route, words = row.get("route", ""), row.get("words", 0)
        if (
            not (isinstance(text, str) and text.split())
            or not isinstance(route, str)
            or not isinstance(wrong, int | float)
            or not isinstance(draws, int | float)
            or not 0 <= wrong <= draws
            or not draws
            or not isinstance(words, int | float)
            or not 0 <= words < math.inf
        ):
            raise InputError(
                f"{path}, row {i}: a question, how many of its answers were wrong, and draws, how "
                "many there were, are expected (and words, a number, where they cost)"
            )
        of = found.setdefault((text.lower(), 0 if route else i), {})
        if route in of:
            raise InputError(f"{path}, row {i}: the question has gone by route '{route}' before")
        of[route] = wrong / draws, words
    faults.stop()
    if len(found) < 20:
        raise InputError(f"{path} has {len(found)} questions; 20 are the fewest")
    routes = tuple(dict.fromkeys(r for of in found.values() for r in of))
    for (text, _), of in found.items():
        if lacks := [r for r in routes if r not in of]:
            raise InputError(f"{path}: '{text[:60]}' was not sent by route '{lacks[0]}'")
    rows = torch.tensor([[of[r] for r in routes] for of in found.values()], dtype=torch.float64)
    return [text for text, _ in found], routes, rows[..., 0], rows[..., 1].mean(0)
