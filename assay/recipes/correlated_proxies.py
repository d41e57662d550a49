"""χ² against reward hacking: penalise how far the policy's *occupancy* is from the base policy's.

A proxy that is correlated with the truth where the base policy goes is trusted there, and the less
the further the policy goes elsewhere (occupancy-regularised policy optimisation).

    maximise E_μ[R̃] − λ·√χ²(μ‖μ₀)

μ(s,a) is the share of time spent in s doing a. If R̃ and R have correlation r under μ₀, all in
standard deviations under μ₀, then Δ* ≥ (Δ̃ − √((1−r²)χ²))/r, so λ = √(1−r²)
(`formulas.occupancy.gain_bound`, and the sharper one beside it). `lam` is in those units:
deviations of the proxy.

of="occupancy": w = μ/μ₀ of a state and action. The penalty enters as a reward −λ·(w−1)/√χ², which
is *exactly* ∇√χ²; the same w−1 not divided would be half of ∇χ². w is exact (ratio="exact": the
process is known) or learnt by a discriminator d, with softplus(−d) on the policy's steps and
softplus(d) on fresh ones of the base policy, e^d for w, as published.

of="action": the same divergence of π(·|s) from π₀(·|s) at the visited states, in the reward for
what follows and in the loss for the decision itself.
of="sequence": of whole completions, w = π(y)/π₀(y), for every world, with e^ℓ continued linearly
past |ℓ| = 10.
divergence="kl" puts log w in the place of the above.

Where the released code differs. released=True (sequence only) is the published RLHF code: χ̂² =
mean[(w−1)+(1/w−1)], differentiated through w with the completions held fixed, plus the usual
per-token KL in the reward at the same coefficient. Its gradient is ½∇χ² + ∇KL(π₀‖π), divided by
2√χ̂², not ∇√χ²; its "KL" arm's is the forward KL. √χ̂² is no sum over completions: it enters as a
weight without gradient.

Traps: r is a statement about the base policy's states only; χ² is carried by few steps, and
trimming (1 % at either end, with the discriminator) makes it small. Differs from kl_in_reward in
what is divided by what.

Here: one place of tomato fools the proxy, an easy case; the judged arms know the exact ratio. The
claim compares ends. "single", stopped at its own peak, is as good: one has to know when.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from assay.core import Claim, InputError, Loop, Optimiser, Paper, Samples, Step, Task, cat
from assay.engine.descend import descend
from assay.formulas.advantage import returns_to_go
from assay.formulas.divergence import log_ratio
from assay.formulas.occupancy import step_centred
from assay.formulas.occupancy_divergence import chi_squared, occupancy_ratio
from assay.formulas.reduce import per_token
from assay.formulas.surrogate import reinforce
from assay.loops import (
    Rollouts,
    leave_one_out_advantage,
    online,
    policy_gradient,
    proxy_score,
    reference_known,
    with_reference_logp,
)
from assay.models.policies.markov import acting
from assay.models.process import states
from assay.stats.effects import Reading, final

paper = Paper(
    "Correlated Proxies: A New Definition and Improved Mitigation for Reward Hacking",
    "Laidlaw et al.",
    2024,
    "arXiv:2403.03185",
)
reduces = {"leave_one_out": ({"of": "sequence", "lam": 0.0}, {})}
# Least χ̂² under the root: at the base policy it is 0, and the root's slope is not defined
LEAST = 1e-4


def continued_exp(l: Tensor, *, far: float = 10.0) -> Tensor:
    """e^ℓ, continued by its tangent beyond ±far."""
    near = l.clamp(-far, far)
    return near.exp() * (1 + l - near)


def recipe(
    task: Task,
    *,
    of: str = "occupancy",
    divergence: str = "chi2",
    lam: float = 0.1,
    ratio: str = "exact",
    released: bool = False,
    fits: int = 4,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train under the penalty and yield the policy after each step.

    Args:
        of: What is compared with the base policy: occupancy, action or sequence.
        divergence: chi2 or kl.
        lam: Weight λ of the penalty, in deviations of the proxy.
        ratio: exact or discriminator: where occupancy's ratio comes from.
        released: Use the published RLHF loss (sequence only).
        fits: Updates of the discriminator a step.
        member: Index of the reward model that is the proxy.
    """
    for name, value, known in (
        ("of", of, ("occupancy", "action", "sequence")),
        ("divergence", divergence, ("chi2", "kl")),
        ("ratio", ratio, ("exact", "discriminator")),
    ):
        if value not in known:
            raise InputError(f"--{name} is '{value}'; it is one of {', '.join(known)}")
    if of == "sequence":
        yield from _sequence(task, divergence, lam, released, member, loop)
    else:
        yield from _steps(task, of, divergence, lam, ratio, fits, member, loop)


