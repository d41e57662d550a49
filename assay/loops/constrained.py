"""PPO under constraints: multipliers weigh the rewards, and a search tries their points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Ask, InputError, Loop, Samples, Step, Task
from assay.formulas.advantage import leave_one_out, whiten
from assay.formulas.aggregate import mean
from assay.formulas.multipliers import scheduled, stepped, weights
from assay.formulas.reduce import per_completion, per_token
from assay.formulas.simplex import ask, best, simplex, tell
from assay.loops.critic import Critic, Gae, at_the_end, reference_kl
from assay.loops.missing import scores_and_missing
from assay.loops.online import require_group
from assay.loops.statistics import clipped_surrogate, completion_stats
from assay.loops.updates import update

MODES = ("mu", "xi", "all", "sat", "fixed", "stop", "open")


def under_constraints(
    task: Task,
    several: Callable[[Samples], Tensor],
    *,
    mode: str,
    members: int,
    points: list[float] | None,
    search: int,
    warmup: int,
    vertices: int,
    spread: float,
    tolerance: float,
    dual: float,
    limit: float,
    start: float = 0.0,
    schedule: list[float] | None = None,
    weight: float = 0.5,
    most_kl: float = 5.0,
    baseline: str = "critic",
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    loop: Loop,
) -> Iterator[Step | Ask]:
    """Train under the constraints and yield the policy after each step; the search asks for labels.

    Args:
        task: The task.
        several: Its components: completions to scores `[M,B,N]`.
        mode: One of MODES; the other arguments are those of the recipe `constrained`.
        members: Components M.
        points: Proxy points, or where the search begins.
        search: Most steps a vertex.
        warmup: How many more the first vertex may take.
        vertices: Vertices of the search, or labeled checkpoints.
        spread: Size of the search's first simplex.
        tolerance: Relative distance at which a vertex counts as reached.
        dual: Learning rate of the multipliers.
        limit: Largest |u|; 0 for none.
        start: First u.
        schedule: Weights by time (mode open).
        weight: Static weight of a component.
        most_kl: Largest KL in nats (mode all).
        baseline: critic or group.
        epsilon_low: Clipping of the ratio below.
        epsilon_high: Clipping of the ratio above.
        value_clip: Clipping of values.
        gamma: Discount.
        lam: λ of GAE.
        loop: Constants of the optimisation.
    """
    if mode not in MODES:
        raise InputError(f"--mode is '{mode}'; it is one of {', '.join(MODES)}")
    if baseline not in ("critic", "group"):
        raise InputError(f"--baseline is '{baseline}'; it is critic or group")
    theta0 = [weight if mode == "fixed" else 1.0] * members
    if points and mode != "fixed":
        theta0 = points
    if len(theta0) != members:
        raise InputError(
            f"--points has {len(theta0)} values and --members is {members}; give one point a "
            "component"
        )
    policy = task.reference.copy()
    opt, zero = loop.optimiser(policy), torch.zeros(members + 1, dtype=torch.float64)
    critic, reduce = None, per_completion
    if baseline == "critic":
        gae = Gae(gamma=gamma, lam=lam, value_clip=value_clip)
        critic = Critic(task, loop, by="constrained", heads=members + 1, gae=gae)
        reduce = per_token
    carry: Any = task.carry.keep(
        policy=policy,
        opt=opt,
        u=zero + start,
        velocity=zero,
        theta=list(theta0),
        age=-warmup,
        tried=0,
        reached=0,
        simplex=simplex(theta0, step=spread) if search else {},
        top=-math.inf,
    )
    kept = policy.copy() if mode == "stop" else policy
    if mode == "stop":
        carry.keep(kept=kept)
    looks = {loop.max_steps * (k + 1) // vertices for k in range(vertices)}
    for t in carry.steps(loop.max_steps):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        r, missing = scores_and_missing(several, x)
        with torch.no_grad():
            paid = reference_kl(task, x)  # [B,N,T]
            if not opt.updates:  # it is π₀ still: standardised, rounding would be of full size
                paid = torch.zeros_like(paid)
        v = r[:, x.present].double().mean(1).cpu()
        kl = float(paid.sum(-1)[x.present].mean())
        theta = torch.tensor(carry.theta, dtype=torch.float64)
        if mode == "open":
            s, s_kl = scheduled(schedule or [1.0], at=t / loop.max_steps, N=members)
        else:
            s, s_kl = weights(carry.u, v, theta, mode=mode, weight=weight)  # fixed: θ itself
        if critic is None:
            heads = by_group(torch.stack([*r, -paid.sum(-1).to(r)], -1), x)
            fit: dict[str, float] = {}
        else:
            rewards = [*(at_the_end(one, x) for one in r), -paid.to(r)]
            heads, fit = critic.learn(torch.stack(rewards, -1), x, t)
            heads = torch.stack([whiten(h, x.mask) for h in heads.unbind(-1)], -1)
        A = heads @ torch.cat([s, s.new_tensor([s_kl])]).to(heads)  # [B,N,T], or [B,N,1]

        def loss(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return clipped_surrogate(
                policy.logp(rows), rows, A[i], low=epsilon_low, high=epsilon_high
            )

        stats = {**update(opt, loss, x, loop, task.rng("minibatch", t), reduce=reduce), **fit}
        if mode in ("mu", "xi", "all"):
            over = torch.cat([v - theta, theta.new_tensor([most_kl - kl])])
            how: Any = {"mode": mode, "rate": dual, "limit": limit}
            carry.u, carry.velocity = stepped(carry.u, carry.velocity, over, **how)
        carry.age += 1
        near = bool(((v - theta).abs() <= tolerance * theta.abs()).all()) and mode != "fixed"
        if search and carry.tried < vertices and (near or carry.age >= search):
            y = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("vertex", t))
            labels: Any = yield Ask(y)
            carry.simplex = tell(carry.simplex, value=-float(labels[y.present].mean()))
            carry.tried, carry.reached, carry.age = carry.tried + 1, carry.reached + near, 0
            carry.theta = best(carry.simplex)[0] if carry.tried == vertices else ask(carry.simplex)
        if mode == "stop" and t + 1 in looks:
            y = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("vertex", t))
            labels = yield Ask(y)
            if (level := float(labels[y.present].mean())) > carry.top:
                carry.top = level
                kept.load_state_dict(policy.state_dict())
            if t + 1 == loop.max_steps:
                policy.load_state_dict(kept.state_dict())
        each = {"weight": s, "value": v, "point": theta}
        said = {
            "weight/kl": s_kl,
            "near": carry.reached / max(1, carry.tried),
            **{f"{name}/{m}": float(w) for name, ws in each.items() for m, w in enumerate(ws)},
        }
        yield Step(
            policy,
            reward=lambda x: mean(several(x)),
            stats={**stats, **completion_stats(x, mean(r), missing), **said},
        )


def by_group(reward: Tensor, x: Samples) -> Tensor:
    """Standardised differences from the prompt's other completions, `[B,N,K] → [B,N,1,K]`."""
    each = [leave_one_out(require_group(r.contiguous()), x.present) for r in reward.unbind(-1)]
    return torch.stack([whiten(a, x.present) for a in each], -1)[:, :, None]
