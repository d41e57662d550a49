"""The table world: proxies fitted on noisy pairs, and every probability exact, so that every
theorem is a test.

bag: one context, answers are bags of `length` tokens, 12 common ones (mass .8) and rare ones (mass
.2). bandit: answers are single responses to one of `prompts` contexts, 20 common (.8) and rare ones
(.2). The proxies are linear Bradley–Terry members on bootstraps of the same pairs; the gold is
linear in the common tokens plus a bend in the rare ones that no linear proxy can say. Two ways to
fail:

shared: one rare token (bandit: one rare response, with a feature far beyond the others') is
tempting and harmful; every member errs alike. idiosyncratic: rare tokens are worth nothing and too
many do harm; members disagree on each.

The constants and `World.loop` are fixed so that the baseline turns: leave-one-out against judge0
alone, no KL. Exact values, means over seeds 0…4 of each run's own peak (KL in nats; `assay run
leave_one_out --world table --eval-steps 1 --world.testbed T --world.mode M --world.seed S --seed
S`; about a second a run):

    testbed  mode            peak gold  at step    at KL     after 100 steps, at KL    judge0: peak, end
    bag      shared               1.46       32      7.5              -1.18     49.5        3.47   15.87
    bag      idiosyncratic        1.10       25      5.0             -31.49     50.0        2.60   15.20
    bandit   shared               1.07       36      2.7              -2.51      4.8        1.73    3.36
    bandit   idiosyncratic        1.43       25      2.0              -0.69      5.9        1.32    3.28

With `--world.pairs 8000 --world.noise 0` an ensemble gains nothing: shared falls as before,
idiosyncratic no longer turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Pairs, Reward, Rng, Sampler, Samples, Standardised, Task, World
from assay.errors import InputError
from assay.models.policies.table import TablePolicy, Words
from assay.rewards.linear import LinearModel, LinearReward, bootstrap, maximum_likelihood
from assay.worlds import mdp
from assay.worlds.bag import ArmGold, BagGold, standardise

COMMON = {"bag": 12, "bandit": 20}
FEATURES = 8
LOOP = {
    "bag": Loop(max_steps=100, batch_size=16, num_generations=16, learning_rate=0.05),
    "bandit": Loop(max_steps=100, batch_size=16, num_generations=128, learning_rate=0.2),
}

FIT: dict[str, Any] = {
    "max_steps": 200,
    "batch_size": 64,
    "learning_rate": 0.03,
}  # judges fitted anew: near the optimum, as the world's own


def world(
    *,
    seed: int = 0,
    testbed: str = "bag",
    mode: str = "shared",
    pairs: int = 400,
    noise: float = 0.25,
    members: int = 5,
    vocabulary: int = 60,
    length: int = 12,
    prompts: int = 16,
    responses: int = 100,
    ridge: float = 0.05,
    demos: int = 200,
    bias: float = 0.0,
    horizon: int = 0,
    gamma: float = 0.0,
) -> World:
    """A table world.

    seed: the world's own numbers. testbed: bag or bandit, or a decision process: tomato, chain,
    grid or road (worlds/mdp.py). mode: shared or idiosyncratic. pairs: preference pairs the proxies
    are fitted on. noise: share of them whose label is flipped. members: proxies, each on its own
    bootstrap. vocabulary, length: a bag's tokens and answer length. prompts: rows (a bag's share
    one context). responses: a bandit's arms. ridge: the fit's ridge. demos: demonstrations, each
    the best of four reference answers by gold. bias: log-odds of being preferred that labels give
    an answer for each rare token in it: a taste that gold does not have. horizon, gamma: a
    process's steps and discount, 0 for its own.
    """
    arguments = dict(locals())
    for name, value, choices in (
        ("testbed", testbed, ("bag", "bandit", *mdp.TESTBEDS)),
        ("mode", mode, ("shared", "idiosyncratic")),
    ):
        if value not in choices:
            raise InputError(f"--world.{name} is '{value}'; it is one of {', '.join(choices)}")
    V = responses if testbed == "bandit" else vocabulary
    for name, number, least in (
        ("pairs", pairs, 1),
        ("members", members, 1),
        ("length", length, 1),
        ("prompts", prompts, 1),
        ("demos", demos, 1),
        ("responses" if testbed == "bandit" else "vocabulary", V, COMMON.get(testbed, 0) + 1),
    ):
        if number < least:
            raise InputError(f"--world.{name} is {number}; it must be at least {least}")
    if not 0 <= noise <= 1:
        raise InputError(
            f"--world.noise is {noise}; it is the share of flipped labels, from 0 to 1"
        )
    if not ridge > 0:
        raise InputError(f"--world.ridge is {ridge}; it must be above 0, or the fit has no optimum")
    if testbed in mdp.TESTBEDS:
        return mdp.build(
            arguments,
            seed=seed,
            testbed=testbed,
            mode=mode,
            pairs=pairs,
            noise=noise,
            members=members,
            prompts=prompts,
            demos=demos,
            horizon=horizon,
            gamma=gamma,
        )
    rng = Rng(seed)("world table")
    build = _bag if testbed == "bag" else _bandit
    reference, gold, features = build(mode, V, length, prompts, rng)
    reference.requires_grad_(False)
    probs = reference.logits.softmax(-1)
    standardise(gold, probs)

    compared = _pairs(
        reference, gold, pairs, prompts, noise, rng("pairs"), taste=bias, common=COMMON[testbed]
    )
    model = LinearModel(members, vocabulary=V, features=features)
    maximum_likelihood(
        model, compared, counts=bootstrap(pairs, members, rng("bootstrap")), ridge=ridge
    )
    proxies = model.freeze(tuple(f"judge{m}" for m in range(members))).standardised(
        probs, reference.length
    )

    def refit(by: Callable[..., Reward]) -> Reward:
        fresh = LinearModel(members, vocabulary=V, features=features, rng=rng("judges"))
        bank = reference.prompts(torch.arange(64) % prompts)
        return Standardised(
            by(fresh, compared, Loop(**{**FIT, "seed": seed})),
            reference.sample(bank, 64, rng("standard")),
        )

    rows = torch.arange(prompts)
    task = Task(
        prompts=reference.prompts(rows),
        reference=reference,
        rewards=proxies,
        pairs=compared,
        demos=_demos(reference, gold, demos, prompts, rng("demos")),
        rng=Rng(seed)("run"),
    )
    # a table cannot generalise: the task's own contexts, each as often as the others, as `facts`
    # weighs them
    held_out = reference.prompts(torch.arange(-(-64 // prompts) * prompts) % prompts)
    return World(
        "table",
        task,
        held_out=held_out,
        gold=gold,
        gold_kind="exact",
        facts=_facts(reference, gold, proxies),
        loop=LOOP[testbed],
        refit=refit,
        arguments=arguments,
        population=reference.prompts(rows),
    )


def _names(kind: str, common: int, total: int) -> tuple[str, ...]:
    wide = len(str(total - 1))
    return tuple(
        f"common{v:0{wide}}" if v < common else f"{kind}{v - common:0{wide}}" for v in range(total)
    )


def _reference(testbed: str, V: int, length: int, contexts: tuple[str, ...]) -> TablePolicy:
    C = COMMON[testbed]
    probs = torch.cat([torch.full((C,), 0.8 / C), torch.full((V - C,), 0.2 / (V - C))])
    return TablePolicy(
        probs.log().expand(len(contexts), V),
        length=length,
        words=Words(_names("rare", C, V), contexts),
    )


def _spaced(n: int, rng: Rng) -> Float[Tensor, "n"]:
    """Normal quantiles in random order: the same spread of values under every seed."""
    return torch.special.ndtri((rng.permutation(n) + 0.5) / n)


def _bag(
    mode: str, V: int, length: int, prompts: int, rng: Rng
) -> tuple[TablePolicy, BagGold, None]:
    """Common tokens are worth 0.35·(normal quantiles), so the best is worth less than the first of
    the tempting token.
    """
    C = COMMON["bag"]
    weight = torch.zeros(V)
    weight[:C] = 0.35 * _spaced(C, rng("weight"))
    k = torch.arange(length + 1.0)
    if mode == "shared":
        bent, bend = torch.arange(V) == C, torch.where(k > 0, 1.0 - 1.2 * (k - 1), 0.0)
    else:
        bent, bend = torch.arange(V) >= C, -0.6 * (k - 4).clamp(min=0).square()
    return _reference("bag", V, length, ("bag",)), BagGold(weight, bent, bend), None


def _bandit(
    mode: str, K: int, length: int, prompts: int, rng: Rng
) -> tuple[TablePolicy, ArmGold, Tensor | None]:
    """shared: 8 features, the first of them tempting. idiosyncratic: a response has one worth and a
    part a context.
    """
    C = COMMON["bandit"]
    x, y = torch.arange(prompts)[:, None], torch.arange(K)
    reference = _reference("bandit", K, 1, tuple(f"context{r:02}" for r in range(prompts)))
    if mode == "shared":
        features = (
            rng("features").normal(x[..., None], y[:, None], torch.arange(FEATURES)).clamp(-2, 2)
        )
        features[:, C, 0] = 8.0
        tempting = features[..., 0]
        plain = 0.3 * (features[..., 1:] * _spaced(FEATURES - 1, rng("weight"))).sum(-1)
        return reference, ArmGold(plain + tempting - 3 * (tempting - 2).clamp(min=0)), features
    worth = torch.where(y < C, rng("worth").normal(y), -1.0)
    return reference, ArmGold(worth + 0.5 * rng("context").normal(x, y)), None


def _pairs(
    reference: TablePolicy,
    gold: Callable[[Samples], Tensor],
    n: int,
    prompts: int,
    noise: float,
    rng: Rng,
    *,
    taste: float,
    common: int,
) -> Pairs:
    """Two different reference answers a pair, preferred by Bradley–Terry on gold and `taste` a rare
    token (from `common` on); then `noise` of the labels are flipped.
    """
    b = torch.arange(n)
    x = reference.sample(reference.prompts(b % prompts), 8, rng("sample"))
    differs = (
        (x.action != x.action[:, :1]).any(-1).long().argmax(-1)
    )  # the first that does; eight alike: chance < 1e-8
    x = x.pick(torch.stack([torch.zeros_like(differs), differs], 1))
    score = gold(x)[0] + taste * (x.action >= common).sum(-1)
    first = rng("prefer").uniform(b) < torch.sigmoid(score[:, 0] - score[:, 1])
    wins = (first ^ (rng("flip").uniform(b) < noise)).long()
    x = x.pick(torch.stack([1 - wins, wins], 1))
    return Pairs(
        x.prompts,
        x.action,
        x.mask,
        x.given,
        x.logp,
        x.ended,
        p=torch.ones(n),
        margin=torch.zeros(n),
    )


def _demos(
    reference: TablePolicy, gold: Callable[[Samples], Tensor], n: int, prompts: int, rng: Rng
) -> Samples:
    x = reference.sample(reference.prompts(torch.arange(n) % prompts), 4, rng)
    return x.pick(gold(x)[0].argmax(-1, keepdim=True))


def _facts(
    reference: TablePolicy, gold: BagGold | ArmGold, proxies: LinearReward
) -> Callable[[Sampler], dict[str, float]]:
    def facts(policy: Sampler) -> dict[str, float]:
        """Exact expectations over this world's prompts, where the policy is a table; else nothing."""
        if not isinstance(policy, TablePolicy):
            return {}
        with torch.no_grad():
            probs = policy.logits.double().softmax(-1)
            means = proxies.moments(probs, policy.length)[0].mean(-1)
            kl = (
                policy.length
                * policy.kl_per_decision(
                    reference, reference.prompts(torch.arange(len(probs)))
                ).mean()
            )
            return {
                "gold": float(gold.moments(probs)[0].mean()),
                "kl": float(kl),
                **{name: float(m) for name, m in zip(proxies.names, means, strict=True)},
            }

    return facts
