"""When to stop: a filter on readings that buys labels and says go on, cannot tell, or stop.

At each look, completions of the current policy are compared with those of the best so far, on
prompts sampled afresh, one label a prompt, in an order that is drawn for each pair and told to no
labeler. Labels come through the run's ledger, and the detector turns outcomes into a verdict. The
best so far is a stretch of checkpoints, one of them drawn for each label: the best single one of
many looks beats even a healthy run's next. Comparisons with the reference carry no evidence. On
"stop" the caller stops training, more labels are bought, and a curve through all comparisons
chooses among the kept policies. The watch knows no world and no recipe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from assay.core.rng import Rng
from assay.watch import hints
from assay.watch.ahead import SamplesAhead, draws_of, others_of
from assay.watch.blinding import blinded, choose_in_groups
from assay.watch.budget import Budget
from assay.watch.comparisons import Comparison, ComparisonSource
from assay.watch.config import WatchConfig
from assay.watch.detector import Detector
from assay.watch.labelers.questions import Labeler
from assay.watch.ledger import Ledger
from assay.watch.outlook import Outlook, outlook
from assay.watch.plan import SLACK
from assay.watch.summary import summary

SAVED = ("best", "back")  # numbers of the saved state
FROM_VERDICT = ("word", "win", "low", "high", "log_evidence", "log_alarm", "delta")
SAVED_LISTS = ("steps", "stretch", "kept", "beside", "seen")


class Watch:
    """The watch of one run: `look(reading)` is the verdict on the policy that was just read.

    Args:
        source: Samples comparisons.
        ledger: The run's ledger.
        labeler: Labels them.
        rng: Draws the order of each pair, the checkpoint, and the choice within a group.
        config: How to watch.
        looks: Looks of the whole run.

    Attributes:
        steps: The step of each look.
        stretch: Steps whose policies are the best so far together; `best` is the last of them.
        best: The step of the best so far; 0 for the reference.
        back: The step to go back to.
        kept: Steps whose policies are kept, besides the reference.
        budget: What was spent.
        beside: [step, outcome] of each comparison with the reference.
        seen: A row of what hints are made of for each look.
    """

    def __init__(
        self,
        source: ComparisonSource,
        ledger: Ledger,
        labeler: Labeler,
        rng: Rng,
        config: WatchConfig,
        looks: int,
    ):
        self.source, self.ledger, self.labeler = source, ledger, labeler
        self.rng, self.config = rng, config
        self.looks = config.looks or max(1, looks)
        self.policy_bytes = 0  # of one kept policy; whoever keeps them may say so
        self.detector = config.make_detector(self.looks)
        self.budget = Budget(config, self.looks, source)
        self.steps: list[int] = []
        self.stretch: list[int] = [0]
        self.best, self.back = 0, 0
        self.kept: list[int] = []
        self.beside: list[list[float]] = []
        self.seen: list[dict[str, Any]] = []

    @property
    def outlook(self) -> Outlook:
        """What the plan of labels can and cannot find."""
        return outlook(self.budget.plan, self.detector.settings)

    @property
    def stopped(self) -> bool:
        """Whether the watch has said stop."""
        return self.detector.alarmed >= 0

    @property
    def spent(self) -> int:
        """Labels spent."""
        return self.budget.spent

    def look(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """Buy labels for the policy of a reading, and say what is known.

        If labels cannot be had, the exception leaves the watch as it was before.

        Args:
            reading: The reading: its step, and what hints are made of.

        Returns:
            The verdict as it stands in the record; `says` is one line for a person.

        Raises:
            Waiting: People have yet to answer, or the labeler answers nothing.
        """
        before = self.state()
        try:
            return self._look(reading)
        except BaseException:
            self.load(before)
            raise

    def _look(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        step, look = reading["step"], len(self.steps)
        self.steps.append(step)
        against, spent, at, notes = list(self.stretch), self.spent, 0, list[str]()
        slack = SLACK if self.budget.plan.tight else None
        n = self.budget.at_look(look, notes, gathers=self.detector.gathers(slack))
        # people are asked once a look; others four questions at a time, so that a stop comes early
        part = n if self.labeler.waits else 4
        self.detector.update(look, [], kl=reading.get("kl"))
        if isinstance(self.source, SamplesAhead) and n > part:
            rng, used, K = self.rng("watch", step), self.budget.used, self.config.group
            draws = draws_of(self.stretch, rng, n, part=part, group=K, used=used)
            self.source.sample_ahead(step, draws)
        while at < n and not self.stopped:
            self._compare_with_best(step, look, at, k := min(part, n - at))
            at += k
        if self.stopped:
            self.back = self._choose_checkpoint(step, at * self.config.group)
        else:
            rose = self.detector.better
            if rose:
                self.detector.promoted(look)
                self.best = step
            self._keep(step)
            if rose:
                self.stretch = self.kept[-self.config.stretch_length(self.looks) :]
            self.back = self.best
            if against != [0]:
                self._compare_with_reference(step, look, at * self.config.group)
        self.seen.append(hints.row(reading, self.source.stats()))
        said = self._verdict(step, against, self.spent - spent, notes)
        # in the record, and not in its line: it was said before the run
        return {**said, "notes": said["notes"] + (self.outlook.warning if look == 0 else [])}

    def _compare_with_best(self, step: int, look: int, at: int, n: int) -> None:
        """Feed n outcomes, each of its own group, against a policy of the stretch drawn for it."""
        K, rng = self.config.group, self.rng("watch", step)
        others = others_of(self.stretch, rng, at, n)
        sampled: list[Comparison] = []
        for other, m in Counter(others).items():
            used = self.budget.used + len(sampled)
            sampled += self.source.sample(step, step, other, at * K + len(sampled), m * K, used)
        self.budget.used += n * K
        groups = [sampled[i * K : (i + 1) * K] for i in range(n)]
        places, weights = choose_in_groups(groups, self.config.uneven, rng("choice"), at)
        outcomes = self._label(
            step,
            [(other,) for other in others],
            [group[p] for group, p in zip(groups, places)],
            [(at + i) * K + p for i, p in enumerate(places)],
        )
        labeled = [i for i, x in enumerate(outcomes) if x is not None]
        scored = K > 1 and all(c.scores is not None for c in sampled) and len(labeled) > 0
        z = [[c.win_probability for c in group] for group in groups] if scored else []
        self.detector.update(
            look,
            [x for x in outcomes if x is not None],
            proxy=[z[i][places[i]] for i in labeled] if scored else None,
            pool=[z[i] for i in labeled] if scored else None,
            weights=[weights[i] for i in labeled] if self.config.uneven and labeled else None,
            against=[self._look_of(others[i]) for i in labeled],
        )

    def _label(
        self,
        step: int,
        between: Sequence[tuple[int, ...]],
        chosen: Sequence[Comparison],
        places: Sequence[int],
    ) -> list[float | None]:
        """Outcomes from the first policy's side; None where the labeler gave nothing usable.

        `between`: the steps of both policies, or only the other's if the first is the current one.
        """
        order = self.rng("watch", step)("order").uniform(torch.tensor(places))
        swapped = (order < 0.5).tolist()
        who = f"watch {self.labeler.name}"
        questions = [
            blinded(c, swap, who, step, (p, *b))
            for c, p, b, swap in zip(chosen, places, between, swapped, strict=True)
        ]
        lines = self.ledger.compare(questions, self.labeler)
        labels = [None if line is None else line["label"] for line in lines]
        self.budget.pay(labels)
        return [
            None if x is None else 1 - x if swap else x
            for x, swap in zip(labels, swapped, strict=True)
        ]

    def _compare_with_reference(self, step: int, look: int, at: int) -> None:
        """A few comparisons with the reference: no evidence."""
        n = self.budget.spare(look, waits=self.labeler.waits)
        if n > 0:
            sampled = self.source.sample(step, step, 0, at, n, self.budget.used)
            self.budget.used += n
            outcomes = self._label(step, [(0,)] * n, sampled, range(at, at + n))
            self.beside += [[step, x] for x in outcomes if x is not None]
            self.detector.settle(look, -1, [x for x in outcomes if x is not None])

    def _keep(self, step: int) -> None:
        """Keep this look's policy; of too many, drop the one whose neighbours lie closest.

        The best stretch stays, and so do the last ones, which may be the next.
        """
        self.source.keep(step)
        self.kept.append(step)
        while len(self.kept) > self.config.policies_kept(self.looks, self.policy_bytes):
            last = len(self.kept) - self.config.stretch_length(self.looks)
            stay = (*self.stretch, self.best)
            inner = [i for i, s in enumerate(self.kept[:last]) if s not in stay] or [0]
            ends = [0, *self.kept, self.kept[-1]]
            self.kept.pop(min(inner, key=lambda i: ends[i + 2] - ends[i]))
        if self.best and self.best not in self.kept:
            self.kept.insert(0, self.best)  # kept = 1, and the best is another than the last

    def _choose_checkpoint(self, step: int, at: int) -> int:
        """The step to go back to: the best by all comparisons, some of which are bought now."""
        looks = [-1, *(self.steps.index(s) for s in self.kept)]
        left = 0 if self.labeler.waits else self.config.settle
        while left > 0:
            a, b = self.detector.next_pair(looks)
            n = self.budget.at_most(min(8, left))
            if a == b or n <= 0:
                break
            one, other = (self.steps[k] if k >= 0 else 0 for k in (a, b))
            sampled = self.source.sample(step, one, other, at, n, self.budget.used)
            outcomes = self._label(step, [(one, other)] * n, sampled, range(at, at + n))
            self.detector.settle(a, b, [x for x in outcomes if x is not None])
            self.budget.used, at, left = self.budget.used + n, at + n, left - n
        best = self.detector.peak(looks)
        return self.steps[best] if best >= 0 else 0

    def _look_of(self, step: int) -> int:
        """The look of a step; −1 for the reference."""
        return self.steps.index(step) if step else -1

    def _verdict(
        self, step: int, against: list[int], bought: int, notes: list[str]
    ) -> dict[str, Any]:
        """The verdict as it stands in the record."""
        v = self.detector.verdict()
        found = {
            "step": step,
            "best": self.best,
            "back": self.back,
            "against": against,
            "since": self.steps[max(0, min(v.since, len(self.steps) - 1))],
            "bought": bought,
            **self.budget.record(),
            **{name: getattr(v, name) for name in FROM_VERDICT},
            "alpha": self.config.alpha,
            "by": self.labeler.name,
            "reference": self._against_reference(),
            "notes": notes + self.budget.unusable_note(),
            "hints": hints.since(self.seen),
        }
        return {**found, "says": summary(found)}

    def _against_reference(self) -> dict[str, Any] | None:
        """The share won against the reference since the best so far: a count without guarantee."""
        won = [x for step, x in self.beside if step > self.best]
        return {"win": sum(won) / len(won), "labels": len(won)} if won else None

    def state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "detector": self.detector.state(),
            **self.budget.state(),
            **{name: getattr(self, name) for name in SAVED},
            **{name: list(getattr(self, name)) for name in ("steps", "stretch", "kept")},
            "beside": [list(b) for b in self.beside],
            "seen": [dict(s) for s in self.seen],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.detector = Detector.resumed(state["detector"])
        self.budget.load(state)
        for name in SAVED:
            setattr(self, name, state[name])
        for name in SAVED_LISTS:
            setattr(self, name, list(state[name]))
