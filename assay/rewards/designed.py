"""Rewards that a teacher designs by linear programmes: explicable ones, and ones for a learner's
present policy.

Tables are those of formulas/occupancy.py: P `[S, A, S]`, rewards `[S, A]`. Both programmes are over
rewards that are bounded, 0 outside a few active states, and under which every policy that is
optimal stays so:

    |R| ≤ bound,  Q_R^π*(s, π*) − Q_R^π*(s, a) ≥ δ_s for actions that are not optimal,  = 0 for ties

for every optimal policy π*, with δ_s the gap under the original reward. With the ties' equalities
one π* speaks for all: each has the same values then. HiGHS solves the programmes.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linprog
from torch import Tensor

from assay.core import Rng
from assay.formulas.occupancy import evaluation, greedy, optimal_values
from assay.formulas.potential import informativeness, teaching_gain, truncated_gaps

SHRUNK = 1 + 1e-5  # δ is the gap over this, so that rounding leaves the original reward feasible


@dataclass(frozen=True, eq=False)
class Problem:
    """The original task, as the programmes see it; made once, hashed by identity.

    Attributes:
        original: Its rewards `[S, A]`.
        P: Its transitions `[S, A, S]`.
        terminal: Which states are terminal `[S]`.
        gamma: γ, below 1.
    """

    original: Float[Tensor, "S A"]
    P: Float[Tensor, "S A S"]
    terminal: Bool[Tensor, "S"]
    gamma: float

    @functools.cached_property
    def values(self) -> Float[Tensor, "S A"]:
        """Q* of the original rewards."""
        return optimal_values(self.P, self.original, gamma=self.gamma)

    @functools.cached_property
    def best(self) -> Bool[Tensor, "S A"]:
        """Which actions are optimal."""
        return greedy(self.values)

    @functools.cached_property
    def delta(self) -> Float[Tensor, "S"]:
        """δ: what the best of the other actions loses; 0 where all are optimal."""
        lost = self.values.amax(-1, keepdim=True) - self.values
        lost = torch.where(self.best | self.terminal[:, None], torch.inf, lost).amin(-1)
        return torch.where(torch.isfinite(lost), lost, 0.0) / SHRUNK

    @functools.cached_property
    def paid(self) -> tuple[int, ...]:
        """States in which the original reward pays; they are active in every design."""
        return tuple(int(s) for s in (self.original != 0).any(-1).nonzero()[:, 0])

    @functools.cached_property
    def endless(self) -> Float[Tensor, "S A SA"]:
        """Rows that make of a reward V^π*(s) − Q^π*(s, a)."""
        pi = self.best.double() / self.best.sum(-1, keepdim=True)
        q = evaluation(pi, self.P, gamma=self.gamma)
        return torch.einsum("sa,saz->sz", pi, q)[:, None] - q

    @functools.cached_property
    def invariance(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows G and limits of G·R ≥ δ, and rows E of E·R = 0, over all entries of R."""
        live = ~self.terminal[:, None]
        worse, tied = live & ~self.best, live & self.best & (self.best.sum(-1) > 1)[:, None]
        limit = self.delta[:, None].expand_as(self.best)[worse]
        return self.endless[worse].numpy(), limit.numpy(), self.endless[tied].numpy()

    def policies(self, most: int, rng: Rng) -> list[Float[Tensor, "S A"]]:
        """The deterministic optimal policies; of more than `most`, so many at random.

        In a terminal state, where nothing is decided, the first action stands for all.
        """
        ties = [
            [0] if bool(self.terminal[s]) else row.nonzero()[:, 0].tolist()
            for s, row in enumerate(self.best)
        ]
        count = int(np.prod([float(len(t)) for t in ties]))
        if count <= most:
            found = [list(c) for c in itertools.product(*ties)]
        else:
            found = [
                [t[int(rng("tie", k).integers(len(t), s))] for s, t in enumerate(ties)]
                for k in range(most)
            ]
        one_hot = torch.nn.functional.one_hot
        return [one_hot(torch.tensor(c), self.best.shape[1]).double() for c in found]


def explicable(
    problem: Problem,
    *,
    states: int,
    bound: float,
    rng: Rng,
    horizons: tuple[int, ...] = (1, 4, 8, 16),
    policies: int = 4,
    chosen: tuple[int, ...] | None = None,
) -> tuple[Float[Tensor, "S A"], list[int]]:
    """A sparse reward that informs at short horizons and keeps the optimal policies (EXPRD).

    maximise I(R) = −mean_{π*,h,s} max_a [δ_s − A_h(s,a)]₊, see `formulas.potential.informativeness`

    States are added one by one, each the best at its turn, beside those in which the original pays.

    Args:
        problem: The original task.
        states: States to add.
        bound: Largest |R|; at least the original's.
        rng: Address at which optimal policies are drawn where there are many.
        horizons: Horizons h of the informativeness.
        policies: Optimal policies over which it is averaged, at most.
        chosen: States to add instead of the best ones, as a control.

    Returns:
        R `[S, A]`, and the active states.

    Raises:
        ValueError: bound is below the original's largest reward.

    Source: Devidze et al., "Explicable Reward Design for Reinforcement Learning Agents", 2021.
    """
    near = [
        truncated_gaps(pi, problem.P, gamma=problem.gamma, horizons=horizons)
        * (~problem.best & ~problem.terminal[:, None])[..., None]
        for pi in problem.policies(policies, rng)
    ]
    zone = list(problem.paid)
    S = len(problem.original)
    if chosen is not None:
        zone += [s for s in chosen if s not in zone]
        return _most_informative(problem, near, zone, bound), sorted(zone)
    found = _most_informative(problem, near, zone, bound)
    for _ in range(states):
        free = [s for s in range(S) if s not in zone and not problem.terminal[s]]
        made = [_most_informative(problem, near, [*zone, s], bound) for s in free]
        worth = torch.stack([_mean_information(problem, near, R) for R in made])
        winner = int(worth.argmax())
        zone, found = [*zone, free[winner]], made[winner]
    return found, sorted(zone)


