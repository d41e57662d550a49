"""PF-PPO: learn only from those completions whose scores can be trusted.

Each prompt's N completions are ranked by the proxy; a rule keeps some of them, and PPO learns from
those alone:

    all            every completion: ppo
    best           the top one (best-of-N)
    best_random    the top one and one other at random (BR)
    best_worst     the top one and the bottom one (BW)
    random         two at random: the control at equal completions, scores and updates
    measured       the one of best, best_random and best_worst with the highest R² between score
                   and true value

R² is the squared correlation of score and gold label over the completions that a rule would keep.
Labels are bought for all completions of the first `asked` batches, and counted; until they are in,
the policy learns from two random completions.

Everything after the filter is PPO's: the KL in the reward, GAE on a critic's values, advantages
normalised over what was kept, clipped ratios and values. The critic is fitted to the returns of the
kept completions, so under `best` its values are too high, as the paper's are.

Traps. The kept completions are no longer samples of the policy, and the expected update is not
∇E[r]. R² grows with the spread of what is kept, so best_worst is flattered by range alone, whatever
the proxy knows. The top completion alone has nothing beside it that is worse, and its critic soon
expects it: the paper's table has it last. Pairs of larger differences are also a larger step, so
every arm has its own learning rate.

Where the released code differs. It thresholds raw scores in one variant that no run uses.

Here: the paper's reason is that reward models are surer at some ranks than at others. `surer/RULE`
measures it: R² of what a rule keeps less R² of all, with both errors set against the variance of
all labels, so that range does not flatter. A linear proxy on a table errs alike at all ranks: on
seeds 500 to 559 it is −0.030 [−0.063, 0.003], and the rule of the highest R² is below two at random
by 0.038 [0.012, 0.063], with both tuned. It is above all completions by 0.050 [0.016, 0.085] and
above the best rule that R² did not pick by 0.107 [0.046, 0.167], so R² finds the best of three
rules, none of which is needed; on seeds 0 and 1 it finds best_worst by range. Rules are compared at
equal KL: under a price on KL all rules but `best` end at one optimum, whatever they did before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Ask, Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.engine.descend import Index
from assay.engine.nonfinite import nonfinite
from assay.formulas.advantage import whiten
from assay.formulas.reduce import per_token
from assay.loops import (
    Critic,
    Gae,
    at_the_end,
    clipped_surrogate,
    completion_stats,
    proxy_score,
    reference_kl,
    require_group,
    scores_and_missing,
    update,
)
from assay.stats.effects import Reading, gold_over, matched_gain

paper = Paper(
    "Policy Filtration in RLHF to Fine-Tune LLM for Code Generation",
    "Zhang et al.",
    2024,
    "arXiv:2409.06957",
)
reduces = {"ppo": ({"rule": "all"}, {})}

MEASURED = ("best", "best_random", "best_worst")
RULES = ("all", *MEASURED, "random", "measured")


def recipe(
    task: Task,
    *,
    rule: str = "measured",
    asked: int = 4,
    beta: float = 0.05,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step | Ask]:
    """Train on the kept completions and yield the policy after each step; ask for labels first.

    Args:
        rule: all, best, best_random, best_worst, random or measured.
        asked: Batches that are labeled to measure R² (rule = measured), at least 1.
        beta: Weight of the KL penalty in the reward, in units of the proxy per nat.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        value_clip: How far a value may move from its old one before its loss is clipped, in
            standard deviations of the returns.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if rule not in RULES:
        raise InputError(f"--rule is '{rule}'; it is one of {', '.join(RULES)}")
    if asked < 1:
        raise InputError(f"--asked is {asked}; it must be at least 1")
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    score = proxy_score(task, member, aggregate)
    gae = Gae(gamma=gamma, lam=lam, value_clip=value_clip)
    critic = Critic(task, loop, by="policy_filtration", gae=gae)
    carry: Any = task.carry.keep(
        policy=policy, opt=opt, rule="" if rule == "measured" else rule, r2={}, surer={}, bought=[]
    )
    for t in carry.steps(loop.max_steps):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        r, missing = scores_and_missing(score, x)
        # of all completions, also those that the filter drops
        sampled = completion_stats(x, require_group(r), missing)
        u = task.rng("filter", t).uniform(torch.arange(len(x))[:, None], torch.arange(r.shape[1]))
        rule = carry.rule or "random"
        if not carry.rule:
            labels: Any = yield Ask(x)
            whole = torch.arange(r.shape[1], device=r.device).expand(len(r), -1)
            places = {k: ranked(r, x.present, u, k) for k in MEASURED} | {"all": whole}
            carry.bought = [
                *carry.bought,
                {k: kept(r, labels, x.present, i) for k, i in places.items()},
            ]
            if len(carry.bought) == asked:
                pooled = {k: torch.cat([each[k] for each in carry.bought], 1) for k in places}
                carry.r2 = {k: r_squared(*pooled[k]) for k in MEASURED}
                carry.rule = max(MEASURED, key=lambda k: carry.r2[k])
                carry.surer = {k: surer(pooled[k], pooled["all"]) for k in MEASURED}
        if rule != "all":
            i = ranked(r, x.present, u, rule)  # new in this paper
            x, r = x.pick(i), r.gather(1, i)
        with torch.no_grad():
            rewards = at_the_end(r, x) - beta * reference_kl(task, x)
        advantage, fit = critic.learn(rewards[..., None], x, t)
        A = whiten(advantage[..., 0], x.mask)

        def loss(rows: Samples, i: Index, A: Tensor = A) -> Tensor:
            logp = nonfinite.logps("policy", rows, policy.logp(rows))
            return clipped_surrogate(logp, rows, A[i], low=epsilon_low, high=epsilon_high)

        rng = task.rng("minibatch", t)
        stats = update(opt, loss, x, loop, rng, reduce=per_token, split="completions")
        said = {f"r2/{k}": v for k, v in carry.r2.items()}
        said |= {f"surer/{k}": v for k, v in carry.surer.items()}
        yield Step(policy, reward=score, stats={**stats, **fit, **sampled, **said})


