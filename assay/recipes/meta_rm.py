"""MetaRM: a judge that keeps telling answers of the *current* policy apart, by a step of
meta-learning in every update.

A judge is fitted on pairs of π₀ and then meets a policy that has moved, whose answers it finds much
alike. With S some prompts' answers of that policy, unlabeled, each update takes θ' = θ + η·∇J(θ),
J = mean over two answers a, b to one prompt of |σ(r(a)) − σ(r(b))|,
and then moves θ, not θ', by the gradient at θ' of the Bradley–Terry loss on the original pairs. The
ascent alone would only inflate scores; the loss at θ' is what makes the ascent's direction pay.
First order: the gradient does not go through ∇J.

The study moves a policy against the plain judge (leave-one-out, no KL) and stops it at three
distances. At each it fits MetaRM with that policy's answers and asks for the accuracy on *new*
answers of that policy, two a prompt, ordered by gold: plain, MetaRM, and two controls at the same
number of updates: the same step in a random direction of the same length, and MetaRM with answers
of the reference. Lines carry the mean of J as `spread`. η = 0 is the plain judge, bit for bit
(tested).

The rest of the paper is preference_strength. What this can show: whether the step helps a judge
under the shift it causes. On table judges, linear in counts, the spread's gradient points along the
counts that differ among a moved policy's answers, and no representation is learnt.

Here: the step helps a little at the distances that were tried, and answers of the reference in
place of the policy's do not; far out the judge orders new answers worse than chance with or without
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import (
    Carry,
    Claim,
    InputError,
    Loop,
    Missing,
    Pairs,
    Paper,
    Reward,
    Rng,
    Samples,
    World,
    order,
)
from assay.formulas.pairwise import bradley_terry, centring
from assay.loops.online import online
from assay.rewards.fit import Moved, fitted

paper = Paper(
    "Secrets of RLHF in Large Language Models Part II: Reward Modeling",
    "Wang et al.",
    2024,
    "arXiv:2401.06080",
)
reduces = {}


def study(
    world: World,
    *,
    eta: float = 2.0,
    draws: int = 8,
    kl: tuple[float, ...] = (1.0, 4.0, 16.0),
    pairs: int = 2000,
) -> Iterator[dict[str, Any]]:
    """eta: length of the ascent step; draws: answers of the moved policy, a prompt; kl: at which
    distances it is stopped, nats; pairs: of new answers on which judges are compared.
    """
    gold, refit = world.gold, world.refit
    if gold is None or refit is None:
        raise Missing(
            f"world {world.name} has no gold or no judges of its own; take table or grammar"
        )
    if draws < 2:
        raise InputError(f"--draws is {draws}; the spread is between two answers to a prompt")
    rng, task = world.task.rng("meta rm"), world.task
    plain = refit(_by(None))
    calm = refit(
        _by(ascent(task.reference.sample(task.prompts, draws, rng("calm")), eta, rng("calm order")))
    )
    moving = online(
        task.replaced(rewards=plain, rng=rng("run"), carry=Carry()),
        world.loop or Loop(),
        score=_first(plain),
    )
    for level, want in enumerate(kl):
        reached = _until(moving, task.reference, world.held_out, want, rng)
        if reached is None:
            break
        policy, at = reached
        shown = policy.sample(task.prompts, draws, rng("shown", level))
        meta = refit(_by(ascent(shown, eta, rng("order", level))))
        random = refit(_by(ascent(shown, eta, rng("order", level), random=True)))
        many = -(-pairs // len(world.held_out))
        new = policy.sample(world.held_out, 2 * many, rng("new", level))
        truth = gold(new)[0]
        found = {
            name: accuracy(r(new)[0], truth)
            for name, r in (("plain", plain), ("meta", meta), ("random", random), ("calm", calm))
        }
        yield {
            "level": level,
            "kl": at,
            **found,
            "spread_plain": float(spread(plain(shown)).mean()),
            "spread_meta": float(spread(meta(shown)).mean()),
        }


def _first(reward: Reward) -> Callable[[Samples], Tensor]:
    return lambda x: reward(x)[0]


def _until(
    moving: Iterator[Any], reference: Any, prompts: Any, want: float, rng: Rng
) -> tuple[Any, float] | None:
    """Pull on the run until its policy is `want` nats from the reference; None where it ends
    before.
    """
    for step in moving:
        x = step.policy.sample(prompts, 4, rng("look"))
        at = float((step.policy.kl(reference, x) * x.weight).sum(-1).mean())
        if at >= want:
            return step.policy, at
    return None


def _by(moved: Moved | None) -> Callable[[Any, Pairs, Loop], Reward]:
    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected, p=p, margin=margin) + 0.01 * centring(
            chosen, rejected
        )

    return lambda model, pairs, loop: fitted(model, pairs, loss=loss, moved=moved, loop=loop)


def spread(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "M B"]:
    """Mean over two different answers to a prompt of |σ(r(a)) − σ(r(b))|, at most ½ where N is
    large.
    """
    won = torch.sigmoid(scores)
    N = won.shape[-1]
    return (won[..., :, None] - won[..., None, :]).abs().sum((-2, -1)) / (N * (N - 1))


def ascent(shown: Samples, eta: float, rng: Rng, *, random: bool = False, batch: int = 16) -> Moved:
    """θ + η·∇J on a batch of these answers; `random`: η·|∇J| in a random direction instead, member
    by member no more alike.
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


def accuracy(score: Float[Tensor, "B N"], truth: Float[Tensor, "B N"]) -> float:
    """Share of neighbours (answers 0 and 1, 2 and 3, …) of different gold that the score orders as
    gold does; a tie is half.
    """
    s, g = (v[:, 0::2] - v[:, 1::2] for v in (score, truth))
    right = (torch.sign(s) * torch.sign(g) + 1) / 2
    if not bool((g != 0).any()):
        raise InputError(
            "no two of these answers differ in gold, and a judge can order none; take more --pairs"
        )
    return float(right[g != 0].double().mean())


@Claim(
    "Under the shift that optimisation causes, a judge fitted with MetaRM's step orders new "
    "answers of the moved policy better than the plain one, and than one with a random step of "
    "the same length.",
    arms={"mine": ("meta_rm", {})},
    worlds=("table",),
    on={"table": {"testbed": "bag"}},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> float:
    """Mean over distances of MetaRM's accuracy minus the better of the plain and the random one."""
    lines = arms["mine"]
    if not lines:
        raise ValueError("the run ended before it reached the first distance")
    return sum(line["meta"] - max(line["plain"], line["random"]) for line in lines) / len(lines)
