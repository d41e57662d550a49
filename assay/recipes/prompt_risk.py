"""Which questions will go wrong? A risk model of questions, and what comes of optimising it.

A question q is asked in n + 1 ways (itself and n paraphrases), each answered once; the share of
wrong answers is the label p̂(q) = k/(n+1). A model of the question's features alone is fitted to
these labels before anything is generated, and then used to choose: of several rewrites of a
question, the one with the least predicted risk is asked. So a cheap proxy of the *query* is
optimised, and it over-optimises like any other proxy: the least of many noisy predictions is one of
the most wrong (`formulas.curves`).

With six draws a label has a standard deviation of up to 0.2, and what is known of it is binomial.
The fit is

    max_w Σ_q k·log σ(w·φ(q)) + (n+1−k)·log(1 − σ(w·φ(q)))

and not least squares on labels cut at a half, which is kept as the arm `cut`. A paraphrase that
fails counts as wrong.

This study makes questions that have `features` surface features, standard normal among the
questions as people ask them. The true chance of a wrong answer is logistic: linear in all features
but the first, whose effect is good at first and turns bad beyond `bend` deviations, where no
question of the training set lies: say brevity, which helps until it leaves out what was asked. A
rewrite moves the features at random by `reach` deviations each, and every deviation that it moves
away from its question costs meaning: the *original* question is answered wrongly all the more, by
`drift` times the squared distance. True risk is always that of the original question, for a good
answer to another question is a wrong one. The predictor knows of no distance, so an arm subtracts
`penalty` times it, as one does with an embedding's distance.

Lines: how well held-out risk is predicted by the binomial fit and by the cut labels (log score
above the best possible, in nats); then for each n = 1, 2, 4 … `most` rewrites the predicted and the
true risk of the choice, without the penalty and with it, exact over subsets of one pool. The second
head of the paper (agreement of the answers) is left out; it is one more binomial fit.

Here: the true risk falls with n at first, then turns, while the predicted one falls on; the penalty
delays the turn and lowers it. What this cannot show: whether an encoder of real questions has such
an exploit; it shows how to look for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, InputError, Paper, Rng, World
from assay.formulas.curves import best_of_n
from assay.formulas.pairwise import bradley_terry
from assay.rewards.linear_solvers import bradley_terry_optimum

paper = Paper(
    "Is There No Such Thing as a Bad Question? H4R: HalluciBot For Ratiocination, Rewriting, Ranking, and Routing",  # noqa: E501  # a title stands letter for letter, on one line
    "Watson et al.",
    2024,
    "arXiv:2404.12535",
)
reduces = {}
HELD_OUT = 1000


def study(
    world: World,
    *,
    questions: int = 500,
    draws: int = 6,
    features: int = 8,
    bend: float = 2.0,
    steep: float = 1.5,
    reach: float = 1.0,
    drift: float = 0.03,
    penalty: float = 0.1,
    most: int = 1024,
    asked: int = 64,
    ridge: float = 1.0,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each fit, then one for each n with and without the penalty.

    Args:
        questions: Labeled questions.
        draws: Answers a question, at least 1.
        features: Features of a question, at least 2.
        bend: Where the first feature turns bad, in deviations.
        steep: How steeply it turns bad.
        reach: Standard deviation of a rewrite's moves.
        drift: Cost of a squared deviation of distance, in logits.
        penalty: What the second arm subtracts for it.
        most: Rewrites in a pool; n doubles from 1 up to it.
        asked: Questions that are rewritten.
        ridge: Ridge penalty of the fit.
    """
    if features < 2 or draws < 1:
        raise InputError(
            f"--features is {features} and --draws {draws}; a question needs 2 features and 1 "
            "answer"
        )
    rng = world.task.rng("questions")
    direction = (
        rng("direction").normal(torch.arange(features), dtype=torch.float64).abs() / features**0.5
    )
    direction[0] = 0.7  # the tempting feature is the most helpful one

    def logit(
        q: Float[Tensor, "*S F"], away: Float[Tensor, "*S"] | float = 0.0
    ) -> Float[Tensor, "*S"]:
        return (
            -0.5 - q @ direction + steep * (q[..., 0] - bend).clamp(min=0).square() + drift * away
        )

    seen = normal(rng("seen"), questions, features)
    wrong = (
        rng("answers").uniform(torch.arange(questions)[:, None], torch.arange(draws))
        < logit(seen).sigmoid()[:, None]
    )
    share = wrong.double().mean(1)
    fits = {
        "binomial": logistic(seen, share, ridge / draws),
        "cut": logistic(seen, (share > 0.5).double(), ridge),
    }
    fresh = normal(rng("fresh"), HELD_OUT, features)
    truth = logit(fresh).sigmoid()
    best = score(truth.logit(), truth)
    for name, w in fits.items():
        told = predicted(w, fresh)
        nothing = truth.mean().logit().expand(HELD_OUT)
        yield {
            "fit": name,
            "excess_log_score": score(told, truth) - best,
            "knowing_nothing": score(nothing, truth) - best,
            "risk": float(truth.mean()),
            "predicted_risk": float(told.sigmoid().mean()),
        }

    base = normal(rng("asked"), asked, features)
    moved = reach * rng("rewrites").normal(
        torch.arange(asked)[:, None, None],
        torch.arange(2 * most)[:, None],
        torch.arange(features),
        dtype=torch.float64,
    )
    pool, away = base[:, None] + moved, moved.square().sum(-1)
    told, true = predicted(fits["binomial"], pool), logit(pool, away).sigmoid()
    ns, here = (
        [1 << i for i in range(most.bit_length()) if 1 << i <= most],
        torch.ones(asked, 2 * most, dtype=torch.bool),
    )
    as_asked = float(logit(base).sigmoid().mean())
    for arm, price in (("predicted", 0.0), ("penalised", penalty)):
        rank = -(told + price * away)
        curves = [best_of_n(rank, of, ns, here).mean(0) for of in (told.sigmoid(), true, away)]
        for n, p, t, d in zip(ns, *curves, strict=True):
            yield {
                "choice": arm,
                "n": n,
                "predicted_risk": float(p),
                "true_risk": float(t),
                "as_asked": as_asked,
                "distance": float(d),
            }


