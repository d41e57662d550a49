"""Training on a reward that is designed: sparse, by potentials, by a teacher, or by the learner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import InputError, Loop, Samples, Step, Task
from assay.formulas.advantage import returns_to_go
from assay.formulas.occupancy import optimal_values, step_centred
from assay.formulas.potential import count_bonus, shaping
from assay.loops.online import online
from assay.loops.q_learning import q_learning
from assay.loops.scoring import proxy_score
from assay.models.policies.markov import MarkovPolicy, acting
from assay.models.process import Process, states
from assay.rewards.designed import Problem, explicable, taught

DESIGNS = ("none", "potential", "explicable", "random", "explore", "teacher")
LEARNERS = ("gradient", "q")
POTENTIALS = ("optimal", "random", "adversarial")


def by_design(
    task: Task,
    *,
    design: str,
    loop: Loop,
    potential: str = "optimal",
    cut: bool = False,
    active: int = 5,
    bound: float = 1.0,
    period: int = 10,
    rate: float = 0.1,
    fade: float = 1.0,
    most: float = 1.0,
    learner: str = "gradient",
    epsilon: float = 0.1,
    primary: int = 0,
) -> Iterator[Step]:
    """Train on a designed reward and yield the policy after each step.

    Args:
        task: A decision process, whose reference acts in it.
        design: none, potential, explicable, random, explore or teacher.
        loop: Constants of the optimisation.
        potential: optimal, random or adversarial: Φ of the design potential.
        cut: Pay Φ(s_T) at the horizon. Q-learning always does: it bootstraps there, as if the
            episode were only cut.
        active: States that a sparse design or a teacher's adds.
        bound: Largest entry of a design, at least the original's largest.
        period: Steps between a teacher's designs; 0 for one at the start.
        rate: Learning rate η of ExploRS.
        fade: Weight λ of ExploRS' bonus.
        most: Largest bonus B of ExploRS.
        learner: gradient, or q for tabular Q-learning, whose learning rate is the loop's.
        epsilon: Chance ε of any action at all, of Q-learning.
        primary: Index of the reward that is the original.

    Raises:
        InputError: A name is unknown, a chance or bound is impossible, or nothing is discounted.
    """
    if design not in DESIGNS or potential not in POTENTIALS:
        raise InputError(
            f"--design is '{design}' and --potential '{potential}'; one of {', '.join(DESIGNS)}, "
            f"and one of {', '.join(POTENTIALS)}"
        )
    if learner not in LEARNERS or not 0 <= epsilon <= 1:
        raise InputError(
            f"--learner is '{learner}' and --epsilon {epsilon}; give one of {', '.join(LEARNERS)}, "
            "and a chance from 0 to 1"
        )
    policy = acting(task.reference).copy()
    process, score = policy.process, proxy_score(task, primary)
    if not process.gamma < 1:
        raise InputError(
            "--world.gamma is 1, and these designs plan for an endless problem; give a discount "
            "below 1"
        )
    none = torch.zeros(process.P.shape[:2], dtype=torch.float64)
    carry: Any = task.carry.keep(
        original=none,
        table=none,
        phi=none,
        count=none[:, 0],
        value=none[:, 0],
    )
    if carry.next == 0:  # once a run, also where it is resumed
        carry.original = (
            task.rewards.only([primary]).steps(process.every())[0].reshape(none.shape).double()
        )
    original = carry.original
    problem = Problem(original, process.P, process.terminal, process.gamma)
    if design in ("explicable", "random", "teacher") and float(original.abs().max()) > bound:
        raise InputError(
            f"--bound is {bound:g}, and the original reward is up to "
            f"{float(original.abs().max()):g}; give a bound that holds it"
        )
    if carry.next == 0:
        sparse = design in ("explicable", "random")
        carry.table = (
            _sparse(task, problem, active, bound, design == "random") if sparse else original
        )
    ends = not cut and learner == "gradient"  # Q-learning goes on from the horizon's state
    shaped = design == "potential"
    pays = _potential(task, process, original, potential, not ends) if shaped else None
    power = process.gamma ** torch.arange(process.horizon, dtype=torch.float64)

    def designed(x: Samples) -> Tensor:
        t, at = carry.next - 1, states(x)  # t: the step that is being made
        if design == "teacher" and (t == 0 or (period and t % period == 0)):
            pi, visits = policy.probs().detach(), policy.occupancy().detach().sum(-1)
            carry.table, _ = taught(problem, pi, visits, states=active, bound=bound)
        reward = carry.table[at[..., :-1], x.action]
        if pays is not None:
            reward = reward + pays(at)
        if design == "explore":
            bonus = (
                count_bonus(carry.count, scale=fade, most=most)
                if fade > 0
                else torch.zeros_like(carry.count)
            )
            reward = (
                reward
                + carry.phi[at[..., :-1], x.action]
                + torch.where(process.terminal, 0.0, bonus)[at[..., 1:]]
            )
            _explored(carry, policy, x, original, rate)
        return reward

    if learner == "q":
        yield from q_learning(
            task, loop, score=score, reward=designed, policy=policy, epsilon=epsilon
        )
        return

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        G = returns_to_go(torch.where(x.mask, reward, 0.0), x.mask, gamma=process.gamma)
        return (step_centred(G, x.mask) * power).to(x.logp.dtype)

    yield from online(task, loop, score=score, reward=designed, advantage=advantage, policy=policy)


def _potential(
    task: Task, process: Process, original: Tensor, kind: str, cut: bool
) -> Callable[[Tensor], Tensor]:
    best = optimal_values(process.P, original, gamma=process.gamma).amax(-1)
    noise = best.abs().max() * task.rng("potential").uniform(
        torch.arange(len(best)), dtype=torch.float64
    )
    level = {"optimal": best, "adversarial": -best, "random": noise}[kind]

    def pays(at: Tensor) -> Tensor:
        F = shaping(level, process.terminal, at[..., :-1], at[..., 1:], gamma=process.gamma)
        if not cut:  # the horizon ends the task, so no potential is left
            F[..., -1] = -torch.where(process.terminal, 0.0, level)[at[..., -2]]
        return F

    return pays


def _sparse(
    task: Task, problem: Problem, active: int, bound: float, by_chance: bool
) -> Float[Tensor, "S A"]:
    chosen = None
    if by_chance:
        free = [
            s
            for s in range(len(problem.original))
            if s not in problem.paid and not problem.terminal[s]
        ]
        order = task.rng("zone").permutation(len(free))[:active]
        chosen = tuple(free[int(i)] for i in order)
    ties = task.rng("ties")
    return explicable(problem, states=active, bound=bound, rng=ties, chosen=chosen)[0]


def _explored(carry: Any, policy: MarkovPolicy, x: Samples, original: Tensor, rate: float) -> None:
    """Raise the counts and move φ and V by these episodes."""
    at, held = states(x), x.mask
    G = returns_to_go(
        torch.where(held, original[at[..., :-1], x.action], 0.0), held, gamma=policy.process.gamma
    )[held]
    s, a, pi = at[..., :-1][held], x.action[held], policy.probs().detach()
    once, none = torch.ones_like(G), torch.zeros_like(carry.count)
    pull = (pi[s, a] * (G - carry.value[s]))[:, None] * (
        torch.nn.functional.one_hot(a, pi.shape[1]) - pi[s]
    )
    carry.phi = carry.phi + rate * torch.zeros_like(carry.phi).index_add(0, s, pull) / max(
        1, int(x.present.sum())
    )
    seen = none.index_add(0, s, once)
    mean = none.index_add(0, s, G) / seen.clamp(min=1)
    carry.value = torch.where(seen > 0, carry.value + 0.1 * (mean - carry.value), carry.value)
    carry.count = carry.count + none.index_add(0, at[..., 1:][held], once)
