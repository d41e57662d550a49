"""Small games of hidden cards, in which every value is exact: for studies of search.

Two players hold a card each, which the other does not see; what they do is public. A state of
knowledge is the public history and one's own card. hint: a game of common payoff; both give a hint,
then both guess the other's card, and are paid 1 where both are right. kuhn: poker with three cards,
zero-sum. A policy is `{history: log-probabilities [cards, actions]}` over the histories at which
anybody moves; the row is the card of the one who does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Rng
from assay.errors import InputError

History = tuple[int, ...]
Table = dict[History, Tensor]  # of the one who moves, [cards, actions]


@dataclass(frozen=True)
class CardGame:
    """A game of two players with one hidden card each.

    Attributes:
        deal: Probability of each pair of cards.
        zero_sum: Player 1 gets minus what player 0 gets; the same otherwise.
        player: Who moves at each history, 0 or 1; a history comes before those that continue it.
        actions: How many actions there are at each history.
        payoff: What player 0 gets at each end, by cards.
    """

    deal: Float[Tensor, "C C"]
    zero_sum: bool
    player: dict[History, int]
    actions: dict[History, int]
    payoff: dict[History, Float[Tensor, "C C"]]

    def sign(self, player: int) -> float:
        """1, or −1 for the second player of a zero-sum game."""
        return -1.0 if self.zero_sum and player == 1 else 1.0

    def next(self, h: History) -> Iterable[History]:
        """The histories after each action."""
        return ((*h, a) for a in range(self.actions[h]))


def hint_game(cards: int = 3) -> CardGame:
    """Both give one of `cards` hints, then both guess the other's card.

    Args:
        cards: Cards of each player; they are dealt independently.
    """
    lengths = range(4)
    histories = [h for n in lengths for h in itertools.product(range(cards), repeat=n)]
    c0, c1 = torch.arange(cards)[:, None], torch.arange(cards)
    ends = itertools.product(range(cards), repeat=4)
    return CardGame(
        deal=torch.full((cards, cards), 1 / cards**2, dtype=torch.float64),
        zero_sum=False,
        player={h: len(h) % 2 for h in histories},
        actions=dict.fromkeys(histories, cards),
        payoff={h: torch.eq(c1, h[2]).double() * torch.eq(c0, h[3]).double() for h in ends},
    )


def kuhn_poker() -> CardGame:
    """Kuhn's poker: an ante of 1, a bet of 1, cards 0 to 2; its value for player 0 is −1/18."""
    c = torch.arange(3)
    higher = (c[:, None] > c).double() - (c[:, None] < c).double()
    one = torch.ones(3, 3, dtype=torch.float64)
    return CardGame(
        deal=(1 - torch.eye(3, dtype=torch.float64)) / 6,
        zero_sum=True,
        player={(): 0, (0,): 1, (1,): 1, (0, 1): 0},  # 0 is pass, 1 is bet
        actions=dict.fromkeys([(), (0,), (1,), (0, 1)], 2),
        payoff={
            (0, 0): higher,
            (1, 0): one,
            (1, 1): 2 * higher,
            (0, 1, 0): -one,
            (0, 1, 1): 2 * higher,
        },
    )


GAMES: dict[str, Callable[[], CardGame]] = {"hint": hint_game, "kuhn": kuhn_poker}


def game_of(name: str) -> CardGame:
    """The game of this name.

    Raises:
        InputError: There is none.
    """
    if name not in GAMES:
        raise InputError(f"--game is '{name}'; it is one of {', '.join(GAMES)}")
    return GAMES[name]()


def random_policy(game: CardGame, spread: float, rng: Rng) -> Table:
    """A softmax of normal logits.

    Args:
        game: The game.
        spread: Standard deviation of the logits; 0 for uniform play.
        rng: Address of the logits.
    """
    c, table = torch.arange(len(game.deal))[:, None], Table()
    for i, (h, actions) in enumerate(game.actions.items()):
        drawn = rng("logits", i).normal(c, torch.arange(actions), dtype=torch.float64)
        table[h] = (spread * drawn).log_softmax(-1)
    return table


def by_cards(game: CardGame, h: History, of: Float[Tensor, "c"]) -> Float[Tensor, "a b"]:
    """What depends on the card of the one who moves, as something of both cards."""
    return of[:, None] if game.player[h] == 0 else of[None, :]


def values(game: CardGame, policy: Table) -> Table:
    """Expected payoff of player 0 at every history `[C, C]`, by cards."""
    worth = dict(game.payoff)
    for h in reversed(game.player):
        p = policy[h].exp()
        worth[h] = torch.stack(
            [by_cards(game, h, p[:, a]) * worth[n] for a, n in enumerate(game.next(h))]
        ).sum(0)
    return worth


