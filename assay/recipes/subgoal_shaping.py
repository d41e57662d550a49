"""Subgoals from a language model (CALM): each subgoal that a step reaches adds to the reward.

    r' = R + c·Σ_g 1[in some step, the evaluator says that the agent reached subgoal g]

The evaluator reads text: what the agent is to do, what it saw before and after a step, what it did,
and the question whether it reached a subgoal. It is paid once for each subgoal in a completion;
with `once` off, a step that the evaluator likes can be taken again and again. Differs from
leave_one_out in the added sum; c = 0 is that.

`judge` names the evaluator:

- a folder or a hub id of an instruct model, which is asked by the log-probabilities of yes and no
  (of a small model those on questions without content are subtracted), or the address of an
  OpenAI-compatible server, with `judge_model`. What was said of a text is remembered.
- smollm2, or a file of answers: what a model said of these questions before; the share `yes` with
  the highest log-odds counts as yes (`rewards/recorded_answers.py`). smollm2 is
  SmolLM2-135M-Instruct, zero-shot, on all of the grid.
- fitted: a classifier of the same texts, fitted on the annotator's answers to a share `annotated`
  of the world's possible transitions. Each answer counts as a label.
- world: the world's annotator, with errors of two kinds: `fp`, the chance that a transition that
  reached nothing is paid, and `fn`, the chance that one that did is not. They are biased, as a
  model's are: the same transition is misjudged every time.

`subgoals` are given by the world, proposed (the model is asked for a list), or written out,
separated by semicolons. The evaluator is compared with the annotator on the steps that the policy
takes, where few reach anything: `judge/precision`, `judge/recall`, `judge/f1` and
`judge/false_positives`, the share of steps and subgoals that it says were reached and were not.
Where nobody annotated the subgoals, nothing is compared.

`other` pays other transitions at the same rate, the same ones every time, and `exchanged` asks
about another subgoal than the one that is paid. What helps then is not what the evaluator knows.

Traps: F1 on as many transitions that reach something as do not overstates. With `once` off false
payments are farmed; with it an evaluator that often says yes pays every episode for everything, so
that it does neither harm nor good.

The paper measures how often a language model is right about actions, zero-shot; it trains nothing
by it. The claim here is about what a policy gains that is paid by it; action_evaluation has the
paper's own. The model is one of 135 million weights; the paper's are a hundred times as large.

What came out (64 seeds): an exact evaluator gives .09 [.02, .16] of mean gold, at the median .05.
SmolLM2, for which yes to half of all steps is best, gives at the median what outcomes alone do;
with yes to a twentieth it does harm.

Here: rooms with a key and a locked door, told in sentences, as in the paper's MiniHack; and lines
of worked solutions (--world sums), where the annotator is the world's step reward and each right
line is a subgoal of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.engine.parallel import meter
from assay.errors import InputError
from assay.formulas.process import first_times
from assay.loops import Rollouts, online, proxy_score
from assay.rewards.annotated import agreement, annotation
from assay.rewards.evaluators import evaluator_of
from assay.rewards.transitions import Transitions, of_episodes, of_lines, possible
from assay.rewards.yes_no import FittedEvaluator, Remembered, listed
from assay.stats.effects import Reading, average

paper = Paper(
    "Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL",
    "Pignatelli et al.",
    2024,
    "arXiv:2409.12798",
)
reduces = {"leave_one_out": ({"weight": 0.0}, {})}

REQUEST = (
    "{aim}\nList the {most} subgoals that the agent has to reach on the way, one a line, each "
    "beginning with a verb, such as: 1. pick up the lamp"
)
MOST = 3  # subgoals that a model is asked for


def recipe(
    task: Task,
    *,
    weight: float = 0.5,
    judge: str = "world",
    judge_model: str = "",
    yes: float = 0.5,
    subgoals: str = "given",
    annotated: float = 0.25,
    fp: float = 0.0,
    fn: float = 0.0,
    once: bool = True,
    other: bool = False,
    process: str = "steps",
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on outcome and subgoals; yield the policy after each step.

    Args:
        weight: Weight c of a subgoal.
        judge: The evaluator: world, fitted, smollm2, a .json file of answers, a model's folder or
            hub id, or http://….
        judge_model: The name that the server knows the evaluator by.
        yes: Of recorded answers: share of the questions about a subgoal that is answered yes.
        subgoals: given, proposed, or phrases such as "pick up the key; reach the goal".
        annotated: Share of the transitions that the fitted evaluator learns from, from 0 to 1; of
            lines a share of those that the reference writes.
        fp: Of the world's annotator: share of transitions that it pays for nothing, from 0 to 1.
        fn: Of the world's annotator: share of subgoals that it does not pay, from 0 to 1.
        once: Pay a subgoal once a completion.
        other: Pay other transitions at the rate at which the evaluator says yes: the control.
        process: Name of the step reward, in a world of worked solutions.
        member: Index of the reward model that is the outcome.
    """
    for name, share in (("fp", fp), ("fn", fn), ("annotated", annotated)):
        if not 0 <= share <= 1:
            raise InputError(f"--{name} is {share}; it is a share of transitions, from 0 to 1")
    outcome, errors = proxy_score(task, member), task.rng("judge's errors")
    others = task.rng("other transitions")
    carry: Any = task.carry.keep(fitted=None, sought=[])
    place: Any = getattr(task.reference, "process", None)
    evaluator: Any = evaluator_of(judge, judge_model, yes) if weight else None

    def transitions(x: Samples) -> Transitions:
        if place is not None:
            return of_episodes(x, place, tuple(carry.sought))
        steps = task.rewards.named(process).steps(x)[0]
        return of_lines(x, task.rewards.step_of(x), steps, task.rng("lines"))

    def said(t: Transitions) -> Tensor:
        """Which subgoals the evaluator says each step reached `[B, N, S, G]`."""
        if evaluator is None:
            u = errors.uniform(t.code[..., None], torch.arange(len(t.subgoals)))
            return torch.where(annotation(t), u >= fn, u < fp) & t.there[..., None]
        texts, index = t.questions()
        yes = torch.tensor([p > 0.5 for p in evaluator(texts)] + [False])
        return yes[index]  # −1, no step, is the False at the end

    def hits(t: Transitions) -> Tensor:
        """What is paid: what the evaluator says, or other transitions as often."""
        own = said(t)
        if not other:
            return own
        u = others.uniform(t.code[..., None], torch.arange(len(t.subgoals)))
        return (u < own[t.there].double().mean(0)) & t.there[..., None]

    if weight and not carry.sought and place is not None:
        carry.sought = sought(subgoals, place, evaluator, judge)
    if weight and judge == "fitted":
        if carry.fitted is None:
            rng = task.rng("annotated")
            x = possible(place) if place else task.reference.sample(task.prompts, 1, rng)
            t = transitions(x)
            texts, index = t.questions()
            truth = torch.zeros(len(texts), dtype=torch.bool)
            truth[index[t.there].flatten()] = annotation(t)[t.there].flatten()
            seen = torch.unique(index[t.there & (rng("share").uniform(t.code) < annotated)])
            meter.add("labels", len(seen))
            known = [texts[i] for i in seen.tolist()]
            carry.fitted = FittedEvaluator.fit(known, truth[seen].tolist()).weights
        evaluator = Remembered(FittedEvaluator(carry.fitted))

    def score(x: Samples) -> Tensor:
        if weight == 0:
            return outcome(x)
        t = transitions(x)
        hit, goal = hits(t).flatten(2), t.goal.flatten(2)
        paid = (first_times(hit, goal) if once else hit).sum(-1).to(x.logp)
        return outcome(x) + weight * paid

    def after(batch: Rollouts) -> None:
        if weight:
            t = transitions(batch.samples)
            batch.stats |= agreement(said(t), t)

    yield from online(task, loop, score=score, after=after)


