"""A backbone's trainable copy: plain, with an adapter of its own, or with float32 weights."""

from __future__ import annotations

import copy
from typing import Any

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
    if isinstance(backbone, Pretrained) and backbone.half_precision:
        return MasterWeights(backbone)
    return copy.deepcopy(backbone)
