"""ExploRS: a reward that the learner designs for itself, and a bonus for rare states.

    r + φ(s,a) + λ/√(N(s') + (λ/B)²),   φ(s,·) += η·π(a|s)·(Ḡ − V(s))·(e_a − π(·|s))

It is the design `explore` of `reward_design`, which has the bookkeeping; the learner is the policy
gradient. rate=0 leaves the bonus alone, which is the negative control, and fade=0 the self-learned
part alone. On the key-door grid all that it gains, .338 [.232, .444] of a best .697, is the
bonus's.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Step, Task
from assay.loops.reward_designs import by_design
from assay.stats.effects import Reading, average

paper = Paper(
    "Reward Design for Reinforcement Learning Agents", "Devidze", 2025, "arXiv:2503.21949"
)
reduces = {}


def recipe(
    task: Task,
    *,
    rate: float = 0.1,
    fade: float = 1.0,
    most: float = 1.0,
    primary: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the designed reward and yield the policy after each step.

    Args:
        rate: Learning rate η of φ.
        fade: Weight λ of the bonus.
        most: Largest bonus B.
        primary: Index of the reward that is the original.
    """
    yield from by_design(
        task, design="explore", rate=rate, fade=fade, most=most, primary=primary, loop=loop
    )


BEST = 0.697  # gold of the grid's best policy, by backward induction
FEW = {"max_steps": 100, "batch_size": 4, "num_generations": 2}
RATES = (0.1, 0.3)


@Claim(
    "Exploration with a self-learned part teaches faster than its bonus alone, and than the "
    "original reward.",
    arms={
        "both": ("self_learned_reward", FEW),
        "bonus": ("self_learned_reward", {**FEW, "rate": 0.0}),
        "original": ("reward_design", {**FEW, "design": "none"}),
    },
    worlds=("table",),
    on={"table": {"testbed": "grid"}},
    tuned={
        "both": {"learning_rate": RATES, "fade": (0.1, 0.3), "rate": (0.03, 0.1)},
        "bonus": {"learning_rate": RATES, "fade": (0.03, 0.1, 0.3, 1.0)},
        "original": {"learning_rate": (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)},
    },
    by=average,
    # about a tenth of the best policy's gold; the room above the original has to be twice that
    least={"over the bonus": 0.07, "over original": 0.07, "room": 0.14},
    seeds="400..429",
    control=("over the bonus",),
    broken="the self-learned part stays 0",
    premises=("room",),
    differs={"seconds": "counts and φ are moved"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Differences in mean gold over the run, at equal episodes and updates; and by how much the
    best policy's gold exceeds the original's.
    """
    mean = {name: average(readings) for name, readings in arms.items()}
    return {
        "over the bonus": mean["both"] - mean["bonus"],
        "over original": mean["both"] - mean["original"],
        "room": BEST - mean["original"],
    }
