"""Drives a recipe, reads gold, yields readings, saves and resumes. Knows no method.

Every reading is at the same addresses, so a change between readings is the policy's. The checkpoint
with the highest gold is read once more at fresh addresses (tag "best"), because the peak of a noisy
curve is too high. The reference and the last policy are read there too, so that rise and fall are
differences on the same completions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from assay.core import Ask, Carry, Loop, Rng, Step, World
from assay.engine import checkpoint as disk
from assay.engine.descend import micro_batches
from assay.engine.parallel import meter, rank
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.progress import CARRY, Policies, Progress, nothing_spent, steps_of
from assay.evaluation.reading import Reader
from assay.evaluation.watching import Lookout
from assay.models.micro_batch import micro_batch_size
from assay.records.checks import READINGS
from assay.records.memory import MemoryRun
from assay.records.runs import Run
from assay.watch.config import WatchConfig
from assay.watch.ledger import Ledger
from assay.watch.setup import check_policy


def measure(
    recipe: Callable[..., Iterator[Any]],
    world: World,
    *,
    loop: Loop,
    arguments: dict[str, Any] | None = None,
    run: Run | MemoryRun | None = None,
    config: MeasureConfig = MeasureConfig(),
    watch: WatchConfig | None = None,
    resume: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield readings of a recipe in a world, one after another.

    Args:
        recipe: A generator function of a Task that yields Steps.
        world: The task, its held-out prompts and its gold.
        loop: The constants of optimisation.
        arguments: The recipe's own constants.
        run: The record. With it every reading is on disk before it is yielded.
        config: How often to read and to save, and what to keep.
        watch: Buy labels at every reading, and stop pulling when the watch says so.
        resume: Go on from the run's last save. Readings later than it are cut and made again.

    Yields:
        Readings, as records.schema.Reading describes them: first the reference (step 0), last the
        second look at the best checkpoint.

    Raises:
        InputError: The recipe yields what cannot be measured or watched.
        Waiting: Labels are still out.
    """
    return Measurement(recipe, world, loop, arguments or {}, run, config, watch, resume).readings()


