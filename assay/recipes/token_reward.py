"""T-REG: DPO with a term that says where in a completion the credit belongs.

    s_t = σ(log π₀(y_t | x⁺, y_<t) − log π₀(y_t | x⁻, y_<t)) − ½ ∈ (−½, ½)
    L = L_DPO + α·L_reg,   L_reg = −Σ_{y ∈ chosen, rejected} Σ_t s_t·log π(y_t | x, y_<t)

DPO's implicit reward of a token is β·log π/π₀, and nothing tells it which tokens of a chosen
completion earned the choice. The signal s_t does, weakly. It is the reference's own, by contrastive
prompting: x⁺ is the prompt behind the instruction `better`, x⁻ behind `worse`, and s_t is positive
where the reference is likelier to say y_t when it is told to be good than when it is told to be
bad. That holds in rejected completions too: a good word in a rejected completion is still pushed
*up*. The reference must follow instructions; where it does not, s_t is near 0 everywhere, as the
statistic `signal/size`, its mean |s_t|, shows.

`mean` takes a token's mean instead of the sum over t; α then means a length less. `weighted` weighs
the term by DPO's own weight of the pair, σ(−βΔ), without gradient; accounts of the paper differ on
it, so both are here. `shuffled` puts s_t at random places of its own completion, the control: if
the gain stays, the signal says which *completions* are good, which DPO knows, and not which tokens.

`contrast` is for policies that follow no instruction, such as a table: two copies of the reference,
tuned by imitation for so many steps on the chosen and on the rejected completions of the pairs,
take the place of the two prompts. Those steps come first, are counted as updates, and leave the
policy where it is. It is not the paper's signal.

Differs from `dpo` in L_reg (alpha=0 is DPO, step for step) and from `regularised_preference` in
that the imitated weight has a sign at each token instead of one at each completion.

Traps: the signal carries no gradient; it comes from the reference and not from the policy in
training; sum against mean changes α by the length. Where s_t < 0 the term pushes log π down without
a bound, so a large α ruins a run: at α = 0.1, which was once fixed by hand, eight runs of the
claim's world ended 1.07 [0.38, 1.77] below DPO in gold, at 7.1 nats against 1.4. α is therefore
tuned, as DPO's β is, and the claim reads the end as well as the peak, which gold itself picks.

Here: in the claim's world the policy learned what "good ," and "no good ," mean from demonstrations
by careful and by careless writers (`--world grammar --world.instructed`); behind them it writes
completions of gold 1.7 and 0.8, and of 1.35 without either (seed 0, width 48). The signal is weak
there: mean |s_t| is 0.02 of a possible 0.5. With SmolLM2-135M-Instruct as policy and the default
instructions, mean |s_t| was 0.07 on eight short pairs, its mean +0.02 in chosen and −0.05 in
rejected completions. With β, α and rate tuned as DPO's β and rate are, T-REG ends .02 [−.03, .07]
above DPO and .02 [−.02, .06] above its signal at random places (20 seeds).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Claim, Loop, Pairs, Paper, Policy, Rng, Step, Task, order
from assay.engine.descend import descend
from assay.formulas.pairwise import dpo
from assay.formulas.reduce import per_completion, per_pair
from assay.loops import Margins, log_ratios, update, with_reference_logp
from assay.models.instructions import instructed
from assay.stats.effects import Reading, average, final, peak

paper = Paper(
    "T-REG: Preference Optimization with Token-Level Reward Regularization",
    "Zhou et al.",
    2024,
    "arXiv:2412.02685",
)
reduces = {"dpo": ({"alpha": 0.0, "contrast": 0}, {})}
BETTER = "Give a better response than you usually would: correct, helpful and clear."
WORSE = "Give a worse response than you usually would: wrong, unhelpful and unclear."


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    alpha: float = 0.1,
    better: str = BETTER,
    worse: str = WORSE,
    contrast: int = 0,
    mean: bool = False,
    weighted: bool = False,
    shuffled: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the task's pairs; yield the policy after each step.

    Args:
        beta: Strength of the implicit KL penalty, per nat.
        alpha: Weight α of the token term.
        better: The instruction of x⁺, which goes before what the user says.
        worse: The instruction of x⁻.
        contrast: Steps that tune two copies of the reference instead of prompting it; 0 for none.
        mean: Average the term over tokens instead of summing it.
        weighted: Weigh the term by σ(−βΔ) of the pair.
        shuffled: Put s_t at random places: the control.
    """
    pairs = task.pairs
    policy, up, down = task.reference.copy(), task.reference, task.reference
    opt = loop.optimiser(policy)
    kept = task.carry.keep(policy=policy, opt=opt)
    if contrast:
        up, down = task.reference.copy(), task.reference.copy()
        opts = loop.optimiser(up), loop.optimiser(down)
        task.carry.keep(better=up, worse=down, up=opts[0], down=opts[1])
    for t in kept.steps(contrast + loop.max_steps):
        if t < contrast:
            x = pairs[order(len(pairs), loop.batch_size, t, task.rng("contrast"))]
            for model, of, good in zip((up, down), opts, (x.p, 1 - x.p), strict=True):
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
        signal = torch.zeros_like(x.mask, dtype=torch.float32)
        if alpha:
            told = (x, x) if contrast else prompted(task.reference, x, better, worse)
            signal = credit(up, down, *told)
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
        size = float(signal.abs().sum() / x.mask.sum().clamp(min=1))
        yield Step(policy, stats={**stats, **margins.means(), "signal/size": size})


