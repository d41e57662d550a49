"""What a watch said, as it stands in a record: in the readings, or in watch.json afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

# pydantic reads typing's own TypedDict only from Python 3.12 on
from typing_extensions import TypedDict

from assay.errors import InputError
from assay.records.faults import fault
from assay.records.lines import decode
from assay.records.result import Text, Whole

AFTER = "watch.json"  # the verdicts of `assay watch RUN`
# a verdict has them always, and cannot be read without them
NEEDED = ("step", "word", "says", "by", "best", "labels", "alpha", "delta", "log_alarm")
_STRICT = ConfigDict(strict=True, extra="allow")


@with_config(_STRICT)
class Won(TypedDict):
    """A share of comparisons that a policy won.

    Attributes:
        win: The share, from 0 to 1.
        labels: The labels.
    """

    win: float
    labels: Whole


@with_config(_STRICT)
class Hint(TypedDict):
    """What may mean that a run has turned, without a guarantee.

    Attributes:
        why: What was seen.
        since: The step since when.
    """

    why: Text
    since: Whole


@with_config(_STRICT)
class Verdict(TypedDict):
    """What the watch says at one look.

    Attributes:
        step: The step that it looked at.
        word: go_on, cannot_tell or stop.
        says: The verdict in words.
        by: Who labels.
        best: The step that the policy was compared with: the best so far.
        back: The step to go back to where it says stop.
        labels: Labels bought so far.
        budget: Labels that may be bought.
        unusable: Labels without a usable answer.
        alpha: The chance of a false stop.
        delta: The margin below ½.
        log_alarm: The height of the evidence at which it stops.
        log_evidence: The evidence.
        win: The share won against the best so far.
        low: Where its interval begins.
        high: Where it ends.
        reference: The share won against the reference.
        notes: Sentences.
        hints: Hints.
    """

    step: NotRequired[Whole]
    word: NotRequired[Text | None]
    says: NotRequired[Text]
    by: NotRequired[Text]
    best: NotRequired[Whole]
    back: NotRequired[Whole]
    labels: NotRequired[Whole]
    budget: NotRequired[Whole | None]
    unusable: NotRequired[Whole]
    alpha: NotRequired[float]
    delta: NotRequired[float]
    log_alarm: NotRequired[float]
    log_evidence: NotRequired[float | None]
    win: NotRequired[float | None]
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    reference: NotRequired[Won | None]
    notes: NotRequired[list[Text]]
    hints: NotRequired[list[Hint]]


@with_config(_STRICT)
class After(TypedDict):
    """The file watch.json.

    Attributes:
        looks: The verdicts, look by look.
    """

    looks: list[Verdict]


_AFTER = TypeAdapter(After)


def whole(verdict: Mapping[str, Any], where: Path | str) -> dict[str, Any]:
    """A verdict as it is.

    Args:
        verdict: The verdict.
        where: Its file, for the message.

    Raises:
        InputError: It lacks what every verdict has; the file and the entries are named.
    """
    lost = [k for k in NEEDED if verdict.get(k) is None]
    if lost:
        raise InputError(
            f"{where}: the watch's entry of step {verdict.get('step', 'unknown')} has no "
            f"{' and no '.join(lost)}, which the watch always writes; restore the file, or remove "
            'the entry\'s "watch" to report the run as one that was not watched'
        )
    return {**verdict}


def during(folder: Path, readings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The verdicts in a run's readings.

    Args:
        folder: The run's folder.
        readings: Its readings.

    Raises:
        InputError: See `whole`.
    """
    return [whole(r["watch"], folder / "readings.jsonl") for r in readings if r.get("watch")]


def afterwards(folder: Path) -> list[dict[str, Any]]:
    """The verdicts of a later `assay watch`; [] where nobody looked.

    Args:
        folder: The run's folder.

    Raises:
        InputError: The file is damaged.
    """
    path, cure = folder / AFTER, "delete it, and watch the run again"
    if not path.is_file():
        return []
    try:
        found = _AFTER.validate_python(decode(path.read_bytes(), str(path), cure))
    except ValidationError as why:
        raise InputError(f"{path} has {fault(why)[1]}; {cure}") from why
    return [whole(v, path) for v in found["looks"]]
