"""Clip-Cov and KL-Cov: hold the few tokens that spend the policy's entropy.

    c = (A − Ā)·(log π − mean log π), means over all tokens of the batch
    Clip-Cov: some tokens with c in (low, high), at random, are not learned from
    KL-Cov:   the tokens of the largest c get −A·ρ + β·|log π − log π_old|

The entropy moves by minus the covariance of log-probability and advantage, so that a few tokens of
large c account for its collapse. A is GRPO's, standardised in the group. Clip-Cov keeps PPO's clip,
widened to (0, 2); KL-Cov has none, so that all other tokens have the bare −A·ρ.

Aggregation: a mean over all tokens of the batch. No KL to the reference. `--share 0` picks none.

Where the released code differs: it takes c anew at each update, at the current policy and within
the micro-batch, and leaves out what PPO's clip has silenced. Here c is of the whole batch when it
was sampled, so that the split into micro-batches changes nothing; at the first update both agree.

Traps. KL-Cov's penalty has no gradient at π = π_old: with one update a batch it is GRPO without a
clip. Where groups are small, A is at most 2.5 and log π about −.3 on average, so that a token of
positive advantage never has c above 1: what Clip-Cov holds is rare tokens of bad completions. A
share of 2e-4 is less than one token of a small batch, and one is picked then.

The paper's law R = −a·e^H + b is `assay.stats.entropy_law`, fitted on a run's readings: each has
the entropy as a statistic."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.entropy_mechanism import clip_cov, covariances, held, top_cov
from assay.formulas.reduce import per_token
from assay.loops import Rollouts, clipped_surrogate, group_relative, standardised
from assay.stats.effects import Reading, final

paper = Paper(
    "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
    "Cui et al.",
    2025,
    "arXiv:2505.22617",
)
reduces = {"dapo": ({"share": 0.0}, {"epsilon_low": 1.0, "epsilon_high": 1.0, "max_batches": 1})}

METHODS = ("clip", "kl")


def recipe(
    task: Task,
    *,
    method: str = "clip",
    share: float = 2e-4,
    cov_low: float = 1.0,
    cov_high: float = 5.0,
    beta: float = 1.0,
    epsilon_low: float = 1.0,
    epsilon_high: float = 1.0,
    shuffled: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=4),
) -> Iterator[Step]:
    """Train by Clip-Cov or KL-Cov and yield the policy after each step.

    Args:
        method: clip, Clip-Cov, or kl, KL-Cov.
        share: How many tokens are held, of all of the batch; the paper has 2e-4 and, for KL-Cov, up
            to 2e-3.
        cov_low: Clip-Cov picks covariances above this alone.
        cov_high: Clip-Cov picks covariances below this alone.
        beta: KL-Cov's weight of the penalty.
        epsilon_low: Clip-Cov clips the ratio below at 1 − epsilon_low.
        epsilon_high: Clip-Cov clips the ratio above at 1 + epsilon_high.
        shuffled: Hold as many tokens wherever they are (the negative control).
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if method not in METHODS:
        raise InputError(f"--method is '{method}'; it is one of {', '.join(METHODS)}")
    if not 0 <= share <= 1 or not beta >= 0:
        raise InputError(
            f"--share is {share} and --beta {beta}; the first is from 0 to 1, the second at least 0"
        )

    def prepare(batch: Rollouts) -> Rollouts:
        x = batch.samples
        a = standardised(batch.reward, x).expand_as(x.logp)
        cov = covariances(x.logp, a, x.mask)
        B, N, T = x.mask.shape
        at = torch.arange(B)[:, None, None], torch.arange(N)[:, None], torch.arange(T)
        u = task.rng("covariance", batch.step).uniform(*at, dtype=torch.float64).to(cov.device)
        if method == "clip":
            picked = clip_cov(cov, u, share=share, low=cov_low, high=cov_high)
        else:
            picked = top_cov(cov, share=share)
        if shuffled:
            count = int(picked.sum())
            order = torch.where(x.mask, u, torch.inf).flatten().argsort(stable=True)
            picked = torch.zeros_like(picked.flatten())
            picked[order[:count]] = True
            picked = picked.reshape(B, N, T)
        tokens = x.mask.sum().clamp(min=1)
        batch.stats["cov/held"] = float(picked.sum() / tokens)
        batch.stats["cov/mean"] = float(torch.where(x.mask, cov, 0.0).sum() / tokens)
        batch.advantage = torch.stack([a, picked.to(a.dtype)], -1)
        return batch

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        a, picked = advantage[..., 0], advantage[..., 1] > 0
        if method == "kl":
            return held(logp, rows.logp, a, picked, beta=beta)
        value = clipped_surrogate(logp, rows, a, low=epsilon_low, high=epsilon_high)
        return torch.where(picked, value.new_zeros(()), value)

    yield from group_relative(
        task,
        loop,
        surrogate,
        reduce=per_token,
        member=member,
        aggregate=aggregate,
        prepare=prepare,
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
STALE = {"epochs": 2, "mini_batch_size": 4, "max_steps": 8}
RATES = {"learning_rate": (2.5e-4, 5e-4, 1e-3, 2e-3)}


@Claim(
    "Holding the tokens of large covariance, Clip-Cov answers more problems rightly than the "
    "same loss that holds none, and than one that holds as many at random.",
    arms={
        "mine": ("entropy_mechanism", {"share": 0.02, **STALE}),
        "none": ("entropy_mechanism", {"share": 0.0, **STALE}),
        "random": ("entropy_mechanism", {"share": 0.02, "shuffled": True, **STALE}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over none": 0.02, "over random": 0.0},
    seeds="200..211",
    tuned={"mine": RATES, "none": RATES, "random": "mine"},
    control=("over random",),
    broken="as many tokens are held, wherever they are",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers after eight steps of eight updates, minus that of the same loss
    that holds no token, and minus that of one that holds as many at random. A fiftieth of the
    tokens may be held, since a batch has about 1,700.
    """
    mine = final(arms["mine"])
    return {f"over {name}": mine - final(arms[name]) for name in ("none", "random")}
