"""Has the run turned? A state machine that is fed judged comparisons and answers go_on, cannot_tell
or stop.

At every look the current policy's answers are compared, blind and in random order, with those of
the best so far, which is one checkpoint or several of which one is drawn for each label; an outcome
is 1 where the current one won, 0 where it lost, ½ for a tie. "It has not turned" means that at
every look the chance of winning is at least ½ − delta. While that holds, the chance that this
detector *ever* says stop is at most alpha, whatever rule decides how many labels a look buys, and
whatever the proxy is worth (formulas/sequential.py). It asks for outcomes that are one a prompt, of
prompts drawn afresh at each look; several labels of one prompt are to be averaged into one outcome
first.

The detector knows no policy, no prompt and no labeler. Its whole state is JSON.
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
from assay.formulas.confidence import average
from assay.formulas.strengths import earliest_best, informative, strengths
from assay.watch.schedule import Schedule, Settings, Verdict

__all__ = ["Detector", "Schedule", "Verdict"]

VERSION = 2
Numbers = Sequence[float] | Tensor


class Detector:
    """alpha: the chance of ever stopping a run that has not turned. looks: of the whole run (with
    prior="open": any number may come). delta: margin of the null. flip: how often a label is wrong,
    as far as is known: it sizes bets and de-biases the win rate; flip_least: what it is for certain
    (alpha leans on this one, and only where delta > 0). prior: uniform, early or open, see
    start_prior. rates: win rates that are bet on. deepen: chance a look that a fall goes on to the
    next lower of them. trust: capital that bets with the proxy's help, the rest bets on labels
    alone and so bounds what a bad proxy can cost. weight: the largest weight of an answer that was
    not chosen evenly (`choice` gives at most 1/even). promote: evidence for "the current one is
    better than the best" at which `better` says so; it carries no guarantee.
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
        self.settings = Settings(
            alpha,
            looks,
            delta,
            flip,
            flip_least,
            prior,
            tuple(sorted(rates, reverse=True)),
            deepen,
            trust,
            weight,
            promote,
        )
        self.schedule = schedule or Schedule(calm=max(4, 400 // looks))
        J = len(rates)
        self.look, self.best, self.labels = -1, -1, 0
        self.log_s = torch.full(
            (2, J), -math.inf, dtype=torch.float64
        )  # bets with the proxy's help; on labels alone
        self.log_up = torch.zeros(J, dtype=torch.float64)
        self.past = torch.zeros(5, dtype=torch.float64)  # n, Σy, Σy², Σyu, Σu² of earlier looks
        self.rows: list[
            list[float]
        ] = []  # a look: [look, labels, Σ½ + w(x − ½)/weight, log pay of each bet]
        self.pairs: list[
            list[float]
        ] = []  # all comparisons: [look, with which look, labels, Σ as above]
        self.alarmed = -1  # the look of the alarm; it stays
        self._freeze()

    # ---- what is asked of the watch

    @property
    def null(self) -> float:
        """m: the least observed mean of an outcome under the null."""
        return seq.null_mean(delta=self.settings.delta, flip=self.settings.flip_least)

    @property
    def log_alarm(self) -> float:
        """log 1/alpha."""
        return -math.log(self.settings.alpha)

    @property
    def log_evidence(self) -> float:
        """Log capital of all bets begun so far; −inf before the first. Stop at `log_alarm`."""
        return float(torch.logsumexp(self.log_s + self._split(), (0, 1)))

    @property
    def log_rise(self) -> float:
        """Log evidence that the current policy beats the best one; a CUSUM, so never below 0 for
        long.
        """
        return float(torch.logsumexp(self.log_up, 0)) - math.log(len(self.log_up))

    @property
    def better(self) -> bool:
        """Whether the current policy should be taken as the best so far: then call `promoted`."""
        return self.log_rise >= math.log(self.settings.promote)

    def wants(self, look: int) -> int:
        """How many labels this look is to buy, those it already has included not; 0 once it has
        stopped or spent its budget.
        """
        if self.alarmed >= 0:
            return 0
        s = self.schedule
        n = s.alert if self.log_evidence > s.wary or self.log_rise > s.hopeful else s.calm
        return n if s.budget == 0 else max(0, min(n, s.budget - self.labels))

    def promoted(self, look: int) -> None:
        """This look's policy is the best so far: later outcomes compare with it."""
        self.best = look
        self.log_up = torch.zeros_like(self.log_up)

    # ---- evidence

    def update(
        self,
        look: int,
        outcomes: Numbers,
        *,
        proxy: Numbers | None = None,
        pool: Sequence[Sequence[float]] | Tensor | None = None,
        weights: Numbers | None = None,
        against: Sequence[int] | None = None,
    ) -> Verdict:
        """L outcomes of a look; a look may be fed in parts, and neither parts nor order change its
        evidence.

        proxy [L], pool [L,K]: the judges' chance (0 to 1) that the current answer wins, for the
        labeled comparison, and for the K fresh ones of the label's own group from which it was
        chosen, itself among them. weights [L]: as `choice` gave them. against [L]: the looks whose
        policies were compared with, −1 for the reference; else all of them `best`. The null is
        about the chance of winning against one drawn from these for each label.
        """
        x = _numbers("outcomes", outcomes, 0, 1)
        u, w = torch.zeros_like(x), torch.ones_like(x)
        if weights is not None:
            w = _numbers("weights", weights, 0, self.settings.weight + 1e-9, len(x))
        if (proxy is None) != (pool is None):
            raise InputError(
                "the watch was given a proxy without its pool, or a pool without its proxy; give "
                "both or neither"
            )
        if proxy is not None and pool is not None:
            z, group = (
                _numbers("proxy", proxy, 0, 1, len(x)),
                _numbers("pool", pool, 0, 1, len(x), axes=2),
            )
            u = seq.control(z, group, w)
        if look < self.look:
            raise InputError(
                f"labels of look {look} came after look {self.look} had begun; leave them out"
            )
        if look > self.look:
            self._begin(look)
        null, pays = self.null, torch.zeros_like(self.log_s)
        for g in range(2):
            c = self.c if g == 0 else torch.zeros((), dtype=torch.float64)
            pays[g] = seq.log_pays(x, self.lam[g], null=null, control=u, c=c, weight=w).sum(-1)
        self.log_s = self.log_s + pays
        self.log_up = self.log_up + seq.log_pays(1 - x, self.lam_up, null=0.5, weight=w).sum(-1)
        row = self.rows[-1]
        row[1] += len(x)
        row[2] += self._compared(look, [self.best] * len(x) if against is None else against, x, w)
        row[3:] = [a + float(b) for a, b in zip(row[3:], pays[0], strict=True)]
        y = w * (x - 0.5)
        self.fresh += torch.stack(
            [
                torch.tensor(float(len(x)), dtype=torch.float64),
                y.sum(),
                y.square().sum(),
                (y * u).sum(),
                u.square().sum(),
            ]
        )
        self.labels += len(x)
        if self.alarmed < 0 and self.log_evidence >= self.log_alarm:
            self.alarmed = look
        return self.verdict()

    def _begin(self, look: int) -> None:
        """A new look: capital moves among the bets, bets that suppose a fall since now begin, and
        this look's bets are fixed.
        """
        s = self.settings
        prior = seq.start_prior(
            looks=max(s.looks, look + 1) if s.prior == "open" else s.looks, kind=s.prior
        )
        mass = float(
            prior[self.look + 1 : look + 1].sum()
        )  # of looks without labels, too: nothing distinguishes their bets
        if s.deepen:
            self.log_s = seq.deepened(
                self.log_s, seq.deepening(J=self.log_s.shape[1], rate=s.deepen)
            )
        start = math.log(mass / len(s.rates)) if mass > 0 else -math.inf
        self.log_s = torch.logaddexp(self.log_s, torch.tensor(start, dtype=torch.float64))
        self.log_up = self.log_up.clamp(min=0)
        self.past = self.past + self.fresh
        self.look = look
        self.rows.append([float(look), 0.0, 0.0, *[0.0] * len(s.rates)])
        self._freeze()

    def _freeze(self) -> None:
        """This look's bets, from earlier looks alone."""
        s, null = self.settings, self.null
        self.fresh = torch.zeros(5, dtype=torch.float64)
        self.c, explained = seq.fit_control(*self.past)
        rates = torch.tensor(s.rates, dtype=torch.float64)
        q = seq.flipped(rates, flip=s.flip)
        none = torch.zeros((), dtype=torch.float64)
        self.lam = torch.stack(
            [
                seq.bets(
                    q, null=null, explained=e, most=seq.largest_bet(c, null=null, weight=s.weight)
                )
                for c, e in ((self.c, explained), (none, none))
            ]
        )
        self.lam_up = seq.bets(q, null=0.5, most=seq.largest_bet(none, null=0.5, weight=s.weight))

    def _split(self) -> Tensor:
        trust = torch.tensor([self.settings.trust, 1 - self.settings.trust], dtype=torch.float64)
        return trust.log()[:, None]

    # ---- what is said

    def since(self) -> int:
        """The look at which a fall most likely began, among those that compared with the present
        best.
        """
        s = self.settings
        tail, top, where = torch.zeros(len(s.rates), dtype=torch.float64), -math.inf, self.best + 1
        for row in reversed(self.rows):
            if row[0] <= self.best:
                break
            tail = tail + torch.tensor(row[3:], dtype=torch.float64)
            if float(tail.max()) > top:
                top, where = float(tail.max()), int(row[0])
        return where

    def win_rate(self, since: int) -> tuple[float | None, float, float]:
        """De-biased mean win rate of the looks from `since` on, and its interval, which holds for
        every `since` at once.
        """
        s = self.settings
        rows = [r for r in self.rows if r[0] >= since]
        n, total = sum(r[1] for r in rows), sum(r[2] for r in rows)
        if n == 0:
            return None, 0.0, 1.0
        place = seq.start_prior(
            looks=max(s.looks, since + 1), kind="open" if s.prior == "open" else "uniform"
        )[since]
        low, high = average(
            torch.tensor(total), torch.tensor(n), log_level=self.log_alarm - float(place.log())
        )
        ends = torch.stack([torch.tensor(total / n, dtype=torch.float64), low, high])
        p = seq.unflipped((0.5 + s.weight * (ends - 0.5)).clamp(0, 1), flip=s.flip)
        return float(p[0]), float(p[1]), float(p[2])

    def verdict(self) -> Verdict:
        """stop: the alarm has gone. cannot_tell: evidence has begun to gather, or no label came at
        this look. go_on: neither.
        """
        since = self.since() if self.rows else 0
        win, low, high = self.win_rate(since)
        got = bool(self.rows) and self.rows[-1][1] > 0
        word = (
            "stop"
            if self.alarmed >= 0
            else "go_on"
            if got and self.log_evidence <= self.schedule.wary
            else "cannot_tell"
        )
        return Verdict(
            word,
            self.look,
            self.best,
            since,
            win,
            low,
            high,
            self.labels,
            self.log_evidence,
            self.log_alarm,
            self.settings.delta,
        )

    # ---- which checkpoint to go back to

    def peak(self, among: Sequence[int] | None = None) -> int:
        """The look whose policy was the best by all comparisons together, −1 for the reference;
        among those still at hand.

        The best so far lags by the looks it takes to show that a newer one is better; this does not
        (formulas/strengths.py).
        """
        return earliest_best(*self._fitted(among)) - 1

    def next_pair(self, among: Sequence[int] | None = None) -> tuple[int, int]:
        """After a stop, labels on these two looks' policies say most about where to go back to.
        Feed them to `settle`.
        """
        a, b = informative(*self._fitted(among))
        return a - 1, b - 1

    def _fitted(self, among: Sequence[int] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Strengths of all looks, their covariance, and the places of those asked for."""
        looks = range(-1, self.look + 1) if among is None else sorted(set(among))
        wrong = [k for k in looks if not -1 <= k <= self.look]
        if wrong or not len(looks):
            raise InputError(
                f"the watch was asked for the best among looks {list(looks)[:5]} and has seen −1 "
                f"to {self.look}; name some of these"
            )
        t = torch.tensor(self.pairs, dtype=torch.float64).reshape(-1, 4)
        s, covariance = strengths(
            t[:, 0].long() + 1, t[:, 1].long() + 1, t[:, 2], t[:, 3], points=self.look + 2
        )
        return s, covariance, torch.tensor(list(looks)) + 1

    def settle(self, look: int, other: int, outcomes: Numbers) -> None:
        """Outcomes of look's policy against other's, bought to choose between them: spent, but no
        evidence of a fall.
        """
        x = _numbers("outcomes", outcomes, 0, 1)
        self._compared(look, [other] * len(x), x, torch.ones_like(x))
        self.labels += len(x)

    def _compared(self, look: int, against: Sequence[int], x: Tensor, w: Tensor) -> float:
        """Written down; returns the sum of outcomes, shrunk to where they lie in [0,1] whatever
        their weights.
        """
        if len(against) != len(x) or any(not -1 <= k <= self.look for k in against):
            raise InputError(
                f"{len(x)} outcomes were compared with looks {list(against)[:5]}; name one of −1 "
                f"to {self.look} for each"
            )
        won = (0.5 + w * (x - 0.5) / self.settings.weight).tolist()
        for other, value in zip(against, won, strict=True):
            line = next((p for p in self.pairs[::-1] if p[:2] == [look, other]), None)
            if line is None:
                self.pairs.append(line := [float(look), float(other), 0.0, 0.0])
            line[2] += 1
            line[3] += value
        return float(sum(won))

    # ---- on disk

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values: `Detector.resumed(json.loads(json.dumps(d.state())))` goes on
        as d would have.
        """
        return {
            "version": VERSION,
            "settings": asdict(self.settings),
            "schedule": asdict(self.schedule),
            "look": self.look,
            "best": self.best,
            "labels": self.labels,
            "log_s": self.log_s.tolist(),
            "log_up": self.log_up.tolist(),
            "past": self.past.tolist(),
            "fresh": self.fresh.tolist(),
            "rows": [list(r) for r in self.rows],
            "pairs": [list(r) for r in self.pairs],
            "alarmed": self.alarmed,
        }

    @classmethod
    def resumed(cls, state: dict[str, Any]) -> Detector:
        """The detector whose `state()` this is. Raises InputError for one of another version."""
        if state.get("version") != VERSION:
            raise InputError(
                f"the watch's saved state is of version {state.get('version')} and this assay "
                f"reads version {VERSION}; start the watch afresh"
            )
        d = cls(schedule=Schedule(**state["schedule"]), **state["settings"])
        d.look, d.best, d.labels, d.alarmed = (
            state["look"],
            state["best"],
            state["labels"],
            state["alarmed"],
        )
        d.past = torch.tensor(state["past"], dtype=torch.float64)
        d._freeze()  # bets of the present look, from the sums of earlier ones
        d.fresh = torch.tensor(state["fresh"], dtype=torch.float64)
        d.log_s, d.log_up = (
            torch.tensor(state[k], dtype=torch.float64) for k in ("log_s", "log_up")
        )
        d.rows, d.pairs = [list(r) for r in state["rows"]], [list(r) for r in state["pairs"]]
        return d


def _numbers(
    name: str, values: Any, least: float, most: float, n: int | None = None, axes: int = 1
) -> Tensor:
    """As float64, of the right length. Raises InputError for the first that is not a number within
    the bounds.
    """
    t = torch.as_tensor(values, dtype=torch.float64)
    if t.dim() != axes or (n is not None and len(t) != n):
        raise InputError(
            f"the watch's {name} have shape {list(t.shape)}; {axes} axes were expected"
            + ("" if n is None else f", and {n} rows")
        )
    bad = ~((t >= least) & (t <= most))
    if bool(bad.any()):
        i = [int(k) for k in bad.nonzero()[0]]
        raise InputError(
            f"the watch's {name} hold {float(t[tuple(i)])} at place {i[0]}; they are numbers from "
            f"{least:g} to {most:g}"
        )
    return t
