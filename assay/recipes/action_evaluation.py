"""Does a language model see, zero-shot, what a step reached (CALM)?

A model reads what the agent is to do, what it saw before and after a step, what it did, and the
question whether it reached a subgoal. All steps that can happen are asked about, each once. Let
y(i, g) be its log-odds of yes on step i and subgoal g. For a step that reaches g

    advantage = share of the steps that do not reach g with a lower y − share with a higher y

It is 1 if the step stands above all others and 0 on average by chance; the mean over the steps that
reach g is 2·AUC − 1. No threshold is chosen, so a model that prefers one word is not judged by it.
`exchanged` is the same by the answers about the next subgoal: what the model says of the step
whatever it is asked.

Differs from subgoal_shaping, where a policy is paid by the answers, in that nothing is trained: the
paper, too, measures how often a model is right. Its models are a hundred times as large.

Trap: the answers do not change with the seed, so that many seeds narrow nothing. Here a seed is
dealt one step that reaches a subgoal, in turn, so that as many seeds as there are such steps (28 in
the rooms) read each once, and their interval is over steps. Neighbouring steps are told in almost
the same words, which makes it too narrow, if anything.

Here: SmolLM2-135M-Instruct on the rooms is below chance, −.30 [−.54, −.05], and its answers to
another subgoal's question say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Paper, World
from assay.rewards.annotated import annotation
from assay.rewards.evaluators import evaluator_of
from assay.rewards.transitions import of_episodes, possible

paper = Paper(
    "Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL",
    "Pignatelli et al.",
    2024,
    "arXiv:2409.12798",
)
reduces = {}


def study(
    world: World, *, judge: str = "smollm2", judge_model: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield a line for each subgoal, and one for the step that the world's seed is dealt.

    Args:
        judge: The evaluator: smollm2, a .json file of answers, a model's folder or hub id, or
            http://….
        judge_model: The name that the server knows the evaluator by.
    """
    place: Any = getattr(world.task.reference, "process", None)
    evaluator = evaluator_of(judge, judge_model)
    if place is None or not place.subgoals:
        raise InputError("this study needs subgoals; use --world table --world.testbed grid")
    if evaluator is None:
        raise InputError(f"--judge is {judge}, which is no model; give one, or its answers")
    t = of_episodes(possible(place), place, tuple(place.subgoals))
    texts, index = t.questions()
    said = torch.tensor(evaluator(texts), dtype=torch.float64)[index][t.there]  # [I,G]
    true = annotation(t)[t.there]
    own, other = advantages(said, true), advantages(said.roll(-1, -1), true)
    for g, name in enumerate(t.subgoals):
        yield {
            "subgoal": name,
            "steps": len(true),
            "reached": int(true[:, g].sum()),
            "advantage": float(own[true[:, g], g].mean()),
            "exchanged": float(other[true[:, g], g].mean()),
        }
    reached = true.T.nonzero()  # in the order of subgoals
    dealt = int(world.arguments.get("seed", 0)) % len(reached)
    g, i = reached[dealt].tolist()
    yield {
        "dealt": dealt,
        "of": len(reached),
        "about": t.subgoals[g],
        "advantage": float(own[i, g]),
        "exchanged": float(other[i, g]),
    }
    for arm in ("own", "exchanged"):
        yield {"kind": "spent", "arm": arm, "scored": said.numel()}


def advantages(said: Tensor, true: Tensor) -> Tensor:
    """For each step the share of the steps that miss the subgoal with less said, minus that with
    more.

    Args:
        said: What was said of each step and subgoal `[I, G]`.
        true: Which subgoals a step reaches `[I, G]`.

    Returns:
        From −1 to 1 `[I, G]`; it means something where `true`.
    """
    sign = (said[:, None] - said[None]).sign()  # [I,I,G]
    missed = ~true[None]
    return torch.where(missed, sign, 0.0).sum(1) / missed.sum(1)


@Claim(
    "SmolLM2-135M-Instruct, asked zero-shot in one wording, tells better than chance which steps "
    "reach a subgoal.",
    arms={"study": ("action_evaluation", {})},
    worlds=("table",),
    on={"table": {"testbed": "grid"}},
    least={"right above chance": 0.1, "over exchanged questions": 0.0},
    seeds="500..527",
    control=("over exchanged questions",),
    broken="the answers are to another subgoal's question about the same steps",
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """How much more often a step that reaches a subgoal stands above one that does not than below,
    and that minus the same by the answers to another subgoal's question. Each seed reads one of the
    28 steps that reach something: the interval is over steps; the answers are one model's to one
    wording.
    """
    dealt = next(x for x in arms["study"] if "dealt" in x)
    return {
        "right above chance": dealt["advantage"],
        "over exchanged questions": dealt["advantage"] - dealt["exchanged"],
    }
