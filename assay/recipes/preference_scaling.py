"""Does preference modelling scale? Bradley–Terry loss against the pairs and the model's width.

A reward model is fitted by −log σ(r(chosen) − r(rejected)) on pairs whose labels are flipped with
chance `noise`, so no model can come below the entropy of that coin. What is above it is excess
loss. The question is whether it falls as a power of the number of pairs N, and where the model's
width W stops it:

    excess(N) = loss − H(noise) ≈ a·N^−b          (the floor fitted too: loss ≈ E + a·N^−b)

The paper finds that it depends on what is preferred: detecting a planted error scales, objective
knowledge scales for large models, and taste does not, because annotators differ and the average
over them has nothing to say. There are three suites, with words of chance ∝ rank^−tail, so that
rare things stay to be learnt at every N:

    errors   one completion holds one of `kinds` planted errors, the other none; the rest of both is
             ordinary words
    facts    both state a value for the same key, one the true value and one of three false ones
    taste    both hold a style; each annotator's liking of each style is a coin of their own, so the
             pair is even

A reward model is linear in W hashed words (Newton's method, `rewards.linear_solvers`), so width
acts as it does in a model that is too small for what it should remember: unlike things share a
weight. Every fit is tested on fresh pairs of its suite, and its loss is the expectation over their
flips, which has less noise; the taste suite's pairs are even by construction. One line a suite and
width: loss and accuracy at each N, the power law on the excess over the known floor, the same with
the floor fitted, both predicted at the largest N, which they have not seen.

Traps avoided: a power law without its floor bends; a largest point that was fitted predicts
nothing; an average over suites hides that they differ. The taste suite's loss does fall with N,
from worse than chance towards log 2, because a small model fits noise: read its accuracy, and what
it gains over chance.

Here: what it cannot show is that a language model's reward model scales like this. It shows that
the instrument tells a suite that scales from one that does not. The exponent is that of the kinds'
tail (b ≈ 1 − 1/tail), and with a tail of 1, or kinds that run out, no power law fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Claim, InputError, Paper, Rng, World
from assay.formulas.pairwise import bradley_terry
from assay.rewards.linear_solvers import bradley_terry_optimum, counted_rows, linear_scores
from assay.stats.power_law import PowerLaw, power_law

paper = Paper("WorldPM: Scaling Human Preference Modeling", "Wang et al.", 2025, "arXiv:2505.10527")
reduces = {}
SUITES = ("errors", "facts", "taste")
FILLING = 3  # ordinary words of a completion, beside the one that matters
VALUES = 4  # of a fact, one of them true
TEST = 16000


def study(
    world: World,
    *,
    sizes: tuple[int, ...] = (100, 300, 1000, 3000, 10000, 20000),
    widths: tuple[int, ...] = (256, 4096),
    kinds: int = 100000,
    tail: float = 1.5,
    noise: float = 0.1,
    ridge: float = 0.3,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each suite and width.

    Args:
        sizes: Numbers of pairs, at least five.
        widths: Widths of reward models, in hashed words.
        kinds: Number of errors, facts, styles and ordinary words.
        tail: The k-th of them has chance ∝ k^−tail.
        noise: Share of labels flipped, from 0 to below 0.5.
        ridge: Ridge penalty of the fit.
    """
    if not 0 <= noise < 0.5:
        raise InputError(
            f"--noise is {noise}; it is the share of labels flipped, from 0 to below 0.5"
        )
    if len(sizes) < 5 or min(sizes) < 1:
        raise InputError(
            f"--sizes is {list(sizes)}; a power law with its largest point left out needs five "
            "sizes of at least 1"
        )
    floor = -(noise * math.log(noise) + (1 - noise) * math.log(1 - noise)) if noise else 0.0
    for suite in SUITES:
        rng = world.task.rng(f"suite {suite}")
        words = drawn(suite, max(sizes), kinds, tail, noise, rng("train"))
        test = drawn(suite, TEST, kinds, tail, 0.0, rng("test"))
        for width in widths:
            found = [tested(words[:n], test, width, noise, ridge, rng) for n in sizes]
            losses = [loss for loss, _ in found]
            known, free = power_law(sizes, losses, floor=floor), power_law(sizes, losses)
            yield {
                "suite": suite,
                "width": width,
                "sizes": list(sizes),
                "loss": losses,
                "accuracy": [a for _, a in found],
                "floor": floor,
                "gain_over_chance": math.log(2) - losses[-1],
                **law("known_floor", known),
                **law("fitted_floor", free),
            }


