"""When to stop: labels bought within a budget, a sequential test on them, and the labelers."""

from assay.watch.config import Watch, WatchConfig

__all__ = ["Watch", "WatchConfig"]
