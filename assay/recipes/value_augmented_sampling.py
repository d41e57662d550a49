"""Value augmented sampling (VAS): leave the policy as it is, and tilt its tokens by learned values.

    π(v|s) ∝ π₀(v|s)·exp(strength·V(s,v))

V is the mean score of the completions that π₀ goes on to write. Completions of π₀ alone teach it,
by TD(λ) and half the squared error; no policy is trained, and what V is worth is seen in decoding
only. The weights of several rewards (`weights`) and the strength are chosen after the training:
each step yields the sampler at every one of `strengths`, which have one and the same V.

A black box is enough: π₀ is asked for the log-probabilities of next tokens, and V may stand on
another model of the same tokens (`estimator`, one of the world's others). With `top_k` the
likeliest tokens alone are valued, each by a pass of one token; the others keep their place as if
their values were the mean of these, or have no probability (`cut`), as where a server names no
more.

The released code fits V before each token and never after the last one, so that an end token is
ranked by an output that nothing taught (`--values before`). Here V after the last token is the
score (`--values after`, the default), and V of the bare prompt, a constant, is not fitted. top_k 20
and λ .95 are the code's. Means over a completion's tokens, then over completions. Nothing is
clipped or normalised, and no KL is paid: strength alone says how far π goes.

V is that of π₀, not the soft value log E₀ e^{strength·score} of the policy that maximises reward at
equal KL. The two agree to first order, and where the score adds up over independent decisions; else
the tilt asks too little of what lies ahead (`tests/test_recipes_value_augmented.py` measures both).

`shuffled` gives each completion another one's score: the negative control.

Here: in the bag of tokens, whose reward adds up over tokens, the tilt is optimal and the value is
linear, which is its best case. At the KL of best-of-16 it pays more proxy than that, and more than
PPO at rates up to .2; at larger ones PPO passes that KL between two readings (seeds 0 to 4). Gold
is not more than best-of-16's, and half of PPO's: PPO moves what π₀ writes often, and the tilt moves
every token by its value alone, the rare ones too, where the proxy errs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, HasValueHead, InputError, Loop, Paper, Samples, Step, Task, require
from assay.engine.descend import Index
from assay.formulas.aggregate import weighted_sum
from assay.formulas.reduce import per_completion_token
from assay.formulas.value_decoding import lambda_returns
from assay.loops import member_scores, rollout_stats, update
from assay.loops.missing import missing_stats, scored_only, scores_and_missing, without_missing
from assay.models.samplers.value_augmented import ValueAugmented
from assay.stats.effects import Reading

paper = Paper(
    "Value Augmented Sampling for Language Model Alignment and Personalization",
    "Han et al.",
    2024,
    "arXiv:2405.06639",
)
reduces = {}


def recipe(
    task: Task,
    *,
    strengths: tuple[float, ...] = (1.0,),
    members: int = 1,
    weights: tuple[float, ...] = (),
    lam: float = 0.95,
    values: Literal["after", "before"] = "after",
    top_k: int = 20,
    cut: bool = False,
    estimator: str = "",
    shuffled: bool = False,
    loop: Loop = Loop(epochs=2),
) -> Iterator[list[Step]]:
    """Fit values to completions of the reference; yield the tilted samplers after each step.

    Args:
        strengths: The paper's β, in nats per unit of reward; a sampler for each, 0 or above.
        members: Reward models that have a value each, counted from the first; 0 for all.
        weights: What each value counts for in decoding; none for 1 each.
        lam: λ of TD(λ), from 0 to 1.
        values: Which are fitted: after (each token) or before (each token, as the released code).
        top_k: Likeliest tokens that are valued; 0 for all.
        cut: Give the other tokens no probability.
        estimator: Name of the world's other policy whose model the values stand on; the
            reference's if empty.
        shuffled: Fit the values to scores of other completions: the negative control.
    """
    count = members or len(task.rewards.names)
    if not strengths or min(strengths) < 0 or not 0 <= lam <= 1 or top_k < 0:
        raise InputError(
            f"--strengths is {strengths}, --lam {lam} and --top-k {top_k}; give strengths of 0 or "
            "above, a lam from 0 to 1 and a top-k of 0 or above"
        )
    if weights and len(weights) != count:
        raise InputError(f"--weights is {weights} for {count} rewards; give a number for each")
    if estimator and estimator not in task.others:
        raise InputError(
            f"--estimator is '{estimator}'; this world's other policies are "
            f"{', '.join(task.others)}"
        )
    worth = weights or (1.0,) * count
    several = member_scores(task, count)
    model = task.others[estimator] if estimator else task.reference
    head = require(model, HasValueHead, "value_augmented_sampling").value_head(
        count, task.rng("values")
    )
    optimiser = loop.optimiser(head)
    carry: Any = task.carry.keep(head=head, opt=optimiser)

    def score(x: Samples) -> Tensor:
        scores = several(x)
        return weighted_sum(scores, scores.new_tensor(worth))

    def fitted(x: Samples, scores: Tensor) -> Tensor:
        """Targets of the k values that are fitted, one of each for each token `[B,N,T,k]`."""
        now = head(x)
        both = zip(scores, now.unbind(-1), strict=True)
        found = torch.stack([lambda_returns(r, x.mask, v, lam=lam) for r, v in both], -1)
        return found[..., 1:, :] if values == "after" else found[..., :-1, :]

    for t in carry.steps(loop.max_steps):
        with torch.no_grad():
            prompts, rng = task.batch(loop, t), task.rng("sample", t)
            x = task.reference.sample(prompts, loop.num_generations, rng)
            scores, missing = scores_and_missing(several, x)
            own = without_missing(weighted_sum(scores, scores.new_tensor(worth)), missing)
            stats = {**rollout_stats([(x, own)]), **missing_stats([(x, missing)])}
            x = scored_only(x, missing)
            if shuffled:
                scores = elsewhere(scores, x.present, task.rng("shuffled", t).permutation)
            target = fitted(x, scores)

        def loss(rows: Samples, i: Index, target: Tensor = target) -> Tensor:
            now = head(rows)
            now = now[..., 1:, :] if values == "after" else now[..., :-1, :]
            return 0.5 * (now - target[i]).square().sum(-1)

        if bool(x.present.any()):
            stats |= update(
                optimiser,
                loss,
                x,
                loop,
                task.rng("minibatch", t),
                reduce=per_completion_token,
                split="completions",
            )
        how: dict[str, Any] = {"weights": worth, "top_k": top_k, "cut": cut}
        yield [
            Step(
                ValueAugmented(task.reference, head, strength=s, **how),
                reward=score,
                tag=f"strength={s:g}",
                stats=stats,
            )
            for s in strengths
        ]


def elsewhere(scores: Tensor, present: Tensor, permutation: Any) -> Tensor:
    """The scores `[M,B,N]` of the completions that are there, in another order."""
    out, here = scores.clone(), present.flatten().nonzero()[:, 0]
    mixed = here[permutation(len(here)).to(here.device)]
    out.flatten(1)[:, here] = scores.flatten(1)[:, mixed]
    return out


SQRT_KL = math.sqrt(math.log(16) - 15 / 16)  # of best-of-16


def at_equal_kl(readings: list[Reading], what: str = "proxy") -> float:
    """A reading at the KL of best-of-16, linear in √KL between a run's last samplers."""
    rows = [r for r in readings if r["tag"] != "best"]
    rows = [r for r in rows if r["step"] in (0, rows[-1]["step"])]
    points = [(math.sqrt(max(r["kl"], 0.0)), float(r[what])) for r in rows]
    for (a, low), (b, high) in pairwise(points):
        if a <= SQRT_KL <= b:
            return low + (high - low) * (SQRT_KL - a) / (b - a)
    raise ValueError(
        f"√KL goes from {points[0][0]:g} to {points[-1][0]:g}, and {SQRT_KL:g} is compared; give "
        "other strengths"
    )