def law(name: str, found: PowerLaw | None) -> dict[str, float | None]:
    """A power law's numbers under a name; None where no law could be fitted."""
    return {
        f"{name}_{k}": getattr(found, k) if found else None
        for k in ("exponent", "floor", "r2", "held_out", "stays")
    }


def drawn(
    suite: str, n: int, kinds: int, tail: float, noise: float, rng: Rng
) -> Int[Tensor, "B 2 L"]:
    """Word ids of n labeled pairs, the preferred completion first; −1 where there is no word."""
    b = torch.arange(n)
    filling = zipf(
        kinds,
        tail,
        rng("filling"),
        b[:, None, None],
        torch.arange(2)[:, None],
        torch.arange(FILLING),
    )
    topic, other = zipf(kinds, tail, rng("topic"), b), 1 + rng("other").integers(VALUES - 1, b)
    if suite == "errors":
        first, second = torch.full_like(topic, -1), kinds + topic
    elif suite == "facts":
        true = Rng(0)("truth").integers(VALUES, torch.arange(kinds))[
            topic
        ]  # the world's facts are those of training and test
        first, second = ((kinds + topic * VALUES + v) for v in (true, (true + other) % VALUES))
    else:
        second_topic, who = (
            zipf(kinds, tail, rng("second topic"), b),
            rng("who").integers(1 << 30, b),
        )
        likes = [
            rng(f"likes {k}").uniform(who, t)
            for k, t in (("first", topic), ("second", second_topic))
        ]
        ahead = likes[0] > likes[1]
        first, second = (
            kinds + torch.where(ahead, *x) for x in ((topic, second_topic), (second_topic, topic))
        )
    words = torch.stack(
        [torch.cat([filling[:, i], w[:, None]], 1) for i, w in enumerate((first, second))], 1
    )
    flipped = rng("flip").uniform(b) < noise
    return torch.where(flipped[:, None, None], words.flip(1), words)


def zipf(kinds: int, tail: float, rng: Rng, *place: Tensor) -> Tensor:
    """Sample ranks 0 … kinds−1 with chance ∝ (rank + 1)^−tail."""
    share = torch.arange(1, kinds + 1, dtype=torch.float64).pow(-tail).cumsum(0)
    return torch.searchsorted(share / share[-1], rng.uniform(*place, dtype=torch.float64)).clamp(
        max=kinds - 1
    )


def tested(
    train: Tensor, test: Tensor, width: int, noise: float, ridge: float, rng: Rng
) -> tuple[float, float]:
    """Fit a reward model and test it.

    Returns:
        Loss in nats, expected over the flips of the test pairs' labels, and accuracy on the labels
        before they are flipped.
    """
    n = len(train)
    rows = torch.arange(2 * n).reshape(n, 2)
    w = bradley_terry_optimum(
        counted_rows(hashed(train, width, rng), width),
        rows,
        p=torch.ones(n),
        margin=torch.zeros(n),
        ridge=ridge,
        counts=torch.ones(n, 1),
    )
    score = linear_scores(counted_rows(hashed(test, width, rng), width), w).reshape(-1, 2).double()
    right = (score[:, 0] > score[:, 1]).double() + 0.5 * (score[:, 0] == score[:, 1]).double()
    label = torch.full_like(right, 1 - noise)
    return float(bradley_terry(score[:, 0], score[:, 1], p=label).mean()), float(right.mean())


def hashed(words: Int[Tensor, "B 2 L"], width: int, rng: Rng) -> Int[Tensor, "R L"]:
    """Hash words into `width` places, one row for each completion; −1 where there is no word."""
    flat = words.flatten(0, 1)
    return torch.where(flat >= 0, rng("hash").integers(width, flat), -1)


@Claim(
    "The excess loss of reward models of planted errors and of facts falls as a power of the "
    "number of pairs, and that of reward models of taste does not come below chance.",
    arms={"study": ("preference_scaling", {"widths": (4096,)})},
    worlds=("table",),
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Three parts: R² of each of the first two suites' power laws above 0.95, and 0.02 nats minus
    what the taste suite gains over chance at the largest size.
    """
    lines = {x["suite"]: x for x in arms["study"]}
    if any(lines[s]["known_floor_r2"] is None for s in SUITES[:2]):
        raise ValueError(
            "a suite's loss came below its labels' entropy: raise the number of test pairs"
        )
    return {
        **{s: float(lines[s]["known_floor_r2"] - 0.95) for s in SUITES[:2]},
        "taste is flat": float(0.02 - lines["taste"]["gain_over_chance"]),
    }
