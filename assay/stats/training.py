"""What readings say of training itself: which statistics are training's, and what they warn of.

A reading's statistics are means over the steps since the reading before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Reading = Mapping[str, Any]
# of the evaluation, of exact worlds, of the second look at the best checkpoint, of another trainer
OTHERS = ("read/", "exact/", "fresh/", "trl/")
TRUNCATED = 0.9  # the share of truncated completions from which a length limit is a fault
NO_REWARD = "no reward"  # the name of a trouble
GROWN = 2.0  # how many times as long completions have to be as at first


@dataclass
class Trouble:
    """Something that training statistics warn of.

    Attributes:
        name: Its short name.
        first: The step of the first reading that shows it.
        looks: How many readings show it.
        of: How many readings could have shown it.
        what: What was seen at the first of them.
        advice: What to do.
    """

    name: str
    first: int
    looks: int
    of: int
    what: str
    advice: str


def statistics(reading: Reading) -> dict[str, float]:
    """Return the training statistics of a reading, without those that its evaluation made.

    Args:
        reading: A reading.

    Returns:
        Numbers by name; {} at the reference and at the second look.

    Example:
        >>> statistics({"stats": {"loss": 0.5, "read/length": 9.0, "kl": None}})
        {'loss': 0.5}
    """
    return {
        k: float(v)
        for k, v in (reading.get("stats") or {}).items()
        if isinstance(v, (int, float)) and not isinstance(v, bool) and not k.startswith(OTHERS)
    }


def troubles(readings: Iterable[Reading]) -> list[Trouble]:
    """Return what the training statistics of a run warn of, in the order in which it was seen.

    Args:
        readings: One run's, in the order of reading.

    Example:
        >>> stats = {"frac_reward_zero_std": 1.0}
        >>> [t.name for t in troubles([{"step": 5, "stats": stats}])]
        ['equal rewards']
    """
    found: dict[str, Trouble] = {}
    looks: dict[str, int] = {}
    start: dict[str, float] = {}
    before = 0
    for reading in readings:
        if not (now := statistics(reading)):
            continue
        start = {**now, **start}
        steps = f"steps {before + 1} to {reading['step']}"
        before = reading["step"]
        for name, seen in (
            (NO_REWARD, _no_reward(now, steps)),
            ("equal rewards", _equal_rewards(now, steps)),
            ("truncated", _truncated(now, steps)),
            ("longer and longer", _longer(now, start)),
        ):
            if seen is None:
                continue
            looks[name] = looks.get(name, 0) + 1
            what, advice = seen
            if what:
                trouble = Trouble(name, reading["step"], 0, 0, what, advice)
                found.setdefault(name, trouble).looks += 1
    return [replace(trouble, of=looks[name]) for name, trouble in found.items()]


def told(warning: Mapping[str, Any], trouble: Trouble) -> bool:
    """Return whether a warning of the record says the same as a trouble of the readings.

    Example:
        >>> told({"kind": "equal_rewards"}, Trouble("equal rewards", 5, 1, 1, "", ""))
        True
    """
    return bool(warning.get("kind") == trouble.name.replace(" ", "_"))


def _no_reward(now: Mapping[str, float], steps: str) -> tuple[str, str] | None:
    share = now.get("frac_reward_missing")
    if share is None:
        return None
    return (
        ""
        if share < 1
        else f"no reward applied to any completion in {steps}, so nothing was learned from a "
        "reward there",
        "Check what the reward returns for these completions: None says that it does not apply.",
    )


def never_scored(names: Sequence[str], readings: Iterable[Reading]) -> list[str]:
    """Return the reward models that applied to no completion of any reading.

    Args:
        names: The reward models' names.
        readings: One run's.

    Example:
        >>> never_scored(["length", "format"], [{"rewards": [4.0, None]}])
        ['format']
    """
    rows = [r["rewards"] for r in readings if r.get("rewards")]
    return [n for m, n in enumerate(names) if rows and all(row[m] is None for row in rows)]


def never_rewarded(readings: Iterable[Reading]) -> bool:
    """Return whether training had steps with a reward to take, and none of them had one.

    Args:
        readings: One run's.

    Example:
        >>> never_rewarded([{"stats": {"frac_reward_missing": 1.0}}])
        True
    """
    shares = [s.get("frac_reward_missing") for r in readings if (s := statistics(r))]
    return bool(shares) and all(share == 1 for share in shares)


def _equal_rewards(now: Mapping[str, float], steps: str) -> tuple[str, str] | None:
    share = now.get("frac_reward_zero_std")
    if share is None:
        return None
    return (
        ""
        if share < 1
        else f"all completions of every prompt got the same reward in {steps}, so "
        "advantages that compare them are 0 and there is no gradient",
        "Check what the reward returns for these completions, take easier or harder prompts, or "
        "sample more completions a prompt (--num-generations).",
    )


def _truncated(now: Mapping[str, float], steps: str) -> tuple[str, str] | None:
    share = now.get("completions/clipped_ratio")
    if share is None:
        return None
    return (
        ""
        if share < TRUNCATED
        else f"{share:.0%} of the completions were truncated at the length "
        f"limit in {steps}, so they are scored without their end",
        "Raise the length limit (--max-tokens), or check that the model ever writes its end token: "
        "a base model may need a stop string.",
    )


def _longer(now: Mapping[str, float], start: Mapping[str, float]) -> tuple[str, str] | None:
    keys = ("completions/mean_length", "reward")
    if any(k not in now for k in keys):
        return None
    length, reward = ((start[k], now[k]) for k in keys)
    grown = length[1] >= GROWN * length[0] and reward[1] > reward[0]
    return (
        f"completions grew from {length[0]:.0f} to {length[1]:.0f} tokens while the reward rose "
        f"from {reward[0]:.3g} to {reward[1]:.3g}: the reward may pay for length"
        if grown
        else "",
        "Read the completions and compare gold; normalise the reward by length, penalise it, or "
        "fit a reward model that is blind to length (--fit odin).",
    )
