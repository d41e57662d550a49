"""Which runs are in one world, and may be drawn on one axis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from assay.errors import InputError
from assay.records.own_inputs import by_content, wherever_kept
from assay.records.runs import Run

NOTHING: tuple[Any, ...] = (None, "", [], {})  # as an argument that is not given


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one, keys joined by dots.

    Args:
        value: A dict, or a value.
        prefix: The name of the value.

    Example:
        >>> flat({"loop": {"seed": 1}, "lam": 0.5})
        {'loop.seed': 1, 'lam': 0.5}
    """
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        k: v
        for name, inner in value.items()
        for k, v in flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def without_seeds(settings: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings without those that are seeds."""
    return {k: v for k, v in settings.items() if k.split(".")[-1] != "seed"}


class SameWorld:
    """Tells runs of one world and gold from others."""

    def __init__(self, per_seed: Sequence[str] = ()) -> None:
        """Begin.

        Args:
            per_seed: Arguments whose files go with the seed, such as rewards where each seed has
                reward models of its own. They are no part of the world; runs of one seed must
                share them.
        """
        names = [n for words in per_seed for n in words.split(",")]
        self.per_seed = tuple(n.strip().lstrip("-").replace("-", "_") for n in names)
        self._of_seed: dict[tuple[str, Any], tuple[str, str]] = {}
        self._seen: set[str] = set()

    def of(self, run: Run) -> tuple[dict[str, Any], str]:
        """Return (a run's world by dotted name, what identifies world and gold).

        Raises:
            InputError: Runs of one seed differ in an argument that goes with the seed.
        """
        about = run.record
        world = without_seeds(flat(by_content(about.world, about.inputs)))
        content = flat(wherever_kept(about.world, about.inputs))
        for key in [k for k in world if k.split(".")[0] in self.per_seed]:
            del world[key]
            self._seen.add(key.split(".")[0])
            if content[key] not in NOTHING:  # a recipe that reads no pairs has none to share
                self._same(run, key, json.dumps(content[key]))
        # What holds nothing is left out: a record of an assay that had no such argument is of the
        # same world.
        known = {k: v for k, v in content.items() if k in world and v not in NOTHING}
        return world, json.dumps([known, about.gold_kind, about.golds], sort_keys=True)

    def all_there(self) -> None:
        """Check that every argument that is said to go with the seed is one of a world's.

        Raises:
            InputError: One is not.
        """
        for name in self.per_seed:
            if name not in self._seen:
                raise InputError(
                    f"--per-seed names {name}, and no run has an argument of that name; files "
                    "that may go with the seed are those of rewards, pairs, demos and prompts"
                )

    def _same(self, run: Run, key: str, content: str) -> None:
        seed = run.record.seed
        first, where = self._of_seed.setdefault((key, seed), (content, str(run.folder)))
        if first != content:
            raise InputError(
                f"{where} and {run.folder} have the same seed, {seed}, and different {key}; "
                "with --per-seed all runs of a seed share them"
            )
