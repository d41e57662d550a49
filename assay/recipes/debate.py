"""Justifiable decisions: pay a decision for its return and for winning a debate about it.

A state has `features` features. Two players, one for decision a and one for the baseline's decision
b, reveal features in turns until `reveal` are shown. The judge J(s⊙m, m, a), fitted by
Bradley–Terry on comparisons under *random* masks of that size, then says who won. The protagonist's
reward is

    R = (1 − λ)·environment·r(s, a) + λ·bonus·1[J(a) > J(b)],      b the decision of λ = 0

and the game's own payoff is +1, −1 or 0.

This is a study, not a recipe: it is about contextual decisions with features, and makes its own (a
Task has completions and no features). Return and the people's preferences are linear in the state,
with `shared` of their weight in common. The judge is linear in what it is shown, so the debate is
additive: each player's best reply in turn is to show what helps it most, exactly (`maxmin`), where
the paper trains both by self-play. The best decision in each state is exact as well.

`evidence` says which features are shown: debate (in turns), alone (one side shows all it likes),
random (features at random: the control), full (the judge sees everything). After the evidence a
confuser may add `confuse` features against the protagonist: a verdict that survives is robust.

Traps. At λ = 1 all winning decisions tie and the first is taken. A tie pays 0, and the same
decision as the baseline's is a tie: the bonus is one for disagreeing. Win rates are over the states
where the decisions differ; `preferred` is over all, half for equal decisions. The game pays {−1, 0,
1}, the policy {0, 1}.

Where the released code differs. It computes the bonus on stored decisions, off-policy, and its
judge normalises by batch, to be switched to evaluation; here neither.

Here: gold is what the people's own preference says of the decisions, without noise or masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, Paper
from assay.errors import InputError

paper = Paper(
    "Reward Design for Justifiable Sequential Decision-Making",
    "Sukovic and Radanovic",
    2024,
    "arXiv:2402.15826",
)
reduces = {}

EVIDENCE = ("debate", "alone", "random", "full")


def study(
    world: Any,
    *,
    states: int = 1000,
    decisions: int = 5,
    features: int = 20,
    reveal: int = 6,
    pairs: int = 4000,
    shared: float = 0.5,
    noise: float = 1.0,
    environment: float = 1.0,
    bonus: float = 1.0,
    confuse: int = 2,
    lams: list[float] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each λ and kind of evidence.

    Args:
        states: States that are decided.
        decisions: Decisions in each state, at least 2.
        features: Features of a state.
        reveal: Features shown to the judge, above 0 and at most `features`.
        pairs: Comparisons that the judge is fitted to.
        shared: Share of weight that return and preference have in common.
        noise: Temperature of the people's choices.
        environment: Weight of the return.
        bonus: Weight of winning the debate.
        confuse: Features that the confuser adds.
        lams: Values of λ; 0.25, 0.5, 0.75 and 1 if not given.
    """
    if (
        not 0 < reveal <= features
        or reveal + confuse > features
        or states < 1
        or decisions < 2
        or pairs < 1
    ):
        raise InputError(
            f"--features is {features}, --reveal {reveal} and --confuse {confuse}; what is shown "
            "is of the features"
        )
    rng = world.task.rng("debate")
    f, a = torch.arange(features), torch.arange(decisions)
    pays = rng("pays").normal(a[:, None], f, dtype=torch.float64)
    liked = shared**0.5 * pays + (1 - shared) ** 0.5 * rng("liked").normal(
        a[:, None], f, dtype=torch.float64
    )
    weights = judged(features, decisions, reveal, pairs, liked / features**0.5, noise, rng("judge"))
    s = rng("states").normal(torch.arange(states)[:, None], f, dtype=torch.float64)
    r, truth = s @ pays.T / features**0.5, s @ liked.T / features**0.5
    base = r.argmax(1)
    says = (
        s[:, None] * weights[:, :features] + weights[:, features:]
    )  # [S,A,F]: what a shown feature adds to J
    gap = (
        says - says[torch.arange(states), base][:, None]
    )  # in favour of a, against the baseline's decision
    chance = rng("random").uniform(torch.arange(states)[:, None], f, dtype=torch.float64)
    masks = {kind: shown(gap, kind, reveal, chance) for kind in EVIDENCE}
    for lam in lams or [0.25, 0.5, 0.75, 1.0]:
        for kind, mask in masks.items():
            won = ((gap * mask).sum(-1) > 0).double()
            chosen = ((1 - lam) * environment * r + lam * bonus * won).argmax(1)
            yield {
                "lam": lam,
                "evidence": kind,
                **measured(chosen, base, r, truth, gap, mask, confuse),
            }


