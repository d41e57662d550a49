"""Does on-policy sampling, or pushing bad completions down, find what the data hardly has?

The paper says both do, because they seek modes: descent of the reverse KL(p‖q) moves the mass of a
policy p as p_a·(log(q_a/p_a) + KL(p‖q)), which takes it away from what is sampled and bad, where
maximum likelihood moves it as q_a − p_a towards all that the data has (`formulas.logit_flows`).
Where the best completions are far from the data, methods with a negative gradient or with fresh
samples should win; where they are near, imitation of the best should do.

This is the paper's bandit: 100 bins, a data policy that is tanh of a Cauchy variable in equal bins,
100 contexts that mean nothing, rewards exp(−((bin − centre)/10)²), 10 completions a context, Adam.
`centre` 70 is far from the data (its chance of bins 60 to 79 is .04), 20 is its middle. A small
network starts exactly at the data policy, where the released code fits one; its reference is the
data policy. Each round draws completions from the policy (`on_policy`) or from the data and makes
`reuse` updates on them, so every method has as many queries of the reward and as many updates.

    best_of_n  −log π(best of n)               dpo, ipo   all pairs of a context that do not tie
    pref_ft    −log π(winner) of these pairs   reinforce  −(r − mean r)·log π
    awr        −e^(r/temperature)·log π        ppo        the same, by the clipped ratio

Without `negative`, dpo and ipo keep the loser's log-ratio fixed, and reinforce and ppo leave out
advantages below 0. A line of kind "run" has a run's curve (exact expected reward over held-out
contexts, and KL from the data), its mean and its end; "spent" what it cost. `mixed` deals a context
its rewards in another order: the control.

Traps. Rates: a method that wins at its own best rate may lose at another's, so each is tuned. With
rates up to .01 every method chose the largest (seeds 0 to 4), so the grid goes beyond it, and the
claim was judged on new seeds.
Off-policy draws are fresh each round here, from the data policy: it is not one fixed set that is
read again and again. IPO's target is a difference of log-ratios, 10 in the released code. The
distance of the reward from the data decides, not "supervised against reinforcement".

Here (ten seeds, each method at its best rate; a mean over the run): the negative gradient decides,
.78 above DPO without it, which is where imitation of pairs' winners is. Own completions add .08
[.05, .11] to it: at rates up to .01, where they added .40, what they had was a head start. Both of
the claim's arms of imitation draw the data's completions; what imitating the best of n of one's own
earns is another question, which it does not judge.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Optimiser, Paper, World
from assay.engine.descend import descend
from assay.engine.parallel import COUNTED, meter
from assay.loops.binned_bandit import HAVE_NEGATIVE, METHODS, Bandit, Constants, Draws, loss

paper = Paper(
    "Preference Fine-Tuning of LLMs Should Leverage Suboptimal, On-Policy Data",
    "Tajwar et al.",
    2024,
    "arXiv:2404.14367",
)
reduces = {}


def study(
    world: World,
    *,
    method: str = "dpo",
    on_policy: bool = True,
    negative: bool = True,
    centres: tuple[float, ...] = (70.0, 20.0),
    rate: float = 0.003,
    beta: float = 0.1,
    target: float = 10.0,
    temperature: float = 0.1,
    clip: float = 0.2,
    rounds: int = 20,
    reuse: int = 5,
    contexts: int = 100,
    features: int = 100,
    n: int = 10,
    bins: int = 100,
    mixed: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield a line for each centre, and one of what the runs spent.

    Args:
        method: best_of_n, pref_ft, dpo, ipo, awr, reinforce or ppo.
        on_policy: Draw completions from the policy; from the data policy otherwise.
        negative: Push down what is bad (dpo, ipo, reinforce, ppo).
        centres: Bins of the highest reward, a run each.
        rate: Adam's learning rate.
        beta: β of DPO.
        target: Difference of log-ratios at which IPO settles.
        temperature: Of AWR's weights, in units of reward.
        clip: Of PPO's ratio.
        rounds: Times that completions are drawn.
        reuse: Updates on the completions of a round.
        contexts: Contexts to train on; as many others are read.
        features: Numbers that a context has.
        n: Completions a context and round.
        bins: Bins.
        mixed: Deal each context's rewards to its completions at random: the control.
    """
    if method not in METHODS:
        raise InputError(f"--method is '{method}'; it is one of {', '.join(METHODS)}")
    if min(rounds, reuse, contexts, features) < 1 or min(n, bins) < 2:
        raise InputError(
            f"--rounds is {rounds}, --reuse {reuse}, --contexts {contexts}, --features {features}, "
            f"--n {n} and --bins {bins}; two completions and two bins are the least, and one of "
            "the others"
        )
    if not negative and method not in HAVE_NEGATIVE:
        raise InputError(
            f"--method {method} pushes nothing down; leave out --no-negative, which is for "
            f"{', '.join(HAVE_NEGATIVE)}"
        )
    if not on_policy and method in ("reinforce", "ppo"):
        raise InputError(f"--method {method} learns from its own completions; leave --on-policy on")
    rng = world.task.rng("bins")
    constants = Constants(beta, target, temperature, clip, negative)
    places = torch.arange(2 * contexts)[:, None], torch.arange(features)
    seen, held = rng("contexts").uniform(*places).split(contexts)
    counts, began = dict.fromkeys(COUNTED, 0), time.perf_counter()
    with meter.charging(counts):
        for centre in centres:
            bandit = Bandit(bins, centre)
            net = bandit.policy(features, rng("network"))
            opt = Optimiser(net.parameters(), lr=rate)
            curve = [bandit.reading(net, held)]

            def of(x: Draws, _: Tensor, net: Any = net) -> Tensor:
                return loss(method, net, x, constants)

            for k in range(rounds):
                x = bandit.draw(net if on_policy else None, seen, n, rng("draw", k))
                if mixed:
                    x = dealt(x, rng("mix", k).uniform(*places_of(x)))
                for _ in range(reuse):
                    descend(opt, of, x, reduce=lambda mask: torch.ones(len(mask)) / len(mask))
                curve.append(bandit.reading(net, held))
            rewards = [c["reward"] for c in curve]
            yield {
                "kind": "run",
                "centre": centre,
                "curve": rewards,
                "start": rewards[0],
                "mean": sum(rewards[1:]) / rounds,
                "end": rewards[-1],
                "kl": curve[-1]["kl"],
            }
    queries = len(centres) * rounds * contexts * n
    seconds = time.perf_counter() - began
    yield {"kind": "spent", "arm": "", **counts, "scored": queries, "seconds": seconds}


