"""POLAR: learn a reward without preferences, by telling policies apart; then train against it.

The reward is r(x, reference, candidate): how much the candidate looks as if it came from the policy
that wrote the reference completion.

Pretraining: of policies A ≠ B, two completions y₁, y₂ of A and one y₃ of B to one prompt, with loss
−log σ(r(x, y₁, y₂) − r(x, y₁, y₃)). y₁ is never y₂: a pair that showed the candidate as its own
reference would teach copying. Fine-tuning: the same loss on the task's pairs, with demonstrations
to the same prompt as references. Then a policy is trained by leave-one-out against the reward, the
mean over a prompt's demonstrations, less a price on KL (0 in the paper). The idea: the best policy
under a KL penalty is π₀·e^{r/β}/Z, so log π_target/π₀ *is* a reward, and likeness to the target's
completions estimates it.

`start` is what fine-tuning begins with: pretrained; shuffled, the control, in which pretraining's
references are exchanged among its triples, so that they say nothing of whose completions follow;
or scratch. bradley_terry is the rival: a linear reward model of the same pairs and of as many
further pairs as there are demonstrations, each above a completion of the reference policy.

Pretraining's policies are tilts of a table's reference, π_k ∝ π₀·e^{w_k + q_k·r_k}. w_k are habits:
normal in the space of a few random directions (`styles`), so that policies have habits in common,
as those trained on similar data do; with `styles=0` every token is a direction of its own. r_k is a
reward model of a bootstrap of the task's pairs and q_k up to `quality`: each is what reinforcement
learning against r_k ends at with a price of 1/q_k on KL, so policies differ in how good they are.
With `quality=0` they know nothing of it.

`discriminator/accuracy` is on pairs of policies never seen; beside it stand `overlap` (shared
tokens of reference and candidate) and `perplexity` (whose log π₀ is nearer to the reference's),
which need no training, and `oracle`, which knows A and B. What is missing to 1 is in no reward's
reach: two samples of A may differ more than a sample of A from one of B. `discriminator/zero_shot`
is the pretrained network's accuracy on the task's pairs before it saw a label, and
`discriminator/better` how far the policies' mean score by the task's reward models lies above π₀'s,
in standard deviations of π₀'s completions: what pretraining could know of quality.

Trap: the reward is likeness to what is shown. A reference that is no better than the policy teaches
nothing better.

Here: word counts are read, not their order. The rival gets the demonstrations as preferences, this
method as references. The network tells unseen policies apart beyond shared tokens and far below
the oracle. Trained against, it ends no higher than one whose pretraining was shuffled, though
pretraining's policies are better than π₀ by 0.8 standard deviations: before fine-tuning it is right
on half of the task's pairs. Demonstrations are the best of four completions of π₀, not much better
than it, and likeness to them says little of gold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from assay.core import (
    Claim,
    InputError,
    Loop,
    Missing,
    Pairs,
    Paper,
    Policy,
    Reward,
    Rng,
    Samples,
    Standardised,
    Step,
    Task,
    cat,
)
from assay.engine.parallel import meter
from assay.formulas.divergence import k1
from assay.formulas.pairwise import bradley_terry
from assay.loops import leave_one_out_advantage, online, proxy_score, record_kl, reference_logp
from assay.rewards.discriminator import HELD, TOKENS, Discriminator, beside, triples
from assay.rewards.fit import trained
from assay.rewards.linear import LinearModel, maximum_likelihood
from assay.rewards.policy_triples import (
    by_prompt,
    compared,
    overlap,
    perplexity,
    right,
    tilts,
)
from assay.stats.effects import Reading, final

paper = Paper(
    "Pre-Trained Policy Discriminators are General Reward Models",
    "Dou et al.",
    2025,
    "arXiv:2507.05197",
)
reduces = {}

STARTS = ("pretrained", "shuffled", "scratch", "bradley_terry")


def recipe(
    task: Task,
    *,
    start: str = "pretrained",
    tilted: int = 256,
    unseen: int = 32,
    styles: int = 6,
    strength: float = 1.0,
    quality: float = 1.0,
    width: int = 64,
    triples_each: int = 8000,
    updates: int = 300,
    tuning: int = 75,
    rate: float = 2e-3,
    beta: float = 0.0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Fit the reward, then train a policy by it and yield it after each step.

    Args:
        start: pretrained, shuffled, scratch or bradley_terry.
        tilted: Policies of pretraining, at least 2.
        unseen: Policies on which it is measured, at least 2.
        styles: Directions in which policies differ; 0 for a direction a token.
        strength: Largest standard deviation of a policy's habits.
        quality: Largest standard deviation of what its training adds; 0 for none.
        width: Width of the network.
        triples_each: Comparisons of pretraining and of its measurement.
        updates: Updates of pretraining, each on 64 comparisons.
        tuning: Updates of fine-tuning, each on 64 pairs.
        rate: Learning rate of both.
        beta: Price on KL, in standard deviations of the reward per nat.
    """
    if start not in STARTS:
        raise InputError(f"--start is '{start}'; it is one of {', '.join(STARTS)}")
    reference: Any = task.reference
    if not hasattr(reference, "tilted"):
        raise Missing("this world's policies cannot be tilted token by token; use --world table")
    if min(tilted, unseen) < 2:
        raise InputError(
            f"--tilted is {tilted} and --unseen {unseen}; policies are told apart from 2 on"
        )
    rng, V = task.rng("policy discriminator"), reference.logits.shape[-1]
    carry: Any = task.carry.keep(fitted={}, known={})
    demos = by_prompt(task.demos)

    def optimised(steps: int) -> Loop:
        return Loop(max_steps=steps, batch_size=64, learning_rate=rate, warmup_steps=10)

    def pretrained(model: Discriminator) -> None:
        trained_on = {"pairs": task.pairs, "quality": quality} if quality else {}
        every = tilts(
            reference,
            tilted + unseen,
            rng("tilts"),
            styles=styles,
            strength=strength,
            **trained_on,
        )
        shown, _ = compared(every[unseen:], task.prompts, triples_each, rng("train"))
        shown = exchanged(shown, rng("exchange")) if start == "shuffled" else shown
        trained(model, shown, loss=_loss, loop=optimised(updates))
        with meter.lifted():  # a measurement is no cost of the method
            new, oracle = compared(every[:unseen], task.prompts, triples_each, rng("test"))
            judge = model.freeze(("like",))
            asked = beside(task.pairs, demos[task.pairs.prompts.row])
            found = {
                "accuracy": right(judge(new)[0]),
                "overlap": right(overlap(new)),
                "perplexity": right(perplexity(new, reference)),
                "oracle": oracle,
                "zero_shot": right(judge(asked)[0]),
                "better": _better(task, every[:unseen], rng("better")),
            }
        carry.known = {f"discriminator/{k}": v for k, v in found.items()}

    model: nn.Module
    if start == "bradley_terry":
        model = LinearModel(1, vocabulary=V)
        if not carry.fitted:
            other = reference.sample(task.demos.prompts, 1, rng("other"))
            shown = triples(task.demos, task.demos, other)
            maximum_likelihood(model, cat([task.pairs, shown]))
        reward: Reward = _loaded(model, carry).freeze(("preferred",))
    else:
        model = Discriminator(V, width, rng("network"))
        if not carry.fitted:
            if start != "scratch":
                pretrained(model)
            asked = beside(task.pairs, demos[task.pairs.prompts.row])
            assert isinstance(asked, Pairs)  # what pairs are beside references, too
            trained(model, asked, loss=_loss, loop=optimised(tuning))
        reward = _loaded(model, carry).freeze(("like",)).against(demos)
    with meter.lifted():  # units alone, and the same again where a run is resumed
        shown = reference.sample(task.prompts, 64, rng("units"))
        score = proxy_score(task.replaced(rewards=Standardised(reward, shown)))

    def advantage(r: Tensor, x: Samples) -> Tensor:
        logp = reference_logp(reference, x)
        record_kl(x.logp, logp, x.mask)
        return leave_one_out_advantage(r - beta * k1(x.logp, logp).sum(-1).to(r.dtype), x)

    for step in online(task, loop, score=score, advantage=advantage):
        step.stats.update(carry.known)
        yield step


