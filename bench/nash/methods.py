"""The Nash methods as exact iterations: each yields log-probabilities after its queries of P·π.

`METHODS` is the one list: a method that is added here is measured and has its rows on the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from assay.formulas.games import log_geometric_mixture, proximal_step
from assay.formulas.self_play import magnetic_step, moved_magnet

STEPS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass
class Play:
    """Some games of one size, and the count of what was asked of them.

    Attributes:
        P: Preference matrices `[S,A,A]`.
        mu: log μ `[S,A]`, where every method begins.
        tau: Strength of the KL.
        step: The method's step.
        queries: Evaluations of P·π so far.
    """

    P: Tensor
    mu: Tensor
    tau: float
    step: float
    queries: int = field(default=0)

    def against(self, logp: Tensor) -> Tensor:
        """P(· ≻ π); one query."""
        self.queries += 1
        return (self.P @ logp.exp()[..., None])[..., 0]


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        run: Its iteration.
        regularised: Whether it aims at the regularised Nash policy.
        queries: Queries of one iteration.
        most: Largest step·τ that the method has; a larger step is another method.
    """

    run: Callable[[Play], Iterator[Tensor]]
    regularised: bool = True
    queries: int = 1
    most: float = math.inf

    def steps(self, tau: float) -> list[float]:
        """The grid's steps that the method has at this τ."""
        return [s for s in STEPS if s * tau <= self.most + 1e-9]

    def __call__(self, play: Play) -> Iterator[Tensor]:
        return self.run(play)


def magnetic(play: Play) -> Iterator[Tensor]:
    """Magnetic mirror descent with the reference as the magnet; INPO's exact step."""
    logp = play.mu
    while True:
        logp = magnetic_step(logp, play.against(logp), play.mu, eta=play.step, alpha=play.tau)
        yield logp


def nash_md(play: Play) -> Iterator[Tensor]:
    """Nash-MD with a constant step: against the geometric mixture, and from it."""
    logp, weight = play.mu, play.step * play.tau
    while True:
        mixed = log_geometric_mixture(logp, play.mu, weight=weight)
        logp = proximal_step(mixed, play.against(mixed), play.mu, eta=play.step, tau=0.0)
        yield logp


def nash_md_decreasing(play: Play) -> Iterator[Tensor]:
    """Nash-MD with its theory's step 2/(τ·(k+2)), times the grid's step."""
    logp, k = play.mu, 0
    while True:
        eta = play.step * 2 / (play.tau * (k + 2))
        mixed = log_geometric_mixture(logp, play.mu, weight=min(1.0, eta * play.tau))
        logp = proximal_step(mixed, play.against(mixed), play.mu, eta=eta, tau=0.0)
        k += 1
        yield logp


def nash_mp(play: Play) -> Iterator[Tensor]:
    """Mirror prox: look ahead, then step from the old policy against what was seen there."""
    logp = play.mu
    while True:
        half = proximal_step(logp, play.against(logp), play.mu, eta=play.step, tau=play.tau)
        logp = proximal_step(logp, play.against(half), play.mu, eta=play.step, tau=play.tau)
        yield logp


def following(play: Play, alpha: float = 0.3, kappa: float = 0.1) -> Iterator[Tensor]:
    """Magnetic mirror descent whose magnet follows by κ, here a tenth."""
    logp = magnet = play.mu
    while True:
        logp = magnetic_step(logp, play.against(logp), magnet, eta=play.step, alpha=alpha)
        magnet = moved_magnet(magnet, logp, kappa=kappa)
        yield logp


def last_of_spo(play: Play) -> Iterator[Tensor]:
    """Multiplicative weights against oneself; SPO's and DNO's exact step."""
    logp = play.mu
    while True:
        logp = proximal_step(logp, play.against(logp), play.mu, eta=play.step, tau=0.0)
        yield logp


def average_of_spo(play: Play) -> Iterator[Tensor]:
    """The mean of the policies that `last_of_spo` played."""
    logp, total, n = play.mu, torch.zeros_like(play.mu), 0
    while True:
        total, n = total + logp.exp(), n + 1
        logp = proximal_step(logp, play.against(logp), play.mu, eta=play.step, tau=0.0)
        yield (total / n).log()


METHODS: dict[str, Method] = {
    "magnetic mirror descent (INPO)": Method(magnetic),
    "Nash-MD, constant step": Method(nash_md, most=1.0),
    "Nash-MD, decreasing step": Method(nash_md_decreasing),
    "Nash-MP (mirror prox)": Method(nash_mp, queries=2),
    "magnet that follows": Method(following, regularised=False),
    "SPO, last (DNO)": Method(last_of_spo, regularised=False),
    "SPO, average": Method(average_of_spo, regularised=False),
}
