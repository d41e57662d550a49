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

The paper pools runs of several β and fits gold above the reference by Gao's form for RL, d(α −
β·log d), d = √KL. The claim fits that form to the runs of two β and tests it on the other two, both
ways round, beside the form for best-of-n, d(α − β·d), which has as many constants, and beside the
mean gold of the runs that are fitted.

Here: 200 noisy pairs are read ten times (125 updates at four times the world's learning rate), so
that runs turn and end on their way down. In 1,000 updates policies end with one token repeated,
whose worth is chance: DPO at β .02 wrote it twelve times. The control has 8,000 pairs of the same
noise, which are read a quarter of once. Falls are judged at the smallest β; at the largest IPO's
target is so near that it hardly moves. A table has one size. How α and β change with the policy's
size is measured by `direct_alignment_sizes` on small Llamas: both rise with it there (α .20, .33,
.42 and β .55, .63, .75 at parameters 1 : 2.8 : 7), and at equal KL the smallest is not shown to
have less gold above its reference than the largest (.16 [−.22, .55]).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Step, Task
from assay.formulas.pairwise import dpo, hinge, ipo
from assay.loops import log_ratios, paired
from assay.stats.effects import Reading, drop
from assay.stats.pooled import pooled_error
from assay.stats.readings import final as reading_at
from assay.stats.readings import second_look

paper = Paper(
    "Scaling Laws for Reward Model Overoptimization in Direct Alignment Algorithms",
    "Rafailov et al.",
    2024,
    "arXiv:2406.02900",
)
reduces = {"dpo": ({"loss": "dpo", "beta": 0.1, "alpha": 0.0}, {"beta": 0.1})}
LOSSES = ("dpo", "ipo", "slic")
BETAS = (0.02, 0.05, 0.1, 0.2)


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


def kl_after_peak(readings: list[Reading]) -> float:
    """KL of the last policy minus that of the best checkpoint, in nats."""
    last, best = reading_at(readings, "kl"), second_look(readings)
    if last is None or best is None:
        raise ValueError("this run has not read its best checkpoint again")
    return float(last["kl"]) - float(best["kl"])


_RUN = {"max_steps": 125, "learning_rate": 0.2}


@Claim(
    "DPO, IPO and SLiC all over-optimise: each falls from its peak in gold while its KL goes on "
    "growing, and further than on many pairs of the same noise; and gold follows d(α − β log d) "
    "over all β, more closely than d(α − βd) does.",
    arms={
        **{
            f"{loss} {beta}": ("direct_alignment", {"loss": loss, "beta": beta, **_RUN})
            for loss in LOSSES
            for beta in BETAS
        },
        **{
            f"{loss} many": (
                "direct_alignment",
                {"loss": loss, "beta": min(BETAS), **_RUN, "world.pairs": 8000},
            )
            for loss in LOSSES
        },
    },
    worlds=("table",),
    on={"table": {"pairs": 200, "noise": 0.3}},
    least={
        **{f"{loss} falls": 0.5 for loss in LOSSES},
        "KL grows": 1.0,
        "law over d(α − βd)": 0.0,
        "law over mean": 0.1,
    },
    seeds="340..379",
    control=tuple(f"{loss} over many" for loss in LOSSES),
    broken="8,000 pairs of the same noise in place of 200",
    differs={"seconds": "the order of 8,000 pairs takes longer to draw; updates are as many"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Fall of each loss from peak to end at the smallest β, how much more that is than on many
    pairs, and the least KL that a loss gains after its peak. Of the law, by how much its error on
    runs of other β is smaller than that of a form and of the mean, over the three losses. Gold's
    unit is its deviation under the reference.
    """
    falls = {loss: drop(arms[f"{loss} {min(BETAS)}"]) for loss in LOSSES}
    runs = {loss: [[arms[f"{loss} {b}"] for b in BETAS[i::2]] for i in (0, 1)] for loss in LOSSES}
    error = {
        form: sum(pooled_error(runs[loss], form) for loss in LOSSES) / len(LOSSES)
        for form in ("rl", "best-of-n", "mean")
    }
    return {
        **{f"{loss} falls": fall for loss, fall in falls.items()},
        **{f"{loss} over many": f - drop(arms[f"{loss} many"]) for loss, f in falls.items()},
        "KL grows": min(kl_after_peak(arms[f"{loss} {min(BETAS)}"]) for loss in LOSSES),
        "law over d(α − βd)": error["best-of-n"] - error["rl"],
        "law over mean": error["mean"] - error["rl"],
    }
