"""MRT: pay each block of reasoning for the progress that it makes towards a right answer.

    J(z_≤j) = share of right answers when the policy has to answer after block j
    progress_j = J(z_≤j) − J(z_≤j−1),    A_t = (r − mean)/(std + 10⁻⁴) + α·progress_j(t)
    L = mean over completions of mean over tokens of −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A) + β·k3

Blocks are the steps that the reward model tells apart (`step_of`). After each but the last, `force`
is given, the token that begins an answer, and the policy itself ends `answers` completions: it is
its own meta-prover. After the last block the outcome stands for J. The bonus counts on the tokens
of its own block; k3 stands in the loss, towards the reference. With α = 0 it is grpo.

Summed over a completion progress is J_K − J_0, a baseline and nothing more: it teaches because each
block is paid its own. What is minimised is the regret Σ_j (1 − J(z_≤j)), read in `mrt/regret`, a
mean over blocks, the bare prompt included.

`--form termination` is the advantage that the authors' repository describes: completions continue
one prefix of the policy's own, cut after a random number of its blocks, and A = 1[right] −
J(prefix) stands in the place of the group's advantage, on what follows the prefix alone. α is not
in it: the advantage is the progress of all that follows. The paper cuts prefixes from an older
policy's completions and normalises rewards of completions that go on together with those that
answer at once; here the prefix is the current policy's. Code released later has that, as one number
at a completion's end, and beside it forks at the blocks' boundaries that pay each block its own
progress, which is `blocks`. The paper's other variant, which keeps completions of most progress and
imitates them (STaR), is not here.

Differs from process_advantage: the chances are the policy's own, now, from forced answers, where
there another prover continues freely and a network learns its successes before the training.
`--shuffled` pays every block the progress of another one of the batch: the negative control.

Traps. A forced answer costs few tokens, and there are many: beside a completion of three blocks
twelve are scored. J of n answers has variance J(1 − J)/n, of which progress has
twice as much. A policy can be paid for making up what it spoiled: a wrong block and its correction
have progress −a and a, and on their own tokens that is no loss. The coefficient α of the paper is
not known here; it is tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, EncodesText, InputError, Loop, Paper, Samples, Step, Task, require
from assay.formulas.process import on_steps, step_mask
from assay.loops import Rollouts, clipped_surrogate, group_relative, proxy_score, standardised
from assay.loops.verifiers import continued, progress
from assay.stats.effects import Reading, final

paper = Paper(
    "Optimizing Test-Time Compute via Meta Reinforcement Fine-Tuning",
    "Qu et al.",
    2025,
    "arXiv:2503.07572",
)
reduces = {"grpo": ({"alpha": 0.0}, {})}
FORMS = ("blocks", "termination")
_TERMINATION = "termination"  # in `Samples.extra`: J of the prefix that a completion continues


def recipe(
    task: Task,
    *,
    form: str = "blocks",
    alpha: float = 1.0,
    answers: int = 4,
    force: str = "answer",
    shuffled: bool = False,
    beta: float = 0.04,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    right: float = 0.5,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on outcomes and progress, and yield the policy after each step.

    Args:
        form: blocks, or termination: the completions of a prompt continue one prefix.
        alpha: Weight of a block's progress.
        answers: Forced answers after each block.
        force: What begins an answer.
        shuffled: Pay blocks the progress of others (the negative control).
        beta: Weight of k3 in the loss.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        right: Outcome from which a completion is right.
        member: Index of the reward model that is the outcome.
    """
    if form not in FORMS:
        raise InputError(f"--form is '{form}'; it is one of {', '.join(FORMS)}")
    if answers < 1 or not alpha >= 0:
        raise InputError(
            f"--answers is {answers} and --alpha {alpha}; give at least one answer after a block, "
            "and a weight of at least 0"
        )
    score = proxy_score(task, member)
    begins = answer_token(task, force) if alpha or form == "termination" else None

    def success(y: Samples) -> Tensor:
        return (score(y) >= right).to(y.logp)

    def chances(policy: Any, x: Samples, step: Tensor, here: Tensor, *place: Any) -> Tensor:
        rng = task.rng(*place)
        won = continued(policy, x, step, here, success, answers, rng, force=begins)
        return won / answers

    def paid(batch: Rollouts) -> Rollouts:
        x = batch.samples
        batch.advantage = standardised(batch.reward, x)
        if not alpha:
            return batch
        step = task.rewards.step_of(x)
        steps = step_mask(step)
        # the bare prompt, and after each block but the last
        first = x.present[..., None]
        here = torch.cat([first, steps[..., 1:], torch.zeros_like(first)], -1)
        q = chances(batch.policy, x, step, here, "forced", batch.step)
        outcome = (batch.reward >= right).to(q)
        gain = progress(q, outcome, step)
        if shuffled:
            other = gain[steps][task.rng("shuffled", batch.step).permutation(int(steps.sum()))]
            gain = gain.masked_scatter(steps, other)
        batch.advantage = batch.advantage + alpha * on_steps(gain, step)
        batch.stats |= regret(q, outcome, step)
        return batch

    def cut(policy: Any, number: int) -> Samples:
        prompts = task.batch(loop, number)
        z = policy.sample(prompts, 1, task.rng("prefix", number))
        step = task.rewards.step_of(z)
        blocks = (step.amax(-1) + 1).clamp(min=1)  # [B,1]
        u = task.rng("blocks", number).uniform(torch.arange(len(z)), 0, dtype=torch.float64)
        kept = (u[:, None].to(blocks.device) * blocks).long()  # from 0 to all but the last
        before = (step >= 0) & (step < kept[..., None])
        start = replace(
            z,
            mask=torch.zeros_like(z.mask),
            given=before,
            logp=torch.zeros_like(z.logp),
            ended=torch.zeros_like(z.ended),
        )
        here = torch.arange(step_mask(step).shape[-1] + 1, device=kept.device) == kept[..., None]
        j = chances(policy, z, step, here, "forced", number).sum(-1)  # [B,1]
        y = policy.sample(prompts, loop.num_generations, task.rng("sample", number), start)
        return replace(y, extra={**y.extra, _TERMINATION: j.expand(y.mask.shape[:2]).clone()})

    def over_termination(batch: Rollouts) -> Rollouts:
        x = batch.samples
        baseline = x.extra[_TERMINATION]
        outcome = (batch.reward >= right).to(baseline)  # J counts what is right, and nothing else
        gain = torch.where(x.present, outcome - baseline, 0.0)
        batch.stats["mrt/termination"] = float(baseline[:, 0].mean())
        if shuffled:
            gain = gain[task.rng("shuffled", batch.step).permutation(len(gain))]
        batch.advantage = gain[..., None]
        return batch

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from group_relative(
        task,
        loop,
        surrogate,
        beta=beta,
        member=member,
        prepare=paid if form == "blocks" else over_termination,
        rollout=None if form == "blocks" else cut,
    )


