"""KDRL: a teacher's reverse KL and GRPO's rewards in one loss, on the student's own completions.

    L = mean over tokens of −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A) + β_t·½·(log π − log π_T)²

π_T is the teacher. The second term is k2: on completions of the student its gradient is that of
KL(π‖π_T) at each token, and the update has the advantage A − β_t·(log π − log π_T). A is GRPO's,
standardised in the group, and β has to be read against its scale of 1. Tokens have one mean over
the batch (`length_mean` averages within a completion first). No other KL takes part, and the
teacher's term has no ratio: in a second update on a batch it is no longer the KL's gradient.

`beta` falls by `decay` a step, to `beta_least` at the lowest. `distil` says which completions the
teacher corrects: all; wrong, those whose reward is below `right`; or unsolved, those of prompts
that no completion solves. `estimator` exchanges k2: k3's gradient is that of the forward KL(π_T‖π),
and k1's is 0 in expectation: k1 is the negative control, with the same teacher at the same price.

Two neighbours are limits. `--reward-weight 0` distils alone. `--first 10` distils alone for ten
steps and goes on with rewards alone: one after the other, with which to compare both together.

Traps: teacher and student must share their tokens. A teacher that is better wherever the student
is wrong makes rewards unnecessary: then distillation alone is the rival, and not GRPO. Here, in
world sums, the teacher is the policy before it was taught mistakes. Constants of the paper are
about 0.002 for β, or 0.005 that falls to 0.001; the paper's size of a falling step is not known to
us, so that `decay` is 0 unless you give one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_standardised
from assay.formulas.divergence import k1, k2, k3
from assay.formulas.reduce import per_completion_token, per_token
from assay.loops import (
    Rollouts,
    clipped_surrogate,
    online,
    proxy_score,
    reference_known,
    require_group,
    with_reference_logp,
)
from assay.stats.effects import Reading, final

paper = Paper(
    "KDRL: Post-Training Reasoning LLMs via Unified Knowledge Distillation and Reinforcement "
    "Learning",
    "Xu et al.",
    2025,
    "arXiv:2506.02208",
)
reduces = {"grpo": ({"beta": 0.0, "length_mean": True}, {"beta": 0.0})}

ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}
DISTIL = ("all", "wrong", "unsolved")
_WEIGHT = "distil"  # in `Samples.extra`: how much the teacher corrects a completion


def recipe(
    task: Task,
    *,
    beta: float = 0.002,
    beta_least: float = 0.0,
    decay: float = 0.0,
    teacher: str = "strong",
    distil: str = "all",
    estimator: str = "k2",
    reward_weight: float = 1.0,
    first: int = 0,
    right: float = 0.5,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    length_mean: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on rewards and a teacher together, and yield the policy after each step.

    Args:
        beta: Weight of the teacher's term at the first step.
        beta_least: Least weight of the teacher's term.
        decay: By how much the weight falls a step.
        teacher: Name of another policy (`--others strong=FOLDER`; a world's own), or reference for
            the policy's own start.
        distil: Which completions the teacher corrects: all, wrong or unsolved.
        estimator: The teacher's term: k2, k3 or k1, see above.
        reward_weight: Weight of the rewards' term; 0 distils alone.
        first: Steps of distillation alone, after which rewards alone count; 0 for both together.
        right: Reward from which a completion is right.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        length_mean: Average the loss over a completion's tokens first, as GRPO does.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    for flag, value, known in (("distil", distil, DISTIL), ("estimator", estimator, ESTIMATORS)):
        if value not in known:
            raise InputError(f"--{flag} is '{value}'; it is one of {', '.join(known)}")
    if not 0 <= beta_least <= beta or min(decay, reward_weight, first) < 0:
        raise InputError(
            f"--beta is {beta}, --beta-least {beta_least}, --decay {decay}, --reward-weight "
            f"{reward_weight} and --first {first}; give 0 ≤ beta-least ≤ beta and nothing negative"
        )
    if teacher != "reference" and teacher not in task.others:
        raise InputError(
            f"--teacher is '{teacher}'; it is reference or one of the other policies (--others): "
            f"{', '.join(task.others)}"
        )
    master = task.reference if teacher == "reference" else task.others[teacher]
    weight, rewarded = 0.0, 1.0  # of the step; functions of its number

    def prepare(batch: Rollouts) -> Rollouts:
        nonlocal weight, rewarded
        weight = max(beta - decay * batch.step, beta_least)
        rewarded = reward_weight
        if first:
            weight, rewarded = (weight, 0.0) if batch.step < first else (0.0, reward_weight)
        batch.stats["beta"] = weight
        if not weight:
            return batch
        x = batch.samples
        solved = (batch.reward >= right) & x.present
        if distil == "all":
            chosen = x.present
        elif distil == "wrong":
            chosen = x.present & ~solved
        else:
            chosen = x.present & ~solved.any(-1, keepdim=True)
        batch.stats["distilled"] = float(chosen.sum() / x.present.sum().clamp(min=1))
        # the teacher stands where a reference does: it is read once, for all epochs
        x = reference_known(master, replace(x, extra={**x.extra, _WEIGHT: chosen.to(x.logp)}))
        return replace(batch, samples=x)

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        return group_standardised(require_group(reward), x.present, eps=1e-4, ddof=1)[..., None]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        surrogate = clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)
        surrogate = rewarded * surrogate
        if not weight:
            return surrogate
        term = ESTIMATORS[estimator](logp, with_reference_logp(master, rows).logp)
        corrected = rows.extra[_WEIGHT][..., None] > 0
        # new: the teacher's correction of what the student wrote
        return surrogate + weight * torch.where(corrected, term, term.new_zeros(()))

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        advantage=advantage,
        loss=loss,
        reduce=per_completion_token if length_mean else per_token,
        reads_logp=False,
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_STEPS = {"max_steps": 15}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}
_ALONE = {
    **_STEPS,
    "beta": 0.1,
    "reward_weight": 0.0,
}  # its scale is the rate's: Adam divides it out


@Claim(
    "Trained on rewards and a teacher's reverse KL together, a policy answers more problems "
    "rightly than on rewards alone, on the teacher alone, and on one after the other.",
    arms={
        "mine": ("kdrl", {**_STEPS, "learning_rate": 2e-3}),
        "rewards": ("grpo", {**_STEPS, "beta": 0.0}),
        "teacher": ("kdrl", _ALONE),
        "then": ("kdrl", {**_STEPS, "beta": 0.1, "first": 5}),
        "k1": ("kdrl", {**_STEPS, "learning_rate": 2e-3, "estimator": "k1"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={
        "over rewards alone": 0.02,
        "over the teacher alone": 0.02,
        "over one after the other": 0.02,
        "over k1": 0.0,
    },
    seeds="100..109",
    tuned={
        "mine": {"beta": (0.3, 1.0, 3.0, 10.0)},
        "rewards": _RATES,
        "teacher": _RATES,
        "then": _RATES,
        "k1": "mine",
    },
    control=("over k1",),
    broken="k1 as the teacher's term, which estimates the same KL and has no gradient of it",
    differs={
        "scored": "the teacher alone needs no reward",
        "seconds": "the teacher's pass over a batch is a further one",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that of rewards alone, of the teacher alone, of one after
    the other, and of a teacher's term without the KL's gradient.
    """
    mine = final(arms["mine"])
    return {
        "over rewards alone": mine - final(arms["rewards"]),
        "over the teacher alone": mine - final(arms["teacher"]),
        "over one after the other": mine - final(arms["then"]),
        "over k1": mine - final(arms["k1"]),
    }
