"""Planning at decision time: exact games, unbiased rollouts, and that it plays the whole update."""

from __future__ import annotations

import itertools

import pytest
import torch

from assay.core import Rng
from assay.errors import InputError
from assay.formulas.self_play import magnetic_step
from assay.loops.card_games import (
    action_values,
    beliefs,
    expected,
    exploitability,
    hint_game,
    kuhn_poker,
    random_policy,
    rollout_values,
)
from assay.recipes.update_equivalence import plan, planned, study, updated
from assay.worlds.study import world

HOW = {"eta": 0.5, "alpha": 0.0, "shuffled": False}


def table(rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def enumerated(game, policy) -> float:
    """Payoff of player 0 by listing every deal and every way to play."""
    total = 0.0
    for c in itertools.product(range(len(game.deal)), repeat=2):
        for end, paid in game.payoff.items():
            chance = float(game.deal[c])
            for i in range(len(end)):
                h = end[:i]
                chance *= float(policy[h][c[game.player[h]], end[i]].exp())
            total += chance * float(paid[c])
    return total


@pytest.mark.parametrize("game", [hint_game(2), kuhn_poker()], ids=["hint", "kuhn"])
def test_values_are_those_of_every_way_to_play(game) -> None:
    policy = random_policy(game, 1.0, Rng(0))
    assert expected(game, policy) == pytest.approx(enumerated(game, policy), abs=1e-12)
    q, believed = action_values(game, policy), beliefs(game, policy)
    # the derivative of the return along an action, over the chance of coming there
    for h, card in (((), 1), ((0,), 0)):
        forced = {**policy, h: policy[h].clone()}
        returns = []
        for a in range(game.actions[h]):
            forced[h][card] = torch.full_like(forced[h][card], -torch.inf)
            forced[h][card, a] = 0.0
            returns.append(game.sign(game.player[h]) * enumerated(game, forced))
        gap = (q[h][card, 1] - q[h][card, 0]) * _chance(game, policy, h, card)
        assert float(gap) == pytest.approx(returns[1] - returns[0], abs=1e-12)
    assert all(torch.allclose(b.sum(1), torch.ones(len(b)).double()) for b in believed.values())


def _chance(game, policy, h, card) -> float:
    who = game.player[h]
    total = 0.0
    for other in range(len(game.deal)):
        c = (card, other) if who == 0 else (other, card)
        chance = float(game.deal[c])
        for i in range(len(h)):
            chance *= float(policy[h[:i]][c[game.player[h[:i]]], h[i]].exp())
        total += chance
    return total


def test_poker_s_known_equilibria_are_not_exploitable() -> None:
    game = kuhn_poker()
    for bluff in (0.0, 0.2, 1 / 3):
        equilibrium = {
            (): table([[1 - bluff, bluff], [1, 0], [1 - 3 * bluff, 3 * bluff]]),
            (0,): table([[2 / 3, 1 / 3], [1, 0], [0, 1]]),
            (1,): table([[1, 0], [2 / 3, 1 / 3], [0, 1]]),
            (0, 1): table([[1, 0], [2 / 3 - bluff, 1 / 3 + bluff], [0, 1]]),
        }
        assert expected(game, equilibrium) == pytest.approx(-1 / 18)
        assert exploitability(game, equilibrium) == pytest.approx(0, abs=1e-12)
    assert exploitability(game, random_policy(game, 0.0, Rng(0))) == pytest.approx(11 / 24)


@pytest.mark.parametrize("game", [hint_game(2), kuhn_poker()], ids=["hint", "kuhn"])
def test_rollouts_estimate_the_values_of_the_joint_blueprint(game) -> None:
    policy = random_policy(game, 1.0, Rng(1))
    q, believed = action_values(game, policy), beliefs(game, policy)
    for h, c in (((), 0), ((1,), 1), ((0, 1), 0)):
        found = rollout_values(game, policy, (h, c), believed[h][c], 40_000, Rng(2)("q", c))
        torch.testing.assert_close(found, q[h][c], atol=0.04, rtol=0)  # 4 errors at poker's 2 chips


def test_planning_each_decision_plays_the_update_of_the_whole_policy() -> None:
    """A decision by itself is planned as among all others; with exact values it is the step."""
    game = hint_game(2)
    policy = random_policy(game, 1.0, Rng(3))
    whole = planned(game, policy, 50, Rng(4), **HOW)
    believed = beliefs(game, policy)
    alone = plan(game, policy, ((1, 0), 1), believed[(1, 0)][1], 50, Rng(4), **HOW)
    assert torch.equal(alone, whole[(1, 0)][1])
    near, step = planned(game, policy, 40_000, Rng(4), **HOW), updated(game, policy, **HOW)
    q = action_values(game, policy)
    for h in policy:
        torch.testing.assert_close(near[h], step[h], atol=0.01, rtol=0)
        torch.testing.assert_close(
            step[h], magnetic_step(policy[h], q[h], torch.zeros_like(q[h]), eta=0.5, alpha=0.0)
        )


def test_a_small_step_improves_every_blueprint_of_a_game_of_common_payoff() -> None:
    game = hint_game(2)
    for seed in range(40):
        policy = random_policy(game, 1.0, Rng(seed))
        assert expected(game, updated(game, policy, **HOW)) > expected(game, policy)


def test_in_poker_the_last_policy_settles_with_a_magnet_and_cycles_without() -> None:
    game, ends = kuhn_poker(), {}
    for alpha in (0.15, 0.0):
        policy = random_policy(game, 1.0, Rng(5))
        seen = []
        for t in range(200):
            before, policy = policy, updated(game, policy, eta=0.5, alpha=alpha, shuffled=False)
            if t >= 150:
                seen.append(exploitability(game, policy))
        moved = max(float((policy[h].exp() - before[h].exp()).abs().max()) for h in policy)
        ends[alpha] = (max(seen), moved)
    assert ends[0.15][0] < 0.04 and ends[0.15][1] < 1e-3
    assert ends[0.0][0] > 0.1 and ends[0.0][1] > 0.01


def test_the_study_counts_its_rollouts_and_refuses_what_it_cannot_do() -> None:
    lines = list(study(world(seed=0), game="kuhn", rollouts=5, repeats=2, alpha=0.1))
    assert [x["kind"] for x in lines] == ["blueprint", "planned", "planned", "spent"]
    assert lines[-1]["generated"] == 2 * 5 * 24  # 12 states of knowledge, 2 actions
    assert lines[1] == list(study(world(seed=0), game="kuhn", rollouts=5, alpha=0.1))[1]
    with pytest.raises(InputError, match="--game is 'chess'; it is one of hint, kuhn"):
        list(study(world(seed=0), game="chess"))
    with pytest.raises(InputError, match="--rollouts is 0"):
        list(study(world(seed=0), rollouts=0))
