"""How far a score depends on what it is computed beside: batch, order, padding and precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from assay.audits.completions import Completions, Floats, Ints
from assay.audits.scorers import Scorers
from assay.core.rng import Rng
from assay.engine import progress
from assay.rewards.text_scorer import TextReward
from assay.stats.jackknife import Interval, jackknifed
from assay.stats.proportions import Share, clustered_share

PROMPTS, EACH = 24, 4  # completions that are scored again and again
BATCHES = (1, 3, 16)
BESIDE = 8  # completions of a batch that holds the longest text too


@dataclass(frozen=True)
class Stability:
    """The scores of one reward, computed in another way.

    Attributes:
        reward: The reward.
        way: How they were computed.
        completions: Completions that were scored in both ways.
        mean: Mean absolute difference in standard deviations within a prompt.
        largest: The largest one.
        changed: The share of prompts whose best completion of n would be one of lower score.
        n: Completions of a prompt, at most.
    """

    reward: str
    way: str
    completions: int
    mean: Interval
    largest: float | None
    changed: Share | None
    n: int

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def stability(
    scorers: Scorers, x: Completions, units: Sequence[float], seed: int
) -> list[Stability]:
    """Score some completions in several ways that should make no difference.

    Args:
        scorers: The rewards.
        x: The completions, of which at most 24 prompts with 4 each are used.
        units: The standard deviation within prompts of each row of the scores.
        seed: Of the choice of completions and of the other order.

    Returns:
        One entry for each reward and way; rewards that are no models of PyTorch have no bfloat16.
    """
    some = x.rows(x.probed(PROMPTS, EACH, seed))
    unit = {c.name: u for c, u in zip(scorers.columns, units, strict=True)}
    found = list[Stability]()
    for name, reward in scorers.rewards.items():
        base = scores_of(reward, some)
        for way, again in progress.over(_ways(reward, some, seed), f"stability of {name}", "ways"):
            found.append(_compared(name, way, base, again(), some.group, unit[name]))
    return found


def scores_of(reward: TextReward, x: Completions) -> Floats:
    """Return the mean score of a reward's members, `[R]`."""
    if not len(x):
        return np.zeros(0)
    return Scorers.of({"reward": reward}).scores(x)[0]


def _ways(
    reward: TextReward, x: Completions, seed: int
) -> Iterator[tuple[str, Callable[[], Floats]]]:
    yield "the same call again", lambda: scores_of(reward, x)
    order = Rng(seed)("audit order").permutation(len(x)).numpy()
    yield "in another order", lambda: scores_of(reward, x.rows(order))[np.argsort(order)]
    for size in BATCHES:
        name = "one by one" if size == 1 else f"in batches of {size}"
        yield name, partial(_in_batches, reward, x, size)
    yield "beside the longest text, twice", lambda: _beside(reward, x)
    half = in_bfloat16(reward)
    if half is not None:
        yield "in bfloat16", lambda: scores_of(half, x)


def _in_batches(reward: TextReward, x: Completions, size: int) -> Floats:
    parts = [x.rows(at) for at in _split(np.arange(len(x)), size)]
    return np.concatenate([scores_of(reward, part) for part in parts])


def _beside(reward: TextReward, x: Completions) -> Floats:
    """Score batches that hold a text of twice the longest completion, so that all are padded."""
    longest = int(np.argmax([len(t) for t in x.responses]))
    out = []
    for at in _split(np.arange(len(x)), BESIDE):
        batch = x.rows(np.r_[at, longest])
        long = f"{x.responses[longest]}\n\n{x.responses[longest]}"
        out.append(scores_of(reward, batch.saying([*batch.responses[:-1], long]))[:-1])
    return np.concatenate(out)


def _split(at: Ints, size: int) -> list[Ints]:
    return [at[i : i + size] for i in range(0, len(at), size)]


def in_bfloat16(reward: TextReward) -> TextReward | None:
    """Return a copy of a reward whose models compute in bfloat16.

    Args:
        reward: A reward; it stays as it is.

    Returns:
        The copy; None where no model of PyTorch computes, or all of them are in bfloat16 already.
    """
    other: Any = copy.copy(reward)
    models: list[Any] = list(getattr(reward, "models", ()))
    embedder: Any = getattr(reward, "embedder", None)
    if models:
        other.models = half = [copy.deepcopy(m).to(torch.bfloat16) for m in models]
    elif embedder is not None:
        other.embedder = copy.copy(embedder)
        other.embedder.model = copy.deepcopy(embedder.model).to(torch.bfloat16)
        models, half = [embedder.model], [other.embedder.model]
    else:
        return None
    same = all(
        a.dtype == b.dtype
        for m, h in zip(models, half, strict=True)
        for a, b in zip(m.parameters(), h.parameters(), strict=True)
    )
    return None if same else other


def _compared(
    name: str, way: str, base: Floats, again: Floats, group: Ints, unit: float
) -> Stability:
    known = np.isfinite(base) & np.isfinite(again)
    a, b, at = base[known], again[known], group[known]
    _, place = np.unique(at, return_inverse=True)
    G = int(place.max()) + 1 if len(place) else 0
    n = int(np.bincount(place).max()) if G else 0
    if not unit or not G:
        return Stability(name, way, len(a), Interval(None, None, None, G), None, None, n)
    size = np.abs(b - a) / unit
    sums = np.stack([np.bincount(place, size), np.bincount(place).astype(float)], 1)
    mean = jackknifed(sums, lambda s: s[..., 0] / s[..., 1])
    several = [g for g in (place == k for k in range(G)) if g.sum() > 1]
    changed = [float(a[g][np.argmax(b[g])] < a[g].max()) for g in several]
    return Stability(
        name,
        way,
        len(a),
        mean,
        float(size.max()),
        clustered_share(changed, np.arange(len(changed))),
        n,
    )
