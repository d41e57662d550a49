"""Gold-against-√KL curves of the table world, and Gao's two forms judged by what they predict.

With d = √KL and R the gold above the reference, Gao et al. (arXiv:2210.10760) give one form to each
optimiser:

    best-of-n   R = d(α − β·d)          peak at d = α/2β
    RL          R = d(α − β·log d)      peak at d = exp(α/β − 1)

A curve is fitted on its first part, d up to `cut` of its range, and its error is taken on the rest,
beside three rivals: the other optimiser's form, "it stays where it was", and the same form with the
constants of other set-ups.

RL is the optimum of E r − b·KL for a falling weight b, which for a linear reward model is a tilted
table. Best-of-n is exact on testbed `bandit`; on `bag` it is the unbiased estimate from a bank of
completions, with the bound as KL, which is tight there. Reward models are fitted anew, on pairs
sampled and flipped as the world's, for every number of pairs and every width: of a bandit's
features the first so many, of a bag's tokens so many buckets. They are the mean of the world's
members.

Traps: log d has infinite slope at 0, so points with d < 0.3 are left out; no intercept, since R is
0 at the reference; a nominal best-of-n KL keeps growing after the policy stands still, which fakes
a plateau.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.core import InputError, Pairs, Samples, Task
from assay.formulas.curves import best_of_n
from assay.formulas.divergence import best_of_n_bound
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import LinearModel, LinearReward, bootstrap, maximum_likelihood
from assay.rewards.simulated_labels import labeled
from assay.stats import curve_fit
from assay.stats.curve_fit import tie
from assay.stats.gao_forms import FORMS, beyond, columns
from assay.stats.rival_laws import slope

BANK = 16384  # completions from which a bag's best-of-n is estimated; n goes to a sixteenth of it


@dataclass(frozen=True)
class Exact:
    """What curves are read from: a policy that is a table, and how it is measured.

    Attributes:
        task: The task.
        policy: Its reference.
        facts: Exact gold and KL of a policy.
        gold: Scores of completions `[K, B, N]`; the first counts.
        refit: Fits a fresh reward model of the task's kind.
        noise: Share of flipped labels.
    """

    task: Task
    policy: TablePolicy
    facts: Callable[[Any], Mapping[str, float]]
    gold: Callable[[Samples], Tensor]
    refit: Callable[..., Any]
    noise: float


def lines(
    of: Exact,
    *,
    pairs: tuple[int, ...],
    widths: tuple[int, ...],
    cut: float,
    points: int,
    resamples: int,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each curve, then one for each trend of α and β.

    Args:
        of: What curves are read from.
        pairs: Sizes of the sets that reward models are fitted on.
        widths: Widths of the reward models; 0 for the task's own.
        cut: Share of a curve's range of d that is fitted, above 0 and below 1.
        points: Points of an RL curve.
        resamples: Resamples of a bootstrap.
    """
    if not 0 < cut < 1:
        raise InputError(
            f"--cut is {cut}; it is the share of the range that is fitted, above 0 and below 1"
        )
    found = []
    for width in widths:
        for size in pairs:
            model = fitted(of, size, width)
            for form, curve in (
                ("rl", tilts(of, model, points)),
                ("best-of-n", pools(of, model)),
            ):
                found.append(
                    {
                        "optimiser": form,
                        "pairs": size,
                        "width": width,
                        **described(curve, form, cut, resamples),
                        "curve": curve,
                    }
                )
    for line in found:
        line["beyond_others"] = elsewhere(line, found, cut)
        yield {k: v for k, v in line.items() if k != "curve"}
    for form in FORMS:
        mine = [x for x in found if x["optimiser"] == form and x["alpha"] is not None]
        for what, values in (("pairs", pairs), ("width", widths)):
            if len(values) > 1 and min(values) > 0 and len({x[what] for x in mine}) > 1:
                x_of = [float(x[what]) for x in mine]
                yield {
                    "optimiser": form,
                    "trend_in": what,
                    "alpha_per_e_fold": slope(x_of, [x["alpha"] for x in mine]),
                    "beta_per_e_fold": slope(x_of, [x["beta"] for x in mine]),
                }


def fitted(of: Exact, size: int, width: int) -> LinearReward:
    """The mean of the task's members, fitted to fresh pairs by maximum likelihood.

    It has mean 0 and variance 1 under π₀.
    """
    made: list[LinearModel] = []
    policy = of.policy

    def by(model: LinearModel, own: Pairs, _: Any) -> LinearReward:
        rng = of.task.rng("pairs of the study", size)
        mine = labeled(
            policy,
            of.task.prompts,
            size,
            score=lambda x: of.gold(x)[0],
            noise=of.noise,
            rng=rng,
        )
        narrow = narrowed(model, policy, width)
        maximum_likelihood(narrow, mine, counts=bootstrap(size, narrow.members, rng("bootstrap")))
        made.append(narrow)
        return narrow.freeze(tuple(f"judge{m}" for m in range(narrow.members)))

    of.refit(by)
    probs = policy.logits.softmax(-1)
    table = (
        made[0]
        .freeze(tuple(f"judge{m}" for m in range(made[0].members)))
        .standardised(probs, policy.length)
        .per_decision()
    )
    return LinearReward(table.mean(0, keepdim=True), ("mean",)).standardised(probs, policy.length)


