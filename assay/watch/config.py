"""How a run is watched: what `--watch` and its further flags say, and the detector that they ask
for.
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import InputError
from assay.watch.detector import Detector, Schedule

RATES = (0.45, 0.40, 0.30, 0.20)  # win rates that are bet on, as far as they lie under the null


@dataclass(frozen=True)
class Watching:
    """How a run is watched. by: gold, FILE.py:name, csv, page, or an address such as
    http://127.0.0.1:8000/v1.

    budget: labels of the whole run. alpha: the chance of ever stopping a run that has not turned,
    which means that at every look it wins at least ½ − delta against the best so far. flip: how
    often a label is wrong; flip_least: what is certain of it. looks: 0 for as many as the run will
    read. prior: over the look at which a fall begins: uniform, early, open. stretch: "the best so
    far" is the policies of so many looks, the last of them the one that showed itself better; each
    label compares with one of these drawn for it, since a single best of many is a lucky one (0: 8,
    or a sixth of the looks where that is less; at most a third of kept). calm, alert: labels a look
    while nothing happens (0: 400 over all looks, at least 4), and once something might. reference:
    further pairs a look against the reference, as long as the budget has more than the looks to
    come can want. kept: policies at hand to go back to, the best so far among them. settle: labels
    that may be bought after a stop to choose among them (people are not asked again).

    group: comparisons drawn for each label, one of which is judged and the rest lend it their
    judges' scores (1: the judges have no part). uneven: of a group, choose more often where the
    judges disagree. prompts: a text file of fresh prompts, one a line. model, rate, timeout, tries,
    at_once: of a judge behind an address, or a function (tries, at_once; 0 is 1 pair a call of a
    function and 4 questions in flight to an address).
    """

    by: str = "gold"
    budget: int = 550
    alpha: float = 0.05
    delta: float = 0.01
    flip: float = 0.0
    flip_least: float = 0.0
    looks: int = 0
    prior: str = "uniform"
    stretch: int = 0
    calm: int = 0
    alert: int = 32
    reference: int = 1
    kept: int = 24
    settle: int = 128
    group: int = 1
    uneven: bool = False
    prompts: str = ""
    model: str = ""
    rate: float = 0.0
    timeout: float = 60.0
    tries: int = 5
    at_once: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("budget", 1),
            ("looks", 0),
            ("stretch", 0),
            ("calm", 0),
            ("alert", 1),
            ("reference", 0),
            ("kept", 1),
            ("settle", 0),
            ("group", 1),
            ("rate", 0),
            ("tries", 1),
            ("at_once", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"--watch.{name} is {getattr(self, name)}; it must be at least {least}"
                )
        if not self.timeout > 0:
            raise InputError(f"--watch.timeout is {self.timeout}; it must be above 0")
        if self.uneven and self.group == 1:
            raise InputError(
                "--watch.uneven chooses among the comparisons of a group: give --watch.group, 8 "
                "for example"
            )
        self.detector(1)

    def a_look(self, looks: int) -> int:
        """Labels of a look while nothing happens."""
        return self.calm or max(4, 400 // (self.looks or looks))

    def together(self, looks: int) -> int:
        """Looks whose policies are the best so far together."""
        return max(1, min(self.stretch or min(8, (self.looks or looks) // 6), self.kept // 3))

    def detector(self, looks: int) -> Detector:
        """A detector for so many looks. The budget is the watch's to keep: it pays for more than
        the detector sees.
        """
        return Detector(
            self.alpha,
            self.looks or looks,
            delta=self.delta,
            flip=self.flip,
            flip_least=self.flip_least,
            prior=self.prior,
            rates=tuple(p for p in RATES if p < 0.5 - self.delta) or (0.4 * (0.5 - self.delta),),
            schedule=Schedule(calm=self.a_look(looks), alert=max(self.alert, self.a_look(looks))),
            weight=2.0 if self.uneven else 1.0,
        )
