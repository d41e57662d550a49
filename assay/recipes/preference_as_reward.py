"""PAR: the reward is the probability that a completion beats the reference policy's.

    r = (1/M)·Σ_m σ(s(y) − s(y_m))

y_1 … y_M are sampled once a prompt from the reference. The reward is bounded, centred on the
prompt, steep at first and then flat: once a completion beats the references nearly always, more
score buys nothing. It differs from leave_one_out in what stands between the score and the
advantage, and `shape` puts all arms of the paper's comparison there:

    none                       the raw score                          (affine: only rescales the KL)
    centre                     mean of s − s_m                        (affine within a prompt)
    minmax, mean_std           running over everything scored so far  (affine; this batch included)
    clip                       held within μ ± deviation, running
    ceiling                    min(s, most)
    log_sigmoid                log σ(s − q), q the 85 % point of a normal fitted to the references
                               (LSC)
    sigmoid, tanh, polynomial  bounded, not centred: is it the bound alone?
    par, par_tanh, par_polynomial
                               bounded and centred, the sigmoid's exact form exchanged
    slow_then_fast             σ(s − late − s_m): bounded and centred, but steep where PAR is flat

Traps. The mean of sigmoids is not the sigmoid of the mean. Under advantages that are divided by the
group's deviation (`standardise`), affine shapings change nothing at all, so only the bent ones are
comparisons there; and Adam forgives a constant factor even without it, but for its clipped
gradient. Running statistics make a reward that moves: minmax rescales whenever a new extreme
appears. A length penalty, which the released configuration charges in every arm, is not part of the
method and is left out. An aggregate of reward models is taken first and shaped after.

Where the released code differs. Its flag for the sigmoid alone is the uncentred arm; PAR needs the
relative flag with it. Its GRPO charges e^ℓ − 1 − ℓ with ℓ = log π − log π₀, whose mean is χ² − KL
and whose gradient is ½∇χ², not a KL at all (`divergence`): `released` charges that, in the loss.
Here the penalty is k1 in the reward.

Here: the bandit, because in the bag all prompts are one context and centring on the prompt is
centring on everything. A tie with the sigmoid that is bounded but not centred decides against the
claim: then the bend is the principle, not the references. The world's reward models are
standardised over all prompts together, which alone does much of what centring is for. Bradley–Terry
leaves a constant of each prompt free, so the claim gives them one (`--world.offset 1`): prompts
then differ in score by as much as completions of a prompt do. Neither the raw score's advantages
nor PAR see it; it pushes a sigmoid of the score itself into its flat parts. The penalty is that of
the paper, .005, and REINFORCE stands in for PPO. There PAR keeps about a tenth of a deviation of
gold more than the raw score, with one reference as with ten, as much as the uncentred sigmoid, and
a little less than LSC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas import shaping
from assay.formulas.advantage import group_standardised
from assay.formulas.divergence import k1
from assay.formulas.surrogate import reinforce
from assay.loops import (
    leave_one_out_advantage,
    online,
    proxy_score,
    record_kl,
    reference_logp,
    require_group,
    with_reference_logp,
)
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "Reward Shaping to Mitigate Reward Hacking in RLHF", "Fu et al.", 2025, "arXiv:2502.18770"
)
reduces = {"leave_one_out": ({"shape": "none"}, {})}

PLAIN = ("none", "minmax", "mean_std", "clip", "ceiling", "sigmoid", "tanh", "polynomial")
CENTRED = ("par", "par_tanh", "par_polynomial", "centre", "log_sigmoid", "slow_then_fast")


def recipe(
    task: Task,
    *,
    shape: str = "par",
    references: int = 10,
    slope: float = 1.0,
    most: float = 3.0,
    late: float = 3.0,
    beta: float = 0.0,
    released: bool = False,
    standardise: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the shaped score and yield the policy after each step.

    Args:
        shape: Any of the shapes above.
        references: Completions M of the reference a prompt, at least 1.
        slope: Slope of the sigmoid or tanh.
        most: Height of the ceiling.
        late: Shift of slow_then_fast.
        beta: Weight of the KL penalty, in units of the shaped reward per nat.
        released: Charge it as the released code does, in the loss.
        standardise: Divide advantages by the group's standard deviation.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if shape not in PLAIN + CENTRED:
        raise InputError(f"--shape is '{shape}'; it is one of {', '.join(PLAIN + CENTRED)}")
    if references < 1:
        raise InputError(f"--references is {references}; it must be at least 1")
    score, zero = proxy_score(task, member, aggregate), torch.zeros((), dtype=torch.float64)
    prompts = 1 + int(task.prompts.row.max())
    carry: Any = task.carry.keep(
        anchors=torch.full((prompts, references), torch.nan, dtype=torch.float64),
        count=zero,
        mean=zero,
        squares=zero,
        low=torch.inf + zero,
        high=-torch.inf + zero,
    )

    def anchors(x: Samples) -> Tensor:
        """Scores of each prompt's reference completions `[B,M]`, sampled when it is first seen."""
        row = x.prompts.row.cpu()
        fresh = torch.unique(row[carry.anchors[row, 0].isnan()])
        if len(fresh):
            place = (row[None] == fresh[:, None]).int().argmax(1)
            y = task.reference.sample(x.prompts[place], references, task.rng("anchors")[fresh])
            carry.anchors = carry.anchors.index_copy(0, fresh, score(y).double().cpu())
        return carry.anchors[row]

    def shaped(reward: Tensor, x: Samples) -> Tensor:
        if shape in CENTRED:
            return centred(reward, anchors(x).to(reward))
        seen_now = reward[x.present].double().cpu()
        carry.count, carry.mean, carry.squares = shaping.running(
            carry.count, carry.mean, carry.squares, seen_now
        )
        carry.low, carry.high = (
            torch.minimum(carry.low, seen_now.min()),
            torch.maximum(carry.high, seen_now.max()),
        )
        return plain(reward, float(carry.mean), float((carry.squares / carry.count).sqrt()))

    def centred(r: Tensor, refs: Tensor) -> Tensor:
        each: dict[str, Callable[[], Tensor]] = {
            "par": lambda: shaping.preference(slope * r, slope * refs),
            "par_tanh": lambda: shaping.against(r, refs, lambda d: shaping.tanh(d, slope=slope)),
            "par_polynomial": lambda: shaping.against(r, refs, shaping.polynomial),
            "centre": lambda: shaping.centre(r, refs),
            "log_sigmoid": lambda: shaping.log_sigmoid(r, shaping.normal_quantile(refs)),
            "slow_then_fast": lambda: shaping.slow_then_fast(r, refs, late=late, slope=slope),
        }
        return each[shape]()

    def plain(r: Tensor, mean: float, deviation: float) -> Tensor:
        if shape in ("minmax", "mean_std", "clip") and not deviation > 0:
            return torch.zeros_like(
                r
            )  # all scores are equal so far: nothing to prefer, nothing to divide by
        each: dict[str, Callable[[], Tensor]] = {
            "none": lambda: r,
            "minmax": lambda: shaping.minmax(r, low=float(carry.low), high=float(carry.high)),
            "mean_std": lambda: shaping.standardise(r, mean=mean, std=deviation),
            "clip": lambda: shaping.clip(r, low=mean - deviation, high=mean + deviation),
            "ceiling": lambda: shaping.clip(r, high=most),
            "sigmoid": lambda: shaping.sigmoid(r, slope=slope),
            "tanh": lambda: shaping.tanh(r, slope=slope),
            "polynomial": lambda: shaping.polynomial(r),
        }
        return each[shape]()

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        reward = shaped(require_group(reward), x)  # new in this paper
        if beta and not released:
            reference = reference_logp(task.reference, x)
            record_kl(x.logp, reference, x.mask)
            reward = reward - beta * k1(x.logp, reference).sum(-1).to(reward)
        return (
            group_standardised(reward, x.present)[..., None]
            if standardise
            else leave_one_out_advantage(reward, x)
        )

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        if not (beta and released):
            return reinforce(logp, advantage)
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        l = logp - reference
        return reinforce(logp, advantage) + beta * (torch.expm1(l.clamp(max=40.0)) - l)

    yield from online(
        task,
        loop,
        score=score,
        advantage=advantage,
        loss=loss,
        against_reference=bool(beta) and released,
    )


