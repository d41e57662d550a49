"""Has the run turned? A state machine that is fed outcomes and says go_on, cannot_tell or stop.

At every look, completions of the current policy are compared, blind and in random order, with those
of the best so far: one checkpoint, or several of which one is drawn for each label. An outcome is 1
if the current policy won, 0 if it lost, ½ for a tie. "It has not turned" means that at every look
the chance of winning is at least ½ − delta. While that holds, the chance that this detector *ever*
says stop is at most alpha, whatever rule decides how many labels a look buys, and whatever the
proxy is worth (`assay.formulas.sequential`).

Every outcome must come from a prompt of its own, and every look needs fresh prompts. Average
several labels of one prompt into one outcome first. The detector knows no policy, no prompt and no
labeler; its whole state is JSON.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from assay.errors import InputError
from assay.formulas import sequential as seq
from assay.watch.evidence import Evidence, Numbers, controls, numbers
from assay.watch.history import History
from assay.watch.ranking import Ranking
from assay.watch.schedule import DetectorSettings, Schedule, Verdict

__all__ = ["Detector", "Schedule", "Verdict"]

VERSION = 2


class Detector:
    """A sequential test of "this run has not turned", with a ranking of its checkpoints.

    Args:
        alpha: The chance of ever stopping a run that has not turned.
        looks: Looks of the whole run; with prior="open" any number may come.
        delta: The margin of the null.
        flip: How often a label is wrong, as far as known: sizes bets and corrects the win rate.
        flip_least: How often a label is wrong at the very least; alpha depends on it, and only
            where delta > 0.
        prior: Where a fall is expected to begin: uniform, early or open, see `start_prior`.
        schedule: Labels for a look; 400 over all looks, at least 4, if left out.
        rates: Win rates that are bet on.
        deepen: The chance per look that a fall goes on to the next lower of `rates`.
        trust: The share of capital that bets with the proxy's help. The rest bets on labels alone,
            which bounds what a bad proxy can cost.
        weight: The largest weight of a comparison that was not chosen evenly; `choice` gives at
            most 1/even.
        promote: The evidence at which `better` is true; it carries no guarantee.

    Raises:
        InputError: A value is out of range.

    Example:
        >>> detector = Detector(alpha=0.05, looks=20)
        >>> detector.update(0, [1.0, 0.0, 1.0, 0.5]).word
        'go_on'
    """

    def __init__(
        self,
        alpha: float = 0.05,
        looks: int = 100,
        *,
        delta: float = 0.0,
        flip: float = 0.0,
        flip_least: float = 0.0,
        prior: str = "uniform",
        schedule: Schedule | None = None,
        rates: Sequence[float] = (0.45, 0.40, 0.30, 0.20),
        deepen: float = 0.0,
        trust: float = 0.75,
        weight: float = 1.0,
        promote: float = 10.0,
    ):
        self.settings = DetectorSettings(
            alpha=alpha,
            looks=looks,
            delta=delta,
            flip=flip,
            flip_least=flip_least,
            prior=prior,
            rates=tuple(sorted(rates, reverse=True)),
            deepen=deepen,
            trust=trust,
            weight=weight,
            promote=promote,
        )
        self.schedule = schedule or Schedule(calm=max(4, 400 // looks))
        self.look, self.best, self.labels = -1, -1, 0
        self.evidence, self.ranking = Evidence(self.settings), Ranking()
        self.history = History(self.settings)
        self.alarmed = -1  # the look of the alarm; it stays

    @property
    def log_alarm(self) -> float:
        """log 1/alpha: the log-evidence at which the detector stops."""
        return -math.log(self.settings.alpha)

    @property
    def log_evidence(self) -> float:
        """Log-evidence of a fall; −inf before the first look."""
        return self.evidence.log_fall

    @property
    def log_rise(self) -> float:
        """Log-evidence that the current policy beats the best so far."""
        return self.evidence.log_rise

    @property
    def better(self) -> bool:
        """Whether the current policy should become the best so far: then call `promoted`."""
        return self.log_rise >= math.log(self.settings.promote)

    def wants(self, look: int) -> int:
        """How many labels a look should buy; 0 after a stop, or when the budget is spent."""
        if self.alarmed >= 0:
            return 0
        s = self.schedule
        n = s.alert if self.gathers() else s.calm
        return n if s.budget == 0 else max(0, min(n, s.budget - self.labels))

    def gathers(self, slack: float | None = None) -> bool:
        """Whether evidence gathers.

        Args:
            slack: Nats that the evidence of a fall must be above that of a run that says nothing,
                which is the prior's mass that has begun; None for no such demand.
        """
        begun = 0.0 if slack is None else float(self._prior(self.look)[: self.look + 1].sum())
        level = max(self.schedule.wary, math.log(begun) + (slack or 0.0) if begun else -math.inf)
        return self.log_evidence > level or self.log_rise > self.schedule.hopeful

    def promoted(self, look: int) -> None:
        """Take this look's policy as the best so far: later outcomes compare with it."""
        self.best = look
        self.evidence.reset_rise()

    def update(
        self,
        look: int,
        outcomes: Numbers,
        *,
        proxy: Numbers | None = None,
        pool: Sequence[Sequence[float]] | Tensor | None = None,
        weights: Numbers | None = None,
        against: Sequence[int] | None = None,
        kl: float | None = None,
    ) -> Verdict:
        """Feed outcomes of a look. A look may be fed in parts; parts and order change nothing.

        Args:
            look: The look, at least the one before.
            outcomes: `[L]`, from 0 (lost) to 1 (won).
            proxy: `[L]`, the reward models' probability that the current policy won.
            pool: `[L, K]`, the same for the K fresh comparisons from which each label's was chosen,
                itself among them.
            weights: `[L]`, as `choice` returned them.
            against: `[L]`, the look whose policy each outcome compares with, −1 for the reference;
                the best so far if left out. The null is about one drawn from these for each label.
            kl: The policy's KL from the reference in nats, for `peak`; it is no evidence.

        Returns:
            The verdict after these outcomes.

        Raises:
            InputError: A value is out of range, a length is wrong, or the look is over.
        """
        x = numbers("outcomes", outcomes, 0, 1)
        most = self.settings.weight + 1e-9
        w = torch.ones_like(x) if weights is None else numbers("weights", weights, 0, most, len(x))
        u = controls(x, proxy, pool, w)
        if look < self.look:
            raise InputError(
                f"labels of look {look} came after look {self.look} had begun; leave them out"
            )
        if look > self.look:
            self._begin(look)
        if kl is not None:
            self.ranking.kl[look] = float(kl)
        won = self._rank(look, [self.best] * len(x) if against is None else against, x, w)
        self.history.add(len(x), won, self.evidence.add(x, u, w))
        self.labels += len(x)
        if self.alarmed < 0 and self.log_evidence >= self.log_alarm:
            self.alarmed = look
        return self.verdict()

    def settle(self, look: int, other: int, outcomes: Numbers) -> None:
        """Count comparisons that are no evidence of a fall: with the reference, or after a stop.

        Args:
            look: The look of one policy.
            other: The look of the other policy.
            outcomes: `[L]`, from the first one's side.
        """
        x = numbers("outcomes", outcomes, 0, 1)
        self._rank(look, [other] * len(x), x, torch.ones_like(x))
        self.labels += len(x)

    def peak(self, among: Sequence[int] | None = None) -> int:
        """The look whose policy most probably has most of the best one's gain, by all comparisons
        together; −1 for the reference.

        Args:
            among: Looks whose policies are still at hand; None for all.
        """
        return self.ranking.best(among, self.look)

    def next_pair(self, among: Sequence[int] | None = None) -> tuple[int, int]:
        """The two looks whose comparison tells most about where to go back to; see `peak`."""
        return self.ranking.next_pair(among, self.look)

    def since(self) -> int:
        """The look at which a fall most likely began, see `History`."""
        return self.history.since(self.best)

    def win_rate(self, since: int) -> tuple[float | None, float, float]:
        """The mean win rate from a look on and both ends of its interval, see `History`."""
        return self.history.win_rate(since)

    def verdict(self) -> Verdict:
        """stop: the alarm went off. cannot_tell: evidence gathers, or this look has no label yet.
        go_on: neither.
        """
        since = self.since()
        win, low, high = self.win_rate(since)
        calm = self.history.labeled and self.log_evidence <= self.schedule.wary
        return Verdict(
            word="stop" if self.alarmed >= 0 else "go_on" if calm else "cannot_tell",
            look=self.look,
            best=self.best,
            since=since,
            win=win,
            low=low,
            high=high,
            labels=self.labels,
            log_evidence=self.log_evidence,
            log_alarm=self.log_alarm,
            delta=self.settings.delta,
        )

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values; `Detector.resumed(state)` goes on as this detector would."""
        return {
            "version": VERSION,
            "settings": asdict(self.settings),
            "schedule": asdict(self.schedule),
            "look": self.look,
            "best": self.best,
            "labels": self.labels,
            **self.evidence.state(),
            "rows": [list(r) for r in self.history.rows],
            "pairs": [list(r) for r in self.ranking.pairs],
            "kl": sorted(self.ranking.kl.items()),
            "alarmed": self.alarmed,
        }

    @classmethod
    def resumed(cls, state: dict[str, Any]) -> Detector:
        """The detector whose `state` this is.

        Raises:
            InputError: The state is of another version.
        """
        if state.get("version") != VERSION:
            raise InputError(
                f"the watch's saved state is of version {state.get('version')} and this assay "
                f"reads version {VERSION}; start the watch afresh"
            )
        d = cls(schedule=Schedule(**state["schedule"]), **state["settings"])
        for name in ("look", "best", "labels", "alarmed"):
            setattr(d, name, state[name])
        d.evidence.load(state)
        d.history.rows = [list(r) for r in state["rows"]]
        d.ranking.pairs = [list(r) for r in state["pairs"]]
        d.ranking.kl = dict(state.get("kl", []))
        return d

    def _begin(self, look: int) -> None:
        """Begin a look; the bets of looks without a label begin with it."""
        self.evidence.begin(float(self._prior(look)[self.look + 1 : look + 1].sum()))
        self.look = look
        self.history.begin(look)

    def _prior(self, look: int) -> Tensor:
        """The prior mass of each look, as far as this one at least."""
        looks, kind = self.settings.looks, self.settings.prior
        return seq.start_prior(looks=max(looks, look + 1) if kind == "open" else looks, kind=kind)

    def _rank(self, look: int, against: Sequence[int], x: Tensor, w: Tensor) -> float:
        """Count outcomes in the ranking; their sum, shrunk into [0, 1] whatever their weights."""
        won = (0.5 + w * (x - 0.5) / self.settings.weight).tolist()
        self.ranking.add(look, against, won, self.look)
        return float(sum(won))
