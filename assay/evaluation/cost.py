"""Says what a run's readings cost: in completions at the start, in time once one was timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from assay.core import Loop, Rng, Step, World
from assay.engine.plural import counted
from assay.evaluation.chosen import at_the_end, readings
from assay.evaluation.config import MeasureConfig
from assay.evaluation.reading import Reader
from assay.models.size import is_large

MUCH = 1 / 3  # of a run: readings that take more are worth a word of advice
LONG = 60.0  # seconds: a run that takes less needs no forecast


class Cost:
    """Tells a user what readings cost beside training.

    Args:
        reader: Reads policies.
        world: Its held-out prompts are read.
        loop: Says how many steps there are.
        config: How often and how much is read.
        tell: Is given one sentence at a time; None for nobody.
    """

    def __init__(
        self,
        reader: Reader,
        world: World,
        loop: Loop,
        config: MeasureConfig,
        tell: Callable[[str], None] | None,
    ):
        self.reader, self.loop, self.config = reader, loop, config
        self.tell = tell or (lambda sentence: None)
        self.prompts, self.large = len(world.held_out), is_large(world.task.reference)
        self.end = at_the_end(world)
        self.longest = getattr(world.task.reference, "max_tokens", None)
        self._step: float | None = None
        self._reading: float | None = None
        self._told = False

    def begin(self) -> None:
        """Say what a reading samples, and how many there will be."""
        if self.large:
            steps, every = self.loop.max_steps, self.config.eval_steps
            n = readings(steps, every)
            tokens = f" of up to {self.longest} tokens" if self.longest else ""
            each = counted(self.config.eval_generations, "completion")
            looks = f"{counted(n, 'reading')} in {counted(steps, 'step')}"
            end = (
                f"; at the end up to {self.end} more: the best checkpoint again, beside the "
                "reference and the last policy"
                if self.end
                else ""
            )
            self.tell(
                f"each reading samples {each}{tokens} for each of {self.prompts} held-out prompts; "
                f"{looks} (--eval-steps {every}){end}"
            )

    def step(self, seconds: float) -> None:
        """Note how long a step's training took."""
        self._step = self._step or seconds
        self._forecast()

    def read(self, step: Step, rng: Rng) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Read a policy, and note how long that took."""
        began = time.perf_counter()
        found = self.reader(step, rng)
        self._reading = self._reading or time.perf_counter() - began
        self._forecast()
        return found

    def _forecast(self) -> None:
        """Say once what training and readings will take, when both have been timed."""
        if self._told or self._step is None or self._reading is None:
            return
        self._told = True
        training = self.loop.max_steps * self._step
        read = self._times(self.config.eval_steps) * self._reading
        share = read / max(training + read, 1e-9)
        if not self.large and training + read < LONG:
            return
        said = (
            f"training takes about {duration(training)} and readings about {duration(read)}, "
            f"{share:.0%} of this run"
        )
        self.tell(said + (self._advice(training) if share > MUCH else ""))

    def _times(self, every: int) -> int:
        return readings(self.loop.max_steps, every) + self.end

    def _advice(self, training: float) -> str:
        """What makes readings take less, with what they then take."""
        assert self._reading is not None
        steps, n = self.config.eval_steps * 2, self.config.eval_generations
        if steps <= self.loop.max_steps:
            read, flag = self._times(steps) * self._reading, f"--eval-steps {steps}"
        elif n > 1:
            read = self._times(self.config.eval_steps) * self._reading / 2
            flag = f"--eval-generations {n // 2}"
        else:
            return "; fewer --held-out prompts make them shorter, and their errors larger"
        return f"; {flag} makes it {read / max(training + read, 1e-9):.0%}"


def duration(seconds: float) -> str:
    """Seconds in the units that a person would use.

    Example:
        >>> duration(48), duration(4000), duration(200)
        ('48 s', '1 h 7 min', '3 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
