"""Process advantage verifiers (PAV): pay a step what it adds to another policy's chance of success.

The other policy μ is the prover:

    A^μ(s_h, a_h) = Q^μ(s_h, a_h) − Q^μ(s_{h−1}, a_{h−1})

with μ's chance from the bare prompt before the first step, and the outcome itself after the last.
The policy descends on A^π + α·A^μ, where A^π is the outcome against the mean of the prompt's other
completions (α = 0 is leave_one_out) and A^μ counts on the tokens of its own step alone.

Q^μ is a trained verifier. Before the first step the reference writes `solutions` completions of
each of `examples` prompts, each is cut at `prefixes` ends of steps, and μ continues every prefix
`rollouts` times. A value head on a copy of the reference is fitted to the shares of success by
cross-entropy, without a share `held_out` of the prompts; its error there is the statistic
`verifier/error`, beside `verifier/error_of_mean`, that of the mean label. These continuations count
as generated and scored, the fit's updates as updates. Training then pays each step at the price of
one forward pass.

Provers: "best" is the best of k of the reference, 1 − (1−V)^k, labelled by its unbiased estimate;
"self" the reference; "weak" and "strong" the world's other policies. A prover should tell steps
apart and agree with the policy. A strong one succeeds from nearly anywhere, a weak one from
nowhere. The policy itself says in expectation what the outcome said already: with μ = π the term
scales the gradient by 1 + α.

`shuffled` fits the verifier to the same labels at other prefixes: the negative control.

Traps. The advantage is paid, not Q: Q keeps good states, not good steps. And it is not summed to
go: under any prover the sum over a completion is outcome − V(prompt), so that only a baseline is
left. Labels of n continuations have variance p(1−p)/n; the verifier averages it over prefixes.

Traps of the verifier. Where it saw no prefix it knows nothing, and the policy goes there or stays
away for that alone: with 4 prefixes of a completion of up to 60 steps it never saw the last places
before the goal, and α = 1 undid all learning; with 16 it did not. And the labels cost more than the
training that they speed up.

Trap of the comparison. In the chain of places, outcomes alone that may spend the labels'
completions too, 41 prompts a step in the place of 8, come within 0.011 of the best policy's gold at
a learning rate of 0.4, so that no method can be seen to be faster. The claim therefore compares at
equal completions in training, few a step, and leaves out the price of the labels, as the paper
does: they are an order of magnitude more than the training that they speed up.

Here: in the chain a verifier teaches faster than outcomes alone, which lose the way to the goal on
some seeds, and than a verifier of shuffled prefixes. That of the policy itself teaches as fast as
that of the best of four. Steps are lines of scratch work (world sums) or single actions; no
language model of the paper's size was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, HasValueHead, Loop, Paper, Rng, Samples, Step, Task, require
from assay.errors import InputError
from assay.formulas.process import best_of_k_estimate, on_steps
from assay.loops import Rollouts, leave_one_out_advantage, online, proxy_score
from assay.loops.verifiers import Labels, collected, fitted_verifier, progress, values
from assay.stats.effects import Reading, average

paper = Paper(
    "Rewarding Progress: Scaling Automated Process Verifiers for LLM Reasoning",
    "Setlur et al.",
    2024,
    "arXiv:2410.08146",
)
reduces = {"leave_one_out": ({"alpha": 0.0}, {})}
PROVERS = ("best", "self", "weak", "strong")


def recipe(
    task: Task,
    *,
    alpha: float = 3.0,
    prover: str = "best",
    k: int = 4,
    rollouts: int = 4,
    examples: int = 64,
    solutions: int = 4,
    prefixes: int = 3,
    verifier_steps: int = 100,
    verifier_lr: float = 0.0,
    held_out: float = 0.2,
    shuffled: bool = False,
    right: float = 0.5,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Fit the verifier, then train on outcomes and progress; yield the policy after each step.

    Args:
        alpha: Weight α of A^μ.
        prover: best, self, weak or strong.
        k: Continuations of the best prover, from 1 to `rollouts`.
        rollouts: Continuations of each prefix, at least 1.
        examples: Prompts that the verifier is fitted on, at least 2.
        solutions: Completions of each of them that are cut into prefixes.
        prefixes: Prefixes of a completion, at most.
        verifier_steps: Updates of the verifier.
        verifier_lr: Its learning rate; 0 for the policy's.
        held_out: Share of the examples that only measure its error.
        shuffled: Give every prefix the label of another one: the control.
        right: Outcome from which a completion succeeded.
        member: Index of the reward model that is the outcome.
    """
    if prover not in PROVERS:
        raise InputError(f"--prover is '{prover}'; it is one of {', '.join(PROVERS)}")
    if rollouts < 1 or (prover == "best" and not 1 <= k <= rollouts):
        raise InputError(
            f"--rollouts is {rollouts} and --k {k}; the best of k ≥ 1 is estimated from at least k "
            "continuations"
        )
    if examples < 2 or solutions < 1 or prefixes < 1:
        raise InputError(
            f"--examples is {examples}, --solutions {solutions} and --prefixes {prefixes}; give at "
            "least 2 examples, 1 solution of each and 1 prefix of a solution"
        )
    score = proxy_score(task, member)

    def success(y: Samples) -> Tensor:
        return (score(y) >= right).to(y.logp)

    if alpha:
        rng = task.rng("verifier")
        reference = require(task.reference, HasValueHead, "process_advantage")
        verifier = reference.value_head(1, rng("head"))
        told: dict[str, float] = {}
        kept: Any = task.carry.keep(verifier=verifier, told=told)
        if kept.next == 0:
            labels = collected(
                task.reference,
                task.reference if prover in ("best", "self") else task.others[prover],
                task.prompts[rng("examples").permutation(len(task.prompts))[:examples]],
                step_of=task.rewards.step_of,
                success=success,
                solutions=solutions,
                prefixes=prefixes,
                rollouts=rollouts,
                rng=rng,
            )
            share = labels.wins / rollouts
            if prover == "best":
                share = best_of_k_estimate(labels.wins, n=rollouts, k=k)
            fit = replace(
                loop,
                max_steps=verifier_steps,
                learning_rate=verifier_lr or loop.learning_rate,
                batch_size=min(16, examples),
            )
            target = elsewhere(share, labels, rng("shuffle")) if shuffled else share
            found = fitted_verifier(
                verifier, labels, target, loop=fit, held_out=held_out, rng=rng("fit")
            )
            kept.told = {f"verifier/{name}": value for name, value in found.items()}

    def prepare(batch: Rollouts) -> Rollouts:
        x, outcome = batch.samples, batch.reward
        A = leave_one_out_advantage(outcome, x)
        if alpha:
            step = task.rewards.step_of(x)
            q = torch.sigmoid(values(verifier, x, step))
            A = A + alpha * on_steps(progress(q, (outcome >= right).to(q), step), step)
            batch.stats = dict(kept.told)
        batch.advantage = A
        return batch

    yield from online(task, loop, score=score, prepare=prepare)


