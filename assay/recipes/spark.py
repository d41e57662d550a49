"""SPARK: reuse the verifier's verdicts to make the same policy a judge of completions.

After each leave-one-out update on verified completions, items are made of them: pointwise, "problem
answer :", to be continued by 1 (right) or 0; pairwise, "problem one : problem other :", one right
and one wrong in random order, to be continued by 1 or 2; and reflection, "problem wrong answer :
problem", to be answered rightly. A prompt whose completions are all right or all wrong gives a
pointwise item; a mixed one gives a pointwise item with chance `pointwise`, else a pairwise one.
Verdicts and reflections are trained by the same group-relative objective on rewards of 0 and 1. It
differs from leave_one_out in this second update a step.

`use` says which items are trained on: none (the parent), pointwise, pairwise, reflection, all, or
steps. The last is the control: as many further completions and updates on fresh prompts as the
items would take.

A verdict is the policy's choice among the two words alone. A small policy never says a word that it
was not taught to say at that place, so the two probabilities are made to sum to 1, and `n` verdicts
are sampled from them.

Traps. As the policy improves, all-right prompts teach the judge to say 1: such items are capped at
the number of the others. Order must be random, or "1" is learned. A judge that always says the same
is right half of the time: `judge/balanced` is the mean of the accuracies on right and on wrong
completions, and on first and on second places, and only that is watched.

Where the released code differs. There an empty list of candidates leaves the index of the prompt
before it; here a kind without candidates gives no item. The released loss charges k3; there is no
KL here.

Here: a small backbone, and a verifier whose right and wrong need the working to be read. It needs a
world with words for 0, 1, 2 and ":".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import (
    Claim,
    EncodesText,
    InputError,
    Loop,
    Paper,
    Policy,
    Samples,
    Step,
    Task,
    require,
)
from assay.core.rng import Rng
from assay.engine.descend import descend
from assay.formulas.advantage import leave_one_out
from assay.formulas.reduce import per_completion_once
from assay.formulas.surrogate import reinforce
from assay.loops import Rollouts, leave_one_out_advantage, online, proxy_score, update
from assay.stats.effects import Reading, final

paper = Paper(
    "SPARK: Synergistic Policy And Reward Co-Evolving Framework",
    "Liu et al.",
    2025,
    "arXiv:2509.22624",
)
reduces = {"leave_one_out": ({"use": "none"}, {})}

USES = ("none", "pointwise", "pairwise", "reflection", "all", "steps")
Item = tuple[str, str, str]  # the text to judge, the right verdict, the wrong one


def recipe(
    task: Task,
    *,
    use: str = "all",
    items: int = 16,
    pointwise: float = 0.3,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on completions, then on items made of them; yield the policy after each step.

    Args:
        use: none, pointwise, pairwise, reflection, all or steps.
        items: Most items of a kind a step.
        pointwise: Chance that a mixed prompt gives a pointwise item.
        member: Index of the verifier among the reward models; right is above ½.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if use not in USES:
        raise InputError(f"--use is '{use}'; it is one of {', '.join(USES)}")
    score = proxy_score(task, member, aggregate)

    def learn(batch: Rollouts, x: Samples, r: Tensor, rng: Rng) -> None:
        A = leave_one_out_advantage(r, x)

        def loss(rows: Samples, i: Tensor) -> Tensor:
            return reinforce(batch.policy.logp(rows), A[i])

        update(batch.optimiser, loss, x, loop, rng)

    def after(batch: Rollouts) -> None:
        x, policy, rng = batch.samples, batch.policy, task.rng("items", batch.step)
        right = (batch.reward > 0.5) & x.present
        if use in ("pointwise", "pairwise", "all"):  # new in this paper, from here on
            found = recycled(x, right, use, items, pointwise, rng)
            if found:
                batch.stats |= judged(policy, batch.optimiser, found, loop.num_generations, rng)
        wrong = (x.present & ~right).any(1).nonzero()[:items, 0]
        if use in ("reflection", "all") and len(wrong):
            y = reflected(policy, x, right, wrong, loop.num_generations, rng("reflect"))
            s = score(replace(y, prompts=x.prompts[wrong]))
            learn(batch, y, s, rng("reflect minibatch"))
            batch.stats["reflection/right"] = float((s > 0.5)[y.present].float().mean())
        if use == "steps":
            for k in range(2):
                z = policy.sample(
                    task.batch(loop, loop.max_steps + 2 * batch.step + k)[:items],
                    loop.num_generations,
                    rng("extra", k),
                )
                learn(batch, z, score(z), rng("extra minibatch", k))

    yield from online(task, loop, score=score, after=after)


def recycled(
    x: Samples, right: Tensor, use: str, items: int, pointwise: float, rng: Rng
) -> list[Item]:
    """Judge items of one batch, at most `items`; all-right ones at most as many as the others."""
    prompts, texts = x.prompts.text(), x.text()
    u = rng("kind").uniform(torch.arange(len(x))[:, None], torch.arange(3))
    easy, rest = [], []
    for b, (p, answers) in enumerate(zip(prompts, texts, strict=True)):
        here = [n for n in range(len(answers)) if bool(x.present[b, n])]
        good, bad = (
            [n for n in here if bool(right[b, n])],
            [n for n in here if not bool(right[b, n])],
        )
        mixed = bool(good and bad)
        if mixed and use != "pointwise" and (use == "pairwise" or float(u[b, 0]) >= pointwise):
            first, second = (answers[good[0]], answers[bad[0]])
            turned = float(u[b, 1]) < 0.5
            one, two = (second, first) if turned else (first, second)
            rest.append(
                (f"{p} {one} : {p} {two} :", "2" if turned else "1", "1" if turned else "2")
            )
        elif here and use != "pairwise":
            of = good if good and (not bad or float(u[b, 2]) < 0.5) else bad
            item = (f"{p} {answers[of[0]]} :", *(("1", "0") if of is good else ("0", "1")))
            (rest if bad else easy).append(item)
    return (rest + easy[: max(1, len(rest))])[:items]


def judged(policy: Policy, opt: object, found: list[Item], n: int, rng: Rng) -> dict[str, float]:
    """Make one update on `n` verdicts an item, sampled from the policy's choice of two words.

    Returns:
        What the judge was worth before the update.
    """
    y = require(policy, EncodesText, "spark").encode(
        [p for p, _, _ in found], [[yes, no] for _, yes, no in found]
    )
    y = replace(y, logp=torch.zeros_like(y.logp))
    with torch.no_grad():
        chance = policy.logp(y)[..., 0].log_softmax(-1)[:, 0].exp()  # of the right verdict
    drawn = (
        rng("verdict").uniform(torch.arange(len(found))[:, None], torch.arange(n)).to(chance)
        < chance[:, None]
    )
    A = (
        leave_one_out(drawn.to(chance), torch.ones_like(drawn))
        if n > 1
        else drawn.to(chance)[:, :1] * 0
    )
    weight = torch.stack(
        [torch.where(drawn, A, 0.0).mean(1), torch.where(drawn, 0.0, A).mean(1)], 1
    )  # [I,2]

    def loss(rows: Samples, i: Tensor) -> Tensor:
        return (
            -2 * weight[i] * policy.logp(rows)[..., 0].log_softmax(-1)
        )  # per_completion_once halves it: two words an item

    descend(opt, loss, y, reduce=per_completion_once)  # type: ignore[arg-type]
    return {"judge/balanced": balanced(chance.tolist(), found), "judge/items": float(len(found))}


def balanced(chance: list[float], found: list[Item]) -> float:
    """Mean accuracy over the kinds of item, a kind being what is right and what is wrong.

    "1" stands for right as well as for first, so a judge that always says the same is worth a half
    of either.
    """
    kinds: dict[tuple[str, str], list[float]] = {}
    for c, (_, yes, no) in zip(chance, found, strict=True):
        kinds.setdefault((yes, no), []).append(c)
    return sum(sum(k) / len(k) for k in kinds.values()) / len(kinds)


def reflected(
    policy: Policy, x: Samples, right: Tensor, wrong: Tensor, n: int, rng: Rng
) -> Samples:
    """Sample new completions to the prompts at `wrong`, each after a wrong one of its own."""
    prompts, texts = x.prompts.text(), x.text()
    asked = []
    for b in wrong.tolist():
        bad = int((x.present[b] & ~right[b]).int().argmax())
        asked.append(f"{prompts[b]} {texts[b][bad]} : {prompts[b]}")
    encoder = require(policy, EncodesText, "spark")
    return policy.sample(encoder.encode(asked, [[""]] * len(asked)).prompts, n, rng)


@Claim(
    "Recycled as judge and reflection items, verified completions teach the policy more than as "
    "many further completions do.",
    arms={
        "mine": ("spark", {}),
        "steps": ("spark", {"use": "steps"}),
        "single": ("leave_one_out", {}),
    },
    worlds=("sums",),
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Final share of right answers: all items less the control's further steps."""
    return final(arms["mine"]) - final(arms["steps"])
