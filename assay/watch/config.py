"""The configuration of a watch: what `--watch` and the flags beside it say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from assay.errors import InputError
from assay.registry.catalogue import nearest
from assay.registry.functions import function_in_file, labeler_name
from assay.watch.plan import Plan
from assay.watch.schedule import DetectorSettings, Schedule

if TYPE_CHECKING:  # help is written from this file, and must not wait for torch
    from assay.watch.detector import Detector

KEPT, KEPT_BYTES = 24, 5 * 10**9  # policies by default, and the disk that they may take
RATES = (0.45, 0.40, 0.30, 0.20)  # win rates that are bet on, as far as they lie under the null
KINDS: dict[str, tuple[type, str]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "a text"),
}
AT_LEAST = {
    "budget": 1,
    "looks": 0,
    "stretch": 0,
    "calm": 0,
    "alert": 1,
    "reference": 0,
    "kept": 0,
    "settle": 0,
    "group": 1,
    "rate": 0,
    "tries": 1,
    "at_once": 0,
}


class _MayHaveFunction:
    """What travels beside the configuration and stands in no record.

    Attributes:
        function: The labeler, where it is a live function; see `Watch`.
    """

    function: Callable[..., Any] | None = None


@dataclass(frozen=True)
class WatchConfig(_MayHaveFunction):
    """How a run is watched: who labels, what may be spent, and what counts as a turn.

    Attributes:
        by: Who labels: gold, FILE.py:name, csv, page, or an address such as
            http://127.0.0.1:8000/v1.
        budget: Labels for the whole run.
        alpha: The chance of ever stopping a run that has not turned. Such a run wins at least
            ½ − delta of its comparisons with the best checkpoints so far at every look.
        delta: The margin in win rate that does not count as a turn.
        flip: How often a label is wrong, as far as you know. Sizes the bets and corrects the win
            rate.
        flip_least: How often a label is wrong at the very least. Alpha depends on it where delta is
            above 0.
        looks: Looks that are planned for; 0 for as many as the run reads.
        prior: Where a fall is expected to begin: uniform, early, or open for a run of unknown
            length.
        stretch: Checkpoints that are the best so far together; each label compares with one of
            them, drawn at random, because a single best of many is a lucky one. 0 for 8, or a sixth
            of the looks if that is less; at most a third of `kept`.
        calm: Labels for a look while nothing happens; 0 for 400 over all looks, at least 4. It is
            lowered where budget and fresh prompts do not last for all looks.
        alert: Labels for a look once evidence gathers, from what later looks do not need.
        reference: Further comparisons with the reference for a look, from what the budget holds
            beyond the looks to come.
        kept: Policies that are kept to go back to, the best so far among them. 0 for as many as
            5 GB hold, at most 24, and at least three for each of the stretch.
        settle: Labels that may be bought after a stop to choose among the kept policies. People are
            not asked again.
        group: Comparisons that are sampled for each label. One of them is labeled; the reward
            scores of all sharpen the evidence. 1 leaves the scores out.
        uneven: Prefer the comparison of a group on which the reward models disagree most.
        prompts: A text file of fresh prompts, one a line; empty for the world's own.
        model: The name of the model behind an address.
        rate: Calls a second to an address at most; 0 for no limit.
        timeout: Seconds that an address may take for a reply.
        tries: Tries of one call of a function or an address.
        at_once: Pairs in one call of a function, or questions in flight to an address; 0 for 1 and
            4.

    Raises:
        InputError: A value is out of range.

    Example:
        >>> WatchConfig(by="judge.py:better", budget=800).labels_per_look(looks=50)
        8
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
    kept: int = 0
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
        for f in fields(WatchConfig):
            kind, said = KINDS[str(f.type)]
            value = getattr(self, f.name)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise InputError(f"--watch.{f.name} is {value!r:.60}; it must be {said}")
        for name, least in AT_LEAST.items():
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
        DetectorSettings(**self._settings(1))

    def labels_per_look(self, looks: int) -> int:
        """Labels for a look while nothing happens.

        Args:
            looks: Looks of the run, for where the configuration names none.
        """
        return self.calm or max(4, 400 // (self.looks or looks))

    def plan(self, looks: int, prompts: int | None) -> Plan:
        """The plan of labels for a whole run.

        Args:
            looks: Looks of the run, where the configuration names none.
            prompts: Fresh prompts; None where they never run out.
        """
        looks = self.looks or looks
        return Plan(
            budget=self.budget,
            prompts=prompts,
            looks=looks,
            group=self.group,
            usual=self.labels_per_look(looks),
            highest=self.alert,
            asked=bool(self.calm),
        )

    def stretch_length(self, looks: int) -> int:
        """Checkpoints that are the best so far together; `looks` as in `labels_per_look`."""
        natural = self.stretch or min(8, (self.looks or looks) // 6)
        return max(1, min(natural, (self.kept or KEPT) // 3))

    def policies_kept(self, looks: int, size: int = 0) -> int:
        """Policies that are kept to go back to.

        Args:
            looks: As in `labels_per_look`.
            size: Bytes of one policy; 0 where that is not known.
        """
        fit = KEPT if size <= 0 else min(KEPT, KEPT_BYTES // size)
        return self.kept or max(fit, 3 * self.stretch_length(looks))

    def make_detector(self, looks: int) -> Detector:
        """A detector with these settings; `looks` as in `labels_per_look`.

        The watch keeps the budget itself, because it also pays for labels that the detector does
        not see.
        """
        from assay.watch.detector import Detector

        calm = self.labels_per_look(looks)
        schedule = Schedule(calm=calm, alert=max(self.alert, calm))
        return Detector(**self._settings(looks), schedule=schedule)

    def _settings(self, looks: int) -> dict[str, Any]:
        """The detector's settings."""
        highest = 0.5 - self.delta
        return {
            "alpha": self.alpha,
            "looks": self.looks or looks,
            "delta": self.delta,
            "flip": self.flip,
            "flip_least": self.flip_least,
            "prior": self.prior,
            "rates": tuple(p for p in RATES if p < highest) or (0.4 * highest,),
            "weight": 2.0 if self.uneven else 1.0,
        }


class Watch(WatchConfig):
    """How a run is watched, as Python gives it: a `WatchConfig` whose labeler may be a function.

    Args:
        labeler: Who labels: a function (prompts, first, second, **columns) → labels or (prompt,
            first, second, **columns) → label, see `assay.watch.labelers.function`; or what
            `--watch` takes: gold, FILE.py:name, csv, page, or an address. A record names a function
            of a file so; with any other function only its own program can go on with the run.
        budget: Labels for the whole run; 550 by default.
        alpha: The chance of ever stopping a run that has not turned; 0.05 by default.
        delta: The margin in win rate that does not count as a turn; 0.01 by default.
        looks: Looks that are planned for; 0 for as many as the run reads.
        prompts: A text file of fresh prompts, one a line; "" for the world's own.
        kept: Policies that are kept to go back to; 0 to choose by their size.
        calm: Labels for a look while nothing happens; 0 to choose by the number of looks.
        alert: Labels for a look once evidence of a fall gathers; 32 by default.
        settle: Labels after a stop that choose among the kept policies; 128 by default.
        group: Comparisons that are sampled for each label; 1 leaves reward scores out.
        flip: How often a label is wrong, as far as you know; 0 by default.
        settings: The other fields of `WatchConfig`.

    Raises:
        InputError: There is no such field or labeler, or a value is out of range.

    Example:
        >>> def longer(prompts, first, second):
        ...     return [float(len(a) > len(b)) for a, b in zip(first, second)]
        >>> watch = Watch(labeler=longer, budget=200)
        >>> watch.budget, watch.by.endswith(":longer")
        (200, True)
    """

    def __init__(
        self,
        labeler: str | Callable[..., Any] = "gold",
        *,
        budget: int = 550,
        alpha: float = 0.05,
        delta: float = 0.01,
        looks: int = 0,
        prompts: str = "",
        kept: int = 0,
        calm: int = 0,
        alert: int = 32,
        settle: int = 128,
        group: int = 1,
        flip: float = 0.0,
        **settings: Any,
    ):
        named_here = ("budget", "alpha", "delta", "looks", "prompts", "kept", "calm", "alert")
        here = locals()
        settings |= {name: here[name] for name in (*named_here, "settle", "group", "flip")}
        by = settings.pop("by", labeler)  # dataclasses.replace gives every field by its name
        known = [f.name for f in fields(WatchConfig)]
        for name in settings:
            if name not in known:
                raise InputError(f"Watch has no {name}{nearest(name, known)}")
        named = isinstance(by, str) and (":" in by or by in ("gold", "csv", "page"))
        if not named and not callable(by):
            raise InputError(
                f"labeler is {by!r:.60}; it is a function (prompts, first, second, **columns), or "
                "one of gold, FILE.py:name, csv, page and an address"
            )
        function = labeler if callable(labeler) else by if callable(by) else None
        object.__setattr__(self, "function", function)
        try:
            super().__init__(by=by if isinstance(by, str) else labeler_name(by), **settings)
            if function is None and ".py" in self.by:
                function_in_file(self.by, "watch")
        except InputError as why:
            said = str(why).replace("--watch.", "").replace("--watch ", "labeler ")
            raise InputError(said) from why

    def __repr__(self) -> str:
        given = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(WatchConfig)
            if f.name != "by" and getattr(self, f.name) != f.default
        ]
        return f"Watch({', '.join([f'labeler={self.by!r}', *given])})"
