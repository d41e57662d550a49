"""How far one run says where another of the same world turns: what no rule can be asked to beat.

The same world, reward model and settings, trained three times with other prompts and completions
drawn. What differs between the three is the luck of training, and the reference's completions say
nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audit import judged, measured, worlds
from bench.audit.judged import Run

Array = NDArray[np.float64]


def turns(report: list[Run]) -> dict[str, tuple[list[int], Array, NDArray[np.bool_]]]:
    """Of each kind: seeds S that were trained again, √KL at the turn or the end `[S, 3]`, and
    whether the run turned.
    """
    first = {(r.kind, r.seed): r.turn for r in report}
    out = {}
    for kind in worlds.KINDS:
        found: dict[int, list[measured.Turn]] = {}
        for seed in worlds.AGAIN:
            paths = [worlds.place(kind, seed, again) for again in worlds.TIMES]
            if (kind, seed) in first and all(p.exists() for p in paths):
                found[seed] = [first[kind, seed]]
                for path in paths:
                    with np.load(path) as f:
                        d, curve = f["d"].astype(float), f["curve"].astype(float)
                    found[seed].append(measured.turn(d, curve))
        if found:
            d = np.array([[t.d for t in each] for each in found.values()])
            out[kind] = (list(found), d, np.array([[t.turned for t in e] for e in found.values()]))
    return out


def among(d: Array, turned: NDArray[np.bool_]) -> float:
    """Somers' D of one run's turning point as the prediction of another's, mean over the ordered
    pairs of the trainings `[S, 3]`.
    """
    each = [
        measured.concordance(d[:, a], d[:, b], turned[:, b])
        for a, b in permutations(range(d.shape[1]), 2)
    ]
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def by_rule(predicted: Array, d: Array, turned: NDArray[np.bool_]) -> float:
    """Somers' D of a rule's prediction `[S]`, mean over the trainings `[S, 3]`."""
    each = [measured.concordance(predicted, d[:, b], turned[:, b]) for b in range(d.shape[1])]
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def lucky_share(d: Array) -> float:
    """Share of the variance of log √KL at the turn that lies between trainings of one world.

    One-way analysis of variance: within / (within + between), unbiased mean squares.
    """
    x = np.log(d)
    repeats = x.shape[1]
    within = x.var(1, ddof=1).mean()
    between = max(x.mean(1).var(ddof=1) - within / repeats, 0.0)
    return float(within / (within + between)) if within + between > 0 else float("nan")


def all_of(develop: list[Run], report: list[Run]) -> dict[str, Any]:
    """Of each kind: what another run says, what each rule says of the same runs, and the share of
    luck, with intervals of resampled seeds.
    """
    out: dict[str, Any] = {}
    for kind, (seeds, d, turned) in turns(report).items():
        mine = [next(r for r in report if (r.kind, r.seed) == (kind, s)) for s in seeds]
        asked: dict[str, Callable[[NDArray[np.int64]], float]] = {
            "another run": lambda i, d=d, t=turned: among(d[i], t[i])
        }
        for rule in judged.RULES:
            if judged.RULES[rule]:
                by = judged.of_known_kinds(develop, mine, rule).d
                asked[rule] = lambda i, b=by, d=d, t=turned: by_rule(b[i], d[i], t[i])
        asked["share of luck"] = lambda i, d=d: lucky_share(d[i])
        out[kind] = {name: judged.with_interval(seeds, value) for name, value in asked.items()}
        out[kind] |= {"worlds": len(seeds), "turned": int(turned.sum()), "runs": turned.size}
    return out