def expected(game: CardGame, policy: Table) -> float:
    """Expected payoff of player 0; of both, where payoffs are common."""
    return float((game.deal * values(game, policy)[()]).sum())


def reaches(game: CardGame, policy: Table, without: int | None = None) -> Table:
    """Probability of cards and history `[C, C]`, without one player's own choices if given."""
    reach: Table = {(): game.deal}
    for h, who in game.player.items():
        p = torch.ones_like(policy[h]) if who == without else policy[h].exp()
        for a, n in enumerate(game.next(h)):
            reach[n] = reach[h] * by_cards(game, h, p[:, a])
    return reach


def beliefs(game: CardGame, policy: Table) -> Table:
    """What the one who moves believes of the other's card: rows are its own card `[C, C]`.

    By Bayes' rule where the history has a chance; by the deal alone where it has none.
    """
    reach, found = reaches(game, policy), Table()
    for h, who in game.player.items():
        own = reach[h] if who == 0 else reach[h].T
        prior = game.deal if who == 0 else game.deal.T
        total = own.sum(1, keepdim=True)
        own = torch.where(total > 0, own, prior)
        found[h] = own / own.sum(1, keepdim=True)
    return found


def action_values(game: CardGame, policy: Table) -> Table:
    """Exact value of each action to the one who moves, when all go on by this policy.

    q(h, c, a) = E[payoff | history h, own card c, action a]
    """
    worth, believed, q = values(game, policy), beliefs(game, policy), Table()
    for h, who in game.player.items():
        after = [worth[n] if who == 0 else worth[n].T for n in game.next(h)]
        q[h] = game.sign(who) * torch.stack([(believed[h] * v).sum(1) for v in after], 1)
    return q


def rollout_values(
    game: CardGame,
    policy: Table,
    at: tuple[History, int],
    believed: Float[Tensor, "C"],
    rollouts: int,
    rng: Rng,
) -> Float[Tensor, "A"]:
    """Estimate the value of each action at one decision by playing on.

    The other card is drawn from what the one who moves believes, and all go on by the policy. A
    rollout is a function of its address, whatever else is estimated.

    Args:
        game: The game.
        policy: Both players' policy.
        at: Public history, and the card of the one who moves.
        believed: Probability of the other's cards, a row of `beliefs`.
        rollouts: Of each action.
        rng: Address of this decision's draws.
    """
    h, card = at
    who, A = game.player[h], game.actions[h]
    place = torch.arange(rollouts)
    other = _drawn(believed.expand(rollouts, -1), rng("card"), place)
    mine = torch.full_like(other, card)
    cards = torch.stack([mine, other] if who == 0 else [other, mine])
    means = [
        _played(game, policy, (*h, a), cards, place, rng("action", a)).mean() for a in range(A)
    ]
    return game.sign(who) * torch.stack(means)


def _played(
    game: CardGame, policy: Table, h: History, cards: Int[Tensor, "2 n"], place: Tensor, rng: Rng
) -> Float[Tensor, "n"]:
    """Payoffs of player 0 when games go on from here."""
    if h in game.payoff:
        return game.payoff[h][cards[0], cards[1]]
    action = _drawn(policy[h].exp()[cards[game.player[h]]], rng("move", len(h)), place)
    paid = torch.empty(len(place), dtype=torch.float64)
    for a, n in enumerate(game.next(h)):
        rows = action == a
        if rows.any():
            paid[rows] = _played(game, policy, n, cards[:, rows], place[rows], rng)
    return paid


def _drawn(p: Float[Tensor, "n A"], rng: Rng, place: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """One draw a row, by the inverse distribution function."""
    u = rng.uniform(place, dtype=torch.float64)[:, None]
    return (p.cumsum(-1)[:, :-1].contiguous() <= u).sum(-1)


def exploitability(game: CardGame, policy: Table) -> float:
    """Mean of what the two players of a zero-sum game gain by their best responses."""
    return sum(_best(game, policy, i) for i in (0, 1)) / 2


def _best(game: CardGame, policy: Table, player: int) -> float:
    """A best response's payoff; it may depend on history and own card alone."""
    reach = reaches(game, policy, without=player)
    paid = {
        h: game.sign(player) * (reach[h] * v).sum(1 - player) for h, v in game.payoff.items()
    }  # by own card, weighted by the deal and the other's choices
    for h in reversed(game.player):
        after = torch.stack([paid[n] for n in game.next(h)])
        paid[h] = after.amax(0) if game.player[h] == player else after.sum(0)
    return float(paid[()].sum())
