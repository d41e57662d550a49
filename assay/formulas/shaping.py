"""Shape a score into the reward that is optimised: `[B, N]` to `[B, N]`, element by element.

Order matters: length penalty, then shaping, then aggregation of reward models (or aggregation
before shaping), then clipping, then the group's normalisation. An affine shaping changes nothing
under `advantage.group_standardised`. References are scores `[B, K]` of K completions of the
reference policy to the same prompts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def clip(
    reward: Float[Tensor, "B N"], *, low: float | None = None, high: float | None = None
) -> Float[Tensor, "B N"]:
    """Clip the reward: min(max(r, low), high).

    Args:
        reward: `[B, N]`.
        low: Lower bound; None for none.
        high: Upper bound; None for none.

    Returns:
        `[B, N]`.

    Raises:
        ValueError: low is above high.
    """
    if low is not None and high is not None and low > high:
        raise ValueError(
            f"low is {low} and high {high}; a reward cannot be clipped to an empty range"
        )
    return reward if low is None and high is None else reward.clamp(low, high)


def standardise(reward: Float[Tensor, "B N"], *, mean: float, std: float) -> Float[Tensor, "B N"]:
    """Subtract a mean and divide by a standard deviation: (r − mean)/std. Affine.

    Args:
        reward: `[B, N]`.
        mean: Usually measured on the reference's completions.
        std: Above 0.

    Returns:
        `[B, N]`.

    Raises:
        ValueError: std is not above 0.
    """
    if not std > 0:
        raise ValueError(f"std is {std}; a reward is divided by it, so it must be above 0")
    return (reward - mean) / std


def minmax(reward: Float[Tensor, "B N"], *, low: float, high: float) -> Float[Tensor, "B N"]:
    """Scale low to 0 and high to 1: (r − low)/(high − low). Affine, not clipped.

    Args:
        reward: `[B, N]`.
        low: Becomes 0.
        high: Becomes 1.

    Returns:
        `[B, N]`.

    Raises:
        ValueError: high is not above low.
    """
    if not high > low:
        raise ValueError(
            f"low is {low} and high {high}; minmax divides by high − low, so high must be the "
            "greater"
        )
    return (reward - low) / (high - low)


def centre(reward: Float[Tensor, "B N"], references: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
    """Subtract the mean of the prompt's reference scores, which removes the constant a prompt.

    Args:
        reward: `[B, N]`.
        references: `[B, K]`.

    Returns:
        `[B, N]`.
    """
    first = references[:, :1]
    return reward - (first + (references - first).mean(-1, keepdim=True))


def preference(
    reward: Float[Tensor, "B N"], references: Float[Tensor, "B K"]
) -> Float[Tensor, "B N"]:
    """Preference as reward: (1/K)·Σ σ(r − r_k), the probability of beating a reference.

    It is the mean of sigmoids, not the sigmoid of the mean difference.

    Args:
        reward: r `[B, N]`.
        references: r_k `[B, K]`.

    Returns:
        `[B, N]` from 0 to 1.

    Source: Fu et al., "Reward Shaping to Mitigate Reward Hacking in RLHF" (PAR), arXiv:2502.18770,
        2025.
    """
    return torch.sigmoid(reward[..., None] - references[:, None]).mean(-1)


def sigmoid(reward: Float[Tensor, "B N"], *, slope: float = 1.0) -> Float[Tensor, "B N"]:
    """Sigmoid of the reward, not centred on a prompt: σ(slope·r). The control of `preference`.

    Args:
        reward: `[B, N]`.
        slope: Of the logit.

    Returns:
        `[B, N]`.
    """
    return torch.sigmoid(slope * reward)


def log_sigmoid(reward: Float[Tensor, "B N"], at: Float[Tensor, "B"]) -> Float[Tensor, "B N"]:
    """Log-sigmoid-centred reward: log σ(r − at). It is unbounded below.

    Args:
        reward: `[B, N]`.
        at: A high quantile of the prompt's reference scores `[B]`.

    Returns:
        `[B, N]`.

    Source: Wang et al., "Transforming and Combining Rewards for Aligning LLMs" (LSC),
        arXiv:2402.00742, 2024.
    """
    return logsigmoid(reward - at[:, None])


def tanh(reward: Float[Tensor, "B N"], *, slope: float = 1.0) -> Float[Tensor, "B N"]:
    """Hyperbolic tangent of the reward, not centred on a prompt: tanh(slope·r).

    Args:
        reward: `[B, N]`.
        slope: Of its argument; at 0 it is twice as steep as the sigmoid.

    Returns:
        `[B, N]` from −1 to 1.
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
    """The quintic nearest to σ on (−5, 5), 0 below and 1 above: a control of the sigmoid's form.

    Args:
        reward: `[B, N]`.

    Returns:
        `[B, N]` from 0 to 1.

    Source: Fu et al. (PAR), arXiv:2502.18770, 2025.
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
    """A bounded, centred reward that grows slowly at first: (1/K)·Σ σ(slope·(r − late − r_k)).

    It is the control of PAR's second principle, that a reward should grow fast first and then
    slowly.

    Args:
        reward: r `[B, N]`.
        references: r_k `[B, K]`.
        late: How far above a reference it is steepest.
        slope: Of the logit.

    Returns:
        `[B, N]` from 0 to 1.
    """
    return torch.sigmoid(slope * (reward[..., None] - late - references[:, None])).mean(-1)


def against(
    reward: Float[Tensor, "B N"],
    references: Float[Tensor, "B K"],
    shape: Callable[[Float[Tensor, "B M"]], Float[Tensor, "B M"]],
) -> Float[Tensor, "B N"]:
    """Any shape, centred on the prompt's references one by one: (1/K)·Σ shape(r − r_k).

    Args:
        reward: r `[B, N]`.
        references: r_k `[B, K]`.
        shape: A function of `[B, M]`, element by element.

    Returns:
        `[B, N]`.
    """
    B, N = reward.shape
    return (
        shape((reward[..., None] - references[:, None]).reshape(B, -1)).reshape(B, N, -1).mean(-1)
    )


def normal_quantile(references: Float[Tensor, "B K"], *, q: float = 0.85) -> Float[Tensor, "B"]:
    """Quantile of a normal fitted to each prompt's reference scores: μ + z_q·s (s ÷ K).

    Args:
        references: `[B, K]`.
        q: In (0, 1).

    Returns:
        `[B]`, where `log_sigmoid` bends.

    Raises:
        ValueError: q is outside (0, 1).
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
    """Running count, mean and sum of squared deviations, with new numbers added.

    Any split of the same numbers into batches gives the same three. The standard deviation is
    √(squares/count).

    Args:
        count: Numbers so far.
        mean: Their mean.
        squares: Their sum of squared deviations.
        fresh: New numbers `[n]`.

    Returns:
        Count, mean and squares in float64.

    Source: Welford, 1962; Chan, Golub & LeVeque, "Algorithms for computing the sample variance",
        1983.
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
