"""A verdict as one line for a person."""

from __future__ import annotations

from typing import Any

WORDS = {"go_on": "go on", "cannot_tell": "cannot tell", "stop": "stop"}


def summary(found: dict[str, Any]) -> str:
    """A verdict as one line for a person.

    Args:
        found: The verdict as it stands in the record, without the line itself.

    Returns:
        For example "go on: step 20 is the best so far, 12 of 550 labels spent".
    """
    head = WORDS[found["word"]]
    if found["word"] == "stop":
        head += f", {_policy(found['back'])} was better"
    spent = f"{found['labels']} of {found['of']} labels spent"
    return "; ".join([f"{head}: {_known(found)}, {spent}", *found["notes"]])


def _known(found: dict[str, Any]) -> str:
    """What labels say of the policy, or why they say nothing."""
    first, last = found["against"][0], found["against"][-1]
    against = f"steps {first} to {last}" if last and first != last else _policy(last)
    if found["best"] != last:
        return f"{_policy(found['best'])} is the best so far"
    if found["win"] is not None:
        interval = f"[{found['low']:.2f}, {found['high']:.2f}]"
        late = "" if found["bought"] else ", from earlier looks"
        return f"win rate {found['win']:.2f} {interval} against {against}{late}"
    if not found["labels"]:
        return "no label was bought"
    if found["unusable"] == found["labels"]:
        return "no label so far could be used"
    if last:
        return f"no label yet that compares with {against}, the best so far"
    return f"no label could be used that compares with {against}"


def _policy(step: int) -> str:
    return f"step {step}" if step else "the reference"
