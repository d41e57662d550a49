"""PF-PPO: learn only from those completions whose scores can be trusted.

Each prompt's N completions are ranked by the proxy; a rule keeps some of them, and the policy is
updated on those alone:

    all            every completion: leave_one_out
    best           the top one; its baseline is the other prompts' kept completions, as it has no
                   sibling left
    best_random    the top one and one other at random (BR)
    best_worst     the top one and the bottom one (BW)
    random         two at random: the control at equal completions, scores and updates
    measured       the one of best, best_random and best_worst with the highest R² between score
                   and true value

R² is the squared correlation of score and gold label over the completions that a rule would keep.
Labels are bought for all completions of the first `asked` batches, and counted; until they are in,
the policy learns from two random completions. Advantages are taken and normalised after the
filtering, over what was kept.

It differs from leave_one_out in the line that picks. The paper trains PPO with a critic; here the
baseline is a kept sibling and there is no critic, so what the paper's critic learns from filtered
returns (for `best`: too high a value) has no counterpart.

Traps. The kept completions are no longer samples of the policy, and the expected update is not
∇E[r]. R² grows with the spread of what is kept, so best_worst is flattered by range alone, whatever
the proxy knows. The top completion alone has nothing that is worse than it, and learns little: the
paper's table says the same.

Where the released code differs. It thresholds raw scores in one variant that no run uses.

Here: a proxy's error does not depend on where in the ranking a completion stands, as the paper's
does. What filtering can still do is put the same number of updates where the proxy's differences
are largest. Only a gain on `random` at equal KL is the method's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Ask, Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import leave_one_out, whiten
from assay.formulas.surrogate import reinforce
from assay.loops import completion_stats, proxy_score, require_group, scores_and_missing, update
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "Policy Filtration in RLHF to Fine-Tune LLM for Code Generation",
    "Zhang et al.",
    2024,
    "arXiv:2409.06957",
)
reduces = {"leave_one_out": ({"rule": "all", "normalise": False}, {})}

MEASURED = ("best", "best_random", "best_worst")
RULES = ("all", *MEASURED, "random", "measured")


def recipe(
    task: Task,
    *,
    rule: str = "measured",
    asked: int = 4,
    normalise: bool = True,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step | Ask]:
    """Train on the kept completions and yield the policy after each step; ask for labels first.

    Args:
        rule: all, best, best_random, best_worst, random or measured.
        asked: Batches that are labeled to measure R² (rule = measured), at least 1.
        normalise: Whiten the advantages of what was kept.
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
    carry: Any = task.carry.keep(
        policy=policy, opt=opt, rule="" if rule == "measured" else rule, r2={}, bought=[]
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
            carry.bought = [
                *carry.bought,
                {k: kept(r, labels, x.present, ranked(r, x.present, u, k)) for k in MEASURED},
            ]
            if len(carry.bought) == asked:
                carry.r2 = {
                    k: r_squared(*torch.cat([each[k] for each in carry.bought], 1))
                    for k in MEASURED
                }
                carry.rule = max(MEASURED, key=lambda k: carry.r2[k])
        if rule != "all":
            i = ranked(r, x.present, u, rule)  # new in this paper
            x, r = x.pick(i), r.gather(1, i)
        A = leave_one_out(r, x.present) if r.shape[1] > 1 else leave_one_out(r.T, x.present.T).T
        A = (whiten(A, x.present) if normalise else A)[..., None]

        def loss(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return reinforce(policy.logp(rows), A[i])

        stats = update(opt, loss, x, loop, task.rng("minibatch", t))
        said = {f"r2/{k}": v for k, v in carry.r2.items()}
        yield Step(policy, reward=score, stats={**stats, **sampled, **said})


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


@Claim(
    "At equal KL and equal updates, learning from completions chosen by rank keeps more gold than "
    "from two completions at random.",
    arms={
        "mine": ("policy_filtration", {}),
        "random": ("policy_filtration", {"rule": "random"}),
        "best": ("policy_filtration", {"rule": "best"}),
        "best_random": ("policy_filtration", {"rule": "best_random"}),
        "best_worst": ("policy_filtration", {"rule": "best_worst"}),
        "single": ("leave_one_out", {}),
    },
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Mean gold difference to the random pair over the range of √KL that both runs reached."""
    return matched_gain(arms["mine"], arms["random"])
