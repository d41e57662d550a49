"""What a run that has ended comes to, by the rule of `records/result.py`."""

from __future__ import annotations

from typing import Any

from assay.core import Step, World
from assay.evaluation.run_reader import RunReader
from assay.records.result import Kept, Result, chosen, with_error


def result_of(
    world: World,
    last: Step | None,
    reads: RunReader,
    again: dict[str, Any] | None,
) -> Result:
    """Keep the last policy, and choose the best one.

    Args:
        world: The run's world.
        last: The last policy; None where no step was made.
        reads: What was read, where policies are kept, and the run's watch.
        again: The second reading of the policy with the highest gold.
    """
    progress, policies, lookout = reads.progress, reads.policies, reads.lookout
    read, top = progress.last_read, progress.best
    gold: Kept | None = None
    if top:
        gold = policies.kept(top["step"], top["tag"] if top["step"] else "")
    end: Kept = {"step": 0, "tag": "", "file": None}
    if last is not None:
        weights = hasattr(last.policy, "state_dict")
        end = policies.kept(read, last.tag, weights=weights)
        if weights and end != gold and not policies.every:  # else it is kept already
            policies.keep(last.policy, read, last.tag)
    watch = None if lookout is None else lookout.result(read)
    stopped = lookout is not None and lookout.stopped
    best = chosen(
        last=end,
        watch=watch,
        back=lookout.back() if lookout is not None and stopped else None,
        gold=gold,
        gold_name="held-out model" if "held" in world.gold_kind else "gold",
        readings=progress.read,
        again="" if again is None else with_error(again["gold"], again["gold_err"]),
    )
    found: Result = {"best": best, "last": end, "watch": watch}
    found.update(reads.alerts.result())  # type: ignore[typeddict-item]
    return found
