"""MetaRM's step: from θ uphill in how far apart a reward model's scores of completions lie."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Rng, Samples, order
from assay.rewards.trainable import Moved


def spread(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "M B"]:
    """Mean over two completions to a prompt of |σ(r(a)) − σ(r(b))|.

    It is at most ½ for large N.
    """
    won = torch.sigmoid(scores)
    N = won.shape[-1]
    return (won[..., :, None] - won[..., None, :]).abs().sum((-2, -1)) / (N * (N - 1))


def ascended(
    shown: Samples, eta: float, rng: Rng, *, random: bool = False, batch: int = 16
) -> Moved:
    """Make θ + η·∇J on batches of these completions.

    Args:
        shown: Completions of the moved policy.
        eta: Length η of the step.
        rng: Orders the batches.
        random: Take η·|∇J| in a random direction instead, another one for each member.
        batch: Prompts a batch.
    """

    def moved(model: nn.Module, t: int) -> dict[str, Tensor]:
        named = {k: p for k, p in model.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            some = shown[order(len(shown), batch, t, rng)]
            slopes = torch.autograd.grad(spread(model(some)).mean(-1).sum(), list(named.values()))
        out = {}
        for i, ((name, p), g) in enumerate(zip(named.items(), slopes, strict=True)):
            if random:
                noise = (
                    rng("direction", t)("parameter", i)
                    .normal(torch.arange(p.numel()), dtype=p.dtype)
                    .view_as(p)
                )
                g = noise * g.norm() / noise.norm()
            out[name] = p + eta * g
        return out

    return moved
