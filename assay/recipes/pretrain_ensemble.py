"""Whose members err differently? Ensembles over pretraining seeds against fine-tuning seeds.

M reward models are fitted twice on the same pairs. In the *pretrain* ensemble each has a
representation of its own. In the *finetune* ensemble all share one, and differ in their heads'
first weights and the order of the pairs, as the others do too. Data are the same for all: a
bootstrap is a third kind of diversity, and stronger than fine-tuning seeds. Each member's scores
are centred on each prompt before median and minimum are taken, since Bradley–Terry leaves a
constant a prompt free (its fit pins it by 0.01·(chosen + rejected)²); a mean does not need it.

Lines of kind "errors": the mean correlation between two members' errors, on completions of the
reference and on completions moved towards what the members like (best of 64 by the mean of both
ensembles). An error is a centred score minus its best multiple of gold. Lines of kind "best_of_n":
gold, and how much of `feature` the selected completions have, for n = 1, 2, 4 …; `single` is the
first member of the pretrain ensemble. The title's second half is `feature`: what *all* members have
wrong, because their class of models cannot say it, rises under every ensemble.

On table reward models a representation is `width` random numbers a token, frozen, so P > F is
nearly built in: the mean of five random views spans what one cannot. What is measured is how much
that is worth, and that the shared error stays. On grammar a representation is a small Llama's first
weights, which the fit moves: no large corpus stands behind either.

The claim's other arms are the falsifiers that no ensemble may escape. With 8,000 clean pairs
members agree: where they share an error (mode shared) one member, their mean and their worst must
fall alike; where each errs in its own way (idiosyncratic) nothing may turn at all, for the failure
was lack of data. They do not enter the effect.

Here: fine-tuning seeds leave members all but equal, in distribution and beyond; pretraining seeds
divide their errors, on moved completions more than on the reference's. The tempting token, whose
harm no model of the class can say, is selected more often as n grows, by every ensemble of either
kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, InputError, Loop, Missing, Pairs, Paper, Reward, Rng, World
from assay.formulas.aggregate import centred, mean, worst
from assay.formulas.curves import best_of_n_shares
from assay.formulas.pairwise import bradley_terry, centring
from assay.rewards.attributes import attributes
from assay.rewards.fit import fitted
from assay.rewards.pretrained import pretrained

paper = Paper(
    "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate Reward Hacking",
    "Eisenstein et al.",
    2023,
    "arXiv:2312.09244",
)
reduces = {}

CLEAN = {"world.pairs": 8000, "world.noise": 0.0}  # leaves nothing that disagreement can repair


def study(
    world: World, *, most: int = 256, width: int = 24, feature: str = "length", prompts: int = 32
) -> Iterator[dict[str, Any]]:
    """Yield the lines of kind "errors", then one line for each n and aggregate.

    Args:
        most: The largest n of best-of-n, at least 2; n doubles from 1.
        width: Numbers a token in a table reward model's representation.
        feature: What all members may have wrong, such as length or tokens:12-12.
        prompts: Held-out prompts that are completed.
    """
    gold_of, refit = world.gold, world.refit
    if gold_of is None or refit is None:
        raise Missing(
            f"world {world.name} has no gold or no reward models of its own; use --world table or "
            "--world grammar"
        )
    if most < 2:
        raise InputError(f"--most is {most}; best-of-n needs at least 2 completions")
    rng = world.task.rng("pretrain ensemble")
    x = world.task.reference.sample(world.held_out[:prompts], 2 * most, rng("pool"))
    gold, said = gold_of(x)[0].double(), attributes(x, feature)[..., 0].double()
    scores = {}
    for kind, own in (("pretrain", True), ("finetune", False)):
        scores[kind] = centred(refit(_ensemble(own, width, rng("encoders")))(x).double(), x.present)
    liked = (mean(scores["pretrain"]) + mean(scores["finetune"])) / 2
    moved = {
        "reference": torch.full_like(gold, 1 / gold.shape[1]),
        "shifted": best_of_n_shares(liked, min(64, most)),
    }
    for kind, r in scores.items():
        for where, weight in moved.items():
            yield {
                "kind": "errors",
                "ensemble": kind,
                "samples": where,
                "correlation": correlation(r, gold, weight),
            }
    panels: dict[tuple[str, str], Tensor] = {("single", "one"): scores["pretrain"][0]}
    for kind, r in scores.items():
        panels |= {
            (kind, "mean"): mean(r),
            (kind, "median"): r.median(0).values,
            (kind, "worst"): worst(r),
        }
    for n in [1 << i for i in range(most.bit_length()) if 1 << i <= most]:
        for (kind, aggregate), proxy in panels.items():
            share = best_of_n_shares(proxy, n)
            yield {
                "kind": "best_of_n",
                "ensemble": kind,
                "aggregate": aggregate,
                "n": n,
                "feature": feature,
                "gold": float((share * gold).sum(-1).mean()),
                "count": float((share * said).sum(-1).mean()),
            }


def _ensemble(own: bool, width: int, rng: Rng) -> Callable[[Any, Pairs, Loop], Reward]:
    """Fit the world's reward models on representations of their own, or all on one."""

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected, p=p, margin=margin) + 0.01 * centring(
            chosen, rejected
        )

    def by(model: Any, pairs: Pairs, loop: Loop) -> Reward:
        return fitted(
            pretrained(model, seeds=model.members if own else 1, width=width, rng=rng),
            pairs,
            loss=loss,
            loop=loop,
        )

    return by