def sought(subgoals: str, place: Any, evaluator: Remembered | None, judge: str) -> list[str]:
    """The subgoals to ask for.

    Raises:
        InputError: The world gives none, or no model can propose any.
    """
    if subgoals == "given":
        if not place.subgoals:
            raise InputError(
                "this decision process has no subgoals; use --world table --world.testbed grid, "
                "or write them as --subgoals 'pick up the key; reach the goal'"
            )
        return list(place.subgoals)
    if subgoals != "proposed":
        return [g.strip() for g in subgoals.split(";") if g.strip()]
    if evaluator is None:
        raise InputError(
            f"--subgoals is proposed, and --judge is {judge}, which cannot write; give a model"
        )
    reply = evaluator.write(REQUEST.format(aim=place.aim, most=MOST))
    found = listed(reply, MOST)
    if not found:
        raise InputError(f"{evaluator.name} proposed no list of subgoals, but {reply[:80]!r}")
    return [g[0].lower() + g[1:] for g in found]


_STEPS = {"max_steps": 30}  # outcomes alone are half way, so that there is room above them
_RATES = (0.3, 0.5, 0.65, 0.8)


@Claim(
    "A policy that SmolLM2-135M-Instruct, asked zero-shot in one wording, pays for subgoals learns "
    "faster than from outcomes alone, and than one that is paid for other steps as often.",
    arms={
        "model": ("subgoal_shaping", {**_STEPS, "judge": "smollm2", "weight": 0.1}),
        "outcome": ("subgoal_shaping", {**_STEPS, "weight": 0.0}),
        "other": ("subgoal_shaping", {**_STEPS, "judge": "smollm2", "weight": 0.1, "other": True}),
        "exact": ("subgoal_shaping", _STEPS),
    },
    worlds=("table",),
    on={"table": {"testbed": "grid"}},
    least={
        "an exact evaluator helps": 0.03,  # a twentieth of what outcomes alone reach
        "over outcomes alone": 0.03,
    },
    seeds="500..563",
    tuned={
        "model": {"yes": (0.05, 0.5), "learning_rate": _RATES},
        "outcome": {"learning_rate": (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2)},
        "other": "model",
        "exact": {"weight": (0.1, 0.3), "learning_rate": _RATES},
    },
    by=average,
    control=("over other transitions",),
    broken="other transitions are paid as often",
    premises=("an exact evaluator helps",),
    differs={"seconds": "outcomes alone ask no evaluator"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the run, less that of outcomes alone and of payments for other transitions.
    That the world can tell is a premise: an evaluator without errors beats outcomes alone. Seeds
    vary the policies and so which steps are judged, never what the model says of a step.
    """
    mine, alone = average(arms["model"]), average(arms["outcome"])
    return {
        "an exact evaluator helps": average(arms["exact"]) - alone,
        "over outcomes alone": mine - alone,
        "over other transitions": mine - average(arms["other"]),
    }
