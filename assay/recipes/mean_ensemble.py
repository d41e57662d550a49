"""Train against the mean of M reward models.

Differs from leave_one_out in the score, and in nothing else.

Here: members are fitted on bootstraps of the pairs. The paper's members see all pairs and differ in
the seed of their head and of the order; linear fits of all pairs have one optimum and would all be
one (`--no-bootstrap`). Bootstraps differ more. The claim's single reward model is fitted on all
pairs, as the paper's is: one bootstrap has seen 63 % of them. Best-of-n by the mean then ends .37
[.25, .50] above that by the single, and at equal KL policies have .20 [.09, .32] more gold; without
a penalty they do not fall less, −.35 [−.84, .15] (50 seeds).
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import mean
from assay.loops import member_scores, online
from assay.stats.effects import Reading, drop, final, matched_gain

paper = Paper(
    "Reward Model Ensembles Help Mitigate Overoptimization",
    "Coste et al.",
    2023,
    "arXiv:2310.02743",
)
reduces = {"leave_one_out": ({"members": 1}, {})}


def recipe(task: Task, *, members: int = 0, loop: Loop = Loop()) -> Iterator[Step]:
    """Train against the mean score and yield the policy after each step.

    Args:
        members: Reward models to use, counted from the first; 0 for all.
    """
    scores = member_scores(task, members)

    def score(x: Samples):
        return mean(scores(x))  # new in this paper

    yield from online(task, loop, score=score)


WHOLE = {"world.bootstrap": False}  # one reward model of all the pairs
# shared mode does not harm best-of-n by one reward model up to n = 1,024; this one does. At 100
# pairs it falls by more than 0.05 up to n = 512 on each of seeds 0 to 4, at 200 on three of them
BEST = {"world.mode": "idiosyncratic"}
CELL = {"pairs": 100}
GRID = {"beta": (0.03, 0.1, 0.3, 0.6)}
# a tenth of what the single model's policy loses on seeds 0 to 4 (median 1.7, and 1.5 under a small
# penalty, 0.1), and of gold's standard deviation under the reference
LEAST = {
    "best of n falls": 0.05,
    "best of n over single": 0.1,
    "falls less": 0.17,
    "penalised falls less": 0.15,
    "penalised over single": 0.1,
    "at equal KL over single": 0.0,
    "best of n over member": 0.0,
}


@Claim(
    "By the mean of an ensemble, best-of-n ends higher than by one reward model of all the pairs, "
    "and than by one of the members; a trained policy falls less from its peak, also under a small "
    "KL penalty, ends higher under the best one, and lies higher at equal KL.",
    arms={
        "mine": ("mean_ensemble", {}),
        "single": ("leave_one_out", {**WHOLE}),
        "mine, best of n": ("best_of_n", {"aggregate": "mean", **BEST}),
        "single, best of n": ("best_of_n", {**BEST, **WHOLE}),
        "member, best of n": ("best_of_n", {**BEST}),
        "mine, penalised": ("kl_in_reward", {"aggregate": "mean"}),
        "single, penalised": ("kl_in_reward", {**WHOLE}),
        "single, penalised as mine": ("kl_in_reward", {**WHOLE}),
    },
    turns="single",
    worlds=("table",),
    on={"table": CELL},
    least=LEAST,
    seeds="500..549",
    tuned={
        "mine, penalised": GRID,
        "single, penalised": GRID,
        "single, penalised as mine": "mine, penalised",
        # without a penalty there is nothing to choose
        **dict.fromkeys(("mine", "single"), ""),
        **dict.fromkeys(("mine, best of n", "single, best of n", "member, best of n"), ""),
    },
    control=("best of n over member",),
    premises=("best of n falls",),
    broken="one of the members, whose scores nothing averages",
    differs={
        "generated": "best-of-n is compared with best-of-n, and a trained policy with another one",
        "scored": "an ensemble scores every completion with each of its members",
        "updates": "best-of-n makes none",
        "seconds": "an ensemble scores more",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Gold. At n = 512: the single reward model's fall from its peak (the premise); the mean minus
    the single, and minus one member. Of policies: how much further the single's falls from its
    peak; that again with both at the penalty that is best for the mean; the ends, each at its best
    penalty; and the mean minus the single, averaged over the √KL that both reached.
    """
    bon = {k: final(arms[f"{k}, best of n"]) for k in ("mine", "single", "member")}
    held = arms["mine, penalised"]
    return {
        "best of n falls": drop(arms["single, best of n"]),
        "best of n over single": bon["mine"] - bon["single"],
        "falls less": drop(arms["single"]) - drop(arms["mine"]),
        "penalised falls less": drop(arms["single, penalised as mine"]) - drop(held),
        "penalised over single": final(held) - final(arms["single, penalised"]),
        "at equal KL over single": matched_gain(arms["mine"], arms["single"]),
        "best of n over member": bon["mine"] - bon["member"],
    }
