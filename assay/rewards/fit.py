"""The loop that fits judges to preferences. The loss is the caller's; what a paper would vary is an
argument here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from assay.core import Loop, Pairs, Reward, Rng, Samples, order
from assay.engine.descend import Losses, descend
from assay.engine.optimiser import Optimiser
from assay.errors import InputError
from assay.formulas.pairwise import bradley_terry, centring
from assay.formulas.reduce import per_pair

Loss = Callable[
    [Float[Tensor, "M B"], Float[Tensor, "M B"], Float[Tensor, "M B"], Float[Tensor, "M B"]],
    Float[Tensor, "M B"],
]
Moved = Callable[[nn.Module, int], dict[str, Tensor]]


@runtime_checkable
class Trainable(Protocol):
    """Judges in the making: `model(samples, or one Samples a member) → [M,B,N]`, differentiable;
    `freeze` ends it.

    One that can show what its heads read also has `hidden(samples) → [M,B,N,H]` and `heads() →
    [M,H]`.
    """

    members: int

    def __call__(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]: ...
    def freeze(self, names: tuple[str, ...]) -> Reward: ...


@runtime_checkable
class Separable(Protocol):
    """Judges that share no weight: `one(weights, samples)` are the scores `[B,N]` of the member
    that these weights make.
    """

    def one(self, weights: Mapping[str, Tensor], samples: Samples) -> Float[Tensor, "B N"]: ...


@runtime_checkable
class Penalty(Protocol):
    """A cost of a whole batch that is no sum over its pairs: a correlation, a contrast of each
    answer with the others.
    """

    def view(self, model: Any, each: Sequence[Pairs], t: int) -> Tensor:
        """What it is a function of, row by row and differentiable: `[M,b,…]` of each member's own
        pairs at step t.
        """
        ...

    def __call__(self, view: Tensor, each: Sequence[Pairs]) -> Float[Tensor, "M"]:
        """The members' costs of that view of the whole batch."""
        ...


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
    """The judges that `trained` makes of these pairs, frozen and named."""
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
    """`loop.max_steps` updates of `loop.batch_size` pairs a member on `loss(chosen, rejected, p,
    margin)`, all `[M,B]`; in place.

    The loss is a function of these four alone: it is asked for one member at a time (M = 1) of
    judges that share no weight.

    rows: each member's own pairs, by index, where not all see all (folds). bootstrap: every member
    on its own draw of as many pairs with replacement. penalty: added to the mean loss. moved:
    `moved(model, t)` are the parameters, as a function of the model's own, at which the loss of
    step t is taken; its gradient is the model's own step.

    Every member walks its pairs in an order of its own. Gradients are not clipped: one norm for all
    would let the members see each other, and now member m is the same whatever stands beside it (to
    the last bit, where torch has one thread). Separable judges are handed to `descend` one by one.
    Raises InputError where pairs are not pairs.
    """
    if pairs.mask.shape[1] != 2:
        raise InputError(
            f"judges are fitted on two answers a row; these have {pairs.mask.shape[1]}: "
            "make pairs of the ranked lists first"
        )
    assert isinstance(model, nn.Module)
    rng, M, here = Rng(loop.seed), model.members, pairs.present.all(-1)
    own = [r[here[r]] for r in (rows or [torch.arange(len(pairs))] * M)]
    if min(len(r) for r in own) == 0:
        raise InputError("there are no pairs to fit a reward on: 0 rows hold two answers")
    if bootstrap:
        own = [
            r[rng("bootstrap", m).integers(len(r), torch.arange(len(r)))] for m, r in enumerate(own)
        ]
    alone = (
        _Alone(model)
        if isinstance(model, Separable) and penalty is None and moved is None
        else None
    )
    weights = (
        model.parameters() if alone is None else (w for own in alone.weights for w in own.values())
    )
    opt = Optimiser(
        [w for w in weights if w.requires_grad],
        lr=loop.learning_rate,
        warmup=loop.warmup_steps,
        clip=math.inf,
    )
    for t in tqdm(range(loop.max_steps), desc="fitting judges", disable=None, delay=2, leave=False):
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
            scores = (
                model(each) if place is None else torch.func.functional_call(model, place, (each,))
            )
            p, margin = torch.stack([x.p for x in each]), torch.stack([x.margin for x in each])
            total = loss(scores[..., 0], scores[..., 1], p, margin)
            if (
                penalty is not None and slope is not None
            ):  # its weight is that of a pair, 1/rows: undone here
                total = total + loop.batch_size * (
                    slope[:, i] * penalty.view(model, each, t)
                ).flatten(2).sum(-1)
            return total.sum(0)  # members share nothing, so a sum is M losses

        descend(opt, loss_of, pairs[batch[0]], reduce=per_pair)


class _Alone:
    """Members by themselves. `weights[m]`: views of the model's, by the same names, each a leaf
    with a gradient of its own.
    """

    def __init__(self, model: Any):
        self.model = model
        self.weights = [
            {
                name: p.detach()[m].requires_grad_(p.requires_grad)
                for name, p in model.named_parameters()
            }
            for m in range(model.members)
        ]

    def loss(self, loss: Loss, m: int, x: Pairs) -> Float[Tensor, "B"]:
        """One member's loss on its own pairs. Raises InputError where it is not that of one member."""
        scores = self.model.one(self.weights[m], x)[None]
        out = loss(scores[..., 0], scores[..., 1], x.p[None], x.margin[None])
        if out.shape != scores.shape[:2]:
            raise InputError(
                f"the loss of one judge's {scores.shape[1]} pairs has shape {list(out.shape)}, not "
                f"{list(scores.shape[:2])}: these judges are fitted one by one, so a loss may not "
                "tell them apart"
            )
        return out[0]


def _slope(model: Any, penalty: Penalty, each: Sequence[Pairs], t: int) -> Tensor:
    """∂penalty/∂view on the whole batch. Handed back to the rows by the chain rule, it is the same
    step however the batch is divided.
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
    """Fit by −log σ(chosen − rejected − margin) + centre·(chosen + rejected)²; see
    formulas.pairwise.
    """

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(
            chosen, rejected, p=p, margin=margin, smoothing=smoothing
        ) + centre * centring(chosen, rejected)

    return fitted(model, pairs, loss=loss, bootstrap=bootstrap, loop=loop)