def ranked(r: Tensor, present: Tensor, u: Tensor, rule: str) -> Tensor:
    """Places `[B,K]` of the completions that a rule keeps.

    A prompt with one completion gives it twice.

    Args:
        r: Scores `[B,N]`.
        present: Which completions there are `[B,N]`.
        u: Uniform random numbers `[B,N]`.
        rule: The rule.
    """
    best = torch.where(present, r, -torch.inf).argmax(1, keepdim=True)
    if rule == "best":
        return best
    chance = torch.where(present, u.to(r), 2.0)
    if rule == "random":
        return chance.topk(2, largest=False).indices
    if rule == "best_worst":
        return torch.cat([best, torch.where(present, r, torch.inf).argmin(1, keepdim=True)], 1)
    other = chance.scatter(1, best, 1.5).argmin(
        1, keepdim=True
    )  # the best itself only where it is alone
    return torch.cat([best, other], 1)


def kept(score: Tensor, label: Tensor, present: Tensor, index: Tensor) -> Tensor:
    """Score and label `[2,K]` of the present completions at these places."""
    here = present.gather(1, index)
    return torch.stack(
        [score.gather(1, index)[here].double(), label.gather(1, index)[here].double()]
    )


def r_squared(score: Tensor, label: Tensor) -> float:
    """Squared correlation; 0 where either is constant."""
    a, b = score - score.mean(), label - label.mean()
    scale = float(a.square().sum() * b.square().sum())
    return float((a * b).sum()) ** 2 / scale if scale > 0 else 0.0


def surer(some: Tensor, every: Tensor) -> float:
    """How much larger R² is among some completions than among all, at the range of all.

    R² grows with the spread of what is kept. The mean squared error about a line does not, so each
    side's error is set against the variance of all labels: (error of all − error of some)/variance.

    Args:
        some: Score and label `[2,K]` of the completions that a rule keeps.
        every: The same of all completions.

    Returns:
        The difference; 0 where labels are constant.
    """
    total = float(every[1].var(correction=0))
    if not total > 0:
        return 0.0

    def error(x: Tensor) -> float:
        return (1 - r_squared(*x)) * float(x[1].var(correction=0))

    return (error(every) - error(some)) / total


GRID = {"learning_rate": (0.01, 0.02, 0.05, 0.1), "beta": (0.0, 0.025, 0.05, 0.1)}
FAR = 2.0  # √KL at which constants are chosen: 4 nats, where the rules are still apart
PILOT = ("best_worst", "best_random", "best")  # fixed rules by the gold they had on seeds 0 to 4


def by_distance(readings: list[Reading]) -> float:
    """Mean gold on the way to 4 nats."""
    return gold_over(readings, FAR)


@Claim(
    "PPO has more gold at equal KL when it learns from completions chosen by rank than from two at "
    "random or from all; the rule of the highest R² has more than the better of the others and not "
    "less than the best rule of the pilot; and the reward model is surer at the ends of its "
    "ranking, which is the paper's reason.",
    arms={
        "mine": ("policy_filtration", {"max_steps": 50}),
        **{
            rule: ("policy_filtration", {"rule": rule, "max_steps": 50})
            for rule in ("random", "all", *MEASURED)
        },
    },
    worlds=("table",),
    # a twentieth of what PPO gains over the reference at its peak
    least={
        "random": 0.05,
        "all": 0.05,
        "choice": 0.05,
        "fixed": -0.05,
        "surer at the ends": 0.05,
    },
    seeds="500..559",
    tuned=dict.fromkeys(("mine", "random", "all", *MEASURED), GRID),
    by=by_distance,
    control=("random",),
    broken="two completions at random are kept, whatever their ranks",
    differs={
        "labels": "R² is measured on four labeled batches; the other rules choose nothing by it",
        "seconds": "all completions are a larger batch to learn from; the machine's load",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean difference in gold at equal √KL, over the range that both runs measured: to a random
    pair, to all completions, to the best of the rules that R² did not choose, and to the best rule
    whatever it chose; both are the best by gold on seeds 0 to 4.

    The paper's reason: R² of the best and the worst less R² of all, at the range of all (`surer`).
    """
    mine = arms["mine"]
    said = mine[-2]["stats"]
    chosen = max(MEASURED, key=lambda rule: float(said[f"r2/{rule}"]))
    other = next(rule for rule in PILOT if rule != chosen)
    return {
        "random": matched_gain(mine, arms["random"]),
        "all": matched_gain(mine, arms["all"]),
        "choice": matched_gain(mine, arms[other]),
        "fixed": matched_gain(mine, arms[PILOT[0]]),
        "surer at the ends": float(said["surer/best_worst"]),
    }
