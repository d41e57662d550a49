"""What a measured run has to remember beside the recipe's own memory, and the policies it keeps."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from assay.core import Carry, Step
from assay.engine.gauge import Sums, gauge, means
from assay.engine.os_errors import writing_to
from assay.engine.parallel import COUNTED, barrier, meter, rank
from assay.engine.shards import gathered
from assay.errors import InputError
from assay.models.backbones.copies import copied, state_to_keep
from assay.records import states
from assay.records.best import CARRY
from assay.records.result import Kept, Result
from assay.records.seals import line_digests


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
        read: Readings with a gold.
        signs: What the collapse monitor counts; {} before the first step.
        warnings: The record's warnings so far.
        seen: What the gauge has summed in the step under way; {} between steps.
    """

    spent: dict[str, int] = field(default_factory=nothing_spent)
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    last_read: int = -1
    tally: dict[str, list[float]] = field(default_factory=dict)
    read: int = 0
    signs: dict[str, Any] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    seen: Sums = field(default_factory=dict)

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


def load_state(folder: Path | None, decode: Any) -> dict[str, Any] | None:
    """What a run saved last, None where it has not come so far.

    Args:
        folder: The run's folder, None for a run without a record.
        decode: How restored Prompts turn ids into text.

    Raises:
        InputError: It is damaged, or of another run.
    """
    if folder is None or not (folder / CARRY).exists():
        return None
    found: dict[str, Any] = states.load_state(folder, folder / CARRY, decode)
    _check_best(folder, found.get("best") or {})
    return found


def _check_best(folder: Path, best: Mapping[str, Any]) -> None:
    """Read the best policy so far: a run needs it at its end, which may be days later.

    Raises:
        InputError: It is gone, damaged, or of another run.
    """
    if not best.get("step"):
        return
    step, tag = best["step"], best["tag"]
    path = folder / Policies.file(step, tag)
    try:
        states.load_state(folder, path, step=step, tag=tag)
    except InputError as why:
        raise InputError(
            f"the run's best policy so far cannot be read, and it is needed at the end: "
            f"{str(why).partition(';')[0]}; restore it from a copy, or delete {folder / CARRY} to "
            "start this run over"
        ) from why


def save_state(folder: Path, carry: Carry, progress: Progress, watch: Any) -> None:
    """Write a recipe's memory, the run's own and the watch's as one file, in the first process.

    All processes call it together: each has its part of weights that are divided.

    Args:
        folder: The run's folder.
        carry: The recipe's memory.
        progress: The run's.
        watch: The watch's, None where nothing is watched.
    """
    state = gathered(
        {"carry": carry.state(), **progress.plain(), "watch": watch}, first=rank() == 0
    )
    if rank() != 0:
        return
    more = {"files": line_digests(folder)}
    states.save_state(folder, folder / CARRY, state, carry.next, more=more)


class Policies:
    """The policies that a run keeps: in its folder, `policies/STEP.safetensors` or
    `policies/STEP-TAG.safetensors`, or in memory if it has no folder.

    Args:
        folder: The run's folder, None for a run without a record.
        every: Whether all that are kept stay.
    """

    def __init__(self, folder: Path | None, *, every: bool):
        self.folder, self.every = folder, every and folder is not None
        self._states: dict[tuple[int, str], dict[str, Any]] = {}

    @staticmethod
    def file(step: int, tag: str) -> str:
        """The file of a policy that is not the reference, within the folder."""
        return f"policies/{step}{f'-{tag}' if tag else ''}.safetensors"

    def keep(self, policy: Any, step: int, tag: str) -> None:
        """Keep a policy's weights, on disk from the first process."""
        if self.folder is None:
            self._states[step, tag] = copied(state_to_keep(policy))
            return
        path = self.folder / self.file(step, tag)
        state = gathered(state_to_keep(policy), first=rank() == 0)
        if rank() == 0:
            with writing_to(path.parent):
                path.parent.mkdir(exist_ok=True)
            states.save_state(self.folder, path, state, step, tag)

    def load(self, step: int, tag: str, like: Step) -> Step:
        """Return a kept policy as a Step, made from another Step of the same recipe."""
        policy: Any = like.policy
        policy = policy.copy()
        barrier()
        if self.folder is None:
            policy.load_state_dict(self._states[step, tag])
        else:
            path = self.folder / self.file(step, tag)
            policy.load_state_dict(states.load_state(self.folder, path, step=step, tag=tag))
        return Step(policy, reward=like.reward)

    def forget(self, but: Collection[tuple[int, str]]) -> None:
        """Delete the policies that are needed no more.

        Args:
            but: Step and tag of those that stay. Nothing is deleted where all of them stay.
        """
        self._states = {k: v for k, v in self._states.items() if k in but}
        if self.folder is None or self.every or rank() != 0:
            return
        inside = self.folder / "policies"
        stay = {self.folder / self.file(*of) for of in but}
        for path in set(inside.glob("*.safetensors")) - stay:
            path.unlink()
        if inside.is_dir() and not any(inside.iterdir()):
            inside.rmdir()

    def forget_all_but(self, result: Result) -> None:
        """Delete all policies that a finished run's result does not name."""
        both = [(p, p["step"], p["tag"] or "") for p in (result["best"], result["last"])]
        self.forget({(t, tag) for p, t, tag in both if p["file"] == self._name(t, tag)})

    def _name(self, step: int, tag: str) -> str | None:
        return None if self.folder is None or not step else self.file(step, tag)

    def kept(self, step: int, tag: str, *, weights: bool = True) -> Kept:
        """A policy as a record names it.

        Args:
            step: Its step.
            tag: Its tag.
            weights: Whether it has weights that are kept.
        """
        file = self._name(step, tag) if weights else None
        return {"step": step, "tag": tag, "file": file}


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
