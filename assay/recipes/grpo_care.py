"""GRPO-CARE: GRPO with a bonus for right completions whose reasoning makes their answer likely.

    c_i = min(exp(mean of log π_slow over i's answer tokens), 0.95)
    b_i = ½·r_i  if r_i > 0.1, r_i ≥ the prompt's mean reward, and
                 c_i ≥ (mean of c over such completions) − 0.01;  otherwise 0
    A   = (r + b − mean) / (std + 10⁻⁴)

π_slow starts as the reference and is moved towards the policy, by 0.005 every ten steps. Answer
tokens are those after the last word `answer`, the end token excluded: the likelihood is that of the
answer, its own reasoning given. The bonus replaces the KL term: there is none. Ratios are clipped,
which changes nothing in one update a batch, and the loss is a mean over a completion's tokens and
then over completions. Differs from grpo in what is added to the reward.

Where the released code differs. It takes both means over a device's batch, which is one prompt only
where a device holds one; here they are a prompt's own. A completion without an answer counts there
as the likeliest; here it has no bonus. It adds a reward for format, which world sums needs not. Its
margin is 0.01 or 0, by benchmark.

`consistency` says whose likelihood decides: own; or shuffled, each right completion that of
another right one of its prompt, which gives as many bonuses, at random among right completions:
the negative control. A bonus for half of the right completions at random is still a reward for
being right.

Traps. Where the answer can be guessed from the problem, c is high whatever the reasoning says. The
only right completion of a prompt always has the bonus. And a reward for likely answers sharpens the
policy: read its entropy. Here: world sums, where a right answer may follow from wrong lines, or
from none; the share of right steps, the answer's included, is the measure of consistency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Rng, Samples, Step, Task
from assay.engine.parallel import by_rows
from assay.formulas.advantage import group_standardised
from assay.formulas.averaging import towards
from assay.formulas.consistency import answer_likelihood, consistency_bonus, good_completions
from assay.formulas.reduce import per_completion_token
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score, require_group
from assay.stats import readings as run
from assay.stats.effects import Reading, final

paper = Paper(
    "GRPO-CARE: Consistency-Aware Reinforcement Learning for Multimodal Reasoning",
    "Chen et al.",
    2025,
    "arXiv:2506.16141",
)
reduces = {"grpo": ({"coefficient": 0.0}, {"beta": 0.0})}

CONSISTENCY = ("own", "shuffled")


def recipe(
    task: Task,
    *,
    coefficient: float = 0.5,
    margin: float = 0.01,
    right: float = 0.1,
    most: float = 0.95,
    consistency: str = "own",
    decay: float = 0.995,
    every: int = 10,
    answer: str = "answer",
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by GRPO on rewards with a bonus, and yield the policy after each step.

    Args:
        coefficient: Share of its reward that a consistent completion is given once more.
        margin: By how much its answer's likelihood may lie below the mean of the right ones.
        right: Reward above which a completion can have the bonus.
        most: Likelihoods above it count alike.
        consistency: Whose likelihood decides: own, or shuffled for the negative control.
        decay: What the slow policy keeps of its weights when it is moved.
        every: Steps from one move of the slow policy to the next.
        answer: Text after which a completion's answer begins.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if consistency not in CONSISTENCY:
        raise InputError(f"--consistency is '{consistency}'; it is one of {', '.join(CONSISTENCY)}")
    if not 0 <= decay <= 1 or every < 1 or not answer or not 0 < most <= 1 or coefficient < 0:
        raise InputError(
            f"--decay is {decay}, --every {every}, --answer '{answer}', --most {most} and "
            f"--coefficient {coefficient}; give 0 ≤ decay ≤ 1, at least one step, a text, a "
            "likelihood of at most 1 and no negative coefficient"
        )
    slow = task.reference.copy()
    if coefficient:
        task.carry.keep(slow=slow)

    def prepare(batch: Rollouts) -> Rollouts:
        x, r = batch.samples, require_group(batch.reward)
        if not coefficient:
            return batch
        said = answer_tokens(x, answer)
        c = answer_likelihood(by_rows(slow.logp, x), said, most=most)
        if consistency == "shuffled":
            good = good_completions(r, x.present, right=right)
            c = exchanged(c, good, task.rng("consistency", batch.step))
        bonus = consistency_bonus(
            r, c, x.present, coefficient=coefficient, margin=margin, right=right
        )
        bonus = torch.where(said.any(-1), bonus, bonus.new_zeros(()))
        n = x.present.sum().clamp(min=1)
        batch.stats["bonus"] = float((bonus > 0).sum() / n)
        batch.stats["no_answer"] = float((x.present & ~said.any(-1)).sum() / n)
        return replace(batch, reward=r + bonus)  # new: the bonus

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        return group_standardised(require_group(reward), x.present, eps=1e-4, ddof=1)[..., None]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    def after(batch: Rollouts) -> None:
        if coefficient and (batch.step + 1) % every == 0:
            now = batch.policy.state_dict()
            slow.load_state_dict(towards(slow.state_dict(), now, rate=1 - decay))

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        advantage=advantage,
        loss=loss,
        reduce=per_completion_token,
        after=after,
        reads_logp=False,
    )


def answer_tokens(x: Samples, answer: str) -> Tensor:
    """Which tokens state the answer: those after the last text `answer`, without the end token.

    Args:
        x: Completions.
        answer: Text after which an answer begins.

    Returns:
        `[B, N, T]`; False throughout where a completion has no such text, or nothing after it.
    """
    decode = x.prompts.decode
    texts, keep = x.text(), x.mask | x.given
    out = torch.zeros_like(x.mask)
    for b, row in enumerate(texts):
        for n, text in enumerate(row):
            end = text.rfind(answer) + len(answer)
            if end < len(answer):
                continue
            at = keep[b, n].nonzero()[:, 0]
            ids = x.action[b, n, at].tolist()
            low, high = 0, len(ids)  # the fewest tokens whose text reaches the answer's beginning
            while low < high:
                middle = (low + high) // 2
                if len(decode(ids[:middle])) >= end:  # type: ignore[misc]
                    high = middle
                else:
                    low = middle + 1
            last = len(ids) - int(x.ended[b, n])
            out[b, n, at[low:last]] = True
    return out & x.mask


def exchanged(c: Tensor, good: Tensor, rng: Rng) -> Tensor:
    """Give each good completion the likelihood of a random good one of its prompt, each used once.

    Args:
        c: Likelihoods `[B, N]`.
        good: Which completions are good `[B, N]`.
        rng: Address of the exchange.
    """
    u, out = rng.uniform(torch.arange(c.numel(), device=c.device)).reshape(c.shape), c.clone()
    for b, row in enumerate(good):
        at = row.nonzero()[:, 0]
        out[b, at] = c[b, at[u[b, at].argsort()]]
    return out


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_STEPS = {"max_steps": 15}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}


@Claim(
    "With a bonus for right completions whose reasoning makes their answer likely, GRPO answers "
    "more problems rightly, by more right steps, than without it.",
    arms={
        "mine": ("grpo_care", _STEPS),
        "plain": ("grpo", {**_STEPS, "beta": 0.0}),
        "shuffled": ("grpo_care", {**_STEPS, "consistency": "shuffled"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions or steps in a hundred; to beat the control is enough
    least={"answers": 0.02, "steps": 0.02, "steps, over a bonus at random": 0.0},
    seeds="100..115",
    tuned={"mine": _RATES, "plain": _RATES, "shuffled": "mine"},
    control=("steps, over a bonus at random",),
    broken="as many bonuses, at random among the right completions of a prompt",
    differs={"seconds": "the slow policy's pass over a batch is a further one"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers with the bonus minus that without it; the same of right steps;
    and right steps minus those with a bonus for right completions at random.
    """
    return {
        "answers": final(arms["mine"]) - final(arms["plain"]),
        "steps": _steps(arms["mine"]) - _steps(arms["plain"]),
        "steps, over a bonus at random": _steps(arms["mine"]) - _steps(arms["shuffled"]),
    }


def _steps(readings: list[Reading]) -> float:
    """The last reading's share of right steps, the second gold of world sums."""
    if (last := run.final(readings)) is None:
        raise ValueError("this run has no reading with gold")
    return float(last["golds"][1])
