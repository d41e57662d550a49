"""What a detector is told and what it says: its settings, its schedule of labels, its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """How many labels a look buys.

    Attributes:
        calm: Labels for a look while nothing happens.
        alert: Labels for a look once evidence gathers.
        wary: Log-evidence of a fall above which evidence gathers.
        hopeful: Log-evidence of a rise above which it does; finite values locate the peak better.
        budget: Labels for the whole run; 0 for no bound.
    """

    calm: int = 4
    alert: int = 32
    wary: float = -1.0
    hopeful: float = math.inf
    budget: int = 0


@dataclass(frozen=True)
class Verdict:
    """What is known after a look.

    Attributes:
        word: go_on, cannot_tell or stop.
        look: The look.
        best: The look whose policy is the best so far; −1 for the reference.
        since: The look at which a fall most likely began.
        win: The win rate against the best so far since then, corrected for wrong labels; None
            without a label.
        low: The lower end of its interval. The interval holds at all looks and for every `since` at
            once, with probability 1 − alpha.
        high: The upper end.
        labels: Labels spent.
        log_evidence: Log-evidence of a fall.
        log_alarm: The log-evidence at which the detector stops.
        delta: The margin of the null.
    """

    word: str
    look: int
    best: int
    since: int
    win: float | None
    low: float
    high: float
    labels: int
    log_evidence: float
    log_alarm: float
    delta: float

    def __str__(self) -> str:
        best = "the reference" if self.best < 0 else f"look {self.best}"
        words = {"go_on": "go on", "cannot_tell": "cannot tell", "stop": f"stop, {best} was better"}
        rate = (
            "no label yet"
            if self.win is None
            else f"win rate {self.win:.2f} [{self.low:.2f}, {self.high:.2f}] since look "
            f"{self.since}"
        )
        return f"{words[self.word]}: {rate}, {self.labels} labels spent, margin {self.delta:g}"


@dataclass(frozen=True)
class DetectorSettings:
    """What a detector was built with; `Detector` documents each field.

    Raises:
        InputError: A value is out of range.
    """

    alpha: float = 0.05
    looks: int = 100
    delta: float = 0.0
    flip: float = 0.0
    flip_least: float = 0.0
    prior: str = "uniform"
    rates: tuple[float, ...] = (0.45, 0.40, 0.30, 0.20)
    deepen: float = 0.0
    trust: float = 0.75
    weight: float = 1.0
    promote: float = 10.0

    def __post_init__(self) -> None:
        highest = 0.5 - self.delta
        within = len(self.rates) > 0 and all(0 < p < 0.5 for p in self.rates)
        for name, ok, must in (
            ("alpha", 0 < self.alpha < 1, "lie in (0, 1)"),
            ("looks", self.looks >= 1, "be at least 1"),
            ("delta", 0 <= self.delta < 0.5, "lie in [0, 0.5)"),
            ("flip", 0 <= self.flip < 0.5, "lie in [0, 0.5)"),
            ("flip_least", 0 <= self.flip_least <= self.flip, "lie between 0 and flip"),
            ("prior", self.prior in ("uniform", "early", "open"), "be uniform, early or open"),
            (
                "rates",
                within and min(self.rates, default=1) < highest,
                f"lie in (0, 0.5), one of them below {highest:g}",
            ),
            ("deepen", 0 <= self.deepen < 1, "lie in [0, 1)"),
            ("trust", 0 <= self.trust < 1, "lie in [0, 1)"),
            ("weight", self.weight >= 1, "be at least 1"),
            ("promote", self.promote > 1, "be above 1"),
        ):
            if not ok:
                raise InputError(f"the watch's {name} is {getattr(self, name)}; it must {must}")
