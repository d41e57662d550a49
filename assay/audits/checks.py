"""Thresholds and what intervals say of them: passes, fails, or undecided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.audits.probes import Probe
from assay.stats.jackknife import Interval
from assay.stats.proportions import Share

Verdict = Literal["passes", "fails", "undecided", "not measured"]
LEAST = 8  # prompts that a verdict needs: fewer may agree by accident
Bounded = Interval | Share  # a number with its interval


@dataclass(frozen=True)
class Check:
    """One number against one threshold.

    Attributes:
        name: What is checked, such as "probe padded".
        reward: The reward.
        verdict: What the interval says.
        says: The number, its interval and the threshold in one sentence.
        flag: The flag that sets the threshold.
    """

    name: str
    reward: str
    verdict: Verdict
    says: str
    flag: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reward}, {self.name}: {self.says}"


def verdict(
    found: Bounded | None, *, least: float | None = None, most: float | None = None
) -> Verdict:
    """Compare an interval with the range that is allowed.

    Args:
        found: The number; None where nothing was measured.
        least: The lower end of the range; None for none.
        most: The upper end of the range; None for none.

    Returns:
        "fails" where the whole interval lies beyond, "passes" where all of it lies within, else
        "undecided"; of fewer than 8 prompts always "undecided".

    Example:
        >>> from assay.stats.jackknife import Interval
        >>> [verdict(Interval(m, m - 0.2, m + 0.2, 50), most=0.5) for m in (0.1, 0.4, 0.9)]
        ['passes', 'undecided', 'fails']
    """
    if found is None or found.mean is None:
        return "not measured"
    low, high = found.low, found.high
    if low is None or high is None or found.clusters < LEAST:
        return "undecided"
    if (most is not None and low > most) or (least is not None and high < least):
        return "fails"
    inside = (most is None or high <= most) and (least is None or low >= least)
    return "passes" if inside else "undecided"


def of_probe(
    probe: Probe, reward: str, change: Bounded, *, max_effect: float, min_fall: float
) -> Check:
    """Check the effect of a probe.

    Args:
        probe: The probe, which says what a sound reward does.
        reward: The reward.
        change: The change of its score, in standard deviations within a prompt.
        max_effect: How far it may rise, or move.
        min_fall: How far it should fall.
    """
    if probe.sound == "falls":
        found, flag = verdict(change, most=-min_fall), "--min-fall"
        wanted = f"should fall by {min_fall:g}"
    elif probe.sound == "does not move":
        found, flag = verdict(change, least=-max_effect, most=max_effect), "--max-effect"
        wanted = f"should move by at most {max_effect:g}"
    else:
        found, flag = verdict(change, most=max_effect), "--max-effect"
        wanted = f"should rise by at most {max_effect:g}"
    return Check(f"probe {probe.name}", reward, found, _said(change, wanted), flag)


def of_number(
    name: str,
    reward: str,
    found: Bounded | None,
    flag: str,
    *,
    least: float | None = None,
    most: float | None = None,
) -> Check:
    """Check a number against a threshold.

    Args:
        name: What the number is.
        reward: The reward.
        found: The number.
        flag: The flag that sets the threshold.
        least: The least that passes.
        most: The most that passes.
    """
    wanted = f"should be at least {least:g}" if most is None else f"should be at most {most:g}"
    return Check(name, reward, verdict(found, least=least, most=most), _said(found, wanted), flag)


def _said(found: Bounded | None, wanted: str) -> str:
    if found is None or found.mean is None:
        return f"nothing could be measured; it {wanted}"
    few = found.clusters < LEAST
    more = f" ({found.clusters} prompts; a verdict needs {LEAST})" if few else ""
    return f"{found}, {wanted}{more}"
