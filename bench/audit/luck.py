"""How far one run says where another of the same world turns: what no rule can be asked to beat.

The same world, reward model and settings, trained three times with other prompts and completions
drawn. What differs between the three is the luck of training, and the reference's completions say
nothing of it.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audit import judged, measured, resampled, worlds
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


def among(d: Array, turned: NDArray[np.bool_]) -> resampled.Measure:
    """Somers' D of one run's turning point as the prediction of another's, mean over the ordered
    pairs of the trainings `[S, 3]`.
    """
    pairs = permutations(range(d.shape[1]), 2)
    each = [resampled.rank(d[:, a], d[:, b], turned[:, b]) for a, b in pairs]
    return lambda w: resampled.mean([value(w) for value in each])


def by_rule(predicted: Array, d: Array, turned: NDArray[np.bool_]) -> resampled.Measure:
    """Somers' D of a rule's prediction `[S]`, mean over the trainings `[S, 3]`."""
    each = [resampled.rank(predicted, d[:, b], turned[:, b]) for b in range(d.shape[1])]
    return lambda w: resampled.mean([value(w) for value in each])


def lucky_share(d: Array) -> resampled.Measure:
    """Share of the variance of log √KL at the turn that lies between trainings of one world.

    One-way analysis of variance: within / (within + between), unbiased mean squares.
    """
    x = np.log(d)
    repeats = x.shape[1]
    at, own = x.mean(1), x.var(1, ddof=1)

    def value(w: Array) -> Array:
        n = w.sum(1)
        within = w @ own / n
        about = (w @ at / n)[:, None]
        square = (w * (at - about) ** 2).sum(1) / (n - 1)
        between = np.maximum(square - within / repeats, 0.0)
        with np.errstate(invalid="ignore"):
            return within / (within + between)

    return value


def all_of(develop: list[Run], report: list[Run]) -> dict[str, Any]:
    """Of each kind: what another run says, what each rule says of the same runs, and the share of
    luck, with intervals of resampled seeds.
    """
    out: dict[str, Any] = {}
    for kind, (seeds, d, turned) in turns(report).items():
        mine = [next(r for r in report if (r.kind, r.seed) == (kind, s)) for s in seeds]
        asked = {"another run": among(d, turned)}
        for rule in judged.RULES:
            if judged.RULES[rule]:
                by = judged.of_known_kinds(develop, mine, rule).d
                asked[rule] = by_rule(by, d, turned)
        asked["share of luck"] = lucky_share(d)
        out[kind] = {k: resampled.with_interval(seeds, value) for k, value in asked.items()}
        out[kind] |= {"worlds": len(seeds), "turned": int(turned.sum()), "runs": turned.size}
    return out
