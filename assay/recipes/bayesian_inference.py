"""KL-regularised RL as inference: move the policy towards the Gibbs target by any f-divergence.

The target is p(y) ∝ π₀(y)·e^{r(y)/β}. E_π r − β·KL(π‖π₀) is −β·KL(π‖p) + β·log Z(x): to maximise it
is to approximate p. Without the KL term p puts all mass on the best completions, so that collapse
is what was asked for. Other divergences to the same p are as legitimate. With t = π/p each is a
policy gradient with the reward −f'(t) (`formulas.gibbs`):

    reverse           KL(π‖p): −(log t + 1); seeks a mode. This *is* kl_in_reward, step for step
    forward           KL(p‖π): 1/t = P/(Z·π), DPG; covers what p covers
    jensen_shannon, total_variation, chi_squared: between and beyond

Rewards are multiplied by β, so that all are in the proxy's units. `moment` sets GDC's target
instead of β: λ is solved once, by importance weights on the reference's completions, so that under
p ∝ π₀·e^{Σλᵢrᵢ} the first `members` reward models have this mean. With one member that is the same
family with 1/β = λ.

Z belongs to a prompt: log Z is kept for each, and moved by `rate` towards the log of the mean of
P/π over the prompt's fresh completions. One Z for all prompts would weigh prompts by their Z, not
only scale the step. `siblings_baseline` takes the prompt's other completions as the baseline;
without it the baseline is the constant −f'(1), with which the forward weight is P/(Zπ) − 1 (the
toolkit's P/(Zq) − π/q at q = π).

Where the released toolkit differs. What it calls KL is KL(p‖π) and "reverse" is KL(π‖p), the
opposite of RLHF's words. It keeps an offline proposal q and replaces it when the policy is better,
and averages Z over 1024 batches. Here q is the policy itself, always.

Traps. β inside e^{r/β} and once more in front of the loss is a β². Importance weights die at small
β: `ess` is the share of completions that count, and where it is near 1/N the forward update rests
on one completion. 1/t is held at e^40.

How far the policy is from p is recorded in three ways, `target/reverse`, `target/forward` and
`target/jensen_shannon`, from the step's completions and the running Z.

Here: a table with one linear reward model contains p, so all divergences end at the same policy.
The claim takes the largest score of five members instead (`aggregate` quantile:1), which is no sum
over tokens: p has a mode for each member, and a policy of independent tokens cannot be p. How much
entropy is kept says how far a policy went, not which way, so the claim does not read it. A run
without the KL term is compared wherever it is best stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Step, Task
from assay.formulas.advantage import leave_one_out
from assay.formulas.aggregate import weighted_sum
from assay.formulas.divergence import k1
from assay.formulas.gibbs import (
    DIVERGENCES,
    at_the_target,
    effective_share,
    pseudo_reward,
    sampled_divergence,
    tilting,
)
from assay.loops import (
    Rollouts,
    member_scores,
    online,
    proxy_score,
    record_kl,
    reference_logp,
    require_group,
)
from assay.stats.effects import Reading

paper = Paper(
    "RL with KL penalties is better viewed as Bayesian inference",
    "Korbak et al.",
    2022,
    "arXiv:2205.11275",
)
reduces = {"kl_in_reward": ({"divergence": "reverse"}, {})}
WAYS = ("reverse", "forward", "jensen_shannon")  # ways in which the distance to p is recorded


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
    """Train towards the target and yield the policy after each step.

    Args:
        divergence: reverse, forward, jensen_shannon, total_variation or chi_squared.
        beta: Temperature β of the target, in units of the proxy per nat; above 0.
        moment: Mean that the first `members` reward models are to have; 0 uses β instead.
        members: Reward models of the moment, counted from the first.
        rate: Share of the fresh estimate in each prompt's Z, above 0 and at most 1.
        siblings_baseline: Use the prompt's other completions as the baseline, otherwise −f'(1).
        member: Index of the reward model that is the proxy, where there is no moment.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if divergence not in DIVERGENCES:
        raise InputError(f"--divergence is '{divergence}'; it is one of {', '.join(DIVERGENCES)}")
    if not beta > 0 or not 0 < rate <= 1:
        raise InputError(
            f"--beta is {beta} and --rate {rate}; beta is above 0, and rate above 0 and at most 1"
        )
    several = member_scores(task, members) if moment else None
    score = proxy_score(task, member, aggregate)
    P = 1 + int(task.prompts.row.max())
    carry: Any = task.carry.keep(
        lam=None,
        log_z=torch.zeros(P, dtype=torch.float64),
        seen=torch.zeros(P, dtype=torch.bool),
    )
    if several is not None and carry.lam is None:
        carry.lam = solved(task, several, moment, loop)
    if several is not None:
        score = lambda x: weighted_sum(several(x), carry.lam * beta)  # r/β is then Σ λᵢrᵢ

    def prepare(batch: Rollouts) -> Rollouts:
        x, r = batch.samples, batch.reward
        row = x.prompts.row.cpu()
        reference = reference_logp(task.reference, x)
        record_kl(x.logp, reference, x.mask)
        paid = r - (beta * k1(x.logp, reference).sum(-1)).to(r.dtype)
        log_w = torch.where(x.present, paid.double() / beta, -torch.inf)  # log P/π
        mean_w = log_w.logsumexp(-1) - x.present.sum(-1).clamp(min=1).log()
        carry.log_z, carry.seen = moved(carry.log_z, carry.seen, row, mean_w.cpu(), rate)
        log_t = torch.where(x.present, carry.log_z.to(log_w.device)[row][:, None] - log_w, 0.0)
        reward = beta * pseudo_reward(log_t, divergence=divergence)  # new in this paper
        if not siblings_baseline:
            A = torch.where(x.present, reward - beta * at_the_target(divergence=divergence), 0.0)
        else:  # reverse without the constants that the baseline cancels is kl_in_reward
            A = leave_one_out(require_group(paid if divergence == "reverse" else reward), x.present)
        batch.advantage = A.to(r)[..., None]
        batch.stats = {
            "ess": float(effective_share(log_w).mean()),
            "log_z": float(carry.log_z[row].mean()),
            **{
                f"target/{k}": float(sampled_divergence(log_t, divergence=k)[x.present].mean())
                for k in WAYS
            },
            "entropy/completion": float(-x.logp.sum(-1)[x.present].mean()),
        }
        return batch

    yield from online(task, loop, score=score, prepare=prepare)


