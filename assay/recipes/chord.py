"""CHORD: GRPO and the imitation of an expert in one loss, weighed over time and over tokens.

    L = (1 − μ_t)·L_GRPO + μ_t·mean over expert tokens of −sg(φ(p))·log p,    φ(p) = p·(1 − p)

p is the policy's probability of the expert's token. Each of the two losses is a mean over its own
tokens, so that the number of demonstrations changes no weight (`length_mean` averages within a
completion first, in both). L_GRPO has group-standardised advantages, ratios clipped on both sides,
and no KL. Demonstrations take no part in the advantages and have no ratio.

The paper has two forms. CHORD-φ, the default, has a constant μ = 0.1 and φ. CHORD-μ has no φ, and
μ decays by a cosine: `--phi one --peak 0.9 --valley 0.05 --decay 200`. `p`, importance-weighted
imitation, is a loss of their code. At μ = 0 it is grpo without KL; at μ = 1 with `--phi one` it is
SFT on the demonstrations of the step's prompts.

Traps. φ is at most ¼, so that imitation weighs at most μ/4: a comparison with plain imitation is
fair only at the same mean weight. `matched` is that control: each token has the mean φ of the
step's expert tokens, measured before the update at the price of one more pass. And φ vanishes with
p: what the policy never writes, it is not taught.

Here: a demonstration of each prompt in the batch stands beside the policy's completions to it; the
paper takes experts' solutions of other problems, a fifth of the batch. In world sums it comes from
the solver, in the form that the policy was trained on, and not in a stranger's style: the dip
after SFT that the paper describes is not to be expected here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.core.samples import IMPORTANCE
from assay.engine.parallel import by_rows
from assay.formulas.advantage import group_standardised
from assay.formulas.expert import WEIGHTS, expert_weight, warmup_cosine, weighted_imitation
from assay.formulas.reduce import per_completion_token, per_token
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score, require_group
from assay.rewards.policy_triples import by_prompt
from assay.stats.effects import Reading, final

paper = Paper(
    "On-Policy RL Meets Off-Policy Experts: Harmonizing Supervised Fine-Tuning and Reinforcement "
    "Learning via Dynamic Weighting",
    "Zhang et al.",
    2025,
    "arXiv:2508.11408",
)
reduces = {"grpo": ({"peak": 0.0, "valley": 0.0, "length_mean": True}, {"beta": 0.0})}

PHIS = (*WEIGHTS, "matched")


def recipe(
    task: Task,
    *,
    peak: float = 0.1,
    valley: float = 0.1,
    warmup: int = 0,
    decay: int = 0,
    phi: str = "p(1-p)",
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    length_mean: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on rewards and demonstrations together, and yield the policy after each step.

    Args:
        peak: Weight μ of imitation after the warm-up.
        valley: Weight μ of imitation at the end, at most the peak.
        warmup: Steps in which μ rises from 0 to the peak.
        decay: Steps in which μ falls from the peak to the valley.
        phi: Weight of an expert's token: p(1-p), p, one, or matched for the mean of p(1-p).
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        length_mean: Average each loss over a completion's tokens first, as GRPO does.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if phi not in PHIS:
        raise InputError(f"--phi is '{phi}'; it is one of {', '.join(PHIS)}")
    if not 0 <= valley <= peak <= 1 or min(warmup, decay) < 0:
        raise InputError(
            f"--peak is {peak}, --valley {valley}, --warmup {warmup} and --decay {decay}; give "
            "0 ≤ valley ≤ peak ≤ 1 and steps of at least 0"
        )
    demos, N = by_prompt(task.demos), loop.num_generations
    mean = per_completion_token if length_mean else per_token
    mu, matched = 0.0, torch.zeros(())  # of the step; a function of its number and the policy

    def prepare(batch: Rollouts) -> Rollouts:
        nonlocal mu, matched
        mu = warmup_cosine(step=batch.step, warmup=warmup, decay=decay, peak=peak, valley=valley)
        own, row = batch.samples, batch.samples.prompts.row
        if int(row.max()) >= len(demos):
            raise InputError(
                f"prompt {int(row.max())} has no demonstration: there are some of {len(demos)} "
                "prompts; give one of each prompt"
            )
        expert = demos[row.to(demos.mask.device)]
        batch.stats["mu"] = mu
        if phi == "matched":
            logp = by_rows(batch.policy.logp, expert)
            matched = expert_weight(logp)[expert.mask].mean()
            batch.stats["phi"] = float(matched)
        advantage = group_standardised(require_group(batch.reward), own.present, eps=1e-4, ddof=1)[
            ..., None
        ]
        none = advantage.new_zeros(len(own), expert.mask.shape[1], 1)
        # new: the demonstrations stand beside the prompt's own completions
        return replace(
            batch,
            samples=side_by_side(own, expert),
            advantage=torch.cat([advantage, none], 1),
        )

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        own = rows.pick(torch.arange(N).expand(len(rows), N))
        surrogate = clipped_surrogate(
            logp[:, :N], own, advantage[:, :N], low=epsilon_low, high=epsilon_high
        )
        shown = logp[:, N:]
        if phi == "matched":
            weight = matched.to(shown).expand_as(shown)
        else:
            weight = expert_weight(shown, kind=phi)
        return torch.cat([surrogate, weighted_imitation(shown, weight)], 1)

    def mixed(mask: Tensor) -> Tensor:
        return torch.cat([(1 - mu) * mean(mask[:, :N]), mu * mean(mask[:, N:])], 1)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        loss=loss,
        reduce=mixed,
        split="prompts",  # the columns say which completions are the expert's
        reads_logp=False,
    )


def side_by_side(own: Samples, expert: Samples) -> Samples:
    """Put an expert's completions `[B,K,T']` behind the policy's own to the same prompts `[B,N,T]`.

    An engine's importance weight of an expert's token is 1; what else is known of the policy's
    completions alone is 0 there. So is log π at sampling time: nobody sampled them.
    """
    T = max(own.mask.shape[2], expert.mask.shape[2])
    own, expert = own.widened(T), expert.widened(T)
    B, K = len(own), expert.mask.shape[1]

    def join(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b.to(a)], 1)

    return replace(
        own,
        action=join(own.action, expert.action),
        mask=join(own.mask, expert.mask),
        given=join(own.given, expert.given),
        logp=join(own.logp, torch.zeros_like(expert.logp)),
        ended=join(own.ended, expert.ended),
        extra={
            k: join(v, v.new_full((B, K, *v.shape[2:]), float(k == IMPORTANCE)))
            for k, v in own.extra.items()
        },
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_STEPS = {"max_steps": 15}
_RATES = {"learning_rate": (1e-3, 2e-3, 4e-3, 8e-3)}


@Claim(
    "With demonstrations weighed by p(1 − p) in its loss, GRPO answers more problems rightly than "
    "without them, and than imitation alone does.",
    arms={
        "mine": ("chord", _STEPS),
        "rewards": ("grpo", {**_STEPS, "beta": 0.0}),
        "imitation": ("sft", {**_STEPS, "imitate": "demos"}),
        "matched": ("chord", {**_STEPS, "phi": "matched"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over rewards alone": 0.02, "over imitation alone": 0.02, "over the mean weight": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "rewards": _RATES, "imitation": _RATES, "matched": "mine"},
    control=("over the mean weight",),
    broken="each expert token has the same weight, the mean of p(1 − p)",
    differs={
        "generated": "imitation alone samples nothing",
        "scored": "imitation alone asks for no reward",
        "seconds": "demonstrations, and the pass that measures their mean weight, are further "
        "passes",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that of rewards alone, of imitation alone, and of the
    same loss with one weight for all of an expert's tokens.
    """
    mine = final(arms["mine"])
    return {
        "over rewards alone": mine - final(arms["rewards"]),
        "over imitation alone": mine - final(arms["imitation"]),
        "over the mean weight": mine - final(arms["matched"]),
    }
