"""Drives a recipe, reads gold, yields readings, saves and resumes. Knows no method.

Every reading is at the same addresses, so a change between readings is the policy's. The checkpoint
with the highest gold is read once more at fresh addresses (tag "best"), because the peak of a noisy
curve is too high. The reference and the last policy are read there too, so that rise and fall are
differences on the same completions.

While a run goes on, `carry.safetensors` holds what is needed to go on bit for bit, optimiser state
included. When it is done, only weights stay: the best policy's (`records/result.py` says which that
is) and the last one's, in one file where they are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from assay.core import Carry, Loop, Rng, Step, World
from assay.engine import progress as stages
from assay.engine.parallel import barrier, rank
from assay.errors import InputError
from assay.evaluation import progress as memory
from assay.evaluation.chosen import chosen, with_micro_batch
from assay.evaluation.config import MeasureConfig
from assay.evaluation.cost import Cost
from assay.evaluation.disk_space import check_room
from assay.evaluation.health import Health
from assay.evaluation.outcome import result_of
from assay.evaluation.pulling import Puller
from assay.evaluation.reading import Reader
from assay.evaluation.run_reader import RunReader
from assay.evaluation.watching import Lookout
from assay.records.best import CARRY
from assay.records.memory import MemoryRun
from assay.records.result import Kept, Result
from assay.records.runs import Run
from assay.records.writing import writing
from assay.watch.config import WatchConfig
from assay.watch.ledger import Ledger


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
    name: str = "training",
    tell: Callable[[str], None] | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Yield readings of a recipe in a world, one after another.

    Args:
        recipe: A generator function of a Task that yields Steps.
        world: The task, its held-out prompts and its gold.
        loop: The constants of optimisation.
        arguments: The recipe's own constants.
        run: The record. With it every reading is on disk before it is yielded.
        config: How often to read and to save, and what to keep.
        watch: Buy labels at every reading, and stop pulling when the watch says so.
        resume: Go on from the run's last save. Readings later than it are cut and made again; of a
            run that is done, nothing is made again.
        name: What a display calls the run.
        tell: Is given sentences about what the readings cost.

    Yields:
        Readings, as records.schema.Reading describes them: first the reference (step 0), last the
        second look at the best checkpoint. To stop reading leaves a run that can be resumed.

    Raises:
        InputError: The recipe yields what cannot be measured or watched, another process is writing
            to the run's folder, or its disk has too little room.
        Waiting: Labels are still out.
    """
    how = (arguments or {}, config, watch)
    more: dict[str, Any] = {"run": run, "resume": resume, "name": name, "tell": tell}
    return Measurement(recipe, world, loop, *how, **more).readings()


