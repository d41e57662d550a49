"""The loop that fits judges to preferences. The loss is the caller's; what a paper would vary is an argument here."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from assay.core import Loop, Pairs, Reward, Rng, Samples, order
from assay.descend import descend
from assay.errors import InputError
from assay.formulas.reduce import per_pair
from assay.optimiser import Optimiser

Loss = Callable[[Float[Tensor, "M B"], Float[Tensor, "M B"], Float[Tensor, "M B"], Float[Tensor, "M B"]], Float[Tensor, "M B"]]


@runtime_checkable
class Trainable(Protocol):
    """Judges in the making: `model(samples, or one Samples a member) → [M,B,N]`, differentiable; `freeze` ends it."""

    members: int

    def __call__(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]: ...
    def freeze(self, names: tuple[str, ...]) -> Reward: ...


def fitted(model: Trainable, pairs: Pairs, *, loss: Loss, bootstrap: bool = False, loop: Loop) -> Reward:
    """`loop.steps` updates of `loop.batch` pairs a member on `loss(chosen, rejected, p, margin)`, all `[M,B]`; then frozen.

    Every member walks the pairs in an order of its own; with `bootstrap`, over its own draw of as many pairs with
    replacement. Gradients are not clipped: one norm for all would let the members see each other, and now member m is
    the same whatever stands beside it. Raises InputError where pairs are not pairs.
    """
    if pairs.mask.shape[1] != 2:
        raise InputError(f"judges are fitted on two answers a row; these have {pairs.mask.shape[1]}: "
                         "make pairs of the ranked lists first")
    assert isinstance(model, nn.Module)
    pairs = pairs[pairs.present.all(-1).nonzero().squeeze(1)]
    if len(pairs) == 0:
        raise InputError("there are no pairs to fit a reward on: 0 rows hold two answers")
    rng, M = Rng(loop.seed), model.members
    opt = Optimiser([p for p in model.parameters() if p.requires_grad], lr=loop.lr, warmup=loop.warmup, clip=math.inf)
    own = [rng("bootstrap", m).integers(len(pairs), torch.arange(len(pairs))) if bootstrap else torch.arange(len(pairs))
           for m in range(M)]
    for t in tqdm(range(loop.steps), desc="fitting judges", disable=None, delay=2, leave=False):
        rows = [own[m][order(len(pairs), loop.batch, t, rng("member", m))] for m in range(M)]

        def loss_of(_: Pairs, i: Tensor, rows: list[Tensor] = rows) -> Tensor:
            each = [pairs[r[i]] for r in rows]
            scores = model(each)
            p, margin = torch.stack([x.p for x in each]), torch.stack([x.margin for x in each])
            return loss(scores[..., 0], scores[..., 1], p, margin).sum(0)  # members share nothing, so a sum is M losses

        descend(opt, loss_of, pairs[rows[0]], reduce=per_pair)
    return model.freeze(tuple(f"judge{m}" for m in range(M)))
