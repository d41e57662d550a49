"""HL-Gauss in PPO: the critic classifies its returns into bins, and a value is a histogram's mean.

    p_i = mass of N(G, σ²) in bin i, renormalised
    L   = −Σ p_i · log softmax(l)_i,    V = Σ softmax(l)_i · c_i

Everything else is PPO: β·log(π/π₀) is paid at each decision and the score at the last, advantages
are GAE's, whitened over the batch, ratios are clipped, losses are a mean over all tokens.

Against ppo it changes three things, each with its switch in `--values`: the softmax over bins, the
cross-entropy, and the spread of the target. `scalar` is ppo's one output and squared error;
`squared` has the softmax and fits its mean by the squared error; `two_hot` is the cross-entropy
with a target that is divided between two bins; `gaussian` is HL-Gauss. Cross-entropies are not
clipped as ppo's value loss is.

G is the λ-return in deviations of the returns about their running mean (see loops/critic.py), so
that the support of ±10 deviations and its 51 bins need no bounds of the reward: a return of 1 that
a share p of the completions has lies √((1 − p)/p) deviations above the mean, within reach down to p
= 0.01. What lies beyond is taken to be at the end. In Atari, the paper has the same numbers in
units of the clipped reward.

Differs from the paper: its values are Q-learning's, and a language model's in Wordle; here they are
PPO's, whose target is a λ-return and not one step of bootstrapping. C51, which classifies the next
state's distribution and not a number, is not here. With λ = 1 no target is bootstrapped, and what
is left of the paper's two reasons is noise: outcomes of the same beginning are 0 and 1.

Traps. A bin is a share of the support: rewards from 0 to 1 that are not standardised would have
three bins of it. σ is a share of a bin's width here, 0.75 of it; some libraries take it in units of
the reward. And the critic's rate decides more than its loss: cross-entropies have other gradients
than squared errors, so that `--critic-lr` is tuned for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.reduce import per_token
from assay.loops import Gae, clipped_surrogate, online, proxy_score, with_critic
from assay.loops.value_forms import FITS, Binned, Scalar, ValueForm
from assay.stats.effects import Reading, final

paper = Paper(
    "Stop Regressing: Training Value Functions via Classification for Scalable Deep RL",
    "Farebrother et al.",
    2024,
    "arXiv:2403.03950",
)
reduces = {"ppo": ({"values": "scalar"}, {})}


def recipe(
    task: Task,
    *,
    values: str = "gaussian",
    bins: int = 51,
    reach: float = 10.0,
    spread: float = 0.75,
    critic_lr: float = 0.0,
    beta: float = 0.05,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by PPO with a critic that classifies, and yield the policy after each step.

    Args:
        values: How the critic is fitted: gaussian, two_hot, squared or scalar.
        bins: Bins of the support.
        reach: The support is from −reach to reach, in deviations of the returns.
        spread: σ of the targets in widths of a bin.
        critic_lr: Learning rate of the critic; 0 for the policy's.
        beta: Weight of the KL penalty in the reward, in units of the proxy per nat.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        value_clip: How far a value may move from its old one before its squared error is clipped,
            in standard deviations of the returns.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if values not in (*FITS, "scalar"):
        raise InputError(f"--values is '{values}'; it is scalar or one of {', '.join(FITS)}")
    if not critic_lr >= 0:
        raise InputError(f"--critic-lr is {critic_lr}; give a rate above 0, or 0 for the policy's")
    form: ValueForm = Scalar()
    if values != "scalar":
        form = Binned(fit=values, bins=bins, reach=reach, spread=spread)
    fit = replace(loop, learning_rate=critic_lr or loop.learning_rate)
    gae = Gae(gamma=gamma, lam=lam, value_clip=value_clip)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=with_critic(task, fit, by="hl_gauss", beta=beta, gae=gae, form=form),
        loss=loss,
        reduce=per_token,
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_STEPS = {"max_steps": 20, "learning_rate": 1e-3, "beta": 0.0}
_RATES = {"critic_lr": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}


@Claim(
    "With a critic that classifies its returns by HL-Gauss, PPO answers more problems rightly and "
    "its values explain more of the returns than with one that regresses, each at its best rate.",
    arms={
        "mine": ("hl_gauss", _STEPS),
        "scalar": ("hl_gauss", {**_STEPS, "values": "scalar"}),
        "squared": ("hl_gauss", {**_STEPS, "values": "squared"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred, and a twentieth of the returns' variance
    least={"over regression": 0.02, "explained": 0.05, "over squared": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "scalar": _RATES, "squared": _RATES},
    control=("over squared",),
    broken="the same softmax over bins, whose mean is fitted by a squared error",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that with a scalar critic, and minus that with a softmax
    fitted by a squared error; and the variance of the returns that the values explain before they
    are fitted to them, over the steps since the last reading, minus the scalar critic's.
    """
    last = {arm: final(readings) for arm, readings in arms.items()}
    seen = {arm: _explained(arms[arm]) for arm in ("mine", "scalar")}
    return {
        "over regression": last["mine"] - last["scalar"],
        "explained": seen["mine"] - seen["scalar"],
        "over squared": last["mine"] - last["squared"],
    }


def _explained(readings: list[Reading]) -> float:
    name = "explained_variance"
    return [float(r["stats"][name]) for r in readings if name in r["stats"]][-1]
