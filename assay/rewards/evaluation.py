"""How well a reward tells chosen from rejected completions: accuracy, calibration, length, size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from assay.engine.plural import counted
from assay.errors import Missing
from assay.stats.calibration import Calibration
from assay.stats.margins import Disagreement, LengthSplit, MarginBin
from assay.stats.proportions import Share

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class MemberEvaluation:
    """One member of an ensemble, or the ensemble's mean, on the pairs.

    Attributes:
        name: The member's name; "ensemble" for the mean of all.
        accuracy: How often the chosen completion scores higher; a tie counts ½.
        ties: Pairs whose completions score the same.
        calibration: How well σ(margin) predicts the labels.
    """

    name: str
    accuracy: Share
    ties: int
    calibration: Calibration


@dataclass(frozen=True, repr=False)
class Evaluation:
    """How well a reward tells chosen from rejected completions.

    Scored responses are compared within their prompts, each prompt with the same weight.

    Attributes:
        on: What it was evaluated on, in words.
        pairs: Pairs that were compared.
        prompts: Their distinct prompts.
        accuracy: Of the ensemble's mean score; its interval counts a prompt's pairs as one cluster.
        ties: Pairs whose completions score the same.
        calibration: How well σ(margin) of the ensemble's mean predicts the labels. It is of use for
            rewards fitted by Bradley–Terry; other scores have units of their own.
        length: Accuracy where the chosen completion is longer or shorter, in characters.
        by_margin: Accuracy by quantiles of |margin|.
        members: Each member alone.
        disagreement: How far the members differ; None of a single member.
        undecided: Pairs left out because their label prefers neither.
        unscored: Pairs left out because the reward does not apply to them.
    """

    on: str
    pairs: int
    prompts: int
    accuracy: Share
    ties: int
    calibration: Calibration
    length: LengthSplit
    by_margin: tuple[MarginBin, ...]
    members: tuple[MemberEvaluation, ...]
    disagreement: Disagreement | None
    undecided: int = 0
    unscored: int = 0

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        head = f"evaluated on {self.on}: {_of(self)}"
        rows = [f"  {name:<13}{value}" for name, value in _rows(self)]
        return "\n".join([head, *rows, *(f"  note: {note}" for note in _notes(self))])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(value)}</td></tr>'
            for name, value in _rows(self)
        )
        bins = "".join(
            f"<tr><td>{b.low:.2f}–{b.high:.2f}</td><td>{b.count:,}</td>"
            f"<td>{b.predicted:.3f}</td><td>{b.observed:.3f}</td></tr>"
            for b in self.calibration.bins
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(self))
        return (
            f"<p><b>Evaluated on {escape(self.on)}</b>: {escape(_of(self))}</p>"
            f"<table>{rows}</table><table><tr><th>σ(|margin|)</th><th>pairs</th>"
            f"<th>predicted</th><th>observed</th></tr>{bins}</table>{notes}"
        )

    def plain(self) -> dict[str, Any]:
        """Return the evaluation as JSON can hold it, with the lines that it prints as `says`."""
        return {
            **asdict(self),
            "length_bias": str(self.length),
            "says": str(self).split("\n"),
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return a DataFrame with a row for the ensemble and one for each member.

        Raises:
            Missing: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as why:
            raise Missing("a DataFrame needs pandas: pip install pandas") from why
        whole = MemberEvaluation("ensemble", self.accuracy, self.ties, self.calibration)
        return pandas.DataFrame([_row(m, self.pairs) for m in (whole, *self.members)])


def _row(m: MemberEvaluation, pairs: int) -> dict[str, Any]:
    return {
        "reward": m.name,
        "accuracy": m.accuracy.mean,
        "low": m.accuracy.low,
        "high": m.accuracy.high,
        "ties": m.ties,
        "calibration_error": m.calibration.error,
        "brier": m.calibration.brier,
        "log_loss": m.calibration.log_loss,
        "pairs": pairs,
    }


def _of(e: Evaluation) -> str:
    return f"{counted(e.pairs, 'pair')} of {counted(e.prompts, 'prompt')}"


def _rows(e: Evaluation) -> list[tuple[str, str]]:
    """Return what both forms show: (name, value)."""
    c, d = e.calibration, e.disagreement
    found = [
        (
            "accuracy",
            f"{e.accuracy}" + (f", {counted(e.ties, 'tie')} counted ½" if e.ties else ""),
        ),
        (
            "calibration",
            f"expected calibration error {c.error:.3f}, Brier {c.brier:.3f} (chance 0.250), "
            f"log-loss {c.log_loss:.3f} (chance 0.693)",
        ),
        (
            "reliability",
            "; ".join(f"says {b.predicted:.2f}, is {b.observed:.2f} ({b.count:,})" for b in c.bins),
        ),
        (
            "by margin",
            "; ".join(
                f"{b.accuracy.mean:.3f} at |margin| {b.low:.3g} to {b.high:.3g}"
                for b in e.by_margin
            ),
        ),
        ("by length", f"chosen longer: {_or(e.length.longer)}; shorter: {_or(e.length.shorter)}"),
        ("", _correlation(e.length) + str(e.length)),
    ]
    if len(e.members) > 1:
        found.append(("members", _members(e.members)))
    if d is not None:
        found.append(
            (
                "disagreement",
                f"members differ on {d.split:.1%} of the pairs, two members on {d.pairwise:.1%}; "
                f"standard deviation of their margins {d.spread:.3f}",
            )
        )
    return found


def _correlation(length: LengthSplit) -> str:
    if length.correlation is None:
        return ""
    return f"correlation of margin and length difference {length.correlation:+.2f}. "


def _members(members: tuple[MemberEvaluation, ...]) -> str:
    shares = [m.accuracy.mean for m in members]
    if len(members) > 8:
        return f"{len(members)} members, accuracy {min(shares):.3f} to {max(shares):.3f}"
    return ", ".join(f"{m.name} {s:.3f}" for m, s in zip(members, shares, strict=True))


def _or(share: Share | None) -> str:
    return "no pairs" if share is None else f"{share} ({counted(share.n, 'pair')})"


def _notes(e: Evaluation) -> list[str]:
    found = []
    if e.undecided:
        found.append(f"{counted(e.undecided, 'pair')} left out: the label prefers neither")
    if e.unscored:
        found.append(f"{counted(e.unscored, 'pair')} left out: the reward does not apply to them")
    return found
