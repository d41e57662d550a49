"""The loop that fits reward models to preferences.

The loss is the caller's; what a paper varies is an argument.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Loop, Pairs, Reward, Rng, order
from assay.engine import progress
from assay.engine.descend import Losses, descend
from assay.engine.optimiser import Optimiser
from assay.errors import InputError
from assay.formulas.pairwise import bradley_terry, centring
from assay.formulas.reduce import per_pair
from assay.rewards.trainable import Loss, Moved, Penalty, Separable, Trainable

__all__ = [
    "Loss",
    "Moved",
    "Penalty",
    "Separable",
    "Trainable",
    "bradley_terry_fitted",
    "fitted",
    "trained",
]


def fitted(
    model: Trainable,
    pairs: Pairs,
    *,
    loss: Loss,
    bootstrap: bool = False,
    rows: Sequence[Tensor] | None = None,
    penalty: Penalty | None = None,
    moved: Moved | None = None,
    loop: Loop,
) -> Reward:
    """Fit as `trained` does, then freeze and name the members.

    Args:
        model: The members.
        pairs: The pairs, chosen first.
        loss: See `trained`.
        bootstrap: See `trained`.
        rows: See `trained`.
        penalty: See `trained`.
        moved: See `trained`.
        loop: See `trained`.

    Returns:
        The members as a reward, named judge0, judge1, ….
    """
    trained(
        model,
        pairs,
        loss=loss,
        bootstrap=bootstrap,
        rows=rows,
        penalty=penalty,
        moved=moved,
        loop=loop,
    )
    return model.freeze(tuple(f"judge{m}" for m in range(model.members)))


def trained(
    model: Trainable,
    pairs: Pairs,
    *,
    loss: Loss,
    bootstrap: bool = False,
    rows: Sequence[Tensor] | None = None,
    penalty: Penalty | None = None,
    moved: Moved | None = None,
    loop: Loop,
) -> None:
    """Train the members in place: `loop.max_steps` updates of `loop.batch_size` pairs a member.

    Every member reads its pairs in an order of its own. Gradients are not clipped: one norm for all
    members would let them see each other. So member m is the same whatever stands beside it (to the
    last bit where torch has one thread).

    Args:
        model: The members. Members that are `Separable` are given to `descend` one by one.
        pairs: The pairs, chosen first.
        loss: `loss(chosen, rejected, p, margin)`, all `[M,B]`, unreduced. It is a function of these
            four alone, and is called with one member at a time where members are separable.
        bootstrap: Whether each member is fitted to its own draw of as many pairs with replacement.
        rows: Each member's own pairs, by index, where not all members see all pairs (folds).
        penalty: A cost that is added to the mean loss.
        moved: `moved(model, t)` returns the parameters, as a function of the model's own, at which
            step t takes the loss; the gradient is with respect to the model's own.
        loop: Steps, batch size, learning rate, warm-up, seed.

    Raises:
        InputError: A row does not hold two completions, or no row does.
    """
    if pairs.mask.shape[1] != 2:
        raise InputError(
            f"a reward model is fitted to two completions a row, and these rows have "
            f"{pairs.mask.shape[1]}: make pairs of the ranked lists first"
        )
    assert isinstance(model, nn.Module)
    rng, M, here = Rng(loop.seed), model.members, pairs.present.all(-1)
    own = [r[here[r]] for r in (rows or [torch.arange(len(pairs))] * M)]
    if min(len(r) for r in own) == 0:
        raise InputError("there are no pairs to fit a reward model to: 0 rows hold two answers")
    if bootstrap:
        own = [
            r[rng("bootstrap", m).integers(len(r), torch.arange(len(r)))] for m, r in enumerate(own)
        ]
    separable = isinstance(model, Separable) and penalty is None and moved is None
    alone = _Alone(model) if separable else None
    weights = model.parameters() if alone is None else alone.parameters()
    opt = Optimiser(
        [w for w in weights if w.requires_grad],
        lr=loop.learning_rate,
        warmup=loop.warmup_steps,
        clip=math.inf,
    )
    steps = range(loop.max_steps)
    for t in progress.over(steps, f"fitting {M} reward model{'s' * (M > 1)}", "updates"):
        batch = [r[order(len(r), loop.batch_size, t, rng("member", m))] for m, r in enumerate(own)]
        slope = None if penalty is None else _slope(model, penalty, [pairs[r] for r in batch], t)
        place = None if moved is None else moved(model, t)

        def loss_of(
            _: Pairs,
            i: Tensor,
            t: int = t,
            batch: list[Tensor] = batch,
            slope: Tensor | None = slope,
            place: dict[str, Tensor] | None = place,
        ) -> Losses:
            each = [pairs[r[i]] for r in batch]
            if alone is not None:
                return [functools.partial(alone.loss, loss, m, x) for m, x in enumerate(each)]
            if place is None:
                scores = model(each)
            else:
                scores = torch.func.functional_call(model, place, (each,))
            p, margin = torch.stack([x.p for x in each]), torch.stack([x.margin for x in each])
            total = loss(scores[..., 0], scores[..., 1], p, margin)
            if penalty is not None and slope is not None:
                # `descend` weighs a pair by 1/rows; the penalty is of the whole batch
                part = (slope[:, i] * penalty.view(model, each, t)).flatten(2).sum(-1)
                total = total + loop.batch_size * part
            return total.sum(0)  # members share nothing, so a sum is M losses

        descend(opt, loss_of, pairs[batch[0]], reduce=per_pair)


class _Alone:
    """Members one by one: `weights[m]` are views of the model's, leaves with their own gradient."""

    def __init__(self, model: Any):
        self.model = model
        self.weights = [
            {
                name: p.detach()[m].requires_grad_(p.requires_grad)
                for name, p in model.named_parameters()
            }
            for m in range(model.members)
        ]

    def parameters(self) -> list[Tensor]:
        """Return every member's weights."""
        return [w for own in self.weights for w in own.values()]

    def loss(self, loss: Loss, m: int, x: Pairs) -> Float[Tensor, "B"]:
        """Return one member's loss on its own pairs.

        Args:
            loss: The loss, of scores `[1,B]`.
            m: The member.
            x: B pairs.

        Raises:
            InputError: The loss is not one number a pair.
        """
        scores = self.model.one(self.weights[m], x)[None]
        out = loss(scores[..., 0], scores[..., 1], x.p[None], x.margin[None])
        if out.shape != scores.shape[:2]:
            raise InputError(
                f"the loss of one member's {scores.shape[1]} pairs has shape {list(out.shape)}, "
                f"not {list(scores.shape[:2])}: these members are fitted one by one, so a "
                "loss may not compare them"
            )
        return out[0]


