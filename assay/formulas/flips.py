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
    margin: Float[Tensor, "S"], p: Float[Tensor, "S"] | None = None, *, steps: int = 2000
) -> Flips:
    """Fit P(label) = (1−ε)·σ(a·m) + ε·σ(−a·m) by maximum likelihood.

    A label that is wrong because two completions are nearly as good occurs where the margin is
    small; flips occur everywhere. What is left of disagreement where margins are large is ε. So it
    takes pairs with large margins, and margins that know the truth: from a model that was not
    fitted to these labels. Errors of the margins look like flips: ε is then too high. Margins that
    were fitted to the labels hide flips: ε is then too low.

    Expectation–maximisation in float64: of the chance that each label is flipped, and one Newton
    step of a.

    Args:
        margin: m, what a model says of first minus second completion `[S]`, in any unit.
        p: Probability that the first is the better by the label `[S]`; None for 1.
        steps: Iterations.

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
    mixed, plain = _fitted(m, y, 0.25, steps), _fitted(m, y, 0.0, steps)
    unit = float(margin.detach().double().square().mean().sqrt())
    gain = _likelihood(m, y, *mixed) - _likelihood(m, y, *plain)
    return Flips(mixed[0], mixed[1] / unit, max(gain, 0.0))


def _fitted(m: Tensor, y: Tensor, rate: float, steps: int) -> tuple[float, float]:
    """ε and a from a start; an ε of 0 stays 0."""
    e, a = m.new_tensor(rate), m.new_tensor(1.0)
    for _ in range(steps):
        right, wrong = (1 - e) * (a * m).sigmoid(), e * (-a * m).sigmoid()
        right_, wrong_ = (1 - e) * (-a * m).sigmoid(), e * (a * m).sigmoid()
        # chance of a flip, for the label that the first wins and for the other one
        q, q_ = wrong / (right + wrong), wrong_ / (right_ + wrong_)
        e = (y * q + (1 - y) * q_).mean().clamp(max=0.5)
        first = y * (1 - q) + (1 - y) * q_  # chance that the first is truly the better
        s = (a * m).sigmoid()
        slope, curve = ((first - s) * m).mean(), (s * (1 - s) * m.square()).mean()
        a = (a + (slope / curve.clamp(min=1e-9)).clamp(-0.5, 0.5)).clamp(0.0, 50.0)
    return float(e), float(a)


def _likelihood(m: Tensor, y: Tensor, e: float, a: float) -> float:
    first = (1 - e) * (a * m).sigmoid() + e * (-a * m).sigmoid()
    return float(
        (y * first.clamp(min=1e-300).log() + (1 - y) * (1 - first).clamp(min=1e-300).log()).mean()
    )
