"""The debate by hand, players who learn to win it, the judge's fit, and the study's lines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assay.core import InputError, Loop, Rng
from assay.loops.debating import KINDS, Game, argued, debate, moves_of, skill, wins
from assay.loops.partial_judges import comparisons, fit_judge, lead, preferences, some
from assay.loops.refuting import confused, confuser, irrefutable
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
    game, two = Game(judge, A, 3), (Greedy(judge), Greedy(judge))
    gap = judge.gap()
    best, worst = (lambda row, f: row[f]), (lambda row, f: -row[f])
    for begins, helps in ((0, (best, worst, best)), (1, (worst, best, worst))):
        shown, kept = debate(game, two, (STATE, MINE, OTHER), game.order(begins))
        for n, row in enumerate(gap.tolist()):
            moves = list[int]()
            for help_ in helps:
                left = [f for f in range(F) if f not in moves]
                moves.append(max(left, key=lambda f: help_(row, f)))
            assert kept["action"][n].tolist() == moves
            assert shown[n].nonzero()[:, 0].tolist() == sorted(moves)
        said = lead(judge, STATE, shown, MINE, OTHER)
        assert torch.allclose(said, (gap * shown).sum(-1), atol=1e-5)


def test_a_player_alone_moves_in_all_turns() -> None:
    judge: Any = Additive()
    game, two = Game(judge, A, 3), (Greedy(judge), Greedy(judge))
    shown, _ = debate(game, two, (STATE, MINE, OTHER), game.order(1, alone=True))
    assert torch.equal(shown, judge.gap() >= judge.gap().topk(3, -1).values[:, -1:])


def test_side_1_is_paid_the_negative_of_side_0_whoever_begins() -> None:
    judge: Any = Additive()
    game = Game(judge, A, 5)
    player = game.player(F, Rng(0))
    noise = Rng(1).gumbel(ROW[:, None, None], torch.arange(5)[:, None], torch.arange(F))
    payoff = (ROW % 3 - 1).float()
    for begins in (0, 1):
        order, cases = game.order(begins), (STATE, MINE, OTHER)
        _, kept = debate(game, (player, player), cases, order, ("drawn", "drawn"), noise)
        for side in (0, 1):
            moves = moves_of(kept, payoff, order, side)
            assert moves.action.shape == (40, 3 if side == begins else 2)
            torch.testing.assert_close(moves.target[:, -1], payoff if side == 0 else -payoff)
            assert bool(moves.legal.gather(-1, moves.action[..., None]).all())
            logp, _ = logits_of(player(moves.seen), moves.legal)
            taken = logp.gather(-1, moves.action[..., None])[..., 0]
            torch.testing.assert_close(moves.logp, taken)
            own = moves.seen[:, 0, 2 * F : 2 * F + A].argmax(-1)
            assert torch.equal(own, MINE if side == 0 else OTHER)


N = torch.arange(400)
CASES = Rng(2).normal(N[:, None], torch.arange(F)), N % A, (N + 1 + N % (A - 1)) % A
QUICKLY = Loop(learning_rate=1e-2, epochs=4)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_players_learn_to_win_and_on_shuffled_payoffs_they_do_not(kind: str) -> None:
    """A good part of the way from moves at random to the best replies, on either side."""
    judge: Any = Additive()
    game = Game(judge, A, 4)
    best = skill(game, Greedy(judge), CASES, Rng(4))
    for shuffled, rounds in ((False, 150), (True, 80)):
        player, updates = argued(game, CASES, kind, 256, rounds, Rng(3), QUICKLY, shuffled=shuffled)
        assert updates == rounds * 2 * 4, "two sets of moves and four epochs, whatever the kind"
        won = skill(game, player, CASES, Rng(4))
        for side, nobody in (("first", best["chance"]), ("second", 1 - best["chance"])):
            learned = (won[side] - nobody) / (best[side] - nobody)
            # over 400 cases the share of a way of 0.2 has a deviation of 0.12
            assert learned < 0.28 if shuffled else learned > 0.35, (side, learned)


def test_a_maxmin_player_stands_still_while_its_rival_learns() -> None:
    judge: Any = Additive()
    game = Game(judge, A, 4)

    def weights(sittings: int, replies: int) -> Tensor:
        player, _ = argued(game, CASES, "maxmin", 16, sittings, Rng(3), QUICKLY, replies=replies)
        return torch.cat([p.detach().flatten() for p in player.parameters()])

    start = weights(0, 3)
    assert torch.equal(weights(3, 3), start), "three rounds of the rival"
    assert not torch.equal(weights(4, 3), start), "and one of the player"
    assert torch.equal(weights(6, 3), weights(4, 3)) and torch.equal(weights(7, 3), weights(4, 3))
    assert not torch.equal(weights(4, 3), weights(4, 1)), "it learns against what the rival is"


@pytest.mark.full
def test_a_confuser_refutes_more_than_chance_and_less_than_every_reply() -> None:
    """Against players who know nothing, alone or in debate: no confuser beats trying everything,
    and what withstands everything withstands the best reply, which is known here.
    """
    judge: Any = Additive()
    game, untrained = Game(judge, A, 4), Network(2 * F + 2 * A, F + 1, Rng(9))
    rival, updates = confuser(game, untrained, CASES, 128, 100, Rng(3), QUICKLY)
    assert updates == 100 * 2 * 4
    idle = wins(game, (untrained, untrained), CASES, Rng(5), ("best", "chance"))
    best = wins(game, (untrained, Greedy(judge)), CASES, Rng(5))
    trained = wins(game, (untrained, rival), CASES, Rng(5))
    some_of = [tuple(x[begins::2] for x in CASES) for begins in (0, 1)]
    left = [
        irrefutable(game, untrained, (s, p, q), begins=begins)
        for begins, (s, p, q) in enumerate(some_of)
    ]
    worst = float(torch.cat(left).double().mean())
    assert worst <= min(best, trained) and max(best, trained) < idle - 0.1
    assert (idle - trained) > 0.4 * (idle - worst), "it learned a good part of what there is"


def test_what_is_irrefutable_wins_by_hand() -> None:
    """With an additive judge a greedy player adds the best feature left, whatever was replied."""
    judge: Any = Additive()
    game, player = Game(judge, A, 3), Greedy(judge)
    cases = STATE, MINE, OTHER
    after = irrefutable(game, player, cases, begins=0, rows=7)
    before = irrefutable(game, player, cases, begins=1)
    for n, row in enumerate(judge.gap().tolist()):
        ranked = sorted(row, reverse=True)
        top, rest = ranked[0], ranked[1:]
        assert bool(after[n]) == (min(top + f + max(x for x in rest if x != f) for f in rest) > 0)
        ends = list[float]()
        for f in row:
            mine = max(x for x in row if x != f)
            ends += [f + mine + g for g in row if g not in (f, mine)]
        assert bool(before[n]) == (min(ends) > 0)
    assert 0 < int(before.sum()) < int(after.sum()) < 40


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


def test_what_the_judge_sees_is_what_people_said_of_whole_states() -> None:
    process = drift()
    s, chosen, rejected = preferences(process, 2000, 4, 0.2, Rng(1))
    seen = comparisons(process, 2000, 4, 3, 0.2, Rng(1))
    assert torch.equal(seen.chosen, chosen) and torch.equal(seen.rejected, rejected)
    assert torch.equal(seen.seen[:, :F], s * seen.seen[:, F:])
    gap = worth(s, chosen, process.liked) - worth(s, rejected, process.liked)
    likely = torch.sigmoid(gap.abs() / 0.2)
    right = (gap > 0).double()
    assert float(right.mean()) == pytest.approx(float(likely.mean()), abs=0.03), "Bradley-Terry"


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


@pytest.mark.full
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
    assert set(policies) == set(spent) == {"maxmin", "self_play", "shuffled", "random", "full"}
    assert (
        policies["full"]["agrees"] == 1 and policies["full"]["wins"] == policies["full"]["robust"]
    )
    for what in ("generated", "scored", "labels", "updates"):
        most = {spent[k][what] for k in ("maxmin", "self_play", "shuffled")}
        assert len(most) == 1 and max(most) >= spent["random"][what] > 0


@pytest.mark.parametrize(
    "arguments", [{"reveal": 0}, {"reveal": 19, "confuse": 2}, {"decisions": 1}, {"rounds": 0}]
)
def test_what_cannot_be_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="--reveal"):
        next(iter(study(place("study")(seed=0), **arguments)))  # type: ignore[arg-type]
