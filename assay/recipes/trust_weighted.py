"""Trust-GRPO: a judge of the thinking is paid less where it prefers wrong answers, and less as
training goes on.

r_i = a_i + α·γ·e^{−t/T}·s_i, then GRPO's normalisation in the group; a_i is the answer's reward,
s_i in [0, 1] the judge's score of the thinking, t the step. γ = 1 if the judge's mean over the
prompt's right answers, μ_c, is at least its mean over the wrong ones, μ_w, and e^{μ_c − μ_w} where
it is less. A group all right or all wrong says nothing of the judge: no thinking reward. Differs
from grpo in what is added to the reward.

T decides how much of it is annealing. The released configuration says 12000 and its class 500; at
the paper's 1500 steps that is a last weight of 0.88 or 0.05. T = 33 stands for the second in a run
of 100 steps; a shorter run anneals less (25 steps end at e^(−0.75) = 0.47). With `released` the
rule is that of the released code: the judge is asked only where a_i ≥ 0.2 and counts as 0
otherwise, and wrong means a_i < 0.5. With outcomes 0 and 1 the wrong are then all unasked, μ_w = 0
and γ = 1 nearly always. (It logs e^{2(μ_c − μ_w)}, another γ than it applies.) γ from one right
answer among seven wrong ones is noisy; nothing is done about that.

The world supplies the judge: with --world.inverted 0.5 the thinking reward is the share of right
steps on half the prompts and of wrong steps on the rest. γ never changes the sign of the judge's
preference: where it is wrong about a prompt it still pulls the wrong way, only less, and never to
less than 1/e of its weight. The claim compares trust with the same annealing without trust, so that
annealing alone cannot carry it; the plain arms show what annealing does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.errors import InputError
from assay.formulas.advantage import group_standardised
from assay.formulas.divergence import k3
from assay.formulas.process import trust
from assay.formulas.reduce import per_answer_token
from assay.formulas.surrogate import clipped
from assay.loops.online import judge, online, seen, siblings
from assay.stats.effects import Reading, final

paper = Paper(
    "SophiaVL-R1: Reinforcing MLLMs Reasoning with Thinking Reward",
    "Fan et al.",
    2025,
    "arXiv:2505.17018",
)
reduces = {"grpo": ({"alpha": 0.0}, {})}


def recipe(
    task: Task,
    *,
    alpha: float = 0.3,
    trusted: bool = True,
    T: float = 33.0,
    released: bool = False,
    right: float = 0.5,
    beta: float = 0.04,
    low: float = 0.2,
    high: float = 0.2,
    thinking: str = "thinking",
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """alpha: weight of the thinking score; trusted: weigh it by γ; T: steps in which it falls by e,
    0 for no annealing; released: the released code's rule, see above; right: the answer reward from
    which an answer is right; beta: weight of k3; low, high: clip range; thinking: the judge's name;
    member: the answer's reward.
    """
    if T < 0:
        raise InputError(f"--T is {T}; it is a number of steps, or 0 for no annealing")
    answer, think = judge(task, member), task.rewards.named(thinking) if alpha else None

    def score(x: Samples) -> Tensor:
        a = answer(x)
        if think is None:
            return a
        s, t = think(x)[0], task.carry.next - 1  # the step that is being made, or was made last
        if released:
            s = torch.where(a >= 0.2, s, s.new_zeros(()))
        gamma = trust(s, a >= right, x.present) if trusted else s.new_ones(len(s))
        return a + alpha * (math.exp(-t / T) if T else 1.0) * gamma[:, None] * s

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        return group_standardised(siblings(reward), x.present, eps=1e-4, ddof=1)[..., None]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        surrogate = clipped(logp, rows.logp, advantage, low=low, high=high)
        return surrogate + beta * k3(logp, seen(task.reference, rows).logp) if beta else surrogate

    yield from online(
        task, loop, score=score, advantage=advantage, loss=loss, reduce=per_answer_token
    )


_FALL = {
    "T": 8.0,
    "max_steps": 25,
}  # ends at e^(−25/8) = 0.04 of its weight, as the class default does at 1500 steps


@Claim(
    "Where a judge of thinking is wrong about half the prompts, weighing it by trust keeps gold "
    "that annealing alone loses.",
    arms={
        "trusted": ("trust_weighted", _FALL),
        "annealed": ("trust_weighted", {**_FALL, "trusted": False}),
        "constant": ("trust_weighted", {**_FALL, "trusted": False, "T": 0.0}),
        "released": ("trust_weighted", {**_FALL, "released": True}),
        "answers": ("trust_weighted", {**_FALL, "alpha": 0.0}),
    },
    worlds=("sums",),
    on={"sums": {"inverted": 0.5}},
    least=0.02,
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Final gold with trust and annealing minus final gold with annealing alone; two answers in a
    hundred are the least.
    """
    return final(arms["trusted"]) - final(arms["annealed"])
