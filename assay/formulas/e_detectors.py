"""Detectors of a change at an unknown time, as e-processes: sums or maxima of products of pays.

The pays, bets and priors are those of formulas/sequential.py; `*R` are leading axes, J the bets.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def shiryaev_roberts(
    log_s: Float[Tensor, "*R J"], log_pay: Float[Tensor, "*R J"], log_start: Float[Tensor, "*R J"]
) -> Float[Tensor, "*R J"]:
    """One look of the e-Shiryaev–Roberts detector: S ← (S + start)·Π pay, in logs.

    Σ_j S_j plus the mass that has not started is an e-process. With the prior's mass of this look
    (times the bet's weight) as `start` instead of 1, Ville's inequality bounds the probability of
    any false alarm ever, and not only their frequency.

    Args:
        log_s: log S `[*R, J]`.
        log_pay: Log of this look's pays `[*R, J]`.
        log_start: Log of the mass that starts at this look `[*R, J]`.

    Returns:
        log S `[*R, J]`.

    Source: Shin, Ramdas & Rinaldo, "E-detectors", arXiv:2203.03532, 2023.
    """
    return torch.logaddexp(log_s, log_start) + log_pay


def cusum(
    log_s: Float[Tensor, "*R J"], log_pay: Float[Tensor, "*R J"], log_start: Float[Tensor, "*R J"]
) -> Float[Tensor, "*R J"]:
    """One look of the e-CUSUM detector: S ← max(S, start)·Π pay, in logs.

    It is never above `shiryaev_roberts`, and hence valid at the same threshold.

    Args:
        log_s: log S `[*R, J]`.
        log_pay: Log of this look's pays `[*R, J]`.
        log_start: Log of the mass that starts at this look `[*R, J]`.

    Returns:
        log S `[*R, J]`.

    Source: Shin, Ramdas & Rinaldo, arXiv:2203.03532, 2023.
    """
    return torch.maximum(log_s, log_start) + log_pay
