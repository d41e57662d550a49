"""Trust-GRPO: weigh a reward for thinking by how well it agrees with the outcome.

    r_i = a_i + α·γ·e^{−t/T}·s_i,  then GRPO's normalisation in the group

a_i is the outcome's reward, s_i in [0, 1] the thinking reward, t the step. γ = 1 if the thinking
reward's mean over the prompt's right completions, μ_c, is at least its mean over the wrong ones,
μ_w; otherwise γ = e^{μ_c − μ_w}. A group that is all right or all wrong says nothing of the
thinking reward and gets none. Differs from grpo in what is added to the reward.

T decides how much of it is annealing. The released configuration says 12000 and its class 500; at
the paper's 1500 steps the last weight is then 0.88 or 0.05. T = 33 stands for the second in a run
of 100 steps; a shorter run anneals less (25 steps end at e^(−0.75) = 0.47).

Where the released code differs. The thinking reward is asked only where a_i ≥ 0.2 and counts as 0
otherwise, and wrong means a_i < 0.5 (`released`). With outcomes 0 and 1 the wrong completions are
then never asked, μ_w = 0, and γ = 1 in every group of both kinds. It also logs e^{2(μ_c − μ_w)},
another γ than the one it applies.

Traps: γ from one right completion among seven wrong ones is noisy; nothing is done about that. In a
group of both kinds γ never changes the sign of the thinking reward's preference: where it is wrong
about a prompt it still pulls the wrong way, only less, and never at less than 1/e of its weight.
That a group of one kind gets no thinking reward is a rule of its own, the gate, and can be most of
what trust does.

`trust` says which γ weighs the thinking reward: own (the paper's), off (1), or a part of it or a
control: gate is 1 in groups of both kinds and 0 in others, without γ; shuffled keeps the gate and
gives each prompt that it lets through the γ of another such prompt; mean gives all prompts the
batch's mean, and so breaks gate and γ together.

Here: the world supplies the thinking reward. With --world.inverted it is the share of wrong steps
on so many of the prompts, and of right steps on the rest; the claim has it wrong on half of them.
The claim asks for all that the paper says: that the trusted thinking reward is worth more than
none, that trust is worth more than annealing alone, and that it is γ and not the gate. On 32 seeds
trust ends 0.030 [0.005, 0.055] above annealing alone, 0.000 [−0.011, 0.012] above answers alone,
and at what the gate alone (−0.001 [−0.010, 0.008]) and exchanged γ (−0.002 [−0.011, 0.007]) reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Rng, Samples, Step, Task
from assay.errors import InputError
from assay.formulas.advantage import group_standardised
from assay.formulas.divergence import k3
from assay.formulas.process import trust as trusted
from assay.formulas.reduce import per_completion_token
from assay.loops import (
    clipped_surrogate,
    online,
    proxy_score,
    record_kl,
    require_group,
    with_reference_logp,
)
from assay.stats.effects import Reading, final

paper = Paper(
    "SophiaVL-R1: Reinforcing MLLMs Reasoning with Thinking Reward",
    "Fan et al.",
    2025,
    "arXiv:2505.17018",
)
reduces = {"grpo": ({"alpha": 0.0}, {})}

TRUST = ("own", "off", "gate", "shuffled", "mean")


def recipe(
    task: Task,
    *,
    alpha: float = 0.3,
    trust: str = "own",
    T: float = 33.0,
    released: bool = False,
    right: float = 0.5,
    beta: float = 0.04,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    thinking: str = "thinking",
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by GRPO on the weighted reward and yield the policy after each step.

    Args:
        alpha: Weight α of the thinking reward.
        trust: What weighs it: own, off, gate, shuffled or mean.
        T: Steps in which it falls by a factor of e; 0 for no annealing.
        released: Use the released code's rule, see above.
        right: Outcome reward from which a completion is right.
        beta: Weight of k3 in the loss.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        thinking: Name of the thinking reward.
        member: Index of the reward model that is the outcome.
    """
    if trust not in TRUST:
        raise InputError(f"--trust is '{trust}'; it is one of {', '.join(TRUST)}")
    if T < 0:
        raise InputError(f"--T is {T}; it is a number of steps, or 0 for no annealing")
    outcome, think = proxy_score(task, member), task.rewards.named(thinking) if alpha else None

    def score(x: Samples) -> Tensor:
        a = outcome(x)
        if think is None:
            return a
        s, t = think(x)[0], task.carry.next - 1  # the step in progress, or the last one made
        if released:
            s = torch.where(a >= 0.2, s, s.new_zeros(()))
        gamma = weighed(trusted(s, a >= right, x.present), trust, task.rng("trust", t))
        return a + alpha * (math.exp(-t / T) if T else 1.0) * gamma[:, None] * s

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        return group_standardised(require_group(reward), x.present, eps=1e-4, ddof=1)[..., None]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        surrogate = clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)
        if not beta:
            return surrogate
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        return surrogate + beta * k3(logp, reference)

    yield from online(
        task,
        loop,
        score=score,
        advantage=advantage,
        loss=loss,
        reduce=per_completion_token,
        against_reference=bool(beta),
        reads_logp=False,
    )


