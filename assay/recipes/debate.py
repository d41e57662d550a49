"""Justifiable decisions: pay a decision for its return and for winning a debate about it.

A state has `features` features. Two players, one for decision a and one for the baseline's decision
b, show features in turns until `reveal` are shown. A judge J(s⊙m, m, a), a network fitted by
Bradley–Terry to comparisons under *random* masks of that size, then says who won. The policy's
reward is

    R = (1 − λ)·environment·r(s, a) + λ·bonus·1[J(a) > J(b)],      b the decision of λ = 0

and the game's own payoff is +1, −1 or 0. Everything is trained in this order: the baseline by PPO
on the return alone, the judge, the players by PPO on the judge's comparisons, and then a policy for
each kind of evidence by PPO on R, from scratch.

This is a study, not a recipe: it is about sequential decisions with features, and makes its own
process (a Task has completions and no features). Features drift, are pushed by what is decided, and
are noisy; return and the people's preferences are linear in them, with `shared` of their weight in
common.

`evidence` says which features are shown: maxmin or self_play (by players trained against a
refuter, as the released policies' are, or with themselves: see `loops/debating.py`), random (as
many at random), full (everything, to a second judge, who is fitted to the same comparisons in whole
states), and shuffled, the negative control: maxmin players trained as long on payoffs of other
debates. `agrees` is how often a verdict is that of the judge of whole states. After the evidence a
greedy confuser may add `confuse` features against the policy, one after the other as they hurt
most: a verdict that survives is `robust`. `refutation` trains a confuser against each kind.

Traps. A tie pays 0, and the same decision as the baseline's is a tie: the bonus is one for
disagreeing. Win rates are over the states where the decisions differ; `preferred` is over all
states that the policy comes to, half for equal decisions. The game pays {−1, 0, 1}, the policy
{0, 1}.

Where the released code differs. It is offline: it computes the bonus on stored decisions of a
clinical data set and trains its policy by double Q-learning on them; here episodes are drawn anew.
A coin says who begins a debate about a policy's decision; here the policy's player does. Its judge
normalises by batch, to be switched to evaluation; here it does not.

Here: gold is what the people's own preference says of the decisions, without noise or masks. A
policy that is paid for debates is preferred over the baseline by .044 and loses .05 of return. But
random features in every visit, or players trained on shuffled payoffs, make one that is preferred
as often, to within .03 (12 seeds, undecided): over many visits, random evidence may well average to
the judge's own opinion. Before a judge of whole states it is preferred by .04 more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.core import Claim, Loop, Paper, Rng
from assay.errors import InputError
from assay.loops.debating import Game, argued, debate, skill
from assay.loops.partial_judges import judge_of, lead, preferences, some
from assay.loops.refuting import confused
from assay.loops.sequences import Drift, Network, drift, improve, moved, worth

paper = Paper(
    "Reward Design for Justifiable Sequential Decision-Making",
    "Sukovic and Radanovic",
    2024,
    "arXiv:2402.15826",
)
reduces = {}

EVIDENCE = ("maxmin", "self_play", "shuffled", "random", "full")
GAMMA = 0.9
LEARN, PLAY = Loop(learning_rate=1e-2, epochs=2), Loop(learning_rate=1e-2, epochs=4)
Evidence = Callable[[Tensor, Tensor, Tensor, Rng], Tensor]


def study(
    world: Any,
    *,
    features: int = 20,
    decisions: int = 5,
    reveal: int = 6,
    horizon: int = 6,
    pairs: int = 4000,
    shared: float = 0.5,
    noise: float = 0.5,
    lam: float = 0.5,
    environment: float = 1.0,
    bonus: float = 1.0,
    confuse: int = 2,
    episodes: int = 128,
    rounds: int = 80,
    debates: int = 512,
    sittings: int = 60,
    replies: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield a line about each judge, one about the players, and one for each kind of evidence.

    Args:
        features: Features of a state.
        decisions: Decisions in each state, at least 2.
        reveal: Features shown to the judge, at least 2 and at most `features` less `confuse`.
        horizon: Decisions of an episode.
        pairs: Comparisons that the judge is fitted to.
        shared: Share of weight that return and preference have in common.
        noise: Temperature of the people's choices.
        lam: Weight λ of winning the debate.
        environment: Weight of the return.
        bonus: Weight of winning the debate, before λ.
        confuse: Features that the confuser adds.
        episodes: Episodes of a round of the policies' training.
        rounds: Rounds of the policies' training.
        debates: Debates of a round of the players' training, at least 4.
        sittings: Rounds of the players' training.
        replies: Rounds of the rival's training for each of a maxmin player's.
    """
    if (
        not 2 <= reveal <= features - confuse
        or decisions < 2
        or min(pairs, rounds, sittings, debates - 3) < 1
    ):
        raise InputError(
            f"--features is {features}, --reveal {reveal}, --confuse {confuse} and --decisions "
            f"{decisions}; at least 2 features are shown and what is shown is of the features, and "
            "at least 2 decisions are compared"
        )
    rng = world.task.rng("debate")
    place = drift(features, decisions, shared, rng)

    def trained(
        evidence: Evidence | None, base: Network | None, judge: Network | None = None
    ) -> tuple[Network, int]:
        policy = Network(features, decisions + 1, rng("policy"))
        opt = LEARN.optimiser(policy)
        for t in range(rounds):
            with torch.no_grad():
                x = place.rollout(policy, episodes, horizon, rng("round", t), greedily=False)
            reward = environment * worth(x["seen"], x["action"], place.pays)
            if evidence is not None and base is not None and judge is not None:
                s, taken = x["seen"].flatten(0, 1), x["action"].flatten()
                shown, other = evidence_of(evidence, base, s, taken, rng("shown", t))
                won = (lead(judge, s, shown, taken, other) > 0).to(reward)
                reward = (1 - lam) * reward + lam * bonus * won.reshape(reward.shape)
            moves = moved(**x, reward=reward.detach(), gamma=GAMMA)
            improve(opt, policy, moves, rng("order", t), LEARN)
        return policy, opt.updates

    clock = time.perf_counter()
    base, _ = trained(None, None)
    judge, right = judge_of(place, pairs, horizon, reveal, noise, rng)
    whole, whole_right = judge_of(place, pairs, horizon, features, noise, rng)
    shared_seconds = time.perf_counter() - clock
    for sees, share in ((reveal, right), (features, whole_right)):
        yield {"kind": "judge", "sees": sees, "features": features, "right": share}

    game, cases = (
        Game(judge, decisions, reveal),
        preferences(place, pairs, horizon, noise, rng("pairs")),
    )
    players, costs = dict[str, Network](), dict[str, tuple[int, float]]()
    for kind in ("maxmin", "self_play", "shuffled"):
        clock, mixed = time.perf_counter(), kind == "shuffled"
        trains, at = "maxmin" if mixed else kind, rng("players")
        players[kind], updates = argued(
            game, cases, trains, debates, sittings, at, PLAY, replies=replies, shuffled=mixed
        )
        costs[kind] = updates, time.perf_counter() - clock
        won = skill(game, players[kind], cases, rng("skill"))
        yield {"kind": "players", "evidence": kind, **won}

    def by_players(kind: str) -> Evidence:
        two = players[kind], players[kind]
        return lambda s, one, other, _: debate(game, two, (s, one, other), game.order(0))[0]

    def by_chance(s: Tensor, one: Tensor, two: Tensor, rng: Rng) -> Tensor:
        return some(len(s), features, reveal, rng)

    def everything(s: Tensor, one: Tensor, two: Tensor, rng: Rng) -> Tensor:
        return torch.ones_like(s, dtype=torch.bool)

    shows: dict[str, Evidence] = {k: by_players(k) for k in players}
    shows |= {"random": by_chance, "full": everything}
    for kind in EVIDENCE:
        clock = time.perf_counter()
        by = whole if kind == "full" else judge
        policy, updates = trained(shows[kind], base, by)
        more, seconds = costs.get(kind, (0, 0.0))
        at = rng("held out")
        found = measured(place, policy, base, by, whole, shows[kind], horizon, confuse, at)
        yield {"kind": "policy", "evidence": kind, "lam": lam, **found}
        scored = episodes * rounds * horizon + (debates * sittings if kind in costs else 0)
        yield {
            "kind": "spent",
            "arm": kind,
            "generated": episodes * rounds,
            "scored": scored,
            "labels": pairs,
            "updates": updates + more,
            "seconds": time.perf_counter() - clock + seconds + shared_seconds,
        }


