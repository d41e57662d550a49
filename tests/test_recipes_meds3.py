"""MedS³: trees against enumeration, what the verifier comes to, and the KL of a vote.

The toy is a table of three tokens and three decisions, each of which is a step; the only right
completion takes the first token three times.
"""

from __future__ import annotations

import math

import torch
from test_loops_tree_search import LOGITS, right, step_of
from torch import Tensor

from assay.core import Rng, Samples
from assay.formulas.divergence import best_of_n_bound
from assay.loops.search_trees import Forest, Node
from assay.loops.uct_search import UctSearch, back_up, closed, leaves, tree_labels
from assay.models.policies.table import TablePolicy
from assay.models.samplers.voting import Voting

ROWS = 64


def forest(seed: int = 0, chance: float = 0.6) -> Forest:
    other = (1 - chance) / 2
    logits = torch.tensor([[chance, other, other]], dtype=torch.float64).log()
    policy = TablePolicy(logits, length=3)
    prompts = policy.prompts(torch.zeros(ROWS, dtype=torch.int64))
    return Forest(
        policy,
        prompts,
        children=3,
        step_of=step_of,
        score=right,
        rng=Rng(seed)("x"),
        at_prompt=1,
    )


def every(node: Node) -> list[Node]:
    return [node] + [n for child in node.children for n in every(child)]


def test_rollouts_are_unbiased_for_a_nodes_chance() -> None:
    trees = forest()
    UctSearch(nodes=12).grow(trees)
    for depth, wanted in ((1, 10), (2, 6)):
        kept = [
            n
            for root in trees.roots
            for n in every(root)
            if n.depth == depth
            and not n.done
            and set(n.tokens) == {0}
            and len(n.outcomes) >= wanted
        ]
        errors = torch.tensor([n.q - 0.6 ** (3 - depth) for n in kept], dtype=torch.float64)
        assert len(kept) > 30
        assert abs(float(errors.mean())) < 4 * float(errors.std()) / math.sqrt(len(kept))
    wrong = [n for root in trees.roots for n in every(root) if n.depth and set(n.tokens) - {0}]
    assert wrong and all(n.q == 0 for n in wrong)


def test_a_search_stops_and_its_ends_are_right() -> None:
    trees = forest()
    search = UctSearch(nodes=12, enough=1)
    search.grow(trees)
    for root in trees.roots:
        ends = [n for n in leaves(root) if n.done]
        won = [n for n in ends if n.q >= search.sure]
        assert all(n.tokens == [0, 0, 0] for n in won)
        assert won or closed(root) or len(every(root)) >= 12
        # grown before the last expansion, a tree was below its limit; a finish adds up to 2 more
        assert len(every(root)) <= 12 + 3 + 4
    assert sum(any(n.q >= 0.9 and n.done for n in leaves(r)) for r in trees.roots) / ROWS > 0.3


def test_a_node_is_half_its_own_and_half_its_childrens() -> None:
    root = Node()
    a = Node(depth=1, parent=root, q=0.5)
    root.children.append(a)
    back_up(a)
    assert (root.value, root.visits, a.value) == (0.25, 1, 0.5)
    b = Node(depth=2, parent=a, q=1.0, done=True)
    a.children.append(b)
    back_up(b)
    assert (a.value, a.visits, root.value) == (0.75, 2, 0.5)
    assert closed(root)


def test_every_node_is_labelled_once_with_its_value() -> None:
    trees = forest()
    UctSearch(nodes=12).grow(trees)
    for rollout in (False, True):
        found = tree_labels(trees.prompts, trees.roots, dtype=torch.float64, rollout=rollout)
        assert found is not None
        known, target = found
        nodes = [n for root in trees.roots for n in every(root) if n.depth]
        assert int(known.here.sum()) == len(nodes) and not bool(known.here[..., 0].any())
        given = sorted(target[known.here].tolist())
        assert given == sorted(n.q if rollout else n.value for n in nodes)
        assert torch.equal(known.step, step_of(known.samples))


def test_soft_cross_entropy_is_least_at_the_mean_label() -> None:
    wins = torch.tensor([0.0, 0.2, 0.9, 0.5], dtype=torch.float64)
    z = torch.zeros((), dtype=torch.float64, requires_grad=True)
    opt = torch.optim.LBFGS([z], max_iter=50)

    def loss() -> Tensor:
        opt.zero_grad()
        each = torch.nn.functional.binary_cross_entropy_with_logits(z.expand(4), wins)
        each.backward()
        return each

    opt.step(loss)
    torch.testing.assert_close(torch.sigmoid(z.detach()), wins.mean(), atol=1e-6, rtol=0)


def vote(votes: int, likes: Tensor) -> tuple[TablePolicy, Voting]:
    policy = TablePolicy(LOGITS.clone(), length=1)

    def score(_: None, x: Samples) -> Tensor:
        return likes[x.action[..., 0]]

    return policy, Voting(policy, None, votes, score=score, answer=lambda x: x.action[..., 0])


def drawn(voting: Voting, n: int = 4000) -> Samples:
    prompts = voting.policy.prompts(torch.zeros(1, dtype=torch.int64))
    return voting.sample(prompts, n, Rng(3)("x"))


def test_a_majority_of_three_is_drawn_as_often_as_enumeration_says() -> None:
    policy, voting = vote(3, torch.ones(3, dtype=torch.float64))
    p = policy.logits[0].detach().softmax(-1).tolist()
    chance = [0.0] * 3
    for a in range(3):
        for b in range(3):
            for c in range(3):
                seen = [a, b, c]
                most = max(seen, key=lambda v: (seen.count(v), -seen.index(v)))
                chance[most] += p[a] * p[b] * p[c]
    x = drawn(voting)
    share = [float((x.action == v).double().mean()) for v in range(3)]
    assert all(abs(s - c) < 4 * 0.5 / math.sqrt(4000) for s, c in zip(share, chance, strict=True))


def test_kl_of_a_vote_is_no_less_than_the_kl_of_what_it_draws() -> None:
    for likes in ([1.0, 1.0, 1.0], [5.0, 1.0, 1.0], [0.0, 1.0, 9.0]):
        policy, voting = vote(4, torch.tensor(likes, dtype=torch.float64))
        other = TablePolicy(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log(), length=1)
        x = drawn(voting)
        q = torch.stack([(x.action == v).double().mean() for v in range(3)])
        for reference in (policy, other):
            exact = float(
                (
                    q * (q.clamp(min=1e-12).log() - reference.logits[0].detach().log_softmax(-1))
                ).sum()
            )
            assert float(voting.kl(reference, x).mean()) >= exact - 1e-9
    policy, one = vote(1, torch.ones(3, dtype=torch.float64))
    x = drawn(one, 5)
    assert float(one.kl(policy, x).abs().max()) == 0.0 and float(best_of_n_bound(1)) == 0.0
    assert one.cost == {"generated": 1, "scored": 0}
