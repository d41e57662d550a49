"""Diffusion: x_t = √ᾱ·x₀ + √(1 − ᾱ)·ε, its schedule, and DDIM's stochastic step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def cosine_alpha_bars(
    *, steps: int, first: float = 1e-4, last: float = 0.999
) -> Float[Tensor, "T1"]:
    """ᾱ at the beginning of each of T steps and at the end of the last: cos² of even angles.

    The end is not 1, or the last step would have no noise and an unbounded log-probability.

    Args:
        steps: T, at least 1.
        first: ᾱ of the noise.
        last: ᾱ of the data.

    Returns:
        Rising `[T + 1]`, in float64.

    Raises:
        ValueError: A constant is out of range.

    Source: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models",
        arXiv:2102.09672, 2021.
    """
    if steps < 1 or not 0 < first < last < 1:
        raise ValueError(f"steps is {steps}, first {first} and last {last}; 0 < first < last < 1")
    ends = torch.tensor([first, last], dtype=torch.float64).sqrt().acos()
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    return torch.lerp(ends[0], ends[1], u).cos().square()


def ddim_std(
    before: Float[Tensor, "*S"], after: Float[Tensor, "*S"], *, eta: float = 1.0
) -> Float[Tensor, "*S"]:
    """Deviation of a step: η·√((1 − ᾱ')/(1 − ᾱ))·√(1 − ᾱ/ᾱ'); with η = 1 it is DDPM's.

    Args:
        before: ᾱ at the step's beginning `[*S]`.
        after: ᾱ' at its end, above ᾱ `[*S]`.
        eta: η, from 0 to 1.

    Returns:
        `[*S]`.

    Raises:
        ValueError: eta is out of range.

    Source: Song et al., "Denoising Diffusion Implicit Models", arXiv:2010.02502, 2020, eq. 16.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; it is from 0 to 1")
    return eta * ((1 - after) / (1 - before)).sqrt() * (1 - before / after).sqrt()


def ddim_step(
    data: Float[Tensor, "*S D"],
    noise: Float[Tensor, "*S D"],
    after: Float[Tensor, "*#S"],
    std: Float[Tensor, "*#S"],
) -> Float[Tensor, "*S D"]:
    """Mean of a step: √ᾱ'·x̂₀ + √(1 − ᾱ' − s²)·ε̂.

    Args:
        data: x̂₀ `[*S, D]`.
        noise: ε̂ `[*S, D]`.
        after: ᾱ' `[*S]`.
        std: s, from `ddim_std` `[*S]`.

    Returns:
        `[*S, D]`, differentiable in data and noise.

    Source: as `ddim_std`, eq. 12.
    """
    left = (1 - after - std.square()).clamp(min=0).sqrt()
    return after.sqrt()[..., None] * data + left[..., None] * noise
