"""One form of the gold curve for several runs: how far it is off on runs that were not fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.stats.gao_forms import LEAST_D, Array, columns, solve
from assay.stats.readings import Reading, path


def pooled_error(curves: Sequence[Sequence[Sequence[Reading]]], form: str) -> float:
    """Root mean squared error of gold on runs that were not fitted.

    Args:
        curves: Two groups of runs; a form is fitted to each and tested on the other.
        form: rl or best-of-n, fitted to gold above the reference; or mean, the fitted runs' gold.
    """
    groups = [_pooled(runs) for runs in curves]
    squares = []
    for (d, r), (at, found) in (groups, groups[::-1]):
        if form == "mean":
            said = np.full_like(at, r.mean())
        else:
            said = columns(at, form) @ np.stack(solve(d, r, np.ones_like(d), form))
        squares.append((found - said) ** 2)
    return float(np.sqrt(np.concatenate(squares).mean()))


def _pooled(runs: Sequence[Sequence[Reading]]) -> tuple[Array, Array]:
    """d and gold above the reference of all readings of some runs, from `LEAST_D` on."""
    paths = [path(run) for run in runs]
    d, r = (np.concatenate(x) for x in zip(*((d, g - g[0]) for d, g in paths), strict=True))
    return d[d >= LEAST_D], r[d >= LEAST_D]
