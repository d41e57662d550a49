"""A score to the reward that is optimised: `[B,N] → [B,N]`, element by element, so absent answers touch nothing.

Order matters: length penalty, then shaping, then aggregation of judges, or aggregation before shaping; then clip, then
the group's normalisation. An affine shaping changes nothing under `advantage.group_standardised`: only what is not
linear survives there. References are scores `[B,K]` of K answers of the reference policy to the same prompts.
"""
from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid


def clip(reward: Float[Tensor, "B N"], *, low: float | None = None, high: float | None = None) -> Float[Tensor, "B N"]:
    """min(max(r, low), high); either bound may be None (`high` alone is a ceiling)."""
    if low is not None and high is not None and low > high:
        raise ValueError(f"low is {low} and high {high}; a reward cannot be clipped to an empty range")
    return reward if low is None and high is None else reward.clamp(low, high)


def standardise(reward: Float[Tensor, "B N"], *, mean: float, std: float) -> Float[Tensor, "B N"]:
    """(r − mean)/std with constants measured elsewhere, usually on the reference's answers. Affine."""
    if not std > 0:
        raise ValueError(f"std is {std}; a reward is divided by it, so it must be above 0")
    return (reward - mean) / std


def minmax(reward: Float[Tensor, "B N"], *, low: float, high: float) -> Float[Tensor, "B N"]:
    """(r − low)/(high − low): low to 0 and high to 1. Affine, and not clipped."""
    if not high > low:
        raise ValueError(f"low is {low} and high {high}; minmax divides by high − low, so high must be the greater")
    return (reward - low) / (high - low)


def centre(reward: Float[Tensor, "B N"], references: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
    """r − mean of the prompt's reference scores. Affine within a prompt; removes the constant a prompt."""
    first = references[:, :1]
    return reward - (first + (references - first).mean(-1, keepdim=True))


def preference(reward: Float[Tensor, "B N"], references: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
    """(1/K)·Σ σ(r − r_k): the judge's own probability that the answer beats a reference (PAR; Fu et al. 2025). In [0, 1].

    The mean of sigmoids, not the sigmoid of the mean difference.
    """
    return torch.sigmoid(reward[..., None] - references[:, None]).mean(-1)


def sigmoid(reward: Float[Tensor, "B N"], *, slope: float = 1.0) -> Float[Tensor, "B N"]:
    """σ(slope·r): bounded, but not centred on anything a prompt; the control for `preference`."""
    return torch.sigmoid(slope * reward)


def log_sigmoid(reward: Float[Tensor, "B N"], at: Float[Tensor, "B"]) -> Float[Tensor, "B N"]:
    """log σ(r − at), `at` a high quantile of the prompt's reference scores (LSC; Wang et al. 2024). Unbounded below."""
    return logsigmoid(reward - at[:, None])


def length_penalty(reward: Float[Tensor, "B N"], length: Int[Tensor, "B N"], *, per: float = 0.01,
                   free: int = 0) -> Float[Tensor, "B N"]:
    """r − per·max(0, length − free): on the raw score, before any other shaping."""
    return reward - per * (length - free).clamp(min=0).to(reward.dtype)


def overlong(length: Int[Tensor, "B N"], *, limit: int, cushion: int) -> Float[Tensor, "B N"]:
    """DAPO's soft penalty (Yu et al. 2025), added to the reward: 0 up to limit − cushion, falling to −1 at limit, −1 beyond."""
    if not 0 < cushion <= limit:
        raise ValueError(f"cushion is {cushion} and limit {limit}; the cushion lies in 1 … limit")
    return ((limit - cushion - length).to(torch.get_default_dtype()) / cushion).clamp(-1, 0)
