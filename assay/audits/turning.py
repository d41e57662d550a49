"""A turning point predicted from the members' parting, before anything is trained.

A policy gradient against one member first gains what all members share and then that member's own
errors, and gold falls. How the members come apart under best-of-n says how soon. The way from there
to √KL of a policy gradient is no law: it is a regression, fitted to runs whose turning point was
measured (`bench/audit`, docs/audit-bench.md), and its interval is that of the regression's errors
on kinds of world that it was not fitted on.

What the members have in common they cannot tell from the truth. Where a reward model lies outside
what the calibration has seen, nothing is predicted, and the reason is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.audits.members import Parting
from assay.audits.turning_fit import Calibration, features
from assay.audits.turning_known import KNOWN
from assay.errors import InputError

LEAST_N = 64  # the least at which the interval was measured; what is read changes with n
TRIED = (  # tests/test_audit_bench_parts.py holds this against bench/results/audit.json
    "The interval is that of runs on small worlds: of 6 runs of SmolLM2 it held 1, so do not plan "
    "a run of a language model by it. Among runs of one kind of world the members' spread alone, "
    "or the reward model's accuracy on labels (--gold, --pairs), ranked as well."
)


@dataclass(frozen=True)
class Turning:
    """Where a policy gradient is predicted to turn, in √KL, or why that cannot be said.

    Attributes:
        d: Predicted √KL at which gold is highest; None where none is predicted.
        low: Lower end of its interval; None where nothing is known.
        high: Upper end; None if it lies beyond every run that was measured.
        level: Nominal coverage of the interval.
        why: Why nothing is predicted, one sentence; empty where something is.
        features: What the prediction reads of the members' parting.
        reached: The largest √KL of the members' best-of-n.
    """

    d: float | None
    low: float | None
    high: float | None
    level: float
    why: str
    features: dict[str, float]
    reached: float

    def lines(self) -> list[str]:
        """Return the prediction as lines of text."""
        if self.d is None or self.low is None:
            return [f"No turning point is predicted: {self.why}."]
        high = f"{self.high:.2f}" if self.high is not None else "beyond what was seen"
        far = (
            f" That is beyond the √KL of {self.reached:.2f} that best-of-n reaches here."
            if self.d > self.reached
            else ""
        )
        return [
            f"A policy gradient against this reward model is predicted to turn at √KL = "
            f"{self.d:.2f}, {100 * self.level:.0f} % interval {self.low:.2f} to {high} (KL "
            f"{self.d**2:.1f} nats).{far}",
            TRIED,
        ]

    def record(self) -> dict[str, Any]:
        """Return all fields as values of JSON; a number that is not finite is None."""
        known = {k: v if math.isfinite(v) else None for k, v in self.features.items()}
        return {
            "d": self.d,
            "low": self.low,
            "high": self.high,
            "level": self.level,
            "why": self.why,
            "features": known,
            "reached": self.reached,
        }


def predict(parting: Parting, *, calibration: Calibration = KNOWN) -> Turning:
    """Predict where a policy gradient against the member that chooses turns.

    The interval is the calibration's, made wider by what other prompts would change.

    Args:
        parting: The members against each other, see `members.parting`; its `proxy` is the reward
            model that is trained against.
        calibration: The regression and its errors; the library's own by default.

    Returns:
        The prediction. Its `why` says instead that n is too small, that what is read lies outside
        the calibration's range, or that the turn would lie beyond the longest measured run.

    Raises:
        InputError: Each member chose in turn, so no reward model is named.

    Example:
        >>> import torch
        >>> from assay.audits.members import parting
        >>> shared = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
        >>> own = torch.randn(3, 200, 64, generator=torch.Generator().manual_seed(1))
        >>> said = predict(parting(shared + own, proxy=0))
        >>> said.low < said.d < said.high
        True
    """
    if parting.proxy is None:
        raise InputError(
            "each member chose in turn; give parting(…, proxy=…), the member that is trained "
            "against"
        )
    reached, level = float(parting.d[-1]), calibration.level
    if parting.ns[-1] < LEAST_N:
        why = (
            f"best-of-n reaches n = {parting.ns[-1]} only; sample at least {LEAST_N} completions a "
            "prompt"
        )
        return Turning(None, None, None, level, why, {}, reached)
    d = parting.d.numpy()
    curves = (parting.chooser.mean, parting.others.mean, parting.spread.mean)
    x = features(d, *(c.numpy() for c in curves))
    found = dict(zip(calibration.names, x.tolist(), strict=True))
    for name, value, least, most in zip(
        calibration.names, x.tolist(), calibration.least, calibration.most, strict=True
    ):
        if not least <= value <= most:
            why = (
                f"{name} is {value:.2f}, and the runs that the prediction was fitted to have "
                f"{least:.2f} to {most:.2f}"
            )
            return Turning(None, None, None, level, why, found, reached)
    log_d = float(calibration.log_d(x))
    low, high = (math.exp(log_d + e) for e in _ends(parting, calibration))
    if log_d > math.log(calibration.horizon):
        why = (
            f"it would lie beyond √KL = {calibration.horizon:.2f}, where the longest run ended "
            "that the prediction was fitted to"
        )
        return Turning(None, low, None, level, why, found, reached)
    return Turning(
        math.exp(log_d), low, high if math.isfinite(high) else None, level, "", found, reached
    )


def _ends(parting: Parting, calibration: Calibration) -> tuple[float, float]:
    """Ends of the interval of log √KL about the prediction: the calibration's errors and the
    resampled prompts' deviation, as if independent.
    """
    from scipy.special import ndtri

    each = calibration.log_d(features(parting.d.numpy(), *parting.draws.numpy()))
    each = each[np.isfinite(each)]
    deviation = float(each.std()) if len(each) > 1 else math.inf
    own = float(ndtri((1 + calibration.level) / 2)) * deviation
    low, high = calibration.errors
    return low - _more(low, own), high + _more(high, own)


def _more(error: float, own: float) -> float:
    """How much longer an error is with another, independent one."""
    return math.hypot(error, own) - abs(error) if math.isfinite(error) else 0.0
