"""Warnings about training while it runs: each is said once, at the first reading that shows it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from assay.stats.training import troubles

log = logging.getLogger("assay")


class Alerts:
    """Logs what the training statistics of a run warn of. Call it with every reading.

    Args:
        before: The readings that a resumed run has made; what they warned of is not said again.
    """

    def __init__(self, before: Iterable[Mapping[str, Any]] = ()):
        self._seen = [{"step": r["step"], "stats": r["stats"]} for r in before]
        self._said = {t.name for t in troubles(self._seen)}

    def __call__(self, reading: Mapping[str, Any]) -> None:
        """Log a warning for what this reading is the first to show."""
        self._seen.append({"step": reading["step"], "stats": reading["stats"]})
        for trouble in troubles(self._seen):
            if trouble.name not in self._said:
                self._said.add(trouble.name)
                about = {"once": trouble.name}  # a command of many runs shows each kind once
                log.warning("%s. %s", trouble.what, trouble.advice, extra=about)