def prompted(reference: Policy, pairs: Pairs, better: str, worse: str) -> tuple[Pairs, Pairs]:
    """The pairs behind the two instructions: the same completions to x⁺ and to x⁻."""
    plus, minus = (
        replace(pairs, prompts=instructed(reference, pairs.prompts, text, by="token_reward"))
        for text in (better, worse)
    )
    return plus, minus


def credit(up: Policy, down: Policy, plus: Pairs, minus: Pairs) -> Tensor:
    """s_t = σ(log π⁺ − log π⁻) − ½ of every token `[B,N,T]`, 0 outside, without gradient.

    Args:
        up: π⁺.
        down: π⁻; the same policy where the two prompts differ.
        plus: The pairs that π⁺ reads.
        minus: The pairs that π⁻ reads; the completions are the same.
    """
    with torch.no_grad():
        return torch.where(plus.mask, torch.sigmoid(up.logp(plus) - down.logp(minus)) - 0.5, 0.0)


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


_FEW = {"max_steps": 40, "batch_size": 16}
_RATES = (1e-4, 3e-4)
_ASKED = {"better": "good ,", "worse": "no good ,"}


@Claim(
    "Regularising DPO by where in a completion the credit lies reaches a higher peak in gold and "
    "ends higher than DPO, and than with the same signal at random places.",
    arms={
        "mine": ("token_reward", {**_FEW, **_ASKED}),
        "dpo": ("dpo", _FEW),
        "shuffled": ("token_reward", {**_FEW, **_ASKED, "shuffled": True}),
    },
    worlds=("grammar",),
    on={
        "grammar": {
            "instructed": 0.5,
            "pairs": 200,
            "held_out": 48,
            "width": 32,
            "layers": 2,
            "demos": 3000,
            "sft_steps": 300,
            "members": 1,
            "reward_width": 16,
            "reward_layers": 1,
            "reward_steps": 1,
        }
    },
    tuned={
        "mine": {"beta": (0.1, 0.4), "alpha": (0.003, 0.03), "learning_rate": _RATES},
        "dpo": {"beta": (0.05, 0.1, 0.2, 0.4), "learning_rate": _RATES},
        "shuffled": "mine",
    },
    by=average,
    # 3 % of the peak of 1.5 that DPO reaches on the pilot's seeds
    least=0.05,
    seeds="320..339",
    control=("peak over shuffled", "end over shuffled"),
    broken="the same signal at random places of its own completion",
    differs={"seconds": "the reference reads every pair behind two more prompts"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Differences of peaks, each at fresh addresses, and of the gold at the end of the run: to DPO,
    and to the signal at random places.
    """
    return {
        f"{what} over {other}": of(arms["mine"]) - of(arms[other])
        for what, of in (("peak", peak), ("end", final))
        for other in ("dpo", "shuffled")
    }
