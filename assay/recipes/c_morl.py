"""C-MORL: train a few preferences, then extend the front between them, one objective at a time.

    1. for each weighting w of a grid:        maximise Σ_m w_m·J_m
    2. select N policies of the front by crowding; for each of them and each objective k:

           maximise J_k + (1/t)·mean_{j≠k} log(J_j − floor_j),   floor = β·J of the selected policy

All policies on the way are measured on fresh completions and kept while no other one dominates
them, at most `buffer` of them. After each round of extensions N others are selected. A preference
is served by the kept policy of the largest w·J: no policy reads preferences, so that a new one
costs nothing. The last step yields the N least crowded of the front as well.

A step is one update of one policy: `first` of them for each weighting, `extend` for each extension;
what is left of `max_steps` goes to the second stage. An optimiser begins anew with each policy.

Advantages are leave-one-out over a prompt's completions, whitened over the batch (the paper has a
critic's, whitened), of the weighted sum or of objective k. The barrier's gradient is that of the
batch's mean rewards, added to them. Ratios are clipped on both sides; means over a completion's
tokens, then over completions. No KL is paid.

`--barrier ratio` is the released code's: the logarithm of each decision's own ρ·J_j − β·J_j. **It
constrains nothing**: its gradient does not depend on the objectives, and has expectation 0 at
ρ = 1. `none` raises objective k with no floor: the negative control. Floors of objectives below 0
are start − (1 − β)·|start|.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import leave_one_out, whiten
from assay.formulas.aggregate import weighted_sum
from assay.formulas.interior_point import barrier_weights, floors_under, ratio_barrier
from assay.formulas.pareto import hypervolume
from assay.formulas.reduce import per_completion_token
from assay.formulas.surrogate import ratio
from assay.loops import Rollouts, clipped_surrogate, member_scores, online, require_group
from assay.loops.fronts import Front, front_share, least_crowded, mean_rewards
from assay.stats.effects import Reading

paper = Paper(
    "C-MORL: Multi-Objective Reinforcement Learning through Efficient Discovery of Pareto Front",
    "Liu et al.",
    2024,
    "arXiv:2410.02236",
)
reduces = {}


def recipe(
    task: Task,
    *,
    members: int = 0,
    parts: int = 5,
    first: int = 10,
    select: int = 5,
    extend: int = 5,
    beta: float = 0.9,
    t: float = 20.0,
    barrier: Literal["mean", "ratio", "none"] = "mean",
    buffer: int = 200,
    validation: int = 8,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    loop: Loop = Loop(),
) -> Iterator[Step | list[Step]]:
    """Train and extend the policies of a front; yield the one in training after each step.

    Args:
        members: How many of the task's reward models are objectives, counted from the first; 0 for
            all.
        parts: Weightings are the multiples of 1/parts that sum to 1.
        first: Updates for each weighting.
        select: N, policies that are extended in a round.
        extend: Updates for each objective of a selected policy.
        beta: Share of the other objectives that an extension keeps, from 0 to 1.
        t: Sharpness of the barrier, above 0.
        barrier: mean (of the batch's rewards), ratio (the released code's) or none (the control).
        buffer: Policies of the front that are kept.
        validation: Completions a prompt on which a step's policy is measured.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
    """
    count = members or len(task.rewards.names)
    if count < 2 or min(parts, first, select, extend, buffer, validation) < 1:
        raise InputError(
            f"--members is {count}, --parts {parts}, --first {first}, --select {select}, --extend "
            f"{extend}, --buffer {buffer} and --validation {validation}; give at least 2 "
            "objectives, and 1 of each other"
        )
    if not (0 <= beta <= 1 and t > 0):
        raise InputError(f"--beta is {beta} and --t {t}; give a beta from 0 to 1 and t above 0")
    several, weightings = member_scores(task, count), grid(count, parts)
    begun = len(weightings) * first
    front, chosen = Front(buffer), Front(select)
    carry: Any = task.carry.keep(front=front, chosen=chosen, corner=None)
    means: list[Tensor] = []  # of this step's batch

    def place(step: int) -> tuple[int, int, int]:
        """Which policy is trained, for which objective (−1: its weighting), and which update it
        is.
        """
        if step < begun:
            return step // first, -1, step % first
        each, left = (step - begun) % (select * count * extend), extend
        return each // (count * left), each // left % count, each % left

    def rollout(policy: Any, step: int) -> Samples:
        which, objective, update = place(step)
        if objective < 0 and update == 0:
            policy.load_state_dict(task.reference.state_dict())
        if objective >= 0 and update == 0:
            if which == objective == 0:
                chosen.points, chosen.states = None, []
                assert front.points is not None
                for i in least_crowded(front.points, select).tolist():
                    chosen.states.append(front.states[i])
                    at = front.points[i : i + 1]
                    chosen.points = at if chosen.points is None else torch.cat([chosen.points, at])
            policy.load_state_dict(chosen.states[which % len(chosen.states)])
        rng = task.rng("sample", step)
        return policy.sample(task.batch(loop, step), loop.num_generations, rng)

    def score(x: Samples) -> Tensor:
        return several(x).mean(0)

    def prepare(batch: Rollouts) -> Rollouts:
        which, objective, update = place(batch.step)
        if update == 0:
            batch.optimiser.restart()
        if carry.corner is None:
            carry.corner = point(task.reference, 0)[0]
        x = batch.samples
        require_group(batch.reward)
        r = several(x)
        each = torch.stack([leave_one_out(one, x.present) for one in r])
        if objective < 0:
            A = whiten(weighted_sum(each, weightings[which].to(each)), x.present)
        else:
            A = whiten(each[objective], x.present)
            means[:] = [r[:, x.present].mean(1)]
            if barrier == "mean":
                assert chosen.points is not None
                start = chosen.points[which % len(chosen.states)].to(r)
                floors = floors_under(start, beta=beta)
                weight = barrier_weights(means[0], floors, objective=objective, t=t)
                A = A + weighted_sum(each, weight)
                batch.stats["front/below_floor"] = float((means[0] < floors).float().mean())
        batch.advantage = A[..., None]
        batch.stats["front/stage"] = 1.0 if objective < 0 else 2.0
        return batch

    def loss_at(step: int, logp: Tensor, rows: Samples, A: Tensor) -> Tensor:
        value = clipped_surrogate(logp, rows, A, low=epsilon_low, high=epsilon_high)
        objective = place(step)[1]
        if barrier != "ratio" or objective < 0:
            return value
        rho = ratio(logp, rows.logp).clamp(1 - epsilon_low, 1 + epsilon_high)
        return value + ratio_barrier(rho, means[0], objective=objective, beta=beta, t=t)

    def loss(logp: Tensor, rows: Samples, A: Tensor) -> Tensor:
        return loss_at(carry.next - 1, logp, rows, A)

    def point(policy: Any, step: int) -> Tensor:
        rng = task.rng("validation", step)
        return mean_rewards(several, policy, task.batch(loop, step), validation, rng)

    def after(batch: Rollouts) -> None:
        front.add(point(batch.policy, batch.step + 1), batch.policy)
        assert front.points is not None
        batch.stats["front/size"] = float(len(front.states))
        batch.stats["front/hypervolume"] = float(hypervolume(front.points, carry.corner))

    steps = online(
        task,
        loop,
        score=score,
        prepare=prepare,
        loss=loss,
        reduce=per_completion_token,
        after=after,
        rollout=rollout,
    )
    for step in steps:
        if carry.next < loop.max_steps or front.points is None:
            yield step
            continue
        kept: list[Step] = [step]
        for i, at in enumerate(least_crowded(front.points, select).tolist()):
            one: Any = task.reference.copy()
            one.load_state_dict(front.states[at])
            kept.append(Step(one.requires_grad_(False), reward=score, tag=f"front={i}"))
        yield kept


def grid(members: int, parts: int) -> Tensor:
    """Weightings `[W,M]`: the multiples of 1/parts that sum to 1."""
    every = itertools.product(range(parts + 1), repeat=members - 1)
    rows = [(*w, parts - sum(w)) for w in every if sum(w) <= parts]
    return torch.tensor(rows, dtype=torch.float64) / parts


_LONG = {"batch_size": 4, "max_steps": 240}
_RATES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.8, 1.1, 1.6)


@Claim(
    "The policies of a few weightings and their extensions under floors dominate more of the front "
    "than those of as many more weightings do, at equal updates, and than extensions without "
    "floors.",
    arms={
        "extended": ("c_morl", _LONG),
        "weightings": ("c_morl", {**_LONG, "parts": 23}),  # 24 of 10 updates, no extension
        "free": ("c_morl", {**_LONG, "barrier": "none"}),
    },
    worlds=("table",),
    on={"table": {"testbed": "trade", "members": 2, "prompts": 4}},
    # in shares of what the exact front dominates
    least={"over weightings": 0.02, "over free": 0.0},
    seeds="100..119",
    tuned={
        "extended": {"learning_rate": (0.2, 0.4, 0.8), "t": (2.0, 5.0, 20.0)},
        "weightings": {"learning_rate": _RATES},
        "free": "extended",
    },
    by=front_share,
    control=("over free",),
    broken="extensions have no floors",
    differs={"seconds": "fronts are sorted"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Differences of `front_share`, of all policies that a run reads."""
    found = {name: front_share(readings) for name, readings in arms.items()}
    return {
        "over weightings": found["extended"] - found["weightings"],
        "over free": found["extended"] - found["free"],
    }
