"""DPO, IPO and SLiC as one family: all three over-optimise, with no reward model in sight.

    L = E g(β·Δ),  Δ = log π/π₀(chosen) − log π/π₀(rejected), sums over a completion's decisions

    dpo    g = −log σ(βΔ)
    ipo    (Δ − 1/(2β))²: β is the paper's τ; Δ settles at 1/(2β) nats, however certain the label
    slic   max(0, 1 − βΔ): the hinge on log-ratios; no gradient once the margin is reached

Gold rises and falls with KL. The pairs pin down few directions of the implicit reward β·log π/π₀,
and along the others mass drifts to completions that no pair contains. Δ can be driven up by
lowering both likelihoods: watch `logps/chosen` and `logps/rejected`.

`alpha` is the length-regularised form. From max E r − α|y| − β·KL the margin enters as βΔ +
α(|chosen| − |rejected|): a longer winner then needs *less* log-ratio. The opposite sign rewards
length. It is applied to all three losses, as α/β nats on the log-ratio for each decision of length.
In the table world all completions are equally long and it does nothing.

Differs from `dpo` in the choice of g, and is it at loss=dpo, alpha=0. Differs from `bradley_terry`
followed by a policy gradient in that nothing is sampled from the policy while it is trained.

Where the released code differs. This family disagrees on IPO: the authors of DPO's repository sum
log-ratios, TRL divides each side by its length (`mean`). The same β is then a regulariser of
another strength, by about a length. Both are run here; the claim uses sums.

Traps: the KL of a reading is measured on the policy's own completions, not on the pairs. Gold at KL
0 is not 0, so the fits subtract the reference. β plays opposite roles in IPO's target (large β,
small target) and in the slope of the others.

Here: few pairs, noisy labels and a thousand steps make all three turn; in a hundred steps on the
world's own 400 pairs none does (`assay run direct_alignment --world table`). The claim is judged at
the smaller β; the arms at the larger one show the order: there IPO's target is so near that its KL
stays small and it hardly falls, while DPO and SLiC go on to turn. Gao's forms can be fitted to such
a run by `assay report`. What it cannot show: how the hump changes with the size of the model, and
epochs over so few pairs are far more than the paper's one.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Step, Task
from assay.formulas.pairwise import dpo, hinge, ipo
from assay.loops import log_ratios, paired
from assay.stats.effects import Reading, drop

paper = Paper(
    "Scaling Laws for Reward Model Overoptimization in Direct Alignment Algorithms",
    "Rafailov et al.",
    2024,
    "arXiv:2406.02900",
)
reduces = {"dpo": ({"loss": "dpo", "beta": 0.1, "alpha": 0.0}, {"beta": 0.1})}
LOSSES = ("dpo", "ipo", "slic")
BETAS = (0.02, 0.1)


def recipe(
    task: Task,
    *,
    loss: str = "dpo",
    beta: float = 0.05,
    alpha: float = 0.0,
    mean: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the task's pairs and yield the policy after each step.

    Args:
        loss: dpo, ipo or slic.
        beta: Strength of the implicit KL penalty, per nat; IPO's τ. Above 0.
        alpha: Penalty of a decision of length, in units of the implicit reward.
        mean: Divide log-ratios by the completions' lengths, as TRL's IPO does.
    """
    if loss not in LOSSES:
        raise InputError(f"--loss is '{loss}'; it is one of {', '.join(LOSSES)}")
    if not beta > 0:
        raise InputError(f"--beta is {beta}; it must be above 0")

    def of(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        lengths = rows.lengths.to(logp.dtype)
        chosen, rejected = log_ratios(logp, reference)
        if mean:
            chosen, rejected = (
                chosen / lengths[:, 0].clamp(min=1),
                rejected / lengths[:, 1].clamp(min=1),
            )
        if alpha:
            chosen, rejected = (
                chosen + alpha / beta * lengths[:, 0],
                rejected + alpha / beta * lengths[:, 1],
            )
        if loss == "ipo":
            return ipo(chosen, rejected, tau=beta, p=rows.p)
        return (dpo if loss == "dpo" else hinge)(chosen, rejected, beta=beta, p=rows.p)

    yield from paired(task, loop, data=task.pairs, loss=of, beta=beta)


@Claim(
    "DPO, IPO and SLiC all over-optimise: each falls from its peak in gold while its KL goes on "
    "growing, and further than on many clean pairs.",
    arms={
        **{
            f"{loss} {beta}": ("direct_alignment", {"loss": loss, "beta": beta, "max_steps": 1000})
            for loss in LOSSES
            for beta in BETAS
        },
        **{
            f"{loss} clean": (
                "direct_alignment",
                {
                    "loss": loss,
                    "beta": min(BETAS),
                    "max_steps": 1000,
                    "world.pairs": 8000,
                    "world.noise": 0.0,
                },
            )
            for loss in LOSSES
        },
    },
    worlds=("table",),
    on={"table": {"pairs": 200, "noise": 0.3}},
    least={f"{loss} falls": 0.5 for loss in LOSSES},
    seeds="100..109",
    control=tuple(f"{loss} over clean" for loss in LOSSES),
    broken="8,000 clean pairs in place of 200 noisy ones",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Fall of each loss from peak to end, at fresh addresses, at the smaller β, and how much more
    that is than on many clean pairs. Gold's unit is its deviation under the reference.
    """
    falls = {loss: drop(arms[f"{loss} {min(BETAS)}"]) for loss in LOSSES}
    return {f"{loss} falls": fall for loss, fall in falls.items()} | {
        f"{loss} over clean": fall - drop(arms[f"{loss} clean"]) for loss, fall in falls.items()
    }
