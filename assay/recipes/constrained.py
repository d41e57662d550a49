"""Constrained RLHF: follow each component of the reward up to its proxy point, and no further.

Components r₁ … r_N are the task's first `members` reward models or objectives, v_i = E r_i, v₀ =
−KL(π‖π₀), and θ_i is the proxy point: the value of r_i beyond which more of it stops being better.
Lagrange: maximise v₀ + Σ μ_i(v_i − θ_i) over π, minimise over μ. As released, each head's
advantages are standardised on their own, s = sigmoid(u) or tanh(u), and

    A = (N − Σ s_i)·A_KL + Σ s_i·A_i
    u_i goes up while v̂_i < θ_i and down beyond: u ← u − lr·s'(u)·(v̂_i − θ_i), momentum .1

    mode mu      inequality v_i ≥ θ_i, s = sigmoid(u) in (0, 1)
    mode xi      equality v_i = θ_i, s = tanh(u) in (−1, 1): beyond its point it is pushed back
    mode all     as mu, and the KL has a multiplier of its own that rises while KL > `most_kl`
    mode sat     static weights; a component is switched off while it is above its point
    mode fixed   static weights `weight`, the baseline: A = N(1 − weight)·A_KL + weight·ΣA_i

It differs from PPO with a weighted sum of rewards in who sets the weights. Baselines are the
prompt's other completions here, not value heads.

Proxy points are found by Nelder–Mead inside the one run (`search` > 0). A vertex θ is tried by
training until every v̂_i lies within `tolerance` of θ_i, or for `search` steps; then gold labels of
one batch's completions are bought, and counted. After `vertices` of them the best θ is kept to the
end. The paper's labels come from its evaluation metric; they are the cost of the method.

Where released code and paper differ. There the multiplier starts at u ≈ 0, so mu begins at ½ and xi
at 0: two effective KL weights; `start` sets u. The branch without squashing loses the first
multiplier, and the search trainer's simplex lists the components in another order than its
constraints do: neither is reproduced. v̂ there averages rewards-to-go over time, here whole
completions.

Traps. Multipliers act on standardised advantages, so they are not weights in reward units, and near
π₀ the standardised KL head is noise of full size. Iterates circle the point; it is their average
that converges. Proxy points of components optimised alone are not their points together.

Here: static weights of standardised heads are a switch, with a narrow range between no movement and
no penalty, so the claim's lie in that range; a wide grid would be a straw man. Components are
reward models of one gold with errors of their own, so the point exists because reward models err,
not because they conflict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Ask, Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import leave_one_out, whiten
from assay.formulas.aggregate import mean
from assay.formulas.divergence import k1
from assay.formulas.simplex import ask, best, simplex, tell
from assay.loops import (
    clipped_surrogate,
    completion_stats,
    member_scores,
    record_kl,
    require_group,
    scores_and_missing,
    update,
)
from assay.stats.effects import Reading, final

paper = Paper(
    "Confronting Reward Model Overoptimization with Constrained RLHF",
    "Moskovitz et al.",
    2023,
    "arXiv:2310.04373",
)
reduces = {}

MODES = ("mu", "xi", "all", "sat", "fixed")
STATIC = (
    0.5,
    0.55,
    0.6,
    0.7,
)  # at 0.5 a policy stays where it is, at 0.7 it goes as far as without a penalty


def recipe(
    task: Task,
    *,
    mode: str = "mu",
    members: int = 2,
    points: list[float] | None = None,
    search: int = 0,
    vertices: int = 8,
    spread: float = 0.5,
    tolerance: float = 0.05,
    dual: float = 0.1,
    start: float = 0.0,
    weight: float = 0.5,
    most_kl: float = 5.0,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    loop: Loop = Loop(),
) -> Iterator[Step | Ask]:
    """Train under the constraints and yield the policy after each step; the search asks for labels.

    Args:
        mode: mu, xi, all, sat or fixed.
        members: Components: reward models or objectives, counted from the first.
        points: Proxy points θ, one a component, or where the search begins; 1 for each if not
            given.
        search: Most steps a vertex of the search; 0 for no search.
        vertices: Vertices that the search tries.
        spread: Size of the search's first simplex.
        tolerance: Relative distance at which a vertex counts as reached.
        dual: Learning rate of the multipliers.
        start: First value of the multipliers' u.
        weight: Weight of a component where weights are static.
        most_kl: Largest KL in nats (mode all).
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
    """
    if mode not in MODES:
        raise InputError(f"--mode is '{mode}'; it is one of {', '.join(MODES)}")
    theta0 = points or [1.0] * members
    if len(theta0) != members:
        raise InputError(
            f"--points has {len(theta0)} values and --members is {members}; give one point a "
            "component"
        )
    policy, several = task.reference.copy(), member_scores(task, members)
    opt, zero = loop.optimiser(policy), torch.zeros(members + 1, dtype=torch.float64)
    carry: Any = task.carry.keep(
        policy=policy,
        opt=opt,
        u=zero + start,
        velocity=zero,
        theta=list(theta0),
        age=0,
        tried=0,
        simplex=simplex(theta0, step=spread) if search else {},
    )
    for t in carry.steps(loop.max_steps):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        r, missing = scores_and_missing(several, x)
        with torch.no_grad():
            reference = task.reference.logp(x)
            record_kl(x.logp, reference, x.mask)
            l = k1(x.logp, reference).sum(-1)
        v = r[:, x.present].double().mean(1).cpu()
        kl, theta = float(l[x.present].mean()), torch.tensor(carry.theta, dtype=torch.float64)
        s, s_kl = weights(mode, carry.u, v, theta, weight)
        heads = [
            whiten(leave_one_out(require_group(h.contiguous()), x.present), x.present)
            for h in (*r, -l.to(r))
        ]
        A = sum(
            (w * h for w, h in zip([*s.tolist(), s_kl], heads, strict=True)),
            torch.zeros_like(heads[0]),
        )[..., None]

        def loss(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return clipped_surrogate(
                policy.logp(rows), rows, A[i], low=epsilon_low, high=epsilon_high
            )

        stats = update(opt, loss, x, loop, task.rng("minibatch", t))
        if mode in ("mu", "xi", "all"):
            over = torch.cat([v - theta, theta.new_tensor([most_kl - kl])])
            carry.u, carry.velocity = stepped(mode, carry.u, carry.velocity, over, dual)
        carry.age += 1
        near = bool(((v - theta).abs() <= tolerance * theta.abs()).all())
        if search and carry.tried < vertices and (near or carry.age >= search):
            y = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("vertex", t))
            labels: Any = yield Ask(y)
            carry.simplex = tell(carry.simplex, value=-float(labels[y.present].mean()))
            carry.tried, carry.age = carry.tried + 1, 0
            carry.theta = best(carry.simplex)[0] if carry.tried == vertices else ask(carry.simplex)
        each = {"weight": s, "value": v, "point": theta}
        said = {
            "weight/kl": s_kl,
            **{f"{name}/{m}": float(w) for name, ws in each.items() for m, w in enumerate(ws)},
        }
        yield Step(
            policy,
            reward=lambda x: mean(several(x)),
            stats={**stats, **completion_stats(x, mean(r), missing), **said},
        )


def weights(mode: str, u: Tensor, v: Tensor, theta: Tensor, weight: float) -> tuple[Tensor, float]:
    """Weights of the components and of the KL head; the last of `u` is the KL's own (mode all)."""
    N = len(v)
    if mode == "xi":
        s = torch.tanh(u[:N])
    elif mode in ("mu", "all"):
        s = torch.sigmoid(u[:N])
    else:
        s = torch.full_like(theta, weight) if mode == "fixed" else weight * (v < theta).to(theta)
        return s, N * (1 - weight)
    return s, float(torch.sigmoid(u[N])) if mode == "all" else float(N - s.sum())


def stepped(
    mode: str, u: Tensor, velocity: Tensor, over: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Take one dual step: a multiplier rises where its constraint is not met.

    Args:
        over: How far each constraint is exceeded; negative where it is not met.
    """
    slope = 1 - torch.tanh(u).square() if mode == "xi" else torch.sigmoid(u) * torch.sigmoid(-u)
    velocity = 0.1 * velocity + slope * over
    return u - rate * velocity, velocity


@Claim(
    "Stopped at proxy points found inside the run, the components end at more gold than with the "
    "best of four static weights.",
    arms={
        "mine": ("constrained", {"dual": 1.0, "search": 4, "vertices": 10}),
        "equality": ("constrained", {"mode": "xi", "dual": 1.0, "search": 4, "vertices": 10}),
        "given": ("constrained", {"dual": 1.0}),
        "sat": ("constrained", {"mode": "sat", "weight": 0.9}),
        **{f"static{w}": ("constrained", {"mode": "fixed", "weight": w}) for w in STATIC},
        "single": ("leave_one_out", {}),
    },
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Final gold less the highest final gold of the static weights, chosen with hindsight for each
    seed.
    """
    return final(arms["mine"]) - max(final(r) for k, r in arms.items() if k.startswith("static"))
