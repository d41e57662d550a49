"""KL-regularised reward as inference: move the policy towards p(y) ∝ π₀(y)·e^{r(y)/β}, by whichever
divergence one likes.

E_π r − β·KL(π‖π₀) is −β·KL(π‖p) + β·log Z(x): to maximise it is to approximate p, and without the
KL term p is all mass on the best answers, so that collapse is what was asked for. Other divergences
to the same p are as legitimate. With t = π/p each is a policy gradient with the reward −f'(t)
(`formulas.gibbs`):

    reverse           KL(π‖p): −(log t + 1); seeks a mode. This *is* kl_in_reward, step for step
    forward           KL(p‖π): 1/t = P/(Z·π), DPG; covers what p covers
    jensen_shannon, total_variation, chi_squared: between and beyond

Rewards are multiplied by β, so that all are in the proxy's units. `moment` sets GDC's target
instead of β: λ is solved by importance weights on reference answers, once, so that under p ∝
π₀·e^{Σλᵢrᵢ} the first `members` judges have this mean. With one judge that is the same family with
1/β = λ.

Z belongs to a prompt: log Z is kept for each and moved by `rate` towards the log of the mean of P/π
over the prompt's fresh answers. One Z for all prompts would weigh prompts by their Z, not only
scale the step. `siblings` takes the answer's siblings as its baseline; without it the constant
−f'(1), with which the forward weight is P/(Zπ) − 1 (the toolkit's P/(Zq) − π/q at q = π).

Released toolkit. What it calls KL is KL(p‖π) and "reverse" is KL(π‖p), the opposite of RLHF's
words; it keeps an offline proposal q and replaces it when the policy is better, and averages Z over
1024 batches. Here q is the policy itself, always.

Traps. β inside e^{r/β} and once more in front of the loss is a β². Importance weights die at small
β: `ess` is the share of answers that count, and where it is near 1/N the forward update is one
answer's. 1/t is held at e^40.

Here: a table with linear judges contains p, so all divergences end at the same policy, and only how
they get there differs; modes that a policy cannot cover need one that is restricted. What can be
shown is the collapse: entropy kept and lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.engine.descend import descend
from assay.formulas.advantage import leave_one_out
from assay.formulas.aggregate import weighted_sum
from assay.formulas.divergence import k1
from assay.formulas.gibbs import DIVERGENCES, at_the_target, effective_share, pseudo_reward, tilting
from assay.formulas.reduce import per_answer
from assay.formulas.surrogate import reinforce
from assay.loops.online import describe, judge, mean_stats, panel, siblings
from assay.stats.effects import Reading

paper = Paper(
    "RL with KL penalties is better viewed as Bayesian inference",
    "Korbak et al.",
    2022,
    "arXiv:2205.11275",
)
reduces = {"kl_in_reward": ({"divergence": "reverse"}, {})}


def recipe(
    task: Task,
    *,
    divergence: str = "forward",
    beta: float = 0.1,
    moment: float = 0.0,
    members: int = 1,
    rate: float = 0.1,
    siblings_baseline: bool = True,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """divergence: see above; beta: price of a nat; moment: above 0, the mean that the first
    `members` judges are to have; rate: of log Z; siblings_baseline: siblings or −f'(1); member,
    aggregate: the proxy, where there is no moment (`loops.judge`).
    """
    if divergence not in DIVERGENCES:
        raise InputError(f"--divergence is '{divergence}'; it is one of {', '.join(DIVERGENCES)}")
    if not beta > 0 or not 0 < rate <= 1:
        raise InputError(
            f"--beta is {beta} and --rate {rate}; beta is above 0, and rate above 0 and at most 1"
        )
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    several = panel(task, members) if moment else None
    score = judge(task, member, aggregate)
    P = 1 + int(task.prompts.row.max())
    carry: Any = task.carry.keep(
        policy=policy,
        opt=opt,
        lam=None,
        log_z=torch.zeros(P, dtype=torch.float64),
        seen=torch.zeros(P, dtype=torch.bool),
    )
    if several is not None and carry.lam is None:
        carry.lam = solved(task, several, moment, loop)
    if several is not None:
        score = lambda x: weighted_sum(several(x), carry.lam * beta)  # r/β is then Σ λᵢrᵢ
    for t in carry.steps(loop.max_steps):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        r, row = score(x), x.prompts.row.cpu()
        with torch.no_grad():
            paid = r - (beta * k1(x.logp, task.reference.logp(x)).sum(-1)).to(r.dtype)
        log_w = torch.where(x.present, paid.double() / beta, -torch.inf)  # log P/π
        mean_w = log_w.logsumexp(-1) - x.present.sum(-1).clamp(min=1).log()
        carry.log_z, carry.seen = moved(carry.log_z, carry.seen, row, mean_w.cpu(), rate)
        log_t = torch.where(x.present, carry.log_z.to(log_w.device)[row][:, None] - log_w, 0.0)
        reward = beta * pseudo_reward(log_t, divergence=divergence)  # new in this paper
        if not siblings_baseline:
            A = torch.where(x.present, reward - beta * at_the_target(divergence=divergence), 0.0)
        else:  # the reverse one less its constants, which siblings cancel: so it is kl_in_reward to the last bit
            A = leave_one_out(siblings(paid if divergence == "reverse" else reward), x.present)
        A = A.to(r)[..., None]

        def loss(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return reinforce(policy.logp(rows), A[i])

        stats = [
            descend(opt, loss, x, reduce=per_answer, rows=i)
            for i in loop.minibatches(len(x), task.rng("minibatch", t))
        ]
        here = {
            "ess": float(effective_share(log_w).mean()),
            "log_z": float(carry.log_z[row].mean()),
            "entropy": float(-x.logp.sum(-1)[x.present].mean()),
        }
        yield Step(policy, reward=score, stats={**mean_stats(stats), **describe(x), **here})


def moved(
    log_z: Tensor, seen: Tensor, row: Tensor, fresh: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """log of Z ← (1−rate)·Z + rate·fresh, for the prompts of this batch; a prompt's first value is
    taken as it is.

    Rows of one prompt (several in a batch) count one after another.
    """
    log_z, seen = log_z.clone(), seen.clone()
    stay, go = torch.tensor(1 - rate).double().log(), torch.tensor(rate).double().log()
    for place, value in zip(row.tolist(), fresh, strict=True):
        log_z[place] = torch.logaddexp(log_z[place] + stay, value + go) if seen[place] else value
        seen[place] = True
    return log_z, seen


def solved(task: Task, several: Any, moment: float, loop: Loop) -> Tensor:
    """λ of GDC's target, from one batch of 64 reference answers to each of the first prompts."""
    y = task.reference.sample(task.batch(loop, 0), 64, task.rng("moments"))
    scores = several(y)
    try:
        return tilting(scores[:, y.present], scores.new_full((len(scores),), moment))
    except ValueError as why:
        raise InputError(
            f"--moment is {moment}, and the reference's answers do not reach it: {why}"
        ) from why


@Claim(
    "Without its KL term the policy collapses; with it, by the reverse, forward or "
    "Jensen–Shannon divergence to the Gibbs target, it keeps its entropy.",
    arms={
        "reverse": ("bayesian_inference", {"divergence": "reverse", "beta": 1.0}),
        "forward": ("bayesian_inference", {"divergence": "forward", "beta": 1.0}),
        "jensen_shannon": ("bayesian_inference", {"divergence": "jensen_shannon", "beta": 1.0}),
        "none": ("bayesian_inference", {"divergence": "reverse", "beta": 0.001}),
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """The share of the first reading's entropy kept at a moderate β, less what is kept at (almost)
    none, less a quarter: the difference has to be large.
    """
    kept = {k: r[-2]["stats"]["entropy"] / r[1]["stats"]["entropy"] for k, r in arms.items()}
    return {k: v - kept["none"] - 0.25 for k, v in kept.items() if k != "none"}
