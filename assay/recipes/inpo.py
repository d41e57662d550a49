"""INPO: no-regret self-play, each step of which is fitted by a squared loss on labelled pairs.

Two completions of π_k, one label of which is preferred, and

    L = (h − 1/(2η))²,   h = log π(w)/π(l) − (τ/η)·log μ(w)/μ(l) − (1−τ/η)·log π_k(w)/π_k(l)

Over all pairs its minimiser is a step of mirror descent on the KL-regularised game:

    π_{k+1} ∝ π_k^{1−τ/η}·μ^{τ/η}·exp(P(·≻π_k)/η)

No win rate is ever estimated: one label a pair will do, because the target ±1/(2η) is right on
average. The last policy converges to the regularised Nash policy, π* ∝ μ·exp(P(·≻π*)/τ). A round
draws completions of π_k to `batch_size` prompts and compares all pairs of a prompt;
`round_steps` updates fit them. `exact` takes the step itself, for a table of one decision.

It differs from online IPO in the anchor: with τ = η that is μ alone, and the method is IPO on the
policy's own pairs. With τ = 0 it is multiplicative weights, whose last policy cycles.
`regression="logistic"` puts DPO's loss in place of the square, −log σ(η·h): with τ = η that is
iterative DPO.

Traps. η is an *inverse* step. h is a sum over tokens: at η = .0075 the target is 67 nats for every
pair, whatever its length. `select="extremes"`, the best and the worst of a prompt's completions as
in the paper's runs on language models, has larger margins than the theory's pairs, and another
minimiser. One public trainer of this name has a loss for each response instead.

Here: games of a few completions, in which exploitability is exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import InputError, Loop, Pairs, Paper, Policy, Samples, Step, Task
from assay.formulas.pairwise import dpo
from assay.formulas.self_play import inpo, margin_pairs, no_regret_step, win_proportions
from assay.loops.preference_rounds import exact_rounds, fitted_rounds, labelled, paired_up

paper = Paper(
    "Iterative Nash Policy Optimization: Aligning LLMs with General Preferences via No-Regret Learning",  # noqa: E501  # a title stands letter for letter, on one line
    "Zhang et al.",
    2024,
    "arXiv:2407.00617",
)
reduces = {
    "magnetic_mirror_descent": (
        {"exact": True, "eta": 2.0, "tau": 0.1},
        {"exact": True, "eta": 1 / 1.9, "alpha": 0.1},
    )
}
SELECT, REGRESSION = ("all", "extremes"), ("squared", "logistic")


def recipe(
    task: Task,
    *,
    eta: float = 1.0,
    tau: float = 0.1,
    round_steps: int = 10,
    select: str = "all",
    regression: str = "squared",
    soft: bool = False,
    exact: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by rounds of self-play and yield the policy after each step.

    Args:
        eta: Inverse step η, at least `tau`.
        tau: Weight τ of the KL to the reference, per nat.
        round_steps: Steps for which a round's pairs are fitted.
        select: all pairs of a prompt's completions, or extremes: the best and the worst.
        regression: squared (INPO) or logistic (DPO's loss with the same anchor).
        soft: Fit probabilities of the preference model instead of one drawn label a pair.
        exact: Take the exact step over all completions (a table of one decision).
    """
    for name, value, known in (("select", select, SELECT), ("regression", regression, REGRESSION)):
        if value not in known:
            raise InputError(f"--{name} is '{value}'; it is one of {', '.join(known)}")
    if not 0 <= tau <= eta or eta == 0:
        raise InputError(f"--eta is {eta} and --tau {tau}; give 0 <= tau <= eta and eta above 0")
    if exact:
        yield from exact_rounds(
            task, loop, lambda logp, q, mu, _: no_regret_step(logp, q, mu, eta=eta, tau=tau)
        )
        return

    def pairs(policy: Policy, x: Samples, k: int) -> Pairs:
        preference = task.preference(x, x)
        if select == "all":
            return labelled(x, preference, task.rng("labels", k), soft=soft)
        wins = win_proportions(preference, x.present)
        places, kept = margin_pairs(wins, x.present, margin=0.0, most=1)
        rows = kept[:, 0].nonzero()[:, 0]
        chosen = places[rows, 0]
        return paired_up(
            x, rows, chosen, margin=wins[rows].gather(1, chosen).diff(dim=1)[:, 0].neg()
        )

    def loss(rows: Pairs, policy: Tensor, previous: Tensor, reference: Tensor) -> Tensor:
        if regression == "squared":
            return inpo(policy, previous, reference, eta=eta, tau=tau, p=rows.p)
        anchor = tau / eta * reference + (1 - tau / eta) * previous
        return dpo(policy - anchor, torch.zeros_like(policy), beta=eta, p=rows.p)

    yield from fitted_rounds(task, loop, round_steps=round_steps, pairs=pairs, loss=loss, beta=eta)
