"""The table world's decision processes: exact returns, exact occupancies, and a proxy that can be
gamed.

A prompt is the state an episode starts in. Gold of tomato has mean 0 and deviation 1 under the base
policy, its proxies too; chain, grid and road count in their own units (a goal that is reached at
once is 1, a perfect drive is 1). `task.reference.process` holds what an agent may know: states,
actions, transitions, horizon and discount, not the gold.

Leave-one-out against the first proxy, no KL; exact values, means over seeds 0…4 of each run (`assay
run leave_one_out --world table --eval-steps 5 --world.testbed T --world.mode M --world.seed S
--seed S`; a few seconds each). tomato and road turn, and tomato falls below its base policy; the
first proxy of chain and grid is their gold, and what misleads there are the heuristics beside it:

    testbed           states    gold: base, peak   at step   at KL   gold, KL: end    proxy: base, peak, end
    tomato shared         40       0.00     1.55        34     8.3   -2.46    20.3       0.00   2.11    6.13
    tomato idiosync.      40       0.00     0.50        11     1.7   -3.14    18.3       0.00   1.13    6.21
    chain                 19       0.03     0.66       100     9.9    0.66     9.9       0.03   0.66    0.66
    grid                  33       0.00     0.69       150    15.7    0.69    15.7       0.00   0.69    0.69
    road                  41       0.28     0.43        73    18.3    0.37    31.7       4.29  15.62   20.93
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Pairs, Reward, Rng, Sampler, Samples, Standardised, Task, World
from assay.errors import InputError
from assay.formulas.occupancy import chi_squared, occupancy_kl, return_moments, state_laws
from assay.models.policies.markov import MarkovPolicy, Process, renamed, states
from assay.worlds.processes import Bed, chain, grid, road, tomato
from assay.worlds.visits import VisitModel, VisitReward

TESTBEDS = ("tomato", "chain", "grid", "road")
LOOP = {
    "tomato": Loop(max_steps=150, batch_size=16, num_generations=16, learning_rate=0.05),
    "chain": Loop(max_steps=100, batch_size=16, num_generations=8, learning_rate=0.1),
    "grid": Loop(max_steps=150, batch_size=16, num_generations=8, learning_rate=0.1),
    "road": Loop(max_steps=150, batch_size=16, num_generations=16, learning_rate=0.1),
}
FIT: dict[str, Any] = {
    "max_steps": 200,
    "batch_size": 64,
    "learning_rate": 0.03,
}  # as the other tables'


class ProductGold:
    """gold(episode) = Σ_t gain[s_t,a_t] · Π_t penalty[s_t,a_t]: completion times what the
    infractions leave of it.
    """

    def __init__(self, gain: Float[Tensor, "S A"], penalty: Float[Tensor, "S A"]):
        self.gain, self.penalty = gain, penalty

    def __call__(self, samples: Samples) -> Float[Tensor, "1 B N"]:
        held, at = samples.mask | samples.given, states(samples)[..., :-1]
        total = torch.where(held, self.gain[at, samples.action], 0.0).sum(-1)
        left = torch.where(held, self.penalty[at, samples.action], 1.0).prod(-1)
        return (total * left)[None].to(samples.logp.dtype)

    def mean(self, pi: Float[Tensor, "S A"], process: Process) -> float:
        """Its exact expectation: the laws of the state, weighted by Π penalty, and by Π penalty · Σ
        gain.
        """
        weight, gained = process.start, torch.zeros_like(process.start)
        for _ in range(process.horizon):
            step = pi * self.penalty
            gained = torch.einsum(
                "sa,sax->x", step * (gained[:, None] + weight[:, None] * self.gain), process.P
            )
            weight = torch.einsum("s,sa,sax->x", weight, step, process.P)
        return float(gained.sum())


def build(
    arguments: dict[str, Any],
    *,
    seed: int,
    testbed: str,
    mode: str,
    pairs: int,
    noise: float,
    members: int,
    prompts: int,
    demos: int,
    horizon: int,
    gamma: float,
) -> World:
    """A decision process as a World. horizon, gamma: 0 for the testbed's own."""
    if horizon < 0 or not 0 <= gamma <= 1:
        raise InputError(
            f"--world.horizon is {horizon} and --world.gamma {gamma}; a horizon is at least 1 and "
            "a discount lies in (0, 1], 0 is the testbed's own"
        )
    rng = Rng(seed)("world table")("process")
    bed: Bed = (
        tomato(mode, members, rng)
        if testbed == "tomato"
        else {"chain": chain, "grid": grid, "road": road}[testbed](rng)
    )
    process = renamed(bed.process, horizon=horizon, gamma=gamma)
    reference = MarkovPolicy(bed.logits.float(), process)
    reference.requires_grad_(False)
    rewards = VisitReward(bed.proxies, bed.names, gamma=process.gamma)
    additive = VisitReward(bed.gold[None], ("gold",), gamma=process.gamma)
    if bed.standard:
        rewards, additive = _standard(rewards, reference), _standard(additive, reference)
    gold: VisitReward | ProductGold = (
        additive if bed.penalty is None else ProductGold(bed.gold, bed.penalty)
    )

    starts = process.start.nonzero()[:, 0]
    rows = torch.arange(
        -(-prompts // len(starts)) * len(starts)
    )  # every start equally often, as `process.start` has them
    asked = process.prompts(starts[rows % len(starts)], rows)
    compared = _pairs(reference, gold, asked[torch.arange(pairs) % len(rows)], noise, rng("pairs"))
    drawn = reference.sample(asked[torch.arange(demos) % len(rows)], 4, rng("demos"))
    best = drawn.pick(gold(drawn)[0].argmax(-1, keepdim=True))
    task = Task(
        prompts=asked,
        reference=reference,
        rewards=rewards,
        pairs=compared,
        demos=best,
        others={"uniform": MarkovPolicy(torch.zeros_like(reference.logits), process)},
        rng=Rng(seed)("run"),
    )
    held_out = asked[torch.arange(-(-64 // len(rows)) * len(rows)) % len(rows)]

    def refit(by: Callable[..., Reward]) -> Reward:
        fresh = VisitModel(members, process, rng=rng("judges"))
        bank = asked[torch.arange(64) % len(rows)]
        return Standardised(
            by(fresh, compared, Loop(**{**FIT, "seed": seed})),
            reference.sample(bank, 64, rng("standard")),
        )

    return World(
        "table",
        task,
        held_out=held_out,
        gold=gold,
        gold_kind="exact",
        facts=_facts(reference, gold, rewards),
        loop=LOOP[testbed],
        refit=refit,
        arguments=arguments,
        population=asked,
    )


def _standard(reward: VisitReward, reference: MarkovPolicy) -> VisitReward:
    """Mean 0 and variance 1 over the base policy's episodes, exactly."""
    p, pi = reference.process, reference.probs().detach()
    centre, scale = [], []
    for table in reward.table:
        every = torch.eye(len(p.states), dtype=pi.dtype)
        mean, variance = return_moments(pi, p.P, table, every, horizon=p.horizon, gamma=p.gamma)
        centre.append(p.start @ mean)
        scale.append((p.start @ (variance + (mean - centre[-1]).square())).sqrt())
    return VisitReward(
        reward.table,
        reward.names,
        gamma=reward.gamma,
        centre=torch.stack(centre),
        scale=torch.stack(scale),
    )


def _pairs(
    reference: MarkovPolicy, gold: Callable[[Samples], Tensor], prompts: Any, noise: float, rng: Rng
) -> Pairs:
    """Two episodes a pair, preferred by Bradley–Terry on gold; then `noise` of the labels are
    flipped.
    """
    x = reference.sample(prompts, 2, rng("sample"))
    b, score = torch.arange(len(x)), gold(x)[0]
    first = rng("prefer").uniform(b) < torch.sigmoid(score[:, 0] - score[:, 1])
    wins = (first ^ (rng("flip").uniform(b) < noise)).long()
    x = x.pick(torch.stack([1 - wins, wins], 1))
    return Pairs(
        x.prompts,
        x.action,
        x.mask,
        x.given,
        x.logp,
        x.ended,
        x.extra,
        p=torch.ones(len(b)),
        margin=torch.zeros(len(b)),
    )


def _facts(
    reference: MarkovPolicy, gold: VisitReward | ProductGold, rewards: VisitReward
) -> Callable[[Sampler], dict[str, float]]:
    process = reference.process
    base = reference.occupancy().detach()

    def mean(reward: VisitReward, m: int, pi: Tensor) -> float:
        total, _ = return_moments(
            pi,
            process.P,
            reward.table[m],
            process.start,
            horizon=process.horizon,
            gamma=process.gamma,
        )
        return float((total - reward.centre[m]) / reward.scale[m])

    def facts(policy: Sampler) -> dict[str, float]:
        """Exact expectations over the starts and divergences of occupancies, where the policy is a
        Markov one; else nothing.
        """
        if not isinstance(policy, MarkovPolicy):
            return {}
        with torch.no_grad():
            pi, mu = policy.probs(), policy.occupancy()
            kl = policy.kl_from(reference, torch.arange(len(process.states)))
            own = gold.mean(pi, process) if isinstance(gold, ProductGold) else mean(gold, 0, pi)
            return {
                "gold": own,
                "kl": float(process.start.to(kl.dtype) @ kl),
                "chi2": float(chi_squared(mu, base)),
                "occupancy_kl": float(occupancy_kl(mu, base)),
                "steps": _length(pi, process),
                **{name: mean(rewards, m, pi) for m, name in enumerate(rewards.names)},
            }

    return facts


def _length(pi: Tensor, process: Process) -> float:
    """Expected decisions of an episode."""
    laws = state_laws(pi, process.P, process.start, horizon=process.horizon)
    return float(laws[:-1, ~process.terminal].sum())
