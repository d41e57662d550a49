"""Search a tree of steps by PUCT, and take pairs of steps from what it decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from assay.core import Pairs, Prompts
from assay.formulas.tree_search import backed_up, puct, step_prior, visit_smoothing
from assay.loops.search_trees import Forest, Leaves, Node


@dataclass(frozen=True)
class Decision:
    """A root, and its children as they stood when it decided: the next root's walks come later.

    Attributes:
        node: The root.
        children: The best first, by visits, then by Q.
        visits: N of each.
        q: Q of each.
    """

    node: Node
    children: tuple[Node, ...]
    visits: tuple[int, ...]
    q: tuple[float, ...]

    @classmethod
    def of(cls, node: Node, *, by_value: bool = False) -> Decision:
        """Decide as the tree stands: by visits and then Q, or by Q and then visits."""
        rank = ("q", "visits") if by_value else ("visits", "q")
        by = [*rank, "v", "value"]
        best = sorted(node.children, key=lambda n: [getattr(n, k) for k in by], reverse=True)
        return cls(node, tuple(best), tuple(n.visits for n in best), tuple(n.q for n in best))


@dataclass(frozen=True, kw_only=True)
class PuctSearch:
    """Constants of a search by PUCT.

    Attributes:
        iterations: Walks from each step's root to an end.
        first: Walks from the prompt are so many times as many.
        depth: Steps that a walk looks ahead, at most.
        c: Weight of exploration.
        gamma: Discount γ of a child's value.
        penalty: Power of the length in a step's prior.
        recount: Count a walk again each time that it grows a node, as the released code does.
    """

    iterations: int
    first: int
    depth: int
    c: float
    gamma: float
    penalty: float
    recount: bool

    def decisions(self, forest: Forest, judged: Callable[[Leaves], None]) -> list[list[Decision]]:
        """Search each prompt's tree, step by step, and return what it decided.

        After the walks from a root its most visited child is the next root.

        Args:
            forest: The trees.
            judged: Sets the value of nodes that are new, given with their prompts' rows.

        Returns:
            For each prompt, the decisions at its roots, in order.
        """
        now, decided = list(forest.roots), [list[Decision]() for _ in forest.roots]
        walks = self.iterations * self.first
        while active := [r for r, root in enumerate(now) if not root.done]:
            for _ in range(walks):
                self._walk(forest, [(r, now[r]) for r in active if not now[r].done], judged)
            for r in active:
                if now[r].children:
                    decided[r].append(Decision.of(now[r]))
                    now[r] = decided[r][-1].children[0]
            walks = self.iterations
        return decided

    def _walk(self, forest: Forest, roots: Leaves, judged: Callable[[Leaves], None]) -> None:
        """Walk once from each of these roots to an end, growing what has no children."""
        paths = [(row, [root]) for row, root in roots]
        open_ = list(range(len(paths)))
        while open_:
            for i in open_:  # down to a node without children
                path = paths[i][1]
                while path[-1].children and not self._ends(path):
                    path.append(self._selected(path[-1]))
            open_ = [i for i in open_ if not self._ends(paths[i][1])]
            leaves = [(paths[i][0], paths[i][1][-1]) for i in open_]
            forest.grow(leaves)
            fresh = [(row, child) for row, leaf in leaves for child in leaf.children]
            judged(fresh)
            for _, child in fresh:
                assert child.parent is not None
                child.q = child.parent.v + child.gain
            if self.recount:
                for i in open_:
                    if len(paths[i][1]) > 1:
                        self._back_up(paths[i][1])
        for _, path in paths:
            self._back_up(path)

    def _ends(self, path: list[Node]) -> bool:
        return path[-1].done or len(path) > self.depth

    def _selected(self, node: Node) -> Node:
        """The child that `puct` likes best."""
        kids = node.children
        length = torch.tensor([len(k.tokens) - k.start for k in kids], dtype=torch.float64)
        logp = torch.tensor([sum(k.logp[k.start :]) for k in kids], dtype=torch.float64)
        worth = puct(
            torch.tensor([k.q for k in kids], dtype=torch.float64),
            step_prior(logp, length, penalty=self.penalty),
            torch.tensor([k.visits for k in kids], dtype=torch.float64),
            torch.tensor(node.visits, dtype=torch.float64),
            c=self.c,
        )
        return kids[int(worth.argmax())]

    def _back_up(self, path: list[Node]) -> None:
        path[-1].q = path[-1].gain + self.gamma * path[-1].v
        path[-1].visits += 1
        for node in reversed(path[:-1]):
            q, n = (
                torch.tensor([float(getattr(k, name)) for k in node.children], dtype=torch.float64)
                for name in ("q", "visits")
            )
            node.v = float(backed_up(q, n))
            node.visits += 1
            if node.parent is not None:
                node.q = node.gain + self.gamma * node.v


def every_decision(root: Node) -> list[Decision]:
    """Decide by value at every node of a tree that has two children, also off the chosen path."""
    here = [Decision.of(root, by_value=True)] if len(root.children) > 1 else []
    return here + [d for child in root.children for d in every_decision(child)]


def is_clear(decision: Decision, *, apart: float, overlap: float, worth: float) -> bool:
    """Whether the best child can be told from the worst one.

    Args:
        decision: With at least two children.
        apart: Least difference of their Q.
        overlap: Largest share of different tokens that both steps have, of those of the step with
            fewer.
        worth: Least value that the best one was judged to have.
    """
    best, worst = decision.children[0], decision.children[-1]
    a, b = (set(n.tokens[n.start :]) for n in (best, worst))
    return (
        decision.q[0] - decision.q[-1] >= apart
        and len(a & b) <= overlap * min(len(a), len(b))
        and best.value >= worth
    )


def step_pairs(
    prompts: Prompts,
    decided: Sequence[Sequence[Decision]],
    *,
    second: bool,
    dtype: torch.dtype,
) -> Pairs | None:
    """Return the best against the worst child of each decision, as pairs of continued beginnings.

    What both begin with, the root's tokens and the first ones of both steps, is *given*: it is read
    and not trained on. Its gradient would cancel up to rounding, which Adam turns into steps. Where
    a child has an only child, the pair includes that too.

    Args:
        prompts: B prompts.
        decided: Decisions of each prompt.
        second: Take the second best in place of the worst.
        dtype: Of the log-probabilities.

    Returns:
        The pairs, whose p is one minus `visit_smoothing`; None where no root has two children.
    """
    found = [(row, d) for row, made in enumerate(decided) for d in made if len(d.children) > 1]
    if not found:
        return None
    both = [0, 1 if second else -1]
    ends = [[_extended(d.children[k]) for k in both] for _, d in found]
    rows = torch.tensor([row for row, _ in found])
    M, T = len(found), max(len(end.tokens) for two in ends for end in two)
    whole = torch.zeros(M, 2, T, dtype=torch.bool)
    action, logp = torch.zeros(M, 2, T, dtype=torch.int64), torch.zeros(M, 2, T, dtype=dtype)
    given, ended = torch.zeros_like(whole), torch.zeros(M, 2, dtype=torch.bool)
    for m in range(M):
        for k, end in enumerate(ends[m]):
            n = len(end.tokens)
            action[m, k, :n], whole[m, k, :n] = torch.tensor(end.tokens), True
            given[m, k, : _shared(ends[m])], ended[m, k] = True, end.done
            logp[m, k, :n] = torch.tensor(end.logp, dtype=dtype)
    visits = torch.tensor([[d.visits[k] for k in both] for _, d in found], dtype=dtype)
    q = torch.tensor([[d.q[k] for k in both] for _, d in found], dtype=dtype)
    return Pairs(
        prompts=prompts[rows],
        action=action,
        mask=whole & ~given,
        given=given,
        logp=logp.masked_fill(given, 0.0),
        ended=ended,
        p=1 - visit_smoothing(visits[:, 0], visits[:, 1]),
        margin=q[:, 0] - q[:, 1],
    ).to(prompts.tokens.device)


def _shared(ends: Sequence[Node]) -> int:
    """How many tokens the nodes begin with in common."""
    tokens = [n.tokens for n in ends]
    differ = (i for i, at in enumerate(zip(*tokens, strict=False)) if len(set(at)) > 1)
    return next(differ, min(map(len, tokens)))


def _extended(node: Node) -> Node:
    """The node at the end of a chain of only children."""
    while len(node.children) == 1:
        node = node.children[0]
    return node
