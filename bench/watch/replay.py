"""Detectors replayed on real runs: labels are drawn from the answers that collect.py kept, so every chance of winning is known.

Definitions. Checkpoint 0 is the reference, checkpoint t the policy of look t. p(t, b): the chance that an answer of
checkpoint t beats an answer of checkpoint b to the same prompt, prompts drawn evenly, ties ½, over the kept answers. The peak at
look t is the checkpoint ≤ t with the highest mean gold. A run *turns* at the first look with p(t, peak) ≤ .40. It is *steady* if
p(t, peak) > .45 at every look: every alarm in it is false. What is neither is shaded and counted apart. An alarm in a run that
turns is false if it comes while p(t, peak) has been above .45 at every look so far. Gain kept: (gold of the checkpoint that is
gone back to − gold of checkpoint 0)/(gold of the run's peak − the same).
"""
from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.detector import Detector
from assay.formulas import sequential as seq

TURNED, STEADY = 0.40, 0.45


@dataclass
class Kept:
    """A kept run: gold [T,B,N], judges [T,M,B,N], what is free [T], and the chances of winning that follow."""

    about: dict[str, Any]
    gold: np.ndarray
    judges: np.ndarray
    free: dict[str, np.ndarray]
    level: np.ndarray                                  # [T]: mean gold, exact where the world has it
    _p: dict[tuple[int, int], float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Kept:
        """From collect.py's file."""
        with np.load(path) as f:
            exact = f["exact"].astype(float)
            level = exact if np.isfinite(exact).all() else f["gold"].mean((1, 2), dtype=float)
            return cls(ast.literal_eval(str(f["about"])), f["gold"], f["judges"].astype(np.float32),
                       {k: f[k].astype(float) for k in ("kl", "entropy", "length", "repetition")}, level)

    @property
    def looks(self) -> int:
        return len(self.gold) - 1

    def p(self, t: int, b: int) -> float:
        """Exact over the kept answers: ranks by sorting, ties ½."""
        if (t, b) not in self._p:
            wins = 0.0
            for x, y in zip(self.gold[t], np.sort(self.gold[b], -1), strict=True):
                wins += float(np.searchsorted(y, x, "left").mean() + np.searchsorted(y, x, "right").mean()) / (2 * len(y))
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


class Labeller:
    """One label a prompt, prompts drawn afresh at every look; lies with chance `flip`."""

    def __init__(self, run: Kept, seed: int, *, flip: float = 0.0, group: int = 8):
        self.run, self.rng, self.flip, self.group = run, np.random.default_rng(seed), flip, group

    def __call__(self, t: int, b: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Outcomes [n], the judges' chance of winning for each [n], and for its group of candidates [n,K]."""
        B, N = self.run.gold.shape[1:]
        prompt = self.rng.integers(B, size=(n, self.group))
        i, j = self.rng.integers(N, size=(2, n, self.group))
        margin = self.run.judges[t][:, prompt, i] - self.run.judges[b][:, prompt, j]
        z = (1 / (1 + np.exp(-margin))).mean(0)
        first = (prompt[:, 0], i[:, 0]), (prompt[:, 0], j[:, 0])
        d = np.sign(self.run.gold[t][first[0]] - self.run.gold[b][first[1]])
        d = np.where(self.rng.random(n) < self.flip, -d, d)
        return (d + 1) / 2, z[:, 0], z


@dataclass
class Outcome:
    """What a detector did with a run. alarm: its look, 0 for none; labels until then; back: where to, by each rule;
    settled: labels in all."""

    alarm: int
    labels: int
    back: dict[str, int]
    settled: int


def watch(run: Kept, seed: int, *, flip: float = 0.0, proxy: bool = True, part: int = 4, make: Callable[[], Detector] = Detector,
          settle: int = 128) -> Outcome:
    """The detector as a watch drives it, look by look; after a stop, `settle` labels on where to go back to."""
    d, label = make(), Labeller(run, seed, flip=flip)
    best, alarm = 0, 0
    for t in range(1, run.looks + 1):
        want, got = d.wants(t - 1), 0
        while got < want:
            x, z, group = label(t, best, min(part, want - got))
            d.update(t - 1, x, **({"proxy": z, "pool": group} if proxy else {}))
            got += len(x)
            if d.alarmed >= 0:
                break
        if d.alarmed >= 0:
            alarm = t
            break
        if d.better:
            d.promoted(t - 1)
            best = t
    labels, back = d.labels, {"best so far": best, "smoothed": d.peak() + 1}
    while alarm and d.labels < labels + settle:
        a, b = d.next_pair()
        if a == b:
            break
        d.settle(a, b, label(a + 1, b + 1, 8)[0])
    return Outcome(alarm, labels, {**back, "settled": d.peak() + 1}, d.labels)


def drive(run: Kept, seed: int, monitor: Any, *, flip: float = 0.0) -> Outcome:
    """A rival that asks for labels against the best so far, chosen in the same way as the watch chooses it."""
    label, chooser = Labeller(run, seed, flip=flip), Detector(looks=run.looks)
    best, spent, on = 0, 0, torch.ones(1, 1, dtype=torch.bool)
    for t in range(1, run.looks + 1):
        want, got = int(monitor.begin(t - 1)[0]), 0
        while got < want:
            x = label(t, best, 1)[0]
            monitor.feed(torch.from_numpy(x)[None], torch.zeros(1, 1), torch.ones(1, 1), on)
            chooser.log_up = chooser.log_up + seq.log_pays(1 - torch.from_numpy(x), chooser.lam_up, null=0.5).sum(-1)
            got, spent = got + 1, spent + 1
            if bool(monitor.alarm()[0]):
                return Outcome(t, spent, {"best so far": best}, spent)
        if chooser.better:
            chooser.promoted(t - 1)
            best = t
        chooser.log_up = chooser.log_up.clamp(min=0)
    return Outcome(0, spent, {"best so far": best}, spent)


def kept_gain(run: Kept, back: int) -> float:
    """Share of the peak's gold gain kept by going back; where the peak is the reference, 1 for going back to it, else 0."""
    top = run.level.max() - run.level[0]
    return float((run.level[back] - run.level[0]) / top) if top > 0 else float(back == 0)
