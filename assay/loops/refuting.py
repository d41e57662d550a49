"""Refutation of evidence: confusers who are trained, greedy, or try everything.

A player's evidence for a decision is worth what is left of it against somebody who wants the
opposite. The player stands still here, and makes its most probable move.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from assay.core import Loop, Rng
from assay.loops.debating import Cases, Game, Manner, sitting, with_feature
from assay.loops.partial_judges import lead
from assay.loops.sequences import Network, logits_of


def confuser(
    game: Game,
    player: Network,
    cases: Cases,
    debates: int,
    sittings: int,
    rng: Rng,
    loop: Loop,
    *,
    manner: Manner = "best",
) -> tuple[Network, int]:
    """Train a confuser by PPO to win debates against a player who stands still.

    Args:
        game: The game.
        player: Is to be refuted, as side 0.
        cases: The states and what each side argues for.
        debates: Debates of a round, at least 4.
        sittings: Rounds.
        rng: Address of the first weights, cases and moves.
        loop: Learning rate, epochs and mini-batches.
        manner: How the player moves.

    Returns:
        The confuser, and its updates.
    """
    rival = game.player(cases[0].shape[1], rng("confuser"))
    opt = loop.optimiser(rival)
    for t in range(sittings):
        at = rng("sitting", t)
        sitting(game, (player, rival), (1,), opt, cases, debates, at, loop, other=manner)
    return rival, opt.updates


@torch.no_grad()
def irrefutable(
    game: Game, player: nn.Module, cases: Cases, *, begins: int, rows: int = 32
) -> Bool[Tensor, "n"]:
    """Whether side 0 wins whatever side 1 shows, by trying everything.

    Args:
        game: The game.
        player: Side 0, who makes its most probable moves.
        cases: The states and what each side argues for.
        begins: The side that begins.
        rows: Cases that are tried at a time, which bounds the memory.
    """
    n = len(cases[0])
    parts = [tuple(x[i : i + rows] for x in cases) for i in range(0, n, rows)]
    return torch.cat([_irrefutable(game, player, s, a, b, begins) for s, a, b in parts])


def _irrefutable(
    game: Game, player: nn.Module, state: Tensor, mine: Tensor, other: Tensor, begins: int
) -> Tensor:
    at, shown = torch.arange(len(state)), torch.zeros_like(state, dtype=torch.bool)
    for side in game.order(begins):
        if side == 0:
            out = player(game.seen(state[at], shown, mine[at], other[at]))
            shown = with_feature(shown, logits_of(out, ~shown)[0].argmax(-1))
        else:
            node, feature = (~shown).nonzero(as_tuple=True)
            at, shown = at[node], with_feature(shown[node], feature)
    won = lead(game.judge, state[at], shown, mine[at], other[at]) > 0
    lost = torch.zeros(len(state)).index_add(0, at, (~won).float())
    return lost == 0


def confused(
    judge: nn.Module, s: Tensor, shown: Tensor, mine: Tensor, other: Tensor, confuse: int
) -> Bool[Tensor, "n F"]:
    """What is shown after a confuser added features, each the one that hurts `mine` most."""
    F, rows = s.shape[1], torch.arange(len(s))
    for _ in range(confuse):
        leads = torch.stack(
            [lead(judge, s, shown | (torch.arange(F) == f), mine, other) for f in range(F)], -1
        )
        worst = leads.masked_fill(shown, torch.inf).argmin(-1)
        shown = shown.index_put((rows, worst), torch.tensor(True))
    return shown
