"""Warnings about a run while it goes on: each is said once, at the first reading that shows it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.engine.plural import counted
from assay.records.run_warnings import LOST
from assay.stats.training import NO_REWARD, never_rewarded, never_scored, told, troubles

log = logging.getLogger("assay")
SEEN = ("step", "stats", "rewards", "proxy")  # the entries of a reading that are kept


class Alerts:
    """Logs what the readings of a run warn of. Call it with every reading.

    Args:
        before: The readings that a resumed run has made; what they warned of is not said again.
        names: The reward models' names.
        warnings: The record's warnings that training has died, as they grow; what one of them says
            is not said again.
    """

    def __init__(
        self,
        before: Iterable[Mapping[str, Any]] = (),
        names: Sequence[str] = (),
        warnings: Sequence[Mapping[str, Any]] = (),
    ):
        self.names, self.warnings = list(names), warnings
        self._seen = [{k: r.get(k) for k in SEEN} for r in before]
        self._said = {t.name for t in troubles(self._seen)}
        self._unscored = {n for r in self._seen for n in self._without_score(r)}

    def __call__(self, reading: Mapping[str, Any]) -> None:
        """Log a warning for what this reading is the first to show."""
        self._seen.append({k: reading.get(k) for k in SEEN})
        unscored = self._without_score(reading)
        for name in unscored:
            if name not in self._unscored:
                self._unscored.add(name)
                log.warning(
                    "%s scored none of %s at step %d: it has no mean there, and a dash stands in "
                    "its place. Check what it returns for these completions: None says that it "
                    "does not apply.",
                    name,
                    counted(reading.get("n") or 0, "completion"),
                    reading["step"],
                    extra={"once": f"unscored {name}"},
                )
        for trouble in troubles(self._seen):
            if trouble.name in self._said:
                continue
            self._said.add(trouble.name)
            if trouble.name == NO_REWARD and unscored and reading.get("proxy") is None:
                continue  # said already, by the reward's name
            if any(told(w, trouble) or w["kind"] == LOST for w in self.warnings):
                continue  # of a policy that is lost, every sign follows from that
            about = {"once": trouble.name}  # a command of many runs shows each kind once
            log.warning("%s. %s", trouble.what, trouble.advice, extra=about)

    def result(self) -> dict[str, Any]:
        """What a record says of rewards that never applied: entries of `records.result.Result`."""
        unscored = never_scored(self.names, self._seen)
        found: dict[str, Any] = {"unscored": unscored} if unscored else {}
        return {**found, "unrewarded": True} if never_rewarded(self._seen) else found

    def _without_score(self, reading: Mapping[str, Any]) -> list[str]:
        means = reading.get("rewards") or []
        return [name for name, mean in zip(self.names, means) if mean is None]
