"""Formulas of process rewards: what they mean, by exact enumeration, before what they give."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.formulas.process import (
    best_of_k,
    best_of_k_estimate,
    by_priority,
    first_times,
    gated,
    on_steps,
    step_advantages,
    step_index,
    step_mask,
    step_sums,
    trust,
)

HERE = torch.tensor([[[1, 1, 1, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]]).bool()
CLOSES = torch.tensor([[[0, 1, 0, 0, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]]).bool()


def test_steps_are_counted_where_something_is() -> None:
    step = step_index(CLOSES, HERE)
    assert step.tolist() == [[[0, 0, 1, 1, -1], [-1, 0, 1, -1, -1], [-1] * 5]]
    assert step_mask(step).tolist() == [[[True, True], [True, True], [False, False]]]


def test_sums_over_steps_lose_nothing_and_padding_never_matters() -> None:
    step = step_index(CLOSES, HERE)
    x = torch.randn(1, 3, 5)
    sums = step_sums(x, step)
    assert torch.allclose(sums.sum(-1), torch.where(HERE, x, 0.0).sum(-1))
    assert torch.equal(sums, step_sums(torch.where(HERE, x, torch.nan), step))
    spread = on_steps(sums, step)
    assert spread[0, 0].tolist()[:4] == [sums[0, 0, 0], sums[0, 0, 0], sums[0, 0, 1], sums[0, 0, 1]]
    assert not spread[~HERE].any()


def test_a_gate_opens_at_its_own_level() -> None:
    outcome, bonus = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[2.0, 2.0, -2.0]])
    assert gated(outcome, bonus, gate=0.5).tolist() == [[0.0, 2.5, -1.0]]
    assert gated(outcome, bonus, gate=1.0).tolist() == [[0.0, 0.5, -1.0]]
    assert torch.equal(gated(outcome, bonus, gate=-math.inf), outcome + bonus)
    assert gated(outcome, -bonus, gate=1.0).tolist() == [[0.0, 0.5, 3.0]]
    assert gated(outcome, -bonus, gate=1.0, keep_penalties=True).tolist() == [[-2.0, -1.5, 3.0]]
    with pytest.raises(ValueError, match="NaN"):
        gated(outcome, bonus, gate=math.nan)


def test_a_gate_can_be_opened_by_something_else() -> None:
    outcome, bonus = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[2.0, 2.0, 2.0]])
    moved = torch.roll(outcome, 1, dims=1)
    assert gated(outcome, bonus, gate=0.5, opens=moved).tolist() == [[2.0, 0.5, 3.0]]


def test_priorities_are_gated_by_all_that_stand_above_them() -> None:
    channels = torch.tensor(
        [[[0.0, 0.5, 0.5, 0.5]], [[3.0, 1.0, 0.0, 1.0]], [[7.0, 7.0, 7.0, 7.0]]]
    )
    paid = by_priority(channels, gates=(0.5, 1.0))
    assert paid.tolist() == [[0.0, 8.5, 0.5, 8.5]]  # the first fails at the top, the third below
    assert torch.equal(by_priority(channels, gates=(-math.inf, -math.inf)), channels.sum(0))
    two = by_priority(channels[:2], gates=(0.5,))
    assert torch.equal(two, gated(channels[0], channels[1], gate=0.5))
    with pytest.raises(ValueError, match="2 numbers"):
        by_priority(channels, gates=(0.5,))


@pytest.mark.parametrize(("bonus", "best"), [(0.5, "never"), (0.2, "last")])
def test_on_a_chain_a_large_bonus_makes_never_submitting_best_and_a_gate_does_not(
    bonus: float, best: str
) -> None:
    """Every policy of a chain: submit after h of nine moves (right from the fourth on), or never,
    which leaves time for three moves more. Each move pays `bonus`; 12·bonus beats 1 + 9·bonus above
    a third.
    """
    outcome = torch.tensor([[float(h >= 4) for h in range(10)] + [0.0]])
    paid = bonus * torch.tensor([[*map(float, range(10)), 12.0]])
    names = [f"after {h}" for h in range(9)] + ["last", "never"]
    assert names[int(gated(outcome, paid, gate=-math.inf).argmax())] == best
    assert names[int(gated(outcome, paid, gate=1.0).argmax())] == "last"


class Tree:
    """Depth 3, two moves a node, a reward 0 or 1 a leaf, and two policies: everything by
    enumeration, in float64.
    """

    def __init__(self, seed: int):
        g = torch.Generator().manual_seed(seed)
        self.leaf = (torch.rand(8, generator=g) < 0.5).double()
        self.pi = torch.randn(7, 2, generator=g, dtype=torch.float64, requires_grad=True)
        self.mu = torch.randn(7, 2, generator=g, dtype=torch.float64)
        self.paths = list(itertools.product((0, 1), repeat=3))

    def nodes(self, path: tuple[int, ...]) -> list[int]:
        return [0, 1 + path[0], 3 + 2 * path[0] + path[1]]

    def value(self, logits: torch.Tensor, prefix: tuple[int, ...]) -> torch.Tensor:
        """The chance of success from this prefix."""
        if len(prefix) == 3:
            return self.leaf[4 * prefix[0] + 2 * prefix[1] + prefix[2]]
        node = [
            0,
            1 + (prefix or (0,))[0],
            3 + 2 * (prefix or (0,))[0] + (prefix[1] if len(prefix) > 1 else 0),
        ][len(prefix)]
        p = logits[node].softmax(-1)
        return p[0] * self.value(logits, (*prefix, 0)) + p[1] * self.value(logits, (*prefix, 1))

    def advantages(self, logits: torch.Tensor) -> torch.Tensor:
        """A_h of every path [8,3], by the formula under test."""
        q = torch.stack(
            [
                torch.stack([self.value(logits, path[: h + 1]) for h in range(3)])
                for path in self.paths
            ]
        )
        start = self.value(logits, ()).expand(8)
        return step_advantages(q[None], start[None], torch.ones(1, 8, 3, dtype=torch.bool))[
            0
        ].detach()

    def gradient(self, advantage: torch.Tensor) -> torch.Tensor:
        """E_π[Σ_h ∇log π(a_h|s_h)·A_h], over all paths."""
        logp = torch.stack(
            [
                torch.stack(
                    [self.pi[s].log_softmax(-1)[a] for s, a in zip(self.nodes(p), p, strict=True)]
                )
                for p in self.paths
            ]
        )
        chance = logp.sum(1).exp().detach()
        return torch.autograd.grad((chance[:, None] * logp * advantage).sum(), self.pi)[0]


@pytest.mark.parametrize("seed", range(4))
def test_under_any_prover_progress_sums_to_the_outcome_less_a_baseline(seed: int) -> None:
    tree = Tree(seed)
    for logits in (tree.pi, tree.mu):
        A = tree.advantages(logits)
        assert torch.allclose(A.sum(1), tree.leaf - tree.value(logits, ()).detach())
        to_go = (
            A.flip(1).cumsum(1).flip(1)
        )  # outcome − V(s_h): a baseline, so the plain policy gradient
        assert torch.allclose(
            tree.gradient(to_go), tree.gradient(tree.leaf[:, None].expand(8, 3)), atol=1e-12
        )


@pytest.mark.parametrize("seed", range(4))
def test_the_policy_as_its_own_prover_only_scales_the_gradient(seed: int) -> None:
    tree, alpha = Tree(seed), 3.0
    plain = torch.autograd.grad(tree.value(tree.pi, ()), tree.pi)[0]
    own, other = tree.advantages(tree.pi), tree.advantages(tree.mu)
    assert torch.allclose(tree.gradient(own), plain, atol=1e-12)
    assert torch.allclose(tree.gradient(own + alpha * own), (1 + alpha) * plain, atol=1e-12)
    mixed = tree.gradient(own + alpha * other)
    cosine = torch.nn.functional.cosine_similarity(mixed.flatten(), plain.flatten(), dim=0)
    assert float(cosine) < 1 - 1e-6, "another prover must say something else"


def test_steps_behind_the_last_have_no_advantage() -> None:
    q = torch.tensor([[[0.5, 1.0, torch.nan]]])
    A = step_advantages(q, torch.tensor([[0.25]]), torch.tensor([[[True, True, False]]]))
    assert A.tolist() == [[[0.25, 0.5, 0.0]]]


@pytest.mark.parametrize(("n", "k"), [(4, 4), (4, 2), (6, 3), (3, 1)])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.7, 1.0])
def test_best_of_k_is_estimated_without_bias(n: int, k: int, p: float) -> None:
    """The mean over the binomial of wins, enumerated; putting the mean into the formula would be
    too low.
    """
    wins = torch.arange(n + 1, dtype=torch.float64)
    chance = torch.tensor(
        [math.comb(n, w) * p**w * (1 - p) ** (n - w) for w in range(n + 1)], dtype=torch.float64
    )
    truth = best_of_k(torch.tensor(p, dtype=torch.float64), k=k)
    assert float((chance * best_of_k_estimate(wins, n=n, k=k)).sum()) == pytest.approx(
        float(truth), abs=1e-12
    )
    plugged = float((chance * best_of_k(wins / n, k=k)).sum())
    assert plugged <= float(truth) + 1e-12
    assert (k > 1 and 0 < p < 1) is (plugged < float(truth) - 1e-6)


def test_trust() -> None:
    score = torch.tensor([[0.9, 0.1, 0.5, 9.0], [0.1, 0.9, 0.5, 9.0], [0.2, 0.8, 0.4, 9.0]])
    right = torch.tensor([[1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]]).bool()
    present = torch.tensor([[1, 1, 1, 0]] * 3).bool()
    g = trust(score, right, present)
    assert g.tolist() == pytest.approx(
        [1.0, math.exp(0.1 - 0.7), 0.0]
    )  # absent answers have no say; no wrong one, no trust
    assert torch.allclose(trust(score + 3, right, present), g)
    assert trust(
        torch.ones(1, 2), torch.tensor([[True, False]]), torch.ones(1, 2, dtype=torch.bool)
    ).tolist() == [1.0]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=8))
def test_a_goal_is_paid_once(steps: list[tuple[bool, int]]) -> None:
    hit, goal = torch.tensor([[[h for h, _ in steps]]]), torch.tensor([[[g for _, g in steps]]])
    seen: set[int] = set()
    expected = []
    for h, g in steps:
        expected.append(h and g not in seen)
        seen |= {g} if h else set()
    assert first_times(hit, goal).tolist() == [[expected]]


def test_errors_name_what_was_found() -> None:
    with pytest.raises(ValueError, match="k is 5 and n 4"):
        best_of_k_estimate(torch.zeros(1), n=4, k=5)
    with pytest.raises(ValueError, match="k is 0"):
        best_of_k(torch.zeros(1), k=0)
