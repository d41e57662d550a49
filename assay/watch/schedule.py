"""What a detector of a fall is told, and what it says: settings, the schedule of labels, the
verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """Labels a look: `calm` while nothing happens; `alert` once the log-evidence of a fall is above
    `wary`, or that of a rise above `hopeful` (which buys a better knowledge of the peak). `budget`:
    of the whole run, 0 for no bound.
    """

    calm: int = 4
    alert: int = 32
    wary: float = -1.0
    hopeful: float = math.inf
    budget: int = 0


@dataclass(frozen=True)
class Verdict:
    """What is known after a look. `win` is the de-biased chance that the current policy beats the
    best checkpoint, since look `since`; [low, high] holds at all looks and for all `since` at once
    with chance 1 − alpha.
    """

    word: str  # go_on | cannot_tell | stop
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
        head = {"go_on": "go on", "cannot_tell": "cannot tell", "stop": f"stop, {best} was better"}[
            self.word
        ]
        rate = (
            "no label yet"
            if self.win is None
            else f"win rate {self.win:.2f} [{self.low:.2f}, {self.high:.2f}] since look "
            f"{self.since}"
        )
        return f"{head}: {rate}, {self.labels} labels spent, margin {self.delta:g}"


@dataclass(frozen=True)
class Settings:
    """What a detector was built with; see Detector for the words. Raises InputError where a value
    cannot be.
    """

    alpha: float
    looks: int
    delta: float
    flip: float
    flip_least: float
    prior: str
    rates: tuple[float, ...]
    deepen: float
    trust: float
    weight: float
    promote: float

    def __post_init__(self) -> None:
        most = 0.5 - self.delta
        for name, ok, must in (
            ("alpha", 0 < self.alpha < 1, "lie in (0, 1)"),
            ("looks", self.looks >= 1, "be at least 1"),
            ("delta", 0 <= self.delta < 0.5, "lie in [0, 0.5)"),
            ("flip", 0 <= self.flip < 0.5, "lie in [0, 0.5)"),
            ("flip_least", 0 <= self.flip_least <= self.flip, "lie between 0 and flip"),
            ("prior", self.prior in ("uniform", "early", "open"), "be uniform, early or open"),
            (
                "rates",
                len(self.rates) > 0
                and all(0 < p < 0.5 for p in self.rates)
                and min(self.rates, default=1) < most,
                f"lie in (0, 0.5), one of them below {most:g}",
            ),
            ("deepen", 0 <= self.deepen < 1, "lie in [0, 1)"),
            ("trust", 0 <= self.trust < 1, "lie in [0, 1)"),
            ("weight", self.weight >= 1, "be at least 1"),
            ("promote", self.promote > 1, "be above 1"),
        ):
            if not ok:
                raise InputError(f"the watch's {name} is {getattr(self, name)}; it must {must}")
