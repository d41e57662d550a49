"""What the reference says of a batch, read once for loss, reward and all epochs."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from assay.core import Loop, Policy, Samples
from assay.core.samples import REFERENCE_LOGP
from assay.engine.nonfinite import nonfinite
from assay.engine.parallel import by_rows

S = TypeVar("S", bound=Samples)
_KNOWN = REFERENCE_LOGP  # in `Samples.extra`, so that it is divided as the batch is


def reference_logp(reference: Policy, x: Samples) -> Tensor:
    """Compute the reference's log-probabilities of a whole batch, without gradient.

    Processes divide the rows, and all have to call it together; within a loss, which sees a part
    of the batch, `with_reference_logp` is the one to call.

    Args:
        reference: The reference.
        x: The batch.

    Returns:
        log π₀ of each decision, `[B,N,T]`.
    """
    if _KNOWN in x.extra:
        return x.extra[_KNOWN]
    with torch.no_grad():
        return by_rows(reference.logp, x)


def reference_known(reference: Policy, x: S) -> S:
    """Return the batch with the reference's log-probabilities beside it."""
    return replace(x, extra={**x.extra, _KNOWN: reference_logp(reference, x)})


def known_for_epochs(reference: Policy, x: S, loop: Loop) -> S:
    """Return the batch with the reference's log-probabilities where several epochs will ask.

    With one epoch each micro-batch asks once, and nothing is held.
    """
    return reference_known(reference, x) if loop.epochs > 1 and len(x) else x


def with_reference_logp(reference: Policy, rows: S) -> S:
    """Return the same completions with the reference's log-probabilities, without gradient."""
    known = rows.extra.get(_KNOWN)
    if known is None:
        with torch.no_grad():
            known = reference.logp(rows)
    return replace(rows, logp=nonfinite.logps("reference", rows, known))
