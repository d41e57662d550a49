"""How large a policy is: defaults follow it."""

from __future__ import annotations

from typing import Any

LARGE = 10_000_000  # parameters from which a reading takes minutes on a CPU, not moments


def parameter_count(policy: Any) -> int:
    """Count the parameters that a policy computes with, frozen ones included.

    Args:
        policy: Any policy; an adapter counts with its base.
    """
    body = getattr(policy, "backbone", policy)
    body = getattr(body, "computes_with", body)
    return sum(p.numel() for p in body.parameters())


def is_large(policy: Any) -> bool:
    """Whether generating with a policy is what a run waits for."""
    return parameter_count(policy) >= LARGE
