"""Find how noisy preference labels are from three independent raters, without true labels.

The paper wants to audit a model for fairness where the sensitive attribute is missing. A few weak
proxies of it are enough to find their own error rates, and the audit is then corrected by these.
Here the hidden thing is which of two completions is truly better. With truth y, votes r₁, r₂, r₃
and dⱼ = P(rⱼ=1|y=1) − P(rⱼ=1|y=0), independence given y makes

    cov(rᵢ, rⱼ) = p(1−p)·dᵢdⱼ          E Π(rⱼ − Er_j) = p(1−p)(1−2p)·d₁d₂d₃

These are seven equations in seven unknowns, solved in closed form (`formulas.noise.three_raters`);
for more classes or missing votes, by expectation–maximisation (`dawid_skene`). The result is each
rater's two error rates and p, here the win rate of one policy over another as error-free raters
would see it.

This study makes items of pairs of completions: the reward model's favourite of `best_of` samples,
and a single sample; the truth is whether the favourite has more gold. It has three arms:
`independent` raters with the planted `rates`; `copying`, in which the second repeats the first with
chance `copies`; `hard`, in which each votes by Bradley–Terry on gold with its own temperature, so
that close pairs are hard for all. For each it gives the mean absolute error of the six rates and of
the win rate, by the closed form, by expectation–maximisation, and by the usual way, which takes the
majority's word for the truth. The claim is for the first arm; the other two are its failure, and
three binary raters leave no equation over with which to notice it.

With `raters=FILE`, a file of JSON lines whose column `raters` holds three votes (0 a tie, 1 the
first, 2 the second), the last lines are of real people: each rater's matrix for three classes, the
estimated shares, how often two raters agree and how often the fit says they should, and the
likelihood-ratio statistic of the 27 patterns against independence, which three raters and *three*
classes do allow. The columns need not be the same three people throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Claim, InputError, Paper, World
from assay.data.faults import Faults
from assay.data.read import open_source
from assay.formulas.noise import dawid_skene, three_raters

paper = Paper(
    "Weak Proxies are Sufficient and Preferable for Fairness with Missing Sensitive Attributes",
    "Zhu et al.",
    2023,
    "arXiv:2210.03175",
)
reduces = {}


def study(
    world: World,
    *,
    items: int = 4000,
    rates: tuple[float, ...] = (0.1, 0.2, 0.25, 0.15, 0.3, 0.3),
    copies: float = 0.5,
    best_of: int = 4,
    raters: str = "",
) -> Iterator[dict[str, Any]]:
    """Yield one line for each arm, and lines for a file of real votes.

    Args:
        items: Pairs voted on.
        rates: Two error rates a rater: missing a better favourite, passing a worse one; below 0.5.
        copies: How often the second rater repeats the first, from 0 to 1.
        best_of: Samples among which the favourite is chosen.
        raters: File of real votes, JSON lines with a column `raters`; empty for none.
    """
    if len(rates) != 6 or not all(0 <= r < 0.5 for r in rates):
        raise InputError(
            f"--rates is {list(rates)}; it is two error rates below 0.5 for each of three raters"
        )
    if not 0 <= copies <= 1:
        raise InputError(f"--copies is {copies}; it is a chance, from 0 to 1")
    people = read(Path(raters)) if raters else None
    gap = gaps(world, items, best_of)
    items = len(gap)
    truth, rng = (gap > 0).long(), world.task.rng("raters")
    u = rng.uniform(torch.arange(items)[:, None], torch.arange(3), dtype=torch.float64)
    miss, alarm = torch.tensor(rates, dtype=torch.float64).reshape(3, 2).T
    own = (u < torch.where(truth[:, None] > 0, 1 - miss, alarm)).long()
    repeated = rng("copies").uniform(torch.arange(items)) < copies
    copying = torch.stack([own[:, 0], torch.where(repeated, own[:, 0], own[:, 1]), own[:, 2]], 1)
    hard = (
        u < (gap[:, None] / torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)).sigmoid()
    ).long()
    for name, votes in (("independent", own), ("copying", copying), ("hard", hard)):
        yield {"raters": name, "items": items, **compared(votes, truth)}
    if people is not None:
        yield from of_people(people)


def gaps(world: World, items: int, best_of: int) -> Float[Tensor, "S"]:
    """Gold of the reward model's favourite of `best_of` samples minus that of one more; float64."""
    if world.gold is None:
        raise InputError(
            "this study needs to know the truth, and this world has no gold; use --world table"
        )
    rows = torch.arange(items) % len(world.task.prompts)
    x = world.task.reference.sample(world.task.prompts[rows], best_of + 1, world.task.rng("items"))
    favourite = world.task.rewards.only([0])(x)[0, :, :best_of].argmax(-1, keepdim=True)
    gold = world.gold(x)[0].double()
    gap = gold.gather(-1, favourite)[:, 0] - gold[:, best_of]
    return gap[gap != 0]  # of two equal completions none is better


