"""Lp-Reg: hold the unlikely but plausible tokens of bad completions.

    π_proxy = π_old cut to the choices of at least κ times the likeliest, renormalised
    of the tokens with A < 0, the share of least π_old, where π < π_proxy:
        L = −A·ρ + β·(π_proxy/π − 1 − log(π_proxy/π))
    of all others, the clipped surrogate with bounds (1 − 1, 1 + 9)

What is cut off, presumed noise, has no proxy and is not held. A is GRPO's, standardised in the
group. Aggregation: a mean over all tokens of the batch. k3 stands in the loss, of the picked tokens
alone, towards the proxy and not towards the reference; there is no other KL.

Differs from dapo in the held tokens, the wide clip, and the batch, which is not filtered. With
`--share 0` none is held and the wide clip is left: the control that tells the two apart.

Where paper and released code differ, this follows the code, but for the share's whole, which
`--share-of` says: in the paper the share is of all tokens of the batch (`all`), of which those with
A < 0 are held, in the code of the tokens with A < 0 (`negative`). In the paper the penalty is the
whole KL(π_proxy‖π) at a picked token's place, also where π ≥ π_proxy; k3 of a token has its
gradient in expectation over tokens that are drawn, not over those that are picked. Its share is
1 %, and 0.5 % for its larger model.

Where this differs from the code: it picks the tokens of each micro-batch by the current policy;
here they are picked of the whole batch, when it was sampled, so that the split changes nothing. At
the first update both agree. As there, a share of less than two tokens is none, which is a batch of
fewer than 200 tokens with a negative advantage at the share of 0.01.

Traps. On-policy π = π_old, and π_proxy/π is 1/(1 − m) where m is the mass that is cut off: the pull
on a token is β·m/(1 − m) against |A|, next to nothing unless the tail is fat or several updates
follow. `lp/cut` is m, the mean over tokens; `lp/held` the share of tokens that are held."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.low_probability import least, plausible, shielded, unlikely
from assay.formulas.reduce import per_token
from assay.loops import Rollouts, clipped_surrogate, group_relative, standardised
from assay.loops.next_decisions import next_decisions
from assay.stats.effects import Reading, final

paper = Paper(
    "Low-probability Tokens Sustain Exploration in Reinforcement Learning with Verifiable Reward",
    "Huang et al.",
    2025,
    "arXiv:2510.03222",
)
reduces = {"dapo": ({"share": 0.0}, {"epsilon_low": 1.0, "epsilon_high": 9.0, "max_batches": 1})}

SHARES = ("negative", "all")


def recipe(
    task: Task,
    *,
    share: float = 0.01,
    share_of: str = "negative",
    threshold: float = 0.02,
    beta: float = 1.0,
    epsilon_low: float = 1.0,
    epsilon_high: float = 9.0,
    shuffled: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by Lp-Reg and yield the policy after each step.

    Args:
        share: How many tokens can be held, the least likely ones of negative advantage.
        share_of: What it is a share of: negative for the tokens of negative advantage, or all.
        threshold: Choices below this share of the likeliest one are presumed noise, κ.
        beta: Weight of the pull towards the proxy.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        shuffled: Hold as many plausible tokens of negative advantage wherever they are (the
            negative control).
        member: Index of the reward model that is the proxy reward.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if not 0 <= share <= 1 or not 0 <= threshold <= 1 or not beta >= 0:
        raise InputError(
            f"--share is {share}, --threshold {threshold} and --beta {beta}; shares are from 0 to "
            "1, and the weight is at least 0"
        )

    if share_of not in SHARES:
        raise InputError(f"--share-of is '{share_of}'; it is one of {', '.join(SHARES)}")

    def prepare(batch: Rollouts) -> Rollouts:
        x = batch.samples
        a = standardised(batch.reward, x).expand_as(x.logp)
        lift, cut = torch.full_like(x.logp, -torch.inf), torch.zeros_like(x.logp)
        if share:
            for t, here, logp in next_decisions(batch.policy, x, by="lp_reg"):
                kept = plausible(logp, threshold=threshold)
                own = kept.gather(-1, x.action[..., t, None])[..., 0] > -torch.inf
                mass = torch.where(kept > -torch.inf, 0.0, logp.exp()).sum(-1)
                # log π_proxy − log π_old: in half precision a pass that decodes rounds apart from
                # the one that is learned from, and a difference of the two would be mostly that
                lift[..., t] = torch.where(here & own, -torch.log1p(-mass), -torch.inf).to(lift)
                cut[..., t] = torch.where(here, mass, 0.0).to(cut)
        bad = x.mask & (a < 0)
        # what is cut off has no proxy: it stays as it is
        can = bad & (lift > -torch.inf)
        whole = x.mask if share_of == "all" else bad
        held = unlikely(x.logp, bad, share=share, of=whole) & can
        if shuffled:
            at = [torch.arange(n).view(-1, *[1] * (2 - d)) for d, n in enumerate(x.mask.shape)]
            u = task.rng("shuffled", batch.step).uniform(*at, dtype=torch.float64)
            held = least(u.to(held.device), can, count=int(held.sum()))
        tokens = x.mask.sum().clamp(min=1)
        batch.stats["lp/held"] = float(held.sum() / tokens)
        batch.stats["lp/cut"] = float(cut.sum() / tokens)
        batch.advantage = torch.stack([a, held.to(a.dtype), torch.where(held, lift, 0.0)], -1)
        return batch

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        a, held = advantage[..., 0], advantage[..., 1] > 0
        toward = rows.logp + advantage[..., 2]
        plain = clipped_surrogate(logp, rows, a, low=epsilon_low, high=epsilon_high)
        below = held & (logp.detach() < toward)
        return torch.where(below, shielded(logp, rows.logp, a, toward, beta=beta), plain)

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
_STEPS = {"max_steps": 15, "epochs": 2, "mini_batch_size": 4}
_MINE = {**_STEPS, "share": 0.1, "threshold": 0.02}
_RATES = {"learning_rate": (2.5e-4, 5e-4, 1e-3, 2e-3)}


@Claim(
    "Holding the unlikely but plausible tokens of bad completions, Lp-Reg answers more problems "
    "rightly than the same wide clip that holds none, and than one that holds as many anywhere.",
    arms={
        "mine": ("lp_reg", _MINE),
        "none": ("lp_reg", {**_STEPS, "share": 0.0}),
        "random": ("lp_reg", {**_MINE, "shuffled": True}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over none": 0.02, "over random": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "none": _RATES, "random": "mine"},
    control=("over random",),
    broken="as many plausible tokens of bad completions are held, wherever they are",
    differs={"seconds": "which choices are plausible takes another pass over a batch"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that of the same loss that holds no token, and minus that
    of one that holds tokens at random. A tenth of the tokens of negative advantage may be held,
    since a batch of eight updates has few, and eight updates a batch let π leave π_old.
    """
    mine = final(arms["mine"])
    return {f"over {name}": mine - final(arms[name]) for name in ("none", "random")}
