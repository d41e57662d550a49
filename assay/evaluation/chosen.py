"""What a run chooses where its settings leave it open: how often it reads, and how large a pass is.

A small model's readings cost moments: every five steps, eight completions a prompt. A pretrained
model's cost as much as training does, so they get about a quarter of the run. Two completions of
many prompts say more than eight of few: the error is clustered by prompt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from assay.core import Loop, Missing, Task, World
from assay.engine.parallel import rank
from assay.evaluation.config import MeasureConfig
from assay.models.micro_batch import micro_batch_size, recompute_if_needed
from assay.models.size import is_large
from assay.records.memory import MemoryRun
from assay.records.runs import Run

SHARE = 1 / 4  # of a run, for its readings
EVERY = (5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)  # steps between readings, tried in this order
CURVE = 4  # readings of the trained policy at least, where there are as many steps
AT_THE_END = 3  # the best checkpoint is read again, beside the reference and the last policy
STORED = 0.5  # cost of learning from a stored completion; generating and learning is 1, reading too


def chosen(config: MeasureConfig, world: World, loop: Loop) -> MeasureConfig:
    """Fill in how often and how much to read, where a setting is 0.

    Args:
        config: The settings; what is given holds.
        world: Its reference's size decides, and its held-out prompts are counted.
        loop: The steps and completions that readings are set against.

    Returns:
        The settings without these zeros. They depend on nothing but the arguments.
    """
    if config.eval_steps and config.eval_generations:
        return config
    large = is_large(world.task.reference)
    generations = config.eval_generations or (2 if large else 8)
    steps = config.eval_steps or (
        _steps(
            loop,
            trained(world.task, loop),
            len(world.held_out) * generations,
            at_the_end(world),
        )
        if large
        else 5
    )
    return replace(config, eval_steps=steps, eval_generations=generations)


def readings(max_steps: int, eval_steps: int) -> int:
    """Readings of a run's curve: the reference, and policies up to the last one.

    Example:
        >>> readings(100, 10), readings(12, 5)
        (11, 4)
    """
    return 1 + -(-max_steps // eval_steps)


def at_the_end(world: World) -> int:
    """Readings after the curve: of a run without gold, no checkpoint is chosen and read again."""
    return 0 if world.gold is None else AT_THE_END


def trained(task: Task, loop: Loop) -> float:
    """The cost of a step's training, in completions that are generated and learnt from."""
    try:
        generated = bool(task.rewards.names)
    except Missing:
        generated = False
    return loop.batch_size * (loop.num_generations if generated else 2 * STORED)


def _steps(loop: Loop, step: float, reading: int, end: int) -> int:
    """Steps between readings, so that readings take their share of the run and draw a curve."""
    most = max(EVERY[0], loop.max_steps // CURVE)
    budget = SHARE / (1 - SHARE) * loop.max_steps * step
    for every in (e for e in EVERY if e <= most):
        if (readings(loop.max_steps, every) + end) * reading <= budget:
            return every
    return most


def with_micro_batch(
    config: MeasureConfig, task: Task, loop: Loop, run: Run | MemoryRun | None
) -> Any:
    """Fill in the completions a pass from the free memory; 0 where all of them fit.

    The size is recorded, so that a resumed run takes the same passes.
    """
    if config.micro_batch_size:
        recompute_if_needed(task, loop, config.micro_batch_size)
        return config
    size = micro_batch_size(task, loop)
    if size and run is not None and rank() == 0:
        run.note({"run": {**run.about.get("run", {}), "micro_batch_size": size}})
    return replace(config, micro_batch_size=size)
