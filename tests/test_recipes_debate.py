"""The debate by hand, players who learn to win it, the judge's fit, and the study's lines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assay.core import InputError, Loop, Rng
from assay.loops.debating import argued, confused, debate, skill, turns
from assay.loops.partial_judges import comparisons, fit_judge, lead, some
from assay.loops.sequences import Drift, Network, improve, logits_of, moved, worth
from assay.recipes.debate import study
from assay.registry.catalogue import load_world as place

F, A = 6, 3
ROW = torch.arange(40)
STATE = Rng(5).normal(ROW[:, None], torch.arange(F))
MINE, OTHER = ROW % A, (ROW + 1) % A


class Additive(nn.Module):
    """J(s⊙m, m, a) = Σ_f m_f·s_f·w_af, in which a feature's worth is known."""

    def __init__(self) -> None:
        super().__init__()
        self.w = Rng(7).normal(torch.arange(A)[:, None], torch.arange(F))

    def forward(self, seen: Tensor) -> Tensor:
        return seen[..., :F] @ self.w.T

    def gap(self) -> Tensor:
        return STATE * (self.w[MINE] - self.w[OTHER])


class Greedy(nn.Module):
    """A player who shows what helps it most: the best reply where the judge is additive."""

    def __init__(self, judge: Additive) -> None:
        super().__init__()
        self.w = judge.w

    def forward(self, seen: Tensor) -> Tensor:
        mine, other = seen[..., 2 * F : 2 * F + A], seen[..., 2 * F + A :]
        gain = seen[..., :F] * ((mine - other) @ self.w)
        return torch.cat([gain, torch.zeros_like(gain[..., :1])], -1)


def test_players_take_turns_and_show_each_feature_once() -> None:
    judge: Any = Additive()
    shown, kept = debate(Greedy(judge), STATE, MINE, OTHER, A, 3)
    gap = judge.gap()
    for n, row in enumerate(gap.tolist()):
        first = max(range(F), key=lambda f: row[f])
        second = min((f for f in range(F) if f != first), key=lambda f: row[f])
        third = max((f for f in range(F) if f not in (first, second)), key=lambda f: row[f])
        assert kept["action"][n].tolist() == [first, second, third]
        assert shown[n].nonzero()[:, 0].tolist() == sorted([first, second, third])
    assert torch.allclose(lead(judge, STATE, shown, MINE, OTHER), (gap * shown).sum(-1), atol=1e-5)


def test_the_second_player_is_paid_the_negative_of_the_first() -> None:
    player = Network(2 * F + 2 * A, F + 1, Rng(0))
    noise = Rng(1).gumbel(ROW[:, None, None], torch.arange(5)[:, None], torch.arange(F))
    _, kept = debate(player, STATE, MINE, OTHER, A, 5, noise)
    payoff = (ROW % 3 - 1).float()
    first, second = turns(kept, payoff, gamma=0.5)
    assert first.action.shape == (40, 3) and second.action.shape == (40, 2)
    torch.testing.assert_close(first.target[:, -1], payoff)
    torch.testing.assert_close(second.target[:, -1], -payoff)
    for moves in (first, second):
        assert bool(moves.legal.gather(-1, moves.action[..., None]).all())
        logp, _ = logits_of(player(moves.seen), moves.legal)
        torch.testing.assert_close(moves.logp, logp.gather(-1, moves.action[..., None])[..., 0])


def test_players_learn_to_win_and_on_shuffled_payoffs_they_do_not() -> None:
    """A good part of the way from moves at random to the best replies, on either side."""
    judge: Any = Additive()
    n = torch.arange(400)
    cases = Rng(2).normal(n[:, None], torch.arange(F)), n % A
    loop = Loop(learning_rate=3e-3, epochs=2)
    best = skill(Greedy(judge), judge, cases, A, 4, Rng(4))
    for shuffled in (False, True):
        player, updates = argued(judge, cases, A, 4, 128, 150, Rng(3), loop, shuffled=shuffled)
        assert updates == 150 * 2 * 2  # rounds, players, epochs
        won = skill(player, judge, cases, A, 4, Rng(4))
        for side, nobody in (("first", best["chance"]), ("second", 1 - best["chance"])):
            learned = (won[side] - nobody) / (best[side] - nobody)
            assert learned < 0.4 if shuffled else learned > 0.4, (side, learned)


