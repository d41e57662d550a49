"""SPARK: reuse the verifier's verdicts to make the same policy a judge of completions.

After each leave-one-out update on verified completions, items are made of them: pointwise, "problem
answer :", to be continued by 1 (right) or 0; pairwise, "problem one : problem other :", one right
and one wrong in random order, to be continued by 1 or 2; and reflection, "problem wrong answer :
problem", to be answered rightly. A prompt whose completions are all right or all wrong gives a
pointwise item; a mixed one gives a pointwise item with chance `pointwise`, else a pairwise one. The
first half of the reflections show a whole wrong completion, the others its answer alone, which
begins at the last word `answer`. Verdicts and reflections are trained by the same group-relative
objective on rewards of 0 and 1. It differs from leave_one_out in these two further updates a step.

`use` says which items are trained on: none (the parent), pointwise, pairwise, reflection or all; or
one of two controls that make as many updates and sample and score as many completions as all does.

- steps: in place of the judge items, a second update on completions of this step, `items` prompts
  of them; in place of the reflections, as many fresh prompts as would have been reflected on.
- shuffled: the same items with the mechanism broken. Which verdict is right is a coin's choice, and
  a reflection shows the wrong completion of another prompt.

A verdict is the policy's choice among the two words alone. A small policy never says a word that it
was not taught to say at that place, so the two probabilities are made to sum to 1, and `n` verdicts
are drawn from them. They come from the update's own pass: nothing is decoded for them, the right
one is on record, and so they count as an update and as no completions.

Traps. As the policy improves, all-right prompts teach the judge to say 1: such items are capped at
the number of the others. Order must be random, or "1" is learned. A judge that always says the same
is right half of the time: `judge/balanced` is the mean of the accuracies on right and on wrong
completions, and on first and on second places, and only that is watched.

Where the released code differs. There an empty list of candidates leaves the index of the prompt
before it; here a kind without candidates gives no item. The released loss charges k3 with a weight
of 0.001; there is no KL here.

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

USES = ("none", "pointwise", "pairwise", "reflection", "all", "steps", "shuffled")
Item = tuple[str, str, str]  # the text to judge, the right verdict, the wrong one


def recipe(
    task: Task,
    *,
    use: str = "all",
    items: int = 16,
    pointwise: float = 0.3,
    answer: str = "answer",
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on completions, then on items made of them; yield the policy after each step.

    Args:
        use: none, pointwise, pairwise, reflection, all, steps or shuffled.
        items: Most items of a kind a step.
        pointwise: Chance that a mixed prompt gives a pointwise item.
        answer: Word at which a completion's answer begins, for reflections on the answer alone.
        member: Index of the verifier among the reward models; right is above ½.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if use not in USES:
        raise InputError(f"--use is '{use}'; it is one of {', '.join(USES)}")
    score = proxy_score(task, member, aggregate)
    kinds = "all" if use == "shuffled" else use

    def learn(batch: Rollouts, x: Samples, r: Tensor, rng: Rng) -> None:
        A = leave_one_out_advantage(r, x)

        def loss(rows: Samples, i: Tensor) -> Tensor:
            return reinforce(batch.policy.logp(rows), A[i])

        update(batch.optimiser, loss, x, loop, rng)

    def after(batch: Rollouts) -> None:
        x, policy, rng = batch.samples, batch.policy, task.rng("items", batch.step)
        right = (batch.reward > 0.5) & x.present
        wrong = (x.present & ~right).any(1).nonzero()[:items, 0]
        if kinds in ("pointwise", "pairwise", "all"):  # new in this paper, from here on
            found = recycled(x, right, kinds, items, pointwise, rng)
            found = mistaken(found, rng("coin")) if use == "shuffled" else found
            if found:
                batch.stats |= judged(policy, batch.optimiser, found, loop.num_generations, rng)
        if kinds in ("reflection", "all") and len(wrong):
            asked = reflections(x, right, wrong, answer, strange=use == "shuffled")
            encoded = require(policy, EncodesText, "spark").encode(asked, [[""]] * len(asked))
            y = policy.sample(encoded.prompts, loop.num_generations, rng("reflect"))
            s = score(replace(y, prompts=x.prompts[wrong]))
            learn(batch, y, s, rng("reflect minibatch"))
            batch.stats["reflection/right"] = float((s > 0.5)[y.present].float().mean())
        if use == "steps":
            learn(batch, x[:items], batch.reward[:items], rng("replay minibatch"))
            if len(wrong):
                fresh = task.batch(loop, loop.max_steps + batch.step)[: len(wrong)]
                z = policy.sample(fresh, loop.num_generations, rng("extra"))
                learn(batch, z, score(z), rng("extra minibatch"))

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


def mistaken(found: list[Item], rng: Rng) -> list[Item]:
    """The same items, with a coin to say which of the two verdicts is right."""
    coin = rng.uniform(torch.arange(len(found))).tolist()
    return [
        (text, no, yes) if c < 0.5 else (text, yes, no)
        for (text, yes, no), c in zip(found, coin, strict=True)
    ]


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


def reflections(
    x: Samples, right: Tensor, wrong: Tensor, answer: str, *, strange: bool = False
) -> list[str]:
    """Prompts that show a wrong completion and pose its problem again.

    Args:
        x: Completions.
        right: Which are right `[B, N]`.
        wrong: Prompts that have a wrong completion `[K]`.
        answer: Word at which an answer begins; a completion without it is shown whole.
        strange: Show the wrong completion of the next prompt in `wrong`.

    Returns:
        K texts. The first half shows whole completions, the second half answers alone.
    """
    prompts, texts = x.prompts.text(), x.text()
    rows, asked = wrong.tolist(), []
    for k, b in enumerate(rows):
        other = rows[(k + 1) % len(rows)] if strange else b
        bad = texts[other][int((x.present[other] & ~right[other]).int().argmax())]
        if 2 * k >= len(rows):
            before, word, said = bad.rpartition(answer)
            bad = word + said if word else before + said
        asked.append(f"{prompts[b]} {bad} : {prompts[b]}")
    return asked


# A small world in which many prompts keep a wrong completion, so that the number of reflections is
# the same in all arms.
_WORLD = {"task": "modular", "most": 3, "pass_rate": 0.2, "pairs": 16, "held_out": 48}
_WORLD |= {"sft_steps": 320, "sft_lr": 6e-3}
_LOOP = {"items": 8, "max_steps": 10}
_RATES = {"learning_rate": (1e-3, 2e-3)}


@Claim(
    "Recycled as judge and reflection items, verified completions teach the policy more than as "
    "many further updates and completions do, and more than items with shuffled verdicts do.",
    arms={
        "mine": ("spark", _LOOP),
        "steps": ("spark", {**_LOOP, "use": "steps"}),
        "shuffled": ("spark", {**_LOOP, "use": "shuffled"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    least=0.02,  # two completions in a hundred
    seeds="100..107",
    tuned={"mine": _RATES, "steps": _RATES, "shuffled": "mine"},
    control=("over shuffled items",),
    broken="which verdict is right is a coin's choice, and reflections show another prompt's "
    "completion",
    differs={"seconds": "judge items and reflections are longer texts than problems"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers with all items, less that of each control."""
    mine = final(arms["mine"])
    return {
        "over further steps": mine - final(arms["steps"]),
        "over shuffled items": mine - final(arms["shuffled"]),
    }
