"""A small network that decides in sequences, PPO's updates of it, and a process to decide in.

For studies that make their own processes, where a Task's completions do not fit.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import Loop, Rng
from assay.engine.descend import descend
from assay.engine.optimiser import Optimiser
from assay.formulas.advantage import gae
from assay.formulas.surrogate import clipped


class Network(nn.Module):
    """Two hidden layers of tanh units.

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        rng: Address of the first weights.
        width: Width of the hidden layers.
    """

    def __init__(self, inputs: int, outputs: int, rng: Rng, width: int = 64):
        super().__init__()
        sizes, self.layers = (inputs, width, width, outputs), nn.ParameterList()
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            drawn = rng("layer", i).normal(torch.arange(a)[:, None], torch.arange(b))
            # a first policy that prefers nothing, and a judge without a first opinion
            small = 0.01 if i == 2 else 1.0
            self.layers.append(nn.Parameter(drawn * small / math.sqrt(a)))
            self.layers.append(nn.Parameter(torch.zeros(b)))

    def forward(self, x: Float[Tensor, "*n I"]) -> Float[Tensor, "*n O"]:
        w = list(self.layers)
        for i in (0, 2):
            x = torch.tanh(x @ w[i] + w[i + 1])
        return x @ w[4] + w[5]


@dataclass(frozen=True)
class Moves:
    """Decisions of a network with what an update needs: n sequences of T decisions.

    Attributes:
        seen: What the network saw.
        legal: Which actions were open.
        action: What it took.
        logp: Its log-probability then.
        advantage: How much better than expected it went.
        target: What its value head should have said.
        mask: True throughout.
    """

    seen: Float[Tensor, "n T I"]
    legal: Bool[Tensor, "n T A"]
    action: Int[Tensor, "n T"]
    logp: Float[Tensor, "n T"]
    advantage: Float[Tensor, "n T"]
    target: Float[Tensor, "n T"]
    mask: Bool[Tensor, "n T"]

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: Any) -> Moves:
        return Moves(*(getattr(self, f.name)[rows] for f in fields(self)))


def logits_of(
    out: Float[Tensor, "*n O"], legal: Bool[Tensor, "*n A"]
) -> tuple[Float[Tensor, "*n A"], Float[Tensor, "*n"]]:
    """Log-probabilities of a network's actions and its value, the last output."""
    return out[..., :-1].masked_fill(~legal, -torch.inf).log_softmax(-1), out[..., -1]


def drawn(logp: Float[Tensor, "*n A"], gumbel: Float[Tensor, "*n A"]) -> Int[Tensor, "*n"]:
    """Draw actions by the Gumbel trick."""
    return (logp + gumbel).argmax(-1)


def improve(opt: Optimiser, net: Network, moves: Moves, rng: Rng, loop: Loop) -> None:
    """Make PPO's updates on these moves: clipped surrogate, value and entropy.

    Args:
        opt: Of the network's parameters.
        net: The network.
        moves: What it did; advantages are standardised here.
        rng: Address of the order of the rows.
        loop: Epochs and mini-batches, see `Loop.minibatches`.
    """
    a = moves.advantage
    scaled = (a - a.mean()) / a.std().clamp(min=1e-6)

    def loss(x: Moves, i: Tensor) -> Tensor:
        logp, value = logits_of(net(x.seen), x.legal)
        taken = logp.gather(-1, x.action[..., None])[..., 0]
        open_ = torch.where(x.legal, logp, 0.0)  # first: −∞ has no gradient
        entropy = -(x.legal * open_.exp() * open_).sum(-1)
        one, old, a = (each[:, None] for each in (taken, x.logp, scaled[i]))  # one a row
        surrogate = clipped(one, old, a, low=0.2, high=0.2)[:, 0]
        return surrogate + 0.5 * (value - x.target).square() - 0.01 * entropy

    for rows in loop.minibatches(len(moves), rng):
        descend(opt, loss, moves, reduce=lambda mask: mask.double() / mask.numel(), rows=rows)


def moved(
    seen: Tensor, legal: Tensor, action: Tensor, out: Tensor, reward: Tensor, gamma: float
) -> Moves:
    """Moves with their advantages, from what was seen, taken and paid.

    Args:
        seen: `[n, T, I]`.
        legal: `[n, T, A]`.
        action: `[n, T]`.
        out: The network's outputs then `[n, T, A+1]`.
        reward: `[n, T]`.
        gamma: Discount γ.
    """
    logp, value = logits_of(out, legal)
    mask = torch.ones_like(action, dtype=torch.bool)
    known = torch.cat([value, torch.zeros_like(value[:, :1])], 1)
    a = gae(reward[:, None], known[:, None], mask[:, None], gamma=gamma, lam=0.95)[:, 0]
    taken = logp.gather(-1, action[..., None])[..., 0]
    return Moves(seen, legal, action, taken, a, a + value, mask)


def worth(s: Float[Tensor, "*n F"], a: Int[Tensor, "*n"], weights: Tensor) -> Float[Tensor, "*n"]:
    """What a decision is worth in a state: weights_a·s/√F."""
    return (s * weights[a]).sum(-1) / s.shape[-1] ** 0.5


@dataclass(frozen=True)
class Drift:
    """A process whose states are features that drift: s' = k·s + push_a + √(1 − k²)·noise.

    Attributes:
        pays: What a decision a earns in a state, by `worth`.
        liked: How much people like it, by `worth`.
        push: What it does to the state.
        kept: k, the share of a state that the next one keeps.
    """

    pays: Float[Tensor, "A F"]
    liked: Float[Tensor, "A F"]
    push: Float[Tensor, "A F"]
    kept: float = 0.5

    def rollout(
        self, policy: Network | None, episodes: int, horizon: int, rng: Rng, *, greedily: bool
    ) -> dict[str, Tensor]:
        """Draw episodes: states, decisions and what the policy put out `[n, T, …]`.

        Args:
            policy: Decides; None for decisions at random.
            episodes: How many.
            horizon: Decisions of each.
            rng: Address of starts, noise and decisions.
            greedily: Take the most probable decision.
        """
        A, F = self.pays.shape
        n, f = torch.arange(episodes)[:, None], torch.arange(F)
        s, kept = rng("start").normal(n, f), dict[str, list[Tensor]]()
        legal = torch.ones(episodes, A, dtype=torch.bool)
        for t in range(horizon):
            out = s.new_zeros(episodes, A + 1) if policy is None else policy(s)
            logp, _ = logits_of(out, legal)
            noise = rng("decision", t).gumbel(n, torch.arange(A))
            a = logp.argmax(-1) if greedily else drawn(logp, noise)
            for k, v in {"seen": s, "legal": legal, "action": a, "out": out}.items():
                kept.setdefault(k, []).append(v)
            shift = (1 - self.kept**2) ** 0.5 * rng("noise", t).normal(n, f)
            s = self.kept * s + self.push[a] + shift
        return {k: torch.stack(v, 1) for k, v in kept.items()}


def drift(features: int, decisions: int, shared: float, rng: Rng) -> Drift:
    """Draw a process.

    Args:
        features: Features of a state.
        decisions: Decisions in each state.
        shared: Share of weight that return and preference have in common.
        rng: Address of its weights.
    """
    a, f = torch.arange(decisions)[:, None], torch.arange(features)
    pays = rng("pays").normal(a, f)
    liked = shared**0.5 * pays + (1 - shared) ** 0.5 * rng("liked").normal(a, f)
    return Drift(pays, liked, 0.5 * rng("push").normal(a, f))
