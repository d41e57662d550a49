"""A debate about a decision before a judge of partly seen states: players choose what it sees.

Two players show features in turns, the first
for one decision and the second for the other, until `reveal` are shown; the one whose decision the
judge scores higher is paid +1 and the other −1. Both are one network (self-play), which is told
whose decision is its own.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import Loop, Rng
from assay.loops.partial_judges import lead
from assay.loops.sequences import Moves, Network, drawn, improve, logits_of, moved


@torch.no_grad()
def debate(
    player: nn.Module,
    state: Float[Tensor, "n F"],
    mine: Int[Tensor, "n"],
    other: Int[Tensor, "n"],
    decisions: int,
    reveal: int,
    gumbel: Float[Tensor, "n T F"] | None = None,
    chance: tuple[int, ...] = (),
) -> tuple[Bool[Tensor, "n F"], dict[str, Tensor]]:
    """Play debates: turns 0, 2, … show a feature for `mine`, the others one for `other`.

    Args:
        player: The network of both players: F features and a value.
        state: The states.
        mine: The first player's decisions.
        other: The second player's.
        decisions: How many decisions there are.
        reveal: Features that are shown in all, T.
        gumbel: Noise to draw by; None for the most probable move.
        chance: Players, 0 or 1, who move at random; only they use the noise then.

    Returns:
        What is shown in the end, and what was seen, legal, taken and put out in every turn.
    """
    one_hot = torch.nn.functional.one_hot
    pair = [one_hot(d, decisions).to(state.dtype) for d in (mine, other)]
    shown = torch.zeros_like(state, dtype=torch.bool)
    kept: dict[str, list[Tensor]] = {"seen": [], "legal": [], "action": [], "out": []}
    for t in range(reveal):
        own = pair if t % 2 == 0 else pair[::-1]
        seen = torch.cat([state, shown.to(state.dtype), *own], -1)
        out, legal = player(seen), ~shown
        logp, _ = logits_of(out, legal)
        if t % 2 in chance:
            logp = torch.zeros_like(logp).masked_fill(~legal, -torch.inf)
        if gumbel is None or (chance and t % 2 not in chance):
            action = logp.argmax(-1)
        else:
            action = drawn(logp, gumbel[:, t])
        for k, v in zip(kept, (seen, legal, action, out), strict=True):
            kept[k].append(v)
        shown = shown | one_hot(action, state.shape[-1]).bool()
    return shown, {k: torch.stack(v, 1) for k, v in kept.items()}


def turns(kept: dict[str, Tensor], payoff: Float[Tensor, "n"], gamma: float) -> list[Moves]:
    """The moves of both players of finished debates, each paid after its last turn.

    Args:
        kept: From `debate`.
        payoff: What the first player is paid; the second is paid its negative.
        gamma: Discount γ a turn of one's own.
    """
    out = []
    for k, sign in ((0, 1.0), (1, -1.0)):
        own = {name: v[:, k::2] for name, v in kept.items()}
        if own["action"].shape[1] == 0:
            continue
        reward = torch.zeros_like(own["out"][..., 0])
        reward[:, -1] = sign * payoff
        out.append(moved(**own, reward=reward, gamma=gamma))
    return out


def argued(
    judge: nn.Module,
    cases: tuple[Tensor, Tensor],
    decisions: int,
    reveal: int,
    debates: int,
    sittings: int,
    rng: Rng,
    loop: Loop,
    *,
    shuffled: bool = False,
) -> tuple[Network, int]:
    """Train the players by PPO and self-play before a judge.

    Args:
        judge: Decides who won.
        cases: States, and the decision that the second player argues for in each; the first argues
            for another one at random.
        decisions: How many decisions there are.
        reveal: Features that are shown in all.
        debates: Debates of a round.
        sittings: Rounds.
        rng: Address of the first weights, cases and moves.
        loop: Learning rate, epochs and mini-batches.
        shuffled: Pay every debate what another one was worth: the negative control.

    Returns:
        The network of both players, and its updates.
    """
    states, others = cases
    F, row = states.shape[1], torch.arange(debates)
    player = Network(2 * F + 2 * decisions, F + 1, rng("player"))
    opt = loop.optimiser(player)
    turn = torch.arange(reveal)[:, None]
    for t in range(sittings):
        at = rng("case", t).integers(len(states), row)
        s, other = states[at], others[at]
        mine = (other + 1 + rng("mine", t).integers(decisions - 1, row)) % decisions
        noise = rng("move", t).gumbel(row[:, None, None], turn, torch.arange(F))
        shown, kept = debate(player, s, mine, other, decisions, reveal, noise)
        payoff = lead(judge, s, shown, mine, other).sign()
        if shuffled:
            payoff = payoff[rng("other", t).permutation(debates)]
        for k, moves in enumerate(turns(kept, payoff, gamma=0.9)):
            improve(opt, player, moves, rng("order", t, k), loop)
    return player, opt.updates


@torch.no_grad()
def skill(
    player: nn.Module,
    judge: nn.Module,
    cases: tuple[Tensor, Tensor],
    decisions: int,
    reveal: int,
    rng: Rng,
) -> dict[str, float]:
    """Share of debates that a player wins as the first against moves at random, and as the second.

    A player who knows nothing wins `chance` of them as the first and 1 − `chance` as the second.
    """
    s, other = cases
    row = torch.arange(len(s))
    mine = (other + 1 + rng("mine").integers(decisions - 1, row)) % decisions
    noise = rng("chance").gumbel(
        row[:, None, None], torch.arange(reveal)[:, None], torch.arange(s.shape[1])
    )
    first, second, nobody = (
        float(
            (
                lead(
                    judge,
                    s,
                    debate(player, s, mine, other, decisions, reveal, chance=w, gumbel=noise)[0],
                    mine,
                    other,
                )
                > 0
            )
            .double()
            .mean()
        )
        for w in ((1,), (0,), (0, 1))
    )
    return {"first": first, "second": 1 - second, "chance": nobody}


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
