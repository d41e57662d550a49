"""Regularised preference optimisation (RPO): DPO plus imitation of the chosen completions.

Pessimism derives it. Start from a policy that must do well against the reward that hurts it most,
among those that explain the labels. Solved for the reward, this is DPO's loss and one more term:

    L = L_DPO(π) − η·β·log π(chosen)         `average=False`: the whole completion's log-prob, a sum
    L = L_DPO(π) − η·mean_t log π(chosen_t)  `average=True`: a mean over tokens, *not* times β

The first is the paper's and its first code's (η = .005 at β = .01). The second is the authors'
later code, which they prefer (weight .2 at β = .5). A sum is about a length larger than a mean, so
the constants do not carry over. TRL had the second as `rpo_alpha` and now has it as
loss_type=["sigmoid", "sft"] with weights [1, η]; there the mean is over all tokens of a batch, so
long completions weigh more. `tests/test_recipes_offline_trl.py` compares values and gradients.

Differs from `dpo` in the second term (η = 0 is DPO, step for step); from `sft` in the first; from
pessimistic DPO (`reward_distillation`) in what is imitated: the chosen completions here, the
reference's own samples there. With the rejected or the reference's completions as the baseline this
would be another method. The name RPO is also another paper's.

Traps: the sign (minus log π), sum against mean, and that imitation alone can win. So the claim's
controls are imitation alone (`sft`, as many updates) and DPO stopped early: at the same KL, which
chooses nothing by gold.

Here: where completions share no parameters DPO never moves the logits of what it has not seen, and
there is nothing to mitigate. The bag world shares token logits, and
`tests/test_recipes_offline_coverage.py` has features, where DPO's chosen completions lose
likelihood to completions that nobody compared, and RPO's do not. The claim ends runs on their way
down (125 updates): after 1,000, DPO at β .02 writes one token twelve times, whose worth is chance,
and a mean over ten seeds was decided by one of them. RPO chooses η, β and learning rate on seeds 0
to 4, and DPO β and learning rate from as many settings: DPO at a quarter of the rate is DPO stopped
early, and the η that is best at β .02 is not the one that is best at β .002. Both go to the
smallest β and RPO to the smallest η: its end over DPO's is .09 [−.43, .61] on 40 seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Pairs, Paper, Step, Task
from assay.formulas.pairwise import dpo
from assay.loops import log_ratios, paired
from assay.stats.effects import Reading, final, matched_gain

paper = Paper(
    "Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer",  # noqa: E501  # a title stands letter for letter, on one line
    "Liu et al.",
    2024,
    "arXiv:2405.16436",
)
reduces = {"dpo": ({"eta": 0.0}, {})}
_RUN = {"max_steps": 125}
_RATE = {"learning_rate": (0.1, 0.2, 0.4)}
_MINE = {"eta": (0.001, 0.003, 0.01), "beta": (0.0002, 0.001), **_RATE}
_DPO = {"beta": (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005), **_RATE}
# imitation has one constant, and as many settings of it
_SFT = (
    *(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    *(1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0),
)


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    eta: float = 0.005,
    average: bool = False,
    imitate: bool = True,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the task's pairs and yield the policy after each step.

    Args:
        beta: Strength of the implicit KL penalty, per nat.
        eta: Weight η of imitation; times β unless `average`.
        average: Imitate by a mean over tokens, the later form.
        imitate: Imitate at all; without, this is DPO whatever η: the negative control, which takes
            the constants that were chosen for RPO.
    """
    eta = eta if imitate else 0.0

    def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        each = (
            eta * logp.sum(-1) / rows.lengths.clamp(min=1) if average else eta * beta * logp.sum(-1)
        )
        imitation = (
            rows.p * each[:, 0] + (1 - rows.p) * each[:, 1]
        )  # of the chosen completion, as far as the label is sure
        return (
            dpo(*log_ratios(logp, reference), beta=beta, p=rows.p) - imitation
        )  # new: the second term

    yield from paired(task, loop, data=task.pairs, loss=loss, beta=beta)


@Claim(
    "Where DPO over-optimises few pairs, adding imitation of the chosen completions ends higher "
    "in gold than DPO and than imitation alone, and at equal KL it lies above DPO, so that it "
    "does more than stopping DPO early.",
    arms={
        "mine": ("regularised_preference", _RUN),
        "dpo": ("dpo", _RUN),
        "sft": ("sft", _RUN),
        "plain": ("regularised_preference", {"imitate": False, **_RUN}),
        "turning": ("dpo", {"beta": 0.02, "learning_rate": 0.2, **_RUN}),
    },
    turns="turning",
    worlds=("table",),
    on={"table": {"pairs": 200, "noise": 0.3}},
    least={"end over dpo": 0.25, "end over sft": 0.0, "equal KL over plain dpo": 0.0},
    seeds="500..539",
    tuned={
        "mine": _MINE,
        "dpo": _DPO,
        "sft": {"learning_rate": _SFT},
        "plain": "mine",
    },
    control=("equal KL over plain dpo",),
    broken="DPO at the same β and learning rate, compared at equal distance",
    differs={"seconds": "DPO also asks the reference, and RPO takes both losses"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Three parts: final gold over DPO's, over imitation's, and the mean difference from DPO at the
    same β at equal √KL.
    """
    mine = arms["mine"]
    return {
        "end over dpo": final(mine) - final(arms["dpo"]),
        "end over sft": final(mine) - final(arms["sft"]),
        "equal KL over plain dpo": matched_gain(mine, arms["plain"]),
    }