_MINE = {"max_steps": 40, "strengths": (1.0, 1.5, 2.0, 3.0), "top_k": 0}


@Claim(
    "At the KL of best-of-16 value augmented sampling has more reward than that and no less gold, "
    "at one completion in place of 16.",
    arms={
        "mine": ("value_augmented_sampling", _MINE),
        "best": ("best_of_n", {"most": 16, "spare": 4}),
        "shuffled": ("value_augmented_sampling", {**_MINE, "shuffled": True}),
    },
    worlds=("table",),
    on={"table": {"testbed": "bag"}},
    # in deviations of the proxy and of gold under the reference
    least={"over best of 16": 0.0, "gold over best of 16": 0.0, "over shuffled": 0.1},
    seeds="100..119",
    # best-of-n has no rate; its n is what is compared
    tuned={
        "mine": {"learning_rate": (0.02, 0.05, 0.1, 0.2)},
        "best": "",
        "shuffled": "mine",
    },
    by=at_equal_kl,
    control=("over shuffled",),
    broken="values of scores that belong to other completions",
    differs={
        "generated": "best-of-n draws nothing before it is used; it then draws 16 for each one",
        "scored": "as generated",
        "updates": "best-of-n has none",
        "seconds": "values of every token are computed in decoding",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Differences of the proxy, and of gold, at the KL of best-of-16 (its bound, which holds where
    no completions tie); against shuffled scores, of the proxy at a strength of 2.
    """

    def read(arm: str, tag: str, what: str = "proxy") -> float:
        return next(float(r[what]) for r in reversed(arms[arm]) if r["tag"] == tag)

    mine = arms["mine"]
    return {
        "over best of 16": at_equal_kl(mine) - read("best", "n=16"),
        "gold over best of 16": at_equal_kl(mine, "gold") - read("best", "n=16", "gold"),
        "over shuffled": read("mine", "strength=2") - read("shuffled", "strength=2"),
    }