def moved(
    log_z: Tensor, seen: Tensor, row: Tensor, fresh: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Move log Z of this batch's prompts: Z ← (1−rate)·Z + rate·fresh.

    A prompt's first value is kept as it is. Rows of one prompt (several in a batch) count one after
    another.
    """
    log_z, seen = log_z.clone(), seen.clone()
    stay, go = torch.tensor(1 - rate).double().log(), torch.tensor(rate).double().log()
    for place, value in zip(row.tolist(), fresh, strict=True):
        log_z[place] = torch.logaddexp(log_z[place] + stay, value + go) if seen[place] else value
        seen[place] = True
    return log_z, seen


def solved(task: Task, several: Any, moment: float, loop: Loop) -> Tensor:
    """Solve for λ of GDC's target, from 64 completions of the reference to each prompt."""
    y = task.reference.sample(task.batch(loop, 0), 64, task.rng("moments"))
    scores = several(y)
    try:
        return tilting(scores[:, y.present], scores.new_full((len(scores),), moment))
    except ValueError as why:
        raise InputError(
            f"--moment is {moment}, and the reference's completions do not reach it: {why}"
        ) from why


BETA = 0.3
FEW: dict[str, Any] = {
    "aggregate": "quantile:1",
    "beta": BETA,
    "max_steps": 150,
    "num_generations": 64,
}
RATES = {"learning_rate": (0.02, 0.05, 0.1, 0.2)}


def gained(readings: list[Reading]) -> float:
    """The most that a run reaches of E r − β·KL(π‖π₀), in nats: its KL(π‖p) is a constant less."""
    return max(r["proxy"] / BETA - r["kl"] for r in readings if r["tag"] != "best")


def apart(readings: list[Reading], way: str) -> float:
    """Divergence from the target at the end of a run, over its last five readings."""
    said = [r["stats"].get(f"target/{way}") for r in readings if r["tag"] != "best"][-5:]
    return float(sum(said) / len(said))


def nearness(readings: list[Reading]) -> float:
    """What learning rates are chosen by: how near a run comes to the target, both ways alike."""
    if "target/reverse" not in readings[-2]["stats"]:
        return gained(readings)
    return -apart(readings, "reverse") - apart(readings, "forward")


@Claim(
    "Where the policy cannot be the Gibbs target, descending the forward divergence covers it "
    "better than the reverse and the reverse keeps to it better than the forward; and RL without "
    "the KL term, or with one that is blind to what a completion costs, comes less near to it, "
    "wherever it is stopped.",
    arms={
        "reverse": ("bayesian_inference", {"divergence": "reverse", **FEW}),
        "forward": ("bayesian_inference", {"divergence": "forward", **FEW}),
        "none": ("kl_in_reward", {**FEW, "beta": 0.0}),
        "shuffled": ("kl_in_reward", {**FEW, "shuffled": True}),
    },
    worlds=("table",),
    on={"table": {"vocabulary": 16, "length": 3, "pairs": 50}},
    # δ is a tenth of a nat; for less nobody would choose another objective
    least=0.1,
    seeds="300..319",
    tuned=dict.fromkeys(("reverse", "forward", "none", "shuffled"), RATES),
    by=nearness,
    control=("shuffled, stopped",),
    broken="reverse, with each charge at the prompt's next completion",
    premises=("outside the class",),
    differs={"seconds": "a divergence other than reverse needs log Z"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """In nats. `outside the class`: KL(π‖p) that the reverse divergence leaves. `forward covers`:
    KL(p‖π) after reverse less that after forward. `reverse chooses`: KL(π‖p) after forward less
    that after reverse. `none, stopped` and `shuffled, stopped`: how much nearer to p the reverse
    run comes at its best reading than the other at its own, KL(π‖p).
    """
    reverse, forward = arms["reverse"], arms["forward"]
    return {
        "outside the class": apart(reverse, "reverse"),
        "forward covers": apart(reverse, "forward") - apart(forward, "forward"),
        "reverse chooses": apart(forward, "reverse") - apart(reverse, "reverse"),
        **{f"{k}, stopped": gained(reverse) - gained(arms[k]) for k in ("none", "shuffled")},
    }
