"""Search trees: what grows, what is counted, which step wins, and what the pairs train on.

The toy is a table of three tokens and three decisions, each of which is a step; the only right
completion takes the least likely token three times.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import InputError, Loop, Pairs, Rng, Samples, Task
from assay.loops.preference_rounds import gap
from assay.loops.search_trees import Forest, Leaves, Node, beginnings
from assay.loops.tree_search import Decision, PuctSearch, every_decision, is_clear, step_pairs
from assay.loops.whole_pairs import tossed, whole_pairs
from assay.models.policies.table import TablePolicy
from assay.recipes import mcts_dpo

SEARCH = PuctSearch(iterations=8, first=3, depth=3, c=1.0, gamma=1.0, penalty=1.25, recount=False)
LOGITS = torch.tensor([[0.2, 0.4, 0.4]], dtype=torch.float64).log()
ROWS = 6


def step_of(x: Samples) -> Tensor:
    here = x.mask | x.given
    return torch.where(here, here.long().cumsum(-1) - 1, -1)


def right(x: Samples) -> Tensor:
    return ((x.action == 0) | ~(x.mask | x.given)).all(-1).to(x.logp)


def judged(fresh: Leaves) -> None:
    for _, child in fresh:
        child.value = 2 * child.outcomes[-1] - 1 if child.done else 0.0


def forest(children: int = 2, score: Any = right) -> Forest:
    policy = TablePolicy(LOGITS, length=3)
    prompts = policy.prompts(torch.zeros(ROWS, dtype=torch.int64))
    return Forest(policy, prompts, children=children, step_of=step_of, score=score, rng=Rng(1)("x"))


def nodes(root: Any) -> list[Any]:
    return [root, *(n for child in root.children for n in nodes(child))]


def test_a_child_is_its_parent_and_one_more_step_and_no_two_are_alike() -> None:
    trees = forest()
    SEARCH.decisions(trees, judged)
    for row, root in enumerate(trees.roots):
        every = nodes(root)[1:]
        assert len({tuple(n.tokens) for n in every}) == len(every) > 2
        prompts = trees.prompts[torch.full((len(every),), row)]
        x = beginnings(prompts, every, dtype=torch.float64)
        again = trees.policy.logp(x)[:, 0]
        for n, logp in zip(every, again, strict=True):
            assert n.tokens[: n.start] == n.parent.tokens and len(n.tokens) == n.start + 1
            assert n.depth == len(n.tokens) and n.done == (n.depth == 3)
            assert torch.allclose(torch.tensor(n.logp).double(), logp[: len(n.logp)], atol=1e-6)


def test_visits_count_walks_and_values_are_means_of_what_the_ends_were_worth() -> None:
    trees = forest()
    walks = SEARCH.iterations * SEARCH.first
    for root, chain in zip(trees.roots, SEARCH.decisions(trees, judged), strict=True):
        assert chain[0].node is root and root.visits == sum(chain[0].visits) == walks
        # the next root's walks count at it and below, and not in the decision that is made
        assert sum(c.visits for c in root.children) == walks + SEARCH.iterations
        for n in nodes(root):
            assert -1 - 1e-12 <= n.v <= 1 + 1e-12
            if n.done and n.visits:
                assert n.q == n.value  # r, since an unfinished parent is worth 0
        assert len(chain) == 3
        for before, after in pairwise(chain):
            assert after.node is before.children[0] and before.visits[0] == max(before.visits)


def test_recounting_visits_what_grows_more_often() -> None:
    once, more = forest(), forest()
    SEARCH.decisions(once, judged)
    replace(SEARCH, recount=True).decisions(more, judged)
    total = [sum(r.visits for r in trees.roots) for trees in (once, more)]
    assert total[1] > total[0] == ROWS * SEARCH.iterations * SEARCH.first


def pairs_of(*, second: bool = False) -> Pairs:
    trees = forest(children=64)  # so many that every next token is among them
    long = replace(SEARCH, iterations=32)  # three times as many walks as there are completions
    found = step_pairs(
        trees.prompts, long.decisions(trees, judged), second=second, dtype=torch.float64
    )
    assert found is not None
    return found


def test_the_search_finds_the_right_step_though_it_is_the_least_likely() -> None:
    pairs = pairs_of()
    last = pairs.mask.long().cumsum(-1).eq(1) & pairs.mask
    chosen, rejected = (pairs.action[:, k][last[:, k]] for k in (0, 1))
    assert len(chosen) == 3 * ROWS
    assert bool((chosen == 0).all()) and bool((rejected != 0).all())
    assert float(pairs.p.mean()) > 0.8 and bool((pairs.margin > 0).all())


def test_with_rewards_that_tell_nothing_the_search_prefers_what_is_likely() -> None:
    trees = forest(children=8, score=lambda x: torch.zeros_like(right(x)))
    chains = SEARCH.decisions(trees, judged)
    assert not any(d.children[0].tokens[-1] == 0 for chain in chains for d in chain[:1])


def test_what_both_steps_follow_is_given_and_would_cancel() -> None:
    pairs = pairs_of()
    assert bool(pairs.given.any()) and bool(pairs.mask.any(-1).all())
    shared = pairs.given.all(1)
    assert torch.equal(pairs.action[:, 0][shared], pairs.action[:, 1][shared])
    other = TablePolicy(torch.tensor([[0.3, -0.7, 1.1]], dtype=torch.float64), length=3)
    whole = replace(pairs, mask=pairs.mask | pairs.given, given=torch.zeros_like(pairs.given))
    assert torch.allclose(gap(other.logp(pairs)), gap(other.logp(whole)), atol=1e-12)
    assert bool(((pairs.p >= 0.5) & (pairs.p <= 1)).all())
    drawn = TablePolicy(LOGITS, length=3).logp(pairs)
    assert torch.allclose(drawn, pairs.logp, atol=1e-6)
    assert not torch.equal(pairs_of(second=True).action, pairs.action)


def test_completions_without_a_score_are_counted_and_are_no_ends() -> None:
    def partial(x: Samples) -> Tensor:
        return torch.where(x.action[..., 0] == 1, torch.nan, right(x))

    def known(fresh: Leaves) -> None:
        for _, child in fresh:
            child.value = 2 * child.outcomes[-1] - 1 if child.done and child.outcomes else 0.0

    trees = forest(score=partial)
    SEARCH.decisions(trees, known)
    assert trees.unscored > 0 and all(s in (0.0, 1.0) for s in trees.scores)
    for root in trees.roots:
        assert all(not n.outcomes for n in nodes(root)[1:] if n.tokens[0] == 1)


def test_coins_change_labels_and_nothing_else() -> None:
    pairs = pairs_of()
    coins = tossed(pairs, Rng(0)("coin"))
    turned = coins.p != pairs.p
    assert torch.equal(coins.action, pairs.action) and bool(turned.any())
    assert torch.allclose(coins.p[turned], 1 - pairs.p[turned])
    assert not bool(turned.all())


def test_every_node_with_two_children_decides_by_value() -> None:
    trees = forest()
    chain = SEARCH.decisions(trees, judged)
    for root, on_path in zip(trees.roots, chain, strict=True):
        found = every_decision(root)
        assert {d.node for d in found} == {n for n in nodes(root) if len(n.children) > 1}
        assert {d.node for d in on_path if len(d.children) > 1} <= {d.node for d in found}
        assert all(list(d.q) == sorted(d.q, reverse=True) for d in found)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, True),
        ({"apart": 0.61}, False),
        ({"overlap": 0.5}, True),
        ({"overlap": 0.49}, False),  # one token of the shorter step's two
        ({"worth": 0.41}, False),
    ],
)
def test_unclear_decisions_are_told_from_clear_ones(limits: dict[str, float], kept: bool) -> None:
    best = Node(tokens=[9, 1, 2, 2], start=1, q=0.3, value=0.4)
    middle = Node(tokens=[9, 1, 2], start=1, q=0.0, value=0.9)
    worst = Node(tokens=[9, 1, 4, 5], start=1, q=-0.3)
    decision = Decision.of(Node(children=[worst, middle, best]), by_value=True)
    assert decision.children == (best, middle, worst)
    assert is_clear(decision, **{"apart": 0.5, "overlap": 1.0, "worth": 0.0, **limits}) is kept


def test_whole_completions_are_paired_where_their_rewards_differ() -> None:
    def first(x: Samples) -> Tensor:
        return x.action[..., 0].to(x.logp)

    policy = TablePolicy(torch.zeros_like(LOGITS), length=3)
    prompts = policy.prompts(torch.zeros(ROWS, dtype=torch.int64))
    pairs, _ = whole_pairs(policy, prompts, 12, first, Rng(3)("x"))
    assert pairs is not None and bool((pairs.margin > 0).all())
    better, worse = first(pairs).unbind(-1)
    assert torch.equal(better - worse, pairs.margin.to(better))
    every = first(policy.sample(prompts, 12, Rng(3)("x")))
    apart = every.amax(-1) > every.amin(-1)
    assert torch.equal(better, every.amax(-1)[apart])
    assert torch.equal(worse, every.amin(-1)[apart])
    none, _ = whole_pairs(policy, prompts, 12, lambda x: first(x) * 0, Rng(3)("x"))
    assert none is None


def test_gaps_are_sums_or_means() -> None:
    logp = torch.tensor([[[-1.0, -2.0, -3.0], [-4.0, 0.0, 0.0]]])
    assert gap(logp).tolist() == [-2.0]
    assert gap(logp, torch.tensor([[3, 1]])).tolist() == [2.0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"depth": 0}, "--depth 0"), ({"question": "is it?"}, "answer"), ({"yes": " "}, "--yes")],
)
def test_constants_out_of_range(wrong: dict[str, Any], said: str) -> None:
    policy = TablePolicy(LOGITS, length=3)
    task = Task(prompts=policy.prompts(torch.zeros(2, dtype=torch.int64)), reference=policy)
    with pytest.raises(InputError, match=said):
        next(mcts_dpo.recipe(task, **wrong, loop=Loop(max_steps=1)))
