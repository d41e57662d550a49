"""Drives a recipe, opens the one door to gold, yields readings, saves and resumes. It knows no
method.

Reading is at the same addresses every time, so a change between readings is the policy's. The
checkpoint with the highest gold is read once more at fresh addresses ("chosen"), because the peak
of a noisy curve is too high; the reference and the last policy are looked at there too, so that
rise and fall are differences on the same answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from assay.core import Ask, Carry, Loop, Rng, Step, World
from assay.engine import checkpoint as disk
from assay.engine.descend import micro_batches
from assay.engine.parallel import COUNTED, barrier, meter, rank
from assay.errors import InputError
from assay.evaluation.reading import Reader
from assay.records.runs import Run
from assay.watch.comparisons import can_be_watched, watched
from assay.watch.ledger import Ledger
from assay.watch.session import Watching


class _Tally:
    """Step statistics since the last reading: sums and counts, so that they survive a kill."""

    def __init__(self, state: dict[str, list[float]] | None = None):
        self.state = state or {}

    def add(self, stats: dict[str, float]) -> None:
        for k, v in stats.items():
            total, n = self.state.get(k, [0.0, 0])
            self.state[k] = [total + v, n + 1]

    def take(self) -> dict[str, float]:
        """Means since the last reading ("skipped": a sum), and start afresh."""
        out = {k: total if k == "skipped" else total / n for k, (total, n) in self.state.items()}
        self.state = {}
        return out


def measure(
    recipe: Callable[..., Iterator[Any]],
    world: World,
    *,
    loop: Loop,
    arguments: dict[str, Any] | None = None,
    run: Run | None = None,
    eval_steps: int = 5,
    save_steps: int = 10,
    eval_generations: int = 8,
    log_completions: int = 8,
    micro_batch_size: int = 0,
    stop_on_nonfinite: bool = False,
    labels: str = "",
    policies: bool = False,
    watch: Watching | None = None,
    resume: bool = False,
) -> Iterator[dict[str, Any]]:
    """Readings of a recipe in a world, one after another; the reference is step 0, the chosen
    checkpoint the last.

    eval_steps, save_steps: read and save at steps divisible by these, and at the end (a Step with a
    tag of its own is always read). eval_generations: completions for each held-out prompt.
    log_completions: prompts whose completions are stored. micro_batch_size: rows a pass.
    stop_on_nonfinite: a step that is not finite ends the run. labels: a CSV file in which people
    answer a recipe that asks for gold labels; without it the world's gold does. policies: keep
    every policy that is read, so that a finished run can be watched. watch: buy labels at every
    reading, and stop pulling when it says so. resume: go on from the run's carry; readings later
    than it are cut and made again. None of these changes a policy. With a `run`, every reading is
    on disk before it is yielded.
    """
    possible(
        eval_steps=eval_steps,
        save_steps=save_steps,
        eval_generations=eval_generations,
        log_completions=log_completions,
        micro_batch_size=micro_batch_size,
    )
    return _Drive(
        recipe,
        world,
        loop,
        arguments or {},
        run,
        eval_steps,
        save_steps,
        eval_generations,
        log_completions,
        labels,
        policies,
        watch,
        resume,
    ).readings(micro_batch_size, stop_on_nonfinite)


def possible(
    *,
    eval_steps: int,
    save_steps: int,
    eval_generations: int,
    log_completions: int,
    micro_batch_size: int,
) -> None:
    """Raises InputError for a setting that cannot be; the command line asks before it makes a
    folder.
    """
    for name, value, least in (
        ("eval-steps", eval_steps, 1),
        ("save-steps", save_steps, 1),
        ("eval-generations", eval_generations, 1),
        ("log-completions", log_completions, 0),
        ("micro-batch-size", micro_batch_size, 0),
    ):
        if value < least:
            raise InputError(f"--{name} is {value}; it must be at least {least}")


def _steps(item: Any) -> None:
    """Raises InputError where a recipe yields what cannot be measured."""
    for s in item if isinstance(item, list) and item else [item]:
        if not isinstance(s, Step):
            raise InputError(
                f"the recipe yielded a {type(s).__name__}, and a Step was expected, a list of "
                "them, or an Ask"
            )


class _Drive:
    def __init__(
        self,
        recipe: Callable[..., Iterator[Any]],
        world: World,
        loop: Loop,
        arguments: dict[str, Any],
        run: Run | None,
        eval_steps: int,
        save_steps: int,
        eval_generations: int,
        log_completions: int,
        labels: str,
        policies: bool,
        watch: Watching | None,
        resume: bool,
    ):
        self.world, self.run, self.policies = world, run, policies
        self.eval_steps, self.save_steps = eval_steps, save_steps
        path = None if run is None else run.folder / "carry.safetensors"
        saved = (
            disk.load(path, world.held_out.decode)
            if resume and path is not None and path.exists()
            else None
        )
        self.carry = Carry(None if saved is None else saved["carry"], world.held_out.decode)
        self.task = world.task.replaced(rng=Rng(loop.seed)("run"), carry=self.carry)
        self.reader = Reader(world, self.task, answers=eval_generations, keep=log_completions)
        self.eyes = Rng(loop.seed)("read")
        self.recipe: Generator[Any, Any, Any] = recipe(self.task, loop=loop, **arguments)  # type: ignore[assignment]
        start = saved or {
            "spent": dict.fromkeys(COUNTED, 0),
            "seconds": 0.0,
            "best": {},
            "last_read": -1,
            "tally": {},
            "done": False,
        }
        self.spent, self.seconds, self.best, self.last_read = (
            start["spent"],
            start["seconds"],
            start["best"],
            start["last_read"],
        )
        self.tally, self.done, self.fresh = _Tally(start["tally"]), start["done"], saved is None
        self.best_state: Any = None
        gold = world.gold
        self.ledger = Ledger(
            None if run is None else run.folder,
            None if gold is None else lambda x: gold(x)[0],
            Path(labels) if labels else None,
        )
        self.watch = self.contest = None
        if watch is not None:
            folder = None if run is None else run.folder
            self.watch, self.contest = watched(
                watch,
                self.task,
                population=world.population,
                held_out=world.held_out,
                gold=gold,
                ledger=self.ledger,
                seed=loop.seed,
                looks=-(-loop.max_steps // eval_steps),
                folder=folder,
                again=f"assay run --resume --out {folder}",
            )
            if start.get("watch"):
                self.watch.load(start["watch"])
        if run is not None and resume and not self.done and rank() == 0:
            run.cut(-1 if saved is None else self.carry.next)

    def readings(self, micro: int, strict: bool) -> Iterator[dict[str, Any]]:
        if self.done:
            return
        last: list[Step] = []
        while (item := self._pull(micro, strict)) is not None:
            if self.fresh:
                yield self._read_reference(item)
            steps = item if isinstance(item, list) else [item]
            for s in steps:
                self.tally.add(s.stats)
            last = [s for s in steps if s.policy is not None] or last
            t = self.carry.next
            if steps[0].policy is not None and (
                t % self.eval_steps == 0 or (len(steps) == 1 and steps[0].tag)
            ):
                yield from self._read_all(last, t)
            if self.watch is not None and self.watch.stopped:
                break  # to roll back is to stop pulling and keep the copy
            looked = (
                self.watch is not None and self.last_read == t
            )  # what was bought and kept at a look is saved with it
            if (
                t % self.save_steps == 0 or looked
            ) and t != self.carry.total:  # the last state: when everything has been read
                self._save()
        if self.fresh:  # no step at all: the reference is still worth a look
            yield self._read_reference(Step(None))
        if last and self.last_read != self.carry.next:
            yield from self._read_all(last, self.carry.next)
        if last and self.best:
            yield self._read_chosen(last)
        self.done = True
        self._save()
        if self.run is not None and rank() == 0:
            self.run.finish({"best_step": self.best.get("step"), **self._result()})

    def _pull(self, micro: int, strict: bool) -> Any:
        """The recipe's next step, under its own meter and clock; None when it has ended. What it
        asks on the way is answered.
        """
        item: Any = None
        labels: Tensor | None = None
        ended = False
        while True:
            began = time.perf_counter()
            with micro_batches(micro, strict=strict), meter.charging(self.spent):
                try:
                    item = self.recipe.send(labels)
                except StopIteration:
                    item, ended = None, True
                if isinstance(item, Ask):
                    labels = self.ledger("recipe", self.carry.next, item.samples)
            self.seconds += time.perf_counter() - began
            if not isinstance(item, Ask):
                if not ended:
                    _steps(item)
                return item

    def _read_all(self, steps: list[Step], t: int) -> Iterator[dict[str, Any]]:
        stats = self.tally.take()
        self.last_read = t
        if self.watch is not None and len(steps) > 1:
            raise InputError(
                "--watch sets one policy against the best so far, and this recipe yields "
                f"{len(steps)} at a step; leave it out"
            )
        for s in steps:
            yield self._read(s, t, stats)

    def _read_reference(self, item: Any) -> dict[str, Any]:
        """Step 0: the reference, scored by the proxy that the recipe's first step names, before
        anything was spent.
        """
        self.fresh = False
        first = item[0] if isinstance(item, list) else item
        line, rows = self.reader(
            Step(self.task.reference, reward=getattr(first, "reward", None)), self.eyes("same")
        )
        if line["gold"] is not None:
            self.best = {"gold": line["gold"], "step": 0, "tag": "reference"}
        return self._write(line, rows, 0, "reference", None, spent=dict.fromkeys(COUNTED, 0))

    def _read(self, step: Step, t: int, stats: dict[str, float] | None = None) -> dict[str, Any]:
        """Read one policy, remember it if it is the best so far."""
        line, rows = self.reader(step, self.eyes("same"))
        if line["gold"] is not None and (not self.best or line["gold"] > self.best["gold"]):
            self.best = {"gold": line["gold"], "step": t, "tag": step.tag}
            self._remember(step.policy)
        if self.policies and self.run is not None:
            can_be_watched(step.policy, "--policies")
            self._keep(step.policy, f"policies/{t}{f'-{step.tag}' if step.tag else ''}.safetensors")
        return self._write(line, rows, t, step.tag, stats, watch=self._look(step, t, line))

    def _look(self, step: Step, t: int, line: dict[str, Any]) -> dict[str, Any] | None:
        """What the watch says of the policy that was just read. Its labels are the run's cost, its
        own reading is not.
        """
        if self.watch is None or self.contest is None:
            return None
        can_be_watched(step.policy)
        self.contest.at(step.policy)
        with meter.charging(self.spent):
            return self.watch.look({"step": t, **line})

    def _result(self) -> dict[str, Any]:
        """What a watched run comes to: on stop the best checkpoint, by file (none for the
        reference), else its last policy.
        """
        if self.watch is None:
            return {}
        watch, step = self.watch, self.watch.back if self.watch.stopped else self.last_read
        file = (
            "carry.safetensors"
            if not watch.stopped
            else f"kept-{step}.safetensors"
            if step
            else None
        )
        return {
            "result": {
                "step": step,
                "file": file,
                "stopped": watch.stopped,
                "at": self.last_read,
                "best": watch.best,
                "labels": watch.spent,
            }
        }

    def _read_chosen(self, last: list[Step]) -> dict[str, Any]:
        """Read the best checkpoint at fresh addresses, and beside it the reference and the last
        policy.
        """
        step = self._chosen(last)
        end = next((s for s in last if s.tag == self.best["tag"]), last[-1])
        others = {"fresh/gold_reference": Step(self.task.reference), "fresh/gold_last": end}
        if self.watch is not None and self.contest is not None:
            others["fresh/gold_kept"] = Step(self.contest.kept(self.watch.back))
        stats = {k: self.reader(s, self.eyes("chosen"))[0]["gold"] for k, s in others.items()}
        line, rows = self.reader(step, self.eyes("chosen"))
        return self._write(line, rows, self.best["step"], "best", stats)

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
        reading = {
            "step": t,
            "tag": tag,
            **line,
            **(spent or self.spent),
            "seconds": 0.0 if spent else self.seconds,
            "stats": {**(stats or {}), **line["stats"]},
            **({"watch": watch} if watch else {}),
        }
        if self.run is not None and rank() == 0:
            self.run.keep([{"step": t, "tag": tag, **row} for row in rows])
            self.run.append(reading)
        return reading

    def _remember(self, policy: Any) -> None:
        """The best policy's state: on disk where there is a run, else in memory."""
        if self.run is None:
            self.best_state = {
                k: v.detach().clone() if isinstance(v, Tensor) else v
                for k, v in policy.state_dict().items()
            }
        elif rank() == 0:
            self._keep(policy, "best.safetensors")

    def _keep(self, policy: Any, name: str) -> None:
        """A policy's state as a file of the run's folder."""
        if self.run is not None and rank() == 0:
            path = self.run.folder / name
            path.parent.mkdir(exist_ok=True)
            disk.save(path, dict(policy.state_dict()))

    def _chosen(self, last: list[Step]) -> Step:
        """The best checkpoint as a Step, made from the recipe's last one."""
        if self.best["step"] == 0:
            return Step(self.task.reference, reward=last[0].reward)
        like = next((s for s in last if s.tag == self.best["tag"]), last[-1])
        policy: Any = like.policy
        policy = policy.copy()
        barrier()
        policy.load_state_dict(
            self.best_state if self.run is None else disk.load(self.run.folder / "best.safetensors")
        )
        return Step(policy, reward=like.reward)

    def _save(self) -> None:
        if self.run is None or rank() != 0:
            return
        disk.save(
            self.run.folder / "carry.safetensors",
            {
                "carry": self.carry.state(),
                "spent": self.spent,
                "seconds": self.seconds,
                "best": self.best,
                "last_read": self.last_read,
                "tally": self.tally.state,
                "done": self.done,
                "watch": None if self.watch is None else self.watch.state(),
            },
        )
        if self.watch is not None and self.contest is not None:
            self.contest.forget(
                {self.watch.back} if self.done else {self.watch.best, *self.watch.kept}
            )