def weighed(gamma: Tensor, trust: str, rng: Rng) -> Tensor:
    """The weights `[B]` of the prompts' thinking rewards: their γ, or a control's.

    Args:
        gamma: γ of each prompt `[B]`.
        trust: own, off, gate, shuffled or mean.
        rng: Address of the shuffle.
    """
    if trust == "off":
        return torch.ones_like(gamma)
    if trust == "gate":
        return (gamma > 0).to(gamma)
    if trust == "shuffled":
        passed = (gamma > 0).nonzero()[:, 0]
        return gamma.index_put((passed,), gamma[passed[rng.permutation(len(passed))]])
    return gamma.mean().expand(len(gamma)) if trust == "mean" else gamma


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "inverted": 0.5, "rewards": "outcome,thinking"}
_STEPS = {"max_steps": 15}
# at the end of the run the weight is 0.05 or 0.37 of the first
_T = {"T": (5.0, 15.0), "learning_rate": (1e-3, 2e-3, 4e-3)}


@Claim(
    "A thinking reward that is wrong on half of the prompts, weighed by trust, is worth more than "
    "answers alone and than annealing alone, and that is due to γ and not to the rule that a group "
    "of one kind gets none.",
    arms={
        "trusted": ("trust_weighted", _STEPS),
        "annealed": ("trust_weighted", {**_STEPS, "trust": "off"}),
        "answers": ("trust_weighted", {**_STEPS, "alpha": 0.0}),
        "gate": ("trust_weighted", {**_STEPS, "trust": "gate"}),
        "shuffled": ("trust_weighted", {**_STEPS, "trust": "shuffled"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # one completion in a hundred; to beat a control is enough
    least={"over answers alone": 0.01, "over annealing alone": 0.01},
    seeds="500..531",
    tuned={
        "trusted": _T,
        "annealed": _T,
        "answers": {"learning_rate": (7e-4, 1e-3, 1.4e-3, 2e-3, 2.8e-3, 4e-3)},
        "gate": "trusted",
        "shuffled": "trusted",
    },
    control=("over the gate alone", "over shuffled trust"),
    broken="γ is 1 in every group of both kinds, or that of another such group",
    differs={
        "scored": "answers alone asks for no thinking reward",
        "seconds": "the first arm of a process loads what the others find loaded",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold of the trusted arm less that of each other one."""
    trusted = final(arms["trusted"])
    return {
        "over answers alone": trusted - final(arms["answers"]),
        "over annealing alone": trusted - final(arms["annealed"]),
        "over the gate alone": trusted - final(arms["gate"]),
        "over shuffled trust": trusted - final(arms["shuffled"]),
    }
