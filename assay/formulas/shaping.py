"""A score to the reward that is optimised: `[B,N] → [B,N]`, element by element, so absent answers
touch nothing.

Order matters: length penalty, then shaping, then aggregation of judges, or aggregation before
shaping; then clip, then the group's normalisation. An affine shaping changes nothing under
`advantage.group_standardised`: only what is not linear survives there. References are scores
`[B,K]` of K answers of the reference policy to the same prompts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid


def clip(
    reward: Float[Tensor, "B N"], *, low: float | None = None, high: float | None = None
) -> Float[Tensor, "B N"]:
    """min(max(r, low), high); either bound may be None (`high` alone is a ceiling)."""
    if low is not None and high is not None and low > high:
        raise ValueError(
            f"low is {low} and high {high}; a reward cannot be clipped to an empty range"
        )
    return reward if low is None and high is None else reward.clamp(low, high)


def standardise(reward: Float[Tensor, "B N"], *, mean: float, std: float) -> Float[Tensor, "B N"]:
    """(r − mean)/std with constants measured elsewhere, usually on the reference's answers. Affine."""
    if not std > 0:
        raise ValueError(f"std is {std}; a reward is divided by it, so it must be above 0")
    return (reward - mean) / std


def minmax(reward: Float[Tensor, "B N"], *, low: float, high: float) -> Float[Tensor, "B N"]:
    """(r − low)/(high − low): low to 0 and high to 1. Affine, and not clipped."""
    if not high > low:
        raise ValueError(
            f"low is {low} and high {high}; minmax divides by high − low, so high must be the "
            "greater"
        )
    return (reward - low) / (high - low)


def centre(reward: Float[Tensor, "B N"], references: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
    """r − mean of the prompt's reference scores. Affine within a prompt; removes the constant a
    prompt.
    """
    first = references[:, :1]
    return reward - (first + (references - first).mean(-1, keepdim=True))


def preference(
    reward: Float[Tensor, "B N"], references: Float[Tensor, "B K"]
) -> Float[Tensor, "B N"]:
    """(1/K)·Σ σ(r − r_k): the judge's own probability that the answer beats a reference (PAR; Fu et
    al. 2025). In [0, 1].

    The mean of sigmoids, not the sigmoid of the mean difference.
    """
    return torch.sigmoid(reward[..., None] - references[:, None]).mean(-1)


def sigmoid(reward: Float[Tensor, "B N"], *, slope: float = 1.0) -> Float[Tensor, "B N"]:
    """σ(slope·r): bounded, but not centred on anything a prompt; the control for `preference`."""
    return torch.sigmoid(slope * reward)


def log_sigmoid(reward: Float[Tensor, "B N"], at: Float[Tensor, "B"]) -> Float[Tensor, "B N"]:
    """log σ(r − at), `at` a high quantile of the prompt's reference scores (LSC; Wang et al. 2024).
    Unbounded below.
    """
    return logsigmoid(reward - at[:, None])


def tanh(reward: Float[Tensor, "B N"], *, slope: float = 1.0) -> Float[Tensor, "B N"]:
    """tanh(slope·r): twice as steep as the sigmoid at 0, and on −1 … 1; not centred on anything a
    prompt.
    """
    return torch.tanh(slope * reward)


def _quintic() -> tuple[float, ...]:
    """Least-squares coefficients of x⁰ … x⁵ to σ on 100 even points of [−5, 5], as the zoo's
    authors fitted theirs.
    """
    x = torch.linspace(-5, 5, 100, dtype=torch.float64)
    powers = x[:, None] ** torch.arange(6)
    return tuple(torch.linalg.lstsq(powers, torch.sigmoid(x)[:, None]).solution[:, 0].tolist())


QUINTIC = _quintic()


def polynomial(reward: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """The quintic nearest to σ on (−5, 5), 0 below and 1 above (Fu et al. 2025's control for the
    sigmoid's exact form).

    It jumps by a few hundredths at ±5, and is not monotone near them: a fit, not a sigmoid.
    """
    x = reward.clamp(-5, 5)
    value = torch.zeros_like(x)
    for c in reversed(QUINTIC):
        value = value * x + c
    return torch.where(
        reward <= -5, torch.zeros_like(x), torch.where(reward >= 5, torch.ones_like(x), value)
    )


def slow_then_fast(
    reward: Float[Tensor, "B N"],
    references: Float[Tensor, "B K"],
    *,
    late: float = 3.0,
    slope: float = 1.0,
) -> Float[Tensor, "B N"]:
    """(1/K)·Σ σ(slope·(r − late − r_k)): bounded and centred, but flat where training starts and
    steepest `late` above.

    The control for PAR's second principle, that a reward should grow fast at first and then ever
    more slowly.
    """
    return torch.sigmoid(slope * (reward[..., None] - late - references[:, None])).mean(-1)


def against(
    reward: Float[Tensor, "B N"],
    references: Float[Tensor, "B K"],
    shape: Callable[[Float[Tensor, "B M"]], Float[Tensor, "B M"]],
) -> Float[Tensor, "B N"]:
    """(1/K)·Σ shape(r − r_k): any shape, centred on the prompt's references one by one. The mean of
    shapes, not of scores.
    """
    B, N = reward.shape
    return (
        shape((reward[..., None] - references[:, None]).reshape(B, -1)).reshape(B, N, -1).mean(-1)
    )


def normal_quantile(references: Float[Tensor, "B K"], *, q: float = 0.85) -> Float[Tensor, "B"]:
    """μ + z_q·s of a normal fitted to each prompt's reference scores (s ÷ K): where LSC has its
    bend, see `log_sigmoid`.
    """
    if not 0 < q < 1:
        raise ValueError(f"q is {q}; a quantile of a normal needs 0 < q < 1")
    z = float(torch.special.ndtri(torch.tensor(q, dtype=torch.float64)))
    return references.mean(-1) + z * references.std(-1, correction=0)


def running(
    count: Float[Tensor, ""],
    mean: Float[Tensor, ""],
    squares: Float[Tensor, ""],
    fresh: Float[Tensor, "n"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Count, mean and sum of squared deviations with `fresh` added (Welford 1962; batches: Chan et
    al. 1983), float64.

    The deviation is sqrt(squares/count), ÷ count. Any split of the same numbers into batches gives
    the same three.
    """
    x = fresh.double()
    if len(x) == 0:
        return count, mean, squares
    total = count + len(x)
    gap = x.mean() - mean
    return (
        total,
        mean + gap * len(x) / total,
        squares + (x - x.mean()).square().sum() + gap.square() * count * len(x) / total,
    )


def length_penalty(
    reward: Float[Tensor, "B N"], length: Int[Tensor, "B N"], *, per: float = 0.01, free: int = 0
) -> Float[Tensor, "B N"]:
    """r − per·max(0, length − free): on the raw score, before any other shaping."""
    return reward - per * (length - free).clamp(min=0).to(reward.dtype)


def overlong(length: Int[Tensor, "B N"], *, limit: int, cushion: int) -> Float[Tensor, "B N"]:
    """DAPO's soft penalty (Yu et al. 2025), added to the reward: 0 up to limit − cushion, falling
    to −1 at limit, −1 beyond.
    """
    if not 0 < cushion <= limit:
        raise ValueError(f"cushion is {cushion} and limit {limit}; the cushion lies in 1 … limit")
    return ((limit - cushion - length).to(torch.get_default_dtype()) / cushion).clamp(-1, 0)
