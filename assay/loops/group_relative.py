"""What GRPO and its relatives share: group advantages, a surrogate of the ratio, k3 in the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from assay.core import Loop, Samples, Step, Task
from assay.formulas.advantage import group_standardised
from assay.formulas.divergence import k3
from assay.formulas.reduce import per_completion_token
from assay.loops.online import Rollouts, online, require_group
from assay.loops.reference import with_reference_logp
from assay.loops.scoring import proxy_score
from assay.loops.statistics import record_kl

Surrogate = Callable[[Tensor, Samples, Tensor], Tensor]


def standardised(reward: Tensor, x: Samples) -> Tensor:
    """GRPO's advantage: (r − mean)/(std + 10⁻⁴) in each prompt's group, `[B,N] → [B,N,1]`."""
    return group_standardised(require_group(reward), x.present, eps=1e-4, ddof=1)[..., None]


def group_relative(
    task: Task,
    loop: Loop,
    surrogate: Surrogate,
    *,
    advantage: Callable[[Tensor, Samples], Tensor] = standardised,
    reduce: Callable[[Tensor], Tensor] = per_completion_token,
    beta: float = 0.0,
    kl_weight: Callable[[Samples], Tensor] | None = None,
    member: int = 0,
    aggregate: str = "",
    prepare: Callable[[Rollouts], Rollouts] | None = None,
    after: Callable[[Rollouts], None] | None = None,
    rollout: Callable[[Any, int], Samples] | None = None,
) -> Iterator[Step]:
    """Run the online loop with a surrogate of one's own, and yield a Step after each update.

    Args:
        task: Prompts, reference, randomness and memory of the run.
        loop: Constants of the optimisation.
        surrogate: `surrogate(logp, rows, advantage) → [B,N,T]`, unreduced. `rows.logp` is log π of
            when the completions were sampled.
        advantage: `advantage(reward, samples) → [B,N,1]` or `[B,N,T]`. Default: GRPO's.
        reduce: Weights of the loss. Default: a mean over tokens, then over completions.
        beta: Weight of k3 in the loss; with 0 the reference is not read.
        kl_weight: `kl_weight(rows) → [B,N,1]` or `[B,N,T]`: a factor of k3 by completion or token,
            taken from what `prepare` has put into `rows.extra`. Default: 1.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead, see `proxy_score`.
        prepare: `prepare(batch) → batch`, before the advantages are taken.
        after: `after(batch)`, after the update.
        rollout: `rollout(policy, number) → samples`, see `online`.
    """

    def loss(logp: Tensor, rows: Samples, A: Tensor) -> Tensor:
        value = surrogate(logp, rows, A)
        if not beta:
            return value
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        term = k3(logp, reference)
        return value + beta * (term if kl_weight is None else kl_weight(rows) * term)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        after=after,
        rollout=rollout,
        advantage=advantage,
        loss=loss,
        reduce=reduce,
        against_reference=bool(beta),
        reads_logp=False,
    )
