"""Flow-GRPO: GRPO on a flow whose steps are made stochastic, with the steps' own KL.

    A_i = (r_i − mean of the prompt) / (std of the batch + 10⁻⁴), held within ±5
    L   = mean over steps of −min(ρ·A, clip(ρ, 1−ε, 1+ε)·A) + β·‖μ − μ₀‖²/2s²

Each step from noise to data is a Gaussian around μ, with the marginals of the flow, so that it has
a ratio ρ. The last steps are left out of the loss: int(T·share) of the T are trained.

A step's log-probability is the policy's, a sum or a mean over coordinates; the KL is taken in the
same way. The released code averages, and its ε = 10⁻⁴ is for a mean over 10⁴ coordinates and more:
with a sum, or in few dimensions, such an ε clips everything, and the default here is 0.2.

Against `grpo` it divides by one deviation for the batch, holds advantages, takes the exact KL of
each step in place of k3, and leaves out the last step. Prompts whose completions all have the same
reward are left out of the batch, as in the released code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor

from assay.core import Claim, DrawsBySteps, Loop, Paper, Samples, Step, Task, require
from assay.formulas.reduce import per_completion_token
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score, standardised
from assay.loops.flow_steps import batch_scaled, step_penalty, trained_on
from assay.stats.effects import Reading, drop

paper = Paper(
    "Flow-GRPO: Training Flow Matching Models via Online RL",
    "Liu et al.",
    2025,
    "arXiv:2505.05470",
)
reduces = {
    "grpo": ({"scale": "group", "limit": 1e9, "share": 1.0, "beta": 0.0}, {"beta": 0.0}),
}


def recipe(
    task: Task,
    *,
    beta: float = 0.04,
    epsilon: float = 0.2,
    share: float = 0.99,
    scale: Literal["batch", "group"] = "batch",
    limit: float = 5.0,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by Flow-GRPO and yield the policy after each step.

    Args:
        beta: Weight of the steps' KL.
        epsilon: A step's ratio is clipped to 1 ± epsilon.
        share: Share of the steps that are trained, the first ones.
        scale: Advantages are divided by the deviation of the batch's rewards or of the prompt's:
            batch or group.
        limit: Advantages of the batch's scale are held within ±limit.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    actor: Any = require(task.reference.copy(), DrawsBySteps, "flow_grpo")

    def prepare(batch: Rollouts) -> Rollouts:
        x, r = batch.samples, batch.reward
        A = standardised(r, x) if scale == "group" else batch_scaled(r, x, limit=limit)
        return trained_on(batch, A, share)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        value = clipped_surrogate(logp, rows, advantage, low=epsilon, high=epsilon)
        if not beta:
            return value
        return value + beta * step_penalty(actor, task.reference, rows)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        loss=loss,
        reduce=per_completion_token,
        policy=actor,
        reads_logp=False,
    )


@Claim(
    "Against a proxy with an exploit off the data and without its KL, Flow-GRPO's gold too rises "
    "and then falls below its peak.",
    arms={
        "exploit": ("flow_grpo", {"beta": 0.0}),
        "sound": ("flow_grpo", {"beta": 0.0, "world.height": 0.0}),
    },
    worlds=("flow",),
    least={"falls": 0.5, "over sound": 0.0},
    seeds="100..139",
    control=("over sound",),
    broken="a proxy without the exploit, which is gold itself",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Drop of gold from its peak (read again at fresh addresses) to the end of the run, and how
    much more that is than against a proxy without the exploit. Gold's unit is its deviation under
    the reference.
    """
    falls = drop(arms["exploit"])
    return {"falls": falls, "over sound": falls - drop(arms["sound"])}
