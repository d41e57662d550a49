"""Detectors replayed on real runs: labels are drawn from the answers that collect.py kept, so every
chance of winning is known.

Definitions. Checkpoint 0 is the reference, checkpoint t the policy of look t. p(t, b): the chance
that an answer of checkpoint t beats an answer of checkpoint b to the same prompt, prompts drawn
evenly, ties ½, over the kept answers. The peak at look t is the checkpoint ≤ t with the highest
mean gold. A run *turns* at the first look with p(t, peak) ≤ .40. It is *steady* if p(t, peak) > .45
at every look: every alarm in it is false. What is neither is shaded and counted apart. An alarm in
a run that turns is false if it comes while p(t, peak) has been above .45 at every look so far. Gain
kept: (gold of the checkpoint that is gone back to − gold of checkpoint 0)/(gold of the run's peak −
the same).

Where gold is a mean over few answers (grammar), the highest mean of many is too high, and a share
of it too low. There the peak's gain is measured on answers that did not choose it: by random
halves, peak by one, gain by the other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.core.rng import Rng
from assay.formulas import sequential as seq
from assay.watch.comparisons import Comparison
from assay.watch.config import WatchConfig
from assay.watch.detector import Detector
from assay.watch.labelers.questions import Label, Question
from assay.watch.ledger import Ledger
from assay.watch.ranking import Ranking
from assay.watch.session import Watch

TURNED, STEADY = 0.40, 0.45
HALVINGS = 50  # of a run's answers, where gold is only known from them


@dataclass
class Kept:
    """A kept run: gold [T,B,N], judges [T,M,B,N], what is free [T], and the chances of winning that
    follow.
    """

    about: dict[str, Any]
    gold: np.ndarray
    judges: np.ndarray
    free: dict[str, np.ndarray]
    level: np.ndarray  # [T]: mean gold, exact where the world has it
    exact: bool
    _p: dict[tuple[int, int], float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Kept:
        """From collect.py's file."""
        with np.load(path) as f:
            exact = f["exact"].astype(float)
            known = bool(np.isfinite(exact).all())
            level = exact if known else f["gold"].mean((1, 2), dtype=float)
            return cls(
                ast.literal_eval(str(f["about"])),
                f["gold"],
                f["judges"].astype(np.float32),
                {k: f[k].astype(float) for k in ("kl", "entropy", "length", "repetition")},
                level,
                known,
            )

    @property
    def looks(self) -> int:
        return len(self.gold) - 1

    def p(self, t: int, b: int) -> float:
        """Exact over the kept answers: ranks by sorting, ties ½."""
        if (t, b) not in self._p:
            wins = 0.0
            for x, y in zip(self.gold[t], np.sort(self.gold[b], -1), strict=True):
                wins += float(
                    np.searchsorted(y, x, "left").mean() + np.searchsorted(y, x, "right").mean()
                ) / (2 * len(y))
            self._p[t, b] = wins / self.gold.shape[1]
        return self._p[t, b]

    def peak(self, t: int) -> int:
        """The checkpoint ≤ t with the highest mean gold."""
        return int(self.level[: t + 1].argmax())

    def fall(self) -> np.ndarray:
        """p(t, peak at t) at looks 1 … T."""
        return np.array([self.p(t, self.peak(t)) for t in range(1, self.looks + 1)])

    def kind(self) -> tuple[str, int]:
        """("turns", its first turned look), ("steady", 0) or ("shaded", 0)."""
        fall = self.fall()
        if (fall <= TURNED).any():
            return "turns", int((fall <= TURNED).argmax()) + 1
        return ("steady" if (fall > STEADY).all() else "shaded"), 0

    def before(self) -> int:
        """The last look up to which the run had not turned at all: an alarm until then is false."""
        low = self.fall() <= STEADY
        return int(low.argmax()) if low.any() else self.looks


class Recorded:
    """The watch's door to a kept run: an answer is one of those kept, drawn evenly, prompts afresh
    for every comparison. scored: draw among the answers that were judged, and say their scores.
    """

    def __init__(self, run: Kept, seed: int, *, scored: bool = False):
        self.run, self.seed, self.scored = run, seed, scored

    def prompts_left(self, used: int) -> int | None:
        return None

    def sample(
        self, step: int, policy: int, other: int, at: int, n: int, used: int
    ) -> list[Comparison]:
        """See assay.watch.comparisons.ComparisonSource; steps are checkpoints."""
        run, rng = self.run, np.random.default_rng((self.seed, step, at))
        B, N = (run.judges[0, 0] if self.scored else run.gold[0]).shape
        prompt, (i, j) = rng.integers(B, size=n), rng.integers(N, size=(2, n))
        judged = ((policy, i), (other, j)) if self.scored else ()
        scores = [run.judges[t][:, prompt, k].T.tolist() for t, k in judged]
        gold = [run.gold[t][prompt, k].tolist() for t, k in ((policy, i), (other, j))]
        return [
            Comparison(
                str(prompt[k]),
                str(i[k]),
                str(j[k]),
                (scores[0][k], scores[1][k]) if self.scored else None,
                samples=(gold[0][k], gold[1][k]),
                swapped=(gold[1][k], gold[0][k]),
            )
            for k in range(n)
        ]

    def keep(self, step: int) -> None: ...

    def stats(self) -> dict[str, float]:
        return {}


