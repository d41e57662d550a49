"""How many of some preference labels are flipped, from the labels alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Flips:
    """What `flip_rate` finds.

    Attributes:
        rate: ε, the share of flipped labels, in [0, 0.5].
        scale: a, by which margins become log-odds of the labels that are not flipped.
        gain: Mean log-likelihood of a label minus that with ε = 0 and its own best a, in nats; near
            0 where the labels do not say that any is flipped.
    """

    rate: float
    scale: float
    gain: float


def flip_rate(
    margin: Float[Tensor, "S"],
    p: Float[Tensor, "S"] | None = None,
    *,
    steps: int = 2000,
    tolerance: float = 1e-6,
) -> Flips:
    """Fit P(label) = (1−ε)·σ(a·m) + ε·σ(−a·m) by maximum likelihood.

    A label that is wrong because two completions are nearly as good occurs where the
    margin is small; flips occur everywhere. What is left of disagreement where margins are large is
    ε, so it takes pairs with large margins. Errors of the margins lower a above all. Margins that
    were fitted to these labels agree with flips, too, and ε is then too low: take a model that was
    fitted to others.

    Expectation–maximisation in float64: of the chance that each label is flipped, and one Newton
    step of a.

    Args:
        margin: m, what a model says of first minus second completion `[S]`, in any unit.
        p: Probability that the first is the better by the label `[S]`; None for 1.
        steps: Most iterations.
        tolerance: It ends where ε and a change by less.

    Returns:
        The rate, the scale and the gain.

    Raises:
        ValueError: There are fewer than two labels, or margins are not finite or all 0.

    Source: the mixture of `formulas.noise`, with a known margin for the class: Chowdhury et al.,
        "Provably Robust DPO", arXiv:2403.00409, 2024, assume ε known.
    """
    m = margin.detach().double()
    y = torch.ones_like(m) if p is None else p.double()
    if len(m) < 2 or not bool(torch.isfinite(m).all()) or not bool(m.any()):
        raise ValueError(
            f"the share of flipped labels cannot be estimated from {len(m)} margins, of which "
            f"{int((torch.isfinite(m) & (m != 0)).sum())} are finite and not 0"
        )
    m = m / m.square().mean().sqrt()
    mixed, plain = (_fitted(m, y, start, steps, tolerance) for start in (0.25, 0.0))
    unit = float(margin.detach().double().square().mean().sqrt())
    gain = _likelihood(m, y, *mixed) - _likelihood(m, y, *plain)
    return Flips(mixed[0], mixed[1] / unit, max(gain, 0.0))


def _fitted(m: Tensor, y: Tensor, rate: float, steps: int, tolerance: float) -> tuple[float, float]:
    """ε and a from a start; an ε of 0 stays 0."""
    e, a = m.new_tensor(rate), m.new_tensor(1.0)
    for _ in range(steps):
        before = e, a
        # chance of a flip, for the label that the first wins and for the other one; by log-odds,
        # since far out both of its likelihoods are 0
        odds = e.logit()
        q, q_ = (odds - a * m).sigmoid(), (odds + a * m).sigmoid()
        e = (y * q + (1 - y) * q_).mean().clamp(max=0.5)
        first = y * (1 - q) + (1 - y) * q_  # chance that the first is truly the better
        s = (a * m).sigmoid()
        slope, curve = ((first - s) * m).mean(), (s * (1 - s) * m.square()).mean()
        a = (a + (slope / curve.clamp(min=1e-9)).clamp(-0.5, 0.5)).clamp(0.0, 50.0)
        if abs(float(e - before[0])) + abs(float(a - before[1])) < tolerance:
            break
    return float(e), float(a)


def _likelihood(m: Tensor, y: Tensor, e: float, a: float) -> float:
    first = (1 - e) * (a * m).sigmoid() + e * (-a * m).sigmoid()
    return float(
        (y * first.clamp(min=1e-300).log() + (1 - y) * (1 - first).clamp(min=1e-300).log()).mean()
    )
