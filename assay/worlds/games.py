"""Preference games of world table: no score says who wins, and everything is exact.

A completion is one of A responses (testbed `game`) or a bag of `length` of A tokens (`bag game`).
All prompts share one context. Whose completion is preferred is a matrix of tokens:

    P(y beats z) = mean over y's tokens i and z's tokens j of P[i, j],   P + Pᵀ = 1

so that win rates, exploitability and the regularised Nash policy of bags are those of the game of
single tokens (in a bag's regularised game τ counts `length` times, once for each token's KL).

    game        P[i, j] − ½
    rps         ±strength/2: rock, paper, scissors
    cyclic      the same for an odd number of responses: each beats the next half of the circle
    random      uniform in ±strength/2, drawn until no response beats all others
    transitive  Bradley–Terry on normal utilities of deviation 2·strength: the control

The reference is a softmax of standard normal logits. `task.preference` is exact, or with
`--world.learned` a general preference model fitted on the task's pairs; `task.rewards` are
Bradley–Terry models of the same pairs, the transitive rival. Gold is the probability to beat a
panel: the reference, its best response, and the best response to that. A policy that only beats the
reference is beaten by the panel, and no linear gold can say more: see exact/exploitability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Pairs, Prompts, Rng, Sampler, Samples, Task, World
from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.games import (
    exploitability,
    regularised_exploitability,
    regularised_nash,
    win_rate,
)
from assay.models.policies.table import TablePolicy, Words
from assay.rewards.general_preference import SkewPreference, general_preference, shares
from assay.rewards.linear import LinearModel, LinearReward, bootstrap, maximum_likelihood
from assay.rewards.simulated_labels import preferences
from assay.worlds.exact import best_of_four, fit_loop, held_out_rows
from assay.worlds.refit import refitter

TESTBEDS = ("game", "bag game")
GAMES = {"rps": 3, "cyclic": 9, "random": 8, "transitive": 8}  # and how many responses each has
LOOP = Loop(max_steps=100, batch_size=16, num_generations=16, learning_rate=0.1)


@dataclass(frozen=True, kw_only=True)
class GameConfig:
    """The arguments of world table that a preference game uses; see `TableConfig`."""

    seed: int
    testbed: str
    game: str
    arms: int
    strength: float
    tau: float
    learned: bool
    rank: int
    pairs: int
    noise: float
    members: int
    length: int
    prompts: int
    ridge: float
    demos: int


class PanelGold:
    """P(y beats the panel): the mean over y's tokens of their win rate.

    Attributes:
        wins: Win rate of each token against the panel's mixture `[A]`.
    """

    def __init__(self, wins: Float[Tensor, "A"]):
        self.wins = wins

    def __call__(self, samples: Samples) -> Float[Tensor, "1 B N"]:
        found = shares(samples, len(self.wins)) @ self.wins.to(samples.action.device)
        return found[None].to(samples.logp.dtype)


def build(config: GameConfig, arguments: Mapping[str, Any]) -> World:
    """A preference game as a World.

    Args:
        config: What the game is made with.
        arguments: All arguments of world table, for the record.
    """
    rng = Rng(config.seed)("world table")("game")
    P = matrix(config.game, config.arms, config.strength, rng("matrix"))
    A, length = len(P), config.length if config.testbed == "bag game" else 1
    names = Words(tuple(f"a{v}" for v in range(A)), ("game",))
    logits = rng("reference").normal(torch.arange(A), dtype=torch.float64)[None]
    reference = TablePolicy(logits, length=length, words=names)
    reference.requires_grad_(False)
    probs = reference.logits.softmax(-1)
    gold = PanelGold(P @ panel(P, probs[0]).mean(0))
    every = reference.prompts(torch.arange(config.prompts))

    def repeated(n: int) -> Prompts:
        return every[torch.arange(n) % config.prompts]

    exact = SkewPreference(P - 0.5, link="linear")
    pairs = _pairs(reference, exact, repeated(config.pairs), config, rng("pairs"))
    members = tuple(f"judge{m}" for m in range(config.members))
    model = LinearModel(config.members, vocabulary=A, dtype=torch.float64)
    counts = bootstrap(config.pairs, config.members, rng("bootstrap"))
    maximum_likelihood(model, pairs, counts=counts, ridge=config.ridge)
    proxies = model.freeze(members).standardised(probs, length)
    task = Task(
        prompts=every,
        reference=reference,
        rewards=proxies,
        preference=general_preference(pairs, vocabulary=A, ridge=config.ridge, rank=config.rank)
        if config.learned
        else exact,
        pairs=pairs,
        demos=best_of_four(reference, repeated(config.demos), gold, rng("demos")),
        rng=Rng(config.seed)("run"),
    )
    return World(
        "table",
        task,
        held_out=reference.prompts(held_out_rows(config.prompts)),
        gold=gold,
        gold_kind="exact",
        facts=_facts(reference, gold, proxies, P, config.tau),
        loop=LOOP,
        refit=refitter(
            lambda: LinearModel(config.members, vocabulary=A, rng=rng("judges")),
            pairs,
            fit_loop(config.seed),
            reference=reference,
            prompts=repeated(64),
            n=64,
            rng=rng("standard"),
        ),
        arguments=dict(arguments),
        population=every,
    )


def matrix(game: str, arms: int, strength: float, rng: Rng) -> Float[Tensor, "A A"]:
    """The preference matrix of a game, in float64.

    Args:
        game: rps, cyclic, random or transitive.
        arms: Responses A; 0 for the game's own number.
        strength: How sure preferences are; 1 for certain ones (rps and cyclic).
        rng: Address of the game's numbers.

    Raises:
        InputError: There is no such game with so many responses.
    """
    A = arms or GAMES[game]
    least = 2 if game == "transitive" else 3
    if least > A or (game == "rps" and A != 3) or (game == "cyclic" and A % 2 == 0):
        fits = {"rps": "3", "cyclic": "an odd number, 3 or more"}.get(game, f"{least} or more")
        raise InputError(f"--world.arms is {A} in game {game}, which has {fits}; 0 for its own")
    i = torch.arange(A)
    if game == "transitive":
        u = 2 * strength * rng.normal(i, dtype=torch.float64)
        return torch.sigmoid(u[:, None] - u)
    for draw in range(1000):
        if game == "random":
            upper = (
                rng("draw", draw).uniform(i[:, None], i, dtype=torch.float64).mul(2).sub(1).triu(1)
            )
            skew = upper - upper.mT
        else:
            ahead = (i[:, None] - i) % A  # i beats the (A−1)/2 responses before it
            skew = torch.where(ahead == 0, 0.0, torch.where(ahead <= A // 2, 1.0, -1.0)).double()
        if not bool((skew + torch.eye(A) > 0).all(1).any()):
            return 0.5 + strength / 2 * skew
    raise InputError(
        f"a random game of {A} responses had one that beats all others in 1,000 draws; give other "
        "--world.arms"
    )


def panel(P: Float[Tensor, "A A"], reference: Float[Tensor, "A"]) -> Float[Tensor, "3 A"]:
    """The reference, its best response, and the best response to that."""
    policies = [reference]
    for _ in range(2):
        best = (P @ policies[-1]).argmax()
        policies.append(torch.nn.functional.one_hot(best, len(P)).to(reference))
    return torch.stack(policies)


def _pairs(
    reference: TablePolicy, exact: SkewPreference, prompts: Prompts, config: GameConfig, rng: Rng
) -> Pairs:
    """Two different completions a pair, labelled by the game; a share of the labels is flipped."""
    x = reference.sample(prompts, 8, rng("sample"))
    other = (x.action != x.action[:, :1]).any(-1).long().argmax(-1)
    x = x.pick(torch.stack([torch.zeros_like(other), other], 1))
    p = exact(x, x)[:, 0, 1] + 0.5
    logit = torch.stack([p.logit(eps=1e-12), torch.zeros_like(p)], 1)
    return preferences(x, logit, noise=config.noise, rng=rng)


def _facts(
    reference: TablePolicy, gold: PanelGold, proxies: LinearReward, P: Tensor, tau: float
) -> Callable[[Sampler], dict[str, float]]:
    mu, length = reference.logits[0].double().softmax(-1), reference.length
    nash = regularised_nash(P, mu, tau=tau * length) if tau else None

    def facts(policy: Sampler) -> dict[str, float]:
        """Exact values of this game; nothing for a policy that is no table."""
        if not isinstance(policy, TablePolicy):
            return {}
        with torch.no_grad():
            logp = policy.logits.double().log_softmax(-1)
            pi = logp.exp()[0]
            means = proxies.moments(logp.exp(), length)[0].mean(-1)
            found = {
                "gold": float(pi @ gold.wins),
                "kl": float(length * kl_full(logp[0], mu.log())),
                "exploitability": float(exploitability(pi, P)),
                "win_rate": float(win_rate(pi, mu, P)),
                **{name: float(m) for name, m in zip(proxies.names, means, strict=True)},
            }
            if nash is not None:
                gap = regularised_exploitability(pi, P, mu, tau=tau * length)
                found["regularised_exploitability"] = float(gap)
                found["nash_kl"] = float(length * kl_full(nash.log(), logp[0]))
            return found

    return facts
