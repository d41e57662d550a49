"""The table world: proxies fitted on noisy pairs, every probability exact, every theorem a test.

bag: one context; a completion is a bag of `length` tokens, of which 12 are common (probability 0.8)
and the rest rare (0.2). bandit: a completion is one response to one of `prompts` contexts; 20
responses are common (0.8) and the rest rare (0.2). The proxies are linear Bradley–Terry models on
bootstraps of the same pairs. Gold is linear in the common tokens, plus a bend in the rare ones that
no linear proxy can express. A proxy can fail in two ways:

shared: one rare token (bandit: one rare response, whose feature lies far beyond the others') is
tempting and harmful; all members make the same error. idiosyncratic: rare tokens are worth nothing
and too many do harm; the members disagree on each of them.

The constants and `World.loop` are fixed so that the baseline over-optimises: leave-one-out against
judge0 alone, without KL. Exact values, means over seeds 0…4 of each run's own peak (KL in nats;
`assay run leave_one_out --world table --eval-steps 1 --world.testbed T --world.mode M --world.seed
S --seed S`; about a second a run):

    testbed  mode           peak gold  at step  at KL  after 100 steps, at KL  judge0: peak, end
    bag      shared              1.46       32    7.5            -1.18   49.5       3.47   15.87
    bag      idiosyncratic       1.10       25    5.0           -31.49   50.0       2.60   15.20
    bandit   shared              1.07       36    2.7            -2.51    4.8       1.73    3.36
    bandit   idiosyncratic       1.43       25    2.0            -0.69    5.9       1.32    3.28

With `--world.pairs 8000 --world.noise 0` an ensemble gains nothing: shared falls as before, and
idiosyncratic no longer over-optimises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Pairs, Rng, Samples, Task, World
from assay.errors import InputError
from assay.models.policies.table import TablePolicy
from assay.registry.from_config import from_config
from assay.rewards.counts_network import CountsNetwork
from assay.rewards.linear import LinearModel, bootstrap, maximum_likelihood
from assay.rewards.simulated_labels import preferences
from assay.worlds import games, mdp, trades
from assay.worlds.configuration import (
    arguments,
    check_choice,
    check_range,
    check_share,
)
from assay.worlds.exact import best_of_four, fit_loop, held_out_rows
from assay.worlds.refit import refitter
from assay.worlds.table_gold import standardise
from assay.worlds.table_labels import Specialist, facts_of
from assay.worlds.table_testbeds import COMMON, bag, bandit, extremes

LOOP = {
    "bag": Loop(max_steps=100, batch_size=16, num_generations=16, learning_rate=0.05),
    "bandit": Loop(max_steps=100, batch_size=16, num_generations=128, learning_rate=0.2),
}


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """The arguments of world table.

    Attributes:
        seed: Of the world's own numbers.
        testbed: bag, bandit or trade, a decision process (tomato, chain, grid, road or ticket), or
            a preference game (game or bag game).
        mode: How the proxies fail: shared or idiosyncratic.
        pairs: Preference pairs that the proxies are fitted on.
        noise: Share of the pairs whose label is flipped.
        members: Proxies of a bag or a bandit, see bootstrap; objectives of a trade, at least 2.
        bootstrap: Fit each proxy on its own bootstrap of the pairs; all on all pairs otherwise, and
            they are then one and the same, since a linear fit has one optimum.
        vocabulary: Tokens of a bag.
        length: Tokens of a bag's completion.
        prompts: Rows; the rows of a bag share one context.
        responses: Responses of a bandit.
        ridge: Weight of the fit's ridge penalty; above 0.
        demos: Demonstrations, each the best of four completions of the reference by gold.
        bias: Log-odds of being preferred that labels give a completion for each rare token in it: a
            taste that gold does not have.
        taste: What that taste is for: more rare tokens, or extremes, a number of them far from its
            mean, of which no correlation with that number shows (bag).
        offset: Standard deviation of a constant that each proxy adds to all scores of a prompt, in
            units of its deviation over completions; Bradley–Terry leaves it free (bandit).
        specialists: Standard deviation of a taste by which the labelers of every member judge, in
            place of gold, what they do not know: of even members the rare responses, of odd ones
            the common ones. Each member then has pairs of its own; 0 for none (bandit).
        hidden: Hidden units of the networks that `--fit` trains in place of linear models, which
            learn nothing of what they read; 0 for linear models. The world's own proxies stay
            linear.
        horizon: Steps of a decision process; 0 for the testbed's own.
        gamma: Discount of a decision process; 0 for the testbed's own.
        game: Of a preference game: rps, cyclic, random, or transitive, which is Bradley–Terry.
        arms: Responses of a preference game, or tokens of a bag game; 0 for the game's own.
        strength: How sure the preferences of a game are; 1 for certain ones.
        tau: Strength τ of the KL, per nat, for which a game's readings have the distance from the
            regularised Nash policy; 0 for none.
        learned: Give recipes a general preference model fitted on the pairs of a game, in place of
            the exact one.
        rank: Planes that the fitted preference model keeps; 0 for all.
        bend: Of a trade: 1 for compromises on the line between specialists, above 1 below it.
    """

    seed: int = 0
    testbed: str = "bag"
    mode: str = "shared"
    pairs: int = 400
    noise: float = 0.25
    members: int = 5
    bootstrap: bool = True
    vocabulary: int = 60
    length: int = 12
    prompts: int = 16
    responses: int = 100
    ridge: float = 0.05
    demos: int = 200
    bias: float = 0.0
    taste: str = "more"
    offset: float = 0.0
    specialists: float = 0.0
    hidden: int = 0
    horizon: int = 0
    gamma: float = 0.0
    game: str = "rps"
    arms: int = 0
    strength: float = 1.0
    tau: float = 0.0
    learned: bool = False
    rank: int = 0
    bend: float = 2.0

    def __post_init__(self) -> None:
        check_choice(
            self,
            "testbed",
            ("bag", "bandit", "trade", *mdp.TESTBEDS, *games.TESTBEDS),
        )
        check_choice(self, "mode", ("shared", "idiosyncratic"))
        for name in ("pairs", "members", "length", "prompts", "demos"):
            check_range(self, name, 1)
        size = "responses" if self.testbed == "bandit" else "vocabulary"
        check_range(self, size, COMMON.get(self.testbed, 0) + 1)
        check_share(self, "noise")
        check_choice(self, "taste", ("more", "extremes"))
        if self.taste != "more" and self.testbed != "bag":
            raise InputError(
                f"--world.taste is {self.taste} in testbed {self.testbed}; use it with "
                "--world.testbed bag"
            )
        check_choice(self, "game", tuple(games.GAMES))
        check_range(self, "strength", 0.0, None if self.game == "transitive" else 1.0)
        check_range(self, "bend", 0.1)
        for name in ("arms", "tau", "rank"):
            check_range(self, name, 0)
        check_range(self, "offset", 0.0)
        check_range(self, "specialists", 0.0)
        check_range(self, "hidden", 0)
        if self.specialists and (self.testbed, self.mode) != ("bandit", "idiosyncratic"):
            raise InputError(
                f"--world.specialists is {self.specialists} in testbed {self.testbed}, mode "
                f"{self.mode}; members know some responses and not others only with "
                "--world.testbed bandit --world.mode idiosyncratic"
            )
        if self.offset and self.testbed != "bandit":
            raise InputError(
                f"--world.offset is {self.offset} in testbed {self.testbed}, whose prompts share "
                "one context; use it with --world.testbed bandit"
            )
        if not self.ridge > 0:
            raise InputError(
                f"--world.ridge is {self.ridge}; it must be above 0, or the fit has no optimum"
            )
        if self.horizon < 0 or not 0 <= self.gamma <= 1:
            raise InputError(
                f"--world.horizon is {self.horizon} and --world.gamma is {self.gamma}; give a "
                "horizon of at least 1 and a discount in (0, 1], or 0 for the testbed's own"
            )


@from_config(TableConfig)
def world(config: TableConfig) -> World:
    """A world whose policies are tables and whose expectations are exact."""
    if config.testbed in mdp.TESTBEDS:
        return mdp.build(mdp.ProcessConfig(**_named(mdp.ProcessConfig, config)), arguments(config))
    if config.testbed in games.TESTBEDS:
        return games.build(games.GameConfig(**_named(games.GameConfig, config)), arguments(config))
    if config.testbed == "trade":
        return trades.build(
            trades.TradeConfig(**_named(trades.TradeConfig, config)), arguments(config)
        )
    rng = Rng(config.seed)("world table")
    build, size = (
        (bag, config.vocabulary) if config.testbed == "bag" else (bandit, config.responses)
    )
    reference, gold, features = build(config.mode, size, config.length, config.prompts, rng)
    reference.requires_grad_(False)
    probs = reference.logits.softmax(-1)
    standardise(gold, probs)

    pairs = _pairs(reference, gold, config, rng("pairs"))
    names = tuple(f"judge{m}" for m in range(config.members))

    def unfitted(rng: Rng | None = None) -> LinearModel:
        return LinearModel(config.members, vocabulary=size, features=features, rng=rng)

    def networks() -> CountsNetwork:
        return CountsNetwork(
            unfitted(), members=config.members, width=config.hidden, rng=rng("networks")
        )

    model = unfitted()
    if config.specialists:
        for m in range(config.members):
            theirs = _pairs(
                reference,
                Specialist(gold, m, config.specialists, config.responses, rng),
                config,
                rng("their pairs", m),
            )
            one = LinearModel(1, vocabulary=size)
            model.weight.data[m] = (
                maximum_likelihood(one, theirs, ridge=config.ridge).weight[0].data
            )
    else:
        draws = rng("bootstrap")
        counts = bootstrap(config.pairs, config.members, draws) if config.bootstrap else None
        maximum_likelihood(model, pairs, counts=counts, ridge=config.ridge)
    proxies = model.freeze(names).standardised(probs, reference.length)
    if config.offset:
        place = torch.arange(config.members)[:, None], torch.arange(config.prompts)
        proxies = proxies.offset(config.offset * rng("offset").normal(*place), reference.length)

    every = reference.prompts(torch.arange(config.prompts))
    prompt_of = torch.arange(config.demos) % config.prompts
    task = Task(
        prompts=every,
        reference=reference,
        rewards=proxies,
        pairs=pairs,
        demos=best_of_four(reference, every[prompt_of], gold, rng("demos")),
        rng=Rng(config.seed)("run"),
    )
    return World(
        "table",
        task,
        held_out=reference.prompts(held_out_rows(config.prompts)),
        gold=gold,
        gold_kind="exact",
        facts=facts_of(reference, gold, proxies),
        loop=LOOP[config.testbed],
        refit=None
        if config.offset  # a model that is fitted anew would have no offsets
        else refitter(
            lambda: networks() if config.hidden else unfitted(rng("judges")),
            pairs,
            fit_loop(config.seed),
            reference=reference,
            prompts=reference.prompts(torch.arange(64) % config.prompts),
            n=64,
            rng=rng("standard"),
        ),
        arguments=arguments(config),
        population=every,
    )


def _named(fewer: type, config: TableConfig) -> dict[str, Any]:
    """The arguments that a testbed with a configuration of its own takes."""
    return {f.name: getattr(config, f.name) for f in fields(fewer)}


def _pairs(
    reference: TablePolicy,
    gold: Callable[[Samples], Tensor],
    config: TableConfig,
    rng: Rng,
) -> Pairs:
    """Two different completions a pair, labeled by gold and the labelers' taste for rare tokens."""
    prompt_of = torch.arange(config.pairs) % config.prompts
    x = reference.sample(reference.prompts(prompt_of), 8, rng("sample"))
    # the first completion that differs from completion 0; eight alike: chance < 1e-8
    other = (x.action != x.action[:, :1]).any(-1).long().argmax(-1)
    x = x.pick(torch.stack([torch.zeros_like(other), other], 1))
    liked = (x.action >= COMMON[config.testbed]).sum(-1)
    if config.taste == "extremes":
        liked = extremes(config.length)[liked]
    return preferences(x, gold(x)[0] + config.bias * liked, noise=config.noise, rng=rng)
