"""What a row of a language model saves for the backward pass, measured on blank rows."""

from __future__ import annotations

from typing import Any

import torch

from assay.core import Prompts, Samples
from assay.engine import passes
from assay.models.backbones.adapters import Adapted


def saved_bytes(policy: Any, tokens: int) -> int:
    """Count what `logp` of one more row saves for the backward pass, see EstimatesMemory.

    Measured by a pass over one row and one over two; nothing of them is kept. All weights are
    trained. Of a base with adapters an adapter alone is: the frozen base saves less in float32,
    and in bfloat16 the adapter saves float32 copies. Where the policy is the base, an adapter is
    made for the measurement. A backbone that computes with another's weights says whose by
    `computes_with`.
    """
    backbone = policy.backbone
    there = list(getattr(backbone, "computes_with", backbone).parameters())
    frozen = isinstance(backbone, Adapted)
    if frozen and backbone.name is None:
        policy = policy.copy()
    trained = list(policy.backbone.parameters()) if frozen else there

    def saved(n: int) -> int:
        x = _blank(policy, n, max(2, tokens))
        return passes.saved_bytes(lambda: policy.logp(x), trained, there if frozen else ())

    return saved(2) - saved(1)


def _blank(policy: Any, n: int, tokens: int) -> Samples:
    """n rows of so many tokens: a prompt of one, and n completions of the rest."""
    device = policy.like.device
    ids = torch.full((1, n, tokens), policy.vocabulary.eos, device=device)
    mask = torch.ones(1, n, tokens - 1, dtype=torch.bool, device=device)
    prompts = Prompts(ids[:, 0, :1], mask[:, 0, :1], torch.zeros_like(ids[:, 0, 0]))
    nothing = torch.zeros_like(mask, dtype=policy.like.dtype)
    return Samples(prompts, ids[..., 1:], mask, ~mask, nothing, mask[..., -1])
