"""DDPO: denoising as a decision process, and PPO's clipped policy gradient on its steps.

    A_i = (r_i − m_x) / (s_x + 10⁻⁶), held within ±5
    L   = mean over steps of −min(ρ·A, clip(ρ, 1−ε, 1+ε)·A)

m_x and s_x are the mean and deviation of the last `history` rewards of the prompt x, this step's
included; of prompts with fewer than `least` of them, those of the step's whole batch. The same A
stands at every step from noise to data. There is no KL.

A step's log-probability is the policy's, a sum or a mean over coordinates. The released code
averages, and its ε = 10⁻⁴ is for that: see `flow_grpo`. With one update a batch nothing is clipped.

`score_function` (the paper's DDPO-SF) is REINFORCE on the same advantages in place of the ratio; it
takes one update a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, DrawsBySteps, Loop, Paper, Samples, Step, Task, require
from assay.errors import InputError
from assay.formulas.reduce import per_completion_token
from assay.formulas.surrogate import reinforce
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score
from assay.stats.effects import Reading, drop

paper = Paper(
    "Training Diffusion Models with Reinforcement Learning",
    "Black et al.",
    2023,
    "arXiv:2305.13301",
)
reduces = {}


def recipe(
    task: Task,
    *,
    epsilon: float = 0.2,
    history: int = 16,
    least: int = 16,
    limit: float = 5.0,
    score_function: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by DDPO and yield the policy after each step.

    Args:
        epsilon: A step's ratio is clipped to 1 ± epsilon.
        history: Rewards of a prompt that are remembered, at least 2; a step's own all count.
        least: With fewer of them the batch's mean and deviation are taken.
        limit: Advantages are held within ±limit.
        score_function: REINFORCE in place of the clipped ratio.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if history < 2 or least < 2:
        raise InputError(f"--history is {history} and --least {least}; give at least 2 of each")
    if score_function and loop.epochs > 1:
        raise InputError(
            f"--score-function takes one update a batch and --epochs is {loop.epochs}; give "
            "--epochs 1, or leave --score-function out"
        )
    actor: Any = require(task.reference.copy(), DrawsBySteps, "ddpo")
    kept: Any = task.carry.keep(seen={})

    def prepare(batch: Rollouts) -> Rollouts:
        x, r = batch.samples, batch.reward.double()
        seen: dict[int, list[float]] = dict(kept.seen)
        rows = x.prompts.row.tolist()
        fresh: dict[int, int] = {}
        for b, row in enumerate(rows):
            mine = r[b][x.present[b]].tolist()
            seen[row] = [*seen.get(row, []), *mine]
            fresh[row] = fresh.get(row, 0) + len(mine)
        seen = {k: v[-max(history, fresh.get(k, 0)) :] for k, v in seen.items()}
        whole = r[x.present]
        A = torch.zeros_like(r)
        for b, row in enumerate(rows):
            own = r.new_tensor(seen[row])
            of = own if len(own) >= least else whole
            A[b] = (r[b] - of.mean()) / (of.std(correction=0) + 1e-6)
        kept.seen = {k: v[-history:] for k, v in seen.items()}
        batch.advantage = A.clamp(-limit, limit).to(x.logp)[..., None]
        return batch

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        if score_function:
            return reinforce(logp, advantage)
        return clipped_surrogate(logp, rows, advantage, low=epsilon, high=epsilon)

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
    "Against a proxy with an exploit off the data, DDPO's gold rises and then falls below its "
    "peak.",
    arms={
        "exploit": ("ddpo", {}),
        "sound": ("ddpo", {"world.height": 0.0}),
    },
    worlds=("flow",),
    on={"flow": {"sampler": "ddim", "steps": 20}},
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
