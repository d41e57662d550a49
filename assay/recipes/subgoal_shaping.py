"""Subgoals from an evaluator (CALM): each subgoal that a step reaches adds to the reward.

    r' = R + c·Σ_s 1[the evaluator says that step s reached a subgoal]

It is paid once for each subgoal in a completion. A subgoal is the line that reaches it, word for
word; with `once` off, a line that the evaluator likes can be said again and again. Differs from
leave_one_out in the added sum; c = 0 is that.

The paper's evaluator is a language model that is shown transitions, and the paper measures how
often it is right, not what training by it gives; no claim of training is made there.

Here: the evaluator is the world's own step reward, which is exact unless --world.step_noise says
otherwise, with errors of two kinds on top: `fp`, the chance that a transition that reached nothing
is paid, and `fn`, the chance that one that did is not. They are biased, as a model's are: the same
step after the same prompt is misjudged every time, so that false payments can be learned.
`shuffled` gives each completion the verdicts of another one of the same prompt: what helps then is
not what the evaluator knows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Rng, Samples, Step, Task
from assay.errors import InputError
from assay.formulas.process import first_times, on_steps, step_mask, step_sums
from assay.loops import online, proxy_score
from assay.stats.effects import Reading, average

paper = Paper(
    "Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL",
    "Pignatelli et al.",
    2024,
    "arXiv:2409.12798",
)
reduces = {"leave_one_out": ({"weight": 0.0}, {})}


def recipe(
    task: Task,
    *,
    weight: float = 0.5,
    fp: float = 0.0,
    fn: float = 0.0,
    once: bool = True,
    shuffled: bool = False,
    process: str = "steps",
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on outcome and subgoals; yield the policy after each step.

    Args:
        weight: Weight c of a subgoal.
        fp: Share of states in which the evaluator pays for nothing, from 0 to 1.
        fn: Share of states in which it does not pay for a subgoal, from 0 to 1.
        once: Pay a subgoal once a completion.
        shuffled: Exchange verdicts among a prompt's completions: the control.
        process: Name of the step reward.
        member: Index of the reward model that is the outcome.
    """
    for name, share in (("fp", fp), ("fn", fn)):
        if not 0 <= share <= 1:
            raise InputError(f"--{name} is {share}; it is a share of states, from 0 to 1")
    outcome, steps = proxy_score(task, member), task.rewards.named(process)
    errors = task.rng("judge's errors")

    def score(x: Samples) -> Tensor:
        if weight == 0:
            return outcome(x)
        step = task.rewards.step_of(x)
        state = states(x, step, errors)
        reached = step_sums(steps.steps(x)[0], step) > 0  # [B,N,S]
        u = errors.uniform(state)
        hit = torch.where(reached, u >= fn, u < fp) & step_mask(step)
        paid = (first_times(hit, state) if once else hit).sum(-1).to(x.logp)
        return outcome(x) + weight * (paid.roll(1, 1) if shuffled else paid)

    yield from online(task, loop, score=score)


def states(x: Samples, step: Tensor, rng: Rng) -> Tensor:
    """A number `[B,N,S]` for each prompt and tokens of a step: what the evaluator sees."""
    here = step >= 0
    length = step_sums(here.to(x.logp), step)
    place = here.cumsum(-1) - 1 - on_steps(length.cumsum(-1) - length, step).long()
    each = torch.where(here, rng("token").bits(x.action, place), 0)
    code = torch.zeros_like(length, dtype=torch.int64).scatter_add(-1, step.clamp(min=0), each)
    return code + rng("prompt").bits(x.prompts.row)[:, None, None]


@Claim(
    "Payments for subgoals, each once, make a policy learn faster than outcomes alone, and "
    "shuffled payments do not.",
    arms={
        "evaluator": ("subgoal_shaping", {}),
        "outcome": ("subgoal_shaping", {"weight": 0.0}),
        "shuffled": ("subgoal_shaping", {"shuffled": True}),
        "falser": ("subgoal_shaping", {"fp": 0.5}),
        "farmed": ("subgoal_shaping", {"fp": 0.2, "once": False}),
    },
    worlds=("sums",),
    on={"sums": {"pass_rate": 0.2}},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Mean gold over the run, minus that of the better of outcomes alone and shuffled payments."""
    return average(arms["evaluator"]) - max(average(arms["outcome"]), average(arms["shuffled"]))
