"""Preference games of world table: what is exact is what enumeration gives."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import InputError, Rng, Samples
from assay.formulas import games as formulas
from assay.models.policies.table import TablePolicy
from assay.worlds.games import GAMES, matrix
from assay.worlds.table import world


def every(reference: TablePolicy) -> tuple[Samples, Tensor]:
    """Each sequence of tokens once, for one prompt, and its probability."""
    A, T = reference.logits.shape[1], reference.length
    action = torch.tensor(list(itertools.product(range(A), repeat=T)))[None]
    x = reference.sample(reference.prompts(torch.arange(1)), action.shape[1], Rng(0)("x"))
    x = replace(x, action=action)
    return x, reference.logp(x).sum(-1).exp()[0]


@pytest.mark.parametrize("game", ["rps", "random", "transitive"])
def test_the_exact_facts_of_bags_are_those_of_all_sequences(game: str) -> None:
    arms = {"rps": 0, "random": 4, "transitive": 3}[game]
    w = world(testbed="bag game", game=game, arms=arms, length=3, tau=0.2, strength=0.7)
    reference: Any = w.task.reference
    other = TablePolicy(reference.logits.flip(1), length=3, words=reference.words)
    x, mu = every(reference)
    pi = other.logp(x).sum(-1).exp()[0].detach()
    P = w.task.preference(x, x)[0] + 0.5
    assert w.facts is not None and w.gold is not None
    said = w.facts(other)
    wins = w.gold(x)[0, 0]
    want = {
        "gold": pi @ wins,
        "kl": (pi * (pi / mu).log()).sum(),
        "win_rate": formulas.win_rate(pi, mu, P),
        "exploitability": formulas.exploitability(pi, P),
        "regularised_exploitability": formulas.regularised_exploitability(pi, P, mu, tau=0.2),
    }
    star = formulas.regularised_nash(P, mu, tau=0.2)
    want["nash_kl"] = (star * (star / pi).log()).sum()
    for name, value in want.items():
        assert said[name] == pytest.approx(float(value.detach()), abs=1e-9), name


def test_the_games_are_what_their_names_say() -> None:
    for game in GAMES:
        P = matrix(game, 0, 0.8, Rng(3)("matrix"))
        torch.testing.assert_close(P + P.mT, torch.ones_like(P))
        beats_all = (P + torch.eye(len(P)) > 0.5).all(1)
        assert bool(beats_all.any()) == (game == "transitive")
    rock = matrix("rps", 0, 1.0, Rng(0))
    assert sorted(rock.flatten().tolist()) == [0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1]
    cyclic = matrix("cyclic", 9, 1.0, Rng(0))
    torch.testing.assert_close(cyclic.sum(1), torch.full((9,), 4.5).double())
    logit = matrix("transitive", 5, 1.0, Rng(2)).logit()
    torch.testing.assert_close(logit[0, 1] + logit[1, 2], logit[0, 2])  # scores explain it


def test_gold_is_the_mean_of_three_opponents_and_none_of_them_is_seen() -> None:
    w = world(testbed="game", game="random", strength=0.9)
    x, mu = every(w.task.reference)  # type: ignore[arg-type]
    P = w.task.preference(x, x)[0] + 0.5
    best = int((P @ mu).argmax())
    counter = int(P[:, best].argmax())
    want = (P @ mu + P[:, best] + P[:, counter]) / 3
    assert w.gold is not None
    torch.testing.assert_close(w.gold(x)[0, 0], want.detach())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"game": "rps", "arms": 4}, "--world.arms is 4 in game rps, which has 3"),
        ({"game": "cyclic", "arms": 6}, "an odd number"),
        ({"game": "chess"}, "--world.game is 'chess'"),
        ({"strength": 1.5}, "--world.strength is 1.5"),
        ({"tau": -0.1}, "--world.tau is -0.1"),
    ],
)
def test_games_that_do_not_exist_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        world(testbed="game", **arguments)
