"""Reward against entropy over a run: R = −a·e^H + b, fitted on its beginning, to foretell its end.

Source: Cui et al., "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
arXiv:2505.22617, 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class EntropyLaw:
    """The fitted law.

    Attributes:
        a: Reward a unit of e^H.
        b: Reward at e^H = 0; b − a is what is left to gain at H = 0.
        a_interval: 95 % interval of a.
        b_interval: 95 % interval of b.
        residual: Standard deviation of the residuals.
        points: How many readings it is fitted on.
        centre: Mean of e^H over these readings.
        spread: Σ (e^H − mean)² over them.
    """

    a: float
    b: float
    a_interval: tuple[float, float]
    b_interval: tuple[float, float]
    residual: float
    points: int
    centre: float
    spread: float

    def predict(self, entropy: float, *, level: float = 0.95) -> tuple[float, float, float]:
        """The reward of one further reading at this entropy, with the ends of its interval.

        Args:
            entropy: H in nats.
            level: Of the interval.
        """
        x = float(np.exp(entropy))
        mean = self.b - self.a * x
        far = 1 + 1 / self.points + (x - self.centre) ** 2 / self.spread
        t = stats.t.ppf((1 + level) / 2, self.points - 2)
        half = float(t * self.residual * np.sqrt(far))
        return mean, mean - half, mean + half


def fit_entropy_law(
    entropy: Sequence[float], reward: Sequence[float], *, level: float = 0.95
) -> EntropyLaw:
    """Fit the law by least squares, which is linear in e^H.

    The intervals are Student's for independent residuals. Readings of one run follow each other
    closely, so that they are too narrow there: judge a prediction over several runs.

    Args:
        entropy: H at each reading, in nats a token.
        reward: R at each reading.
        level: Of the intervals.

    Raises:
        ValueError: There are fewer than three readings, of different lengths, not finite, or of one
            entropy.
    """
    H, R = np.asarray(entropy, float), np.asarray(reward, float)
    if H.shape != R.shape or H.ndim != 1 or len(H) < 3:
        raise ValueError(
            f"there are {H.size} entropies and {R.size} rewards; give as many of both, at least 3"
        )
    if not (np.isfinite(H).all() and np.isfinite(R).all()):
        raise ValueError("an entropy or a reward is not finite; leave such readings out")
    x, n = np.exp(H), len(H)
    spread = float(((x - x.mean()) ** 2).sum())
    if spread <= 1e-18 * n * float(x.mean()) ** 2:
        raise ValueError("all readings have one entropy; there is nothing to fit")
    slope = float(((x - x.mean()) * (R - R.mean())).sum() / spread)
    b = float(R.mean() - slope * x.mean())
    residual = float(np.sqrt(((R - b - slope * x) ** 2).sum() / (n - 2)))
    t = float(stats.t.ppf((1 + level) / 2, n - 2))
    da = t * residual / np.sqrt(spread)
    db = t * residual * np.sqrt(1 / n + float(x.mean()) ** 2 / spread)
    a = -slope
    ends = (a - float(da), a + float(da)), (b - float(db), b + float(db))
    return EntropyLaw(a, b, *ends, residual, n, float(x.mean()), spread)
