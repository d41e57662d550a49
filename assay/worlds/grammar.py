"""A readable toy language, a small Llama that writes it, judges fitted on noisy preferences, and a
written gold.

See language.py for the language, its uneven demonstrations and the gold's terms. The policy is
supervised on the demonstrations, so its answers vary as they do; pairs of its answers are labeled
by Bradley–Terry on the gold and then partly flipped; the judges are small Llamas fitted on these
pairs, standardised on the policy's own answers.

The constants are those at which the unmitigated baseline rises and turns; no other method was run
to choose them. Measured with `assay run leave_one_out --world.seed S --seed S --eval-steps 10` (KL
in nats, gold ± standard error):

    S   reference      best reading           at KL ≈ 10       after 100 steps          proxy, in reference deviations
    0   1.98 ± 0.16    2.58 ± 0.15 (KL 0.6)    1.12 (KL 9)    −23.0 ± 0.3 (KL 168)       −0.1 → 4.6
    1   2.06 ± 0.15    2.22 ± 0.14 (KL 0.6)   −0.22 (KL 13)    −9.99 ± 0.37 (KL 46)     0.0 → 3.6
    2   2.03 ± 0.13    none above it          −0.54 (KL 10)    −1.90 ± 0.24 (KL 24)     0.0 → 10.5

What the end reads like, seed 1: "the pond the the the . the gate the pond the pond old . the pond
is large and small". A judge fitted on 2,000 pairs, a quarter of them flipped, knows little more
than which way to start: how far gold rises first differs from seed to seed, that it falls does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from assay.core import Loop, Pairs, Prompts, Reward, Rng, Samples, Standardised, Task, World, order
from assay.engine import descend
from assay.errors import InputError
from assay.formulas import pairwise, reduce
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.rewards import fit as fitting
from assay.rewards.ensemble import Ensemble, Members
from assay.worlds import cache as kept
from assay.worlds import language
from assay.worlds.language import REQUESTS, TERMS, VOCABULARY


def world(
    *,
    seed: int = 0,
    pairs: int = 2000,
    noise: float = 0.25,
    members: int = 5,
    held_out: int = 64,
    demos: int = 4000,
    max_tokens: int = 36,
    width: int = 96,
    layers: int = 3,
    sft_steps: int = 300,
    sft_lr: float = 3e-3,
    judge_width: int = 64,
    judge_layers: int = 2,
    judge_steps: int = 100,
    judge_lr: float = 1e-3,
    judge_centre: float = 0.01,
    facts: float = 6.0,
    praise: float = 1.5,
    off_topic: float = 0.9,
    repetition: float = 0.4,
    order: float = 0.6,
    length: float = 0.75,
) -> World:
    """The world and everything in it is a function of these arguments.

    pairs, noise: preferences, and the share of them that is flipped. members: judges. held_out:
    requests that no recipe sees. demos: demonstrations. max_tokens: of an answer. width, layers,
    sft_steps, sft_lr: the policy and its supervised start. judge_…: the judges, their fit, and the
    weight of its centring term. facts, praise, off_topic, repetition, order, length: weights of the
    gold's terms, see language.terms.
    """
    arguments = dict(locals())
    for name, least, most in (
        ("noise", 0, 1),
        ("held_out", 1, len(REQUESTS) - 1),
        ("pairs", 1, None),
        ("members", 1, None),
        ("demos", 1, None),
        ("max_tokens", 2, 128),
    ):
        if arguments[name] < least or (most is not None and arguments[name] > most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            raise InputError(f"--world.{name} is {arguments[name]}; it must be {bounds}")
    at = Rng(seed)("world grammar")
    asked = at("requests").permutation(len(REQUESTS))
    unseen, prompts = (
        VOCABULARY.prompts([str(REQUESTS[r]) for r in some.tolist()])
        for some in (asked[:held_out], asked[held_out:])
    )
    which, texts = language.corpus(asked[held_out:], demos, max_tokens, at("demos"))
    shown = VOCABULARY.answers(prompts[which], [[t] for t in texts])
    gold = written(torch.tensor([facts, praise, off_topic, repetition, order, length]))
    size = Config(len(VOCABULARY), width, layers, heads=4, kv_heads=4, inner=8 * width // 3)
    policy = Causal(Llama(size, at("policy")), VOCABULARY, max_tokens=max_tokens)
    judges = Config(
        len(VOCABULARY), judge_width, judge_layers, heads=4, kv_heads=4, inner=2 * judge_width
    )

    fit = Loop(
        max_steps=judge_steps, batch_size=32, learning_rate=judge_lr, warmup_steps=10, seed=seed
    )

    def build() -> dict[str, Any]:
        imitate(
            policy,
            shown,
            Loop(
                max_steps=sft_steps, batch_size=64, learning_rate=sft_lr, warmup_steps=20, seed=seed
            ),
            at("imitate"),
        )
        compared = preferences(policy, prompts, gold, pairs, noise, at("pairs"))
        judged = fitting.fitted(
            Members(judges, members, at("judges")), compared, loss=_loss(judge_centre), loop=fit
        )
        assert isinstance(judged, Ensemble)
        judged = judged.standardised(policy.sample(prompts, 4, at("standard")))
        return {
            "policy": dict(policy.state_dict()),
            "pairs": compared,
            "judges": judged.model.weights(),
            "centre": judged.centre,
            "scale": judged.scale,
        }

    made = kept.kept(kept.place("grammar", arguments, __name__), build, VOCABULARY.decode)
    policy.load_state_dict(made["policy"])
    names = [f"judge{m}" for m in range(members)]
    rewards = Ensemble(judges, made["judges"], names, centre=made["centre"], scale=made["scale"])
    reference = policy.frozen()

    def refit(by: Callable[..., Reward]) -> Reward:
        fresh = by(Members(judges, members, at("judges")), made["pairs"], fit)
        return Standardised(fresh, reference.sample(prompts, 4, at("standard")))

    task = Task(
        prompts=prompts,
        reference=reference,
        rewards=rewards,
        pairs=made["pairs"],
        demos=shown,
        rng=Rng(seed)("run"),
    )
    return World(
        "grammar",
        task,
        held_out=unseen,
        gold=gold,
        golds=("gold", *TERMS),
        gold_kind="written",
        loop=Loop(max_steps=100, batch_size=32, num_generations=8, learning_rate=1.5e-4),
        refit=refit,
        arguments=arguments,
        population=VOCABULARY.prompts([str(r) for r in REQUESTS]),
    )


def written(weights: Float[Tensor, "6"]) -> Callable[[Samples], Float[Tensor, "7 B N"]]:
    """The gold with these weights: their sum first, then each weighted term, so that a reader sees
    which one fell.
    """

    def gold(x: Samples) -> Float[Tensor, "7 B N"]:
        each = language.terms(x) * weights[:, None, None]
        return torch.cat([each.sum(0, keepdim=True), each]).to(x.logp.device)

    return gold


def imitate(policy: Causal, shown: Samples, loop: Loop, at: Rng) -> None:
    """Supervised fine-tuning on the demonstrations, in place: the mean over tokens of −log π."""
    opt = loop.optimiser(policy)
    for t in tqdm(
        range(loop.max_steps), desc="supervised start", disable=None, delay=2, leave=False
    ):
        batch = shown[order(len(shown), loop.batch_size, t, at)]
        descend.descend(opt, lambda rows, _: -policy.logp(rows), batch, reduce=reduce.per_token)


def preferences(
    policy: Causal,
    prompts: Prompts,
    gold: Callable[[Samples], Tensor],
    pairs: int,
    noise: float,
    at: Rng,
) -> Pairs:
    """Two answers of the policy to each of `pairs` prompts; the first is preferred with chance
    σ(gold₁ − gold₂), and then a share `noise` of the labels is turned round.
    """
    b = torch.arange(pairs)
    drawn = policy.sample(prompts[at("prompt").integers(len(prompts), b)], 2, at("answers"))
    value = gold(drawn)[0]
    first = (at("label").uniform(b) < torch.sigmoid(value[:, 0] - value[:, 1])) ^ (
        at("flip").uniform(b) < noise
    )
    chosen = torch.where(first, 0, 1)
    ranked = drawn.pick(torch.stack([chosen, 1 - chosen], 1))
    return Pairs(
        **{f.name: getattr(ranked, f.name) for f in fields(ranked)},
        p=torch.ones(pairs),
        margin=torch.zeros(pairs),
    )


def _loss(centre: float) -> fitting.Loss:
    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return pairwise.bradley_terry(
            chosen, rejected, p=p, margin=margin
        ) + centre * pairwise.centring(chosen, rejected)

    return loss
