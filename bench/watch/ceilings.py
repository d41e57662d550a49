"""How much any rule could keep with the labels that the watch buys: Bayes' rule, told the curves.

The rule here knows what no watch can know: the win rates and the gold of all recorded runs that
turn, each also as if it had been faster or slower. Its prior is even over them, its likelihood that
of the labels, and it goes back to the checkpoint that most probably has nine tenths of the peak's
gain. With the run's own curve among them no rule can keep more on average over these curves.
Without it, it is what knowing the world's other runs is worth. Labels after the stop lie where the
watch puts them, or where they tell this rule most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.watch.config import WatchConfig
from assay.watch.ranking import Ranking
from bench.watch import collect, replay
from bench.watch.replay import Kept

STRETCHES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4)  # how much faster a recorded run may have gone
LAST = {"grammar": 64, "table": 60}  # runs of lower numbers are read
# runs on which the rule was made; the others were first replayed when it was finished
MADE_ON: dict[str, Sequence[int]] = {"grammar": range(32), "table": range(0, 60, 2)}
BLIND = "no labels: likeliest among the others' curves"


class Told(Ranking):
    """A ranking that knows which curves there are. wins [H,T,T], shares [H,T]; `places`: whether it
    also says which labels to buy after a stop.
    """

    def __init__(self, wins: np.ndarray, shares: np.ndarray, places: bool):
        super().__init__()
        self.wins, self.shares, self.places = wins.clip(0.01, 0.99), shares, places

    def belief(self) -> np.ndarray:
        """The posterior [H]."""
        a, b, n, won = np.array(self.pairs, dtype=float).reshape(-1, 4).T
        p = self.wins[:, a.astype(int) + 1, b.astype(int) + 1]
        log = (won * np.log(p) + (n - won) * np.log1p(-p)).sum(1)
        return np.exp(log - log.max()) / np.exp(log - log.max()).sum()

    def best(self, among: Sequence[int] | None, seen: int) -> int:
        """See Ranking."""
        looks = np.array(list(range(-1, seen + 1) if among is None else among))
        return int(looks[(self.belief() @ (self.shares[:, looks + 1] >= 0.9)).argmax()])

    def next_pair(self, among: Sequence[int] | None, seen: int) -> tuple[int, int]:
        """See Ranking; the pair whose label tells most about which checkpoint is the peak."""
        if not self.places:
            return super().next_pair(among, seen)
        looks = np.array(sorted(set(range(-1, seen + 1) if among is None else among)))
        belief, top = self.belief(), self.shares[:, looks + 1].argmax(1)
        a, b = np.triu_indices(len(looks), 1)
        p = self.wins[:, looks[a] + 1, looks[b] + 1]
        coin = lambda q: -(q * np.log(q) + (1 - q) * np.log1p(-q))
        told = coin(belief @ p)
        for k in np.unique(top):
            mine = belief * (top == k)
            if mine.sum() > 1e-12:
                told -= mine.sum() * coin(mine @ p / mine.sum())
        return int(looks[a[told.argmax()]]), int(looks[b[told.argmax()]])


def curves(run: Kept) -> tuple[np.ndarray, np.ndarray]:
    """A run's chances of winning and shares of the gain, stretched: [S,T,T] and [S,T]."""
    T = run.looks + 1
    wins = np.array([[run.p(t, b) for b in range(T)] for t in range(T)])
    share = replay.shares(run)
    at = [np.minimum(np.round(np.arange(T) * s).astype(int), T - 1) for s in STRETCHES]
    return np.stack([wins[np.ix_(i, i)] for i in at]), np.stack([share[i] for i in at])


def ceilings(say: Callable[[str], None], folder: Path, world: str, draws: int) -> dict[str, Any]:
    """Share of runs that turn in which 90 % of the gain is kept, by the watch and by Bayes' rule,
    each replayed with `draws` draws of labels; intervals from resampled runs.
    """
    paths = {n: folder / collect.place(world, n).name for n in range(LAST[world])}
    found = {n: Kept.read(path) for n, path in paths.items() if path.exists()}
    runs = {n: run for n, run in found.items() if run.kind()[0] == "turns"}
    known = {n: curves(run) for n, run in runs.items()}
    kept: dict[str, dict[int, float]] = {}
    for number, run in runs.items():

        def told(own: bool, places: bool, number: int = number) -> Ranking:
            of = [c for n, c in known.items() if own or n != number]
            return Told(
                np.concatenate([w for w, _ in of]), np.concatenate([s for _, s in of]), places
            )

        rules: dict[str, Callable[[], Ranking]] = {
            "watch": Ranking,
            BLIND: lambda: told(False, False),
            "told the others' curves": lambda: told(False, False),
            "told all curves": lambda: told(True, False),
            "told all curves, places the labels": lambda: told(True, True),
        }
        for rule, make in rules.items():
            each = [kept_by(run, 1000 * k + number, make(), rule == BLIND) for k in range(draws)]
            kept.setdefault(rule, {})[number] = float(np.mean(each))
        say(f"{world} {number}: " + ", ".join(f"{k} {v[number]:.2f}" for k, v in kept.items()))
    fresh = [n for n in runs if n not in MADE_ON[world]]
    return {
        "draws": draws,
        "made on": [n for n in runs if n in MADE_ON[world]],
        "fresh": fresh,
        "each": {rule: {str(n): k for n, k in of.items()} for rule, of in kept.items()},
        "rules": {
            name: {rule: scored([of[n] for n in among]) for rule, of in kept.items()}
            for name, among in (("all", list(runs)), ("fresh", fresh))
            if among
        },
    }


def kept_by(run: Kept, seed: int, ranking: Ranking, blind: bool) -> bool:
    """Whether a rule keeps 90 % of the peak's gain; a run that is not stopped keeps its last."""
    share, w = replay.shares(run), replay.watching(run, seed, WatchConfig(), ranking=ranking)
    if not w.stopped:
        return bool(share[-1] >= 0.9)
    if not blind:
        return bool(share[w.back] >= 0.9)
    ranking.pairs = []
    return bool(share[ranking.best(None, w.detector.look) + 1] >= 0.9)


def scored(each: list[float], draws: int = 4000) -> dict[str, Any]:
    """The mean over runs, and its interval from resampled runs."""
    of = np.array(each)
    pick = np.random.default_rng(0).integers(len(of), size=(draws, len(of)))
    low, high = np.quantile(of[pick].mean(1), [0.025, 0.975])
    return {"kept": float(of.mean()), "interval": [float(low), float(high)]}