def compared(votes: Int[Tensor, "S 3"], truth: Int[Tensor, "S"]) -> dict[str, Any]:
    """Errors of three estimates of the six rates and of the win rate.

    They are measured against the rates that the votes really had.
    """

    def rates_given(label: Tensor) -> Tensor:
        y = label.double()[:, None]
        return torch.cat([(votes * y).sum(0) / y.sum(), (votes * (1 - y)).sum(0) / (1 - y).sum()])

    true, prior = rates_given(truth), float(truth.double().mean())
    majority = (votes.sum(1) > 1).long()
    em = dawid_skene(votes, classes=2)
    found = {
        "majority": (rates_given(majority), float(majority.double().mean())),
        "em": (torch.cat([em.confusion[:, 1, 1], em.confusion[:, 0, 1]]), float(em.prior[1])),
    }
    try:
        closed = three_raters(votes.double())
        found["closed"] = torch.cat([closed.hit, closed.alarm]), float(closed.prior)
    except (
        ValueError
    ):  # no agreement beyond chance: the equations have no solution, and the line says so by null
        found["closed"] = torch.full_like(true, math.nan), math.nan
    out: dict[str, Any] = {"win_rate": prior, "win_rate_of_votes": float(votes.double().mean())}
    for name, (rates, share) in found.items():
        out |= {f"{name}_error": float((rates - true).abs().mean()), f"{name}_win_rate": share}
    return out


def read(path: Path) -> Int[Tensor, "S 3"]:
    """Read three votes a row.

    Raises:
        InputError: A row has none; the message names it.
    """
    faults, found = Faults(str(path)), []
    for i, row in open_source(path).rows(faults):
        votes = row.get("raters")
        if not isinstance(votes, list) or len(votes) != 3 or any(v not in (0, 1, 2) for v in votes):
            raise InputError(
                f"{path}, row {i}, column 'raters' holds {str(votes)[:40]}; three votes were "
                "expected, each 0 for a tie, 1 for the first or 2 for the second completion"
            )
        found.append(votes)
    faults.stop()
    return torch.tensor(found)


def of_people(votes: Int[Tensor, "S 3"]) -> Iterator[dict[str, Any]]:
    """Real raters: three classes, the fit of independence, and two classes without ties."""
    fit, S = dawid_skene(votes, classes=3), len(votes)
    for r in range(3):
        yield {
            "raters": "people",
            "rater": r,
            "confusion": fit.confusion[r].tolist(),
            "accuracy": float((fit.prior * fit.confusion[r].diagonal()).sum()),
        }
    cells = torch.einsum("k,ka,kb,kc->abc", fit.prior, *fit.confusion).clamp(min=1e-300)
    seen = torch.bincount(votes @ torch.tensor([9, 3, 1]), minlength=27).reshape(3, 3, 3).double()
    statistic = 2 * float(torch.special.xlogy(seen, seen / (S * cells)).sum())
    agree = [
        [
            float((votes[:, i] == votes[:, j]).double().mean()),
            float(torch.einsum("k,kv,kv->", fit.prior, fit.confusion[i], fit.confusion[j])),
        ]
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    yield {
        "raters": "people",
        "items": S,
        "shares": fit.prior.tolist(),
        "agreement_seen_and_fitted": agree,
        "likelihood_ratio": statistic,
        "degrees": 26 - 20,
    }
    clear = votes[(votes > 0).all(1)] - 1
    yield {
        "raters": "people without ties",
        "items": len(clear),
        **{
            k: v.tolist()
            for k, v in zip(
                ("share_second", "hit", "alarm"), three_raters(clear.double()), strict=True
            )
        },
    }


@Claim(
    "From the votes of three independent weak raters alone, their error rates are found more "
    "nearly than by taking the majority's word for the truth.",
    arms={"study": ("label_noise", {})},
    worlds=("table",),
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> float:
    """Mean absolute error of the six rates by the majority minus that of the closed form, raters
    independent.
    """
    line = next(x for x in arms["study"] if x["raters"] == "independent")
    return float(line["majority_error"] - line["closed_error"])
