"""The watch of a measured run: looks at every reading, and says which policy the run comes to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from assay.core import Loop, Step, Task, World
from assay.engine import progress
from assay.engine.checkpoint import size
from assay.engine.parallel import rank
from assay.models.backbones.copies import state_to_keep
from assay.records.result import Kept, Watched
from assay.watch.config import WatchConfig
from assay.watch.ledger import Ledger
from assay.watch.setup import check_policy, open_watch

log = logging.getLogger("assay")
MUCH = 10**9  # bytes of kept policies that are worth a line


class Lookout:
    """Buys labels at every reading, and keeps the policies that a run may go back to.

    Args:
        watch: How the run is watched.
        world: Gives the prompts that comparisons are drawn on, and gold.
        task: The run's own task.
        loop: Gives the seed, and with `eval_steps` the number of looks.
        eval_steps: Steps between two looks.
        ledger: Where labels are written before they are used.
        folder: The run's folder, None for a run without a record.
        saved: What `state` said when the run was saved, None for a new run.
    """

    def __init__(
        self,
        watch: WatchConfig,
        world: World,
        task: Task,
        loop: Loop,
        *,
        eval_steps: int,
        ledger: Ledger,
        folder: Path | None,
        saved: Any = None,
    ):
        self.watch, self.policies = open_watch(
            watch,
            task,
            population=world.population,
            held_out=world.held_out,
            gold=world.gold,
            ledger=ledger,
            seed=loop.seed,
            looks=-(-loop.max_steps // eval_steps),
            folder=folder,
            again=f"assay run --resume --out {folder}",
        )
        self.word: str | None = None  # the last
        if saved:
            self.watch.load(saved)

    @property
    def stopped(self) -> bool:
        """Whether the watch has stopped the run."""
        return self.watch.stopped

    def look(self, step: Step, t: int, line: dict[str, Any]) -> dict[str, Any]:
        """Say what the watch finds of the policy that was just read.

        Args:
            step: The policy.
            t: Its step.
            line: What was read of it.

        Returns:
            The reading's entry `watch`.

        Raises:
            InputError: The policy cannot be kept.
            Waiting: Labels are still out.
        """
        check_policy(step.policy)
        self.policies.begin(step.policy)
        self._measure(step)
        with progress.stage("watching"):
            said = self.watch.look({"step": t, **line})
        self.word = said["word"]
        return said

    def _measure(self, step: Step) -> None:
        """Take the size of one policy, which decides how many are kept; say so where it is much."""
        first, watch = not self.watch.steps, self.watch
        watch.policy_bytes = size(state_to_keep(step.policy))
        n = watch.config.policies_kept(watch.looks, watch.policy_bytes)
        if (
            first
            and rank() == 0
            and self.policies.folder is not None
            and n * watch.policy_bytes > MUCH
        ):
            log.warning(
                "assay: the watch keeps up to %d policies to go back to, %.1f GB, in %s "
                "(--watch.kept); one of them stays",
                n,
                n * watch.policy_bytes / 1e9,
                self.policies.folder,
            )

    def kept(self) -> Step:
        """The policy that the run goes back to."""
        return Step(self.policies.kept(self.watch.back))

    def state(self) -> Any:
        """What has to be saved."""
        return self.watch.state()

    def forget(self) -> None:
        """Delete the policies that nothing can go back to any more."""
        self.policies.forget({self.watch.best, *self.watch.kept})

    def end(self) -> None:
        """Delete all policies but the result: of a run that was stopped, the one to go back to."""
        self.policies.forget({self.watch.back} if self.stopped else set())

    def back(self) -> Kept:
        """The policy that a watch which stopped the run goes back to."""
        step = self.watch.back
        there = step and self.policies.folder is not None
        return {"step": step, "tag": "", "file": f"kept-{step}.safetensors" if there else None}

    def result(self, read: int) -> Watched:
        """What the watch came to.

        Args:
            read: The last step that was read.
        """
        watch = self.watch
        return {
            "stopped": watch.stopped,
            "word": self.word,
            "at": read,
            "best": watch.best,
            "labels": watch.spent,
        }