def places_of(x: Draws) -> tuple[Tensor, Tensor]:
    """The places of completions, by which random numbers are addressed."""
    return torch.arange(x.action.shape[0])[:, None], torch.arange(x.action.shape[1])


def dealt(x: Draws, u: Tensor) -> Draws:
    """The same completions with each context's rewards in another order."""
    return Draws(x.context, x.action, x.reward.gather(1, u.argsort(1)), x.logp, x.ref_logp, x.mask)


def earned(lines: list[dict[str, Any]]) -> float:
    """Mean reward over the run whose reward lies furthest from the data."""
    return float(max((x for x in lines if x["kind"] == "run"), key=lambda x: x["centre"])["mean"])


_RATES = {"rate": (0.003, 0.01, 0.03, 0.1)}
_OFF = {"on_policy": False}


@Claim(
    "On a bandit whose best bins are far from the data, at equal queries and updates, DPO earns "
    "more on its own completions than on the data's, more on the data's with its negative gradient "
    "than without, and more than imitating the best of n; where the best bins are the data's, it "
    "is less ahead of imitation.",
    arms={
        "on": ("mode_seeking", {}),
        "off": ("mode_seeking", _OFF),
        "positive": ("mode_seeking", {**_OFF, "negative": False}),
        "best_of_n": ("mode_seeking", {**_OFF, "method": "best_of_n"}),
        "pref_ft": ("mode_seeking", {**_OFF, "method": "pref_ft"}),
        "mixed": ("mode_seeking", {"mixed": True}),
    },
    worlds=("study",),
    tuned={
        **dict.fromkeys(("on", "off", "positive", "best_of_n", "pref_ft"), _RATES),
        "mixed": "on",
    },
    by=earned,
    # a twentieth of the highest reward
    least=0.05,
    seeds="200..209",
    control=("over mixed rewards",),
    broken="each context's rewards dealt to its completions at random",
    differs={"seconds": "pairs take longer than one completion, and drawing from a network too"},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Differences of mean reward over a run with the reward's centre at 70; and how much more DPO
    is ahead of imitating the best of n there than with the centre at 20.
    """
    at = {
        arm: {x["centre"]: x["mean"] for x in lines if x["kind"] == "run"}
        for arm, lines in arms.items()
    }
    far, near = (max(at["on"]), min(at["on"]))
    ahead = {c: at["on"][c] - at["best_of_n"][c] for c in (far, near)}
    return {
        "own completions": at["on"][far] - at["off"][far],
        "negative gradient": at["off"][far] - at["positive"][far],
        "over best of n": ahead[far],
        "over the winners of pairs": at["on"][far] - at["pref_ft"][far],
        "more than where aligned": ahead[far] - ahead[near],
        "over mixed rewards": at["on"][far] - at["mixed"][far],
    }
