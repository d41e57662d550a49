"""Does plain softmax REINFORCE find the best arm at rate 1/t with a step that never decays?

    pull a ~ π = softmax(θ), see R;    θ_k ← θ_k + η·(1[k = a] − π_k)·R

The theorem says yes, almost surely, without entropy bonus, baseline or decay, because the noise
goes with the progress: E‖ĝ‖² ≤ C·‖∇J‖ (`formulas.gradient_bandit`). It is proved for η ≤ 1/(5C) =
Δ²/(40·K^{3/2}·R³), which is 4·10⁻⁵ for the four arms here: far too small to be run. What is run is
a step that is larger by orders. For every constant step a later paper (Mei et al., "Small steps no
more", arXiv:2502.07141) proves convergence; the rate of 1/t is this one's.

`decay` 0 is the constant step, ½ is η/√t. `noise` constant is the control: the exact gradient plus
normal noise that stays as large as the sampled gradient's at the start. A line has the mean
sub-optimality of `runs` runs at the last four doublings of t, its slope in log–log, and the share
of runs that end with most of their chance on a wrong arm. Averages are over all runs.

Traps. The claim is bound to a regime. At a step of .5 or more some runs put their whole chance on a
wrong arm early, and come back from there only in a time that no run has; the mean is then theirs,
and its slope is flat. A baseline changes nothing of the rate.

Here: Bernoulli arms with means .2, .35, .5 and .8, 8,000 pulls, each step at its best rate. On
seeds 100 to 119 the constant step ends .95 [.80, 1.10] decades closer than η/√t, and .50 [.35, .66]
closer than with noise that stays. The slope is within .15 of −1 by .05 [−.03, .14]: undecided, for
at the chosen rate, .2, a run in some seeds of 64 is caught on a wrong arm, and its mean is flat. No
policy and no language: a law of the optimiser, as `best_of_n_theory` is one of sampling.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Paper, Rng, World
from assay.formulas.gradient_bandit import exact_gradient, sampled_gradient, second_moment

paper = Paper("Stochastic Gradient Succeeds for Bandits", "Mei et al.", 2024, "arXiv:2402.17235")
reduces = {}
CHUNK = 500  # steps whose random numbers are drawn at once
READ = 4  # the last doublings of t that the slope is fitted to


def study(
    world: World,
    *,
    rate: float = 0.1,
    decay: float = 0.0,
    noise: str = "own",
    means: tuple[float, ...] = (0.2, 0.35, 0.5, 0.8),
    steps: int = 8000,
    runs: int = 64,
) -> Iterator[dict[str, Any]]:
    """Yield one line on the runs, and one of what they spent.

    Args:
        rate: Step size η.
        decay: The step at time t is η/t^decay; 0 for a constant one.
        noise: own, that of the sampled gradient, or constant, the negative control.
        means: Chances that the arms pay 1, all different.
        steps: Pulls a run, at least 16.
        runs: Independent runs.
    """
    if noise not in ("own", "constant"):
        raise InputError(f"--noise is '{noise}'; it is own or constant")
    if not (len(means) > 1 and all(0 <= m <= 1 for m in means) and len(set(means)) == len(means)):
        raise InputError(f"--means is {list(means)}; give at least two different chances")
    if not rate > 0 or decay < 0 or steps < 2 ** (READ + 1) or runs < 1:
        raise InputError(
            f"--rate is {rate}, --decay {decay}, --steps {steps} and --runs {runs}; the rate and "
            f"the runs must be above 0, the decay at least 0 and the steps at least {2**READ}"
        )
    began, mean = time.perf_counter(), torch.tensor(means, dtype=torch.float64)
    theta, rng = torch.zeros(runs, len(means), dtype=torch.float64), world.task.rng("pulls")
    wild = float((second_moment(theta[:1], mean) / len(means)).sqrt())
    at, gaps = [steps >> k for k in reversed(range(READ))], list[float]()
    for t in range(1, steps + 1):
        if (t - 1) % CHUNK == 0:
            drawn = numbers(rng, t // CHUNK, runs, len(means), noise)
        step, u = rate / t**decay, drawn[:, (t - 1) % CHUNK]
        if noise == "own":
            arm = torch.searchsorted(theta.softmax(-1).cumsum(-1), u[:, :1].contiguous())[:, 0]
            arm = arm.clamp(max=len(means) - 1)
            theta += step * sampled_gradient(theta, arm, (u[:, 1] < mean[arm]).to(theta))
        else:
            theta += step * (exact_gradient(theta, mean) + wild * u)
        if t in at:
            gaps.append(float(gap(theta, mean).mean()))
    wrong = (theta.argmax(-1) != mean.argmax()).double().mean()
    yield {
        "kind": "run",
        "at": at,
        "gap": gaps,
        "slope": slope(at, gaps),
        "wrong": float(wrong),
        "median": float(gap(theta, mean).median()),
    }
    yield {
        "kind": "spent",
        "arm": "",
        "scored": runs * steps,
        "updates": runs * steps,
        "seconds": time.perf_counter() - began,
    }


def numbers(rng: Rng, chunk: int, runs: int, arms: int, noise: str) -> Tensor:
    """The numbers of the next steps: uniform `[runs,CHUNK,2]`, or normal `[runs,CHUNK,K]`."""
    place = torch.arange(runs)[:, None, None], torch.arange(CHUNK)[:, None]
    if noise == "own":
        return rng("own", chunk).uniform(*place, torch.arange(2)).double()
    return rng("constant", chunk).normal(*place, torch.arange(arms)).double()


def gap(theta: Tensor, mean: Tensor) -> Tensor:
    """Sub-optimality Σ_k π_k·(max μ − μ_k) of each run, without cancellation near 0."""
    return theta.softmax(-1) @ (mean.max() - mean)


def slope(at: list[int], gaps: list[float]) -> float:
    """Slope of log gap against log t, by least squares."""
    x = torch.tensor(at, dtype=torch.float64).log()
    y = torch.tensor(gaps, dtype=torch.float64).clamp(min=1e-300).log()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def learned(lines: list[dict[str, Any]]) -> float:
    """Minus the logarithm of the mean sub-optimality at the end."""
    return -math.log10(max(lines[0]["gap"][-1], 1e-300))


_RATES = {"rate": (0.02, 0.05, 0.1, 0.2, 0.5)}


@Claim(
    "With a constant step, plain REINFORCE on a bandit comes closer to the best arm at rate 1/t; "
    "at the end it is closer than with a step that decays as 1/√t, each at its best rate, and than "
    "with noise that stays.",
    arms={
        "constant": ("gradient_bandit", {}),
        "decaying": ("gradient_bandit", {"decay": 0.5}),
        "noisy": ("gradient_bandit", {"noise": "constant"}),
    },
    worlds=("study",),
    tuned={
        "constant": _RATES,
        "decaying": {"rate": (0.5, 1.0, 2.0, 4.0, 8.0)},
        "noisy": "constant",
    },
    by=learned,
    # as near to −1 as .15; a factor of two in sub-optimality
    least={"as 1/t": 0.0, "over 1/√t": 0.3, "over noise that stays": 0.0},
    seeds="100..119",
    control=("over noise that stays",),
    broken="the exact gradient, with noise that does not shrink as the policy learns",
    differs={"seconds": "the noisy arm draws another kind of numbers; the machine's load"},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """0.15 less the distance of the slope from −1; and decades of final mean sub-optimality."""
    mine = learned(arms["constant"])
    return {
        "as 1/t": 0.15 - abs(arms["constant"][0]["slope"] + 1),
        "over 1/√t": mine - learned(arms["decaying"]),
        "over noise that stays": mine - learned(arms["noisy"]),
    }
