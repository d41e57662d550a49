"""Suites of preference pairs with a planted reason, and reward models of hashed words on them.

Words have chance ∝ rank^−tail, so that rare things stay to be learnt at every number of pairs.

    errors      one completion holds one of `kinds` planted errors, the other none
    facts       both state a value for the same key, one the true value and one of three false ones
    taste       both hold a style, and one of a few annotators says which they like more
    one taste   the same, with one annotator for all pairs, in training and test

An annotator's liking of a style is √shared of what all like and √(1 − shared) of their own, both
standard normal: two annotators agree on a pair of styles with chance ½ + asin(shared)/π. Training
and test have the same annotators, so the average over them is something that can be learnt.

The rest of both completions is ordinary words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Rng
from assay.formulas.pairwise import bradley_terry
from assay.rewards.linear_solvers import counted_rows, linear_scores, validated_bradley_terry

SUITES = ("errors", "facts", "taste", "one taste")
FILLING = 3  # ordinary words of a completion, beside the one that matters
VALUES = 4  # of a fact, one of them true
TEST = 16000  # test pairs
_NATURE = Rng(0)  # facts and likings are those of training and test


def drawn(
    suite: str,
    n: int,
    *,
    kinds: int,
    tail: float,
    noise: float,
    annotators: int,
    shared: float,
    rng: Rng,
) -> Int[Tensor, "B 2 L"]:
    """Draw labeled pairs of a suite as word ids, the preferred completion first.

    Args:
        suite: One of `SUITES`.
        n: Pairs.
        kinds: Number of errors, facts, styles and ordinary words.
        tail: The k-th of them has chance ∝ k^−tail.
        noise: Share of labels flipped.
        annotators: Annotators of the taste suite.
        shared: Correlation of two annotators' likings, from 0 to 1.
        rng: The pairs' address.

    Returns:
        Word ids; −1 where there is no word.
    """
    b = torch.arange(n)
    words_at = b[:, None, None], torch.arange(2)[:, None], torch.arange(FILLING)
    filling = zipf(kinds, tail, rng("filling"), *words_at)
    topic = zipf(kinds, tail, rng("topic"), b)
    if suite == "errors":
        first, second = torch.full_like(topic, -1), kinds + topic
    elif suite == "facts":
        true = _NATURE("truth").integers(VALUES, torch.arange(kinds))[topic]
        other = 1 + rng("other").integers(VALUES - 1, b)
        first, second = (kinds + topic * VALUES + v for v in (true, (true + other) % VALUES))
    else:
        others = zipf(kinds, tail, rng("second topic"), b)
        crowd = annotators if suite == "taste" else 1
        who = rng("who").integers(crowd, b)
        like, dislike = (liking(who, style, shared) for style in (topic, others))
        first = kinds + torch.where(like >= dislike, topic, others)
        second = kinds + torch.where(like >= dislike, others, topic)
    words = torch.stack(
        [torch.cat([filling[:, i], w[:, None]], 1) for i, w in enumerate((first, second))], 1
    )
    flipped = rng("flip").uniform(b) < noise
    return torch.where(flipped[:, None, None], words.flip(1), words)


def liking(who: Int[Tensor, "B"], style: Int[Tensor, "B"], shared: float) -> Float[Tensor, "B"]:
    """How much annotators like styles: what all like and what is their own; see the module."""
    common, own = _NATURE("common").normal(style), _NATURE("likes").normal(who, style)
    return shared**0.5 * common + (1 - shared) ** 0.5 * own


def zipf(kinds: int, tail: float, rng: Rng, *place: Tensor) -> Tensor:
    """Sample ranks 0 … kinds−1 with chance ∝ (rank + 1)^−tail."""
    share = torch.arange(1, kinds + 1, dtype=torch.float64).pow(-tail).cumsum(0)
    at = torch.searchsorted(share / share[-1], rng.uniform(*place, dtype=torch.float64))
    return at.clamp(max=kinds - 1)


def tested(
    train: Int[Tensor, "B 2 L"],
    test: Int[Tensor, "C 2 L"],
    *,
    width: int,
    noise: float,
    ridges: Sequence[float],
    rng: Rng,
) -> tuple[float, float]:
    """Fit a reward model, linear in hashed words, by −log σ(chosen − rejected), and test it.

    Args:
        train: Pairs whose labels may be flipped.
        test: Fresh pairs whose labels are not.
        width: Hashed words: unlike words share a weight where there are more words than this.
        noise: The share of labels flipped.
        ridges: Ridge penalties, of which each fit takes the best on a fifth of its pairs.
        rng: The address of the hash.

    Returns:
        Loss in nats, expected over the flips of the test pairs' labels, and accuracy on the labels
        before they are flipped.
    """
    n = len(train)
    w, _ = validated_bradley_terry(
        counted_rows(_hashed(train, width, rng), width),
        torch.arange(2 * n).reshape(n, 2),
        p=torch.ones(n),
        margin=torch.zeros(n),
        ridges=ridges,
    )
    x = counted_rows(_hashed(test, width, rng), width)
    score = linear_scores(x, w[:, None]).reshape(-1, 2).double()
    right = (score[:, 0] > score[:, 1]).double() + 0.5 * (score[:, 0] == score[:, 1]).double()
    label = torch.full_like(right, 1 - noise)
    return float(bradley_terry(score[:, 0], score[:, 1], p=label).mean()), float(right.mean())


def _hashed(words: Int[Tensor, "B 2 L"], width: int, rng: Rng) -> Int[Tensor, "R L"]:
    """Hash words into `width` places, one row for each completion; −1 where there is no word."""
    flat = words.flatten(0, 1)
    return torch.where(flat >= 0, rng("hash").integers(width, flat), -1)
