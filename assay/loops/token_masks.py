"""Weights of tokens that are learned from what a reference shows before each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import Rng
from assay.formulas.sparse import layer_mask, mixed_mask

Drawn = Callable[[int], Tensor]  # uniform numbers of the tokens, `[…,k]` for k numbers a token


class TokenMask(nn.Module):
    """One weight of a token, 0 or above: from the last layer's state, or from all layers'.

    First values are drawn as torch draws those of a linear layer, U(−1/√inputs, 1/√inputs), and
    some change sign, since a weight that is 0 on every token stays so: the mixer's that are below
    0, and a head that is 0 on every token of `states`.

    Args:
        states: The reference's states, whose number L, width, dtype and device the mask takes.
        rng: Address of the first values.
        mixed: Mix a head on each layer, over the shared norm of its state; else one head on the
            last state as it is.
        dropout: Share of numbers set to 0, the others divided by what is left: of the heads', and
            of the mixed ones.
    """

    def __init__(
        self,
        states: Sequence[Float[Tensor, "B N T W"]],
        rng: Rng,
        *,
        mixed: bool,
        dropout: float,
    ):
        super().__init__()
        like, self.mixed, self.dropout = states[-1], mixed, dropout
        L, W = len(states) if mixed else 1, like.shape[-1]
        place = torch.arange(L)[:, None], torch.arange(W + 1)
        first = (2 * rng.uniform(*place) - 1).to(like) / math.sqrt(W)
        # copies in storage of their own: a column of one row is saved as the view that it is
        weight, bias = (
            x.clone(memory_format=torch.contiguous_format) for x in first.split([W, 1], 1)
        )
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias.flatten())
        if mixed:
            mixer = rng("mixer").uniform(torch.arange(L)).to(like) / math.sqrt(L)
            self.mixer = nn.Parameter(mixer)
            self.scale, self.shift = (
                nn.Parameter(f(W).to(like)) for f in (torch.ones, torch.zeros)
            )
        with torch.no_grad():
            read = self._read(states)
            alive = (layer_mask(read, self.weight, self.bias) > 0).unbind(-1)
            for head, (h, on) in enumerate(zip(read, alive, strict=True)):
                if not bool((on & (h != 0).any(-1)).any()):  # states of padding are 0
                    self.weight[head].neg_()
                    self.bias[head].neg_()

    def decayed(self) -> list[nn.Parameter]:
        """The matrices, which weight decay shrinks: neither biases nor the norm's."""
        return [self.weight, *([self.mixer] if self.mixed else [])]

    def forward(self, states: Sequence[Float[Tensor, "*S W"]], drawn: Drawn) -> Float[Tensor, "*S"]:
        """Compute the weights.

        Args:
            states: The layers' states, each `[*S,W]`.
            drawn: Gives k uniform numbers of each token `[*S,k]`, which decide what is
                dropped.
        """
        L, last = len(self.bias), states[-1]
        kept = last.new_ones(L + 1)
        if self.dropout:
            u = drawn(L + 1).to(last)
            kept = (u >= self.dropout).to(last) / (1 - self.dropout)
        each = layer_mask(self._read(states), self.weight, self.bias)
        if not self.mixed:
            return each[..., 0] * kept[..., L]
        return mixed_mask(each * kept[..., :L], self.mixer) * kept[..., L]

    def _read(self, states: Sequence[Tensor]) -> list[Tensor]:
        """What the heads read of the states, one a head."""
        if not self.mixed:
            return [states[-1]]
        return [nn.functional.layer_norm(h, h.shape[-1:], self.scale, self.shift) for h in states]


def numbers(rng: Rng, rows: Int[Tensor, "b"], mask: Bool[Tensor, "b N T"], k: int) -> Tensor:
    """Draw k uniform numbers of each token, by the address of its pair, completion and place.

    Args:
        rng: The address.
        rows: The pairs' rows in the data.
        mask: Whose shape the completions have.
        k: Numbers a token.

    Returns:
        `[b,N,T,k]`.
    """
    n, t, j = (torch.arange(size) for size in (*mask.shape[1:], k))
    return rng.uniform(rows[:, None, None, None], n[:, None, None], t[:, None], j)