def _slope(model: Any, penalty: Penalty, each: Sequence[Pairs], t: int) -> Tensor:
    """Return ∂penalty/∂view on the whole batch.

    The chain rule takes it to the rows, so that the step is the same however the batch is split.
    """
    with torch.no_grad():
        seen = penalty.view(model, each, t)
    with torch.enable_grad():
        seen = seen.detach().requires_grad_()
        (slope,) = torch.autograd.grad(penalty(seen, each).sum(), seen)
    return slope


def bradley_terry_fitted(
    model: Trainable,
    pairs: Pairs,
    *,
    smoothing: float = 0.0,
    centre: float = 0.01,
    bootstrap: bool = False,
    loop: Loop = Loop(),
) -> Reward:
    """Fit by −log σ(chosen − rejected − margin) + centre·(chosen + rejected)².

    Args:
        model: The members.
        pairs: The pairs, chosen first.
        smoothing: The share of labels taken as wrong.
        centre: The weight of (chosen + rejected)².
        bootstrap: Whether each member is fitted to its own draw of the pairs.
        loop: Steps, batch size, learning rate, warm-up, seed.

    Returns:
        The members as a reward.
    """

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        each = bradley_terry(chosen, rejected, p=p, margin=margin, smoothing=smoothing)
        return each + centre * centring(chosen, rejected)

    return fitted(model, pairs, loss=loss, bootstrap=bootstrap, loop=loop)