def answer_token(task: Task, force: str) -> Tensor:
    """The tokens of what begins an answer, without an end token.

    Raises:
        InputError: The policy reads no text, or there are none.
    """
    policy: Any = require(task.reference, EncodesText, "mrt")
    x = policy.encode(task.prompts[:1].text(), [[force]])
    ids = x.action[0, 0][(x.mask | x.given)[0, 0]]
    ends = torch.tensor(policy.vocabulary.ends, device=ids.device)
    ids = ids[~torch.isin(ids, ends)]
    if not len(ids):
        raise InputError(f"--force is '{force}', which has no token; give what begins an answer")
    return ids


def regret(q: Tensor, outcome: Tensor, step: Tensor) -> dict[str, float]:
    """The mean of 1 − J over blocks, the bare prompt included, and J there.

    Args:
        q: J `[B,N,S+1]`, of the bare prompt and after each block.
        outcome: What stands for J after the last block, `[B,N]`.
        step: Number of each token's block, `[B,N,T]`.
    """
    there = step_mask(step)
    gain = progress(q, outcome, step)
    j = torch.cat([q[..., :1], q[..., :1] + gain.cumsum(-1)], -1)
    counted = torch.cat([there.any(-1, keepdim=True), there], -1)
    if not bool(counted.any()):
        return {}
    return {"mrt/regret": float(1 - j[counted].mean()), "mrt/at_once": float(q[..., 0].mean())}


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_STEPS = {"max_steps": 12, "beta": 0.0, "learning_rate": 1e-3}
_ALPHAS = {"alpha": (0.3, 1.0, 3.0), "learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}
_RATES = (1.25e-4, 2.5e-4, 3.5e-4, 5e-4, 7e-4, 1e-3, 1.4e-3, 2e-3, 2.8e-3, 4e-3, 5.6e-3, 8e-3)


@Claim(
    "Paid for the progress of each block, a policy answers more problems rightly than one that is "
    "paid for outcomes alone and writes as many tokens, forced answers included.",
    arms={
        "mine": ("mrt", _STEPS),
        # a completion has 13 tokens and two or three blocks; a forced answer has 2
        "outcome": ("mrt", {**_STEPS, "alpha": 0.0, "num_generations": 24}),
        "shuffled": ("mrt", {**_STEPS, "shuffled": True}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over outcome": 0.02, "over shuffled": 0.0},
    seeds="100..109",
    tuned={"mine": _ALPHAS, "outcome": {"learning_rate": _RATES}, "shuffled": "mine"},
    control=("over shuffled",),
    broken="every block is paid the progress of another one",
    differs={
        "generated": "a forced answer has two tokens, a completion thirteen: no more tokens in all",
        "scored": "every forced answer is scored",
        "seconds": "forced answers read their prefix again",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that of outcomes alone with three times the completions,
    and minus that of blocks paid the progress of others.
    """
    mine = final(arms["mine"])
    return {f"over {name}": mine - final(arms[name]) for name in ("outcome", "shuffled")}
