"""What a change of completions does to the score, in standard deviations within a prompt.

Intervals are jackknife intervals over prompts. They take the unit as estimated too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike

from assay.audits.probes import Sound
from assay.stats.jackknife import Interval, jackknifed
from assay.stats.proportions import Share, clustered_share

TINY = 0.01  # units; a smaller change is none
EXAMPLES = 10
CUT = 1200  # characters of an example's text


@dataclass(frozen=True)
class Example:
    """One completion before and after a change.

    Attributes:
        prompt: The prompt, cut.
        before: The completion, cut.
        after: The changed completion, cut.
        score_before: Its score before.
        score_after: Its score after.
        change: The difference in within-prompt standard deviations.
        asked: The other prompt that it is scored as the answer to; None where the prompt stays.
    """

    prompt: str
    before: str
    after: str
    score_before: float
    score_after: float
    change: float
    asked: str | None = None


@dataclass(frozen=True)
class Effect:
    """What one change does to the score of one reward.

    Attributes:
        change: Mean change in within-prompt standard deviations, with its 95 % interval.
        rises: The share of completions whose score rises by more than 0.01 of them.
        completions: Completions that were changed and scored.
        skipped: Completions that the change does not apply to, or that stand at the reward's lowest
            score and cannot fall.
        unscored: Completions that the reward does not apply to, before or after.
        examples: The completions that moved most in the direction in which they should not.
    """

    change: Interval
    rises: Share | None
    completions: int
    skipped: int
    unscored: int
    examples: tuple[Example, ...] = ()


def within_sums(
    scores: Float[ndarray, "R"], group: Int[ndarray, "R"], groups: int
) -> Float[ndarray, "G 2"]:
    """Return what each prompt adds to the pooled variance within prompts: Σ(s − s̄)² and n − 1.

    Args:
        scores: A score a completion; NaN is left out.
        group: The prompt of each completion, from 0.
        groups: The number of prompts G.

    Example:
        >>> within_sums(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]), 2).tolist()
        [[2.0, 1.0], [0.0, 0.0]]
    """
    known = np.isfinite(scores)
    s, at = scores[known], group[known]
    n = np.bincount(at, minlength=groups).astype(float)
    mean = np.bincount(at, s, minlength=groups) / np.maximum(n, 1)
    squares = np.bincount(at, (s - mean[at]) ** 2, minlength=groups)
    return np.stack([squares, np.maximum(n - 1, 0)], 1)


def within_deviation(sums: Float[ndarray, "G 2"]) -> float:
    """Return the pooled standard deviation within prompts, √(Σ_g Σ_i (s_gi − s̄_g)² / Σ_g (n_g−1)).

    Args:
        sums: What `within_sums` returned.

    Returns:
        The deviation; 0 where no prompt has two scores, or all of a prompt's scores are equal.

    Example:
        >>> within_deviation(np.array([[2.0, 1.0], [0.0, 0.0]]))
        1.4142135623730951
    """
    squares, free = sums.sum(0)
    return float(np.sqrt(squares / free)) if free else 0.0


def effect_of(
    before: Float[ndarray, "R"],
    after: Float[ndarray, "R"],
    group: Int[ndarray, "R"],
    within: Float[ndarray, "G 2"],
    *,
    usable: Bool[ndarray, "R"] | None = None,
    level: float = 0.95,
) -> Effect:
    """Measure a change of completions, d = mean(after − before) / deviation within prompts.

    Each completion counts once; the interval is the jackknife's over prompts, with the deviation
    estimated anew without each prompt.

    Args:
        before: The scores of the completions as they are.
        after: The scores of the changed ones; NaN where the change or the reward does not apply.
        group: The prompt of each.
        within: `within_sums` of all scores of the reward, by prompt.
        usable: Completions that the change is measured on; all of them by default.
        level: The interval's level.

    Returns:
        The effect, without examples. It has no number where the reward tells no completions of a
        prompt apart.
    """
    keep = np.ones(len(before), bool) if usable is None else usable
    known = keep & np.isfinite(before) & np.isfinite(after)
    moved, at, G = (after - before)[known], group[known], len(within)
    sums = np.stack(
        [np.bincount(at, moved, minlength=G), np.bincount(at, minlength=G).astype(float)], 1
    )
    unit = within_deviation(within)
    seen = (sums[:, 1] > 0) | (within[:, 1] > 0)
    prompts = len(np.unique(at))
    both = np.concatenate([sums, within], 1)[seen]
    found = jackknifed(both, _standardised, level, df=prompts - 1)
    change = Interval(found.mean, found.low, found.high, prompts)
    if unit == 0 or not prompts:
        change = Interval(None, None, None, prompts)
    rises = clustered_share(moved > TINY * unit, at, level=level)
    return Effect(change, rises, len(moved), int((~keep).sum()), int((keep & ~known).sum()), ())


def _standardised(s: Float[ndarray, "*S 4"]) -> Float[ndarray, "*S"]:
    return np.asarray((s[..., 0] / s[..., 1]) / np.sqrt(s[..., 2] / s[..., 3]))


def correlation_within(
    x: Float[ndarray, "R"], y: Float[ndarray, "R"], group: ArrayLike
) -> Interval:
    """Return the correlation of two numbers of a completion within prompts.

    r = Σ(x − x̄_g)(y − ȳ_g) / √(Σ(x − x̄_g)²·Σ(y − ȳ_g)²), with the jackknife's interval over prompts
    on Fisher's scale atanh r.

    Args:
        x: One number a completion; NaN is left out.
        y: The other.
        group: The prompt of each completion.

    Returns:
        The correlation; without a number where one of both never differs within a prompt.

    Source: Fisher (1921), On the probable error of a coefficient of correlation.

    Example:
        >>> r = correlation_within(np.array([1.0, 2, 1, 2]), np.array([3.0, 4, 7, 8]), [0, 0, 1, 1])
        >>> round(r.mean, 3)
        1.0
    """
    known = np.isfinite(x) & np.isfinite(y)
    _, at = np.unique(np.asarray(group)[known], return_inverse=True)
    if not len(at):
        return Interval(None, None, None, 0)
    n = np.bincount(at)
    a, b = (v - (np.bincount(at, v) / n)[at] for v in (x[known], y[known]))
    sums = np.stack([np.bincount(at, p) for p in (a * b, a * a, b * b)], 1)

    def z(s: Float[ndarray, "*S 3"]) -> Float[ndarray, "*S"]:
        r = s[..., 0] / np.sqrt(s[..., 1] * s[..., 2])
        return np.asarray(np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)))

    found = jackknifed(sums, z)
    mean, low, high = (
        None if v is None else float(np.tanh(v)) for v in (found.mean, found.low, found.high)
    )
    return Interval(mean, low, high, found.clusters)


def examples_of(
    before: Float[ndarray, "R"],
    after: Float[ndarray, "R"],
    texts: Sequence[Mapping[str, str | None]],
    unit: float,
    sound: Sound,
    usable: Bool[ndarray, "R"],
) -> tuple[Example, ...]:
    """Return the completions that moved most where a sound reward does not move.

    Args:
        before: Scores before.
        after: Scores after.
        texts: For each completion prompt, before, after and asked.
        unit: The deviation within prompts.
        sound: What the score of a sound reward does.
        usable: Completions that the change is measured on.

    Returns:
        At most ten. For a change after which the score should fall, those that fell least.
    """
    if unit == 0:
        return ()
    moved = (after - before) / unit
    wrong = np.abs(moved) if sound == "does not move" else moved
    ok = usable & np.isfinite(moved)
    if sound != "falls":
        ok &= wrong > TINY
    at = [int(i) for i in np.argsort(-wrong, kind="stable") if ok[i]][:EXAMPLES]
    return tuple(
        Example(
            **{k: None if v is None else cut(v) for k, v in texts[i].items()},  # type: ignore[arg-type]
            score_before=float(before[i]),
            score_after=float(after[i]),
            change=float(moved[i]),
        )
        for i in at
    )


def cut(text: str) -> str:
    """Return the first 1,200 characters of a text, with how many more there are.

    Example:
        >>> cut("a short text")
        'a short text'
    """
    left = len(text) - CUT
    return text if left <= 0 else f"{text[:CUT]}… [{left:,} characters more]"