@torch.no_grad()
def evidence_of(
    evidence: Evidence, base: Network, s: Tensor, taken: Tensor, rng: Rng
) -> tuple[Bool[Tensor, "n F"], Int[Tensor, "n"]]:
    """What is shown for a decision against the baseline's, and the baseline's."""
    other = base(s)[:, :-1].argmax(-1)
    return evidence(s, taken, other, rng), other


@torch.no_grad()
def measured(
    place: Drift,
    policy: Network,
    base: Network,
    judge: Network,
    whole: Network,
    evidence: Evidence,
    horizon: int,
    confuse: int,
    rng: Rng,
) -> dict[str, float]:
    """Return, gold preference and verdicts of a policy that takes its most probable decisions.

    Args:
        place: The process.
        policy: Is measured.
        base: Is compared with.
        judge: Whose verdicts are counted.
        whole: The judge of whole states, with whose verdicts they are compared.
        evidence: What it is shown.
        horizon: Decisions of an episode.
        confuse: Features that the confuser adds.
        rng: Address of 512 episodes, the same of every policy.
    """
    power = GAMMA ** torch.arange(horizon)
    mine, theirs = (place.rollout(p, 512, horizon, rng, greedily=True) for p in (policy, base))
    returns = [
        float((worth(x["seen"], x["action"], place.pays) * power).sum(-1).mean())
        for x in (mine, theirs)
    ]
    s, taken = mine["seen"].flatten(0, 1), mine["action"].flatten()
    shown, other = evidence_of(evidence, base, s, taken, rng("shown"))
    differ, gold = taken != other, worth(s, taken, place.liked) - worth(s, other, place.liked)
    won = lead(judge, s, shown, taken, other) > 0
    full = lead(whole, s, torch.ones_like(shown), taken, other) > 0
    left = lead(judge, s, confused(judge, s, shown, taken, other, confuse), taken, other) > 0
    count = max(1, int(differ.sum()))
    return {
        "return": returns[0] / returns[1],
        "differ": float(differ.double().mean()),
        "preferred": float(torch.where(differ, (gold > 0).double(), 0.5).mean()),
        "gold": float(gold.mean()),
        "wins": int((won & differ).sum()) / count,
        "agrees": int(((won == full) & differ).sum()) / count,
        "robust": int((left & differ).sum()) / count,
    }