def correlation(
    scores: Float[Tensor, "M B N"], gold: Float[Tensor, "B N"], weight: Float[Tensor, "B N"]
) -> float:
    """Mean correlation between two members' errors, under these weights of a prompt's completions.

    What gold explains of a centred score (one multiple a member, found without the weights) is no
    error. A member without error correlates 0.
    """
    if len(scores) < 2:
        raise InputError(
            "the world has 1 reward model, and errors are compared between reward models; give "
            "--world.members 2 or more"
        )
    g = gold - gold.mean(-1, keepdim=True)
    error = (
        scores - (scores * g).sum((-2, -1), keepdim=True) / g.square().sum().clamp(min=1e-300) * g
    )
    w = (weight / weight.sum()).expand_as(error)
    e = (error - (w * error).sum((-2, -1), keepdim=True)).flatten(1)
    table = (w.flatten(1) * e) @ e.T
    spread = table.diagonal().sqrt()
    both = spread[:, None] * spread
    r = torch.where(both > 0, table / torch.where(both > 0, both, 1.0), 0.0)
    return float((r.sum() - r.diagonal().sum()) / (len(r) * (len(r) - 1)))


def gold_over_n(lines: list[dict[str, Any]], ensemble: str) -> float:
    """Gold of best-of-n by an ensemble's mean (or the single member), averaged over n > 1."""
    found = [
        line["gold"]
        for line in lines
        if line["kind"] == "best_of_n"
        and line["ensemble"] == ensemble
        and line["aggregate"] in ("mean", "one")
        and line["n"] > 1
    ]
    return sum(found) / len(found)


@Claim(
    "Best-of-n by the mean of reward models with pretraining seeds of their own has more gold "
    "than by the mean of reward models that differ in their fine-tuning seeds alone.",
    arms={
        "both": ("pretrain_ensemble", {"feature": "tokens:12-12"}),
        **{
            f"{mode} {what}": (recipe, {"world.mode": mode, **CLEAN})
            for mode in ("shared", "idiosyncratic")
            for what, recipe in (
                ("one", "leave_one_out"),
                ("mean", "mean_ensemble"),
                ("worst", "worst_case"),
            )
        },
    },
    worlds=("table",),
    on={"table": {"testbed": "bag"}},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> float:
    """Gold by the pretrain ensemble minus gold by the finetune ensemble, averaged over n."""
    return gold_over_n(arms["both"], "pretrain") - gold_over_n(arms["both"], "finetune")
