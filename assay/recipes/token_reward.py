"""T-REG: DPO with a term that says where in a completion the credit belongs.

    s_t = σ(log π⁺(y_t) − log π⁻(y_t)) − ½ ∈ (−½, ½)
    L = L_DPO + α·L_reg,   L_reg = −Σ_{y ∈ chosen, rejected} Σ_t s_t·log π(y_t)

DPO's implicit reward of a token is β·log π/π₀, and nothing tells it which tokens of a chosen
completion earned the choice. The signal s_t does, weakly: it is positive where a policy that means
to be good is likelier to say y_t than one that means to be bad. That holds in rejected completions
too: a good word in a rejected completion is still pushed *up*.

In the paper π⁺ and π⁻ are one instruction-tuned model under two contrasting prompts, and s_t is
computed once. A tiny policy follows no instructions, so here they are two copies of the reference,
tuned by imitation for `contrast` steps on the chosen and on the rejected completions of the same
pairs. Those steps come first, are counted as updates, and leave the policy where it is. What is
tested is therefore the regulariser, not the self-generated signal.

`mean` takes a token's mean instead of the sum over t; α then means a length less. `weighted` weighs
the term by DPO's own weight of the pair, σ(−βΔ), without gradient; accounts of the paper differ on
it, so both are here. `shuffled` puts s_t at random places of its own completion, the control: if
the gain stays, the signal says which *completions* are good, which DPO knows, and not which tokens.

Differs from `dpo` in L_reg (alpha=0, contrast=0 is DPO, step for step) and from
`regularised_preference` in that the imitated weight has a sign at each token instead of one at each
completion.

Traps: the signal carries no gradient; it must come from the reference's neighbourhood and not from
the policy in training; sum against mean changes α by the length.

Here: in the bag world tokens are exchangeable and s_t is a token's log-odds of being chosen: an
early, smooth estimate of what DPO goes on to over-fit, and it holds DPO near it. So it can gain
where pairs are few and steps are many; a larger α stops the fall and with it some of the rise.
Where places matter (`--world grammar`) it has more to say, at a price: a thousand steps there are
not minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, Loop, Pairs, Paper, Policy, Rng, Step, Task, order
from assay.engine.descend import descend
from assay.formulas.pairwise import dpo
from assay.formulas.reduce import per_completion, per_pair
from assay.loops import Margins, log_ratios, update, with_reference_logp
from assay.stats.effects import Reading, peak

paper = Paper(
    "T-REG: Preference Optimization with Token-Level Reward Regularization",
    "Zhou et al.",
    2024,
    "arXiv:2412.02685",
)
reduces = {"dpo": ({"alpha": 0.0, "contrast": 0}, {})}
FEW = {"beta": 0.02, "max_steps": 1000}


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    alpha: float = 0.05,
    contrast: int = 20,
    mean: bool = False,
    weighted: bool = False,
    shuffled: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Tune the contrast, then train on the task's pairs; yield the policy after each step.

    Args:
        beta: Strength of the implicit KL penalty, per nat.
        alpha: Weight α of the token term.
        contrast: Steps that tune the two contrasting policies.
        mean: Average the term over tokens instead of summing it.
        weighted: Weigh the term by σ(−βΔ) of the pair.
        shuffled: Put s_t at random places: the control.
    """
    pairs = task.pairs
    policy, better, worse = (task.reference.copy() for _ in range(3))
    opt, up, down = (loop.optimiser(p) for p in (policy, better, worse))
    kept = task.carry.keep(policy=policy, opt=opt, better=better, worse=worse, up=up, down=down)
    for t in kept.steps(contrast + loop.max_steps):
        if t < contrast:
            x = pairs[order(len(pairs), loop.batch_size, t, task.rng("contrast"))]
            for model, of, good in ((better, up, x.p), (worse, down, 1 - x.p)):
                share = torch.stack([good, 1 - good], 1)[
                    ..., None
                ]  # chance that this completion is the one to imitate

                def imitation(
                    part: Pairs, i: Tensor, model: Policy = model, share: Tensor = share
                ) -> Tensor:
                    return -share[i] * model.logp(part)

                descend(of, imitation, x, reduce=per_completion)
            yield Step(policy)
            continue
        rows = order(len(pairs), loop.batch_size, t - contrast, task.rng)
        x, margins = pairs[rows], Margins(beta)
        signal = (
            credit(better, worse, x) if contrast else torch.zeros_like(x.mask, dtype=torch.float32)
        )
        if shuffled:
            signal = shuffle(signal, x, task.rng("shuffle"), rows)

        def loss(part: Pairs, i: Tensor, s: Tensor = signal, margins: Margins = margins) -> Tensor:
            logp, reference = policy.logp(part), with_reference_logp(task.reference, part).logp
            margins.add(part, logp, reference)
            chosen, rejected = log_ratios(logp, reference)
            term = torch.where(
                part.mask, s[i.to(s.device)].to(logp.dtype) * logp, logp.new_zeros(())
            ).sum(-1)
            term = (term / part.lengths.clamp(min=1) if mean else term).sum(-1)
            if weighted:
                z = beta * (chosen - rejected).detach()
                term = term * (part.p * torch.sigmoid(-z) + (1 - part.p) * torch.sigmoid(z))
            return dpo(chosen, rejected, beta=beta, p=part.p) - alpha * term  # new: the second term

        stats = update(opt, loss, x, loop, task.rng("minibatch", t - contrast), reduce=per_pair)
        yield Step(policy, stats={**stats, **margins.means()})


def credit(better: Policy, worse: Policy, pairs: Pairs) -> Tensor:
    """s_t = σ(log π⁺ − log π⁻) − ½ of every token `[B,N,T]`, 0 outside, without gradient."""
    with torch.no_grad():
        return torch.where(
            pairs.mask, torch.sigmoid(better.logp(pairs) - worse.logp(pairs)) - 0.5, 0.0
        )


def shuffle(signal: Tensor, pairs: Pairs, rng: Rng, rows: Tensor) -> Tensor:
    """Put each completion's signal at random places among its own tokens.

    The places are the same whenever the pair comes up.
    """
    N, T = signal.shape[1:]
    key = rng.uniform(rows[:, None, None], torch.arange(N)[:, None], torch.arange(T)).to(
        signal.device
    )
    there = torch.where(pairs.mask, key, 2.0).argsort(
        -1
    )  # the decisions' places, in random order, and then the rest
    here = torch.where(pairs.mask, 0, 1).argsort(
        dim=-1, stable=True
    )  # the decisions' places as they stand, and then the rest
    return torch.zeros_like(signal).scatter(-1, here, signal.gather(-1, there))


@Claim(
    "Regularising DPO by where in a completion the credit lies reaches a higher peak in gold than "
    "DPO, and than the same signal at random places.",
    arms={
        "mine": ("token_reward", FEW),
        "dpo": ("dpo", FEW),
        "shuffled": ("token_reward", {"shuffled": True, **FEW}),
    },
    worlds=("table",),
    on={"table": {"pairs": 200, "noise": 0.3}},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Differences of peaks, each at fresh addresses: to DPO, and to the signal at random places."""
    return {
        f"over {other}": peak(arms["mine"]) - peak(arms[other]) for other in ("dpo", "shuffled")
    }
