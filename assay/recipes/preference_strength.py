"""Estimate each preference's strength by voting, and repair the pairs that the votes speak against.

V reward models are fitted on the pairs. Of pair i each says d_i = r(chosen) − r(rejected); û_i is
the mean of their d_i, σ̂_i the population standard deviation. Low û means that the label is
probably wrong, small |û| that it says little. Then the pairs are repaired and the final reward
models are fitted on them, by −p·log σ(z) − (1−p)·log σ(−z), z = chosen − rejected − margin:

- `flip`: pairs of the lowest `share` of û, as far as û < 0 there, are turned round.
- `smooth`: those pairs keep their order with p = 1 − `smoothing`.
- `margin`: margin û on every pair. A negative û *relaxes* a wrong pair, it does not turn it.
- `smooth+margin`: both; the paper's combination, and the default.
- `flip+margin`: turned first, then |û| as margin.
- `drop`: those pairs are left out. The control: if it does as well as a repair, the votes only
  found the pairs.
- `none`: the pairs as they are.

`contrast` adds an InfoNCE term on what the heads read, h(chosen) − h(rejected): the difference of
the same pair with a tenth of its tokens left out is the positive, the other pairs' are the
negatives (the paper's twins differ by dropout, which these reward models do not have). It needs
reward models that learn what they read. MetaRM, the paper's other part, is meta_rm.py.
bradley_terry is `repair="none"` without contrast.

`shuffled` gives û to other pairs than those it was estimated for, and keeps all else: as many pairs
are turned, by as much.

The paper votes with 10 reward models: `rounds` times the world's members (5).

Traps. Reward models that vote on the pairs they were fitted on have learnt the wrong labels and
vote for them. So a pair is judged by those that did not see it (`crossfit`, `folds` times the
work), and `crossfit=False` shows the paper's own procedure. And û is in the voters' units: as a
margin it is multiplied by the one number that makes σ(a·û) the likeliest of the labels
(`calibrate`); in-sample votes look far surer than they are. With more than half of the labels wrong
every repair makes it worse.

Here: the reward models are networks of one hidden layer on counts (`--world.hidden 16`), since a
linear model has nothing for the contrastive term to change. The claim judges the paper's
combination, and the contrastive term by itself. A network this small cannot remember single labels,
so in-sample votes find flips as well; it is their strength that is several times too high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Reward, Rng
from assay.formulas.pairwise import bradley_terry, centring
from assay.rewards.cross_fit import trust, votes
from assay.rewards.fit import Trainable, fitted
from assay.stats.effects import Reading, curve, gold_at, matched_gain

paper = Paper(
    "Secrets of RLHF in Large Language Models Part II: Reward Modeling",
    "Wang et al.",
    2024,
    "arXiv:2401.06080",
)
reduces = {}
REPAIRS = ("none", "drop", "flip", "smooth", "margin", "flip+margin", "smooth+margin")


def fit(
    model: Trainable,
    pairs: Pairs,
    *,
    repair: str = "smooth+margin",
    share: float = 0.2,
    smoothing: float = 0.1,
    folds: int = 4,
    rounds: int = 1,
    crossfit: bool = True,
    calibrate: bool = True,
    contrast: float = 0.0,
    centre: float = 0.01,
    shuffled: bool = False,
    loop: Loop = Loop(),
) -> Reward:
    """Repair the pairs, fit the model to them and return it as a reward.

    Args:
        repair: none, drop, flip, smooth, margin, flip+margin or smooth+margin.
        share: Largest share of pairs that counts as doubtful, the lowest by û; from 0 to 1.
        smoothing: Chance that a smoothed pair is the other way round.
        folds: Parts of the pairs in cross-fitting.
        rounds: Rounds of voting; the voters are rounds times members.
        crossfit: Let only those vote on a pair that were not fitted on it.
        calibrate: Scale û so that margins are in the labels' log-odds.
        contrast: Weight of the InfoNCE term.
        centre: Weight of (r(chosen) + r(rejected))².
        shuffled: Give every pair the û of another one: the negative control.
    """
    if repair not in REPAIRS:
        raise InputError(f"--repair is '{repair}'; it is one of {', '.join(REPAIRS)}")

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected, p=p, margin=margin) + centre * centring(
            chosen, rejected
        )

    if repair != "none":
        u, _ = strength(
            votes(model, pairs, loss=loss, folds=folds, rounds=rounds, crossfit=crossfit, loop=loop)
        )
        u = u * trust(u, pairs.p) if calibrate else u
        u = u[Rng(loop.seed)("shuffled").permutation(len(u))] if shuffled else u
        pairs = repaired(pairs, u, repair=repair, share=share, smoothing=smoothing)
    return fitted(
        model,
        pairs,
        loss=loss,
        penalty=Contrast(contrast, loop.seed) if contrast else None,
        loop=loop,
    )


def strength(d: Float[Tensor, "V B"]) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """û and σ̂: mean and population standard deviation over the voters."""
    return d.mean(0), d.std(0, correction=0)


def repaired(
    pairs: Pairs, u: Float[Tensor, "B"], *, repair: str, share: float, smoothing: float
) -> Pairs:
    """Return the pairs after `repair`.

    A pair that is turned loses its given margin, which was for the other order.
    """
    if not 0 <= share <= 1:
        raise InputError(
            f"--share is {share}; it is the share of pairs that may be repaired, from 0 to 1"
        )
    rank = torch.argsort(torch.argsort(u, stable=True))
    doubtful = (rank < round(share * len(u))) & (u < 0)
    if repair == "drop":
        return pairs[(~doubtful).nonzero().flatten()]
    if repair.startswith("flip"):
        turned = pairs.pick(torch.stack([doubtful.long(), 1 - doubtful.long()], 1))
        pairs = replace(turned, margin=torch.where(doubtful, 0.0, pairs.margin))
        u = torch.where(doubtful, -u, u).abs()
    elif repair.startswith("smooth"):
        pairs = replace(
            pairs, p=torch.where(doubtful, smoothing + (1 - 2 * smoothing) * pairs.p, pairs.p)
        )
    return (
        replace(pairs, margin=pairs.margin + u.to(pairs.margin))
        if repair.endswith("margin")
        else pairs
    )


class Contrast:
    """weight·InfoNCE on differences h(chosen) − h(rejected); cosine over a temperature of 0.1.

    Twins are the same pairs with a share `without` of their tokens left out.
    """

    def __init__(self, weight: float, seed: int, *, without: float = 0.1):
        self.weight, self.rng, self.without = weight, Rng(seed)("twins"), without

    def view(self, model: Any, each: Sequence[Pairs], t: int) -> Tensor:
        """Differences of what the heads read, of the pairs and of their twins `[M,b,2,H]`."""
        if not any(
            p.requires_grad for name, p in model.named_parameters() if name.startswith("backbone")
        ):
            raise InputError(
                f"--contrast needs reward models that learn their features, and a "
                f"{type(model).__name__} has fixed features; set it to 0"
            )
        twins = [replace(x, mask=self.thinned(x, t)) for x in each]
        seen = [model.hidden(list(some)) for some in (each, twins)]
        return torch.stack([h[:, :, 0] - h[:, :, 1] for h in seen], 2)

    def thinned(self, x: Pairs, t: int) -> Tensor:
        """x.mask with some tokens left out, the last one never: the completion is read there.

        What is left out of a row depends on its own completion alone.
        """
        held, (_, N, T) = x.mask | x.given, x.mask.shape
        key = (x.action * (torch.arange(T) + 1)).sum(
            -1
        )  # by its tokens, not by its place in the batch
        u = self.rng("step", t).uniform(key[..., None], torch.arange(N)[:, None], torch.arange(T))
        last = torch.arange(T) == (held * torch.arange(T)).amax(-1, keepdim=True)
        return x.mask & ((u >= self.without) | last)

    def __call__(self, view: Tensor, each: Sequence[Pairs]) -> Float[Tensor, "M"]:
        a, b = torch.nn.functional.normalize(view, dim=-1).unbind(2)
        alike = torch.einsum("mbh,mch->mbc", a, b) / 0.1
        return -self.weight * alike.log_softmax(-1).diagonal(dim1=-2, dim2=-1).mean(-1)


def mean_gold(readings: list[Reading]) -> float:
    """Mean gold over √KL from 0 to 4, or as far as the run came."""
    end = min(4.0, max(d for d, _ in curve(readings)))
    return sum(gold_at(readings, end * i / 8) for i in range(1, 9)) / 8


_SMALL = {
    "max_steps": 60,
    "fit": "preference_strength",
    "fit.folds": 2,
    "fit.rounds": 2,
    "fit.max_steps": 100,
}
_RATES = {"fit.learning_rate": (0.0003, 0.001, 0.003, 0.01)}


@Claim(
    "Smoothing doubtful labels and asking for their strength as a margin gives a reward model "
    "worth more at equal KL than the pairs as they are, than leaving the doubtful ones out, and "
    "than the same repairs of other pairs; and the contrastive term alone is worth more than none.",
    arms={
        "mine": ("leave_one_out", _SMALL),
        "single": ("leave_one_out", {**_SMALL, "fit.repair": "none"}),
        "drop": ("leave_one_out", {**_SMALL, "fit.repair": "drop"}),
        "shuffled": ("leave_one_out", {**_SMALL, "fit.shuffled": True}),
        "contrast": ("leave_one_out", {**_SMALL, "fit.repair": "none"}),
    },
    worlds=("table",),
    on={"table": {"testbed": "bag", "hidden": 16}},
    tuned={
        "mine": _RATES,
        "single": _RATES,
        "drop": _RATES,
        "shuffled": "mine",
        "contrast": {"fit.learning_rate": (0.001, 0.003), "fit.contrast": (0.03, 0.3)},
    },
    by=mean_gold,
    # a tenth of a deviation of gold
    least=0.1,
    seeds="300..315",
    control=("over shuffled",),
    broken="every pair is repaired by the strength of another one",
    differs={
        "seconds": "voters are fitted before pairs are repaired; they are not counted as updates"
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over the shared range of √KL."""
    mine, single = arms["mine"], arms["single"]
    return {
        **{f"over {k}": matched_gain(mine, arms[k]) for k in ("single", "drop", "shuffled")},
        "contrast over single": matched_gain(arms["contrast"], single),
    }
