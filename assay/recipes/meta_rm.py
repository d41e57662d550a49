"""MetaRM: keep a reward model able to tell completions of the *current* policy apart.

A reward model is fitted on pairs of π₀ and then meets a policy that has moved, whose completions it
finds much alike. S is a sample of unlabeled completions of that policy. Each update takes a step of
meta-learning, θ' = θ + η·∇J(θ), where J is the mean over two completions a, b to one prompt of
|σ(r(a)) − σ(r(b))|. It then moves θ, not θ', by the gradient at θ' of the Bradley–Terry loss on the
original pairs. The ascent alone would only inflate scores; the loss at θ' is what makes the
ascent's direction pay. First order: the gradient does not go through ∇J.

The study moves a policy against the plain reward model (leave_one_out, no KL) and stops it at three
distances. At each it fits MetaRM with that policy's completions, and measures the accuracy on *new*
completions of that policy, two a prompt, ordered by gold: of the plain one, of MetaRM, and of two
controls at the same number of updates: the same step in a random direction of the same length, and
MetaRM with completions of the reference. Lines carry the mean of J as `spread`. η = 0 is the plain
reward model, bit for bit (tested).

The rest of the paper is preference_strength.

Here: what this can show is whether the step helps under the shift that it is made for. On table
reward models, linear in counts, the spread's gradient points along the counts that differ among a
moved policy's completions, and no representation is learnt. The step helps a little at the
distances that were tried, and completions of the reference in place of the policy's do not; far out
the reward model orders new completions worse than chance with or without it.
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
from assay.loops import online
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
    """Yield one line for each distance that the policy reaches.

    Args:
        eta: Length η of the ascent step.
        draws: Completions of the moved policy a prompt, at least 2.
        kl: Distances at which the policy is stopped, in nats.
        pairs: Pairs of new completions on which reward models are compared.
    """
    gold, refit = world.gold, world.refit
    if gold is None or refit is None:
        raise Missing(
            f"world {world.name} has no gold or no reward models of its own; use --world table or "
            "--world grammar"
        )
    if draws < 2:
        raise InputError(
            f"--draws is {draws}; the spread is between completions to a prompt: give at least 2"
        )
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
    """Advance the run until its policy is `want` nats away; None if it ends before."""
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
    """Mean over two completions to a prompt of |σ(r(a)) − σ(r(b))|.

    It is at most ½ for large N.
    """
    won = torch.sigmoid(scores)
    N = won.shape[-1]
    return (won[..., :, None] - won[..., None, :]).abs().sum((-2, -1)) / (N * (N - 1))


def ascent(shown: Samples, eta: float, rng: Rng, *, random: bool = False, batch: int = 16) -> Moved:
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


def accuracy(score: Float[Tensor, "B N"], truth: Float[Tensor, "B N"]) -> float:
    """Share of neighbours (completions 0 and 1, 2 and 3, …) that the score orders as gold does.

    Only neighbours of different gold count; a tied score is half.
    """
    s, g = (v[:, 0::2] - v[:, 1::2] for v in (score, truth))
    right = (torch.sign(s) * torch.sign(g) + 1) / 2
    if not bool((g != 0).any()):
        raise InputError(
            "no two of these completions differ in gold, so none can be ordered; give more --pairs"
        )
    return float(right[g != 0].double().mean())


@Claim(
    "Under the shift that optimisation causes, a reward model fitted with MetaRM's step orders "
    "new completions of the moved policy better than the plain one, and than one with a random "
    "step of the same length.",
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
