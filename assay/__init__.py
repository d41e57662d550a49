"""Optimise a policy against a reward, measure its true quality apart, and say when to stop.

    import assay

    rm = assay.fit_reward("pairs.jsonl", base="words")
    run = assay.train("grpo", model="MODEL", prompts="prompts.jsonl", rewards=rm, gold=my_gold)
    run.report("report.html")

Names are loaded when they are first used, so that `import assay` takes no time.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from assay.safe_text import only_visible

__version__ = "0.1.0"

logging.getLogger("assay").addFilter(only_visible)  # in any program that imports assay

if TYPE_CHECKING:
    from assay.api.audit import Audit as Audit
    from assay.api.audit import audit as audit
    from assay.api.best_of_n import best_of_n_curve as best_of_n_curve
    from assay.api.best_of_n import sample_best_of_n as sample_best_of_n
    from assay.api.comparison import compare as compare
    from assay.api.grid import sweep as sweep
    from assay.api.opened import open_run as open_run
    from assay.api.preferences import fit_preference as fit_preference
    from assay.api.rewards import RewardEnsemble as RewardEnsemble
    from assay.api.rewards import fit_reward as fit_reward
    from assay.api.rewards import load_reward as load_reward
    from assay.api.run import Run as Run
    from assay.api.train import train as train
    from assay.serve.server import RewardServer as RewardServer
    from assay.watch.config import Watch as Watch

# where each name is defined
_WHERE = {
    "fit_reward": "api.rewards",
    "fit_preference": "api.preferences",
    "load_reward": "api.rewards",
    "RewardEnsemble": "api.rewards",
    "RewardServer": "serve.server",
    "train": "api.train",
    "open_run": "api.opened",
    "Run": "api.run",
    "Watch": "watch.config",
    "sample_best_of_n": "api.best_of_n",
    "best_of_n_curve": "api.best_of_n",
    "sweep": "api.grid",
    "compare": "api.comparison",
    "audit": "api.audit",
    "Audit": "api.audit",
}
__all__ = list(_WHERE)


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Say on a terminal or in a notebook what takes seconds when a name is used first."""
    kernel: Any = sys.modules.get("IPython")
    if not hasattr(None if kernel is None else kernel.get_ipython(), "kernel"):
        kernel = None  # a terminal, or a program
    if "torch" in sys.modules or (kernel is None and not sys.stderr.isatty()):
        yield
        return
    said = "assay: loading PyTorch and transformers"
    shown = None
    if kernel is None:
        print(said, end="", file=sys.stderr, flush=True)
    else:
        shown = kernel.display.display(kernel.display.HTML(said), display_id=True)
    try:
        yield
    finally:
        if kernel is None:
            print("\r" + " " * len(said) + "\r", end="", file=sys.stderr, flush=True)
        elif shown is not None:
            shown.update(kernel.display.HTML(""))


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'assay' has no attribute '{name}'")
    with _loading():
        found = getattr(importlib.import_module(f"assay.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