def exchanged(shown: Pairs, rng: Rng) -> Pairs:
    """The same comparisons, each with the reference of another one."""
    other, extra = rng.permutation(len(shown)), shown.prompts.extra
    moved = {**extra, **{k: extra[k][other] for k in (TOKENS, HELD)}}
    return replace(shown, prompts=replace(shown.prompts, extra=moved))


def _better(task: Task, policies: list[Policy], rng: Rng) -> float:
    """How far policies' mean score by the reward models lies above π₀'s, in its deviations."""
    base = task.rewards(task.reference.sample(task.prompts, 64, rng("base"))).mean(0)
    each = [
        task.rewards(p.sample(task.prompts, 8, rng("of", k))).mean() for k, p in enumerate(policies)
    ]
    return float((torch.stack(each).mean() - base.mean()) / base.std())


def _loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
    return bradley_terry(chosen, rejected, p=p, margin=margin)


def _loaded(model: Any, carry: Any) -> Any:
    """The model as it was fitted when the run began."""
    if carry.fitted:
        model.load_state_dict(carry.fitted)
    else:
        carry.fitted = {k: v.detach().clone() for k, v in model.state_dict().items()}
    return model


_PRICE = {"beta": (0.1, 0.3, 1.0)}
_RIVAL = {"start": "bradley_terry"}


