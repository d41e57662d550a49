"""Decision processes of world table: exact returns and occupancies, and proxies with loopholes.

A prompt is the state in which an episode starts. Gold of tomato has mean 0 and standard deviation
1 under the base policy, and so have its proxies. The others count in their own units: a goal that
is reached at once is 1, a perfect drive is 1, a patch that passes is 1. `task.reference.process`
holds what an agent may know: states, actions, transitions, horizon and discount, not the gold.

Leave-one-out against the first proxy, without KL; exact values, means over seeds 0…4 of each run
(`assay run leave_one_out --world table --eval-steps 5 --world.testbed T --world.mode M --world.seed
S --seed S`; a few seconds each). tomato and road over-optimise, and tomato falls below its base
policy. The first proxy of chain, grid and ticket is their gold; what stands beside it misleads:

    testbed           states  gold: base, peak  at step  at KL  end: gold, KL  proxy, all three
    tomato shared         40      0.00    1.55       34    8.3  -2.46    20.3     0.00   2.11   6.13
    tomato idiosync.      40      0.00    0.50       11    1.7  -3.14    18.3     0.00   1.13   6.21
    chain                 19      0.03    0.66      100    9.9   0.66     9.9     0.03   0.66   0.66
    grid                  33      0.00    0.69      150   15.7   0.69    15.7     0.00   0.69   0.69
    road                  41      0.28    0.43       73   18.3   0.37    31.7     4.29  15.62  20.93
    ticket                13      0.17    0.85      100   24.6   0.85    24.6     0.17   0.85   0.85
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Prompts, Rng, Sampler, Samples, Task, World
from assay.formulas.occupancy import return_moments, state_laws
from assay.formulas.occupancy_divergence import chi_squared, occupancy_kl
from assay.models.policies.markov import MarkovPolicy
from assay.models.process import Process, renamed, states
from assay.rewards.simulated_labels import preferences
from assay.worlds.exact import best_of_four, fit_loop, held_out_rows
from assay.worlds.goals import chain, grid
from assay.worlds.processes import Testbed
from assay.worlds.refit import refitter
from assay.worlds.road import road
from assay.worlds.ticket import ticket
from assay.worlds.tomato import tomato
from assay.worlds.visits import VisitModel, VisitReward

TESTBEDS = ("tomato", "chain", "grid", "road", "ticket")
LOOP = {
    "tomato": Loop(max_steps=150, batch_size=16, num_generations=16, learning_rate=0.05),
    "chain": Loop(max_steps=100, batch_size=16, num_generations=8, learning_rate=0.1),
    "grid": Loop(max_steps=150, batch_size=16, num_generations=8, learning_rate=0.1),
    "road": Loop(max_steps=150, batch_size=16, num_generations=16, learning_rate=0.1),
    "ticket": Loop(max_steps=100, batch_size=16, num_generations=16, learning_rate=0.1),
}


@dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """The arguments of world table that a decision process uses; see `TableConfig`."""

    seed: int
    testbed: str
    mode: str
    pairs: int
    noise: float
    members: int
    prompts: int
    demos: int
    horizon: int
    gamma: float


class ProductGold:
    """Route completion, times a factor for every infraction.

    gold(episode) = Σ_t gain[s_t, a_t] · Π_t penalty[s_t, a_t]

    Attributes:
        gain: Gain of an action in a state `[S, A]`.
        penalty: Factor of an action in a state `[S, A]`; 1 where there is no infraction.
    """

    def __init__(self, gain: Float[Tensor, "S A"], penalty: Float[Tensor, "S A"]):
        self.gain, self.penalty = gain, penalty

    def __call__(self, samples: Samples) -> Float[Tensor, "1 B N"]:
        held, at = samples.mask | samples.given, states(samples)[..., :-1]
        total = torch.where(held, self.gain[at, samples.action], 0.0).sum(-1)
        left = torch.where(held, self.penalty[at, samples.action], 1.0).prod(-1)
        return (total * left)[None].to(samples.logp.dtype)

    def mean(self, pi: Float[Tensor, "S A"], process: Process) -> float:
        """The exact expectation under a policy.

        Two weighted state distributions are carried forward: one weighted by Π penalty, one by
        Π penalty · Σ gain.

        Args:
            pi: Action probabilities `[S, A]`.
            process: The decision process.
        """
        weight, gained = process.start, torch.zeros_like(process.start)
        for _ in range(process.horizon):
            step = pi * self.penalty
            gained = torch.einsum(
                "sa,sax->x", step * (gained[:, None] + weight[:, None] * self.gain), process.P
            )
            weight = torch.einsum("s,sa,sax->x", weight, step, process.P)
        return float(gained.sum())


def build(config: ProcessConfig, arguments: Mapping[str, Any]) -> World:
    """A decision process as a World.

    Args:
        config: What the process is made with.
        arguments: All arguments of world table, for the record.
    """
    rng = Rng(config.seed)("world table")("process")
    testbed = _testbed(config, rng)
    process = renamed(testbed.process, horizon=config.horizon, gamma=config.gamma)
    reference = MarkovPolicy(testbed.logits.float(), process)
    reference.requires_grad_(False)
    rewards = VisitReward(testbed.proxies, testbed.names, gamma=process.gamma)
    additive = VisitReward(testbed.gold[None], ("gold",), gamma=process.gamma)
    if testbed.standard:
        rewards, additive = _standard(rewards, reference), _standard(additive, reference)
    gold: VisitReward | ProductGold = (
        additive if testbed.penalty is None else ProductGold(testbed.gold, testbed.penalty)
    )

    # every start equally often, as `process.start` has them
    starts = process.start.nonzero()[:, 0]
    rows = torch.arange(-(-config.prompts // len(starts)) * len(starts))
    prompts = process.prompts(starts[rows % len(starts)], rows)

    def repeated(n: int) -> Prompts:
        return prompts[torch.arange(n) % len(rows)]

    episodes = reference.sample(repeated(config.pairs), 2, rng("pairs")("sample"))
    pairs = preferences(episodes, gold(episodes)[0], noise=config.noise, rng=rng("pairs"))
    task = Task(
        prompts=prompts,
        reference=reference,
        rewards=rewards,
        pairs=pairs,
        demos=best_of_four(reference, repeated(config.demos), gold, rng("demos")),
        others={"uniform": MarkovPolicy(torch.zeros_like(reference.logits), process)},
        rng=Rng(config.seed)("run"),
    )
    return World(
        "table",
        task,
        held_out=prompts[held_out_rows(len(rows))],
        gold=gold,
        gold_kind="exact",
        facts=_facts(reference, gold, rewards),
        loop=LOOP[config.testbed],
        refit=refitter(
            lambda: VisitModel(config.members, process, rng=rng("judges")),
            pairs,
            fit_loop(config.seed),
            reference=reference,
            prompts=repeated(64),
            n=64,
            rng=rng("standard"),
        ),
        arguments=dict(arguments),
        population=prompts,
    )


def _testbed(config: ProcessConfig, rng: Rng) -> Testbed:
    if config.testbed == "tomato":
        return tomato(config.mode, config.members, rng)
    made = {"chain": chain, "grid": grid, "road": road, "ticket": ticket}
    return made[config.testbed](rng)


def _standard(reward: VisitReward, reference: MarkovPolicy) -> VisitReward:
    """The reward with mean 0 and variance 1 over the base policy's episodes, exactly."""
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
        """Exact expectations over the starts, and divergences between occupancies.

        Nothing for a policy that is not Markov.
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
    """Expected number of decisions in an episode."""
    laws = state_laws(pi, process.P, process.start, horizon=process.horizon)
    return float(laws[:-1, ~process.terminal].sum())