def elsewhere(share: Tensor, labels: Labels, rng: Rng) -> Tensor:
    """The labels in random order among the prefixes that have one."""
    mixed = share[labels.here][rng.permutation(int(labels.here.sum()))]
    return share.masked_scatter(labels.here, mixed)


BEST = 0.667  # gold of the chain's best policy, by backward induction
_CHAIN = {"max_steps": 20, "batch_size": 4, "num_generations": 4, "right": 0.12}
_PAID = {**_CHAIN, "examples": 16, "solutions": 4, "prefixes": 16, "verifier_lr": 0.05}
_RATES = (0.2, 0.4, 0.8)


@Claim(
    "Paid by progress under the best of four of itself, by a trained verifier, a policy learns "
    "faster than by outcomes alone from as many completions in training, the verifier's labels "
    "left out, than by a verifier of itself, and than by a verifier of shuffled prefixes.",
    arms={
        "best": ("process_advantage", _PAID),
        "self": ("process_advantage", {**_PAID, "prover": "self"}),
        "shuffled": ("process_advantage", {**_PAID, "shuffled": True}),
        "outcome": ("process_advantage", {**_CHAIN, "alpha": 0.0}),
    },
    worlds=("table",),
    on={"table": {"testbed": "chain", "horizon": 60}},
    tuned={
        "best": {"learning_rate": _RATES, "alpha": (0.03, 0.1, 0.3, 1.0)},
        "self": {"learning_rate": _RATES, "alpha": (0.1, 0.3, 1.0, 3.0)},
        "shuffled": "best",
        "outcome": {
            "learning_rate": (0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8)
        },
    },
    by=average,
    # 5 % of the best policy's gold; the room above outcomes alone has to be larger
    least={"over outcome": 0.033, "over self": 0.033, "over shuffled": 0.033, "room": 0.05},
    seeds="420..479",
    control=("over shuffled",),
    broken="the verifier is fitted to the labels of other prefixes",
    premises=("room",),
    differs={
        "generated": "the verifier's labels are left out, as in the paper",
        "scored": "the verifier's labels are left out, as in the paper",
        "updates": "the verifier is fitted by updates of its own, before the policy's first",
        "seconds": "the verifier is fitted and read",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the run, minus that of each other arm; and the room, by how much the best
    policy's gold exceeds that of outcomes alone.
    """
    others = ("outcome", "self", "shuffled")
    over = {f"over {k}": average(arms["best"]) - average(arms[k]) for k in others}
    return {**over, "room": BEST - average(arms["outcome"])}
