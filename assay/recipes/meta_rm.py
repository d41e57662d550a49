"""MetaRM: keep a reward model able to tell completions of the *current* policy apart.

A reward model is fitted on pairs of π₀ and then meets a policy that has moved, whose completions it
finds much alike. S is a sample of unlabeled completions of that policy. Each update takes a step of
meta-learning, θ' = θ + η·∇J(θ), where J is the mean over two completions a, b to one prompt of
|σ(r(a)) − σ(r(b))|. It then moves θ, not θ', by the gradient at θ' of the Bradley–Terry loss on the
original pairs. The ascent alone would only inflate scores; the loss at θ' is what makes the
ascent's direction pay. First order: the gradient does not go through ∇J.

The study moves a policy against the plain reward model (leave_one_out, no KL) and stops it at three
distances. At each it fits the reward models of one `ascent` and measures their accuracy on *new*
completions of that policy, two a prompt, ordered by gold:

- `policy`: MetaRM, with completions of the policy as it is there.
- `none`: the plain reward model (η = 0 is it, bit for bit).
- `random`: a step in a random direction of the same length, at the same completions: the negative
  control.
- `reference`: MetaRM with completions of the reference: the step without the shift.

The policy that is moved is the same under all of them. Lines also carry the mean of J over those
completions as `spread`, and the accuracy on completions of the reference as `home`.

The rest of the paper is preference_strength.

Here: on table reward models, linear in counts, no representation is learnt. At the world's own
learning rate the step helps (0.59 against 0.57 of the pairs, mean of three distances), and so does
a tenth of that rate without it, by far more (0.67): fitting the noisy pairs less may be all.
At a fiftieth of the rate, 16 nats out, the step is worth no more than a random one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
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
ASCENTS = ("policy", "none", "random", "reference")


def study(
    world: World,
    *,
    ascent: str = "policy",
    eta: float = 2.0,
    rate: float = 1.0,
    draws: int = 8,
    kl: tuple[float, ...] = (1.0, 4.0, 16.0),
    pairs: int = 2000,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each distance that the policy reaches, and one of what was spent.

    Args:
        ascent: policy, none, random or reference.
        eta: Length η of the ascent step.
        rate: Learning rate of the fits, in multiples of the world's.
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
    if ascent not in ASCENTS:
        raise InputError(f"--ascent is '{ascent}'; it is one of {', '.join(ASCENTS)}")
    rng, task = world.task.rng("meta rm"), world.task
    many = 2 * -(-pairs // len(world.held_out))
    home = task.reference.sample(world.held_out, many, rng("home"))
    plain = refit(_by(None, 1.0))
    moving = online(
        task.replaced(rewards=plain, rng=rng("run"), carry=Carry()),
        world.loop or Loop(),
        score=_first(plain),
    )
    spent = {"generated": 0, "updates": 0}

    def fit(shown: Samples, level: int) -> Reward:
        step = ascended(shown, eta, rng("order", level), random=ascent == "random")
        return refit(_by(None if ascent == "none" else step, rate, spent))

    for level, want in enumerate(kl):
        reached = _until(moving, task.reference, world.held_out, want, rng)
        if reached is None:
            break
        policy, at = reached
        source = task.reference if ascent == "reference" else policy
        shown = source.sample(task.prompts, draws, rng("shown", level))
        spent["generated"] += 0 if ascent == "none" else int(shown.present.sum())
        reward = fit(shown, level)
        new = policy.sample(world.held_out, many, rng("new", level))
        yield {
            "kind": "accuracy",
            "level": level,
            "kl": at,
            "accuracy": accuracy(reward(new), gold(new)[0]),
            "home": accuracy(reward(home), gold(home)[0]),
            "spread": float(spread(reward(shown)).mean()),
        }
    yield {"kind": "spent", "arm": "", **spent, "labels": len(task.pairs)}


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


def _by(
    moved: Moved | None, rate: float, spent: dict[str, int] | None = None
) -> Callable[[Any, Pairs, Loop], Reward]:
    """A fit at `rate` times the world's learning rate, whose updates are added to `spent`."""

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected, p=p, margin=margin) + 0.01 * centring(
            chosen, rejected
        )

    def by(model: Any, pairs: Pairs, loop: Loop) -> Reward:
        if spent is not None:
            spent["updates"] += loop.max_steps
        own = replace(loop, learning_rate=rate * loop.learning_rate)
        return fitted(model, pairs, loss=loss, moved=moved, loop=own)

    return by


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


def accuracy(scores: Float[Tensor, "M B N"], truth: Float[Tensor, "B N"]) -> float:
    """Share of neighbours (completions 0 and 1, 2 and 3, …) that the members order as gold does.

    Only neighbours of different gold count; a tied score is half. The mean over the members.
    """
    s, g = (v[..., 0::2] - v[..., 1::2] for v in (scores, truth))
    if not bool((g != 0).any()):
        raise InputError(
            "no two of these completions differ in gold, so none can be ordered; give more --pairs"
        )
    right = (torch.sign(s) * torch.sign(g) + 1) / 2
    return float(right[:, g != 0].double().mean())


def mean_accuracy(lines: list[dict[str, Any]], key: str = "accuracy") -> float:
    """Mean over the distances of an arm's accuracy."""
    found = [line[key] for line in lines if line["kind"] == "accuracy"]
    if not found:
        raise ValueError("the run ended before it reached the first distance")
    return float(sum(found) / len(found))


# at the world's own rate, 50 times this one, all of them order new completions worse
_FAR = {"kl": (16.0,), "rate": 0.02}


@Claim(
    "Under the shift that optimisation causes, a reward model fitted with MetaRM's step orders "
    "new completions of the moved policy better than the plain one, than one with a random step of "
    "the same length, and than one with MetaRM's step on the reference's completions.",
    arms={
        "meta": ("meta_rm", _FAR),
        "plain": ("meta_rm", {**_FAR, "ascent": "none"}),
        "random": ("meta_rm", {**_FAR, "ascent": "random"}),
        "unshifted": ("meta_rm", {**_FAR, "ascent": "reference"}),
    },
    worlds=("table",),
    on={"table": {"testbed": "bag"}},
    tuned={
        "meta": {"eta": (0.1, 1.0)},
        "plain": {"rate": (0.02, 0.05)},
        "random": "meta",
        "unshifted": "meta",
    },
    by=mean_accuracy,
    # one pair in a hundred
    least=0.01,
    seeds="100..107",
    control=("over random",),
    broken="the step has the same length and a random direction",
    premises=("shift",),
    differs={
        "generated": "MetaRM and its controls read unlabelled completions, which a plain fit "
        "cannot use"
    },
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Mean over distances of MetaRM's accuracy minus each other arm's; and the shift itself, how
    much the plain reward model loses from the reference's completions to the moved policy's.
    """
    mine = mean_accuracy(arms["meta"])
    return {
        "shift": mean_accuracy(arms["plain"], "home") - mean_accuracy(arms["plain"]),
        **{f"over {k}": mine - mean_accuracy(arms[k]) for k in ("plain", "random", "unshifted")},
    }