_PAPER = {"beta": 0.005}


@Claim(
    "Where scores have a constant of each prompt, PAR keeps more gold at equal KL than the raw "
    "score, than LSC, and than a sigmoid that is bounded but not centred on references; with one "
    "reference a prompt it keeps more than the raw score and than that sigmoid, too.",
    worlds=("table",),
    on={"table": {"testbed": "bandit", "offset": 1.0}},
    arms={
        "mine": ("preference_as_reward", _PAPER),
        "one_reference": ("preference_as_reward", {**_PAPER, "references": 1}),
        "bounded": ("preference_as_reward", {**_PAPER, "shape": "sigmoid"}),
        "raw": ("preference_as_reward", {**_PAPER, "shape": "none"}),
        "lsc": ("preference_as_reward", {**_PAPER, "shape": "log_sigmoid"}),
    },
    turns="raw",
    least={"over raw": 0.1, "one over raw": 0.1, "over lsc": 0.0},
    seeds="300..329",
    control=("over bounded", "one over bounded"),
    broken="the same sigmoid of the score itself: bounded, and centred on no reference",
    differs={
        "generated": "PAR draws reference completions",
        "scored": "PAR scores them",
        "seconds": "it draws and scores more",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over the shared range of √KL: to the raw score, to LSC, and to the
    uncentred sigmoid; of ten references and of one.
    """
    mine, one = arms["mine"], arms["one_reference"]
    return {
        "over raw": matched_gain(mine, arms["raw"]),
        "over bounded": matched_gain(mine, arms["bounded"]),
        "over lsc": matched_gain(mine, arms["lsc"]),
        "one over raw": matched_gain(one, arms["raw"]),
        "one over bounded": matched_gain(one, arms["bounded"]),
    }
