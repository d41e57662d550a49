"""Rewards designed for the learner's sake: potentials, sparse, self-learned, and a teacher's.

One learner (policy gradient on returns to go, a table of logits) under five designs; gold is always
the original task.

- potential: r + γΦ(s') − Φ(s). Every optimal policy stays (`formulas.potential`), whatever Φ. Here
  the horizon ends the task, so Φ(s_T) = 0 and the shaped return is the original's minus Φ(s₀) for
  every policy. `cut` keeps Φ(s_T), as is right where an episode is only cut, and then it pays for
  where one stops.
- explicable (EXPRD): reward on the original's states and `active` more, chosen one by one so that
  deviations from the optimal policy cost their gap within few steps.
- random: the same programme on random states, which is its control.
- explore (ExploRS): r + φ(s,a) + λ/√(N(s') + (λ/B)²). With Ḡ the return of the *original* reward
  and V(s) its running mean, φ(s,·) += η·π(a|s)·(Ḡ − V(s))·(e_a − π(·|s)). rate=0 leaves the bonus
  alone, fade=0 the self-learned part alone.
- teacher: every `period` steps −`bound` on wrong actions in the `active` states where the learner's
  *present* policy gains most: Σ_s μ(s)Σ_a π(a|s)A*(s,a)(R(s,a) − Σ_b π(b|s)R(s,b)). period=0
  designs once.
- none: the original.

Where this differs from the papers. EXPRD's programme quantifies over every choice among tied
optimal actions. Here π* spreads over ties, and the result is mixed with the original until dynamic
programming finds its optimal policies among the original's. The teacher's programme is solved among
rewards that only punish actions that are not optimal: these keep every optimal policy by
construction. ExploRS' updates are means over a step's episodes.

Traps: N is raised after it has paid; V follows a moving policy; π(a|s) in φ's update makes rare
actions learn late; −Φ(s_t) in a return to go is a baseline of the state, so shaping also takes
variance away.

Here: the learner samples `loop.num_generations`·`loop.batch_size` episodes a step, so it meets the
goal soon under the original reward, and no design has much to add; a bonus that falls with √N is
soon spent. Published comparisons are of Q-learning with one episode at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import returns_to_go
from assay.formulas.occupancy import greedy, optimal_values, step_centred
from assay.formulas.potential import count_bonus, explicable, shaping, teaching_gain
from assay.loops import online, proxy_score
from assay.models.policies.markov import MarkovPolicy, acting
from assay.models.process import Process, states
from assay.stats.effects import Reading, curve

paper = Paper(
    "Reward Design for Reinforcement Learning Agents", "Devidze", 2025, "arXiv:2503.21949"
)
reduces = {}
DESIGNS = ("none", "potential", "explicable", "random", "explore", "teacher")
POTENTIALS = ("optimal", "random", "adversarial")


def recipe(
    task: Task,
    *,
    design: str = "explicable",
    potential: str = "optimal",
    cut: bool = False,
    active: int = 5,
    bound: float = 1.0,
    period: int = 10,
    rate: float = 0.1,
    fade: float = 1.0,
    most: float = 1.0,
    primary: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the designed reward and yield the policy after each step.

    Args:
        design: none, potential, explicable, random, explore or teacher.
        potential: optimal, random or adversarial: Φ of the design potential.
        cut: Pay Φ(s_T) at the horizon.
        active: States that a sparse design adds.
        bound: Largest entry of a sparse design.
        period: Steps between a teacher's designs; 0 for one at the start.
        rate: Learning rate η of ExploRS.
        fade: Weight λ of ExploRS' bonus.
        most: Largest bonus B of ExploRS.
        primary: Index of the reward that is the original.
    """
    if design not in DESIGNS or potential not in POTENTIALS:
        raise InputError(
            f"--design is '{design}' and --potential '{potential}'; one of {', '.join(DESIGNS)}, "
            f"and one of {', '.join(POTENTIALS)}"
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
        sparse = design in ("explicable", "random")
        carry.table = (
            _sparse(task, process, carry.original, active, bound, design == "random")
            if sparse
            else carry.original
        )
    original = carry.original
    pays = _potential(task, process, original, potential, cut) if design == "potential" else None
    power = process.gamma ** torch.arange(process.horizon, dtype=torch.float64)

    def designed(x: Samples) -> Tensor:
        t, at = carry.next - 1, states(x)  # t: the step that is being made
        if design == "teacher" and (t == 0 or (period and t % period == 0)):
            carry.table = _taught(policy, original, active, bound)
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
    task: Task, process: Process, original: Tensor, active: int, bound: float, by_chance: bool
) -> Tensor:
    paid = tuple(int(s) for s in (original != 0).any(-1).nonzero()[:, 0])
    free = [s for s in range(len(original)) if s not in paid and not process.terminal[s]]
    chosen = (
        tuple(free[int(i)] for i in task.rng("zone").permutation(len(free))[:active])
        if by_chance
        else None
    )
    return explicable(
        original,
        process.P,
        process.terminal,
        gamma=process.gamma,
        states=active,
        bound=bound,
        active=paid,
        chosen=chosen,
    )[0]


def _taught(policy: MarkovPolicy, original: Tensor, active: int, bound: float) -> Tensor:
    process = policy.process
    q = optimal_values(process.P, original, gamma=process.gamma)
    gain = teaching_gain(
        policy.probs().detach(), policy.occupancy().detach().sum(-1), q - q.amax(-1, keepdim=True)
    )
    worse = torch.where(greedy(q) | process.terminal[:, None], 0.0, gain).clamp(max=0)
    zone = worse.sum(-1).topk(active, largest=False).indices
    R = original.clone()
    R[zone] += bound * worse[zone].sign()
    return R


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


ARMS: dict[str, dict[str, Any]] = {
    "original": {"design": "none"},
    "potential": {"design": "potential"},
    "potential cut": {"design": "potential", "cut": True},
    "random potential": {"design": "potential", "potential": "random"},
    "explicable": {"design": "explicable"},
    "random states": {"design": "random"},
    "explore": {"design": "explore"},
    "bonus": {"design": "explore", "rate": 0.0},
    "teacher": {"design": "teacher"},
    "teacher once": {"design": "teacher", "period": 0},
}


@Claim(
    "A sparse explicable reward teaches faster than the original one, and than the same programme "
    "on random states.",
    arms={name: ("reward_design", arguments) for name, arguments in ARMS.items()},
    worlds=("table",),
    on={"table": {"testbed": "grid"}},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the run: the explicable design's minus the original's, and minus the random
    states'.
    """
    area = {
        name: sum(g for _, g in curve(readings)) / len(curve(readings))
        for name, readings in arms.items()
    }
    return {
        f"over {rival}": area["explicable"] - area[rival] for rival in ("original", "random states")
    }
