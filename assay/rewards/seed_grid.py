"""A grid of reward models over pretraining and fine-tuning seeds, and what its ensembles do.

Reward model (p, f), of pretraining seed p and fine-tuning seed f, stands at place p·S + f; those
of the S trunks without pretraining come after the S² of the grid, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import InputError, Pairs, Rng
from assay.formulas.aggregate import mean, mean_minus_deviation, quantile, worst
from assay.formulas.curves import best_of_n_shares
from assay.rewards.agreement import between, error_agreement, favourites, rank_agreement, wins
from assay.rewards.attributes import attributes

AGGREGATES = {
    "mean": mean,
    "median": lambda r: quantile(r, q=0.5),
    "worst": worst,
    "mean minus deviation": mean_minus_deviation,
}
ALIGNED = 8  # completions among which an aligned policy chooses, for the diagnostics
Kinds = dict[str, list[list[int]]]


def kinds_of(seeds: int, *, unpretrained: bool) -> Kinds:
    """The ensembles of each kind, by the places of their members.

    Args:
        seeds: S, of pretraining and of fine-tuning, and the members of an ensemble.
        unpretrained: Whether S² models of S trunks without pretraining follow the grid.
    """
    S = range(seeds)
    across = [[p * seeds + (p + k) % seeds for p in S] for k in S]
    kinds = {
        "single": [[m] for m in range(seeds**2)],
        "finetune": [[p * seeds + f for f in S] for p in S],
        "pretrain": across,
    }
    fresh = [[seeds**2 + m for m in group] for group in across]
    return {**kinds, "unpretrained": fresh} if unpretrained else kinds


def costs(kinds: Kinds, labels: int, *, pretrain: int, fit: int) -> dict[str, tuple[int, int, int]]:
    """What an ensemble of each kind costs: updates, labels, and models that score a completion.

    Args:
        kinds: The ensembles.
        labels: Pairs that all models are fitted to.
        pretrain: Updates of a language model; `finetune` needs one of them, `pretrain` one a
            member, `unpretrained` none.
        fit: Updates of a reward model.
    """
    sizes = {kind: len(ensembles[0]) for kind, ensembles in kinds.items()}
    trunks = {**sizes, "finetune": 1, "unpretrained": 0}
    return {k: (trunks[k] * pretrain + size * fit, labels, size) for k, size in sizes.items()}


def side(members: int) -> int:
    """S of a grid of S·S reward models."""
    s = math.isqrt(members)
    if s * s != members or s < 2:
        raise InputError(
            f"the world has {members} reward models, and --grid needs S of each of S pretraining "
            "seeds: 4, 9, 16 …; pass S folders of `assay fit --members S`"
        )
    return s


def biased(pairs: Pairs, feature: str, share: float, rng: Rng) -> Pairs:
    """Let labelers who look at the feature alone label a share of the pairs.

    Args:
        pairs: The pairs, chosen first.
        feature: Of `attributes`.
        share: The share of pairs that go to the completion with more of it; ties keep their label.
        rng: The address of who labels what.
    """
    if not 0 <= share <= 1:
        raise InputError(f"--bias is {share}; it is a share of the labels, from 0 to 1")
    count = attributes(pairs, feature)[..., 0]
    theirs = rng("who").uniform(torch.arange(len(pairs))) < share
    turned = (theirs & (count[:, 1] > count[:, 0])).long()
    return pairs.pick(torch.stack([turned, 1 - turned], 1))


def agreement(
    r: Float[Tensor, "M B N"], gold: Tensor | None, kinds: Kinds, n: int
) -> Iterator[dict[str, Any]]:
    """Lines of kind "agreement": two members of one ensemble, on and off the distribution."""
    best = favourites(mean(r), n)
    for where in ("reference", "aligned"):
        if where == "aligned":
            r = r.gather(-1, best.expand(len(r), -1, -1))
            gold = None if gold is None else gold.gather(-1, best)
        ranks, errors = rank_agreement(r), None if gold is None else error_agreement(r, gold)
        for kind, ensembles in kinds.items():
            if len(ensembles[0]) > 1:
                yield {
                    "kind": "agreement",
                    "ensemble": kind,
                    "samples": where,
                    "ranks": between(ranks, ensembles),
                    "errors": None if errors is None else between(errors, ensembles),
                }


def siblings(
    r: Float[Tensor, "M B N"], gold: Tensor | None, kinds: Kinds, n: int
) -> Iterator[dict[str, Any]]:
    """Lines of kind "siblings": whether a model's favourite of n wins, and by whom."""
    grid = r[: len(kinds["single"])]
    table = wins(grid, grid, n)
    found = {
        "itself": float(table.diagonal().mean()),
        "the same pretraining": between(table, kinds["finetune"]),
        "another pretraining": between(table, kinds["pretrain"]),
    }
    if gold is not None:
        found["gold"] = float(wins(grid, gold[None], n).mean())
    for judge, share in found.items():
        yield {"kind": "siblings", "by": judge, "n": n, "wins": share}


def selected(
    r: Float[Tensor, "M B N"],
    gold: Float[Tensor, "B N"] | None,
    count: Float[Tensor, "B N"],
    kinds: Kinds,
    most: int,
    feature: str,
) -> Iterator[dict[str, Any]]:
    """Lines of kind "best_of_n", each the mean over the ensembles of a kind."""
    panels = {
        (kind, name): [f(r[own]) for own in ensembles]
        for kind, ensembles in kinds.items()
        for name, f in AGGREGATES.items()
        if name == "mean" or len(ensembles[0]) > 1
    }
    if gold is not None:
        panels["gold", "mean"] = [gold]
    for n in [1 << i for i in range(most.bit_length()) if 1 << i <= most]:
        for (kind, name), proxies in panels.items():
            share = torch.stack([best_of_n_shares(p, n) for p in proxies]).mean(0)
            yield {
                "kind": "best_of_n",
                "ensemble": kind,
                "aggregate": name,
                "n": n,
                "feature": feature,
                "gold": None if gold is None else float((share * gold).sum(-1).mean()),
                "count": float((share * count).sum(-1).mean()),
            }
