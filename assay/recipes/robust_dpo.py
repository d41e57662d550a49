"""Robust DPO (rDPO): a loss whose mean over flipped labels is DPO's loss of the clean ones.

    L = [(1−ε)·f(z) − ε·f(−z)]/(1−2ε),  f = −log σ,  z = β·(log π/π₀(chosen) − log π/π₀(rejected))

ε is the share of labels that are flipped. Differs from `dpo` in the second term and the factor (ε =
0 is DPO), and from cDPO, `dpo` with `smoothing`, in its sign: cDPO adds what rDPO subtracts. cDPO's
mean over flips is no multiple of DPO's clean loss; its optimum is a margin of log((1−ε)/ε), at
which it stops.

The loss has no minimum on finite data. Its slope never falls below ε/(1−2ε), so the margin of a
pair that no other label contradicts grows for as long as one trains, and the loss goes to −∞ while
it estimates a number that cannot be negative. Two things tell: `robust/negative`, the share of
pairs whose loss is below 0, and `robust/beyond_limit`, the share whose logit z is beyond `limit`.
There the loss has no gradient: it is bounded below, a flipped twin still pulls back, and up to the
limit the loss stays unbiased. At the limit 10 a pair is preferred 22,000 to 1. The paper has none
(`limit` 0); it stops early and keeps a large β.

`estimate` finds ε without gold. Two policies are trained by DPO on halves of the pairs; each tells
how sure it is of the pairs that it did not see, and ε is the disagreement of labels that is left
where margins are large (`formulas.flips`). It costs two more runs, and is as good as those margins:
few pairs or steps leave none that is large. It is written as `robust/flip`.

Where Bradley–Terry itself is noisy, what flips do is to shrink all log-odds, and a smaller β lets
DPO do much of what rDPO does. Gold in the table world grows with any sure step towards what most
labels say, so that each loss, tuned freely, takes the smallest β of a grid, where logits stay small
and all are one loss: there is nothing to compare. So the claim holds β, as the paper's theory does,
in which β is given and defines the policy that is sought; learning rates are tuned. Its controls
are cDPO, both terms as in rDPO with the sign of the second one exchanged, and DPO at β·(1−2ε).

While logits are small rDPO at β is DPO at β·(1−2ε): slope over curvature, which alone Adam sees,
is 2/(β·(1−2ε)) for both. They part where pairs are near their optimum.

Here (400 pairs, ε = .3, β = .1, 100 steps; `assay claims --run robust_dpo`): rDPO ends 1.09 [.70,
1.48] above DPO and 2.18 [1.48, 2.87] above cDPO on 20 seeds, but .077 [.043, .112] above DPO at
β·(1−2ε) = .04: most of what it gains is that smaller β.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Carry, Claim, InputError, Loop, Pairs, Paper, Step, Task
from assay.engine.gauge import gauge
from assay.formulas.flips import flip_rate
from assay.formulas.pairwise import dpo, rdpo
from assay.loops import log_ratios, paired
from assay.stats.effects import Reading, final

paper = Paper(
    "Provably Robust DPO: Aligning Language Models with Noisy Feedback",
    "Chowdhury et al.",
    2024,
    "arXiv:2403.00409",
)
reduces = {"dpo": ({"flip": 0.0, "limit": 0.0}, {})}


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    flip: float = 0.1,
    estimate: bool = False,
    limit: float = 10.0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the task's pairs and yield the policy after each step.

    Args:
        beta: Strength of the implicit KL penalty, per nat.
        flip: Share ε of labels that are flipped, from 0 to below 0.5.
        estimate: Estimate ε from the pairs by two runs of DPO on halves of them; `flip` is then not
            read.
        limit: Logit beyond which a pair is no longer pushed, above 0; 0 for none, as in the paper.
    """
    if not 0 <= flip < 0.5:
        raise InputError(f"--flip is {flip}; the share of flipped labels lies in [0, 0.5)")
    if limit < 0:
        raise InputError(f"--limit is {limit}; it is a logit above 0, or 0 for none")
    kept: Any = task.carry.keep(flip=None)
    if kept.flip is None:  # found once a run, also where it is resumed
        kept.flip = estimated(task, beta, loop) if estimate else flip
    share, most = kept.flip, limit or torch.inf

    def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        chosen, rejected = log_ratios(logp, reference)
        out = rdpo(chosen, rejected, beta=beta, flip=share, limit=most, p=rows.p)
        here = rows.present.all(-1)
        z = beta * (chosen - rejected)
        far = torch.where(rows.p < 0.5, -z, z) > most
        gauge.add("robust/beyond_limit", far.double(), here)
        gauge.add("robust/negative", (out < 0).double(), here)
        return out

    for step in paired(task, loop, data=task.pairs, loss=loss, beta=beta):
        yield replace(step, stats={**step.stats, "robust/flip": share})