class Lies:
    """The recorded gold as a labeler that says the opposite with chance `flip`; equal gold is a
    tie.
    """

    name, waits = "recorded gold", False

    def __init__(self, seed: int, flip: float):
        self.rng, self.flip = np.random.default_rng((seed, 1)), flip

    def __call__(self, asked: Sequence[Question]) -> Iterator[Label]:
        for q in asked:
            better = (np.sign(q.samples[0] - q.samples[1]) + 1) / 2
            yield Label(q, float(1 - better if self.rng.random() < self.flip else better))


@dataclass
class Outcome:
    """What a detector did with a run. alarm: its look, 0 for none; labels until then; back: where
    to, by each rule; settled: labels in all.
    """

    alarm: int
    labels: int
    back: dict[str, int]
    settled: int


def watching(
    run: Kept,
    seed: int,
    settings: WatchConfig,
    *,
    flip: float = 0.0,
    ranking: Ranking | None = None,
) -> Watch:
    """The watch itself (assay/watch/session.py) after all of its looks at a run, on the labels that
    were kept. ranking: another rule that says where to go back to.
    """
    w = Watch(
        Recorded(run, seed, scored=settings.group > 1),
        Ledger(None, None),
        Lies(seed, flip),
        Rng(seed),
        settings,
        run.looks,
    )
    if ranking is not None:
        w.detector.ranking = ranking
    for t in range(1, run.looks + 1):
        w.look({"step": t, "kl": float(run.free["kl"][t])})
        if w.stopped:
            break
    return w


def watch(run: Kept, seed: int, settings: WatchConfig, *, flip: float = 0.0) -> Outcome:
    """What the watch does with a run."""
    w = watching(run, seed, settings, flip=flip)
    looked = int(sum(r[1] for r in w.detector.history.rows)) + len(w.beside)
    return Outcome(
        w.steps[-1] if w.stopped else 0,
        looked,
        {"best so far": w.best, "gone back to": w.back},
        w.spent,
    )


def drive(run: Kept, seed: int, monitor: Any) -> Outcome:
    """A rival that asks for labels against the best so far, chosen in the same way as the watch
    chooses it.
    """
    door, rng, chooser = (
        Recorded(run, seed),
        np.random.default_rng((seed, 2)),
        Detector(looks=run.looks),
    )
    stretch, spent, on = [0], 0, torch.ones(1, 1, dtype=torch.bool)
    for t in range(1, run.looks + 1):
        for at in range(int(monitor.begin(t - 1)[0])):
            mine, theirs = door.sample(t, t, int(rng.choice(stretch)), at, 1, 0)[0].samples
            x = torch.tensor([[(np.sign(mine - theirs) + 1) / 2]], dtype=torch.float64)
            monitor.feed(x, torch.zeros(1, 1), torch.ones(1, 1), on)
            chooser.evidence.log_up = chooser.evidence.log_up + seq.log_pays(
                1 - x[0], chooser.evidence.lam_up, null=0.5
            ).sum(-1)
            spent += 1
            if bool(monitor.alarm()[0]):
                return Outcome(t, spent, {"best so far": stretch[-1]}, spent)
        if chooser.better:
            chooser.promoted(t - 1)
            stretch = list(range(max(1, t - WatchConfig().stretch_length(run.looks) + 1), t + 1))
        chooser.evidence.log_up = chooser.evidence.log_up.clamp(min=0)
    return Outcome(0, spent, {"best so far": stretch[-1]}, spent)


def by_wins(run: Kept) -> int:
    """The checkpoint whose worst chance of winning against any other is the highest: where all
    labels of the world, which say who is better and not by how much, would lead back to.
    """
    T, B, N = run.gold.shape
    worst = np.ones(T)
    for b in range(T):
        p = np.zeros(T)
        for i in range(B):
            low = np.sort(run.gold[b, i])
            every = run.gold[:, i].ravel()
            p += (
                (
                    (np.searchsorted(low, every, "left") + np.searchsorted(low, every, "right"))
                    / (2 * N)
                )
                .reshape(T, N)
                .mean(1)
            )
        worst = np.minimum(worst, p / B)
    return int(worst.argmax())


def gains(run: Kept) -> tuple[np.ndarray, float]:
    """What each checkpoint gains in gold over the reference [T], and what the peak gains."""
    gain = run.level - run.level[0]
    return gain, float(gain.max()) if run.exact else _gain_of_the_peak(run.gold)


def shares(run: Kept) -> np.ndarray:
    """Share of the peak's gold gain that each checkpoint has [T]; where nothing is gained, 1 for
    the reference and else 0.
    """
    gain, top = gains(run)
    return gain / top if top > 0 else (np.arange(len(gain)) == 0).astype(float)


def _gain_of_the_peak(gold: np.ndarray) -> float:
    """The mean gain, on the other half of the answers, of the checkpoint that is highest on one
    half of them.
    """
    rng, gains = np.random.default_rng(0), []
    N = gold.shape[2]
    for _ in range(HALVINGS):
        order = rng.permutation(N)
        one, other = (
            gold[:, :, half].mean((1, 2), dtype=float)
            for half in (order[: N // 2], order[N // 2 :])
        )
        gains += [other[one.argmax()] - other[0], one[other.argmax()] - one[0]]
    return float(np.mean(gains))
