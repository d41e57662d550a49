"""What a measured run has to remember beside the recipe's own memory, and the policies it keeps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from assay.core import Step
from assay.engine import checkpoint as disk
from assay.engine.gauge import Sums, gauge, means
from assay.engine.parallel import COUNTED, barrier, meter, rank
from assay.errors import InputError

CARRY, BEST = "carry.safetensors", "best.safetensors"


def nothing_spent() -> dict[str, int]:
    """A count of 0 of everything that is counted."""
    return dict.fromkeys(COUNTED, 0)


@dataclass
class Progress:
    """How far a run has come; it is saved with the recipe's Carry.

    Attributes:
        spent: Completions generated and scored, pairs compared, labels, updates.
        seconds: Seconds in the recipe.
        best: Gold, step and tag of the best policy so far; {} where nothing was read.
        last_read: The step of the last reading, −1 before the first.
        tally: Sums and counts of step statistics since the last reading.
        seen: What the gauge has summed in the step under way; {} between steps.
        done: Whether the run is finished.
    """

    spent: dict[str, int] = field(default_factory=nothing_spent)
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    last_read: int = -1
    tally: dict[str, list[float]] = field(default_factory=dict)
    seen: Sums = field(default_factory=dict)
    done: bool = False

    def plain(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Charge to this run what the recipe spends, sees and takes in time within the block."""
        began = time.perf_counter()
        with meter.charging(self.spent), gauge.into(self.seen):
            yield
        self.seconds += time.perf_counter() - began

    def count_seen(self) -> None:
        """Add the gauge's means to the tally at the end of a step, in every process together."""
        self.count(means(self.seen))
        self.seen.clear()

    def count(self, stats: dict[str, float]) -> None:
        """Add a step's statistics to the tally. A number that is not finite is left out."""
        for k, v in stats.items():
            if not math.isfinite(v):
                continue
            total, n = self.tally.get(k, [0.0, 0])
            self.tally[k] = [total + v, n + 1]

    def statistics(self) -> dict[str, float]:
        """Return the means since the last reading ("skipped": a sum), and start afresh."""
        out = {k: total if k == "skipped" else total / n for k, (total, n) in self.tally.items()}
        self.tally = {}
        return out


class Policies:
    """The policies that a run keeps: in its folder, or in memory if it has no folder.

    Args:
        folder: The run's folder, None for a run without a record.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._best: dict[str, Any] = {}

    def keep(self, policy: Any, name: str) -> None:
        """Write a policy's state as a file of the folder, from the first process."""
        if self.folder is not None and rank() == 0:
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            disk.save(path, dict(policy.state_dict()))

    def remember(self, policy: Any) -> None:
        """Keep the best policy so far."""
        if self.folder is not None:
            self.keep(policy, BEST)
            return
        self._best = {
            k: v.detach().clone() if isinstance(v, Tensor) else v
            for k, v in policy.state_dict().items()
        }

    def best(self, like: Step) -> Step:
        """Return the best policy so far as a Step, made from another Step of the same recipe."""
        policy: Any = like.policy
        policy = policy.copy()
        barrier()
        policy.load_state_dict(self._best if self.folder is None else disk.load(self.folder / BEST))
        return Step(policy, reward=like.reward)


def steps_of(item: Any) -> list[Step]:
    """Return what a recipe yielded as a list of Steps.

    Raises:
        InputError: It is neither a Step nor a list of them.
    """
    steps = item if isinstance(item, list) and item else [item]
    for s in steps:
        if not isinstance(s, Step):
            raise InputError(
                f"the recipe yielded a {type(s).__name__} where a Step, a list of Steps or an Ask "
                "was expected"
            )
    return steps