def _sequence(
    task: Task, divergence: str, lam: float, released: bool, member: int, loop: Loop
) -> Iterator[Step]:
    def root(l: Tensor, control: bool) -> Tensor:
        w = continued_exp(l)
        return ((w - 1) + (continued_exp(-l) - 1 if control else 0)).mean().clamp(min=LEAST).sqrt()

    slope = torch.ones(())

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        nonlocal slope
        l = log_ratio(x.logp, with_reference_logp(task.reference, x).logp, x.mask)
        if released and divergence == "chi2":
            slope = 0.5 / root(l, True)  # of the whole batch, whatever the micro-batches
        if released or divergence == "kl":
            return leave_one_out_advantage(reward - (lam * l).to(reward.dtype), x)
        return leave_one_out_advantage(
            reward - (lam * (continued_exp(l) - 1) / root(l, True)).to(reward.dtype), x
        )

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        l = log_ratio(logp, with_reference_logp(task.reference, rows).logp, rows.mask)
        each = (
            l + continued_exp(-l) - 1
            if divergence == "kl"
            else slope * (continued_exp(l) + continued_exp(-l) - 2)
        )
        return reinforce(logp, advantage) + lam * (each / rows.lengths.clamp(min=1))[..., None]

    yield from online(
        task,
        loop,
        score=proxy_score(task, member),
        prepare=lambda b: replace(b, samples=reference_known(task.reference, b.samples)),
        advantage=advantage,
        loss=loss if released else policy_gradient,
    )


class _Discriminator(torch.nn.Module):
    """d(s,a) → log μ/μ₀."""

    def __init__(self, like: Tensor):
        super().__init__()
        self.d = torch.nn.Parameter(torch.zeros_like(like))

    def fit(self, x: Samples, base: Samples, gamma: float, opt: Optimiser, updates: int) -> None:
        """softplus(−d) on the policy's steps, softplus(d) on the base policy's, weighed by γ^t."""
        both = cat([x, base])
        weight = gamma ** torch.arange(x.mask.shape[2], dtype=x.logp.dtype)
        sign = torch.where(torch.arange(len(both)) < len(x), -1.0, 1.0).to(weight)[:, None, None]
        whole = torch.ones_like(both.mask)  # an ended episode goes on visiting where it ended

        def loss(rows: Samples, i: Tensor) -> Tensor:
            return softplus(sign[i] * self.d[states(rows)[..., :-1], rows.action]) * weight

        for _ in range(updates):
            descend(opt, loss, both, reduce=lambda mask: per_token(whole))


