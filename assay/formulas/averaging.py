"""Averages of weights. A state is a dict of tensors; only its floating tensors are averaged.

Averages of networks are meaningful if the networks were trained from one start and lie in one
basin. For a log-linear policy, whose weights are logits, the linear average is the normalised
geometric mean π₁^{1−s}·π₂^s, a product of experts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def _each(a: State, b: State) -> list[str]:
    if a.keys() != b.keys():
        raise ValueError(
            "two states with different names cannot be averaged: "
            f"{', '.join(sorted(a.keys() ^ b.keys())[:3])}"
        )
    return [k for k, v in a.items() if v.is_floating_point()]


def linear(a: State, b: State, *, share: float) -> dict[str, Tensor]:
    """Linear interpolation of two states: (1−s)·a + s·b.

    Args:
        a: A state.
        b: Another one of the same names.
        share: s; outside [0, 1] it extrapolates. 0 gives a exactly, 1 gives b.

    Returns:
        A state.

    Raises:
        ValueError: The names differ.
    """
    names = set(_each(a, b))
    return {k: torch.lerp(v, b[k], share) if k in names else v for k, v in a.items()}


def spherical(start: State, a: State, b: State, *, share: float) -> dict[str, Tensor]:
    """Spherical interpolation of two task vectors, each tensor along its own arc.

    start + sin((1−s)Ω)/sin Ω·δ_a + sin(sΩ)/sin Ω·δ_b,  δ = state − start

    It keeps the norm that the linear average of two nearly orthogonal vectors loses (√½ of it at s
    = ½). Where a vector or the angle Ω is 0, it is the linear average.

    Args:
        start: The state both were trained from.
        a: A state.
        b: Another one.
        share: s, from 0 to 1.

    Returns:
        A state.

    Source: Ramé et al., "WARP", arXiv:2406.16768, 2024.
    """
    out = dict(start)
    for k in _each(a, b):
        da, db = (a[k] - start[k]).double(), (b[k] - start[k]).double()
        norms = float(da.norm() * db.norm())
        angle = float(torch.arccos(((da * db).sum() / norms).clamp(-1, 1))) if norms > 0 else 0.0
        sine = float(torch.tensor(angle, dtype=torch.float64).sin())
        if sine < 1e-6:
            first, second = 1 - share, share
        else:
            first, second = (
                float(torch.tensor(w * angle, dtype=torch.float64).sin()) / sine
                for w in (1 - share, share)
            )
        out[k] = start[k] + (first * da + second * db).to(start[k].dtype)
    return out


def towards(moving: State, now: State, *, rate: float) -> dict[str, Tensor]:
    """One step of an exponential moving average: (1−rate)·moving + rate·now.

    Args:
        moving: The average so far.
        now: The new state.
        rate: From 0 to 1.

    Returns:
        A state.

    Raises:
        ValueError: rate is outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; a moving average takes from 0 to 1 of what is new")
    return linear(moving, now, share=rate)
