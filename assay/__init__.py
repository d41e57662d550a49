"""Optimise a policy against a reward, measure its true quality apart, and say when to stop.

    import assay

    rm = assay.fit_reward("pairs.jsonl", base="words")
    run = assay.train("grpo", model="MODEL", prompts="prompts.jsonl", rewards=rm, gold=my_gold)
    run.report("report.html")

Names are loaded when they are first used, so that `import assay` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from assay.api.best_of_n import best_of_n_curve as best_of_n_curve
    from assay.api.best_of_n import sample_best_of_n as sample_best_of_n
    from assay.api.grid import compare as compare
    from assay.api.grid import sweep as sweep
    from assay.api.rewards import RewardEnsemble as RewardEnsemble
    from assay.api.rewards import fit_reward as fit_reward
    from assay.api.rewards import load_reward as load_reward
    from assay.api.run import Run as Run
    from assay.api.train import open_run as open_run
    from assay.api.train import train as train
    from assay.api.watch import Watch as Watch

_WHERE = {
    "fit_reward": "rewards",
    "load_reward": "rewards",
    "RewardEnsemble": "rewards",
    "train": "train",
    "open_run": "train",
    "Run": "run",
    "Watch": "watch",
    "sample_best_of_n": "best_of_n",
    "best_of_n_curve": "best_of_n",
    "sweep": "grid",
    "compare": "grid",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'assay' has no attribute '{name}'")
    found = getattr(importlib.import_module(f"assay.api.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
