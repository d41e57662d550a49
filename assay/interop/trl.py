"""What assay gives to TRL, and to any transformers Trainer of a causal model.

`reward_function` makes one reward function of any rewards; `ServedReward` and `AsyncServedReward`
are reward functions that ask `assay serve`; `ReadingsCallback` writes assay's readings during a
run; `WatchCallback` stops a run that has turned.
"""

from __future__ import annotations

from assay.interop.model_comparisons import ModelComparisons
from assay.interop.readings import ReadingsCallback
from assay.interop.served_reward import AsyncServedReward, ServedReward
from assay.interop.stack import reward_function
from assay.interop.watch_callback import WatchCallback

__all__ = [
    "AsyncServedReward",
    "ModelComparisons",
    "ReadingsCallback",
    "ServedReward",
    "WatchCallback",
    "reward_function",
]