def estimated(task: Task, beta: float, loop: Loop) -> float:
    """ε of the task's pairs, by DPO on each half and its margins on the other one.

    Args:
        task: Its pairs, reference and randomness.
        beta: Of DPO.
        loop: Of DPO.

    Raises:
        InputError: There are fewer than four pairs, or labels are as good as coins.
    """
    pairs = task.pairs
    if len(pairs) < 4:
        raise InputError(
            f"--estimate needs at least 4 pairs, and there are {len(pairs)}; give --flip instead"
        )
    halves = task.rng("halves").permutation(len(pairs)).chunk(2)
    margins, labels = list[Tensor](), list[Tensor]()

    def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        return dpo(*log_ratios(logp, reference), beta=beta, p=rows.p)

    for mine, other in (halves, halves[::-1]):
        policy: Any = task.reference
        alone = task.replaced(carry=Carry())
        for step in paired(alone, loop, data=pairs[mine], loss=loss, beta=beta):
            policy = step.policy
        with torch.no_grad():
            unseen = pairs[other]
            ratios = policy.logp(unseen).double(), task.reference.logp(unseen).double()
            chosen, rejected = log_ratios(*ratios)
        here = unseen.present.all(-1)
        margins.append((chosen - rejected)[here].cpu())
        labels.append(unseen.p[here].double().cpu())
    try:
        rate = flip_rate(torch.cat(margins), torch.cat(labels)).rate
    except ValueError as e:
        raise InputError(f"--estimate: {e}; give --flip instead") from e
    if rate > 0.49:
        raise InputError(
            "--estimate finds labels as good as coins: two halves of the pairs do not tell what "
            "the other half prefers; give --flip, or more pairs or steps"
        )
    return rate


_BETA, _FLIP = 0.1, 0.3
_RUN = {"max_steps": 100, "beta": _BETA}
_RATES = {"learning_rate": (0.01, 0.03, 0.1, 0.3)}


@Claim(
    "With three of ten labels flipped and their share known, rDPO ends higher in gold than DPO and "
    "cDPO do at its β, and than DPO at β·(1−2ε), each at the learning rate that suits it.",
    arms={
        "mine": ("robust_dpo", {"flip": _FLIP, **_RUN}),
        "dpo": ("dpo", _RUN),
        "cdpo": ("dpo", {"smoothing": _FLIP, **_RUN}),
        "smaller": ("dpo", {**_RUN, "beta": _BETA * (1 - 2 * _FLIP)}),
    },
    worlds=("table",),
    on={"table": {"pairs": 400, "noise": _FLIP}},
    least={"over dpo": 0.1, "over cdpo": 0.0, "over a smaller β": 0.0},
    seeds="720..739",
    tuned=dict.fromkeys(("mine", "dpo", "cdpo", "smaller"), _RATES),
    control=("over cdpo", "over a smaller β"),
    broken="cDPO adds where rDPO subtracts; DPO at β·(1−2ε) has rDPO's strength and no correction",
    differs={"seconds": "rDPO counts what its guard sees"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold over DPO's, over cDPO's and over that of DPO at β·(1−2ε). Gold's unit is its
    deviation under the reference, and δ a tenth of it.
    """
    mine = final(arms["mine"])
    return {
        "over dpo": mine - final(arms["dpo"]),
        "over cdpo": mine - final(arms["cdpo"]),
        "over a smaller β": mine - final(arms["smaller"]),
    }
