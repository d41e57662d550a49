"""The watch of a measured run: looks at every reading, and says which policy the run comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.core import Loop, Step, Task, World
from assay.engine import progress
from assay.evaluation.progress import CARRY
from assay.records.schema import Result
from assay.watch.config import WatchConfig
from assay.watch.ledger import Ledger
from assay.watch.setup import check_policy, open_watch


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
        with progress.stage("watching"):
            return self.watch.look({"step": t, **line})

    def kept(self) -> Step:
        """The policy that the run goes back to."""
        return Step(self.policies.kept(self.watch.back))

    def state(self) -> Any:
        """What has to be saved."""
        return self.watch.state()

    def forget(self, done: bool) -> None:
        """Delete the policies that nothing can go back to any more."""
        watch = self.watch
        self.policies.forget({watch.back} if done else {watch.best, *watch.kept})

    def result(self, read: int) -> Result:
        """What the run comes to: once stopped, the best checkpoint; else its last policy.

        Args:
            read: The last step that was read.
        """
        watch = self.watch
        step = watch.back if watch.stopped else read
        file = CARRY if not watch.stopped else f"kept-{step}.safetensors" if step else None
        return {
            "step": step,
            "file": file,
            "stopped": watch.stopped,
            "at": read,
            "best": watch.best,
            "labels": watch.spent,
        }
