"""Search trees of steps by UCT, with rollouts from every new node, as MedS³ does.

    select by UCT ─► expand, or finish where success is near certain ─► roll out ─► back up

A node's `q` is the share of right ends of its rollouts, `value` what is backed up from below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Prompts, Samples
from assay.formulas.tree_search import halfway_backed_up, uct
from assay.loops.missing import scores_and_missing, without_missing
from assay.loops.search_trees import Forest, Leaves, Node, beginnings
from assay.loops.verifiers import Labels


@dataclass(frozen=True, kw_only=True)
class UctSearch:
    """Constants of a search by UCT.

    Attributes:
        c: Weight of exploration.
        unvisited: What a child that was never visited is worth to the selection.
        nodes: Nodes of a tree from which its search stops; those of a finish count once.
        enough: Right leaves of a tree from which its search stops.
        rollouts: Rollouts from a node of depth d are max(rollouts // (d + 1), least).
        least: See `rollouts`.
        sure: Share of right rollouts from which a node is finished in place of expanded.
        right: Reward from which a completion is right.
    """

    c: float = 2.0
    unvisited: float = 5.0
    nodes: int = 60
    enough: int = 4
    rollouts: int = 20
    least: int = 5
    sure: float = 0.9
    right: float = 0.5

    def grow(self, forest: Forest) -> None:
        """Search each prompt's tree until it has enough nodes or right leaves, or is all ends."""
        sizes = [1] * len(forest.roots)
        open_ = list(range(len(forest.roots)))
        while open_:
            chosen = [(row, self._selected(forest.roots[row])) for row in open_]
            near = [(r, n) for r, n in chosen if n.depth and n.q >= self.sure]
            others = [(r, n) for r, n in chosen if not (n.depth and n.q >= self.sure)]
            forest.grow(others)
            finish(forest, near)
            fresh = [(r, child) for r, n in chosen for child in n.children]
            for r, _ in fresh:
                sizes[r] += 1
            self._judge(forest, others, near)
            open_ = [r for r in open_ if not self._stops(forest.roots[r], sizes[r])]

    def _stops(self, root: Node, size: int) -> bool:
        won = sum(n.done and n.q >= self.sure for n in leaves(root))
        return size >= self.nodes or won >= self.enough or closed(root)

    def _selected(self, node: Node) -> Node:
        """The open node without children that UCT leads to."""
        while node.children:
            kids = [k for k in node.children if not closed(k)]
            value, visits = (
                torch.tensor([float(getattr(k, name)) for k in kids], dtype=torch.float64)
                for name in ("value", "visits")
            )
            above = torch.tensor(float(max(node.visits, 1)), dtype=torch.float64)
            node = kids[int(uct(value, visits, above, c=self.c, unvisited=self.unvisited).argmax())]
        return node

    def _judge(self, forest: Forest, grown: Leaves, near: Leaves) -> None:
        """Roll out from what is new, and back up what was found."""
        fresh = [(row, child) for row, node in grown for child in node.children]
        going = [(row, n) for row, n in fresh if not n.done]
        wanted = [max(self.rollouts // (n.depth + 1), self.least) for _, n in going]
        # the completions that a node was cut from are rollouts of it
        roll_out(forest, going, [w - len(n.outcomes) for w, (_, n) in zip(wanted, going)])
        ends = [(row, end) for row, node in near for end in leaves(node) if end is not node]
        for _, node in [*fresh, *ends]:
            won = [o >= self.right for o in node.outcomes]
            node.q = sum(won) / len(won) if won else 0.0
            back_up(node)


def finish(forest: Forest, nodes: Leaves) -> None:
    """Complete each of these nodes once, and hang all steps of the completion below it.

    The steps before the last take over the node's own value, and count as visited once.
    """
    if not nodes:
        return
    x = _completed(forest, nodes, [1] * len(nodes))
    steps, scores = forest.step_of(x).tolist(), _scores(forest, x)
    actions, logps = x.action.tolist(), x.logp.tolist()
    for i, (_, node) in enumerate(nodes):
        last = max(steps[i][0])
        at = node
        for s in range(node.depth, last + 1):
            own = [t for t, k in enumerate(steps[i][0]) if k == s]
            child = Node(
                tokens=[*at.tokens, *(actions[i][0][t] for t in own)],
                logp=[*at.logp, *(logps[i][0][t] for t in own)],
                start=len(at.tokens),
                depth=at.depth + 1,
                done=s == last,
                parent=at,
            )
            if not child.done:
                child.value, child.q, child.visits = node.value, node.q, 1
            at.children.append(child)
            at = child
        at.done = True  # also where nothing was written
        if at is not node and scores[i][0] == scores[i][0]:
            at.outcomes.append(scores[i][0])


def roll_out(forest: Forest, nodes: Leaves, counts: list[int]) -> None:
    """Complete each of these nodes so many times, and note how the completions end."""
    some = [(n, c) for n, c in zip(nodes, counts, strict=True) if c > 0]
    if not some:
        return
    x = _completed(forest, [n for n, _ in some], [c for _, c in some])
    scores = _scores(forest, x)
    for i, ((_, node), count) in enumerate(some):
        node.outcomes += [s for s in scores[i][:count] if s == s]  # NaN: no reward applies


def _completed(forest: Forest, nodes: Leaves, counts: list[int]) -> Samples:
    asked = forest.prompts[torch.tensor([row for row, _ in nodes])]
    dtype = next(iter(forest.policy.parameters())).dtype
    start = beginnings(asked, [node for _, node in nodes], dtype=dtype)
    x = forest.policy.sample(
        asked, torch.tensor(counts), forest.rng("roll out", forest.grown), start
    )
    forest.grown += 1
    return x


def _scores(forest: Forest, x: Samples) -> list[list[float]]:
    scores: list[list[float]] = without_missing(*scores_and_missing(forest.score, x)).tolist()
    for row, here in zip(scores, x.present.tolist(), strict=True):
        known = [s for s, there in zip(row, here, strict=True) if there and s == s]
        forest.scores += known
        forest.unscored += sum(here) - len(known)
    return scores


def back_up(node: Node) -> None:
    """Give a new node its own value, and every node above it half of what its children have."""
    node.value = node.q
    node.visits += 1
    above = node.parent
    while above is not None:
        value, visits = (
            torch.tensor([float(getattr(k, name)) for k in above.children], dtype=torch.float64)
            for name in ("value", "visits")
        )
        own = torch.tensor(above.value, dtype=torch.float64)
        above.value = float(halfway_backed_up(own, value, visits))
        above.visits += 1
        above = above.parent


def closed(node: Node) -> bool:
    """Whether nothing below can be continued."""
    return node.done or (bool(node.children) and all(closed(k) for k in node.children))


def leaves(node: Node) -> Iterator[Node]:
    """The nodes without children, from the first child's on."""
    if not node.children:
        yield node
    for child in node.children:
        yield from leaves(child)


def trajectories(prompts: Prompts, ends: list[list[Node]], *, dtype: torch.dtype) -> Samples | None:
    """Return nodes as completions, those of a prompt in a row; None where there are none.

    Args:
        prompts: B prompts.
        ends: Nodes of each prompt; a prompt without any is left out.
        dtype: Of the log-probabilities.
    """
    rows = [row for row, nodes in enumerate(ends) if nodes]
    if not rows:
        return None
    N = max(len(ends[row]) for row in rows)
    T = max(len(node.tokens) for row in rows for node in ends[row])
    action = torch.zeros(len(rows), N, T, dtype=torch.int64)
    mask, logp = torch.zeros_like(action, dtype=torch.bool), torch.zeros_like(action, dtype=dtype)
    ended = torch.zeros(len(rows), N, dtype=torch.bool)
    for i, row in enumerate(rows):
        for k, node in enumerate(ends[row]):
            n = len(node.tokens)
            action[i, k, :n], mask[i, k, :n] = torch.tensor(node.tokens), True
            logp[i, k, :n], ended[i, k] = torch.tensor(node.logp, dtype=dtype), node.done
    return Samples(
        prompts=prompts[torch.tensor(rows)],
        action=action,
        mask=mask,
        given=torch.zeros_like(mask),
        logp=logp,
        ended=ended,
    ).to(prompts.tokens.device)


def tree_labels(
    prompts: Prompts, roots: list[Node], *, dtype: torch.dtype, rollout: bool = False
) -> tuple[Labels, Float[Tensor, "B N S1"]] | None:
    """Return every node but the prompts as a prefix, with its value; None without any.

    A node that several leaves share is labelled once.

    Args:
        prompts: B prompts.
        roots: The tree of each.
        dtype: Of the log-probabilities.
        rollout: Take each node's own rollouts, not what was backed up.
    """
    ends = [[leaf for leaf in leaves(root) if leaf.depth] for root in roots]
    x = trajectories(prompts, ends, dtype=dtype)
    if x is None:
        return None
    kept = [nodes for nodes in ends if nodes]
    S = max(leaf.depth for nodes in kept for leaf in nodes)
    step = torch.full(x.mask.shape, -1, dtype=torch.int64)
    here = torch.zeros(*x.mask.shape[:2], S + 1, dtype=torch.bool)
    target = torch.zeros(here.shape, dtype=dtype)
    known: set[int] = set()
    for i, nodes in enumerate(kept):
        for k, leaf in enumerate(nodes):
            node: Node | None = leaf
            while node is not None and node.depth:
                step[i, k, node.start : len(node.tokens)] = node.depth - 1
                if id(node) not in known:
                    here[i, k, node.depth] = True
                    target[i, k, node.depth] = node.q if rollout else node.value
                    known.add(id(node))
                node = node.parent
    device = x.action.device
    target = target.to(device)
    return Labels(x, step.to(device), target, here.to(device)), target