def _steps(
    task: Task, of: str, divergence: str, lam: float, ratio: str, fits: int, member: int, loop: Loop
) -> Iterator[Step]:
    reference = acting(task.reference)
    process, one, score = reference.process, task.rewards.only([member]), proxy_score(task, member)
    policy, base = reference.copy(), reference.occupancy().detach()
    critic = _Discriminator(reference.logits)
    critic_opt = loop.optimiser(critic)
    carry: Any = task.carry.keep(critic=critic, critic_opt=critic_opt, deviation=-1.0)
    if carry.deviation < 0:  # of the proxy under the base policy; computed once a run
        table = one.steps(process.every())[0].reshape(base.shape).double()
        carry.deviation = float((base * (table - (base * table).sum()).square()).sum().sqrt())
    price, gamma = lam * carry.deviation, process.gamma
    power = gamma ** torch.arange(process.horizon, dtype=reference.logits.dtype)
    scale = 1.0

    def prepare(batch: Rollouts) -> Rollouts:
        nonlocal scale
        x = batch.samples
        at, whole = states(x)[..., :-1], x.present[..., None].expand_as(x.mask)
        if of == "action":
            each = _apart(policy.logits, reference.logits, divergence)
            each = torch.where(process.terminal, each.new_zeros(()), each)
            size, paid = float(policy.occupancy().sum(-1) @ each.double()), each[at]
            scale = 0.5 / max(size, LEAST) ** 0.5 if divergence == "chi2" else 1.0
        else:
            if ratio == "exact":
                w = occupancy_ratio(policy.occupancy(), base)
                size = float(chi_squared(policy.occupancy(), base))
                paid = (w - 1 if divergence == "chi2" else w.log())[at, x.action]
            else:
                drawn = reference.sample(
                    x.prompts, loop.num_generations, task.rng("base", batch.step)
                )
                paid, size = _learnt(critic, critic_opt, x, drawn, gamma, fits, divergence)
            scale = max(size, LEAST) ** -0.5 if divergence == "chi2" else 1.0
        reward = batch.reward - (price * scale * paid).to(x.logp.dtype)
        G = returns_to_go(reward, whole, gamma=gamma)
        batch.advantage = step_centred(G, whole) * power
        batch.stats = {"penalty/divergence": size}
        return batch

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        own = logp.new_zeros(())
        if of == "action":
            own = _apart(policy.logits, reference.logits, divergence)[states(rows)[..., :-1]]
        return reinforce(logp, advantage) + price * scale * power * own

    yield from online(
        task,
        loop,
        score=score,
        reward=lambda x: one.steps(x)[0],
        prepare=prepare,
        loss=loss,
        policy=policy,
    )


def _learnt(
    critic: _Discriminator,
    opt: Optimiser,
    x: Samples,
    base: Samples,
    gamma: float,
    fits: int,
    divergence: str,
) -> tuple[Tensor, float]:
    """The discriminator's w − 1 (or log w) of each step, and χ̂² trimmed by 1 % at either end."""
    critic.fit(x, base, gamma, opt, fits)
    d = critic.d.detach()[states(x)[..., :-1], x.action]
    w = d.exp() - 1
    ordered = w.flatten().sort().values
    cut = len(ordered) // 100
    return (w if divergence == "chi2" else d), float(ordered[cut : len(ordered) - cut].mean())


def _apart(logits: Tensor, base: Tensor, divergence: str) -> Tensor:
    """χ² or KL of π(·|s) from π₀(·|s), every state `[S]`."""
    l = logits.log_softmax(-1) - base.log_softmax(-1)
    p = logits.softmax(-1)
    return (p * (continued_exp(l) - 1)).sum(-1) if divergence == "chi2" else (p * l).sum(-1)


GRID = (0.1, 0.25, 0.6, 1.5, 3.0, 5.5, 10.0, 20.0)
PENALTIES = {
    "chi2 occupancy": ("occupancy", "chi2"),
    "kl occupancy": ("occupancy", "kl"),
    "chi2 action": ("action", "chi2"),
    "kl action": ("action", "kl"),
}


@Claim(
    "Penalising √χ² of the occupancy leaves more true return than penalising the KL of the "
    "actions, than √χ² of the actions and than KL of the occupancy, each at its best weight.",
    arms={
        "single": ("leave_one_out", {}),
        **{
            name: ("correlated_proxies", {"of": of, "divergence": kind})
            for name, (of, kind) in PENALTIES.items()
        },
        "discriminator": ("correlated_proxies", {"ratio": "discriminator", "lam": 0.25}),
        "released": ("correlated_proxies", {"of": "sequence", "released": True, "lam": 0.1}),
    },
    turns="single",
    worlds=("table",),
    on={"table": {"testbed": "tomato"}},
    least={"over kl action": 0.4},
    seeds="100..109",
    tuned={name: {"lam": GRID} for name in PENALTIES},
    control=("over chi2 action", "over kl occupancy"),
    broken="one of the two parts: χ² of the actions, KL of the occupancy",
    differs={"seconds": "an occupancy's ratio is computed through the process, an action's is not"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold with √χ² of the occupancy minus each other's, at the λ that seeds 0 to 4 chose."""
    mine = final(arms["chi2 occupancy"])
    return {f"over {name}": mine - final(arms[name]) for name in list(PENALTIES)[:0:-1]}
