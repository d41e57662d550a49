"""RSO: pairs of the estimated optimal policy, by statistical rejection sampling from the reference.

DPO's loss is derived for pairs of the policy it ends in; the pairs that people have are of another
one. So for each prompt

    1. draw n completions from the reference π₀ (`num_generations`) and score them;
    2. walk them, accept each with chance exp((r − r_max)/β_rs), r_max over those left, until m are
       accepted, without replacement: nearly samples of π₀·e^(r/β_rs);
    3. pair the accepted at random, and let the reward model say which of each pair is better;
    4. fit −log σ(γΔ) (`sigmoid`) or max(0, 1 − γΔ) (`hinge`), Δ = log π/π₀(better) − the other's.

β_rs is `accept_beta`, γ is `beta`. At β_rs = 0 the pairs are of the m best of n; where it is
large they are the reference's own, which the paper calls SFT-sample-rank. The losses are
`pairwise.dpo` and `pairwise.hinge` with γ for β. Differs from `dpo` in where pairs come from and
who labels them; from `lipo` in that lists are thinned to pairs of what is good.

Traps. r_max is that of n candidates, so at small n the accepted are nearer to the reference than
to the optimum, and m near n is no selection; `rso/acceptance` is the mean chance of a candidate in
the first pass. The model that filters should not also label: what it overrates passes the filter
and wins the pairs. `filter_member` is the one that filters, `member` the one that labels;
the paper has one for both, and so have the defaults. Accepted completions are all good, so their
rewards differ less and their labels say less than those of random pairs; of a reward that is 0 or
1 they are all 1. A pair whose rewards are equal has the label ½ and draws its log-ratios together,
and one of a completion with itself says nothing: `rso/tied` is the share of both. The paper's code
counts equal candidates as one, which gives frequent completions no more chance than rare ones; here
they stay, as samples of π₀ are. The paper's pairs are drawn once; here each pass over the prompts
draws new ones. A completion without a score is no candidate; `lists/short` is the share of prompts
with fewer than two candidates, which teach nothing.

Here, in a bag of tokens: `tests/test_formulas_rejection.py` has the exact law of the accepted, and
how its distance to π₀·e^(r/β) falls with n. The claim judges the pairs by what is learned of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.pairwise import dpo, hinge
from assay.formulas.reduce import per_pair
from assay.formulas.rejection import acceptance, rejection_sampling
from assay.loops import Rollouts, online, proxy_score, with_reference_logp
from assay.loops.missing import scored_only, scores_and_missing, short_lists
from assay.stats.effects import Reading, gold_over, matched_gain

paper = Paper(
    "Statistical Rejection Sampling Improves Preference Optimization",
    "Liu et al.",
    2023,
    "arXiv:2309.06657",
)
reduces = {}


def recipe(
    task: Task,
    *,
    keep: int = 4,
    accept_beta: float = 0.5,
    beta: float = 0.05,
    loss: Literal["sigmoid", "hinge"] = "sigmoid",
    soft: bool = False,
    member: int = 0,
    filter_member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on pairs of accepted completions and yield the policy after each step.

    Args:
        keep: Completions m of a prompt that are accepted, an even number of at most
            `num_generations`.
        accept_beta: β_rs of acceptance, in units of the reward, at least 0; 0 keeps the best.
        beta: γ of the loss, per nat.
        loss: sigmoid or hinge.
        soft: Label by the chance σ(r₁ − r₂) that the first is better, in place of which is larger.
        member: Index of the reward model that labels pairs.
        filter_member: Index of the reward model that accepts.
    """
    n = loop.num_generations
    if keep < 2 or keep % 2 or keep > n:
        raise InputError(
            f"--keep is {keep} and --num-generations is {n}; --keep is an even number from 2 to "
            "--num-generations, since what is accepted is paired"
        )
    if not (accept_beta >= 0 and beta > 0):
        raise InputError(
            f"--accept-beta is {accept_beta} and --beta is {beta}; the first must be at least 0, "
            "the second above 0"
        )
    score = proxy_score(task, member)
    gate = score if filter_member == member else proxy_score(task, filter_member)

    def rollout(policy: Any, number: int) -> Samples:
        return task.reference.sample(task.batch(loop, number), n, task.rng("sample", number))

    def prepare(batch: Rollouts) -> Rollouts:
        x, B = batch.samples, len(batch.samples)
        r = batch.reward
        if gate is not score:
            r, missing = scores_and_missing(gate, x)
            x = scored_only(x, missing)
        row, place = torch.arange(B)[:, None], torch.arange(n)
        passes = task.rng("accept", batch.step)
        noise = passes.uniform(row[..., None], torch.arange(keep)[:, None], place, dtype=r.dtype)
        chosen, counts = rejection_sampling(
            r, noise.to(r.device), beta=accept_beta, present=x.present
        )
        # the order of acceptance says something of the reward: pairs are drawn at random
        mixed = task.rng("pair", batch.step).uniform(row, torch.arange(keep)).argsort(-1)
        mixed = mixed.to(chosen.device)
        chosen, counts = chosen.gather(1, mixed), counts.gather(1, mixed)
        y = x.pick(chosen)
        y = replace(y, mask=y.mask & counts[..., None], given=y.given & counts[..., None])
        chance = acceptance(r, x.present, beta=accept_beta)
        reward = batch.reward.gather(1, chosen)
        whole = y.mask.any(-1).unflatten(1, (-1, 2)).all(-1)
        tied = whole & (reward.unflatten(1, (-1, 2)).diff(dim=-1)[..., 0] == 0)
        said = {
            "rso/acceptance": float(chance.sum() / x.present.sum().clamp(min=1)),
            "rso/tied": float(tied.sum() / whole.sum().clamp(min=1)),
        }
        said |= short_lists(x)
        return replace(
            batch, samples=y, reward=reward, advantage=reward, stats={**batch.stats, **said}
        )

    def of(logp: Tensor, rows: Samples, reward: Tensor) -> Tensor:
        reference = with_reference_logp(task.reference, rows).logp
        ratio = (logp - reference).sum(-1).unflatten(1, (-1, 2))
        gap = reward.unflatten(1, (-1, 2)).diff(dim=-1)[..., 0].neg()
        p = gap.sigmoid() if soft else 0.5 * (gap.sign() + 1)  # of equal rewards, ½
        return (dpo if loss == "sigmoid" else hinge)(ratio[..., 0], ratio[..., 1], beta=beta, p=p)

    yield from online(
        task,
        loop,
        score=score,
        rollout=rollout,
        prepare=prepare,
        loss=of,
        reduce=each_pair,
        lists=True,
        split="prompts",
        against_reference=True,
    )


