"""When to stop: a filter on readings that buys labels and says go on, cannot tell, or stop. Knows
no world and no recipe.

At each look, answers of the current policy are set against those of the best so far, on prompts
drawn afresh, one label a prompt, in an order drawn for each pair and told to nobody; a labeler
answers through the run's ledger, and the detector (detector.py) turns outcomes into a verdict. The
best so far is a stretch of checkpoints, one of them drawn for each label: checkpoints jitter, and
the best single one of many looks beats even a healthy run's next. Some more pairs are set against
the reference; they are reported beside it and carry no evidence. On "stop" whoever drives the run
stops pulling; more labels choose among the policies still kept, and the one that all comparisons
together call the best is the result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from assay.core.rng import Rng
from assay.formulas.sequential import choice
from assay.watch import hints
from assay.watch.config import Watching
from assay.watch.detector import Detector
from assay.watch.labelers.questions import Labeler, Question
from assay.watch.ledger import Ledger

__all__ = ["Door", "Drawn", "Watch", "Watching", "says"]

WORDS = {"go_on": "go on", "cannot_tell": "cannot tell", "stop": "stop"}


@dataclass(frozen=True)
class Drawn:
    """The current policy's answer and another's to one prompt. `scores`: the judges', of either
    answer; None without judges. `samples`: both answers as the world holds them, mine first;
    `turned`: the same, theirs first.
    """

    prompt: str
    mine: str
    theirs: str
    scores: tuple[list[float], list[float]] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    samples: Any = None
    turned: Any = None

    @property
    def chances(self) -> list[float]:
        """Each judge's chance that the current answer is the better: σ of the difference of its
        scores.
        """
        mine, theirs = self.scores or ([], [])
        return [0.5 * (1 + math.tanh((a - b) / 2)) for a, b in zip(mine, theirs, strict=True)]


@runtime_checkable
class Door(Protocol):
    """Where answers come from: the policy being trained, the ones kept, and prompts nobody was
    asked about before.
    """

    def left(self, used: int) -> int | None:
        """How many prompts are left after `used`; None where they never run out."""
        ...

    def draw(self, step: int, mine: int, theirs: int, at: int, n: int, used: int) -> list[Drawn]:
        """n comparisons of the policies of two steps (`step` itself: the current one; 0: the
        reference), at the places at … at+n of this look's, `used` prompts having been drawn before.
        """
        ...

    def keep(self, step: int) -> None:
        """Keep the current policy as that of `step`."""
        ...

    def stats(self) -> dict[str, float]:
        """What the answers drawn at this look say for free (entropy, repetition): for hints alone."""
        ...


class Watch:
    """One run's watch: `look(reading)` is the verdict on the policy that was just read, as it
    stands in the record.
    """

    def __init__(
        self, door: Door, ledger: Ledger, labeler: Labeler, rng: Rng, settings: Watching, looks: int
    ):
        self.door, self.ledger, self.labeler, self.rng, self.settings = (
            door,
            ledger,
            labeler,
            rng,
            settings,
        )
        self.looks = settings.looks or max(1, looks)
        self.detector = settings.detector(self.looks)
        self.steps: list[int] = []  # of each look
        self.stretch: list[int] = [
            0
        ]  # steps whose policies are the best so far, `best` the last of them
        self.best, self.back, self.spent, self.unusable, self.used = 0, 0, 0, 0, 0
        self.kept: list[int] = []  # steps whose policies are at hand, besides the reference
        self.beside: list[list[float]] = []  # [step, outcome against the reference]
        self.seen: list[dict[str, Any]] = []  # what hints are made of, a row a look

    @property
    def stopped(self) -> bool:
        """Whether it has said stop."""
        return self.detector.alarmed >= 0

    def look(self, reading: dict[str, Any]) -> dict[str, Any]:
        """Buy labels for the policy of this reading, and say what is known. If no labels can be
        had, nothing has happened.
        """
        before = self.state()
        try:
            return self._look(reading)
        except BaseException:
            self.load(before)
            raise

    def _look(self, reading: dict[str, Any]) -> dict[str, Any]:
        step, look = reading["step"], len(self.steps)
        self.steps.append(step)
        against, bought, at = list(self.stretch), self.spent, 0
        notes: list[str] = []
        wanted = self.detector.wants(look)
        n = min(wanted, self._affordable(notes))
        parts = (
            n if self.labeler.waits else 4
        )  # people are asked once a look; others four at a time, so as to stop early
        self.detector.update(look, [])
        while at < n and not self.stopped:
            k = min(parts, n - at)
            at += self._buy(step, look, at, k)
        if self.stopped:
            self.back = self._settled(step, at * self.settings.group)
        else:
            rose = self.detector.better
            if rose:
                self.detector.promoted(look)
                self.best = step
            self._keep(step)
            if rose:
                self.stretch = self.kept[-self.settings.together(self.looks) :]
            self.back = self.best
            if against != [0]:
                self._beside(step, look, at * self.settings.group)
        self.seen.append(hints.row(reading, self.door.stats()))
        return self._verdict(step, against, self.spent - bought, notes)

    def _affordable(self, notes: list[str]) -> int:
        """Labels that budget and prompts allow, and a note of the one that has run out."""
        left, prompts = self.settings.budget - self.spent, self.door.left(self.used)
        a_look = self.settings.a_look(self.looks) * self.settings.group
        if prompts is not None and not self.used and prompts < a_look * self.looks:
            notes.append(
                f"{prompts} fresh prompts last for about {prompts // a_look} of {self.looks} "
                "looks, and none is asked about twice; give more of them (--watch.prompts)"
            )
        if left <= 0:
            notes.append(f"the budget of {self.settings.budget} labels is spent")
        if prompts is not None and prompts < self.settings.group:
            notes.append(
                "no fresh prompts are left; a longer run needs more of them (--watch.prompts)"
            )
        return max(0, left if prompts is None else min(left, prompts // self.settings.group))

    def _buy(self, step: int, look: int, at: int, n: int) -> int:
        """n more outcomes of this look, each from a group of its own, against one of the best so
        far drawn for it.
        """
        K = self.settings.group
        which = self.rng("watch", step)("against").integers(
            len(self.stretch), torch.arange(at, at + n)
        )
        others = sorted(
            self.stretch[i] for i in which.tolist()
        )  # together if they are of one policy: fewer are loaded
        drawn: list[Drawn] = []
        for other, m in Counter(others).items():
            drawn += self.door.draw(
                step, step, other, at * K + len(drawn), m * K, self.used + len(drawn)
            )
        self.used += n * K
        groups = [drawn[i * K : (i + 1) * K] for i in range(n)]
        places, weights = self._choose(step, groups, at)
        outcomes = self._ask(
            step,
            [(other,) for other in others],
            [g[p] for g, p in zip(groups, places)],
            [(at + i) * K + p for i, p in enumerate(places)],
        )
        told = [i for i, x in enumerate(outcomes) if x is not None]
        scored = K > 1 and all(d.scores is not None for d in drawn)
        z = [[sum(d.chances) / len(d.chances) for d in g] for g in groups] if scored else []
        self.detector.update(
            look,
            [x for x in outcomes if x is not None],
            proxy=[z[i][places[i]] for i in told] if scored and told else None,
            pool=[z[i] for i in told] if scored and told else None,
            weights=[weights[i] for i in told] if self.settings.uneven and told else None,
            against=[self.steps.index(others[i]) if others[i] else -1 for i in told],
        )
        return n

    def _choose(
        self, step: int, groups: Sequence[Sequence[Drawn]], at: int
    ) -> tuple[list[int], list[float]]:
        """Which comparison of each group is judged, and its weight. Even unless asked for: `uneven`
        prefers those on which the judges disagree most about which answer is better.
        """
        rows = torch.arange(at, at + len(groups))
        uniform = self.rng("watch", step)("choice").uniform(rows, dtype=torch.float64)
        spread = torch.zeros(len(groups), self.settings.group, dtype=torch.float64)
        if self.settings.uneven:
            chances = torch.tensor([[d.chances for d in g] for g in groups], dtype=torch.float64)
            if chances.shape[-1] > 1:
                spread = chances.std(-1)
        index, weight = choice(spread, uniform)
        return index.tolist(), weight.tolist()

    def _ask(
        self,
        step: int,
        between: Sequence[tuple[int, ...]],
        chosen: Sequence[Drawn],
        places: Sequence[int],
    ) -> list[float | None]:
        """Outcomes from the first policy's side (the current one's, where `between` names only the
        other's step), None where the labeler had nothing usable to say.
        """
        turned = (self.rng("watch", step)("order").uniform(torch.tensor(places)) < 0.5).tolist()
        who = f"watch {self.labeler.name}"
        asked = [
            Question(
                who,
                step,
                (p, *b),
                d.prompt,
                *((d.theirs, d.mine) if t else (d.mine, d.theirs)),
                d.columns,
                d.turned if t else d.samples,
            )
            for d, p, b, t in zip(chosen, places, between, turned, strict=True)
        ]
        lines = self.ledger.compare(asked, self.labeler)
        self.spent += len(asked)
        labels = [None if line is None else line["label"] for line in lines]
        self.unusable += sum(x is None for x in labels)
        return [
            None if x is None else 1 - x if t else x for x, t in zip(labels, turned, strict=True)
        ]

    def _beside(self, step: int, look: int, at: int) -> None:
        """A few pairs against the reference, of which the detector hears nothing; from what budget
        and prompts hold beyond what the looks to come will want.
        """
        prompts, to_come = (
            self.door.left(self.used),
            self.settings.a_look(self.looks) * max(0, self.looks - look - 1),
        )
        spare = (
            self.settings.budget
            - self.spent
            - to_come
            - (0 if self.labeler.waits else self.settings.settle)
        )
        n = min(
            self.settings.reference,
            spare,
            *([] if prompts is None else [prompts - to_come * self.settings.group]),
        )
        if n > 0:
            drawn = self.door.draw(step, step, 0, at, n, self.used)
            self.used += n
            outcomes = self._ask(step, [(0,)] * n, drawn, range(at, at + n))
            self.beside += [[step, x] for x in outcomes if x is not None]

    def _keep(self, step: int) -> None:
        """Keep this look's policy. Of too many, the one goes whose neighbours lie closest; the best
        stretch stays, and the last ones, which may be the next.
        """
        self.door.keep(step)
        self.kept.append(step)
        while len(self.kept) > self.settings.kept:
            last = len(self.kept) - self.settings.together(self.looks)
            inner = [
                i for i, s in enumerate(self.kept[:last]) if s not in (*self.stretch, self.best)
            ] or [0]
            ends = [0, *self.kept, self.kept[-1]]
            self.kept.pop(min(inner, key=lambda i: ends[i + 2] - ends[i]))
        if self.best and self.best not in self.kept:
            self.kept.insert(0, self.best)  # one alone is kept, and the best is another

    def _settled(self, step: int, at: int) -> int:
        """The step to go back to: the best by all comparisons together, some of them bought now,
        two policies at a time.
        """
        looks = [-1, *(self.steps.index(s) for s in self.kept)]
        left = 0 if self.labeler.waits else self.settings.settle
        while left > 0:
            a, b = self.detector.next_pair(looks)
            prompts = self.door.left(self.used)
            n = min(
                8, left, self.settings.budget - self.spent, *([] if prompts is None else [prompts])
            )
            if a == b or n <= 0:
                break
            one, other = (self.steps[k] if k >= 0 else 0 for k in (a, b))
            outcomes = self._ask(
                step,
                [(one, other)] * n,
                self.door.draw(step, one, other, at, n, self.used),
                range(at, at + n),
            )
            self.detector.settle(a, b, [x for x in outcomes if x is not None])
            self.used, at, left = self.used + n, at + n, left - n
        best = self.detector.peak(looks)
        return self.steps[best] if best >= 0 else 0

    def _verdict(
        self, step: int, against: list[int], bought: int, notes: list[str]
    ) -> dict[str, Any]:
        v = self.detector.verdict()
        since = self.steps[max(0, min(v.since, len(self.steps) - 1))]
        if self.unusable:
            notes.append(f"{self.unusable} of {self.spent} questions got no usable answer")
        found = {
            "word": v.word,
            "step": step,
            "best": self.best,
            "back": self.back,
            "against": against,
            "since": since,
            "win": v.win,
            "low": v.low,
            "high": v.high,
            "labels": self.spent,
            "bought": bought,
            "unusable": self.unusable,
            "budget": self.settings.budget,
            "log_evidence": v.log_evidence,
            "log_alarm": v.log_alarm,
            "alpha": self.settings.alpha,
            "delta": v.delta,
            "by": self.labeler.name,
            "reference": self._against_reference(),
            "notes": notes,
            "hints": hints.since(self.seen),
        }
        return {**found, "says": says(found)}

    def _against_reference(self) -> dict[str, Any] | None:
        """The share won against the reference by the policies since the best one, a plain count
        without a guarantee.
        """
        won = [x for step, x in self.beside if step > self.best]
        return {"win": sum(won) / len(won), "labels": len(won)} if won else None

    def state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "detector": self.detector.state(),
            "steps": list(self.steps),
            "stretch": list(self.stretch),
            "kept": list(self.kept),
            "best": self.best,
            "back": self.back,
            "spent": self.spent,
            "unusable": self.unusable,
            "used": self.used,
            "beside": [list(b) for b in self.beside],
            "seen": [dict(s) for s in self.seen],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` gave."""
        self.detector = Detector.resumed(state["detector"])
        for name in ("best", "back", "spent", "unusable", "used"):
            setattr(self, name, state[name])
        for name in ("steps", "stretch", "kept", "beside", "seen"):
            setattr(self, name, list(state[name]))


def says(found: dict[str, Any]) -> str:
    """A verdict as one line for a person."""
    best, back = (
        "the reference" if found[k] == 0 else f"step {found[k]}" for k in ("best", "back")
    )
    first, last = found["against"][0], found["against"][-1]
    against = (
        "the reference"
        if last == 0
        else f"step {last}"
        if first == last
        else f"steps {first} to {last}"
    )
    head = WORDS[found["word"]] + (f", {back} was better" if found["word"] == "stop" else "")
    rate = (
        f"{best} is the best so far"
        if found["best"] != last
        else "no label yet"
        if found["win"] is None
        else f"win rate {found['win']:.2f} [{found['low']:.2f}, {found['high']:.2f}] against "
        f"{against}"
    )
    return "; ".join([f"{head}: {rate}, {found['labels']} labels spent", *found["notes"]])
