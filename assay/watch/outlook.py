"""What a plan of labels can find: simulated runs that turn in the middle, and sentences on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from assay.core.rng import Rng
from assay.formulas import sequential as seq
from assay.watch.plan import SLACK, Plan
from assay.watch.schedule import DetectorSettings, Schedule

FALLS = (0.40, 0.30, 0.20)  # win rates after the turn
RUNS = 250  # simulated runs of each; the standard error of a share is at most 0.032
RELIABLE = 0.8  # the share of runs in which a fall is found that counts as enough
FEWEST = 80  # labels from which an ample number is looked for; fewer never do
ENOUGH_LOOKS = 12  # with fewer looks, more of them are what helps where labels alone do not
LARGEST = 20_000  # labels up to which an ample number is looked for
F64 = torch.float64


@dataclass(frozen=True)
class Chance:
    """How a fall in the middle of a run is found.

    Attributes:
        win: The win rate after the turn.
        found: The share of runs in which the watch stops before the end.
        labels: Labels between turn and stop, median where it is found; None where it never is.
        looks: Looks likewise.
    """

    win: float
    found: float
    labels: float | None
    looks: float | None


@dataclass(frozen=True)
class Outlook:
    """What a plan can and cannot find.

    Attributes:
        plan: The plan.
        chances: Of each fall in `FALLS`.
        enough: Labels, each with a fresh prompt, that find a fall to 0.30 in 8 of 10 runs; None
            where the plan has them, or where none do.
    """

    plan: Plan
    chances: tuple[Chance, ...]
    enough: int | None

    @property
    def weak(self) -> bool:
        """Whether even a large fall is missed in most runs."""
        return self.chances[-1].found < 0.5

    @property
    def sentences(self) -> list[str]:
        """All of it, for a person, before the run."""
        wins = _listed([f"{c.win:.2f}" for c in self.chances])
        found = _listed([f"{100 * c.found:.0f} %" for c in self.chances])
        return [
            f"watch: {self._spending()}",
            "watch: labels compare the policy with the best checkpoints so far; by simulation, "
            f"falls in the middle of the run to a win rate of {wins} are found before its end in "
            f"{found} of runs",
            *(f"watch: {text}" for text in self.warning or self._advice()),
        ]

    @property
    def warning(self) -> list[str]:
        """A sentence if the plan is too small to find even a large fall."""
        if not self.weak:
            return []
        return [
            f"{self.plan.labels} labels over {looks(self.plan.looks)} are too few to find even a "
            f"large fall in most runs{''.join(f'; {text}' for text in self._advice())}"
        ]

    def _advice(self) -> list[str]:
        if self.enough is None:
            few = self.weak and self.plan.looks < ENOUGH_LOOKS
            return ["look more often (--eval-steps)"] if few else []
        plan, more = self.plan, []
        if plan.budget < self.enough:
            more.append("a larger budget (--watch.budget)")
        if plan.prompts is not None and plan.prompts < self.enough * plan.group:
            more.append("more fresh prompts (--watch.prompts FILE, or more held-out prompts)")
        return [
            f"about {self.enough} labels find a fall to 0.30 in {RELIABLE:.0%} of runs: give "
            f"{' and '.join(more)}"
        ]

    def _spending(self) -> str:
        plan = self.plan
        why = ""
        if plan.prompts is not None and plan.labels < plan.budget:
            each = "each is used once" if plan.group == 1 else f"each label takes {plan.group}"
            fresh = f"there are {plan.prompts} fresh prompts, and {each}"
            why = f" (the budget is {plan.budget}; {fresh})"
        if not plan.labels:
            return (
                f"there is no label for {looks(plan.looks)}{why}, so it can only say 'cannot tell'"
            )
        every = -(-plan.looks // plan.labels)
        most = min(plan.alert, plan.calm + plan.reserve)
        a_look = (
            f"{plan.calm} a look, and {plan.reserve} in reserve for looks at which evidence of a "
            f"fall gathers (up to {most} at one)"
            if plan.calm
            else f"one for about every {every} looks, and none in reserve"
        )
        return f"{plan.labels} labels for {looks(plan.looks)}{why}: {a_look}"


def looks(n: int) -> str:
    """A number of looks in words."""
    return "1 look" if n == 1 else f"{n} looks"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


@cache
def outlook(plan: Plan, settings: DetectorSettings) -> Outlook:
    """What a plan of labels can find, from simulated runs of the detector.

    Args:
        plan: The plan.
        settings: The detector's settings. Reward models that sharpen the evidence (groups) are left
            out, so that with them the watch finds more.
    """
    found, enough, n = chances(plan, settings, FALLS), None, max(plan.labels, FEWEST)
    if found[1].found < RELIABLE:
        most = max(plan.highest, plan.usual) * plan.looks  # more than these looks can buy
        while enough is None and n < min(LARGEST, most):
            n = 10 * round(0.14 * n)
            larger = replace(plan, budget=n, prompts=n * plan.group, asked=False)
            enough = n if chances(larger, settings, FALLS[1:2])[0].found >= RELIABLE else None
    return Outlook(plan, found, enough)


def chances(plan: Plan, settings: DetectorSettings, falls: Sequence[float]) -> tuple[Chance, ...]:
    """How falls in the middle of the run are found, over simulated runs.

    A run wins half of its comparisons before the turn.

    Args:
        plan: The plan.
        settings: The detector's settings.
        falls: Win rates after the turn.
    """
    turn = plan.looks // 2
    wins = np.full((len(falls) * RUNS, plan.looks), 0.5)
    wins[:, turn:] = np.repeat(np.array(falls), RUNS)[:, None]
    bought, alarm = simulate(plan, settings, wins)
    after, found = bought[:, turn:].sum(1), alarm >= turn

    def one(k: int) -> Chance:
        mine = slice(k * RUNS, (k + 1) * RUNS)
        hits = found[mine]
        if not hits.any():
            return Chance(falls[k], 0.0, None, None)
        looks = alarm[mine][hits] - turn + 1
        return Chance(
            falls[k],
            float(hits.mean()),
            float(np.median(after[mine][hits])),
            float(np.median(looks)),
        )

    return tuple(one(k) for k in range(len(falls)))


def simulate(
    plan: Plan, settings: DetectorSettings, wins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The detector and the plan, many runs at once, without reward models.

    Args:
        plan: The plan.
        settings: The detector's settings.
        wins: The chance that the current policy is judged the better, by run and look `[R, T]`.

    Returns:
        Labels of each run and look `[R, T]`, and the look of each run's alarm, −1 without one
        `[R]`.
    """
    runs, looks = wins.shape
    null = seq.null_mean(delta=settings.delta, flip=settings.flip_least)
    q = seq.flipped(torch.tensor(settings.rates, dtype=F64), flip=settings.flip)
    most = seq.largest_bet(torch.zeros((), dtype=F64), null=null, weight=settings.weight)
    lam = seq.bets(q, null=null, most=most)
    lost, won = seq.log_pays(torch.tensor([0.0, 1.0], dtype=F64), lam, null=null).numpy().T
    prior = seq.start_prior(looks=max(settings.looks, looks), kind=settings.prior).numpy()
    level, wary, rng = -math.log(settings.alpha), Schedule().wary, Rng(0)("outlook")
    capital = np.full((runs, len(q)), -np.inf)
    evidence, left = np.full(runs, -np.inf), np.full(runs, plan.labels)
    alarm, bought = np.full(runs, -1), np.zeros((runs, looks), dtype=int)
    places = torch.arange(runs)[:, None]
    for look in range(looks):
        begun = math.log(prior[:look].sum()) if look else -math.inf
        gathers = evidence > (max(wary, begun + SLACK) if plan.tight else wary)
        want = np.where(alarm < 0, _at_look(plan, look, left, gathers), 0)
        capital = np.logaddexp(capital, math.log(prior[look] / len(q)))
        n = max(1, int(want.max()))
        judged = settings.flip + (1 - 2 * settings.flip) * wins[:, look, None]
        x = rng("labels", look).uniform(places, torch.arange(n)).numpy() < judged
        on = np.arange(n) < want[:, None]
        paid = np.where(x[..., None], won, lost) * on[..., None]
        after = capital[:, None] + paid.cumsum(1)  # [R, n, J]
        rang = on & (np.logaddexp.reduce(after, axis=2) >= level)
        last = np.where(rang.any(1), rang.argmax(1) + 1, want)  # labels until the alarm
        alarm = np.where(rang.any(1), look, alarm)
        bought[:, look], left = last, left - last
        capital = np.where((last > 0)[:, None], after[np.arange(runs), last - 1], capital)
        evidence = np.logaddexp.reduce(capital, axis=1)
    return bought, alarm


def _at_look(plan: Plan, look: int, left: np.ndarray, gathers: np.ndarray) -> np.ndarray:
    """`Plan.at_look` of each run; runs in the same place are asked about once."""
    places, which = np.unique(left * 2 + gathers, return_inverse=True)
    each = [plan.at_look(look, int(k) // 2, gathers=bool(k % 2)) for k in places]
    return np.array(each)[which]
