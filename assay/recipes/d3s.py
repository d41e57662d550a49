"""D3S: learn from the rollouts of widest advantages and from their decisive, uncertain tokens.

    rollouts   the N of the batch that maximise Var(A): the lowest and the highest advantages
    tokens     of those, the K % with the largest |A_i|·H_it
    N, K       (1 − p)·[early shares] + p·[late shares],   p from 0 to 1 over the run

A is GRPO's, standardised in each prompt's group, and is not standardised again after the choice.
The choice of rollouts is across prompts (`across`) or within each group. H is the entropy of the
sampling policy at that decision, without a gradient. Clipped ratios, a mean over the chosen tokens
of a rollout and then over rollouts, no KL term; with all shares 1 it is GRPO. With `pick` random as
many rollouts and tokens are taken at random: the control.

Traps. `divide_by` says what the loss is divided by: kept, the chosen tokens and rollouts, or all,
as if the others had no advantage. The first is a larger step of the same direction, so that a gain
over GRPO at its own learning rate may be the rate's: every arm of the claim is tuned. Across
groups, extreme standardised advantages are those of prompts with a pass rate near 0 or 1. Early
shares far below 1 over-fit if kept to the end, which is what the schedule is for.

The paper's exact shares are not known here; it names fewer than a fifth of the tokens early.

Here: the claim judges the choice of rollouts and its schedule, on world sums. On world table, where
it was judged first, GRPO and D3S were at the optimum at once as soon as the rate was free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_standardised
from assay.formulas.down_sampling import largest, schedule, widest
from assay.formulas.reduce import per_completion_token
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score, require_group
from assay.loops.entropies import entropies
from assay.stats.effects import Reading, final

paper = Paper(
    "Learning More with Less: A Dynamic Dual-Level Down-Sampling Framework for Efficient Policy "
    "Optimization",
    "Wang et al.",
    2025,
    "arXiv:2509.22115",
)
reduces = {"grpo": ({"rollouts": (1.0, 1.0), "tokens": (1.0, 1.0)}, {"beta": 0.0})}


def recipe(
    task: Task,
    *,
    rollouts: tuple[float, float] = (0.5, 1.0),
    tokens: tuple[float, float] = (0.2, 1.0),
    across: bool = True,
    divide_by: Literal["kept", "all"] = "kept",
    pick: Literal["widest", "random"] = "widest",
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the chosen rollouts and tokens and yield the policy after each step.

    Args:
        rollouts: Share of the completions that are learned from, at the start and at the end.
        tokens: Share of their tokens, at the start and at the end.
        across: Choose among all completions of the batch; within each prompt's group otherwise.
        divide_by: Divide the loss by what is kept, or by all completions and tokens.
        pick: widest, the paper's choice, or random: the negative control.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if not all(0 < s <= 1 for s in (*rollouts, *tokens)):
        raise InputError(
            f"--rollouts is {list(rollouts)} and --tokens {list(tokens)}; shares are above 0 and "
            "at most 1"
        )

    def prepare(batch: Rollouts) -> Rollouts:
        x = batch.samples
        reward = require_group(batch.reward)
        A = group_standardised(reward, x.present, eps=1e-4, ddof=1)[..., None]
        p = batch.step / max(1, loop.max_steps - 1)
        some, few = (schedule(start=s, end=e, progress=p) for s, e in (rollouts, tokens))
        u = task.rng("pick", batch.step).uniform(
            *(torch.arange(n).view(-1, *[1] * (2 - d)) for d, n in enumerate(x.mask.shape))
        )
        value = A[..., 0] if pick == "widest" else u[..., 0].to(A)
        kept = chosen(value, x.present, some, across=across)
        mask = x.mask & kept[..., None]
        if few < 1:
            weight = u.to(A)
            if pick == "widest":
                weight = A.abs() * entropies(batch.policy, x, by="d3s").to(A)
            mask = largest(weight, mask, share=few)
        batch.stats["kept/rollouts"] = float(kept.sum() / x.present.sum().clamp(min=1))
        batch.stats["kept/tokens"] = float(mask.sum() / x.mask.sum().clamp(min=1))
        batch.advantage = torch.where(mask, A, 0.0)
        if divide_by == "kept":
            batch.samples = only(x, mask)
        return batch

    def loss(logp: Tensor, rows: Samples, A: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, A, low=epsilon_low, high=epsilon_high)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        loss=loss,
        reduce=per_completion_token,
        reads_logp=False,
    )


def chosen(value: Tensor, present: Tensor, share: float, *, across: bool) -> Tensor:
    """The completions `[B,N]` of widest values, a share of those of the batch or of each group."""
    if across:
        keep = torch.zeros_like(present)
        there = value[present]
        keep[present] = widest(there, keep=count(len(there), share))
        return keep
    return torch.stack(
        [
            chosen(v[None], p[None], share, across=True)[0]
            for v, p in zip(value, present, strict=True)
        ]
    )


def count(n: int, share: float) -> int:
    """How many of n a share is: at least two of them, where there are two."""
    return min(n, max(2, round(share * n)))


def only(x: Samples, mask: Tensor) -> Samples:
    """Completions in which these decisions alone are the policy's own; the others stay as context,
    and a completion without any is absent.
    """
    kept = mask.any(-1, keepdim=True)
    given = (x.given | (x.mask & ~mask)) & kept
    return replace(x, mask=mask, given=given, logp=torch.where(mask, x.logp, 0.0))


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_RUN = {"max_steps": 12}
_MINE = {**_RUN, "rollouts": [0.25, 1.0], "tokens": [1.0, 1.0]}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}


@Claim(
    "Learning from the rollouts of widest advantages ends at more right answers than GRPO from "
    "all, each at its best rate, than as many at random, and at no fewer than with the early share "
    "kept to the end.",
    arms={
        "mine": ("d3s", _MINE),
        "grpo": ("grpo", {"beta": 0.0, **_RUN}),
        "random": ("d3s", {**_MINE, "pick": "random"}),
        "unrelaxed": ("d3s", {**_MINE, "rollouts": [0.25, 0.25]}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over grpo": 0.02, "over unrelaxed": -0.02, "over random": 0.0},
    seeds="200..211",
    tuned={"mine": _RATES, "grpo": _RATES, "random": "mine", "unrelaxed": _RATES},
    control=("over random",),
    broken="as many completions, chosen at random",
    differs={"seconds": "fewer completions are learned from"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers, minus each rival's."""
    mine = final(arms["mine"])
    return {f"over {arm}": mine - final(arms[arm]) for arm in ("grpo", "unrelaxed", "random")}