class Measurement:
    """One run under way, see `measure`.

    Attributes:
        last: What the recipe yielded last with a policy in it; [] before it has yielded.
    """

    def __init__(
        self,
        recipe: Callable[..., Iterator[Any]],
        world: World,
        loop: Loop,
        arguments: dict[str, Any],
        run: Run | MemoryRun | None,
        config: MeasureConfig,
        watch: WatchConfig | None,
        resume: bool,
    ):
        self.world, self.run, self.config, self.loop = world, run, config, loop
        folder = None if run is None else run.folder
        saved = self._saved() if resume else None
        self.fresh = saved is None
        self.progress = Progress(
            **{k: v for k, v in (saved or {}).items() if k in Progress.__dataclass_fields__}
        )
        self.carry = Carry(None if saved is None else saved["carry"], world.held_out.decode)
        self.task = world.task.replaced(rng=Rng(loop.seed)("run"), carry=self.carry)
        self.reader = Reader(
            world,
            self.task,
            eval_generations=config.eval_generations,
            log_completions=config.log_completions,
        )
        self.eyes = Rng(loop.seed)("read")
        self.recipe: Generator[Any, Any, Any] = recipe(self.task, loop=loop, **arguments)  # type: ignore[assignment]
        self.policies = Policies(folder)
        self.last: list[Step] = []
        gold = world.gold
        self.ledger = Ledger(
            folder,
            None if gold is None else lambda x: gold(x)[0],
            Path(config.labels) if config.labels else None,
        )
        self.lookout = (
            None
            if watch is None
            else Lookout(
                watch,
                world,
                self.task,
                loop,
                eval_steps=config.eval_steps,
                ledger=self.ledger,
                folder=folder,
                saved=(saved or {}).get("watch"),
            )
        )
        if run is not None and resume and not self.progress.done and rank() == 0:
            run.cut(-1 if saved is None else self.carry.next)

    def _saved(self) -> dict[str, Any] | None:
        """What the run saved last, None where it has not come so far."""
        folder = None if self.run is None else self.run.folder
        if folder is None or not (folder / CARRY).exists():
            return None
        found: dict[str, Any] = disk.load(folder / CARRY, self.world.held_out.decode)
        return found

    def readings(self) -> Iterator[dict[str, Any]]:
        """Pull the recipe to its end, and read on the way."""
        if self.progress.done:
            return
        if not self.config.micro_batch_size:
            self.config = replace(self.config, micro_batch_size=self._chosen_micro_batch())
        while (steps := self._pull()) is not None:
            if self.fresh:
                yield self._read_reference(steps[0])
            for s in steps:
                self.progress.count(s.stats)
            self.last = last = [s for s in steps if s.policy is not None] or self.last
            t = self.carry.next
            if steps[0].policy is not None and (
                t % self.config.eval_steps == 0 or (len(steps) == 1 and steps[0].tag)
            ):
                yield from self._read_all(last, t)
            if self.lookout is not None and self.lookout.stopped:
                break  # to roll back is to stop pulling and keep the copy
            # what was bought and kept at a look is saved with it
            looked = self.lookout is not None and self.progress.last_read == t
            # the last state is saved when everything has been read
            if (t % self.config.save_steps == 0 or looked) and t != self.carry.total:
                self._save()
        if self.fresh:  # no step at all: the reference is still worth a look
            yield self._read_reference(Step(None))
        last = self.last
        if last and self.progress.last_read != self.carry.next:
            yield from self._read_all(last, self.carry.next)
        if last and self.progress.best:
            yield self._read_best(last)
        self.progress.done = True
        self._save()
        if self.run is not None and rank() == 0:
            watched = (
                {}
                if self.lookout is None
                else {"result": self.lookout.result(self.progress.last_read)}
            )
            self.run.finish({"best_step": self.progress.best.get("step"), **watched})

    def result(self, which: str = "best") -> tuple[Any, int, str]:
        """A policy that the run came to.

        Args:
            which: "best": what a watch kept, else the best by gold, else the last; or "last".

        Returns:
            (policy, its step, why it is this one's).
        """
        end, step, best = self.last[-1], self.carry.next, self.progress.best
        if which == "best" and self.lookout is not None and self.lookout.stopped:
            return self.lookout.kept().policy, self.lookout.watch.back, "the watch kept it"
        if which == "best" and best:
            if best["step"] == 0:
                return self.task.reference, 0, "no step had a higher gold than the reference"
            end = next((s for s in self.last if s.tag == best["tag"]), end)
            return self.policies.best(end).policy, best["step"], "it had the highest gold"
        return end.policy, step, "it is the last"

    def _chosen_micro_batch(self) -> int:
        """Completions a pass, from the free memory; 0 where all of them fit. The size is recorded,
        so that a resumed run takes the same passes.
        """
        size = micro_batch_size(self.task, self.loop)
        if size and self.run is not None and rank() == 0:
            self.run.note({"run": {**self.run.about.get("run", {}), "micro_batch_size": size}})
        return size

    def _pull(self) -> list[Step] | None:
        """The recipe's next Steps, under its own meter and clock; None when it has ended. What it
        asks on the way is answered.
        """
        micro, strict = self.config.micro_batch_size, self.config.stop_on_nonfinite
        item: Any = None
        labels: Tensor | None = None
        ended = False
        while True:
            began = time.perf_counter()
            with micro_batches(micro, strict=strict), meter.charging(self.progress.spent):
                try:
                    item = self.recipe.send(labels)
                except StopIteration:
                    item, ended = None, True
                if isinstance(item, Ask):
                    labels = self.ledger("recipe", self.carry.next, item.samples)
            self.progress.seconds += time.perf_counter() - began
            if not isinstance(item, Ask):
                return None if ended else steps_of(item)

    def _read_all(self, steps: list[Step], t: int) -> Iterator[dict[str, Any]]:
        stats = self.progress.statistics()
        self.progress.last_read = t
        if self.lookout is not None and len(steps) > 1:
            raise InputError(
                "--watch sets one policy against the best so far, and this recipe yields "
                f"{len(steps)} at a step; leave it out"
            )
        for s in steps:
            yield self._read(s, t, stats)

    def _read_reference(self, first: Step) -> dict[str, Any]:
        """Step 0: the reference, scored by the proxy that the recipe's first step names, before
        anything was spent.
        """
        self.fresh = False
        line, rows = self.reader(Step(self.task.reference, reward=first.reward), self.eyes("same"))
        if line["gold"] is not None:
            self.progress.best = {"gold": line["gold"], "step": 0, "tag": "reference"}
        return self._write(line, rows, 0, "reference", None, spent=nothing_spent())

    def _read(self, step: Step, t: int, stats: dict[str, float] | None = None) -> dict[str, Any]:
        """Read one policy, remember it if it is the best so far."""
        line, rows = self.reader(step, self.eyes("same"))
        best = self.progress.best
        if line["gold"] is not None and (not best or line["gold"] > best["gold"]):
            self.progress.best = {"gold": line["gold"], "step": t, "tag": step.tag}
            self.policies.remember(step.policy)
        if self.config.policies and self.run is not None:
            check_policy(step.policy, "--policies")
            tag = f"-{step.tag}" if step.tag else ""
            self.policies.keep(step.policy, f"policies/{t}{tag}.safetensors")
        watch = None
        if self.lookout is not None:
            with meter.charging(self.progress.spent):  # labels are a cost of the run
                watch = self.lookout.look(step, t, line)
        return self._write(line, rows, t, step.tag, stats, watch=watch)

    def _read_best(self, last: list[Step]) -> dict[str, Any]:
        """Read the best checkpoint at fresh addresses, and beside it the reference and the last
        policy.
        """
        # the address keeps its first name, since the numbers follow from it
        best, fresh = self.progress.best, self.eyes("chosen")
        end = next((s for s in last if s.tag == best["tag"]), last[-1])
        step = (
            Step(self.task.reference, reward=last[0].reward)
            if best["step"] == 0
            else self.policies.best(end)
        )
        others = {"fresh/gold_reference": Step(self.task.reference), "fresh/gold_last": end}
        if self.lookout is not None:
            others["fresh/gold_kept"] = self.lookout.kept()
        stats = {k: self.reader(s, fresh)[0]["gold"] for k, s in others.items()}
        line, rows = self.reader(step, fresh)
        return self._write(line, rows, best["step"], "best", stats)

    def _write(
        self,
        line: dict[str, Any],
        rows: list[dict[str, Any]],
        t: int,
        tag: str,
        stats: dict[str, float] | None,
        spent: dict[str, int] | None = None,
        watch: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        reading = READINGS.complete(
            {
                "step": t,
                "tag": tag,
                **line,
                **(spent or self.progress.spent),
                "seconds": 0.0 if spent else self.progress.seconds,
                "stats": {**(stats or {}), **line["stats"]},
                "watch": watch,
            }
        )
        if self.run is not None and rank() == 0:
            self.run.keep([{"step": t, "tag": tag, **row} for row in rows])
            self.run.append(reading)
        return reading

    def _save(self) -> None:
        """Write the recipe's memory, and the run's own, as one file."""
        if self.run is None or self.run.folder is None or rank() != 0:
            return
        disk.save(
            self.run.folder / CARRY,
            {
                "carry": self.carry.state(),
                **self.progress.plain(),
                "watch": None if self.lookout is None else self.lookout.state(),
            },
        )
        if self.lookout is not None:
            self.lookout.forget(self.progress.done)
