"""What a run is: the entries of its record that decide its numbers.

Every state on disk holds them, so that a state of another seed, recipe or watch, and a record that
was edited, are refused by the name of what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.records.lines import plain
from assay.records.schema import RunRecord

# settings that may differ when a run goes on: no reading depends on them
FREE = (
    "micro_batch_size",
    "save_steps",
    "device",
    "policies",
    "threads",
    "processes",
    "trust_remote_code",
    "reward_timeout",
    "on_collapse",
    "collapse_steps",
    "nonfinite_rewards",
)
FREE_OF_WATCH = ("rate", "timeout", "tries", "at_once")
_PARTS = ("recipe", "arguments", "loop", "seed", "world", "world_digest", "fit")


def identity(record: RunRecord) -> dict[str, Any]:
    """The entries of a record that a run cannot change and stay the same run.

    Args:
        record: The record.

    Returns:
        JSON values.

    Example:
        >>> identity(RunRecord(recipe="grpo", seed=3, run={"save_steps": 5}))["seed"]
        3
    """
    watch = record.watch
    found = {name: getattr(record, name) for name in _PARTS}
    found["run"] = {k: v for k, v in record.run.items() if k not in FREE}
    found["watch"] = (
        None if watch is None else {k: v for k, v in watch.items() if k not in FREE_OF_WATCH}
    )
    kept: dict[str, Any] = plain(found)
    return kept


def difference(before: Any, now: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first entry in which two identities differ.

    Args:
        before: One.
        now: The other.
        name: The name of both, for nested entries.

    Returns:
        (its name, one's value, the other's); None where they agree.

    Example:
        >>> difference({"loop": {"beta": 0.1}}, {"loop": {"beta": 0.2}})
        ('loop.beta', 0.1, 0.2)
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in (*before, *(k for k in now if k not in before)):
            inside = f"{name}.{key}" if name else str(key)
            found = difference(before.get(key), now.get(key), inside)
            if found is not None:
                return found
        return None
    return None if before == now else (name, before, now)
