"""VL-Rethinker: replay completions that teach, and reward answers that a second thought put right.

    replay     a batch's completions with A ≠ 0, filled up to its size by draws from a buffer of
               such completions, with probability |A|^α / Σ|A|^α                           (SSR)
    rethink    of a prompt's completions up to `rethink` are continued after a trigger text; one
               whose continuation ends right takes the place of the original
    L          = mean over completions of mean over tokens of
                 −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A), and −sft·log π of rethought ones

A is GRPO's, standardised in the group (after the exchange), and stays with a completion in the
buffer, as does its log π, so that ρ is the ratio to the policy that wrote it. There is no KL.
Tokens of the trigger count as the policy's own: it learns to write them unasked. Differs from grpo
in which completions are learned from.

Where the released code differs. There the buffer holds the last half batch of completions, this
step's included, and what is learned from is drawn anew: half of a batch from this step by |A|, the
rest from the buffer. `--keep half` is that, and `--keep all`, the default, leaves this step's
completions in once each. It adds a tenth as many right completions without an advantage, which add
nothing to the loss but a smaller mean; they are not here. Its trainer calls this selection without
the flag that lets it run. Its rewards for unasked waits, its temperature of .9 and its limits of
length and of waits in a continuation are not here. `skip` .35, two a prompt and the weight .05 are
its script's; α = 1 is the paper's.

Traps. A full batch of informative completions is a larger step of the same direction than GRPO's,
whose mean counts the others as 0: at α = 0 as many are drawn, all alike, which is the negative
control. With `capacity` .5 and `--keep all`, the buffer holds this step's completions alone as soon
as half of them have an advantage. And since a continuation enters only if it is right, the group's
mean rises and the original of its neighbours is blamed for it; `--retain any` takes continuations
whatever they say, the control of rethinking.

Here: text for images. World sums has no word for "wait"; its trigger ":" is the sign after which a
solution begins, and the verifier takes the last answer. Its policy was never shown a correction: a
second thought is right far less often than the first (`rethought/right` and
`rethought/right_before` in the readings), so that little is there to be retained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task, cat
from assay.formulas.reduce import per_completion_token
from assay.formulas.replay import drawn, replay_probabilities
from assay.loops import (
    Rollouts,
    clipped_surrogate,
    online,
    proxy_score,
    require_group,
    standardised,
)
from assay.loops.rethinking import RETHOUGHT, alone, put_back, rethought, trigger_tokens
from assay.stats.effects import Reading, final

paper = Paper(
    "VL-Rethinker: Incentivizing Self-Reflection of Vision-Language Models with Reinforcement "
    "Learning",
    "Wang et al.",
    2025,
    "arXiv:2504.08837",
)
reduces = {"grpo": ({"capacity": 0.0, "rethink": 0}, {"beta": 0.0})}

KEEP, RETAIN = ("all", "half"), ("right", "any")
_A, _R, _STEP = "advantage", "reward", "step"  # in `Samples.extra` of what is stored


def recipe(
    task: Task,
    *,
    capacity: float = 0.5,
    alpha: float = 1.0,
    keep: str = "all",
    rethink: int = 2,
    skip: float = 0.35,
    trigger: str = ":",
    retain: str = "right",
    sft: float = 0.05,
    right: float = 1.0,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by VL-Rethinker and yield the policy after each step.

    Args:
        capacity: Completions that the buffer holds, in batches; 0 for no replay.
        alpha: Exponent α of |A| in the probability of a replay; 0 draws all alike (the negative
            control).
        keep: all of this step's informative completions, or half a batch drawn from them.
        rethink: Completions of a prompt that may be continued; 0 for no rethinking.
        skip: Probability that one of these is not.
        trigger: Text after which it is continued, such as "Wait, does it seem right?" for a
            language model of the world at large.
        retain: Which continuations replace their original: right, or any (the negative control).
        sft: Weight of −log π of the rethought completions that were retained.
        right: Reward from which a completion is right.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    for flag, value, known in (("keep", keep, KEEP), ("retain", retain, RETAIN)):
        if value not in known:
            raise InputError(f"--{flag} is '{value}'; it is one of {', '.join(known)}")
    if min(capacity, alpha, rethink, sft) < 0 or not 0 <= skip <= 1:
        raise InputError(
            f"--capacity is {capacity}, --alpha {alpha}, --rethink {rethink}, --sft {sft} and "
            f"--skip {skip}; give nothing negative and a probability of at most 1"
        )
    score = proxy_score(task, member, aggregate)
    carry: Any = task.carry.keep(buffer=None)
    begun: list[int] = []

    def second_thoughts(batch: Rollouts) -> tuple[Samples, Tensor]:
        x, r, rng = batch.samples, require_group(batch.reward), task.rng("rethink", batch.step)
        B, N = r.shape
        u = rng.uniform(torch.arange(B)[:, None], torch.arange(N)).to(x.logp)
        which = torch.where(x.present, u, 2.0).argsort(1)[:, :rethink]
        some = rng("skip").uniform(torch.arange(B)[:, None], torch.arange(which.shape[1])) >= skip
        count = torch.minimum(some.sum(1).to(x.mask.device), x.present.sum(1))
        if not (most := int(count.max())):
            return x, r
        which = which[:, :most]
        begun[:] = begun or trigger_tokens(batch.policy, x, trigger, by="vl_rethinker")
        y = rethought(batch.policy, x, which, count, begun, rng("continue"))
        after = score(y).to(r)
        before, there = r.gather(1, which) >= right, y.present
        good = there & ((after >= right) | (retain == "any"))
        n = there.sum().clamp(min=1)
        batch.stats["rethought/right"] = float((there & (after >= right)).sum() / n)
        batch.stats["rethought/right_before"] = float((there & before).sum() / n)
        r = r.scatter(1, which, torch.where(good, after, r.gather(1, which)))
        return put_back(x, y, which, good), r

    def replayed(batch: Rollouts, x: Samples, r: Tensor, a: Tensor) -> Rollouts:
        rows = alone(x, **{_A: a, _R: r, _STEP: torch.full_like(a, batch.step)})
        n = len(rows)
        now = rows[rows.extra[_A][:, 0] != 0]
        old = [] if carry.buffer is None else [carry.buffer]
        stored = cat([*old, now])[-max(1, round(capacity * n)) :] if len(now) else carry.buffer
        carry.buffer = stored

        def some(of: Samples, k: int, name: str) -> Samples:
            p = replay_probabilities(of.extra[_A][:, 0], alpha=alpha)
            u = task.rng(name, batch.step).uniform(torch.arange(k), dtype=torch.float64)
            return of[drawn(p, u.to(p.device))]

        if keep == "half" and len(now):
            now = some(now, min(n // 2, len(now)), "now")
        if stored is not None and len(now) < n:
            now = cat([now, some(stored, n - len(now), "replay")])
        batch.stats["replay/older"] = float(
            (now.extra[_STEP] < batch.step).double().mean() if len(now) else 0.0
        )
        return replace(batch, samples=now, reward=now.extra[_R], advantage=now.extra[_A][..., None])

    def prepare(batch: Rollouts) -> Rollouts:
        x, r = second_thoughts(batch) if rethink else (batch.samples, batch.reward)
        a = standardised(r, x)
        there = x.present.sum().clamp(min=1)
        batch.stats["replay/informative"] = float((a[..., 0] != 0).sum() / there)
        if rethink and RETHOUGHT not in x.extra:
            x = replace(x, extra={**x.extra, RETHOUGHT: torch.zeros_like(a[..., 0])})
        if not capacity:
            return replace(batch, samples=x, reward=r, advantage=a)
        return replayed(batch, x, r, a[..., 0])

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        value = clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)
        if not (rethink and sft):
            return value
        return value - sft * rows.extra[RETHOUGHT][..., None] * logp

    # a replayed completion is a row of its own, so that minibatches count completions
    size = loop.mini_batch_size * (loop.num_generations if capacity else 1)
    yield from online(
        task,
        replace(loop, mini_batch_size=size),
        score=score,
        prepare=prepare,
        loss=loss,
        reduce=per_completion_token,
        reads_logp=True,
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.8}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_RUN = {"max_steps": 20}
_SSR = {**_RUN, "rethink": 0, "capacity": 2.0}
_FULL = {**_RUN, "capacity": 2.0}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}


@Claim(
    "Where most completions are right and few groups teach, replaying completions by |A| ends with "
    "more right answers than GRPO from as many completions, and than replaying them at random; "
    "forced rethinking adds to that.",
    arms={
        "ssr": ("vl_rethinker", _SSR),
        "grpo": ("grpo", {**_RUN, "beta": 0.0}),
        "random": ("vl_rethinker", {**_SSR, "alpha": 0.0}),
        "full": ("vl_rethinker", _FULL),
        "any": ("vl_rethinker", {**_FULL, "retain": "any"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the controls is enough
    least={
        "replay": 0.02,
        "rethinking": 0.02,
        "replay, over random": 0.0,
        "rethinking, over any": 0.0,
    },
    seeds="100..115",
    tuned={"ssr": _RATES, "grpo": _RATES, "random": "ssr", "full": _RATES, "any": "full"},
    control=("replay, over random", "rethinking, over any"),
    broken="stored completions are drawn alike, or continuations are kept whatever they say",
    differs={
        "generated": "rethinking samples continuations",
        "scored": "rethinking scores continuations",
        "updates": "GRPO and replay make one a step, but for steps without anything to learn from",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers of replay alone minus GRPO's and minus that of replay at random;
    and of replay with rethinking minus replay alone and minus that with continuations at random.
    """
    end = {name: final(readings) for name, readings in arms.items()}
    return {
        "replay": end["ssr"] - end["grpo"],
        "rethinking": end["full"] - end["ssr"],
        "replay, over random": end["ssr"] - end["random"],
        "rethinking, over any": end["full"] - end["any"],
    }