def narrowed(model: LinearModel, policy: TablePolicy, width: int) -> LinearModel:
    """Narrow a reward model to this width; 0 leaves it as it is.

    A bandit keeps its first features; a bag's tokens are put into so many buckets.
    """
    if width == 0:
        return model
    V = policy.logits.shape[1]
    if model.features is None:
        fold = torch.nn.functional.one_hot(torch.arange(V) % width, width)[None].float()
        return LinearModel(model.members, vocabulary=V, features=fold)
    model.features[..., width:] = 0.0
    return model


def tilts(of: Exact, model: LinearReward, points: int) -> list[tuple[float, float]]:
    """(d, gold above the reference) of the exact optima of E r − b·KL.

    b falls from 8 to 1/8 times the score's standard deviation.
    """
    policy = of.policy
    start = of.facts(policy)["gold"]
    found = [
        of.facts(policy.tilted(model.per_decision()[0], beta=float(b)))
        for b in torch.logspace(3, -3, points, base=2.0, dtype=torch.float64)
    ]
    return [(max(0.0, f["kl"]) ** 0.5, f["gold"] - start) for f in found]


def pools(of: Exact, model: LinearReward) -> list[tuple[float, float]]:
    """(d, gold above the reference) of best-of-n: exact for a bandit, else from a bank."""
    policy = of.policy
    start, ns = (
        of.facts(policy)["gold"],
        [n for k in range(1, 11) for n in (2**k, 3 * 2 ** (k - 1))],
    )
    if policy.length == 1:
        found = [of.facts(policy.best_of_n(model.per_decision()[0], n)) for n in ns]
        return [(max(0.0, f["kl"]) ** 0.5, f["gold"] - start) for f in found]
    ns = [n for n in ns if n <= BANK // 16]
    x = policy.sample(of.task.prompts[:1], BANK, of.task.rng("bank"))
    gold = best_of_n(model(x)[0], of.gold(x)[0], ns, x.present)[0]
    return [
        (float(best_of_n_bound(n)) ** 0.5, float(g) - start) for n, g in zip(ns, gold, strict=True)
    ]


def described(
    curve: list[tuple[float, float]], form: str, cut: float, resamples: int
) -> dict[str, Any]:
    """Fit the whole curve, and its first part alone; extrapolate that by both forms."""
    d, r = torch.tensor(sorted(curve), dtype=torch.float64).T.numpy()
    other = next(f for f in FORMS if f != form)
    whole, wrong = (curve_fit.fit([(d, r, None)], f, resamples=resamples) for f in (form, other))
    at, top = int(r.argmax()), cut * float(d.max())
    mine, theirs = (beyond([(d, r)], f, cut=top) for f in (form, other))
    out = {
        "d_max": float(d.max()),
        "true_d_peak": float(d[at]),
        "true_r_peak": float(r[at]),
        "turns": bool(at < len(d) - 1),
        "beyond": mine and mine.error,
        "beyond_other_form": theirs and theirs.error,
        "beyond_stays": mine and mine.stays,
        "beats_persistence": mine and mine.error < mine.stays,
    }
    for k in (
        "alpha",
        "beta",
        "alpha_interval",
        "beta_interval",
        "d_peak",
        "d_interval",
        "r_peak",
        "r_interval",
        "held_out",
    ):
        out[k] = getattr(whole, k) if whole else None
    return {
        **out,
        "held_out_other_form": wrong.held_out if wrong else None,
        "tie": tie(whole, wrong) if whole and wrong else None,
    }


def elsewhere(line: dict[str, Any], lines: list[dict[str, Any]], cut: float) -> float | None:
    """Mean error on this curve's rest of the same form with other set-ups' constants.

    Those are fitted on their whole curves.
    """
    d, r = torch.tensor(sorted(line["curve"]), dtype=torch.float64).T.numpy()
    rest = d > cut * d.max()
    others = [
        x
        for x in lines
        if x is not line and x["optimiser"] == line["optimiser"] and x["alpha"] is not None
    ]
    errors = [
        ((columns(d[rest], line["optimiser"]) @ [x["alpha"], x["beta"]] - r[rest]) ** 2).mean()
        ** 0.5
        for x in others
    ]
    return float(sum(errors) / len(errors)) if errors else None
