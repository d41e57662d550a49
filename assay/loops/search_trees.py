"""Search trees of reasoning steps, grown for many prompts at once.

A node is the beginning of a completion, up to the end of a step. To grow one, the policy completes
it several times, and the next step of each completion is a child; how the whole completion ended is
a rollout of that child. All prompts of a batch are searched in step with one another, so that the
policy completes many nodes in a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from assay.core import Policy, Prompts, Rng, Samples
from assay.loops.missing import scores_and_missing, without_missing


@dataclass(eq=False)
class Node:
    """The beginning of a completion.

    Attributes:
        tokens: All its tokens, its own step's last.
        logp: Log-probability of each, under the policy that drew it.
        start: Place of its own step's first token.
        depth: Steps in it.
        done: It cannot be continued.
        parent: The node without its last step; None for the prompt.
        value: What it was judged when it was made.
        outcomes: Rewards of the completions that went through it when it was made.
        children: What it was continued by, each with another step.
        visits: N.
        v: V, the mean of its children's Q.
        q: Q.
    """

    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    start: int = 0
    depth: int = 0
    done: bool = False
    parent: Node | None = None
    value: float = 0.0
    outcomes: list[float] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)
    visits: int = 0
    v: float = 0.0
    q: float = 0.0

    @property
    def gain(self) -> float:
        """r, by how much its value exceeds its parent's."""
        return self.value - (0.0 if self.parent is None else self.parent.value)


Leaves = Sequence[tuple[int, Node]]  # a prompt's row, and a node of its tree


class Forest:
    """One tree for each prompt, and what grows them.

    Args:
        policy: Completes nodes.
        prompts: B prompts.
        children: Completions at a time of each node; twice as many of the prompt.
        step_of: completions → number of each token's step.
        score: completions → reward `[B,N]`.
        rng: Address of all completions.
        at_prompt: Completions of the prompt, as a multiple of `children`.
    """

    def __init__(
        self,
        policy: Policy,
        prompts: Prompts,
        *,
        children: int,
        step_of: Callable[[Samples], Tensor],
        score: Callable[[Samples], Tensor],
        rng: Rng,
        at_prompt: int = 2,
    ):
        self.at_prompt = at_prompt
        self.policy, self.prompts, self.children, self.rng = policy, prompts, children, rng
        self.step_of, self.score = step_of, score
        self.roots = [Node() for _ in range(len(prompts))]
        self.grown = 0  # how often: the address of what is drawn next
        self.scores: list[float] = []  # of all completions; what was not scored is left out
        self.unscored = 0

    def grow(self, leaves: Leaves) -> None:
        """Complete each of these nodes, and give it the steps that are new as children."""
        if not leaves:
            return
        rows = torch.tensor([row for row, _ in leaves])
        asked = self.prompts[rows]
        dtype = next(iter(self.policy.parameters())).dtype
        start = beginnings(asked, [node for _, node in leaves], dtype=dtype)
        # walks begin at prompts together
        n = self.children * (1 if leaves[0][1].depth else self.at_prompt)
        x = self.policy.sample(asked, n, self.rng("grow", self.grown), start)
        self.grown += 1
        steps = self.step_of(x).tolist()
        scores = without_missing(*scores_and_missing(self.score, x)).tolist()
        actions, logps = x.action.tolist(), x.logp.tolist()
        for i, (_, node) in enumerate(leaves):
            known = {tuple(c.tokens[c.start :]): c for c in node.children}
            for k in range(n):
                own = [t for t, s in enumerate(steps[i][k]) if s == node.depth]
                if not own:
                    continue  # nothing was written
                step = tuple(actions[i][k][t] for t in own)
                child = known.get(step)
                if child is None:
                    child = Node(
                        tokens=[*node.tokens, *step],
                        logp=[*node.logp, *(logps[i][k][t] for t in own)],
                        start=len(node.tokens),
                        depth=node.depth + 1,
                        done=max(steps[i][k]) == node.depth,
                        parent=node,
                    )
                    known[step] = child
                    node.children.append(child)
                if scores[i][k] == scores[i][k]:  # NaN: no reward applies
                    child.outcomes.append(scores[i][k])
                    self.scores.append(scores[i][k])
                else:
                    self.unscored += 1
            node.done = node.done or not node.children


def beginnings(prompts: Prompts, nodes: Sequence[Node], *, dtype: torch.dtype) -> Samples:
    """Return nodes as completions to continue, one a prompt."""
    B, T = len(nodes), max(1, *(len(n.tokens) for n in nodes))
    action = torch.zeros(B, 1, T, dtype=torch.int64)
    mask, logp = torch.zeros(B, 1, T, dtype=torch.bool), torch.zeros(B, 1, T, dtype=dtype)
    for b, node in enumerate(nodes):
        n = len(node.tokens)
        action[b, 0, :n], mask[b, 0, :n] = torch.tensor(node.tokens, dtype=torch.int64), True
        logp[b, 0, :n] = torch.tensor(node.logp, dtype=dtype)
    return Samples(
        prompts=prompts,
        action=action,
        mask=mask,
        given=torch.zeros_like(mask),
        logp=logp,
        ended=torch.zeros(B, 1, dtype=torch.bool),
    ).to(prompts.tokens.device)
