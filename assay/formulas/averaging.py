"""Averages of weights: states are dicts of tensors of one architecture, and only their floating
tensors are averaged.

Averages of networks mean something where the networks were trained from one start (they lie in one
basin). In a log-linear policy, whose weights are logits, the linear average is the normalised
geometric mean π₁^{1−s}·π₂^s: a product of experts.
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
    """(1−share)·a + share·b. A share outside [0, 1] extrapolates. a itself at 0, b at 1."""
    names = set(_each(a, b))
    return {k: torch.lerp(v, b[k], share) if k in names else v for k, v in a.items()}


def spherical(start: State, a: State, b: State, *, share: float) -> dict[str, Tensor]:
    """start + slerp(a − start, b − start): along the arc between two task vectors, each tensor by
    its own angle (WARP).

    sin((1−s)Ω)/sin Ω·δ_a + sin(sΩ)/sin Ω·δ_b. It keeps a norm that the linear average of two nearly
    orthogonal vectors loses (√½ of it at s = ½). Where an angle is 0 or a vector is 0, the linear
    average.
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
    """An exponential moving average one step on: (1−rate)·moving + rate·now."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; a moving average takes from 0 to 1 of what is new")
    return linear(moving, now, share=rate)