@Claim(
    "Pretrained to tell many policies apart and fine-tuned on preferences, the discriminator is a "
    "reward whose policy ends with more gold than that of a Bradley–Terry model of the same "
    "labels, and it tells unseen policies apart better than shared tokens or perplexity do.",
    arms={
        "mine": ("policy_discriminator", {}),
        "shuffled": ("policy_discriminator", {"start": "shuffled"}),
        "labels": ("kl_in_reward", {"fit": "bradley_terry"}),
        "demonstrations": ("policy_discriminator", _RIVAL),
    },
    worlds=("table",),
    on={"table": {"testbed": "bag"}},
    least={
        "over Bradley–Terry": 0.1,
        "over Bradley–Terry of labels and demonstrations": 0.1,
        "over shuffled identities": 0.1,
        "beyond shared tokens": 0.01,
        "beyond perplexity": 0.01,
        "pretraining's policies are better": 0.2,
    },
    seeds="300..307",
    tuned={
        "mine": _PRICE,
        "labels": _PRICE,
        "demonstrations": _PRICE,
        "shuffled": "mine",
    },
    control=("over shuffled identities",),
    broken="the references of pretraining are exchanged among its triples",
    premises=("pretraining's policies are better",),
    differs={
        "generated": "pretraining's trajectories, which need no label",
        "updates": "pretraining",
        "seconds": "pretraining",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold less each rival's, and accuracy on unseen policies less that of counting. The
    premise is how far pretraining's policies score above π₀, in standard deviations of its
    completions.
    """
    mine, known = final(arms["mine"]), _known(arms["mine"])
    return {
        "over Bradley–Terry": mine - final(arms["labels"]),
        "over Bradley–Terry of labels and demonstrations": mine - final(arms["demonstrations"]),
        "over shuffled identities": mine - final(arms["shuffled"]),
        "beyond shared tokens": known["accuracy"] - known["overlap"],
        "beyond perplexity": known["accuracy"] - known["perplexity"],
        "pretraining's policies are better": known["better"],
    }


def _known(readings: list[Reading]) -> dict[str, float]:
    """What was measured of a discriminator."""
    stats = [r["stats"] for r in readings if "discriminator/accuracy" in r["stats"]]
    if not stats:
        raise ValueError("this run did not measure its discriminator")
    return {k.removeprefix("discriminator/"): float(v) for k, v in stats[-1].items()}