def _mean_information(problem: Problem, near: list[Tensor], R: Tensor) -> Tensor:
    each = [informativeness(R.flatten(), gaps, problem.delta) for gaps in near]
    return torch.stack(each).mean()


def _most_informative(
    problem: Problem, near: list[Tensor], zone: list[int], bound: float
) -> Float[Tensor, "S A"]:
    """The most informative reward on these states: the hinges are slack variables ξ_{π*,h,s} ≥ 0.

    minimise Σ ξ  with  ξ_{π*,h,s} ≥ δ_s − A_h(s,a) for every action that is not optimal
    """
    columns = _columns(problem, zone)
    rows, limits, slack, at = list[np.ndarray](), list[np.ndarray](), list[np.ndarray](), 0
    for gaps in near:
        own = gaps[..., torch.from_numpy(columns)].numpy()
        counted = gaps.abs().amax(-1).numpy() > 0
        h, s, a = counted.nonzero()
        # one slack for each horizon and state, shared by its actions
        names, which = np.unique(h * len(problem.delta) + s, return_inverse=True)
        rows.append(-own[h, s, a])
        limits.append(-problem.delta.numpy()[s])
        slack.append(which + at)
        at += len(names)
    G, all_slack = np.concatenate(rows), np.concatenate(slack)
    used = np.zeros((len(G), at))
    used[np.arange(len(G)), all_slack] = -1
    cost = np.concatenate([np.zeros(len(columns)), np.ones(at)])
    return _solved(problem, columns, bound, cost, np.hstack([G, used]), np.concatenate(limits))


def taught(
    problem: Problem,
    pi: Float[Tensor, "S A"],
    visits: Float[Tensor, "S"],
    *,
    states: int,
    bound: float,
) -> tuple[Float[Tensor, "S A"], list[int]]:
    """The reward that teaches a learner of policy π most at once (the adaptive teacher).

    maximise Σ_s μ(s) Σ_a π(a|s)·A*(s,a)·(R(s,a) − Σ_b π(b|s)·R(s,b)) on so few states

    Sparseness makes it a choice among sets of states. It is solved on all of them first; those that
    teach most stay, and on them it is solved again.

    Args:
        problem: The original task.
        pi: The learner's π `[S, A]`.
        visits: Its μ `[S]`.
        states: States to add to those in which the original pays.
        bound: Largest |R|; at least the original's.

    Returns:
        R `[S, A]`, and the active states.

    Raises:
        ValueError: bound is below the original's largest reward.

    Source: Devidze, "Reward Design for Reinforcement Learning Agents", arXiv:2503.21949, 2025.
    """
    q = problem.values
    gain = teaching_gain(pi, visits, q - q.amax(-1, keepdim=True))
    gain = torch.where(problem.terminal[:, None], 0.0, gain)
    free = [s for s in range(len(q)) if s not in problem.paid and not problem.terminal[s]]
    none = np.zeros((0, 0)), np.zeros(0)

    def solved(zone: list[int]) -> Tensor:
        columns = _columns(problem, zone)
        return _solved(problem, columns, bound, -gain.flatten().numpy()[columns], *none)

    whole = (gain * (solved([*problem.paid, *free]) - problem.original)).sum(-1)
    best = sorted(free, key=lambda s: -float(whole[s]))[:states]
    zone = [*problem.paid, *best]
    return solved(zone), sorted(zone)


def _columns(problem: Problem, zone: list[int]) -> np.ndarray:
    A = problem.original.shape[1]
    return (np.array(zone, dtype=np.int64)[:, None] * A + np.arange(A)).flatten()


def _solved(
    problem: Problem,
    columns: np.ndarray,
    bound: float,
    cost: np.ndarray,
    rows: np.ndarray,
    limits: np.ndarray,
) -> Float[Tensor, "S A"]:
    """Minimise cost·x over R on these entries and slacks ≥ 0, with rows·x ≤ limits and invariance.

    Raises:
        ValueError: bound is below the original's largest reward, which would not be feasible.
    """
    if float(problem.original.abs().max()) > bound:
        raise ValueError(
            f"bound is {bound:g}, and the original reward is up to "
            f"{float(problem.original.abs().max()):g}; a bound that holds it keeps it feasible"
        )
    G, least, E = problem.invariance
    more = len(cost) - len(columns)
    wide = np.hstack([-G[:, columns], np.zeros((len(G), more))])
    equal = np.hstack([E[:, columns], np.zeros((len(E), more))])
    rows = rows if len(rows) else np.zeros((0, len(cost)))
    found = linprog(
        cost,
        A_ub=np.vstack([wide, rows]),
        b_ub=np.concatenate([-least, limits]),
        A_eq=equal if len(equal) else None,
        b_eq=np.zeros(len(equal)) if len(equal) else None,
        bounds=[(-bound, bound)] * len(columns) + [(0, None)] * more,
        method="highs",
    )
    if found.x is None:
        raise ValueError(f"HiGHS found no reward: {found.message}")
    R = torch.zeros(problem.original.numel(), dtype=torch.float64)
    R[torch.from_numpy(columns)] = torch.from_numpy(found.x[: len(columns)])
    return R.reshape(problem.original.shape)
