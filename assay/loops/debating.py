"""A debate about a decision before a judge of partly seen states: players choose what it sees.

Two players show features in turns, side 0 for one decision and side 1 for another, until `reveal`
are shown; the side whose decision the judge scores higher is paid +1 and the other −1. Each side
begins half of the debates. A player is told which decision is its own. It is trained by PPO

    self_play   by debating with itself, and it learns on both sides
    maxmin      max over the player of the min over its rival: the rival learns to refute it for
                `replies` rounds, in which the player stands still, then the player for one round
    isolated    alone, in all turns: nobody refutes it
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import Loop, Rng
from assay.engine.optimiser import Optimiser
from assay.loops.partial_judges import lead
from assay.loops.sequences import Moves, Network, drawn, improve, logits_of, moved

GAMMA = 0.9  # discount γ a turn of one's own
KINDS = ("maxmin", "self_play", "isolated")
Cases = tuple[Tensor, Tensor, Tensor]  # states, what side 0 argues for, what side 1 argues for
Manner = Literal["best", "drawn", "chance"]  # the most probable move, one by the player, any


@dataclass(frozen=True)
class Game:
    """A debate and its judge.

    Attributes:
        judge: Decides who won.
        decisions: How many decisions there are.
        reveal: Features that are shown in all.
    """

    judge: nn.Module
    decisions: int
    reveal: int

    def order(self, begins: int, *, alone: bool = False) -> tuple[int, ...]:
        """Whose turn it is, side 0 or 1: in turns, or always side 0."""
        return tuple(0 if alone else (begins + t) % 2 for t in range(self.reveal))

    def player(self, features: int, rng: Rng) -> Network:
        """A player who knows nothing: from (state, shown, own, other) to moves and a value."""
        return Network(2 * features + 2 * self.decisions, features + 1, rng)

    def seen(self, state: Tensor, shown: Tensor, own: Tensor, other: Tensor) -> Tensor:
        """What a player sees: the whole state, what is shown, and both decisions."""
        two = (nn.functional.one_hot(d, self.decisions).to(state.dtype) for d in (own, other))
        return torch.cat([state, shown.to(state.dtype), *two], -1)


@torch.no_grad()
def debate(
    game: Game,
    players: tuple[nn.Module, nn.Module],
    cases: Cases,
    order: tuple[int, ...],
    manners: tuple[Manner, Manner] = ("best", "best"),
    gumbel: Float[Tensor, "n T F"] | None = None,
) -> tuple[Bool[Tensor, "n F"], dict[str, Tensor]]:
    """Play debates.

    Args:
        game: The game.
        players: Of side 0 and of side 1.
        cases: The states and what each side argues for.
        order: Whose turn it is, see `Game.order`.
        manners: How each side moves.
        gumbel: Noise to draw by, where a side draws or moves by chance.

    Returns:
        What is shown in the end, and what was seen, legal, taken and put out in every turn.
    """
    state, pair = cases[0], cases[1:]
    shown = torch.zeros_like(state, dtype=torch.bool)
    kept: dict[str, list[Tensor]] = {"seen": [], "legal": [], "action": [], "out": []}
    for t, side in enumerate(order):
        seen = game.seen(state, shown, pair[side], pair[1 - side])
        out, legal = players[side](seen), ~shown
        logp, _ = logits_of(out, legal)
        if manners[side] == "chance":
            logp = torch.zeros_like(logp).masked_fill(~legal, -torch.inf)
        if manners[side] == "best" or gumbel is None:
            action = logp.argmax(-1)
        else:
            action = drawn(logp, gumbel[:, t])
        for k, v in zip(kept, (seen, legal, action, out), strict=True):
            kept[k].append(v)
        shown = with_feature(shown, action)
    return shown, {k: torch.stack(v, 1) for k, v in kept.items()}


def with_feature(shown: Bool[Tensor, "n F"], feature: Int[Tensor, "n"]) -> Bool[Tensor, "n F"]:
    """What is shown when one more feature is."""
    return shown | nn.functional.one_hot(feature, shown.shape[-1]).bool()


def moves_of(
    kept: dict[str, Tensor], payoff: Float[Tensor, "n"], order: tuple[int, ...], side: int
) -> Moves:
    """The moves of one side of finished debates, paid after its last turn.

    Args:
        kept: From `debate`.
        payoff: What side 0 is paid; side 1 is paid its negative.
        order: Whose turn it was.
        side: Whose moves.
    """
    own = {k: v[:, [t for t, who in enumerate(order) if who == side]] for k, v in kept.items()}
    reward = torch.zeros_like(own["out"][..., 0])
    reward[:, -1] = payoff if side == 0 else -payoff
    return moved(**own, reward=reward, gamma=GAMMA)


def sitting(
    game: Game,
    players: tuple[Network, Network],
    learns: tuple[int, ...],
    opt: Optimiser,
    cases: Cases,
    debates: int,
    rng: Rng,
    loop: Loop,
    *,
    alone: bool = False,
    other: Manner = "drawn",
    shuffled: bool = False,
) -> None:
    """Hold debates and make PPO's updates on the moves of the sides that learn.

    Moves of those who began and of those who replied are two sets, each with its own updates.

    Args:
        game: The game.
        players: Of both sides. Sides that learn are one network.
        learns: Sides that learn.
        opt: Of their network.
        cases: Cases to draw from.
        debates: How many debates.
        rng: Address of cases, moves and order.
        loop: Learning rate, epochs and mini-batches.
        alone: Side 0 moves in all turns.
        other: How a side moves that does not learn.
        shuffled: Pay every debate what another one was worth: the negative control.
    """
    row, turn, feature = (torch.arange(n) for n in (debates, game.reveal, cases[0].shape[1]))
    at = rng("case").integers(len(cases[0]), row)
    noise = rng("move").gumbel(row[:, None, None], turn[:, None], feature)
    manners = tuple("drawn" if side in learns else other for side in (0, 1))
    sets: list[list[Moves]] = [[], []]
    for begins in (0, 1):
        s, mine, their = (x[at[begins::2]] for x in cases)
        order = game.order(begins, alone=alone)
        shown, kept = debate(
            game, players, (s, mine, their), order, (manners[0], manners[1]), noise[begins::2]
        )
        payoff = lead(game.judge, s, shown, mine, their).sign()
        if shuffled:
            payoff = payoff[rng("payoffs", begins).permutation(len(payoff))]
        for side in learns:
            sets[(begins + side) % 2].append(moves_of(kept, payoff, order, side))
    for k, parts in enumerate(sets):
        both = (torch.cat([getattr(m, f.name) for m in parts]) for f in fields(Moves))
        improve(opt, players[learns[0]], Moves(*both), rng("order", k), loop)


def argued(
    game: Game,
    cases: Cases,
    kind: str,
    debates: int,
    sittings: int,
    rng: Rng,
    loop: Loop,
    *,
    replies: int = 1,
    shuffled: bool = False,
) -> tuple[Network, int]:
    """Train a player. All kinds hold as many debates and make as many updates.

    Args:
        game: The game.
        cases: States, the decisions that people preferred, and the others. A maxmin player argues
            for the first and its rival for the second, as an isolated player does.
        kind: One of `KINDS`.
        debates: Debates of a round, at least 4.
        sittings: Rounds, of the player and of its rival together.
        rng: Address of the first weights, cases and moves.
        loop: Learning rate, epochs and mini-batches.
        replies: Rounds of the rival for each of a maxmin player.
        shuffled: Pay every debate what another one was worth: the negative control.

    Returns:
        The player, and how many updates it and its rival made.
    """
    F = cases[0].shape[1]
    player, rival = game.player(F, rng("player")), game.player(F, rng("rival"))
    opts = loop.optimiser(player), loop.optimiser(rival)
    for t in range(sittings):
        two, learns = (player, player), (0, 1) if kind == "self_play" else (0,)
        if kind == "maxmin":
            two, learns = (player, rival), (1,) if t % (replies + 1) < replies else (0,)
        alone, opt = kind == "isolated", opts[learns[0]]
        at = rng("sitting", t)
        sitting(game, two, learns, opt, cases, debates, at, loop, alone=alone, shuffled=shuffled)
    return player, sum(opt.updates for opt in opts)


@torch.no_grad()
def wins(
    game: Game,
    players: tuple[nn.Module, nn.Module],
    cases: Cases,
    rng: Rng,
    manners: tuple[Manner, Manner] = ("best", "best"),
    *,
    alone: bool = False,
) -> float:
    """Share of debates that side 0 wins when each side begins half of them.

    Args:
        game: The game.
        players: Of both sides.
        cases: The states and what each side argues for.
        rng: Address of moves by chance.
        manners: How each side moves.
        alone: Side 0 moves in all turns.
    """
    row, turn, feature = (torch.arange(n) for n in (len(cases[0]), game.reveal, cases[0].shape[1]))
    noise, won = rng("chance").gumbel(row[:, None, None], turn[:, None], feature), 0
    for begins in (0, 1):
        s, mine, other = (x[begins::2] for x in cases)
        order = game.order(begins, alone=alone)
        shown, _ = debate(game, players, (s, mine, other), order, manners, noise[begins::2])
        won += int((lead(game.judge, s, shown, mine, other) > 0).sum())
    return won / len(row)


def skill(game: Game, player: nn.Module, cases: Cases, rng: Rng) -> dict[str, float]:
    """Share of debates that a player wins as either side against moves at random.

    A player who knows nothing wins `chance` of them as side 0 and 1 − `chance` as side 1.
    """
    two = player, player
    return {
        "first": wins(game, two, cases, rng, ("best", "chance")),
        "second": 1 - wins(game, two, cases, rng, ("chance", "best")),
        "chance": wins(game, two, cases, rng, ("chance", "chance")),
    }
