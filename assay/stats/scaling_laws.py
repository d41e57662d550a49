"""Laws of the loss of language models in size, steps and batch size, and how they are estimated.

    L(N)         = (N_c/N)^α_N                                   trained without end
    S_min        = S / (1 + B_crit/B)                            steps at an endless batch
    B_crit(L)    = B_* / L^(1/α_B)
    L(N, S_min)  = (N_c/N)^α_N + (S_c/S_min)^α_S

The constants come from small runs, in the paper's order: the critical batch from runs of one size
at several batch sizes, then the four others from all runs at once. A prediction of a larger run
stands beside what costs no law: the loss of the largest small run (`persistence`).

Source: Su et al., "Unraveling the Mystery of Scaling Laws: Part I", arXiv:2403.06563; forms of
    Kaplan et al., arXiv:2001.08361, and McCandlish et al., arXiv:1812.06162.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingRun:
    """The losses of one training run.

    Attributes:
        size: Parameters without embeddings.
        batch: Examples (or tokens) a step.
        steps: Where the loss was read, ascending, above 0.
        loss: Nats a token.
    """

    size: float
    batch: float
    steps: Array
    loss: Array


@dataclass(frozen=True)
class CriticalBatch:
    """B_crit(L) = B_*/L^(1/α_B).

    Attributes:
        log_star: log B_*; −inf for a batch size that costs nothing.
        power: 1/α_B.
        levels: The losses at which B_crit was found.
        found: B_crit at them.
    """

    log_star: float
    power: float
    levels: tuple[float, ...] = ()
    found: tuple[float, ...] = ()

    def __call__(self, loss: Array) -> Array:
        return np.asarray(np.exp(self.log_star - self.power * np.log(loss)))


NO_BATCH = CriticalBatch(-np.inf, 0.0)


@dataclass(frozen=True)
class LossLaw:
    """L = (N_c/N)^α_N + (S_c/S_min)^α_S; `law(size, batch, steps)` predicts.

    Attributes:
        log_n: log N_c.
        alpha_n: α_N.
        log_s: log S_c.
        alpha_s: α_S.
        critical: B_crit(L).
    """

    log_n: float
    alpha_n: float
    log_s: float
    alpha_s: float
    critical: CriticalBatch

    def least(self, size: float) -> float:
        """L(N), the loss of a model of this size that is trained without end."""
        return float(np.exp(self.alpha_n * (self.log_n - np.log(size))))

    def __call__(self, size: float, batch: float, steps: Array) -> Array:
        """Solve L = L(N, S/(1 + B_crit(L)/B)) for L by bisection; the right side falls with L."""
        low = np.full(len(steps), np.log(self.least(size)))
        high = low + 20.0
        for _ in range(60):
            middle = (low + high) / 2
            right = self.at(size, least_steps(steps, batch, self.critical(np.exp(middle))))
            above = np.log(right) > middle
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.asarray(np.exp((low + high) / 2))

    def at(self, size: float, least: Array) -> Array:
        """L(N, S_min).

        Args:
            size: N.
            least: S_min, steps at an endless batch.
        """
        return self.least(size) + np.exp(self.alpha_s * (self.log_s - np.log(least)))


def least_steps(steps: Array, batch: float, critical: Array) -> Array:
    """Return S_min = S/(1 + B_crit/B).

    Args:
        steps: S.
        batch: B.
        critical: B_crit at the loss that is reached.
    """
    return np.asarray(steps / (1 + critical / batch))


def steps_to(run: TrainingRun, level: float) -> float:
    """Return the step at which a run first reaches a loss, log-linear between readings, or NaN."""
    below = np.flatnonzero(run.loss <= level)
    if not len(below) or below[0] == 0:
        return float("nan")
    i = int(below[0])
    x, y = np.log(run.steps[i - 1 : i + 1]), np.log(run.loss[i - 1 : i + 1])
    return float(np.exp(x[0] + (np.log(level) - y[0]) / (y[1] - y[0]) * (x[1] - x[0])))


def critical_batch(runs: Sequence[TrainingRun], *, levels: int = 8) -> CriticalBatch:
    """Estimate B_crit(L) from runs of one size that differ in batch size.

    At each loss that all of them reach, S = S_min·(1 + B_crit/B) is fitted by least squares in
    S/S, so that every run counts alike; then log B_crit is a line in log L.

    Args:
        runs: Of one size, at two batch sizes or more.
        levels: Losses at which B_crit is found.

    Returns:
        The law; `NO_BATCH` where no loss is reached sooner with a larger batch.
    """
    top = min(float(r.loss[0]) for r in runs)
    bottom = max(float(r.loss.min()) for r in runs)
    if len({r.batch for r in runs}) < 2 or not top > bottom:
        return NO_BATCH
    found = []
    for level in np.exp(np.linspace(np.log(top), np.log(bottom), levels + 2))[1:-1]:
        s = np.array([steps_to(r, float(level)) for r in runs])
        if not np.isfinite(s).all():
            continue
        x = np.stack([np.ones(len(s)), [1 / r.batch for r in runs]], -1) / s[:, None]
        (least, cost), *_ = np.linalg.lstsq(x, np.ones(len(s)), rcond=None)
        if least > 0 and cost > 0:
            found.append((float(level), float(cost / least)))
    if not found:
        return NO_BATCH
    x, y = np.log(np.array(found)).T
    slope, height = np.polyfit(x, y, 1) if len(found) > 2 else (0.0, float(y.mean()))
    at, of = zip(*found, strict=True)
    return CriticalBatch(float(height), -float(slope), at, of)


def loss_law(runs: Sequence[TrainingRun], critical: CriticalBatch) -> LossLaw:
    """Estimate N_c, α_N, S_c and α_S from all small runs, by least squares in log L.

    Args:
        runs: Of two sizes or more.
        critical: From `critical_batch`; `NO_BATCH` for a law without batch sizes.
    """
    size = np.concatenate([np.full(len(r.steps), r.size) for r in runs])
    least = np.concatenate([least_steps(r.steps, r.batch, critical(r.loss)) for r in runs])
    loss = np.concatenate([r.loss for r in runs])
    n, s = np.log(size), np.log(least)

    def logs(p: Array) -> Array:  # (α_N·log N_c, α_N, α_S·log S_c, α_S): well-conditioned products
        return np.asarray(np.logaddexp(p[0] - p[1] * n, p[2] - p[3] * s))

    end = np.log(loss.min())
    starts = [
        [end + a * float(n.mean()), a, b * float(s.mean()) - 0.5, b]
        for a in (0.03, 0.1)
        for b in (0.3, 1.0)
    ]
    p = _least_squares(logs, np.log(loss), starts, [-np.inf, 1e-4, -np.inf, 1e-3])
    return LossLaw(p[0] / p[1], p[1], p[2] / p[3], p[3], critical)


@dataclass(frozen=True)
class TokenLaw:
    """L = E + A/N^a + B/D^b with D = batch·steps: the rival that knows no batch size.

    Attributes:
        logs: log E, log A, a, log B, b.

    Source: Hoffmann et al., "Training Compute-Optimal Large Language Models", arXiv:2203.15556.
    """

    logs: tuple[float, float, float, float, float]

    def __call__(self, size: float, batch: float, steps: Array) -> Array:
        e, a, x, b, y = self.logs
        return np.asarray(
            np.exp(e) + np.exp(a - x * np.log(size)) + np.exp(b - y * np.log(batch * steps))
        )


def token_law(runs: Sequence[TrainingRun]) -> TokenLaw:
    """Estimate the rival's five constants from the same runs, by least squares in log L."""
    n = np.log(np.concatenate([np.full(len(r.steps), r.size) for r in runs]))
    d = np.log(np.concatenate([r.batch * r.steps for r in runs]))
    loss = np.concatenate([r.loss for r in runs])

    def logs(p: Array) -> Array:
        return np.asarray(np.logaddexp(np.logaddexp(p[0], p[1] - p[2] * n), p[3] - p[4] * d))

    end = np.log(loss.min())
    starts = [
        [end - 0.3, end - 1 + a * float(n.mean()), a, b * float(d.mean()) - 0.5, b]
        for a in (0.1, 0.5)
        for b in (0.3, 1.0)
    ]
    p = _least_squares(logs, np.log(loss), starts, [-20.0, -np.inf, 1e-4, -np.inf, 1e-3])
    return TokenLaw((p[0], p[1], p[2], p[3], p[4]))


