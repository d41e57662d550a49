"""Arms of the claim of meds3, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Weighed votes elect more right answers than the majority, and than shuffled values."""
    return _arms(seed, verifier=0.6, majority=0.5, shuffled=0.48)


def false(seed: int) -> Arms:
    """The majority elects as many right answers."""
    return _arms(seed, verifier=0.5, majority=0.5, shuffled=0.4)


def _arms(seed: int, verifier: float, majority: float, shuffled: float) -> Arms:
    noise = random.Random(seed)

    def tagged(weighed: float) -> list[dict[str, Any]]:
        found = []
        for tag, end in (("majority", majority), ("verifier", weighed)):
            rows = run([0.3, end + noise.gauss(0, 0.01)])
            found += [{**r, "tag": tag} for r in rows if r.get("tag") != "best"]
        return found

    return {"mine": tagged(verifier), "shuffled": tagged(shuffled)}
