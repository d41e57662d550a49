"""Gao's two forms of gold against d = √KL, and what they are worth beyond the readings.

Wherever a form is extrapolated, what it misses stands beside what "it stays where it was" misses.

Source: Gao et al., "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FORMS = ("best-of-n", "rl")
# below, d log d has infinite slope at 0 and noise decides the fit (both forms are fitted to the
# same points)
LEAST_D = 0.3


def columns(d: Array, form: str) -> Array:
    """Return the regressors of R = αx₁ + βx₂.

    Best-of-n is d(α − βd), so (d, −d²); RL is d(α − β log d), so (d, −d log d).

    Args:
        d: √KL.
        form: "best-of-n" or "rl".

    Returns:
        x₁ and x₂ along a new last axis.

    Source:
        Gao et al., "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760.
    """
    return np.stack(
        [d, -d * d if form == "best-of-n" else -d * np.log(np.where(d > 0, d, 1.0))], -1
    )


def solve(d: Array, r: Array, w: Array, form: str) -> tuple[Array, Array]:
    """Fit a form by weighted linear least squares without intercept.

    Args:
        d: √KL; leading axes are resamples.
        r: Gold above the reference.
        w: The weight of each reading.
        form: "best-of-n" or "rl".

    Returns:
        (α, β), NaN where the readings do not fix both.
    """
    x = columns(d, form)
    a = np.einsum("...pi,...p,...pj->...ij", x, w, x)
    b = np.einsum("...pi,...p,...p->...i", x, w, r)
    det = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] ** 2
    # all points at one d: no unique fit
    det = np.where(det > 1e-12 * a[..., 0, 0] * a[..., 1, 1], det, np.nan)
    alpha = (a[..., 1, 1] * b[..., 0] - a[..., 0, 1] * b[..., 1]) / det
    beta = (a[..., 0, 0] * b[..., 1] - a[..., 0, 1] * b[..., 0]) / det
    return np.asarray(alpha), np.asarray(beta)


def turning_point(alpha: Array, beta: Array, form: str) -> tuple[Array, Array]:
    """Return where a form peaks and how high: α/2β and α²/4β, or exp(α/β − 1) and β·d*.

    Args:
        alpha: The form's α.
        beta: The form's β.
        form: "best-of-n" or "rl".

    Returns:
        (d*, R*), NaN where the form has no maximum at d > 0.
    """
    with np.errstate(all="ignore"):
        if form == "best-of-n":
            d, r, has = alpha / (2 * beta), alpha**2 / (4 * beta), (beta > 0) & (alpha > 0)
        else:
            d = np.exp(alpha / beta - 1)
            r, has = beta * d, beta > 0
    has = has & np.isfinite(d) & np.isfinite(r)
    return np.where(has, d, np.nan), np.where(has, r, np.nan)


class Beyond(NamedTuple):
    """A form fitted to the first part of curves, and what it misses of the rest.

    Attributes:
        constants: (α, β).
        error: Root mean squared error beyond the cut.
        stays: That of "it stays where it was", each run's last reading before the cut.
    """

    constants: tuple[float, float]
    error: float
    stays: float


def beyond(runs: Sequence[tuple[Array, Array]], form: str, *, cut: float) -> Beyond | None:
    """Fit a form to the readings up to `cut`, and test it on those beyond, beside persistence.

    Args:
        runs: (d, gold above the reference) of each run.
        form: "best-of-n" or "rl".
        cut: The largest d that is fitted; the least is LEAST_D.

    Returns:
        Constants and errors; None where fewer than three readings are left to fit, or a run with
        readings beyond has none before.
    """
    first = [(d >= LEAST_D) & (d <= cut) for d, _ in runs]
    d, r = (np.concatenate([x[i][f] for x, f in zip(runs, first, strict=True)]) for i in (0, 1))
    rest = [(d > cut) for d, _ in runs]
    if len(d) < 3 or not any(x.any() for x in rest):
        return None
    if any(x.any() and not f.any() for x, f in zip(rest, first, strict=True)):
        return None
    alpha, beta = (float(x) for x in solve(d, r, np.ones(len(d)), form))
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        return None
    misses, still = [], []
    for (at, found), f, x in zip(runs, first, rest, strict=True):
        misses.append(found[x] - columns(at[x], form) @ np.array([alpha, beta]))
        if x.any():
            still.append(found[x] - found[f][int(np.argmax(at[f]))])
    error, stays = (float(np.sqrt(np.mean(np.concatenate(e) ** 2))) for e in (misses, still))
    return Beyond((alpha, beta), error, stays)
