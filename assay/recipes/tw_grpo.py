"""TW-GRPO: tokens weigh more where the completions of a prompt would go on differently.

    k_t  = mean over the group of Σ_v (e^d − d − 1),  d = mean log p_v − log p_v at place t
    w_t  = 1 + (α − 1)·(k_t − min k)/(max k − min k), over the places of the group
    L    = mean over all tokens of −w_t·min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A)

A is GRPO's, standardised in the group. Tokens have one mean over the batch, divided by their number
and not by their weights. There is no KL. Distributions are those of the policy that sampled, and
weights have no gradient. In the released code they have one, since nothing detaches them: it is 0
at places that all completions reach, where advantages sum to 0, and not at later ones. There a
group has its own mean over tokens, too.

Differs from dapo in the weights, and in that the batch is not filtered. α is 1.7 in the paper and
1.4 in the code. The code has the weights of the policy that learns and lets the gradient through
them, as a slip: it adds −∇w_t·Σ_i A_i over those that reach place t, which is 0 while all do.

The other half of the paper is data: questions with several right choices, and partial credit for
some of them (`formulas.focused.partial_credit`; in the released code as here one wrong choice takes
all). Give such a reward as the proxy. Questions turned around, to make several choices right out of
one, are not here.

Traps. Places are aligned by number, not by what was written before: two completions that say the
same with one word between them differ everywhere after it. k is an unweighted sum over the
vocabulary and no KL. A completion that has ended counts as uniform, so that places which only the
longest reach look decisive; `--ended apart` compares those that are still going. And weights of at
least 1 are a longer step, so that a gain over dapo may be the rate's. `--weights permuted` gives
each group its own weights in another order: the control.

Here: text for video. In world sums a problem has one answer; graded credit there is the share of
right lines (`--world.rewards steps`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.focused import group_divergence, place_weights
from assay.formulas.reduce import per_token
from assay.loops import Rollouts, clipped_surrogate, group_relative, standardised
from assay.loops.next_decisions import next_decisions
from assay.stats.effects import Reading, final

paper = Paper(
    "Reinforcing Video Reasoning with Focused Thinking",
    "Dang et al.",
    2025,
    "arXiv:2505.24718",
)
reduces = {"dapo": ({"alpha": 1.0}, {"max_batches": 1})}

WEIGHTS, ENDED = ("group", "permuted"), ("uniform", "apart")


def recipe(
    task: Task,
    *,
    alpha: float = 1.7,
    weights: str = "group",
    ended: str = "uniform",
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by TW-GRPO and yield the policy after each step.

    Args:
        alpha: The largest weight of a token; 1 for none.
        weights: Where weights stand: group for the places where the group differs, or permuted for
            any of its places (the negative control).
        ended: Completions that have ended count as uniform, or stand apart.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    for flag, value, known in (("weights", weights, WEIGHTS), ("ended", ended, ENDED)):
        if value not in known:
            raise InputError(f"--{flag} is '{value}'; it is one of {', '.join(known)}")
    if not alpha >= 1:
        raise InputError(f"--alpha is {alpha}; the largest weight must be at least 1")

    def prepare(batch: Rollouts) -> Rollouts:
        x = batch.samples
        a = standardised(batch.reward, x).expand_as(x.logp)
        weight = torch.ones_like(x.logp)
        if alpha > 1:
            k = x.logp.new_zeros(len(x), x.mask.shape[2])
            for t, here, logp in next_decisions(batch.policy, x, by="tw_grpo"):
                k[:, t] = group_divergence(logp, here, fill=ended == "uniform").to(k)
            where = x.mask.any(1)
            w = place_weights(k, where, most=alpha)
            if weights == "permuted":
                at = torch.arange(len(x))[:, None], torch.arange(w.shape[1])
                w = permuted(w, where, task.rng("permuted", batch.step).uniform(*at).to(w))
            weight = w[:, None].expand_as(x.logp)
            some = x.mask.any(1) & ~x.mask.all(1)  # places that some have not reached
            batch.stats["tw/weight"] = float(weight[x.mask].mean())
            if bool(some.any()):
                batch.stats["tw/weight_late"] = float(w[some].mean())
        batch.advantage = torch.stack([a, weight], -1)
        return batch

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        a, weight = advantage.unbind(-1)
        return weight * clipped_surrogate(logp, rows, a, low=epsilon_low, high=epsilon_high)

    yield from group_relative(
        task,
        loop,
        surrogate,
        reduce=per_token,
        member=member,
        aggregate=aggregate,
        prepare=prepare,
    )


def permuted(weight: Tensor, where: Tensor, u: Tensor) -> Tensor:
    """Deal each group's weights `[B,T]` among its places in another order, each used once."""
    first = torch.where(where, 0, 1).argsort(dim=1, stable=True)
    return weight.scatter(1, torch.where(where, u, 2.0).argsort(1), weight.gather(1, first))


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_RUN = {"max_steps": 15}
_GRADED = {**_RUN, "world.rewards": "steps"}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}


@Claim(
    "Tokens weighed by how far a group's next tokens differ bring more right answers than the same "
    "loss without weights, and than the same weights at other places; so does a graded reward over "
    "one of right and wrong.",
    arms={
        "mine": ("tw_grpo", _RUN),
        "one": ("tw_grpo", {**_RUN, "alpha": 1.0}),
        "permuted": ("tw_grpo", {**_RUN, "weights": "permuted"}),
        "graded": ("tw_grpo", _GRADED),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"weights": 0.02, "graded reward": 0.02, "weights, over permuted": 0.0},
    seeds="100..115",
    tuned={"mine": _RATES, "one": _RATES, "permuted": "mine", "graded": _RATES},
    control=("weights, over permuted",),
    broken="each group has its own weights in another order",
    differs={"seconds": "the weights take another pass over a batch"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that without weights and minus that with permuted ones;
    and with the share of right lines as the reward, minus that with right or wrong.
    """
    end = {name: final(readings) for name, readings in arms.items()}
    return {
        "weights": end["mine"] - end["one"],
        "graded reward": end["graded"] - end["mine"],
        "weights, over permuted": end["mine"] - end["permuted"],
    }
