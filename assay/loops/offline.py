"""The offline loop: batches of stored completions, with no sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from assay.core import Loop, Missing, Policy, Samples, Step, Task, order
from assay.formulas.reduce import per_pair
from assay.loops.reference import known_for_epochs, with_reference_logp
from assay.loops.updates import update


def offline(
    task: Task,
    loop: Loop,
    *,
    data: Samples,
    loss: Callable[[Policy, Any, Any], Tensor],
    reduce: Callable[[Tensor], Tensor] = per_pair,
    against_reference: bool = True,
    reward: Callable[[Samples], Tensor] | None = None,
    prepare: Callable[[Policy, Any, int], Any] | None = None,
) -> Iterator[Step]:
    """Run the offline loop and yield one Step after each of `loop.max_steps` updates.

    Args:
        task: Reference, randomness and memory of the run.
        loop: Constants of the optimisation; `batch_size` counts rows of `data`.
        data: Stored completions.
        loss: `loss(policy, rows, reference_rows)`, unreduced. `reference_rows` are the same rows
            with the reference's log-probabilities as `logp`, or None without `against_reference`.
        reduce: Weights of the loss, see `formulas/reduce.py`. Default: per pair.
        against_reference: Compute the reference's log-probabilities. Default: True.
        reward: The proxy that readings report. Default: none.
        prepare: `prepare(policy, rows, step) → rows`, called with the whole batch before the
            update. Default: the batch as it is.
    """
    policy = task.reference.copy()
    opt = loop.optimiser(policy)

    def of(rows: Any, _: Tensor) -> Tensor:
        reference = with_reference_logp(task.reference, rows) if against_reference else None
        return loss(policy, rows, reference)

    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.max_steps):
        x = data[order(len(data), loop.batch_size, t, task.rng)]
        if prepare is not None:
            x = prepare(policy, x, t)
        if against_reference:
            x = known_for_epochs(task.reference, x, loop)
        stats = update(opt, of, x, loop, task.rng("minibatch", t), reduce=reduce)
        yield Step(policy, reward=reward, stats=stats)


def imitated(task: Task, what: str) -> Samples:
    """The completions to imitate, one a row: demonstrations, or the chosen ones of pairs.

    Args:
        task: The task.
        what: "pairs", "demos", or "auto" for pairs where there are some and demos otherwise.

    Raises:
        Missing: The task does not have them.
    """
    data: Samples | None = None
    if what != "demos":
        try:
            data = task.pairs
        except Missing:
            if what == "pairs":
                raise
    data = task.demos if data is None else data
    return data.pick(data.present.new_zeros(len(data), 1).long())
