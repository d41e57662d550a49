"""LiPO: fit the policy to ranked lists of completions, by losses of learning to rank.

    s_i = β·log π/π₀(y_i),  labels ψ_i in [0, 1] from a reward model

    lambda         −Σ_{ψ_i>ψ_j} |G_i − G_j|·|1/D_i − 1/D_j|·log σ(s_i − s_j)      LiPO-λ
                   G = 2^ψ − 1, D = log(1 + rank by s): what exchanging i and j changes of DCG
    all_pairs      −Σ_{ψ_i>ψ_j} log σ(s_i − s_j)                                   every pair as DPO
    best_worst     −log σ(s_best − s_worst)                                        one pair
    softmax        −Σ ψ_i/Σψ·log softmax(s)_i
    plackett_luce  −log P(the labels' order), summed over the orders of ties       ListMLE

The lists are `num_generations` samples of the reference for each prompt; the policy in training is
not sampled. Differs from `rso` in that all of a list is used, with its order; at two completions
`all_pairs`, `best_worst` and `plackett_luce` are DPO on a pair that the reward model labels.

Labels are the reward within its list: `unit` maps the worst to 0 and the best to 1; `win_rate` is
the mean chance to beat another completion of the list, σ of the difference of rewards, as a
pairwise reward model says it. Without such a map 2^ψ of a reward of 10 weighs a thousand times what
it does of 1: other labels are refused.

Traps. The weights of LiPO-λ are constants of a step, but follow the policy's own ranks. At the
start all scores are 0 and ranks are the order of the list, which is random; equal ranks would have
weight 0 and nothing would be learned. All labels of a list come from one reward model: a list of
eight shares its error eight times, and the policy over-optimises it as any other would. The claim
therefore compares at equal labelled completions and reads gold. The weights make the loss smaller
by a factor, which Adam undoes.

Its negative control exchanges the weights: `shuffled` gives each pair the weight of another pair of
its list, by a random permutation of its completions; the order of the labels stays. Where labels
tie, some of the weight falls on tied pairs and is lost: of labels of two kinds about half.

A completion to which no reward model applies is absent from its list; `lists/short` is the share of
lists with fewer than two that are left, which teach nothing.

Here, after 60 steps on lists of eight, the best against the worst alone ends as high as LiPO-λ (.06
[−.13, .25] on 20 seeds), and all pairs .54 [−.01, 1.09] lower; the weights' own part is not seen
(.22 [−.33, .77] over exchanged ones). All four chose the smallest β, .05, and the largest rate, .2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.lambda_loss import (
    exchanged,
    lambda_loss,
    lambda_weights,
    unit_labels,
    win_rates,
)
from assay.formulas.listwise import (
    all_pairs,
    best_versus_worst,
    plackett_luce,
    softmax_cross_entropy,
)
from assay.formulas.reduce import per_list
from assay.loops import Rollouts, online, proxy_score, require_group, with_reference_logp
from assay.loops.missing import short_lists
from assay.stats.effects import Reading, final

paper = Paper(
    "LiPO: Listwise Preference Optimization through Learning-to-Rank",
    "Liu et al.",
    2024,
    "arXiv:2402.01878",
)
reduces = {}
LOSSES = {
    "lambda": lambda_loss,
    "all_pairs": all_pairs,
    "best_worst": best_versus_worst,
    "softmax": softmax_cross_entropy,
    "plackett_luce": plackett_luce,
}
LABELS = {"unit": unit_labels, "win_rate": win_rates}


def recipe(
    task: Task,
    *,
    loss: Literal["lambda", "all_pairs", "best_worst", "softmax", "plackett_luce"] = "lambda",
    beta: float = 0.05,
    label_by: Literal["unit", "win_rate"] = "unit",
    shuffled: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on ranked lists of the reference's completions and yield the policy after each step.

    Args:
        loss: lambda (LiPO-λ), all_pairs, best_worst, softmax or plackett_luce.
        beta: Scale β of the scores, per nat; as in DPO.
        label_by: How rewards become labels: unit, by the list's range, or win_rate, by the mean
            chance to beat another completion of the list.
        shuffled: Exchange LiPO-λ's weights within each list: the negative control.
        member: Index of the reward model that labels.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if not beta > 0:
        raise InputError(f"--beta is {beta}; it must be above 0")
    if shuffled and loss != "lambda":
        raise InputError(f"--shuffled exchanges the weights of --loss lambda, and it is '{loss}'")

    def rollout(policy: Any, number: int) -> Samples:
        rng = task.rng("sample", number)
        return task.reference.sample(task.batch(loop, number), loop.num_generations, rng)

    def prepare(batch: Rollouts) -> Rollouts:
        x, reward = batch.samples, require_group(batch.reward)
        psi = LABELS[label_by](reward.double(), x.present)
        rows, place = torch.arange(len(x))[:, None], torch.arange(psi.shape[1])
        key = task.rng("weights", batch.step).uniform(rows, place).to(psi)
        several = x.present.sum(-1) > 1
        top = torch.where(x.present, psi, -torch.inf).amax(-1)
        equal = several & (top == torch.where(x.present, psi, torch.inf).amin(-1))
        said = {"lists/tied": float(equal.sum() / several.sum().clamp(min=1))}
        said |= short_lists(x)
        return replace(batch, advantage=torch.stack([psi, key], -1), stats={**batch.stats, **said})

    def of(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        reference = with_reference_logp(task.reference, rows).logp
        s, psi = beta * (logp - reference).sum(-1), advantage[..., 0]
        if not shuffled:
            return LOSSES[loss](s, psi, present=rows.present)
        weights = lambda_weights(s, psi, present=rows.present)
        weights = exchanged(weights, advantage[..., 1], rows.present)
        return all_pairs(s, psi, present=rows.present, weights=weights)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        rollout=rollout,
        prepare=prepare,
        loss=of,
        reduce=per_list,
        split="prompts",
        against_reference=True,
        lists=True,
    )


_RUN = {"max_steps": 60, "num_generations": 8}
_GRID = {"beta": (0.05, 0.2), "learning_rate": (0.1, 0.2)}


@Claim(
    "From lists of eight completions labelled by one reward model, LiPO-λ ends higher in gold than "
    "all pairs and than the best against the worst, each at the β and learning rate that suit it, "
    "and than the same loss with its weights exchanged within each list.",
    arms={
        "mine": ("lipo", _RUN),
        "pairs": ("lipo", {"loss": "all_pairs", **_RUN}),
        "two": ("lipo", {"loss": "best_worst", **_RUN}),
        "shuffled": ("lipo", {"shuffled": True, **_RUN}),
    },
    worlds=("table",),
    on={"table": {"pairs": 2000}},
    least={"over all pairs": 0.1, "over best against worst": 0.1, "over shuffled": 0.0},
    seeds="720..739",
    tuned={"mine": _GRID, "pairs": _GRID, "two": _GRID, "shuffled": "mine"},
    control=("over shuffled",),
    broken="each pair has the weight of another pair of its list",
    differs={"seconds": "the losses differ in what they compute of a list"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold over that of each rival, at equally many labelled completions. Gold's unit is its
    deviation under the reference, and δ a tenth of it.
    """
    mine = final(arms["mine"])
    return {
        "over all pairs": mine - final(arms["pairs"]),
        "over best against worst": mine - final(arms["two"]),
        "over shuffled": mine - final(arms["shuffled"]),
    }
