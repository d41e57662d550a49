"""Rewards designed for the learner's sake: potentials, sparse, self-learned, and a teacher's.

Two learners under these designs, the policy gradient on returns to go and tabular Q-learning
(`learner`, `loops.q_learning`), as the thesis has both; gold is always the original task.

- potential: r + γΦ(s') − Φ(s). Every optimal policy stays (`formulas.potential`), whatever Φ. Here
  the horizon ends the task, so Φ(s_T) = 0 and the shaped return is the original's minus Φ(s₀) for
  every policy. `cut` keeps Φ(s_T), as is right where an episode is only cut, and then it pays for
  where one stops. Q-learning bootstraps at the horizon and so always keeps it.
- explicable (EXPRD): a bounded reward on the states in which the original pays and `active` more,
  under which all optimal policies stay optimal by their gaps, and which tells as much as it can of
  each deviation within few steps: linear programmes (`rewards.designed`).
- random: the same programme on as many random states, which is its negative control.
- teacher: every `period` steps the reward that teaches the learner's *present* policy most,
  Σ_s μ(s)Σ_a π(a|s)A*(s,a)(R(s,a) − Σ_b π(b|s)R(s,b)), bounded, on `active` more states, and under
  which all optimal policies stay optimal: linear programmes too. period=0 designs once.
- explore (ExploRS): r + φ(s,a) + λ/√(N(s') + (λ/B)²). With Ḡ the return of the *original* reward
  and V(s) its running mean, φ(s,·) += η·π(a|s)·(Ḡ − V(s))·(e_a − π(·|s)). rate=0 leaves the bonus
  alone, fade=0 the self-learned part alone.
- none: the original.

Where this differs from the papers. EXPRD averages informativeness over every choice among tied
optimal actions; here over 4 of them at random where there are more. The teacher's set of states is
found by solving on all of them first, and keeping those that teach most. ExploRS' updates are means
over a step's episodes.

Traps: N is raised after it has paid; V follows a moving policy; π(a|s) in φ's update makes rare
actions learn late; −Φ(s_t) in a return to go is a baseline of the state, so shaping also takes
variance away; a learner that meets the goal by chance in every batch needs no design, so the claim
draws few episodes a step, as the papers' learners do.

Trap of the learner: an explicable reward penalises the wrong actions in states on the way, by up to
−1 each. A policy gradient learns first to stay where nothing is paid, 0 being more than its base
policy's −0.8 to −1.8. EXPRD is therefore judged with Q-learning, as in its paper. The design is the
same on every seed, as the grid is; seeds differ in what the learner draws. It ends .391 [.192,
.590] of a best .697 above a design on as many random states, 20 seeds.

The claims on the teacher and on ExploRS are those of `adaptive_teacher` and `self_learned_reward`.
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
    design: str = "explicable",
    potential: str = "optimal",
    cut: bool = False,
    active: int = 5,
    bound: float = 1.0,
    period: int = 10,
    rate: float = 0.1,
    fade: float = 1.0,
    most: float = 1.0,
    learner: str = "gradient",
    epsilon: float = 0.1,
    primary: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the designed reward and yield the policy after each step.

    Args:
        design: none, potential, explicable, random, explore or teacher.
        potential: optimal, random or adversarial: Φ of the design potential.
        cut: Pay Φ(s_T) at the horizon; Q-learning always does.
        active: States that a sparse design or a teacher's adds.
        bound: Largest entry of a design, at least the original's largest.
        period: Steps between a teacher's designs; 0 for one at the start.
        rate: Learning rate η of ExploRS.
        fade: Weight λ of ExploRS' bonus.
        most: Largest bonus B of ExploRS.
        learner: gradient, or q for tabular Q-learning, whose learning rate is the loop's.
        epsilon: Chance ε of any action at all, of Q-learning.
        primary: Index of the reward that is the original.
    """
    yield from by_design(
        task,
        design=design,
        potential=potential,
        cut=cut,
        active=active,
        bound=bound,
        period=period,
        rate=rate,
        fade=fade,
        most=most,
        learner=learner,
        epsilon=epsilon,
        primary=primary,
        loop=loop,
    )


BEST = 0.697  # gold of the grid's best policy, by backward induction
FEW = {"max_steps": 100, "batch_size": 4, "num_generations": 2, "learner": "q"}
GRID = {"learning_rate": (0.03, 0.1, 0.3), "epsilon": (0.02, 0.05, 0.2)}


@Claim(
    "A sparse explicable reward teaches a Q-learner faster than the original one does, and than "
    "the same programme on random states.",
    arms={
        "original": ("reward_design", {**FEW, "design": "none"}),
        "explicable": ("reward_design", {**FEW, "design": "explicable"}),
        "random states": ("reward_design", {**FEW, "design": "random"}),
    },
    worlds=("table",),
    on={"table": {"testbed": "grid"}},
    tuned={"original": GRID, "explicable": GRID, "random states": "explicable"},
    by=average,
    # about a tenth of the best policy's gold; the room above the original has to be twice that
    least={"over original": 0.07, "over random states": 0.07, "room": 0.14},
    seeds="400..419",
    control=("over random states",),
    broken="the states that the sparse reward may use are random",
    premises=("room",),
    differs={"seconds": "a design solves linear programmes"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Differences in mean gold over the run, at equal episodes and updates; and by how much the
    best policy's gold exceeds the original's.
    """
    mean = {name: average(readings) for name, readings in arms.items()}
    return {
        "over original": mean["explicable"] - mean["original"],
        "over random states": mean["explicable"] - mean["random states"],
        "room": BEST - mean["original"],
    }
