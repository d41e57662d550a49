"""What the lines of a study of ensembles say, for its claim.

Lines of kind "best_of_n" and "rl" are those of `pretrain_ensemble`; an ensemble is named by its
kind, such as "single" or "pretrain".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from assay.stats.effects import Reading, gold_over, matched_gain

Line = Mapping[str, Any]


def gold_over_n(lines: Sequence[Line], ensemble: str) -> float:
    """Gold of best-of-n by the mean of an ensemble's members, averaged over n > 1."""
    every = [x for x in lines if x["kind"] == "best_of_n" and x["n"] > 1]
    own = [x for x in every if (x["ensemble"], x["aggregate"]) == (ensemble, "mean")]
    return float(sum(x["gold"] for x in own) / len(own))


def at_most(lines: Sequence[Line]) -> dict[str, float]:
    """How much of the feature is in what each ensemble's mean chooses at the largest n."""
    chosen = [x for x in lines if x["kind"] == "best_of_n" and x["aggregate"] == "mean"]
    return {x["ensemble"]: float(x["count"]) for x in chosen if x["n"] == chosen[-1]["n"]}


def policy_readings(lines: Sequence[Line], ensemble: str, value: str = "gold") -> list[Reading]:
    """The readings of the policy that was trained on an ensemble, as `effects` takes them.

    Args:
        lines: A study's.
        ensemble: Its name.
        value: What stands for gold in them, such as "count", the feature.
    """
    own = [x for x in lines if x["kind"] == "rl" and x["ensemble"] == ensemble]
    return [{"step": x["step"], "tag": "", "kl": x["kl"], "gold": x[value]} for x in own]


def policy_gain(lines: Sequence[Line], mine: str, theirs: str) -> float:
    """Mean difference in gold, at equal KL, of the policies that two ensembles trained."""
    return matched_gain(policy_readings(lines, mine), policy_readings(lines, theirs))


def policy_rise(lines: Sequence[Line], ensemble: str) -> float:
    """Mean gold of an ensemble's policy over the √KL that it went, above the reference's."""
    own = policy_readings(lines, ensemble)
    return gold_over(own, math.inf) - float(own[0]["gold"])


def policy_growth(lines: Sequence[Line], other: Sequence[Line], ensemble: str) -> float:
    """How much more of the feature, at equal KL, a policy has than that of another run's lines."""
    mine, theirs = (policy_readings(x, ensemble, "count") for x in (lines, other))
    return matched_gain(mine, theirs)
