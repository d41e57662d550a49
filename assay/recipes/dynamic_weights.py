"""Dynamic reward weighting: weights of several rewards that change while the policy is trained.

    hypervolume: r ← (½ + (3/2)·tanh ΔHV)·Σ_k w_k·r_k, after each validation
    gradient:    I_k = ⟨g_k, Σ_j g_j⟩,  w ← softmax(log w + rate·I), before each update

hypervolume: the policy's mean rewards are measured on fresh completions after each step. Where they
raise the hypervolume that all earlier points dominate, above the reference policy's own point, the
next batch's reward is multiplied by up to 2, else by ½; the weights w stay. gradient: g_k is the
gradient of the whole loss with objective k alone as the reward, its KL term included, clipped to
norm 1 as a step would be. What helps all objectives gains weight.

Against `grpo` the reward alone changes: with `fixed`, one reward and its constants it is GRPO.
Normalisation: group-centred advantages. The released code keeps GRPO's division by the group's
deviation (`standardise`), under which a factor on the reward **cancels** but for the ε of 10⁻⁴: the
hypervolume arm is then the fixed one. Adam cancels a lasting factor too; what is left is its change
from step to step, and its size beside the KL term. Aggregation: a mean over tokens, then over
completions. Clip: the ratio, on both sides. KL: k3 in the loss.

Traps. I_k grows with the square of gradients, so that the objective that learns fastest gains
weight. The hypervolume depends on the reference point. Gradients are those of all trained
parameters, where the released code takes layers 10 to 25. rate is η/μ of the paper (10⁻⁶/10⁻⁵).
`drift` moves log w by Gaussian noise of deviation `rate` instead: the control.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.engine.descend import Index, inner_products
from assay.formulas.advantage import group_centred
from assay.formulas.aggregate import weighted_sum
from assay.formulas.divergence import k3
from assay.formulas.pareto import (
    hypervolume,
    hypervolume_weight,
    influence_weights,
    nondominated,
)
from assay.formulas.reduce import per_completion_token
from assay.loops import (
    Rollouts,
    clipped_surrogate,
    member_scores,
    online,
    record_kl,
    require_group,
    standardised,
    with_reference_logp,
)
from assay.loops.fronts import front_share, mean_rewards
from assay.stats.effects import Reading

paper = Paper(
    "Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting",
    "Lu et al.",
    2025,
    "arXiv:2509.11452",
)
reduces = {
    "grpo": (
        {"method": "fixed", "members": 1, "standardise": True, "beta": 0.04},
        {},
    )
}

METHODS = ("hypervolume", "gradient", "fixed", "drift")


def recipe(
    task: Task,
    *,
    method: str = "hypervolume",
    members: int = 0,
    weights: tuple[float, ...] = (),
    rate: float = 0.1,
    validation: int = 8,
    standardise: bool = False,
    beta: float = 0.001,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train with weights that change and yield the policy after each step.

    Args:
        method: hypervolume, gradient, fixed (the weights stay) or drift (they wander: the control).
        members: How many of the task's reward models are rewards, counted from the first; 0 for
            all.
        weights: The first weights, one a reward, above 0; none for equal ones. Scaled to sum 1.
        rate: η/μ of the gradient method, or the deviation of a step of drift.
        validation: Completions a prompt on which the hypervolume method measures a step's policy.
        standardise: Divide advantages by the group's standard deviation, as the released code does.
        beta: Weight of k3 in the loss.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
    """
    count = members or len(task.rewards.names)
    if method not in METHODS:
        raise InputError(f"--method is '{method}'; it is one of {', '.join(METHODS)}")
    if weights and (len(weights) != count or min(weights) <= 0):
        raise InputError(
            f"--weights is {', '.join(map(str, weights))} for {count} rewards; give a number above "
            "0 for each"
        )
    if validation < 1:
        raise InputError(f"--validation is {validation}; give at least 1 completion a prompt")
    several = member_scores(task, count)
    first = torch.tensor(weights or (1.0,) * count, dtype=torch.float64)
    carry: Any = task.carry.keep(w=first / first.sum(), factor=1.0, points=None)

    def score(x: Samples) -> Tensor:
        scores = several(x)
        return weighted_sum(scores, carry.w.to(scores))

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        if standardise:
            return standardised(reward, x)
        return group_centred(require_group(reward), x.present)[..., None]

    def loss(logp: Tensor, rows: Samples, A: Tensor) -> Tensor:
        value = clipped_surrogate(logp, rows, A, low=epsilon_low, high=epsilon_high)
        if not beta:
            return value
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        return value + beta * k3(logp, reference)

    def gram(batch: Rollouts) -> Tensor:
        def of(rows: Samples, i: Index, A: Tensor) -> Tensor:
            return loss(batch.policy.logp(rows), rows, A[i])

        losses = [partial(of, A=advantage(r, batch.samples)) for r in several(batch.samples)]
        return inner_products(
            batch.optimiser,
            losses,
            batch.samples,
            reduce=per_completion_token,
            split="completions",
        )

    def point(policy: Any, t: int) -> Tensor:
        """The means of the rewards on fresh completions `[1,M]`."""
        rng = task.rng("validation", t)
        return mean_rewards(several, policy, task.batch(loop, t), validation, rng)

    def prepare(batch: Rollouts) -> Rollouts:
        if method == "gradient":
            found = gram(batch)
            if bool(torch.isfinite(found).all()):  # the update skips such a batch by itself
                carry.w = influence_weights(carry.w, found, rate=rate)
        if method == "drift":
            noise = task.rng("drift", batch.step).normal(torch.arange(count), dtype=torch.float64)
            carry.w = (carry.w.log() + rate * noise).softmax(0)
        if method == "hypervolume" and carry.points is None:
            carry.points = point(task.reference, 0)  # the reference point of the volume
        batch.reward = carry.factor * score(batch.samples)
        return batch

    def after(batch: Rollouts) -> None:
        if method == "hypervolume":
            new = point(batch.policy, batch.step + 1)
            corner, points = carry.points[0], carry.points[1:]
            both = torch.cat([points, new])
            gain = (hypervolume(both, corner) - hypervolume(points, corner)).clamp(min=0)
            carry.factor = float(hypervolume_weight(gain))
            if gain > 0:
                carry.points = torch.cat([corner[None], both[nondominated(both)]])
            batch.stats["weights/gain"], batch.stats["weights/factor"] = float(gain), carry.factor
        for name, w in zip(task.rewards.names, carry.w.tolist(), strict=False):
            batch.stats[f"weights/{name}"] = w

    yield from online(
        task,
        loop,
        score=score,
        prepare=prepare,
        advantage=advantage,
        loss=loss,
        reduce=per_completion_token,
        after=after,
        against_reference=bool(beta),
    )