def _least_squares(
    of: object, y: Array, starts: Sequence[Sequence[float]], lower: Sequence[float]
) -> tuple[float, ...]:
    """The best of several local minima."""
    from scipy.optimize import least_squares

    found = [
        least_squares(lambda p: of(p) - y, x, bounds=(lower, np.inf), max_nfev=2000)  # type: ignore[operator]
        for x in starts
    ]
    return tuple(float(v) for v in min(found, key=lambda f: f.cost).x)


def persistence(runs: Sequence[TrainingRun], batch: float, steps: Array) -> Array:
    """Predict a larger run by no law: the loss of the largest run at the nearest batch size.

    Args:
        runs: The small runs.
        batch: Of the larger run.
        steps: Of the larger run; log-linear between the small run's readings.
    """
    largest = max(r.size for r in runs)
    nearest = min(
        (r for r in runs if r.size == largest), key=lambda r: abs(np.log(r.batch / batch))
    )
    return np.asarray(np.exp(np.interp(np.log(steps), np.log(nearest.steps), np.log(nearest.loss))))


def shuffled_sizes(runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """The same curves under other runs' sizes: each size is exchanged for the next but one."""
    sizes = sorted({r.size for r in runs})
    other = dict(zip(sizes, sizes[2:] + sizes[:2], strict=True))
    return [replace(r, size=other[r.size]) for r in runs]


def log_error(predicted: Array, found: Array) -> float:
    """Root mean squared difference of logarithms: about the relative error."""
    return float(np.sqrt(np.mean((np.log(predicted) - np.log(found)) ** 2)))
