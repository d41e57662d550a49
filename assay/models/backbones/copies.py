"""A backbone's trainable copy: plain, with an adapter of its own, or with float32 weights; and
what of a policy has to be kept so that it can be sampled again.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from assay.models.backbones import sharded
from assay.models.backbones.mixed_precision import MasterWeights
from assay.models.backbones.pretrained import Pretrained


def trainable_copy(backbone: Any) -> Any:
    """Return a backbone of the same function that can be trained by itself.

    Args:
        backbone: Any Backbone. One that shares weights has `twin()`, which makes the copy; one that
            computes in bfloat16 or float16 gets weights to train in float32.
    """
    if hasattr(backbone, "twin"):
        return backbone.twin()
    if getattr(backbone, "division", None) is not None:
        return sharded.twin(backbone)
    if isinstance(backbone, Pretrained) and backbone.half_precision:
        return MasterWeights(backbone)
    return copy.deepcopy(backbone)


def state_to_keep(policy: Any) -> dict[str, Any]:
    """Return what has to be kept of a policy that is sampled and read, and not trained on.

    Of a backbone that computes with rounded weights these are the rounded ones: half the size, and
    the same function.

    Args:
        policy: Any policy with a state.
    """
    backbone = getattr(policy, "backbone", None)
    state: dict[str, Any] = dict(policy.state_dict())
    if isinstance(backbone, MasterWeights):
        state |= {f"backbone.{k}": v for k, v in backbone.rounded_state().items()}
    if isinstance(backbone, Pretrained) and backbone.division is not None and backbone.rounded:
        state = sharded.rounded_state(state, backbone)
    return state


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state whose tensors share no memory with the policy that it was taken from."""
    return {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in state.items()}
