"""Does an average of weights forget what its members memorised? WARM's reward models, judged.

A small language model is pretrained on the world's text. `members` reward models begin at it and at
one head, which is fitted alone for `probe` updates (the paper's linear probing). Each then walks
the pairs in its own order for `steps` updates, trunk and head alike. What they are made into:

    weights    one reward model of the members' mean weights: WARM, the fit `warm`
    scores     the mean of the members' scores: the negative control, which averages no weights
    member     a member by itself; the mean over all of them

A wrong pair is one whose label is against gold. Lines of kind "judged" have of each:

- `memorised`: the share of the wrong pairs it was fitted to that it orders as they are labeled.
- `wrong`: the share of as many new pairs on the same prompts that it orders against gold. What
  it orders wrongly there it has not memorised.
- `held_out`: accuracy on completions of held-out prompts, two by two, by gold.
- `best`: gold of the best of `most` completions to a held-out prompt, in deviations of gold.
- `hill`: how far the loss rises on the way between two members (0 in one valley).

Traps. Members that are not fitted for long enough memorise nothing, and there is nothing to forget;
a referee found that of the former claim (1.6 passes over 2,000 pairs). Members without a pretrained
start need not lie in one valley. An average at equal length of fit may win because it undoes a fit
that is too long: a shorter fit may do as well, so each side is also judged at the length that is
best for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, InputError, Loop, Missing, Paper, Samples, World
from assay.formulas.aggregate import mean
from assay.formulas.curves import best_of_n_shares
from assay.formulas.pairwise import bradley_terry, centring
from assay.models.backbones.llama import Config
from assay.rewards import weight_average
from assay.rewards.ensemble import Members
from assay.rewards.fit import trained
from assay.rewards.pretraining import Known, as_texts, pretrained, texts_of

paper = Paper(
    "WARM: On the Benefits of Weight Averaged Reward Models",
    "Ramé et al.",
    2024,
    "arXiv:2401.12187",
)
reduces = {}
KINDS = ("weights", "scores", "member")


def study(
    world: World,
    *,
    kind: str = "",
    members: int = 4,
    steps: int = 200,
    rate: float = 1e-3,
    batch: int = 32,
    probe: int = 20,
    pretrain_steps: int = 250,
    pretrain_rate: float = 3e-3,
    eta: float = 0.01,
    width: int = 32,
    layers: int = 2,
    most: int = 32,
) -> Iterator[dict[str, Any]]:
    """Yield a line of kind "judged" for each reward, and one of what each spent.

    Args:
        kind: weights, scores or member; all three if not given.
        members: Reward models, at least 2.
        steps: Updates of each.
        rate: Learning rate.
        batch: Texts, or pairs, an update.
        probe: Updates of the head alone, before the members part.
        pretrain_steps: Updates of the language model.
        pretrain_rate: Their learning rate.
        eta: Weight of (chosen + rejected)² in the loss.
        width: Width of the models; a multiple of 8.
        layers: Their layers.
        most: n of best-of-n, at least 2.
    """
    if kind not in ("", *KINDS):
        raise InputError(f"--kind is '{kind}'; it is one of {', '.join(KINDS)}")
    if members < 2 or most < 2:
        raise InputError(
            f"--members is {members} and --most is {most}; an average and best-of-n need at least 2"
        )
    if world.gold is None:
        raise Missing(f"world {world.name} has no gold, by which reward models are judged here")
    rng, task = world.task.rng("averaged weights"), world.task
    found = texts_of(task, "")
    known = Known.of(found, task.pairs)
    size = Config(len(known), width, layers, heads=4, kv_heads=4, inner=2 * width)
    fit = Loop(
        max_steps=steps,
        batch_size=batch,
        learning_rate=rate,
        warmup_steps=10,
        seed=int(rng("order of pairs").integers(2**31, 0)),
    )
    text = replace(fit, max_steps=pretrain_steps, learning_rate=pretrain_rate)
    trunk = pretrained(size, as_texts(known(found)), seed=0, loop=text, rng=rng)
    model, pairs = Members(size, members, rng("heads")), known(task.pairs)
    with torch.no_grad():
        for name, weight in model.backbone.weights().items():
            weight.copy_(trunk.weights()[name].expand_as(weight))

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        told = bradley_terry(chosen, rejected, p=p, margin=margin)
        return told + eta * centring(chosen, rejected)

    weight_average.of_one_start(model)
    model.backbone.requires_grad_(False)
    trained(model, pairs, loss=loss, loop=replace(fit, max_steps=probe))
    model.backbone.requires_grad_(True)
    weight_average.of_one_start(model)
    trained(model, pairs, loss=loss, loop=fit)
    hill = weight_average.hill(model, pairs[:256], loss=loss, points=3)
    one = copy.deepcopy(model)
    weight_average.average(one)
    rows = rng("rows").integers(len(task.prompts), torch.arange(len(task.pairs)))
    new = task.reference.sample(task.prompts[rows], 2, rng("new"))
    pool = task.reference.sample(world.held_out, 2 * most, rng("pool"))
    seen = {"pairs": task.pairs, "new": new, "pool": pool}
    golds = {k: world.gold(x)[0].double() for k, x in seen.items()}
    for which in KINDS if not kind else (kind,):
        r = {k: _scores(one if which == "weights" else model, known(x)) for k, x in seen.items()}
        if which == "weights":
            r = {k: v[:1] for k, v in r.items()}
        elif which == "scores":
            r = {k: mean(v)[None] for k, v in r.items()}
        wrong = golds["pairs"][:, 0] < golds["pairs"][:, 1]
        if not bool(wrong.any()):
            raise InputError("no label is against gold, so none can be memorised; add --noise")
        yield {
            "kind": "judged",
            "reward": which,
            "steps": steps,
            "memorised": 1 - accuracy(r["pairs"][:, wrong], golds["pairs"][wrong]),
            "wrong": 1 - accuracy(r["new"], golds["new"]),
            "held_out": accuracy(r["pool"], golds["pool"]),
            "best": best(r["pool"], golds["pool"], most),
            "hill": hill,
        }
    drawn = int(new.present.sum() + pool.present.sum())
    for which in KINDS if not kind else (kind,):
        yield {
            "kind": "spent",
            "arm": "" if kind else which,
            "updates": pretrain_steps + probe + (1 if which == "member" else members) * steps,
            "labels": len(task.pairs),
            "generated": drawn,
            "scored": drawn * (members if which == "scores" else 1),
        }


@torch.no_grad()
def _scores(model: Members, x: Samples) -> Float[Tensor, "M B N"]:
    return torch.cat([model(x[rows]) for rows in torch.arange(len(x)).split(128)], 1).double()


def accuracy(scores: Float[Tensor, "M B N"], truth: Float[Tensor, "B N"]) -> float:
    """Share of neighbours (completions 0 and 1, 2 and 3, …) that the members order as gold does.

    Only neighbours of different gold count; a tied score is half. The mean over the members.
    """
    s, g = (v[..., 0::2] - v[..., 1::2] for v in (scores, truth))
    if not bool((g != 0).any()):
        raise InputError("no two of these completions differ in gold, so none can be ordered")
    right = (torch.sign(s) * torch.sign(g) + 1) / 2
    return float(right[:, g != 0].mean())


def best(scores: Float[Tensor, "M B N"], gold: Float[Tensor, "B N"], n: int) -> float:
    """Gold of the best of n above the mean, in deviations of gold; the mean over the members."""
    shares = torch.stack([best_of_n_shares(s, n) for s in scores])
    return float(((shares * gold).sum(-1).mean() - gold.mean()) / gold.std())


def gold_of_best(lines: list[dict[str, Any]]) -> float:
    """Gold of the best of n of the one kind that was judged."""
    return float(next(x["best"] for x in lines if x["kind"] == "judged"))


# a language and models that are small enough for twenty seeds, and memorise
_LANGUAGE = {"width": 48, "layers": 2, "sft_steps": 100, "demos": 1000, "held_out": 24}
_PAIRS = {"max_tokens": 16, "pairs": 1000, "noise": 0.2, "members": 1, "reward_steps": 1}
_SMALL = {**_LANGUAGE, **_PAIRS}
_CELL = {"pretrain_steps": 100, "rate": 2e-3, "layers": 1}
_LENGTHS = {"steps": (30, 60, 120, 240)}


@Claim(
    "Where each is fitted for as long as suits it best, the best of n completions by the average "
    "of weights has more gold than by one member, and than by the mean of the members' scores.",
    arms={
        "mine": ("averaged_weights", {**_CELL, "kind": "weights"}),
        "mean": ("averaged_weights", {**_CELL, "kind": "scores"}),
        "single": ("averaged_weights", {**_CELL, "kind": "member"}),
    },
    worlds=("grammar",),
    on={"grammar": _SMALL},
    tuned={"mine": _LENGTHS, "mean": _LENGTHS, "single": _LENGTHS},
    by=gold_of_best,
    # a tenth of a deviation of gold
    least={"over member": 0.1, "over mean": 0.0},
    seeds="100..119",
    control=("over mean",),
    broken="the mean of the same members' scores: as many members, and no weights averaged",
    differs={
        "updates": "each side is fitted for as long as suits it, and one member once",
        "scored": "the mean scores every completion with each of its members",
        "seconds": "longer fits take longer",
    },
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Gold of the best of n, in deviations of gold, less that by one member, and by the mean of
    scores.
    """
    mine, mean_of, single = (gold_of_best(arms[k]) for k in ("mine", "mean", "single"))
    return {"over member": mine - single, "over mean": mine - mean_of}
