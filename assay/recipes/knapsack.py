"""Knapsack RL: the step's completions go to the prompts from which an update gains most.

A group whose completions are all right or all wrong has advantages of 0. With a prompt's pass rate
p, estimated when it was last seen, n completions are worth

    V(n, p) = (1 − pⁿ − (1−p)ⁿ)·p·(1−p)²
    maximise Σ_q V(n_q, p_q)  with  Σ_q n_q = N·M,  n_low ≤ n_q ≤ n_high

Marginal gains never rise with n, so giving the completions one by one to whoever gains most is
exactly optimal (`formulas.budget.allocate`). Prompts that were not seen yet have N each, and so has
every prompt with `division` uniform, which is GRPO. With `division` shuffled the numbers are dealt
to the prompts at random: the control.

Everything else is GRPO's: group-standardised advantages, clipped ratios, a mean over tokens, no KL
term. A prompt's completions are averaged before prompts are, so that one with ninety does not weigh
as ninety; with `by_prompt` off completions weigh alike, as in GRPO.

Where the released code differs. It solves a dynamic programme in which a prompt's fewest
completions are worth nothing; greedy gains count them. It divides the budget over the prompts of
the batch, as here.

Traps. p is an estimate from as few as n_low completions, and stale by an epoch: a p of 0 is not
never, and yet such a prompt gets n_low from then on, unless something is left over. V is largest at
p = 1/3, so that prompts that are nearly solved are starved. A batch is as wide as its widest group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_standardised
from assay.formulas.budget import allocate
from assay.formulas.reduce import per_completion_token, per_prompt_token
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score, require_group
from assay.loops.own_logp import rounds_apart, scored
from assay.stats.effects import Reading, average

paper = Paper(
    "Knapsack RL: Unlocking Exploration of LLMs via Optimizing Budget Allocation",
    "Li et al.",
    2025,
    "arXiv:2509.25849",
)
reduces = {"grpo": ({"division": "uniform"}, {"beta": 0.0})}


def recipe(
    task: Task,
    *,
    division: Literal["knapsack", "uniform", "shuffled"] = "knapsack",
    least: int = 2,
    most: int = 128,
    above: float = 0.5,
    by_prompt: bool = True,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on groups of unequal size and yield the policy after each step.

    Args:
        division: knapsack, uniform (GRPO), or shuffled, the negative control.
        least: Fewest completions n_low of a prompt, at least 2.
        most: Most completions n_high of a prompt.
        above: Reward above which a completion is right.
        by_prompt: Average over a prompt's completions before prompts.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that says what is right.
    """
    if not 2 <= least <= loop.num_generations <= most:
        raise InputError(
            f"--least is {least}, --most {most} and --num-generations {loop.num_generations}; the "
            "mean number of completions must lie between the fewest, at least 2, and the most"
        )
    carry: Any = task.carry.keep(rate={})

    def rollout(policy: Any, number: int) -> Samples:
        prompts, N = task.batch(loop, number), loop.num_generations
        n = torch.full((len(prompts),), N)
        rates = [carry.rate.get(str(r), -1.0) for r in prompts.row.tolist()]
        p = torch.tensor(rates, dtype=torch.float64)
        if division != "uniform" and bool((p >= 0).any()):
            seen = (p >= 0).nonzero()[:, 0]
            share = allocate(p[seen], total=N * len(seen), low=least, high=most)
            if division == "shuffled":
                share = share[task.rng("shuffled", number).permutation(len(share))]
            n[seen] = share
        wide = int(n.max())
        each = wide if bool((n == wide).all()) else n
        x: Samples = policy.sample(prompts, each, task.rng("sample", number))
        return scored(policy, x) if rounds_apart(policy) else x

    def after(batch: Rollouts) -> None:
        x, here = batch.samples, batch.samples.present
        right = ((batch.reward > above) & here).sum(1)
        rate = right / here.sum(1).clamp(min=1)
        known = here.any(1)
        rows = x.prompts.row.tolist()
        carry.rate = {
            **carry.rate,
            **{str(r): float(p) for r, p, k in zip(rows, rate, known, strict=True) if k},
        }
        mixed = (right > 0) & (right < here.sum(1))
        count = here.sum(1).double()
        batch.stats["budget/frac_useful"] = float(count[mixed].sum() / count.sum().clamp(min=1))
        batch.stats["budget/most"] = float(count.max())

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        return group_standardised(require_group(reward), x.present, eps=1e-4, ddof=1)[..., None]

    def loss(logp: Tensor, rows: Samples, A: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, A, low=epsilon_low, high=epsilon_high)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member),
        rollout=rollout,
        advantage=advantage,
        loss=loss,
        reduce=per_prompt_token if by_prompt else per_completion_token,
        after=after,
    )


def useful(readings: list[Reading]) -> float:
    """Mean share of completions in groups with both kinds of answers, over the run."""
    shares = [
        float(r["stats"]["budget/frac_useful"]) for r in readings if "budget/most" in r["stats"]
    ]
    return sum(shares) / len(shares)


_WORLD = {"task": "modular", "least": 2, "most": 5, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 160, "sft_lr": 0.01, "pairs": 16, "prompts": 48, "held_out": 24}
_WORLD |= {"taught": 1000, "rewards": "outcome"}
_RUN = {"max_steps": 24, "batch_size": 16, "num_generations": 8}
_RATES = {"learning_rate": (0.0003, 0.001, 0.003)}


@Claim(
    "At equal completions, those divided by the knapsack lie more often in groups with both kinds "
    "of answers than those divided equally, and the run has more right answers; numbers dealt to "
    "prompts at random have neither.",
    arms={
        "mine": ("knapsack", _RUN),
        "uniform": ("knapsack", {**_RUN, "division": "uniform"}),
        "shuffled": ("knapsack", {**_RUN, "division": "shuffled"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    least={"useful": 0.05, "right": 0.01, "over shuffled": 0.0},
    seeds="100..119",
    tuned={"mine": _RATES, "uniform": _RATES, "shuffled": "mine"},
    by=average,
    control=("over shuffled",),
    broken="the same numbers of completions, dealt to the prompts at random",
    differs={"seconds": "a batch is as wide as its widest group"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Share of completions in mixed groups, and mean share of right answers over the readings,
    minus those of equal numbers; and of the useful share, minus the shuffled control's.
    """
    mine = arms["mine"]
    return {
        "useful": useful(mine) - useful(arms["uniform"]),
        "right": average(mine) - average(arms["uniform"]),
        "over shuffled": useful(mine) - useful(arms["shuffled"]),
    }
