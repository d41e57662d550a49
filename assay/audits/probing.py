"""Make every probe on some completions, score the changed ones, and measure what the change did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from assay.audits.completions import Completions, Floats, Ints
from assay.audits.effects import (
    Effect,
    effect_of,
    examples_of,
    within_deviation,
    within_sums,
)
from assay.audits.probes import Probe
from assay.audits.scorers import Scorers
from assay.engine import progress


@dataclass(frozen=True)
class Probed:
    """One probe on one reward.

    Attributes:
        probe: The probe.
        reward: The row of the scores: a reward or one of its members.
        member: Whether it is one of several members.
        effect: What the change did.
    """

    probe: Probe
    reward: str
    member: bool
    effect: Effect

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        about = {"probe": self.probe.name, "about": self.probe.about, "sound": self.probe.sound}
        return {**about, "reward": self.reward, "member": self.member, **asdict(self.effect)}


def probed(
    probes: Sequence[Probe], scorers: Scorers, x: Completions, scores: Floats, at: Ints, seed: int
) -> list[Probed]:
    """Make probes.

    Args:
        probes: The probes.
        scorers: The rewards.
        x: All completions.
        scores: Their scores, `[C, R]`; the deviation within prompts comes from all of them.
        at: The completions that are changed.
        seed: Which prompt takes the place of which.

    Returns:
        The effects, probe by probe. Examples are kept for rewards, not for members.
    """
    within = [within_sums(s, x.group, x.groups) for s in scores]
    floor = [np.nanmin(s) if np.isfinite(s).any() else np.nan for s in scores]
    base, found = x.rows(at), list[Probed]()
    for probe in progress.over(probes, "probing", "probes"):
        new = [probe.change(text) for text in base.responses]
        may = np.array([t is not None for t in new])
        if probe.exchanges and x.groups < 2:
            may[:] = False
        changed = base.saying([old if t is None else t for old, t in zip(base.responses, new)])
        if probe.exchanges and may.any():
            changed = changed.asked_otherwise(x, seed)
        after = np.full((len(scores), len(at)), np.nan)
        places = np.flatnonzero(may)
        if len(places):
            after[:, places] = scorers.scores(changed.rows(places))
        texts = [
            {"prompt": p, "before": a, "after": b, "asked": q if probe.exchanges else None}
            for p, a, b, q in zip(
                base.prompts, base.responses, changed.responses, changed.prompts, strict=True
            )
        ]
        for c, column in enumerate(scorers.columns):
            before = scores[c, at]
            usable = may & (before > floor[c]) if probe.sound == "falls" else may
            effect = effect_of(before, after[c], base.group, within[c], usable=usable)
            if not column.member:
                unit = within_deviation(within[c])
                some = examples_of(before, after[c], texts, unit, probe.sound, usable)
                effect = replace(effect, examples=some)
            found.append(Probed(probe, column.name, column.member, effect))
    return found