class Measurement:
    """One run under way: what `measure` drives, for those who want its policies afterwards.

    Args:
        recipe: As for `measure`, like the others.
        world: The world.
        loop: The loop.
        arguments: The recipe's constants.
        config: The settings.
        watch: The watch.
        run: The record.
        resume: Whether the run goes on.
        name: What a display calls the run.
        tell: Is given sentences about what the readings cost.

    Attributes:
        result: What the run came to; None until it is done.
    """

    def __init__(
        self,
        recipe: Callable[..., Iterator[Any]],
        world: World,
        loop: Loop,
        arguments: dict[str, Any],
        config: MeasureConfig,
        watch: WatchConfig | None = None,
        *,
        run: Run | MemoryRun | None = None,
        resume: bool = False,
        name: str = "training",
        tell: Callable[[str], None] | None = None,
    ):
        self.world, self.run, self.loop = world, run, loop
        self.config = chosen(config, world, loop)
        self.name, self._tell = name, tell
        self._given = recipe, arguments, watch, resume
        self.result: Result | None = None
        self._last: Step | None = None

    def readings(self) -> Generator[dict[str, Any], None, None]:
        """Do the run, and yield its readings; see `measure`."""
        if self.run is not None and self._given[-1] and self.run.record.state == "done":
            return
        held = self.run is not None and rank() == 0
        with writing(self.run) if self.run is not None and held else nullcontext():
            self._open(*self._given)
            with stages.stage(self.name, self.loop.max_steps, "steps") as self.stage:
                self.stage.begin_at(self.carry.next)
                self.cost.begin()
                yield from self._readings()

    def policy(self, *, best: bool = True) -> Any:
        """Return the best policy of a run that is done, or its last one.

        Args:
            best: The one of `result["best"]`; with False that of `result["last"]`.

        Raises:
            InputError: The run is not done.
        """
        if self.result is None:
            raise InputError("the run is not done, so it has no best policy yet")
        end = self.result["last"]
        found: Kept = self.result["best"] if best else end
        if found["step"] == 0 or self._last is None:
            return self.task.reference
        if (found["step"], found["tag"]) == (end["step"], end["tag"]):
            return self._last.policy
        if self.lookout is not None and self.lookout.stopped:
            return self.lookout.kept().policy
        return self.policies.load(found["step"], found["tag"] or "", self._last).policy

    def _open(
        self,
        recipe: Callable[..., Iterator[Any]],
        arguments: dict[str, Any],
        watch: WatchConfig | None,
        resume: bool,
    ) -> None:
        """Read what was saved, and cut what is made again."""
        world, run, config, loop = self.world, self.run, self.config, self.loop
        folder = self._folder
        saved = memory.load_state(folder, world.held_out.decode) if resume else None
        self.fresh = saved is None
        known = memory.Progress.__dataclass_fields__
        self.progress = memory.Progress(**{k: v for k, v in (saved or {}).items() if k in known})
        self.carry = Carry(
            None if saved is None else saved["carry"], world.held_out.decode, self._check_room
        )
        self.task = world.task.replaced(rng=Rng(loop.seed)("run"), carry=self.carry)
        self.recipe: Generator[Any, Any, Any] = recipe(self.task, loop=loop, **arguments)  # type: ignore[assignment]
        self.policies = memory.Policies(folder, every=config.policies)
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
        reader = Reader(
            world,
            self.task,
            eval_generations=config.eval_generations,
            log_completions=config.log_completions,
        )
        eyes, every = Rng(loop.seed)("read"), config.policies and run is not None
        self.cost = Cost(reader, world, loop, config, self._tell)
        if run is not None and resume and rank() == 0:
            run.cut(-1 if saved is None else self.carry.next)
        self.health = Health(loop, config, self.progress, run, resumed=resume)
        before = run.readings() if run is not None and resume else ()
        parts = (self.task, self.progress, self.policies, self.lookout, self.health)
        self.reads = RunReader(self.cost.read, eyes, *parts, run=run, every=every, before=before)

    @property
    def _folder(self) -> Path | None:
        """The run's folder; None for a run without a record on disk."""
        return None if self.run is None else self.run.folder

    def _check_room(self, carry: Carry) -> None:
        """Before the first step: is there room for what the run will write?"""
        folder = self._folder
        if folder is not None and rank() == 0:
            check_room(
                folder,
                carry,
                gold=self.world.gold is not None,
                looks=-(-self.loop.max_steps // self.config.eval_steps),
                watch=self._given[2],
                every=self.config.policies,
            )

    def _readings(self) -> Iterator[dict[str, Any]]:
        """Pull the recipe to its end, and read on the way."""
        self.config = with_micro_batch(self.config, self.task, self.loop, self.run)
        last: list[Step] = []
        parts = (self.carry, self.ledger, self.progress, self.config, self.health)
        pull = Puller(self.recipe, *parts)
        while (steps := self._pulled(pull)) is not None:
            if self.fresh:
                self.fresh = False
                yield self.reads.reference(steps[0])
            last = [s for s in steps if s.policy is not None] or last
            t = self.carry.next
            self.health.step(steps, t)
            if steps[0].policy is not None and (
                t % self.config.eval_steps == 0 or (len(steps) == 1 and steps[0].tag)
            ):
                yield from self.reads.all(last, t)
            if self.lookout is not None and self.lookout.stopped:
                break  # to roll back is to stop pulling and keep the copy
            # what was bought and kept at a look is saved with it
            looked = self.lookout is not None and self.progress.last_read == t
            # after the last step, the run is closed once everything has been read
            if (t % self.config.save_steps == 0 or looked) and t != self.carry.total:
                self._save()
        if self.fresh:  # no step at all: the reference is still worth a look
            yield self.reads.reference(Step(None))
        self.health.end(self.carry.next)
        if last and self.progress.last_read != self.carry.next:
            yield from self.reads.all(last, self.carry.next)
        again = self.reads.best(last) if last and self.progress.best else None
        if again is not None:
            yield again
        self._close(last, again)

    def _pulled(self, pull: Puller) -> list[Step] | None:
        """The recipe's next Steps, timed, and shown as a step that is done."""
        before = self.progress.seconds
        steps = pull()
        if steps is not None:
            self.cost.step(self.progress.seconds - before)
            self.stage.at(self.carry.next, max(self.carry.total, self.carry.next))
        return steps

    def _close(self, last: list[Step], again: dict[str, Any] | None) -> None:
        """Say what the run came to, and keep the weights of the best policy and of the last."""
        self._last = last[-1] if last else None
        self.result = result_of(self.world, self._last, self.reads, again)
        barrier()
        if self.run is not None and rank() == 0:
            top = self.progress.best.get("step")
            self.run.finish({"best_step": top, "result": self.result})
            # the record names what stays; only then is the rest deleted
            if self._folder is not None:
                (self._folder / CARRY).unlink(missing_ok=True)
        self.policies.forget_all_but(self.result)
        if self.lookout is not None:
            self.lookout.end()

    def _save(self) -> None:
        """Write the recipe's memory, and the run's own, as one file."""
        top = self.progress.best
        folder = self._folder
        if folder is not None:
            watch = None if self.lookout is None else self.lookout.state()
            memory.save_state(folder, self.carry, self.progress, watch)
            if self.lookout is not None and rank() == 0:
                self.lookout.forget()
        # what the last save named stays until this one is on disk
        self.policies.forget({(top["step"], top["tag"])} if top else set())
