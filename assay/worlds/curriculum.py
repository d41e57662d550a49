"""What the policy of world sums is taught from: problems, worked solutions of a wanted share of
right ones, and preferences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Pairs, Prompts, Rng, Sampler, Samples
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.worlds.arithmetic import VOCABULARY, Dice, Problem, pose, solve
from assay.worlds.grammar import imitate

NEAR, ROUNDS = (
    0.03,
    3,
)  # how near the rate must come, and how often it is tried from the strong policy


def dice(n: int, at: Rng) -> list[Dice]:
    """`n` dice of 64 throws each, from one address."""
    throws = at.uniform(torch.arange(n)[:, None], torch.arange(64)[None, :])
    return [Dice(iter(row)) for row in throws.tolist()]


def posed(
    task: str, low: int, high: int, few: int, many: int, hidden: int, at: Rng
) -> tuple[list[Problem], list[Problem]]:
    """`few` different problems, and `many` for lessons that may repeat and may be any but the first
    `hidden` of the few.
    """
    drawn = [pose(task, low + d.below(high - low + 1), d) for d in dice(4 * few + 2 * many, at)]
    known = list(dict.fromkeys(drawn))[:few]
    if len(known) < few:
        raise InputError(
            f"--world.prompts and --world.held_out ask for {few} different problems, and {low} to "
            f"{high} numbers gave {len(known)}: ask for fewer, or raise --world.most"
        )
    secret = set(known[:hidden])
    return known, [p for p in drawn if p not in secret][:many]


def mistakes_a_line(some: list[Problem], pass_rate: float, bare: float) -> float:
    """The chance of a mistake a line at which this share of the lessons ends right; a fifth of bare
    guesses do.
    """
    lengths = [p.steps for p in some]

    def right(h: float) -> float:
        return bare * 0.2 + (1 - bare) * sum((1 - h) ** k for k in lengths) / len(lengths)

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if right(middle) > pass_rate else (low, middle)
    return low


def written(some: list[Problem], mistakes: float, bare: float, again: float, at: Rng) -> Samples:
    """A worked solution of each problem, with a chance `mistakes` a line, and bare and repeated
    ones among them.
    """
    texts = [
        [solve(p, d, mistakes=mistakes, bare=bare, again=again)]
        for p, d in zip(some, dice(len(some), at), strict=True)
    ]
    return VOCABULARY.answers(VOCABULARY.prompts([str(p) for p in some]), texts)


def schooled(
    policy: Causal,
    some: list[Problem],
    passes: Callable[[], float],
    *,
    pass_rate: float,
    bare: float,
    again: float,
    steps: int,
    lr: float,
    seed: int,
    at: Rng,
) -> dict[str, Any]:
    """The weights of three policies, and the share `passes()` of each: weak and then strong, on
    lessons without mistakes; then the reference, taught the mistakes that are wanted of it, given
    how able it is without them and, in another round, how far the last one missed.
    """
    right = written(some, 0.0, 0.0, 0.0, at("right"))
    out: dict[str, Any] = {}

    def school(name: str, shown: Samples, rate: float) -> float:
        imitate(
            policy,
            shown,
            Loop(
                max_steps=max(1, steps // 4),
                batch_size=64,
                learning_rate=rate,
                warmup_steps=20,
                seed=seed,
            ),
            at("imitate")(name),
        )
        out[name], out[f"pass/{name}"] = (
            {k: v.clone() for k, v in policy.state_dict().items()},
            passes(),
        )
        return float(out[f"pass/{name}"])

    school("weak", right, lr)
    school("middle", right, lr)
    able = max(school("strong", right, lr / 4), 0.01)
    aim = pass_rate
    for _ in range(ROUNDS):
        policy.load_state_dict(out["strong"])
        share = min(bare, (1 - aim) / 2)
        planted = mistakes_a_line(some, min(1.0, aim / able), share)
        rate = lr / (
            2 if pass_rate < 0.8 else 8
        )  # few mistakes are learnt gently: a large step alone costs a few points
        shown = written(some, planted, share, min(again, (1 - aim) / 2), at("lessons"))
        found = school("reference", shown, rate)
        if abs(found - pass_rate) <= NEAR:
            break
        aim = min(1.0, max(0.0, aim + pass_rate - found))
    return out


def preferences(
    policy: Sampler,
    prompts: Prompts,
    gold: Callable[[Samples], Tensor],
    pairs: int,
    noise: float,
    at: Rng,
) -> Pairs:
    """Two of four answers to each of `pairs` prompts: the best and the worst by correctness and
    then the share of right steps, or any two where all are alike; then a share `noise` of the
    labels is turned round.
    """
    b = torch.arange(pairs)
    drawn = policy.sample(prompts[at("prompt").integers(len(prompts), b)], 4, at("answers"))
    correct, sound, *_ = gold(drawn)
    ranked = (2 * correct + sound).argsort(dim=-1, descending=True, stable=True)[:, [0, -1]]
    turned = at("flip").uniform(b) < noise
    x = drawn.pick(torch.where(turned[:, None], ranked.flip(-1), ranked))
    return Pairs(
        x.prompts,
        x.action,
        x.mask,
        x.given,
        x.logp,
        x.ended,
        p=torch.ones(pairs),
        margin=torch.zeros(pairs),
    )
