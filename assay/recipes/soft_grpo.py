"""SofT-GRPO: GRPO of a policy that thinks in mixtures of tokens, by the density of their noise.

    G = log p + g, g ~ Gumbel(0, 1)          a thought reads Σ softmax(G/τ)_i · E_i
    ℓ = mean over log p_i > −3 of −u_i − e^{−u_i},  u_i = clip(G_i − log p_i, −1.5, 3)
    L = mean over tokens of −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A) + β·k3,   ρ = exp(ℓ − ℓ_old)

p is the policy's K likeliest tokens, cut to `top_p` and renormalised. The noise makes thoughts
explore, and its density says which p would have drawn the same thought more likely. A thought ends
at `think_end`; what follows is plain tokens, with ℓ = log π. A is GRPO's, standardised in the
group. Aggregation: a mean over all tokens of the batch (`length_mean`: of a completion first). k3
stands in the loss, of thoughts too: towards the reference, which reads the same thoughts. No
gradient flows through a mixture.

`--density surrogate` is the released code's ℓ, above; `joint` is the density itself, the sum over
all kept tokens without a clip, under which the ratio is that of what was drawn. With `--thoughts 0`
it is grpo. `--uncredited` thinks as ever and gives thoughts no gradient: the negative control.

Differs from the released code: there a token that `top_p` cuts keeps a probability of 10⁻⁶ when
thoughts are drawn, and its own when they are read; here it is no part of the thought in either. The
token that ends a thought is taken as it is, with its own log-probability, which is exactly how
often it is the largest where noise is not clipped. What a thought keeps is what it kept when it was
drawn. Plain tokens are drawn from the whole distribution, there from the five likeliest.

Traps. At τ = 0.1 most mixtures are nearly one token. The surrogate has no derivative where u is
clipped, a twentieth of the noise, and is a mean: it moves a ratio K times less than the density
does. Noise that is clipped when it is drawn lies at the very end of the range, where rounding says
in the released code whether it has a derivative; here it has none. A thought's text is its largest
tokens; a verifier that reads every line judges what was hardly written. The reading before the
first step is of the plain reference. The statistic `entropy` averages −ℓ of thoughts with −log π of
tokens.

Here: in world sums scratch work is thought, and the answer's line is not. What the paper finds,
more problems solved by some of 32 completions at as many right answers, is looked for among 8 in
training (`pass_n`). In world hub any causal model of transformers thinks, with adapters too, if it
reads tokens through its embeddings alone; give --think-end a token, such as </think>."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.reduce import per_completion_token, per_token
from assay.loops import Rollouts, clipped_surrogate, group_relative
from assay.models.policies.soft_thinking import SoftThinking, Thoughts
from assay.models.samplers.soft_decoding import NOISY
from assay.stats.effects import Reading, final

paper = Paper(
    "SofT-GRPO: Surpassing Discrete-Token LLM Reinforcement Learning via "
    "Gumbel-Reparameterized Soft-Thinking Policy Optimization",
    "Zheng et al.",
    2025,
    "arXiv:2511.06411",
)
reduces = {"grpo": ({"thoughts": 0, "beta": 0.04, "length_mean": True}, {})}


def recipe(
    task: Task,
    *,
    thoughts: int = 64,
    think_end: str = "answer",
    top_k: int = 5,
    top_p: float = 0.95,
    tau: float = 0.1,
    density: str = "surrogate",
    uncredited: bool = False,
    beta: float = 0.001,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    length_mean: bool = False,
    right: float = 0.5,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by SofT-GRPO and yield the policy, which thinks, after each step.

    Args:
        thoughts: Soft thoughts of a completion, at most; 0 for none.
        think_end: The token that ends the thoughts.
        top_k: Tokens that a thought mixes, at most.
        top_p: The probability that they reach together.
        tau: Temperature of the mixtures.
        density: Log-density of a thought: surrogate or joint.
        uncredited: Give thoughts no gradient (the negative control).
        beta: Weight of k3 in the loss.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        length_mean: Average the loss over a completion's tokens first.
        right: Reward from which a completion is right, for the statistic `pass_n`.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    how = Thoughts(thoughts, think_end, top_k, top_p, tau, density)
    thinker = SoftThinking.of(task.reference, how)

    def prepare(batch: Rollouts) -> Rollouts:
        some = ((batch.reward >= right) & batch.samples.present).any(-1)
        soft = _soft(batch.samples)
        batch.stats["pass_n"] = float(some.float().mean())
        batch.stats["thoughts"] = float(soft.sum() / batch.samples.present.sum().clamp(min=1))
        return batch

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        own = torch.where(_soft(rows), logp.detach(), logp) if uncredited else logp
        return clipped_surrogate(own, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from group_relative(
        task.replaced(reference=thinker),
        loop,
        surrogate,
        reduce=per_completion_token if length_mean else per_token,
        beta=beta,
        member=member,
        aggregate=aggregate,
        prepare=prepare,
    )


def _soft(x: Samples) -> Tensor:
    """Which decisions are soft thoughts, `[B,N,T]`."""
    if NOISY not in x.extra:
        return torch.zeros_like(x.mask)
    return x.mask & (x.extra[NOISY][:, :, : x.mask.shape[2]] > -torch.inf).any(-1)


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_STEPS = {"max_steps": 20}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}


@Claim(
    "Thinking in mixtures of tokens, a policy trained by SofT-GRPO answers as many problems "
    "rightly as one trained on tokens, and more with at least one of eight completions.",
    arms={
        "mine": ("soft_grpo", _STEPS),
        "tokens": ("soft_grpo", {**_STEPS, "thoughts": 0}),
        "uncredited": ("soft_grpo", {**_STEPS, "uncredited": True}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # not two completions in a hundred fewer, two prompts in a hundred more
    least={"answers": -0.02, "some of eight": 0.02, "over uncredited": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "tokens": _RATES, "uncredited": _RATES},
    control=("over uncredited",),
    broken="thoughts drawn and read alike, without a gradient",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that of tokens; the share of prompts of the last steps of
    which one of eight completions is right, minus that of tokens; and the answers minus those of
    thoughts without a gradient.
    """
    last = {arm: final(readings) for arm, readings in arms.items()}
    some = {arm: _some(arms[arm]) for arm in ("mine", "tokens")}
    return {
        "answers": last["mine"] - last["tokens"],
        "some of eight": some["mine"] - some["tokens"],
        "over uncredited": last["mine"] - last["uncredited"],
    }


def _some(readings: list[Reading]) -> float:
    return [float(r["stats"]["pass_n"]) for r in readings if "pass_n" in r["stats"]][-1]
