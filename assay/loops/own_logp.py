"""Log-probabilities at sampling time, where drawing and scoring round apart.

In bfloat16 and float16 a policy's log-probabilities as it draws, a token at a time, and as it
scores, whole completions at a time, differ by up to 0.15 nats a token at the same weights (LOG.md).
A ratio of the two would not be 1 before the first update, so there the policy's own pass counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Samples
from assay.engine.parallel import by_rows


def rounds_apart(policy: Any) -> bool:
    """Whether a policy draws by other log-probabilities than those by which it scores.

    What an engine generates is scored by the policy anyway, see `models.policies.weight_sync`.
    """
    backbone = getattr(policy, "backbone", None)
    if backbone is None or hasattr(policy, "engine"):
        return False
    return bool(getattr(getattr(backbone, "computes_with", backbone), "half_precision", False))


def scored(policy: Any, x: Samples) -> Samples:
    """Return the completions with the log-probabilities of the policy's own pass."""
    with torch.no_grad():
        return replace(x, logp=by_rows(policy.logp, x))


def one_update(loop: Loop) -> bool:
    """Whether a step makes one update, so that each of its passes sees the weights that drew."""
    return loop.epochs == 1 and not 0 < loop.mini_batch_size < loop.batch_size


def by_this_pass(rows: Samples, logp: Tensor) -> Samples:
    """Return the rows with this pass's log-probabilities as those at sampling time."""
    return replace(rows, logp=logp.detach())
