"""Does preference learning learn to rank? A policy's ranking accuracy, and which pairs flip.

A policy ranks a pair rightly if it finds the preferred completion likelier than the other. With ℓ
the log-probability of a whole completion under the reference, and a the share of raters who prefer
the winner,

    ranking accuracy    R(π) = share of pairs with π(y_w) > π(y_l)
    idealised           that of DPO's optimum on endless labels: ℓ_w − ℓ_l + logit(a)/β > 0

For one pair let Δ be what training added to log π(y_w) − log π(y_l), and c = ℓ_l − ℓ_w. Then the
pair is ranked rightly if and only if Δ > c, that is if its DPO loss is below −log σ(β·c). For a
pair that the reference ranks wrongly by a large c the loss must be nearly 0, and the gradient fades
long before that. So the wrong pairs stay wrong, while the loss falls.

This study works on any world with pairs, golds and a reference. It trains DPO at each β for
`passes` over the world's pairs, and gives accuracy before, after and idealised, for the pairs whose
raters agree by more than `tie` from a half; the share of wrongly ranked pairs that flipped, in
thirds by c, beside the share that the loss predicts (the two are equal: it is an identity); and
pairs that training unlearned. Raters are Bradley–Terry on gold with the world's label noise; DPO
sees one rater's word on each pair, as is usual. A table's reference prefers nothing in particular,
so `spread` plants preferences: normal numbers of that deviation on its logits, half of them wrong.

Where the released code differs. Where lengths are not normalised its script takes the ratio of the
two *log*-probabilities instead of exponentiating their difference, so a less likely winner counts
as a likelier one (log-probabilities are negative: −10/−5 is above 1). `idealised_released` is that
number; the test shows a pair on which it is wrong. And with one rater a pair, a is 0 or 1, its
logit infinite, and the idealised accuracy 1 whatever the reference: here a is the raters' true
share.

Here: the shared-parameter control is built in. In a bag all completions share 60 numbers; in a
bandit nearly every completion has its own. In the bag few wrong pairs flip, and fewer the larger c.
In the bandit a small β flips nearly all of them, whatever c is, so it is the sharing that keeps
them (`assay study ranking_accuracy --world table --world.testbed bandit`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.core import Carry, Claim, InputError, Loop, Pairs, Paper, Task, World
from assay.formulas.pairwise import dpo
from assay.loops import log_ratios, paired
from assay.models.policies.table import TablePolicy

paper = Paper(
    "Preference Learning Algorithms Do Not Learn Preference Rankings",
    "Chen et al.",
    2024,
    "arXiv:2405.19534",
)
reduces = {}


def study(
    world: World,
    *,
    betas: tuple[float, ...] = (0.01, 0.1, 1.0, 5.0),
    spread: float = 1.0,
    passes: int = 6,
    tie: float = 0.05,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each β.

    Args:
        betas: Values of DPO's β, above 0.
        spread: Standard deviation of the preferences planted on a table's logits.
        passes: Passes over the pairs.
        tie: A share of raters within so much of a half is no preference.
    """
    if world.gold is None:
        raise InputError("this study needs to know what raters prefer, and this world has no gold")
    if min(betas, default=0.0) <= 0:
        raise InputError(f"--betas is {list(betas)}; each must be above 0")
    task, pairs = planted(world, spread), world.task.pairs
    gap = world.gold(pairs)[0].diff(dim=1).neg()[:, 0].double()
    noise = float(world.arguments.get("noise", 0.0))
    share = (1 - noise) * gap.sigmoid() + noise * (-gap).sigmoid()  # of raters who prefer the first
    with torch.no_grad():
        before = task.reference.logp(pairs).double().sum(-1)
    ahead, clear = before[:, 0] - before[:, 1], (share - 0.5).abs() > tie
    wins = torch.where(share > 0.5, 1.0, -1.0)  # the first completion is the one most raters prefer
    loop = world.loop or Loop()
    loop = replace(loop, max_steps=-(-passes * len(pairs) // loop.batch_size))
    for beta in betas:
        policy: Any = None
        for step in trained(task.replaced(carry=Carry()), pairs, beta, loop):
            policy = step.policy
        with torch.no_grad():
            gained = policy.logp(pairs).double().sum(-1) - before
        delta = gained[:, 0] - gained[:, 1]
        wrong = ahead < 0  # of the labels that it was trained on
        flipped, foretold = delta > -ahead, foretells(delta, -ahead, beta)
        majority = (
            torch.where(wins > 0, before[:, 0], before[:, 1]),
            torch.where(wins > 0, before[:, 1], before[:, 0]),
        )
        a = torch.where(wins > 0, share, 1 - share)
        yield {
            "beta": beta,
            "pairs": int(clear.sum()),
            "before": rate(ahead * wins > 0, clear),
            "after": rate((ahead + delta) * wins > 0, clear),
            "idealised": rate(idealised(*majority, a, beta=beta), clear),
            "idealised_released": rate(idealised(*majority, a, beta=beta, released=True), clear),
            "labels_before": rate(~wrong),
            "labels_after": rate(ahead + delta > 0),
            "wrong": int(wrong.sum()),
            "flipped": rate(flipped, wrong),
            "foretold": rate(foretold, wrong),
            "identity_holds": bool((flipped == foretold).all()),
            "flipped_by_third": thirds(flipped, -ahead, wrong),
            "unlearned": rate(~flipped, ahead > 0),
            "loss": float(-logsigmoid(beta * delta).mean()),
            "kl": float(policy.kl(task.reference, pairs).mean()),
        }
    yield {"kind": "spent", "arm": "", "updates": loop.max_steps * len(betas)}


def planted(world: World, spread: float) -> Task:
    """The world's task; a table's reference then prefers some tokens to others for no reason."""
    policy = world.task.reference
    if spread == 0 or not isinstance(policy, TablePolicy):
        return world.task
    R, V = policy.logits.shape
    odd = policy.copy()
    with torch.no_grad():
        odd.logits.add_(
            world.task.rng("planted").normal(
                torch.arange(R)[:, None], torch.arange(V), dtype=odd.logits.dtype
            ),
            alpha=spread,
        )
    return world.task.replaced(reference=odd.requires_grad_(False))


def trained(task: Task, pairs: Pairs, beta: float, loop: Loop) -> Iterator[Any]:
    """Train by DPO on these pairs."""

    def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        return dpo(*log_ratios(logp, reference), beta=beta, p=rows.p)

    yield from paired(task, loop, data=pairs, loss=loss, beta=beta)


def idealised(
    winner: Float[Tensor, "B"],
    loser: Float[Tensor, "B"],
    share: Float[Tensor, "B"],
    *,
    beta: float,
    released: bool = False,
) -> Bool[Tensor, "B"]:
    """Whether DPO's optimum ranks a pair rightly: ℓ_w − ℓ_l + logit(a)/β > 0.

    It is computed in logarithms, so that nothing overflows.

    Args:
        winner: Log-probability of the winner under the reference.
        loser: Log-probability of the loser under the reference.
        share: Share of raters who prefer the winner, below 1.
        beta: DPO's β.
        released: Take ℓ_w/ℓ_l for the probabilities' ratio, as the paper's script does.
    """
    ahead = (winner / loser).log() if released else winner - loser
    return ahead + share.logit() / beta > 0


def foretells(delta: Tensor, c: Tensor, beta: float) -> Tensor:
    """Whether a pair's loss is below −log σ(β·c), which says that it is ranked rightly."""
    return -logsigmoid(beta * delta) < -logsigmoid(beta * c)


def rate(of: Tensor, among: Tensor | None = None) -> float | None:
    """Share of True; None where there is nothing to count."""
    kept = of if among is None else of[among]
    return float(kept.double().mean()) if len(kept) else None


def thirds(flipped: Tensor, c: Tensor, wrong: Tensor) -> list[float | None]:
    """Share of wrongly ranked pairs that flipped: smallest, middle and largest third of c."""
    order = torch.where(wrong, c, torch.inf).argsort()[: int(wrong.sum())]
    return [rate(flipped[rows]) for rows in order.tensor_split(3)]


@Claim(
    "Where completions share parameters, DPO leaves most pairs as wrongly ranked as the reference "
    "had them, and ranks far fewer rightly than its own optimum would.",
    arms={
        "shared": ("ranking_accuracy", {"betas": (0.1,)}),
        "own": ("ranking_accuracy", {"betas": (0.1,), "world.testbed": "bandit"}),
    },
    worlds=("table",),
    least={"below the ideal": 0.05, "fewer than half flipped": 0.0},
    seeds="100..119",
    control=("fewer flipped than with parameters of their own",),
    broken="a bandit, in which nearly every completion has a parameter of its own",
    differs={"seconds": "a bandit's completions are one decision"},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Idealised minus trained accuracy, ½ minus the share of wrongly ranked pairs that flipped, and
    how many more of them flip where completions share nothing.
    """
    line, own = arms["shared"][0], arms["own"][0]
    if line["flipped"] is None or own["flipped"] is None:
        raise ValueError("the reference ranks no pair wrongly: raise spread")
    return {
        "below the ideal": float(line["idealised"] - line["after"]),
        "fewer than half flipped": float(0.5 - line["flipped"]),
        "fewer flipped than with parameters of their own": float(own["flipped"] - line["flipped"]),
    }
