"""What differs between an engine that generates and the policy that learns: corrected, and shown.

Completions of the policy itself carry nothing of this, and nothing changes for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from assay.core import Samples
from assay.core.samples import CLIPPED, IMPORTANCE, SAMPLER_LOGP
from assay.errors import InputError
from assay.formulas.divergence import k3
from assay.formulas.importance import effective_share

Loss = Callable[[Any, Any], Any]


def corrected(loss: Loss, samples: Any) -> Loss:
    """Weigh a loss of decisions by the completions' importance weights.

    Every term is weighed, a KL in the loss too: each is an expectation over the policy's own
    completions. A loss of completions or pairs is returned as it is, since what compares
    completions holds for those of any sampler.

    Args:
        loss: `loss(rows, index)`, see `engine.descend`.
        samples: The batch.

    Returns:
        The same function where an engine generated nothing.
    """
    if IMPORTANCE not in getattr(samples, "extra", {}):
        return loss

    def weighed(found: Any, rows: Samples) -> Any:
        if not isinstance(found, Tensor):  # several losses, each computed when it is wanted
            return [lambda f=f: weighed(f(), rows) for f in found]
        if found.dim() != 3:
            return found
        w = rows.extra[IMPORTANCE]
        if found.shape != w.shape:
            raise InputError(
                f"the loss has shape {list(found.shape)} and the importance weights of the "
                f"engine's completions {list(w.shape)}: a loss of decisions has one term a decision"
            )
        return found * w.to(found.dtype)

    return lambda rows, index: weighed(loss(rows, index), rows)


def mismatch_stats(drawn: Sequence[Samples]) -> dict[str, float]:
    """Describe how far an engine's log-probabilities are from the policy's, at the same weights.

    Args:
        drawn: Batches of completions.

    Returns:
        By TRL's names: "sampling/sampling_logp_difference/mean" and "…/max" (absolute, of a
        decision, in nats) and "sampling/importance_sampling_ratio/min", "…/mean" and "…/max" (of
        the weights that were used). Further "sampling/kl", the mean of k3 over decisions, which
        estimates KL(engine‖policy); "sampling/effective_sample_size" as a share of the decisions;
        and "sampling/frac_clipped", the share of decisions whose ratio was truncated or masked.
        Nothing where an engine generated nothing.
    """
    found = [x for x in drawn if IMPORTANCE in x.extra]
    theirs = [x.extra[SAMPLER_LOGP][x.mask].double() for x in found]
    if not sum(map(len, theirs)):
        return {}
    q, p = torch.cat(theirs), torch.cat([x.logp[x.mask].double() for x in found])
    w = torch.cat([x.extra[IMPORTANCE][x.mask] for x in found]).double()
    clipped = torch.cat([x.extra[CLIPPED][x.mask] for x in found]).double()
    gap = (p - q).abs()
    return {
        "sampling/sampling_logp_difference/mean": float(gap.mean()),
        "sampling/sampling_logp_difference/max": float(gap.max()),
        "sampling/importance_sampling_ratio/min": float(w.min()),
        "sampling/importance_sampling_ratio/mean": float(w.mean()),
        "sampling/importance_sampling_ratio/max": float(w.max()),
        "sampling/kl": float(k3(q, p).mean()),
        "sampling/effective_sample_size": effective_share(w, torch.ones_like(w, dtype=torch.bool)),
        "sampling/frac_clipped": float(clipped.mean()),
    }
