"""SPO: one policy plays against itself, and its reward is how often it wins.

The game of preferences is symmetric, so that a minimax winner needs no second player. N completions
of one prompt are compared with one another, and any policy gradient takes

    r_i = mean over j ≠ i of P(y_i ≻ y_j)

as the reward. No reward model is fitted, and no preference need be transitive. Exactly it is
multiplicative weights against oneself, π ← π·exp(η·P(·≻π)) (`exact`). The *average* policy
converges to the minimax winner as fast as 1/√T; the last one cycles or leaves. `average` yields it
(a table of one decision, whose policies can be averaged); by default the last one is yielded.

Differs from `leave_one_out` in the reward alone. The rewards of n completions of a prompt sum to
n/2, so that the mean of the others is no baseline but the reward itself once more: the gradient is
n/(n−1) times that of P(π ≻ π′), in its direction.

Traps. Few completions a prompt make win rates of many ties. Rewards of a prompt always have the
mean ½: training curves of the reward show nothing, so that readings' proxy is the win rate over the
reference. Where a completion's probability underflows, multiplicative weights never bring it back.

Here: games of a few completions, in which exploitability is exact. On 16 random games the average
is .030 [.009, .051] less exploitable than the last policy at its own best rate, which is a small
one, and .086 [.027, .145] less than a policy trained on a reward model. δ is .02: the first is not
shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from assay.core import Claim, InputError, Loop, Paper, Step, Task
from assay.formulas.self_play import no_regret_step
from assay.loops import online
from assay.loops.preference_rounds import (
    exact_rounds,
    mean_policy,
    self_play_wins,
)
from assay.loops.self_play import every_completion, reference_win_rate
from assay.stats.effects import Reading
from assay.stats.self_play import late, least_exploitable

paper = Paper(
    "A Minimaximalist Approach to Reinforcement Learning from Human Feedback",
    "Swamy et al.",
    2024,
    "arXiv:2401.04056",
)
reduces = {}


def recipe(
    task: Task,
    *,
    average: bool = False,
    exact: bool = False,
    eta: float = 0.5,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on win proportions and yield the policy after each step.

    Args:
        average: Yield the mean of all policies so far (a table of one decision) instead of the
            last one.
        exact: Take exact steps of multiplicative weights (a table of one decision).
        eta: Their step η.
    """
    if not eta > 0:
        raise InputError(f"--eta is {eta}; give a step above 0")
    if exact:
        yield from exact_rounds(
            task,
            loop,
            lambda logp, q, mu, _: no_regret_step(logp, q, mu, eta=1 / eta, tau=0.0),
            average=average,
        )
        return
    if average:
        every_completion(task.reference, "spo")  # refuses what cannot be averaged
    carry: Any = task.carry.keep(summed=0.0, averaged=0)
    score = reference_win_rate(task)
    for step in online(task, loop, score=score, reward=lambda x: self_play_wins(task, x)):
        if average:
            policy: Any = step.policy
            probs = policy.logits.detach().double().softmax(-1)
            carry.summed, carry.averaged = carry.summed + probs, carry.averaged + 1
            step = replace(step, policy=mean_policy(policy, carry.summed / carry.averaged))
        yield step


_RUN = {"max_steps": 100, "learning_rate": 0.1}
_RATES = {"learning_rate": (0.03, 0.1, 0.3)}
_SCORES = {"world.game": "transitive"}


@Claim(
    "Where preferences are intransitive, SPO's average policy is less exploitable than its last "
    "one, and than a policy trained on a Bradley-Terry model of labelled pairs; where such a model "
    "holds, SPO's last policy is as good.",
    arms={
        "average": ("spo", {**_RUN, "average": True}),
        "last": ("spo", _RUN),
        "reward model": ("leave_one_out", _RUN),
        "last, transitive": ("spo", {**_RUN, **_SCORES}),
        "reward model, transitive": ("leave_one_out", {**_RUN, **_SCORES}),
    },
    worlds=("table",),
    on={"table": {"testbed": "game", "game": "random"}},
    # exploitability is a probability less a half: two in a hundred more often beaten at best
    least={"over the last": 0.02, "over the reward model": 0.02, "transitive: over it": -0.02},
    seeds="100..115",
    tuned=dict.fromkeys(
        ("average", "last", "reward model", "last, transitive", "reward model, transitive"), _RATES
    ),
    by=least_exploitable,
    control=("over the reward model",),
    broken="the reward is a Bradley-Terry model of labelled pairs in place of comparisons",
    differs={
        "scored": "completions are compared with one another, or scored one by one",
        "compared": "as for scored",
        "seconds": "as for scored",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """How much more exploitable the others' policies are, over the second half of a run."""
    left = {name: late(readings) for name, readings in arms.items()}
    return {
        "over the last": left["last"] - left["average"],
        "over the reward model": left["reward model"] - left["average"],
        "transitive: over it": left["reward model, transitive"] - left["last, transitive"],
    }