@Claim(
    "Paid for winning a debate of maxmin players over six features, a policy is preferred by "
    "people to one trained for the return, at little cost in return, nearly as much as if the "
    "judge saw everything, and more than if paid for six features at random.",
    arms={"debate": ("debate", {})},
    worlds=("study",),
    least={
        "over the baseline": 0.02,
        "return": -0.1,
        "over random": 0.0,
        "over full": -0.05,
        "over shuffled players": 0.0,
    },
    seeds={"study": "600..611"},
    control=("over shuffled players",),
    broken="the players are paid what other debates were worth",
    differs={
        "scored": "the players' training belongs to the debate, and random or full evidence has "
        "none; self-play and the negative control have as much",
        "updates": "as for scored",
        "seconds": "as for scored",
    },
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Differences in the share of decisions that people prefer to the baseline's (half for equal
    decisions): to one half, to random evidence, to a judge of whole states, and to players trained
    on shuffled payoffs. The return is the policy's over the baseline's, less 1.
    """
    of = {x["evidence"]: x for x in arms["debate"] if x["kind"] == "policy"}
    mine = of["maxmin"]["preferred"]
    return {
        "over the baseline": mine - 0.5,
        "return": of["maxmin"]["return"] - 1,
        "over random": mine - of["random"]["preferred"],
        "over full": mine - of["full"]["preferred"],
        "over shuffled players": mine - of["shuffled"]["preferred"],
    }
