"""Does preference learning learn to rank? A policy's ranking accuracy, and which pairs flip.

A policy ranks a pair rightly if it finds the preferred completion likelier than the other. With ℓ
the log-probability of a whole completion under the reference, and a the share of raters who prefer
the winner,

    ranking accuracy    R(π) = share of pairs with π(y_w) > π(y_l)
    idealised           that of DPO's optimum on endless labels: ℓ_w − ℓ_l + logit(a)/β > 0

For one pair let Δ be what training added to log π(y_w) − log π(y_l), and c = ℓ_l − ℓ_w. The pair is
ranked rightly if and only if Δ > c, that is if its DPO loss is below −log σ(β·c). Where c is large
that loss is nearly 0, and the gradient fades long before. So wrong pairs stay wrong while the loss
falls.

This study works on any world with pairs, golds and a reference. It trains DPO at each β for
`passes` over the pairs but a share `held_out`, on which it measures the loss. Of the pairs that DPO
saw it gives accuracy before, after and idealised, for those whose raters agree by more than `tie`
from a half; the share of wrongly ranked pairs that flipped, in thirds by c, beside the share that
the loss predicts (the two are equal: it is an identity); and pairs that training unlearned. Raters
are Bradley–Terry on gold with the world's label noise. DPO sees the word of `raters` of them on
each pair, or with 0 the share of all. On a table's reference `spread` plants preferences, normal
numbers of that deviation, half of them wrong.

Traps. How many pairs flip depends on how long and at what rate one trains: choose both by
`held_out_loss`, the same for worlds that are compared. The idealised accuracy counts all raters; a
policy that ranks all labels of single ones rightly is below it by their noise (`memorised`).

Where the released code differs. Where lengths are not normalised its script takes the ratio of the
two *log*-probabilities, so a less likely winner counts as a likelier one: `idealised_released`.
With one rater a pair its idealised accuracy is 1; here a is the raters' true share.

Room. Where a policy's log-ratio is a sum over tokens, as a table's is, DPO's optimum in that class
is a logistic regression: `class_optimum` is its ranking accuracy, and what it lacks of `idealised`
no training mends. In a bag of 60 tokens it lacks nothing, so that the claim uses 16.

Here, on seeds 0 to 4 of a bag with 16 tokens and β = 0.1: of logit(a) a sum over tokens explains
R² 0.72 to 0.78 (with 60 tokens 0.96), the ideal ranks 0.70 to 0.92 of the clear pairs rightly and
DPO's optimum in the class 0.08 to 0.11 fewer. In a bandit it lacks nothing. On 20 fresh seeds DPO
ends .08 [.06, .09] below the ideal, and .04 [.01, .07] less than half of the wrong pairs flip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.core import Carry, Claim, InputError, Loop, Pairs, Paper, Policy, Task, World
from assay.formulas.pairwise import dpo
from assay.loops import log_ratios, paired
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import fitted_gaps
from assay.rewards.simulated_labels import told

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
    dpo_rate: float = 0.0,
    raters: int = 1,
    held_out: float = 0.2,
    tie: float = 0.05,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each β.

    Args:
        betas: Values of DPO's β, above 0.
        spread: Standard deviation of the preferences planted on a table's logits.
        passes: Passes over the pairs.
        dpo_rate: Learning rate of DPO; 0 for the world's.
        raters: Raters whose word DPO has on each pair; 0 for the true share of all.
        held_out: Share of the pairs that DPO does not see.
        tie: A share of raters within so much of a half is no preference.
    """
    if world.gold is None:
        raise InputError("this study needs to know what raters prefer, and this world has no gold")
    if min(betas, default=0.0) <= 0:
        raise InputError(f"--betas is {list(betas)}; each must be above 0")
    if raters < 0 or not 0 <= held_out < 1:
        raise InputError(
            f"--raters is {raters} and --held-out {held_out}; give 0 or more raters, and a share "
            "from 0 to below 1"
        )
    task, every = planted(world, spread), world.task.pairs
    gap = world.gold(every)[0].diff(dim=1).neg()[:, 0].double()
    noise = float(world.arguments.get("noise", 0.0))
    share = (1 - noise) * gap.sigmoid() + noise * (-gap).sigmoid()  # of raters who prefer the first
    every = replace(every, p=told(every.p, share, raters, task.rng("raters")))
    mixed = task.rng("held out").permutation(len(every))
    cut = round(held_out * len(every))
    unseen, pairs, share = every[mixed[:cut]], every[mixed[cut:]], share[mixed[cut:]]
    loop = world.loop or Loop()
    loop = replace(
        loop,
        max_steps=-(-passes * len(pairs) // loop.batch_size),
        learning_rate=dpo_rate or loop.learning_rate,
    )
    with torch.no_grad():
        before = task.reference.logp(pairs).double().sum(-1)
    clear = (share - 0.5).abs() > tie
    # +1 where the first completion is the one most raters prefer, and the one the labels prefer
    wins, said = (torch.where(x > 0.5, 1.0, -1.0).double() for x in (share, pairs.p))
    ahead = before[:, 0] - before[:, 1]
    wrong = ahead * said < 0
    a = torch.where(wins > 0, share, 1 - share)
    winner = torch.where(wins > 0, before[:, 0], before[:, 1])
    loser = torch.where(wins > 0, before[:, 1], before[:, 0])
    base = task.reference
    best = fitted_gaps(pairs, *base.logits.shape) if isinstance(base, TablePolicy) else None
    for beta in betas:
        policy: Any = None
        for step in trained(task.replaced(carry=Carry()), pairs, beta, loop):
            policy = step.policy
        with torch.no_grad():
            gained = policy.logp(pairs).double().sum(-1) - before
        delta = gained[:, 0] - gained[:, 1]
        flipped = delta * said > -ahead * said
        foretold = foretells(delta * said, -ahead * said, beta)
        ideal = idealised(winner, loser, a, beta=beta)
        yield {
            "beta": beta,
            "pairs": int(clear.sum()),
            "before": rate(ahead * wins > 0, clear),
            "after": rate((ahead + delta) * wins > 0, clear),
            "idealised": rate(ideal, clear),
            "idealised_flipped": rate(ideal, (winner < loser) & clear),
            "class_optimum": None
            if best is None
            else rate((ahead + best / beta) * wins > 0, clear),
            "idealised_released": rate(
                idealised(winner, loser, a, beta=beta, released=True), clear
            ),
            "memorised": rate(said == wins, clear),
            "labels_before": rate(~wrong),
            "labels_after": rate((ahead + delta) * said > 0),
            "wrong": int(wrong.sum()),
            "flipped": rate(flipped, wrong),
            "foretold": rate(foretold, wrong),
            "identity_holds": bool((flipped == foretold).all()),
            "flipped_by_third": thirds(flipped, -ahead * said, wrong),
            "unlearned": rate(~flipped, ahead * said > 0),
            "loss": mean_loss(policy, task.reference, pairs, beta),
            "held_out_loss": mean_loss(policy, task.reference, unseen, beta),
            "kl": float(policy.kl(task.reference, pairs).mean()),
        }
    yield {"kind": "spent", "arm": "", "updates": loop.max_steps * len(betas)}


def mean_loss(policy: Policy, reference: Policy, pairs: Pairs, beta: float) -> float | None:
    """DPO's mean loss on pairs; None where there are none."""
    if not len(pairs):
        return None
    with torch.no_grad():
        ratios = log_ratios(policy.logp(pairs).double(), reference.logp(pairs).double())
    return float(dpo(*ratios, beta=beta, p=pairs.p.double()).mean())


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


def unseen_loss(lines: list[dict[str, Any]]) -> float:
    """Minus the loss on the pairs held out: what rate and passes are chosen by."""
    return -float(lines[0]["held_out_loss"])


_ALL = {"betas": (0.1,), "raters": 0, "passes": 30}


@Claim(
    "Trained at the rate that suits the pairs held out, and told how all raters "
    "divide, DPO leaves most pairs as wrongly ranked as the reference had them where completions "
    "share parameters, too few to express its optimum, and ranks far fewer rightly than that "
    "optimum would; both are less so where each completion has parameters of its own, at the rate "
    "that suits those.",
    arms={
        "shared": ("ranking_accuracy", _ALL),
        "own": ("ranking_accuracy", {**_ALL, "world.testbed": "bandit"}),
    },
    worlds=("table",),
    on={"table": {"vocabulary": 16}},  # the bent token is one of 4 rare ones: counts cannot say it
    tuned={"shared": {"dpo_rate": (0.01, 0.03, 0.1)}, "own": {"dpo_rate": (0.1, 0.2, 0.5)}},
    by=unseen_loss,
    # one pair of twenty is the least that counts as a gap or as a difference
    least={
        "below the ideal": 0.05,
        "fewer than half flipped": 0.0,
        "fewer flipped than with parameters of their own": 0.05,
        "further below the ideal than with parameters of their own": 0.05,
        "the loss falls": 0.0,
        "room below the ideal": 0.05,
        "room to flip": 0.0,
    },
    seeds="500..519",
    control=(
        "fewer flipped than with parameters of their own",
        "further below the ideal than with parameters of their own",
    ),
    broken="a bandit, in which nearly every completion has a parameter of its own",
    premises=("the loss falls", "room below the ideal", "room to flip"),
    differs={"seconds": "a bandit's completions are one decision"},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Idealised minus trained accuracy, ½ minus the share of wrongly ranked pairs that flipped, how
    much worse both are than where nothing is shared, and how far the loss on unseen pairs fell.
    The room: idealised accuracy minus that of DPO's optimum in the class, and the share of wrongly
    ranked pairs that the ideal flips minus ½.
    """
    line, own = arms["shared"][0], arms["own"][0]
    if line["flipped"] is None or own["flipped"] is None:
        raise ValueError("the reference ranks no pair wrongly: raise spread")
    below = [float(x["idealised"] - x["after"]) for x in (line, own)]
    return {
        "below the ideal": below[0],
        "fewer than half flipped": float(0.5 - line["flipped"]),
        "fewer flipped than with parameters of their own": float(own["flipped"] - line["flipped"]),
        "further below the ideal than with parameters of their own": below[0] - below[1],
        "the loss falls": math.log(2) - float(line["held_out_loss"]),
        "room below the ideal": float(line["idealised"] - line["class_optimum"]),
        "room to flip": float(line["idealised_flipped"] - 0.5),
    }
