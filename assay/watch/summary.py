"""A verdict as one line for a person."""

from __future__ import annotations

from typing import Any

WORDS = {"go_on": "go on", "cannot_tell": "cannot tell", "stop": "stop"}


def summary(found: dict[str, Any]) -> str:
    """A verdict as one line for a person.

    Args:
        found: The verdict as it stands in the record, without the line itself.

    Returns:
        For example "go on: step 20 is the best so far, 12 labels spent".
    """
    first, last = found["against"][0], found["against"][-1]
    against = f"steps {first} to {last}" if last and first != last else _policy(last)
    head = WORDS[found["word"]]
    if found["word"] == "stop":
        head += f", {_policy(found['back'])} was better"
    if found["best"] != last:
        rate = f"{_policy(found['best'])} is the best so far"
    elif found["win"] is None:
        rate = "no label yet"
    else:
        interval = f"[{found['low']:.2f}, {found['high']:.2f}]"
        rate = f"win rate {found['win']:.2f} {interval} against {against}"
    return "; ".join([f"{head}: {rate}, {found['labels']} labels spent", *found["notes"]])


def _policy(step: int) -> str:
    return f"step {step}" if step else "the reference"
