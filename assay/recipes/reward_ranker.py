"""RewardRanker: PPO on a ranker shows where it errs; what it liked and fails teaches it, in rounds.

    1. rank: a Bradley–Terry ranker learns which of a prompt's completions pass and which fail
    2. PPO: the policy is trained for `round_steps` steps on the ranker's score
    3. mine: its completions are run; those that pass stand against the failures of highest score
    4. the ranker learns from all pairs so far, and PPO begins anew, from the reference

The ranker is the product, the policy its adversary: `--rerank n` reads the policy's completions by
best-of-n under the ranker, as the paper uses both. Whether a completion passes says the reward
`member`, asked once a round, for `batch_size` prompts of `num_generations` completions.

Ranker: −log σ(r_w − r_l), a mean over pairs, `ranker_steps` updates a round of `batch_size` pairs;
it goes on from the last round's weights. PPO is `ppo`: a mean over tokens, ratios clipped on both
sides, GAE whitened, the KL in the reward, −β·(log π − log π₀) a token. Each round trains policy,
critic and their optimisers anew, as in the paper; with `--onward` they go on from the last round.
What the paper has of constants is not known to us but two rounds of retraining, so that the
defaults are ours.

Differs from ppo in the reward, which is learned and learned again. `--mine random` takes as many
failures whatever their score, the control of mining; `none` leaves the ranker as it was after the
first round; `--label coin` tosses which of a pair passed. `--adversary reference` takes failures of
the policy that PPO began with, as many and as hard: what PPO's own add to that is the method's.

Traps: what runs a completion in training must not be what judges it in the end; a failure that the
ranker likes may be one that the tests do not catch. `ranker/accuracy` is of new completions, before
the ranker has seen them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Policy, Samples, Step, Task
from assay.formulas.reduce import per_token
from assay.loops import Gae, Rollouts, clipped_surrogate, online, proxy_score, with_critic
from assay.loops.own_logp import rounds_apart, scored
from assay.loops.ranker import Ranker, joined, mined
from assay.loops.whole_pairs import tossed
from assay.models.samplers.best_of_n import BestOfN, Pool
from assay.stats.effects import Reading, final

paper = Paper(
    "Iterative Self-Training for Code Generation via Reinforced Re-Ranking",
    "Sorokin et al.",
    2025,
    "arXiv:2504.09643",
)
reduces = {}


def recipe(
    task: Task,
    *,
    round_steps: int = 20,
    ranker_steps: int = 60,
    per_prompt: int = 4,
    mine: Literal["hard", "random", "none"] = "hard",
    label: Literal["run", "coin"] = "run",
    adversary: Literal["policy", "reference"] = "policy",
    rerank: int = 0,
    onward: bool = False,
    right: float = 0.5,
    beta: float = 0.05,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    member: int = 0,
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train ranker and policy in turns, and yield the policy after each of its steps.

    Args:
        round_steps: Steps of PPO before the ranker learns again.
        ranker_steps: Updates of the ranker a round.
        per_prompt: Pairs of a prompt, at most.
        mine: Failures that the ranker learns from after the first round: hard, random or none.
        label: Which of a pair passed: as it was run, or as a coin says.
        adversary: Whose completions the ranker learns from: policy, which PPO trains on the
            ranker, or reference.
        rerank: Readings are of the best of so many completions by the ranker; 0 for any one.
        onward: Go on with the last round's policy and critic in place of new ones.
        right: Reward from which a completion passes.
        beta: Weight of the KL penalty in the reward, in units of the ranker's score per nat.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        value_clip: How far a value may move from its old one before its loss is clipped, in
            standard deviations of the returns.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
        member: Index of the reward model that says whether a completion passes.
    """
    if min(round_steps, ranker_steps, per_prompt) < 1 or rerank < 0:
        raise InputError(
            f"--round-steps is {round_steps}, --ranker-steps {ranker_steps}, --per-prompt "
            f"{per_prompt} and --rerank {rerank}; give at least 1, and 0 or more for the last"
        )
    run = proxy_score(task, member)
    ranker = Ranker(task, loop, by="reward_ranker")
    carry: Any = task.carry.keep(pairs=None)
    said: dict[str, float] = {}

    def anew(step: int) -> bool:
        return not onward and step > 0 and step % round_steps == 0

    def renewed(policy: Policy, k: int) -> None:
        """Run new completions of the policy, and let the ranker learn from what they come to."""
        rng = task.rng("rank", k)
        writer = task.reference if adversary == "reference" else policy
        x = writer.sample(task.batch(loop, k), loop.num_generations, rng("sample"))
        passed = run(x) >= right
        said["ranker/accuracy"] = ranker.accuracy(x, passed)
        said["ranker/pass"] = float(passed[x.present].double().mean())
        how = mine if k else "random"
        new = mined(x, passed, ranker(x), per_prompt=per_prompt, mine=how, rng=rng)
        if new is not None and label == "coin":
            new = turned(tossed(new, rng("coin")))
        carry.pairs = joined(carry.pairs, new)
        if carry.pairs is not None:
            said["ranker/pairs"] = float(len(carry.pairs))
            said["ranker/loss"] = ranker.learn(carry.pairs, ranker_steps, rng("learn"))

    def rollout(policy: Policy, number: int) -> Samples:
        said.clear()
        k = number // round_steps
        if number % round_steps == 0 and (k == 0 or mine != "none"):
            renewed(policy, k)
        if anew(number):
            policy.load_state_dict(task.reference.state_dict())
        x = policy.sample(
            task.batch(loop, number), loop.num_generations, task.rng("sample", number)
        )
        return scored(policy, x) if rounds_apart(policy) else x

    critic = with_critic(
        task,
        loop,
        by="reward_ranker",
        beta=beta,
        gae=Gae(gamma=gamma, lam=lam, value_clip=value_clip),
        anew=anew,
    )

    def prepare(batch: Rollouts) -> Rollouts:
        if anew(batch.step):
            batch.optimiser.restart()
        batch.stats |= {k: v for k, v in said.items() if v == v}  # no pair, no accuracy
        return critic(batch)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    for step in online(
        task,
        loop,
        score=ranker,
        rollout=rollout,
        prepare=prepare,
        loss=loss,
        reduce=per_token,
    ):
        if rerank and step.policy is not None:
            pool = Pool(step.policy, ranker, rerank)  # type: ignore[arg-type]  # online's own policy
            step = replace(step, policy=BestOfN(pool, rerank))
        yield step