def test_an_update_makes_what_was_good_more_likely() -> None:
    net = Network(2, 4, Rng(0))
    seen = Rng(1).normal(torch.arange(30)[:, None, None], torch.arange(2)[:, None], torch.arange(2))
    legal = torch.ones(30, 2, 3, dtype=torch.bool)
    legal[..., 2] = False
    action = (torch.arange(60) % 2).reshape(30, 2)
    with torch.no_grad():
        out = net(seen)
    moves = moved(seen, legal, action, out, (action == 1).float(), gamma=0.0)
    loop = Loop(learning_rate=1e-2, epochs=20)
    improve(loop.optimiser(net), net, moves, Rng(2), loop)
    with torch.no_grad():
        logp, value = logits_of(net(seen), legal)
    assert float(logp[..., 1].exp().mean()) > 0.6 and float(logp[..., 2].max()) == -torch.inf
    assert bool(torch.isfinite(value).all()) and all(
        bool(torch.isfinite(p).all()) for p in net.parameters()
    )


def drift() -> Drift:
    a, f = torch.arange(A)[:, None], torch.arange(F)
    pays, liked, push = (Rng(k).normal(a, f) for k in (1, 2, 3))
    return Drift(pays, liked, push)


def test_the_judge_learns_what_people_like_from_parts() -> None:
    process = drift()
    judge = Network(2 * F, A, Rng(0))
    pairs = comparisons(process, 4000, 4, 3, 0.2, Rng(1))
    assert bool((pairs.seen[:, F:].sum(-1) == 3).all()) and bool(
        (pairs.chosen != pairs.rejected).all()
    )
    fit_judge(judge, pairs, Rng(2), Loop(max_steps=200, batch_size=200, learning_rate=5e-3))
    s = Rng(3).normal(torch.arange(2000)[:, None], torch.arange(F))
    whole = torch.ones_like(s, dtype=torch.bool)
    for a, b in itertools.combinations(range(A), 2):
        one, two = torch.full((2000,), a), torch.full((2000,), b)
        true = worth(s, one, process.liked) > worth(s, two, process.liked)
        said = lead(judge, s, whole, one, two) > 0
        assert float((said == true).double().mean()) > 0.8


def test_states_drift_towards_what_is_pushed_and_keep_their_spread() -> None:
    process = drift()
    x = process.rollout(None, 4000, 8, Rng(4), greedily=False)
    s, a = x["seen"], x["action"]
    assert s.shape == (4000, 8, F) and int(a.max()) == A - 1
    left = s[:, 1:] - process.kept * s[:, :-1] - process.push[a[:, :-1]]
    assert float(left.mean().abs()) < 0.02
    assert float(left.std()) == pytest.approx((1 - process.kept**2) ** 0.5, abs=0.02)


def test_a_confuser_adds_what_hurts_most() -> None:
    judge: Any = Additive()
    shown = some(40, F, 2, Rng(1))
    more = confused(judge, STATE, shown, MINE, OTHER, 2)
    gap = judge.gap().masked_fill(shown, torch.inf)
    worst = gap.argsort(-1)[:, :2]
    assert bool((more & ~shown).gather(-1, worst).all()) and bool((more.sum(-1) == 4).all())


QUICK = {"rounds": 3, "sittings": 2, "episodes": 16, "debates": 16, "pairs": 200, "features": 8}


def test_a_study_is_a_function_of_its_seed_and_says_what_was_spent() -> None:
    def lines(seed: int) -> list[dict[str, Any]]:
        return list(study(place("study")(seed=seed), **QUICK, reveal=4))  # type: ignore[arg-type]

    def timeless(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in x.items() if k != "seconds"} for x in found]

    mine = lines(1)
    assert timeless(mine) == timeless(lines(1)) != timeless(lines(2))
    policies = {x["evidence"]: x for x in mine if x["kind"] == "policy"}
    parts, whole = (x for x in mine if x["kind"] == "judge")
    assert parts["sees"] == 4 and whole["sees"] == whole["features"] > 4
    assert whole["right"] > parts["right"] > 0.5, "who sees everything knows more"
    spent = {x["arm"]: x for x in mine if x["kind"] == "spent"}
    assert set(policies) == set(spent) == {"debate", "shuffled", "random", "full"}
    assert (
        policies["full"]["agrees"] == 1 and policies["full"]["wins"] == policies["full"]["robust"]
    )
    for what in ("generated", "scored", "labels", "updates"):
        assert spent["debate"][what] == spent["shuffled"][what] >= spent["random"][what] > 0


@pytest.mark.parametrize(
    "arguments", [{"reveal": 0}, {"reveal": 19, "confuse": 2}, {"decisions": 1}, {"rounds": 0}]
)
def test_what_cannot_be_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="--reveal"):
        next(iter(study(place("study")(seed=0), **arguments)))  # type: ignore[arg-type]
