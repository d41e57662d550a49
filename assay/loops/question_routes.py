"""Rank the routes of a question by predicted risk, and send it by the one that costs least.

A route is a way to have a question answered: alone, with choices, with a sentence that is found for
it, or by one of several models. What it costs is the chance of a wrong answer and the price of the
words that are read. A question may be withheld as well, at a fixed loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from assay.formulas.dependence import kendall


@dataclass(frozen=True)
class Routes:
    """Questions that no label is known of, and the routes by which they can be sent.

    Attributes:
        names: Of the routes; the first is how a question is asked if nothing is known.
        words: That each route reads beside the question.
        known: Mean share of wrong answers by each route, over the questions that have labels; a row
            for each question where their labels differ.
        true: Chance of a wrong answer to each question by each route, or a share of a few answers.
        observed: `true` are such shares. Their means are unbiased and their least ones too low, so
            that nothing is read off the least ones, nor off what lies above a half.
    """

    names: tuple[str, ...]
    words: Float[Tensor, "R"]
    known: Float[Tensor, "#B R"]
    true: Float[Tensor, "B R"]
    observed: bool = False


def ranked(logit: Float[Tensor, "B R"], routes: Routes) -> dict[str, float]:
    """Whether the routes of a question are ordered as their true risks are.

    Args:
        logit: Predicted for each question and route.
        routes: The routes.

    Returns:
        Mean Kendall's τ within a question, and that of one order for all questions (by the labelled
        questions' mean risks); and of true risks, how often the first in rank is the safest.
    """
    true = routes.true
    found = {
        "kendall": float(kendall(logit, true).mean()),
        "fixed_kendall": float(kendall(routes.known.expand_as(true), true).mean()),
    }
    if not routes.observed:
        found["safest_first"] = float((logit.argmin(1) == true.argmin(1)).double().mean())
    return found


def routed(
    logit: Float[Tensor, "B R"], routes: Routes, *, price: float, withheld: float = math.inf
) -> dict[str, Any]:
    """Send every question by the route whose predicted loss is least.

        loss = risk + price·words, or `withheld` where no route is predicted to cost less

    Args:
        logit: Predicted for each question and route.
        routes: The routes.
        price: Loss of a word that is read beside the question; a wrong answer is 1.
        withheld: Loss of a question that gets no answer.

    Returns:
        Mean true loss; that of the best fixed action (a route or, where one may withhold, none),
        which is chosen on the labelled questions at the same prices; the share of wrong answers and
        the words read; the share of questions that each route took; and, of true risks, the mean
        loss of each question's best action (`least_possible`), and of the questions that are wrong
        more often than not by the first route, the share that is right more often than not by the
        route taken (`rescued`).
    """
    cost, none = price * routes.words, (0, 1)
    loss = pad(routes.true + cost, none, value=withheld)
    least = pad(logit.sigmoid() + cost, none, value=withheld).argmin(1)
    fixed = pad(routes.known + cost, none, value=withheld).argmin(1)

    def taken(x: Float[Tensor, "B A"], by: Int[Tensor, "#B"]) -> Float[Tensor, "B"]:
        return x.gather(1, by.expand(len(x))[:, None])[:, 0]

    names = (*routes.names, "nowhere")
    wrong = taken(pad(routes.true, none), least)
    found: dict[str, Any] = {
        "price": price,
        "withheld": withheld if math.isfinite(withheld) else None,
        "loss": float(taken(loss, least).mean()),
        "best_fixed": float(taken(loss, fixed).mean()),
        "best_fixed_route": names[int(fixed.mode().values)],
        "wrong": float(wrong.mean()),
        "words": float(pad(routes.words, none)[least].mean()),
        **{f"sent_{n}": float((least == i).double().mean()) for i, n in enumerate(names)},
    }
    if not routes.observed:
        risky = routes.true[:, 0] > 0.5
        rescued = risky & (least < len(routes.names)) & (wrong <= 0.5)
        found["least_possible"] = float(loss.min(1).values.mean())
        found["rescued"] = float(rescued.sum() / risky.sum().clamp(min=1))
    return found