def each_pair(mask: Tensor) -> Tensor:
    """`per_pair` of completions that stand pair by pair: mask `[B,2K,T]` → w `[B,K]`."""
    return per_pair(mask.unflatten(1, (-1, 2)).flatten(0, 1)).unflatten(0, (len(mask), -1))


_RUN = {"max_steps": 60, "num_generations": 64, "keep": 8}
_GRID = {"beta": (0.05, 0.2), "learning_rate": (0.1, 0.2)}
FAR = 3.0  # √KL to which constants are chosen; at 5 all arms are near the most gold that there is


def by_distance(readings: list[Reading]) -> float:
    """Mean gold on the way to √KL = 3."""
    return gold_over(readings, FAR)


@Claim(
    "With a reward model of 8,000 clean pairs, pairs of what rejection sampling accepts, eight of "
    "64, give more gold at equal KL than as many pairs of the reference's own completions and than "
    "DPO on the pairs that the reward model was fitted to, and not less than pairs of the eight "
    "best, each at the β and learning rate that suit it.",
    arms={
        "mine": ("rso", _RUN),
        "random": ("rso", {"accept_beta": 1e9, **_RUN}),
        "best": ("rso", {"accept_beta": 0.0, **_RUN}),
        "direct": ("dpo", {"max_steps": 60, "batch_size": 64}),
    },
    worlds=("table",),
    on={"table": {"mode": "idiosyncratic", "pairs": 8000, "noise": 0.0}},
    least={"over random": 0.05, "over direct": 0.05, "over the best": -0.05},
    seeds="740..759",
    tuned=dict.fromkeys(("mine", "random", "best", "direct"), _GRID),
    by=by_distance,
    control=("over random",),
    broken="any candidate is accepted, whatever its reward; as many are drawn, scored and paired",
    differs={
        "generated": "DPO draws nothing",
        "scored": "DPO scores nothing",
        "seconds": "DPO draws and scores nothing",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold difference at equal √KL, over the range that both runs measured, to each rival.
    Gold's unit is its deviation under the reference, and δ a twentieth of it; pairs of the best may
    tie, so they are held to that from the other side.
    """
    mine = arms["mine"]
    return {
        "over random": matched_gain(mine, arms["random"]),
        "over direct": matched_gain(mine, arms["direct"]),
        "over the best": matched_gain(mine, arms["best"]),
    }