def turned(pairs: Pairs) -> Pairs:
    """The same pairs with the likelier one first."""
    other = (pairs.p < 0.5).long()
    two = torch.stack([other, 1 - other], -1)
    return replace(pairs.pick(two), p=torch.ones_like(pairs.p))


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_STEPS = {"max_steps": 24, "round_steps": 8, "rerank": 8}
_RATES = {"learning_rate": (2.5e-4, 5e-4, 1e-3, 2e-3)}


@Claim(
    "A ranker that learns from failures which it liked picks more right answers of eight than one "
    "that learns from as many others, and than one that learns from failures of a policy that was "
    "not trained on it.",
    arms={
        "mine": ("reward_ranker", _STEPS),
        "others": ("reward_ranker", {**_STEPS, "mine": "random"}),
        "untrained": ("reward_ranker", {**_STEPS, "adversary": "reference"}),
        "coins": ("reward_ranker", {**_STEPS, "label": "coin"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two answers in a hundred; to beat the control is enough
    least={"over other failures": 0.02, "over an untrained policy": 0.02, "over coins": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "others": _RATES, "untrained": _RATES, "coins": "mine"},
    control=("over coins",),
    broken="which of a pair passed is tossed by a coin",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers, best of eight by the ranker, minus that of the same with random
    failures, with failures of the reference, and with labels that are coins.
    """
    mine = final(arms["mine"])
    return {
        "over other failures": mine - final(arms["others"]),
        "over an untrained policy": mine - final(arms["untrained"]),
        "over coins": mine - final(arms["coins"]),
    }
