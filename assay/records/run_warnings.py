"""What a run warns of in its record: signs that training has died, and numbers that are not finite.

A warning of the first sort lasts from `since` on and ends where training recovers. One that had not
ended when the run did is what exit code 4 stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

from pydantic import ConfigDict, InstanceOf, with_config

# pydantic reads typing's own TypedDict only from Python 3.12 on
from typing_extensions import TypedDict

Text = InstanceOf[str]
NONFINITE = "nonfinite"  # the kind of a warning about one step's numbers
LOST = "parameters_not_finite"  # the kind that no later step ends, and that others follow from


@with_config(ConfigDict(strict=True, extra="allow"))
class RunWarning(TypedDict):
    """One warning of a run.

    Attributes:
        kind: What was seen: no_reward, equal_rewards, truncated, updates_skipped, zero_gradient,
            exploded_loss, parameters_not_finite; or nonfinite, a number of one step.
        step: The step at which it was said.
        since: The first step that shows it without a break.
        until: The step at which it ended; None where it lasts. A nonfinite one is of one step.
        what: What was seen, in a sentence.
        advice: What to do.
        number: Of nonfinite: which number it is, such as "loss" or "reward judge".
        samples: Of nonfinite: up to three completions that it was seen in, each with its prompt's
            "row", "completion_index", "prompt" and "completion" (texts shortened).
        broken: Of nonfinite: whether parameters in training were not finite either.
        count: Of nonfinite: how many completions it was seen in; 0 where none can be named.
    """

    kind: Text
    step: int
    since: int
    until: int | None
    what: Text
    advice: Text
    number: NotRequired[Text]
    samples: NotRequired[list[dict[Text, Any]]]
    broken: NotRequired[bool]
    count: NotRequired[int]


def causes(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the warnings that say why training has died, without those that follow from
    parameters that are NaN or infinite.

    Args:
        found: Warnings that training has died.

    Example:
        >>> causes([{"kind": "updates_skipped"}, {"kind": "parameters_not_finite"}])
        [{'kind': 'parameters_not_finite'}]
    """
    return [w for w in found if w["kind"] == LOST] or list(found)


def collapsed(about: Mapping[str, Any]) -> list[RunWarning]:
    """Return the warnings that training has died which still held at the last step; none where the
    run ignores them (--on-collapse ignore).

    Args:
        about: The record.

    Example:
        >>> collapsed({"warnings": [{"kind": "truncated", "until": 40}]})
        []
    """
    if (about.get("run") or {}).get("on_collapse") == "ignore":
        return []
    return [
        w
        for w in about.get("warnings") or []
        if w.get("kind") != NONFINITE and w.get("until") is None
    ]
