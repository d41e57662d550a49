"""SPARK: reuse the verifier's verdicts to make the same policy a judge of completions.

After each leave-one-out update on verified completions, items are made of them: pointwise, "problem
answer :", to be judged 1 (right) or 0; pairwise, "problem one : problem other :", one right and one
wrong in random order, to be judged 1 or 2; and reflection, "problem wrong answer : problem", to be
answered rightly. A prompt whose completions are all right or all wrong gives a pointwise item; a
mixed one gives a pointwise item with chance `pointwise`, else a pairwise one. The first half of the
reflections show a whole wrong completion, the others its answer alone, which begins at the last
word `answer`. Judgements and reflections are completions like all others: the policy writes what it
will, the last word of a judgement is its verdict, and both are trained by the same group-relative
objective on rewards of 0 and 1. It differs from leave_one_out in these two further updates a step.

`use` says which items are trained on: none (the parent), pointwise, pairwise, reflection or all; or
one of two controls that make as many updates and sample as many completions as all does.

- steps: in place of the items, as many prompts of later batches as would have been judged, and as
  many as would have been reflected on. They are new ones only where the world has so many prompts.
- shuffled: the same items with the mechanism broken. Which verdict is right is a coin's choice, and
  a reflection shows the wrong completion of another prompt.

Traps. As the policy improves, all-right prompts teach the judge to say 1: such items are capped at
the number of the others. All items are put in random order before they are cut to `items`, or the
kind that stands last is lost. Places must be random, or "1" is learned. A step of few items lacks
kinds of item, how often depends on the policy's accuracy, and a judge that always says the same
gains or loses by that. So `judge/balanced` is the mean of the accuracies on right and on wrong
completions, and on first and on second places, where both are there; the claim pools the counts of
many steps by kind before it takes that mean. It is measured on every step's completions, which are
later ones than those trained on, in the arm steps as well, where it costs nothing.

Where the released code differs. There an empty list of candidates leaves the index of the prompt
before it; here a kind without candidates gives no item. The released loss charges k3 with a weight
of 0.001; there is no KL here.

Here: a small backbone, and a verifier whose right and wrong need the working to be read. It needs a
world with words for 0, 1, 2 and ":". A policy that was never shown a verdict does not become a
judge: items alone brought it to 0.40 on one seed after 60 steps of 16 items at rate 0.0003, and to
0.18 on seeds 200 to 207 (before kinds were pooled), less than a coin that knows the two words. The
claim's reference was shown verdicts. On seeds 0 to 4 it answers 0.35 to 0.43 of its problems
rightly, and 0.59 to 0.69 of its judgements of its own completions are right (balanced). The 192
prompts there are 12 batches: the arm steps meets the same ones again, in other batches. Answers end
.07 behind those of as many further steps, and judging is not shown to improve (seeds 620 to 629).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
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
from assay.engine.parallel import meter
from assay.formulas.surrogate import reinforce
from assay.loops import Rollouts, leave_one_out_advantage, online, proxy_score, update
from assay.stats.effects import Reading, final
from assay.stats.judgements import balanced, counts, pooled

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

    def fresh(batch: Rollouts, begin: int, count: int, rng: Rng) -> None:
        """Learn from the prompts of a batch that lies after all main ones of this run."""
        prompts = task.batch(loop, loop.max_steps + 2 * batch.step + begin)
        prompts = prompts[torch.arange(count) % len(prompts)]
        z = batch.policy.sample(prompts, loop.num_generations, rng("sample"))
        learn(batch, z, score(z), rng("minibatch"))

    def after(batch: Rollouts) -> None:
        x, policy, n = batch.samples, batch.policy, loop.num_generations
        rng = task.rng("items", batch.step)
        right = (batch.reward > 0.5) & x.present
        wrong = (x.present & ~right).any(1).nonzero()[:items, 0]
        trains = kinds in ("pointwise", "pairwise", "all")  # new in this paper, from here on
        found = recycled(x, right, kinds if trains else "all", items, pointwise, rng)
        if use not in ("none", "reflection"):
            y, chance = None, list[float]()
            if found:
                with nullcontext() if trains else meter.lifted():
                    y = judgements(policy, found, n, rng("judge"))
                chance = verdicts(y, found).mean(1).tolist()
            batch.stats |= counts(chance, [(yes, no) for _, yes, no in found])
            if (worth := balanced(batch.stats)) is not None:
                batch.stats["judge/balanced"] = worth
            if y is not None and trains:
                paid = mistaken(found, rng("coin")) if use == "shuffled" else found
                learn(batch, y, verdicts(y, paid), rng("judge minibatch"))
        if kinds in ("reflection", "all") and len(wrong):
            asked = reflections(x, right, wrong, answer, strange=use == "shuffled")
            encoded = require(policy, EncodesText, "spark").encode(asked, [[""]] * len(asked))
            y = policy.sample(encoded.prompts, n, rng("reflect"))
            s = score(replace(y, prompts=x.prompts[wrong]))
            learn(batch, y, s, rng("reflect minibatch"))
            batch.stats["reflection/right"] = float((s > 0.5)[y.present].float().mean())
        if use == "steps":
            for k, count in enumerate((len(found), len(wrong))):
                if count:
                    fresh(batch, k, count, rng("fresh", k))

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
        good = [n for n in here if bool(right[b, n])]
        bad = [n for n in here if not bool(right[b, n])]
        mixed = bool(good and bad)
        if mixed and use != "pointwise" and (use == "pairwise" or float(u[b, 0]) >= pointwise):
            first, second = (answers[good[0]], answers[bad[0]])
            turned = float(u[b, 1]) < 0.5
            one, two = (second, first) if turned else (first, second)
            said = ("2", "1") if turned else ("1", "2")
            rest.append((f"{p} {one} : {p} {two} :", *said))
        elif here and use != "pairwise":
            of = good if good and (not bad or float(u[b, 2]) < 0.5) else bad
            item = (f"{p} {answers[of[0]]} :", *(("1", "0") if of is good else ("0", "1")))
            (rest if bad else easy).append(item)
    kept = rest + easy[: max(1, len(rest))]
    return [kept[k] for k in rng("order").permutation(len(kept)).tolist()[:items]]


def mistaken(found: list[Item], rng: Rng) -> list[Item]:
    """The same items, with a coin to say which of the two verdicts is right."""
    coin = rng.uniform(torch.arange(len(found))).tolist()
    return [
        (text, no, yes) if c < 0.5 else (text, yes, no)
        for (text, yes, no), c in zip(found, coin, strict=True)
    ]


def judgements(policy: Policy, found: list[Item], n: int, rng: Rng) -> Samples:
    """Let the policy write `n` judgements on each item."""
    encodes = require(policy, EncodesText, "spark")
    return policy.sample(encodes.encode([i[0] for i in found], [[""]] * len(found)).prompts, n, rng)


def verdicts(y: Samples, found: list[Item]) -> Tensor:
    """1 where a judgement ends in the right verdict `[B, N]`; any other word is wrong."""
    said = [
        [float(text.split()[-1:] == [yes]) for text in texts]
        for texts, (_, yes, _) in zip(y.text(), found, strict=True)
    ]
    return torch.tensor(said, dtype=y.logp.dtype)


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


# Answers and judgements of the reference both have room, and many prompts keep a wrong completion,
# so that the number of reflections is nearly the same in all arms.
_WORLD = {"task": "modular", "least": 2, "most": 3, "pass_rate": 0.4, "pairs": 16, "held_out": 48}
_WORLD |= {"bare": 0.0, "again": 0.0, "judged": 0.8, "layers": 3, "sft_steps": 720, "sft_lr": 2e-3}
_LOOP = {"items": 8, "max_steps": 20}
_RATES = {"learning_rate": (1e-4, 3e-4, 1e-3)}


@Claim(
    "Recycled as judge and reflection items, verified completions teach the policy to answer and "
    "to judge more than as many further updates and completions do, and to answer more than items "
    "with shuffled verdicts do.",
    arms={
        "mine": ("spark", _LOOP),
        "steps": ("spark", {**_LOOP, "use": "steps"}),
        "shuffled": ("spark", {**_LOOP, "use": "shuffled"}),
        "still": ("spark", {**_LOOP, "use": "steps", "learning_rate": 1e-9}),  # stays the reference
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; a judge that is right five times in a hundred more often; a
    # reference that is better than a coin by as much
    least={
        "over further steps": 0.02,
        "over shuffled items": 0.02,
        "judging, over further steps": 0.05,
        "the reference judges": 0.05,
    },
    seeds="620..629",
    tuned={"mine": _RATES, "steps": _RATES, "shuffled": "mine", "still": ""},
    control=("over shuffled items",),
    broken="which verdict is right is a coin's choice, and reflections show another prompt's "
    "completion",
    premises=("the reference judges",),
    differs={
        "generated": "the more answers are right, the fewer wrong completions to reflect on",
        "scored": "a verdict is compared with what is known, a further completion is scored",
        "seconds": "judge items and reflections are longer texts than problems",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers with all items, less that of each control; accuracy of the
    judgements of the last readings, pooled by kind of item and averaged over kinds, less that of
    the arm that never judged; and how far that of the reference lies above a half. It is the
    premise: items teach nothing where the policy cannot begin to judge.
    """
    mine = final(arms["mine"])
    return {
        "over further steps": mine - final(arms["steps"]),
        "over shuffled items": mine - final(arms["shuffled"]),
        "judging, over further steps": _judging(arms["mine"]) - _judging(arms["steps"]),
        "the reference judges": _judging(arms["still"]) - 0.5,
    }


def _judging(readings: list[Reading]) -> float:
    """Balanced accuracy of judgements over the last four readings that have any."""
    if (worth := balanced(pooled(readings, last=4))) is None:
        raise ValueError("this run judged no two kinds of item that are each other's opposite")
    return worth
