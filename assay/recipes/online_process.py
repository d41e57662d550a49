"""Online process rewards (OPRL): a second policy is fitted to which answers came out better, and
its log-ratios pay steps.

Each step: answers are drawn from π_old; of each prompt's answers the best and the worst by outcome
are a pair (none where all are equal); one DPO update of π_φ on −log σ(β·log π_φ/π_old(τ⁺) − β·log
π_φ/π_old(τ⁻)); then a step is paid r_φ = β·Σ log π_φ/π_old over its tokens, A^S is r_φ standardised
over all steps of the prompt's answers, A^E the outcome standardised over the answers, and the
policy descends on A = A^E + α·A^S with a clipped ratio. grpo without its KL term is α = 0.

π_φ and π_old are read on the same tokens, so whatever the surroundings add to an answer cancels. A
prompt whose answers are all equal has A^E = 0, and A^S is set to 0 there too: it has no pair, and
the rest would be noise. π_old moves every step, so the potential of which r_φ is the difference is
another one each time, and the invariance of potential-based shaping does not hold strictly. Long
steps have larger log-ratios. π_φ overfits in few updates: one a batch.

`pay` says what pays the steps: "implicit" as above, "random" standard normal numbers in the place
of r_φ (the control: if these help as much, credit to steps is not what helps), "judge" the world's
own step rewards (the oracle, where they are exact). All three are standardised alike, so their
gradients are of like size. The paper's environments answer back between steps; sums do not. No
released code was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import torch
from torch import Tensor

from assay.core import Claim, Loop, Optimiser, Pairs, Paper, Policy, Samples, Step, Task
from assay.engine.descend import descend
from assay.errors import InputError
from assay.formulas.advantage import group_standardised
from assay.formulas.pairwise import dpo
from assay.formulas.process import on_steps, step_mask, step_sums
from assay.formulas.reduce import per_answer_token, per_pair
from assay.formulas.surrogate import clipped
from assay.loops.online import describe, judge, mean_stats, siblings
from assay.stats.effects import Reading, average

paper = Paper(
    "Online Process Reward Leanring for Agentic Reinforcement Learning",
    "Liu et al.",
    2025,
    "arXiv:2509.19199",
)
reduces = {"grpo": ({"alpha": 0.0}, {"beta": 0.0})}
PAY = ("implicit", "random", "judge")


def recipe(
    task: Task,
    *,
    alpha: float = 1.0,
    beta: float = 0.05,
    prm_lr: float = 0.0,
    pay: str = "implicit",
    process: str = "steps",
    low: float = 0.2,
    high: float = 0.2,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """alpha: weight of A^S; beta: DPO's, and the unit of r_φ; prm_lr: learning rate of π_φ, 0 for
    the policy's; pay: implicit, random or judge, see above; process: the judge's name; low, high:
    clip range; member: the outcome.
    """
    if pay not in PAY:
        raise InputError(f"--pay is '{pay}'; it is one of {', '.join(PAY)}")
    policy, prm = task.reference.copy(), task.reference.copy()
    opt, prm_opt = (
        loop.optimiser(policy),
        replace(loop, learning_rate=prm_lr or loop.learning_rate).optimiser(prm),
    )
    score = judge(task, member)
    for t in task.carry.keep(policy=policy, prm=prm, opt=opt, prm_opt=prm_opt).steps(
        loop.max_steps
    ):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        outcome = siblings(score(x))
        A = group_standardised(outcome, x.present, eps=1e-4, ddof=1)[..., None]
        told: dict[str, float] = {}
        if alpha:
            step = task.rewards.step_of(x)
            if pay == "implicit":
                told = taught(prm, prm_opt, x, outcome, beta)
                with torch.no_grad():
                    r = step_sums(beta * (prm.logp(x) - x.logp), step)  # [B,N,S]
            elif pay == "judge":
                r = step_sums(task.rewards.named(process).steps(x)[0], step)
            else:
                B, N, S = step_mask(step).shape
                r = (
                    task.rng("pay", t)
                    .normal(*torch.meshgrid(*map(torch.arange, (B, N, S)), indexing="ij"))
                    .to(x.logp)
                )
            here = step_mask(step)
            flat = group_standardised(r.flatten(1), here.flatten(1), eps=1e-4, ddof=1).view_as(r)
            A = A + alpha * torch.where((A != 0).any(1, keepdim=True), on_steps(flat, step), 0.0)

        def loss(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return clipped(policy.logp(rows), rows.logp, A[i], low=low, high=high)

        order = loop.minibatches(len(x), task.rng("minibatch", t))
        stats = [descend(opt, loss, x, reduce=per_answer_token, rows=i) for i in order]
        yield Step(policy, reward=score, stats={**mean_stats(stats), **describe(x), **told})


def taught(
    prm: Policy, opt: Optimiser, x: Samples, outcome: Tensor, beta: float
) -> dict[str, float]:
    """One DPO update of π_φ on each prompt's best and worst answer, against the policy that drew
    them.
    """
    ranked = torch.where(x.present, outcome, torch.nan)
    best, worst = ranked.nan_to_num(-torch.inf).argmax(1), ranked.nan_to_num(torch.inf).argmin(1)
    differ = (outcome.gather(1, best[:, None]) > outcome.gather(1, worst[:, None]))[:, 0].nonzero()[
        :, 0
    ]
    if len(differ) == 0:
        return {"prm/pairs": 0.0}
    both, one = x[differ].pick(torch.stack([best, worst], 1)[differ]), torch.ones(len(differ))
    pairs = Pairs(
        **{f.name: getattr(both, f.name) for f in fields(both)}, p=one, margin=torch.zeros_like(one)
    )

    def loss(rows: Pairs, _: Tensor) -> Tensor:
        ratio = (prm.logp(rows) - rows.logp).sum(-1)
        return dpo(ratio[:, 0], ratio[:, 1], beta=beta)

    return {
        "prm/pairs": float(len(differ)),
        "prm/loss": descend(opt, loss, pairs, reduce=per_pair)["loss"],
    }


@Claim(
    "Steps paid by log-ratios fitted to outcomes make a policy learn faster than outcomes alone, "
    "and random payments do not.",
    arms={
        "implicit": ("online_process", {}),
        "outcome": ("online_process", {"alpha": 0.0}),
        "random": ("online_process", {"pay": "random"}),
        "judge": ("online_process", {"pay": "judge"}),
    },
    worlds=("sums",),
    on={"sums": {"pass_rate": 0.2}},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Mean gold over the run, minus that of the better of outcomes alone and random payments."""
    return average(arms["implicit"]) - max(average(arms["outcome"]), average(arms["random"]))