def normal(rng: Rng, rows: int, features: int) -> Float[Tensor, "R F"]:
    """Make questions as people ask them."""
    return rng.normal(torch.arange(rows)[:, None], torch.arange(features), dtype=torch.float64)


def logistic(
    x: Float[Tensor, "R F"], share: Float[Tensor, "R"], ridge: float
) -> Float[Tensor, "F1"]:
    """Fit weights and an intercept to shares by maximum likelihood.

    It is a Bradley–Terry fit of each row against a row of zeros.
    """
    n = len(x)
    dense = torch.nn.functional.pad(
        torch.cat([x, torch.ones(n, 1, dtype=x.dtype)], 1), (0, 0, 0, 1)
    ).float()
    against = torch.stack([torch.arange(n), torch.full((n,), n)], 1)
    found = bradley_terry_optimum(
        dense, against, p=share.float(), margin=torch.zeros(n), ridge=ridge, counts=torch.ones(n, 1)
    )
    return found[:, 0].double()


def predicted(w: Float[Tensor, "F1"], x: Float[Tensor, "*S F"]) -> Float[Tensor, "*S"]:
    """Logit of a wrong answer, as the model predicts it."""
    return x @ w[:-1] + w[-1]


def score(logit: Float[Tensor, "R"], truth: Float[Tensor, "R"]) -> float:
    """Mean −log likelihood, in nats, of answers that are wrong with these true chances."""
    return float(bradley_terry(logit, torch.zeros_like(logit), p=truth).mean())


@Claim(
    "Of eight rewrites the one whose predicted risk is least is truly safer than the question as "
    "it was asked.",
    arms={"study": ("prompt_risk", {})},
    worlds=("table",),
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> float:
    """True risk of the original question as asked, minus that by the choice among eight; drift of
    meaning included.
    """
    line = next(x for x in arms["study"] if x.get("choice") == "predicted" and x["n"] == 8)
    return float(line["as_asked"] - line["true_risk"])