_LONG: dict[str, Any] = {"batch_size": 4, "max_steps": 100}
_SHORT: dict[str, Any] = {**_LONG, "method": "fixed", "max_steps": 20}
_RATES = {"learning_rate": (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)}
_SWEEP = {"0.1": (0.1, 0.9), "0.3": (0.3, 0.7), "0.5": (0.5, 0.5), "0.7": (0.7, 0.3)}
_SWEEP |= {"0.9": (0.9, 0.1)}
_MOVING = ("hypervolume", "gradient", "drift")


@Claim(
    "On objectives that conflict, the policies of one run with dynamic weights dominate more than "
    "those of a run with equal fixed weights, and more than five runs of fixed weights, each a "
    "fifth as long, do together.",
    arms={
        "hypervolume": ("dynamic_weights", _LONG),
        "gradient": ("dynamic_weights", {**_LONG, "method": "gradient", "rate": 10.0}),
        "fixed": ("dynamic_weights", {**_LONG, "method": "fixed"}),
        "drift": ("dynamic_weights", {**_LONG, "method": "drift", "rate": 0.3}),
        **{k: ("dynamic_weights", {**_SHORT, "weights": w}) for k, w in _SWEEP.items()},
    },
    worlds=("table",),
    on={"table": {"testbed": "trade", "members": 2, "prompts": 4, "bend": 1.0}},
    # in shares of what the exact front dominates
    least={
        "hypervolume over fixed": 0.03,
        "gradient over fixed": 0.03,
        "gradient over the sweep": 0.03,
        "over drift": 0.0,
    },
    seeds="100..119",
    tuned=dict.fromkeys((*_MOVING, "fixed", *_SWEEP), _RATES),
    by=front_share,
    control=("over drift",),
    broken="weights that wander by noise",
    differs={
        "generated": "validation takes completions, and each run of the sweep has a fifth of them",
        "scored": "as generated",
        "updates": "each run of the sweep has a fifth of the steps",
        "seconds": "a gradient for each objective takes passes of its own",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Differences of `front_share`; of the sweep, what its five runs dominate together."""
    found = {k: front_share(arms[k]) for k in (*_MOVING, "fixed")}
    first, *others = (arms[k] for k in _SWEEP)
    return {
        "hypervolume over fixed": found["hypervolume"] - found["fixed"],
        "gradient over fixed": found["gradient"] - found["fixed"],
        "gradient over the sweep": found["gradient"] - front_share(first, *others),
        "over drift": found["gradient"] - found["drift"],
    }
