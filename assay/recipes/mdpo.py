"""MDPO: several steps on the policy gradient's surrogate minus a KL to the policy before them.

    L = −ρ·A + KL(π‖π_k)/t_k,  t_k = t·(1 − k/K) over K steps

Each batch is sampled by π_k and descended on `--epochs` times (m in the paper, 10): the first
update is the policy gradient's, since the KL's gradient is 0 there, and the later ones are held
back by the KL. With one update a batch nothing is left of the method. Against PPO's clip the trust
region is soft and sees whole distributions, not the ratio of what was sampled.

The KL is exact over all actions at each decision, new policy first (`--direction forward`: old
policy first). t_k falls to 0 as in the released code, so that `--max-steps` is part of the method;
`--constant` keeps t. Rewards have no unit of their own: t is in nats per unit of the advantage, and
advantages are not standardised, which would rescale it.

The paper's advantages come from a critic (GAE), these from the prompt's other completions.
Aggregation: a sum over tokens, a mean over completions. No KL to the reference. The off-policy form
needs a critic of actions, and is here a formula alone (`formulas.mirror_descent`); its Tsallis form
is not here.

Each update reads the policy twice, once for the loop's log-probabilities and once for the KL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from assay.core import Claim, ComparesTokens, InputError, Loop, Paper, Samples, Step, Task, require
from assay.formulas.mirror_descent import proximal
from assay.loops import Rollouts, online, proxy_score
from assay.stats.effects import Reading, final

paper = Paper(
    "Mirror Descent Policy Optimization",
    "Tomar et al.",
    2020,
    "arXiv:2005.09814",
)
reduces = {"leave_one_out": ({}, {})}  # with one update a batch

DIRECTIONS = ("reverse", "forward")


def recipe(
    task: Task,
    *,
    step_size: float = 1.0,
    constant: bool = False,
    direction: str = "reverse",
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=10),
) -> Iterator[Step]:
    """Train by on-policy MDPO and yield the policy after each step.

    Args:
        step_size: t, the first step's size in nats per unit of the reward; above 0.
        constant: Keep t; else it falls linearly to 0 at the end of the run.
        direction: KL in the loss: reverse, KL(π‖π_k), or forward, KL(π_k‖π).
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if not step_size > 0:
        raise InputError(f"--step-size is {step_size}; it must be above 0")
    if direction not in DIRECTIONS:
        raise InputError(f"--direction is '{direction}'; it is one of {', '.join(DIRECTIONS)}")
    actor: Any = task.reference.copy()
    compared = require(actor, ComparesTokens, "mdpo").compared
    before: Any = task.reference.copy()  # π_k: set at the start of a step, so no memory of the run
    size = [step_size]

    def prepare(batch: Rollouts) -> Rollouts:
        before.load_state_dict(actor.state_dict())
        size[0] = step_size * (1.0 if constant else 1 - batch.step / loop.max_steps)
        batch.stats["mdpo/step_size"] = size[0]
        return batch

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        found = compared(before, rows)
        kl = found.own_kl if direction == "reverse" else found.kl
        return proximal(logp, rows.logp, advantage, kl, step_size=size[0])

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        loss=loss,
        policy=actor,
        reads_logp=False,
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_RUN = {"max_steps": 6, "batch_size": 8}
_TEN = {"learning_rate": (1.25e-4, 2.5e-4, 5e-4, 1e-3)}
_ONE = {"learning_rate": (1e-3, 2e-3, 4e-3, 8e-3)}


@Claim(
    "Ten updates a batch held back by the KL bring more right answers than one, as many as PPO's "
    "clip in ten, and more than ten without the KL.",
    arms={
        "mine": ("mdpo", _RUN),
        "one": ("mdpo", {**_RUN, "epochs": 1}),
        "clip": ("grpo", {**_RUN, "epochs": 10, "beta": 0.0, "standardise": False}),
        "open": ("mdpo", {**_RUN, "step_size": 1e9}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over one": 0.02, "as the clip": -0.02, "over no KL": 0.0},
    seeds="200..211",
    tuned={"mine": _TEN, "one": _ONE, "clip": _TEN, "open": _TEN},
    control=("over no KL",),
    broken="a step so large that nothing holds the policy back",
    differs={"updates": "the paper compares ten updates a batch with one"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers after six steps, each arm at its own best rate: ten updates a
    batch with the KL minus one, minus ten with PPO's clip, and minus ten with neither. The first
    step's size is 1 nat per unit of the reward.
    """
    mine = final(arms["mine"])
    return {
        "over one": mine - final(arms["one"]),
        "as the clip": mine - final(arms["clip"]),
        "over no KL": mine - final(arms["open"]),
    }
