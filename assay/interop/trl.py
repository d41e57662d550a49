"""What assay gives to TRL, and to any transformers Trainer of a causal model.

`reward_function` makes one reward function of any rewards; `ReadingsCallback` writes assay's
readings during a run; `WatchCallback` stops a run that has turned.
"""

from __future__ import annotations

from assay.interop.model_comparisons import ModelComparisons
from assay.interop.readings import ReadingsCallback
from assay.interop.stack import reward_function
from assay.interop.watch_callback import WatchCallback

__all__ = ["ModelComparisons", "ReadingsCallback", "WatchCallback", "reward_function"]
