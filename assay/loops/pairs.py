"""The loop over preference pairs that DPO and its relatives share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Pairs, Policy, Rng, Samples, Step, Task, order
from assay.engine.gauge import gauge
from assay.engine.nonfinite import nonfinite
from assay.engine.parallel import sum_
from assay.formulas.reduce import per_pair
from assay.loops.reference import known_for_epochs, with_reference_logp
from assay.loops.updates import update


def paired(
    task: Task,
    loop: Loop,
    *,
    data: Pairs,
    loss: Callable[[Any, Tensor, Tensor], Tensor],
    beta: float,
    prepare: Callable[[Policy, Any, int], Any] = lambda policy, pairs, t: pairs,
) -> Iterator[Step]:
    """Run the loop over pairs and yield one Step after each of `loop.max_steps` updates.

    Each step records what trainers of this family record of its pairs (see `Margins`), with
    β·(log π − log π₀) as the implicit reward.

    Args:
        task: Reference, randomness and memory of the run.
        loop: Constants of the optimisation; `batch_size` counts pairs.
        data: The pairs; the first completion is the chosen one, the second the rejected one.
        loss: `loss(rows, logp, reference_logp) → [b]`, the log-probabilities `[b,N,T]`.
        beta: Scale β of the implicit rewards that are recorded.
        prepare: `prepare(policy, pairs, step) → pairs`, called with the whole batch before the
            update.
    """
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.max_steps):
        x = prepare(policy, data[order(len(data), loop.batch_size, t, task.rng)], t)
        x = known_for_epochs(task.reference, x, loop)
        margins = Margins(beta)

        def of(rows: Any, _: Tensor, margins: Margins = margins) -> Tensor:
            logp = nonfinite.logps("policy", rows, policy.logp(rows))
            reference = with_reference_logp(task.reference, rows).logp
            margins.add(rows, logp, reference)
            return loss(rows, logp, reference)

        stats = update(opt, of, x, loop, task.rng("minibatch", t), reduce=per_pair)
        yield Step(policy, stats={**stats, **margins.means()})


def log_ratios(logp: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Sequence log-ratios log π/π₀ of the chosen and the rejected completion, `[B]` each.

    They are sums over decisions, never means.

    Args:
        logp: The policy's log-probabilities, `[B,N,T]`.
        reference: The reference's, `[B,N,T]`.
    """
    ratio = (logp - reference).sum(-1)
    return ratio[:, 0], ratio[:, 1]


def with_reference_completion(reference: Policy, pairs: Pairs, rng: Rng) -> Pairs:
    """Return the pairs with a third completion, one of the reference's own.

    Args:
        reference: The reference.
        pairs: The pairs.
        rng: The address of the completions.
    """
    more: Samples = reference.sample(pairs.prompts, 1, rng)
    T = max(pairs.mask.shape[2], more.mask.shape[2])
    pairs, more = pairs.widened(T), more.widened(T)
    own: dict[str, Any] = {
        f: torch.cat([getattr(pairs, f), getattr(more, f)], 1)
        for f in ("action", "mask", "given", "logp", "ended")
    }
    extra = {k: torch.cat([v, v[:, :1]], 1) for k, v in pairs.extra.items()}
    return replace(pairs, **own, extra=extra)


class Margins:
    """Statistics of a step's pairs before its update, as means over all pairs.

    Sums are kept over micro-batches and processes, so that the means are the whole batch's.

    Args:
        beta: Scale β of the implicit reward β·(log π − log π₀).
    """

    NAMES = (
        "logps/chosen",
        "logps/rejected",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
    )

    def __init__(self, beta: float):
        self.beta, self.sums = beta, torch.zeros(len(self.NAMES) + 1, dtype=torch.float64)

    def add(self, pairs: Samples, logp: Tensor, reference: Tensor) -> None:
        """Count some pairs, without those that have an absent completion.

        Args:
            pairs: The chosen completion at 0 and the rejected one at 1, `[b,N,T]`.
            logp: The policy's log-probabilities, `[b,N,T]`.
            reference: The reference's, `[b,N,T]`.
        """
        if gauge.muted:
            return
        here = pairs.mask.any(-1).all(-1)
        mine, theirs = (lp.detach().double().sum(-1)[here, :2].cpu() for lp in (logp, reference))
        reward = self.beta * (mine - theirs)
        gap = reward[:, 0] - reward[:, 1]
        self.sums += torch.cat(
            [
                torch.stack([*mine.T, *reward.T, gap, (gap > 0).double()]).sum(1),
                torch.tensor([len(gap)]),
            ]
        )

    def means(self) -> dict[str, float]:
        """Means by the names that trainers of this family use; empty where no pair was counted.

        All processes have to call it together.
        """
        total = sum_(self.sums).tolist()
        return (
            {k: v / total[-1] for k, v in zip(self.NAMES, total, strict=False)} if total[-1] else {}
        )
