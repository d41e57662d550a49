"""How a run is measured: the settings that change no policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.errors import InputError

_LEAST = {
    "eval_steps": 0,
    "save_steps": 1,
    "eval_generations": 0,
    "log_completions": 0,
    "micro_batch_size": 0,
    "collapse_steps": 1,
}


@dataclass(frozen=True)
class MeasureConfig:
    """How a run is measured and saved. No setting changes a policy.

    Attributes:
        eval_steps: Read the policy at steps divisible by this, and at the end; 0 to choose by the
            model's size. A Step with a tag of its own is always read.
        save_steps: Save at steps divisible by this, and at the end.
        eval_generations: Completions for each held-out prompt at a reading; 0 to choose by the
            model's size.
        log_completions: Held-out prompts whose completions are stored at a reading.
        micro_batch_size: Completions of a forward and backward pass; 0: chosen from the free
            memory, and recorded. The numbers are the same.
        stop_on_nonfinite: End the run at a step that is not finite, instead of skipping the step.
        nonfinite_rewards: What happens at a reward that is NaN or infinite: stop ends the run, skip
            leaves the completion out as one that the reward does not apply to.
        on_collapse: What happens once training has died: warn says so and goes on, stop ends the
            run, and both end with exit code 4; ignore writes it into the record alone. With warn,
            training that recovers ends with 0.
        collapse_steps: Steps that show no sign of learning before training has died.
        labels: A CSV file in which people answer a recipe that asks for gold labels; without it,
            the world's gold answers.
        policies: Keep every policy that is read, so that `assay watch` can look at a finished run.

    Raises:
        InputError: A number is too small.

    Example:
        >>> MeasureConfig(eval_steps=10).save_steps
        10
    """

    eval_steps: int = 0
    save_steps: int = 10
    eval_generations: int = 0
    log_completions: int = 8
    micro_batch_size: int = 0
    stop_on_nonfinite: bool = False
    nonfinite_rewards: Literal["stop", "skip"] = "stop"
    on_collapse: Literal["warn", "stop", "ignore"] = "warn"
    collapse_steps: int = 10
    labels: str = ""
    policies: bool = False

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise InputError(
                    f"--{name.replace('_', '-')} is {value}; it must be at least {least}"
                )