def judged(
    features: int, decisions: int, reveal: int, pairs: int, liked: Tensor, noise: float, rng: Any
) -> Tensor:
    """Fit a linear judge `[A,2F]` on (s⊙m, m) by ridge Bradley–Terry under random masks.

    The problem is convex and is solved by Newton's method.
    """
    p, f = torch.arange(pairs), torch.arange(features)
    s = rng("state").normal(p[:, None], f, dtype=torch.float64)
    one, other = rng("one").integers(decisions, p), rng("other").integers(decisions - 1, p)
    other = torch.where(other >= one, other + 1, other)
    first = torch.sigmoid(((s * liked[one]).sum(-1) - (s * liked[other]).sum(-1)) / noise)
    label = (rng("label").uniform(p, dtype=torch.float64) < first).double()
    rank = rng("mask").uniform(p[:, None], f, dtype=torch.float64).argsort(1).argsort(1)
    mask = (rank < reveal).double()
    seen = torch.cat([s * mask, mask], 1)
    x = seen.new_zeros(pairs, decisions, 2 * features)
    x[p, one], x[p, other] = seen, -seen
    x, w = x.flatten(1), seen.new_zeros(decisions * 2 * features)
    for _ in range(20):
        q = torch.sigmoid(x @ w)
        curve = (x.T * (q * (1 - q))) @ x + torch.eye(len(w), dtype=w.dtype)
        w = w - torch.linalg.solve(curve, x.T @ (q - label) + w)
    return w.reshape(decisions, -1)


def shown(gap: Tensor, kind: str, reveal: int, chance: Tensor) -> Tensor:
    """Mark the features that are shown `[S,A,F]`, 1 or 0, in a debate for a against the baseline.

    The verdict is the sum of the gaps shown, so in turns each player's best reply is the most
    helpful feature that is left.
    """
    F = gap.shape[-1]
    if kind == "full":
        return torch.ones_like(gap)
    if kind == "random":
        return (chance.argsort(1).argsort(1) < reveal).to(gap)[:, None].expand_as(gap)
    place = gap.argsort(-1, descending=True).argsort(-1)  # 0: the most helpful to a
    mine = reveal if kind == "alone" else (reveal + 1) // 2
    return ((place < mine) | (place >= F - (reveal - mine))).to(gap)


def measured(
    chosen: Tensor, base: Tensor, r: Tensor, truth: Tensor, gap: Tensor, mask: Tensor, confuse: int
) -> dict[str, float]:
    """Return, gold preference and verdicts of these decisions."""
    i = torch.arange(len(chosen))
    differ = chosen != base
    mine, verdict = gap[i, chosen], (gap * mask).sum(-1)[i, chosen]
    against = torch.where(mask[i, chosen] > 0, torch.inf, mine).sort(1).values[:, :confuse]
    against = torch.where(against.isfinite(), against, 0.0).sum(1)
    better = (truth[i, chosen] > truth[i, base]).double()
    count = max(1, int(differ.sum()))
    return {
        "return": float(r[i, chosen].mean() / r[i, base].mean()),
        "differ": float(differ.double().mean()),
        "preferred": float(torch.where(differ, better, 0.5).mean()),
        "gold": float((truth[i, chosen] - truth[i, base]).mean()),
        "wins": float((verdict[differ] > 0).double().sum() / count),
        "agrees": float(((verdict > 0) == (mine.sum(1) > 0))[differ].double().sum() / count),
        "robust": float(((verdict + against) > 0)[differ].double().sum() / count),
    }


@Claim(
    "Paid for winning a debate over six features, decisions are preferred by people more than if "
    "paid for six random ones.",
    arms={"debate": ("debate", {})},
    worlds=("table",),
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> float:
    """Gold preference over the baseline's decisions at λ = ½: debate less random features."""
    at = {line["evidence"]: line["preferred"] for line in arms["debate"] if line["lam"] == 0.5}
    return float(at["debate"] - at["random"])
