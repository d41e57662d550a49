"""Predictions judged: every rule on the same runs, by rank, coverage and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assay.audits.members import parting
from assay.audits.turning_fit import FEATURES, Calibration, calibrate, features
from assay.core import Rng
from bench.audit import measured, resampled

Array = NDArray[np.float64]
PAIRS, LEVEL = 512, 0.8
RULES: dict[str, tuple[str, ...]] = {
    "members": FEATURES,
    "spread at n = 1": ("spread",),
    "growth of the spread": ("growth",),
    "pairwise accuracy": ("accuracy",),
    "the same for all": (),
}


@dataclass(frozen=True)
class Run:
    """One run: its kind and seed, what was measured, and what the rules read beforehand."""

    kind: str
    seed: int
    turn: measured.Turn
    reads: dict[str, float]


def reads(scores: torch.Tensor, gold: torch.Tensor | None) -> dict[str, float]:
    """What the rules read of members' scores `[M, B, N]` and gold `[B, N]`; member 0 is trained
    against.
    """
    found = parting(scores, proxy=0, draws=2)
    curves = (found.chooser.mean, found.others.mean, found.spread.mean)
    x = features(found.d.numpy(), *(c.numpy() for c in curves))
    return {
        **dict(zip(FEATURES, x.tolist(), strict=True)),
        "spread": float(found.spread.mean[0]),
        "accuracy": float("nan") if gold is None else accuracy(scores[0], gold),
    }


def accuracy(proxy: torch.Tensor, gold: torch.Tensor) -> float:
    """The share of 512 pairs of each prompt's completions that the proxy orders as gold does.

    The proxy's ties are half right; pairs of equal gold are left out.
    """
    n = proxy.shape[-1]
    i, j = Rng(0)("pairs").integers(n, torch.arange(2)[:, None], torch.arange(PAIRS))
    by_gold = torch.sign(gold[:, i] - gold[:, j])
    agree = 0.5 + 0.5 * torch.sign(proxy[:, i] - proxy[:, j]) * by_gold
    return float(agree[by_gold != 0].mean())


def table(runs: Sequence[Run], names: Sequence[str]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Features `[R, F]`, √KL at the turn or the end, and whether it turned."""
    x = np.array([[r.reads[n] for n in names] for r in runs]).reshape(len(runs), len(names))
    return x, np.array([r.turn.d for r in runs]), np.array([r.turn.turned for r in runs])


@dataclass(frozen=True)
class Predicted:
    """One rule's predictions of some runs: √KL `[R]` and the ends of its intervals."""

    d: Array
    low: Array
    high: Array


def of_known_kinds(
    develop: Sequence[Run], report: Sequence[Run], rule: str, *, level: float = LEVEL
) -> Predicted:
    """Calibrated on all kinds, errors by leaving out seeds."""
    made = fitted(develop, rule, [r.seed for r in develop], level=level)
    return predicted(made, report, rule)


def of_new_kinds(
    develop: Sequence[Run], report: Sequence[Run], rule: str, *, level: float = LEVEL
) -> Predicted:
    """Each kind predicted by a calibration on the others, errors by leaving out kinds."""
    out = [np.empty(len(report)) for _ in range(3)]
    for kind in sorted({r.kind for r in report}):
        others = [r for r in develop if r.kind != kind]
        made = fitted(others, rule, [r.kind for r in others], level=level)
        at = np.array([r.kind == kind for r in report])
        found = predicted(made, [r for r in report if r.kind == kind], rule)
        for values, new in zip(out, (found.d, found.low, found.high), strict=True):
            values[at] = new
    return Predicted(*out)


def fitted(
    runs: Sequence[Run], rule: str, groups: Sequence[Any], *, level: float = LEVEL
) -> Calibration:
    """The calibration of a rule on runs."""
    x, d, turned = table(runs, RULES[rule])
    return calibrate(x, d, turned, groups, names=RULES[rule], level=level)


def predicted(made: Calibration, runs: Sequence[Run], rule: str) -> Predicted:
    """What a calibration says of runs."""
    x = table(runs, RULES[rule])[0]
    return Predicted(np.exp(made.log_d(x)), *made.interval(x))


def scores(runs: Sequence[Run], by: Predicted) -> dict[str, resampled.Measure]:
    """Each measure as a function of how often each run counts."""
    _, d, turned = table(runs, ())
    kinds = [r.kind for r in runs]
    with np.errstate(divide="ignore"):
        width = np.log(by.high) - np.log(by.low)
        error = np.abs(np.log(by.d) - np.log(d))
    return {
        "rank": resampled.rank(by.d, d, turned),
        "rank within kinds": resampled.within(by.d, d, turned, kinds),
        "coverage": resampled.share(measured.covered(by.low, by.high, d, turned)),
        "width, factor": resampled.median(width),
        "error, factor": resampled.median(error, turned),
    }
