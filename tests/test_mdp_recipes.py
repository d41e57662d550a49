"""The papers on decision processes: their gradients against exact ones, their formulas against
enumeration.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Carry, InputError, Loop, Rng, World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.formulas.occupancy import discounts, state_laws
from assay.models.policies.markov import acting
from assay.recipes import barfi, bradley_terry, gated_rewards, leave_one_out
from assay.registry.catalogue import loop_of
from assay.worlds.table import world

SMALL = Loop(max_steps=2, batch_size=6, num_generations=4, learning_rate=0.05)


def double(**arguments: Any) -> World:
    w = world(pairs=40, **arguments)
    w.task.reference.double()  # type: ignore[attr-defined]
    return w


def table_of(w: World) -> Tensor:
    reference = acting(w.task.reference)
    return (
        w.task.rewards.steps(reference.process.every())
        .double()
        .reshape(-1, *reference.logits.shape)
    )


def test_the_unregularised_run_is_fooled_by_the_sprinkler() -> None:
    """The proxy rises throughout, gold rises first and ends below the base policy: exact values,
    both of mean 0 there.
    """
    w = world(testbed="tomato", seed=1, members=2, pairs=20)
    loop = loop_of(leave_one_out.recipe, w.loop, {"max_steps": 100})
    readings = list(
        measure(
            leave_one_out.recipe,
            w,
            loop=loop,
            config=MeasureConfig(eval_steps=20, eval_generations=1),
        )
    )
    gold = [r["stats"]["exact/gold"] for r in readings if r["tag"] != "best"]
    proxy = [r["stats"]["exact/sensor0"] for r in readings if r["tag"] != "best"]
    assert all(b > a - 0.02 for a, b in pairwise(proxy)) and proxy[-1] > 3
    assert max(gold) > 0.8 and gold[-1] < -1


@pytest.mark.parametrize("bed", ["tomato", "chain"])
@pytest.mark.parametrize(
    "name",
    [
        "leave_one_out",
        "grpo",
        "ppo",
        "kl_in_reward",
        "kl_in_loss",
        "mean_ensemble",
        "worst_case",
        "uncertainty_weighted",
        "best_of_n",
        "dpo",
        "sft",
    ],
)
def test_recipes_for_words_run_on_episodes(name: str, bed: str) -> None:
    function = importlib.import_module(f"assay.recipes.{name}").recipe
    w = world(testbed=bed, pairs=20, demos=20, members=2)
    arguments = {"most": 4} if name == "best_of_n" else {}
    readings = list(
        measure(
            function,
            w,
            loop=replace(SMALL, batch_size=4),
            arguments=arguments,
            config=MeasureConfig(eval_generations=2),
        )
    )
    assert (
        len(readings) >= 2
        and readings[1]["kl"] >= 0
        and all(r["gold"] is not None for r in readings)
    )


def test_judges_can_be_fitted_on_compared_episodes() -> None:
    w = world(testbed="tomato", pairs=300, noise=0.0, members=2)
    assert w.refit is not None and w.gold is not None
    judges = w.refit(
        lambda model, pairs, loop: bradley_terry.fit(model, pairs, loop=replace(loop, max_steps=40))
    )
    x = acting(w.task.reference).sample(w.held_out, 16, Rng(9))
    told = torch.corrcoef(torch.stack([judges(x)[0].flatten(), w.gold(x)[0].flatten()]))[0, 1]
    assert float(told) > 0.5


# ---- correlated proxies


def test_the_implicit_gradient_is_that_of_the_policy_which_the_reward_trains() -> None:
    """Against finite differences of J(θ*(φ)), with θ* solved to the last digit for each φ; all
    solvers agree.
    """
    w = double(testbed="chain", horizon=12)
    reference = acting(w.task.reference)
    p, base, R = reference.process, reference.logits.detach(), table_of(w)
    mix = barfi.Blend(5 * R[0] + R[2], R[1], p, keep=1.0)

    def delta(theta: Tensor, phi: Tensor) -> Tensor:
        return barfi.policy_gradient(
            theta.softmax(-1),
            p.P,
            mix.reward(phi),
            p.start,
            horizon=p.horizon,
            gamma=mix.parts(phi)[3],
        ) - 0.3 * (theta - base)

    def solved(phi: Tensor) -> Tensor:
        theta = base.clone()
        while float(delta(theta, phi).abs().max()) > 1e-12:
            H = torch.func.jacfwd(lambda t: delta(t, phi))(theta).reshape(theta.numel(), -1)
            theta = theta - torch.linalg.solve(H, delta(theta, phi).flatten()).reshape(theta.shape)
        return theta

    def earned(theta: Tensor) -> Tensor:
        laws = state_laws(theta.softmax(-1), p.P, p.start, horizon=p.horizon)[:-1]
        return torch.einsum(
            "t,ts,sa,sa->",
            discounts(theta, gamma=p.gamma, horizon=p.horizon),
            laws,
            theta.softmax(-1),
            R[0],
        )

    phi = mix.phi.detach()
    theta = solved(phi)
    slope = torch.func.grad(earned)(theta)
    exact = barfi.implicit_gradient(delta, slope, theta, phi, solver="exact")
    for solver, iterations, close in (("cg", 80, 1e-6), ("neumann", 400, 1e-4)):
        other = barfi.implicit_gradient(
            delta, slope, theta, phi, solver=solver, iterations=iterations
        )
        assert float((other - exact).norm() / exact.norm()) < close, solver
    way = Rng(3).normal(torch.arange(len(phi)), dtype=torch.float64)
    step = 1e-5
    ahead, behind = (float(earned(solved(phi + s * step * way))) for s in (1, -1))
    assert float(exact @ way) == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)
    assert float(exact[-1]) != 0  # the discount is learnt as well


# ---- blends


def test_a_shuffled_blend_moves_as_far_and_elsewhere() -> None:
    w = double(testbed="chain", horizon=12)
    blends, seen = ("learned", "shuffled"), {}
    for blend in blends:
        carry: Any = Carry()
        steps = barfi.recipe(
            w.task.replaced(carry=carry),
            blend=blend,
            inner_warmup=1,
            period=2,
            loop=replace(SMALL, max_steps=3),
        )
        for _ in steps:
            pass
        seen[blend] = carry.state()["kept"]["mix"]["phi"].clone()
    start = barfi.Blend(table_of(w)[0], table_of(w)[1], acting(w.task.reference).process, keep=1.0)
    learned, shuffled = (seen[b] - start.phi.detach() for b in blends)
    assert float(learned.abs().max()) == pytest.approx(0.1)  # one outer step of length outer_lr
    torch.testing.assert_close(learned.sort().values, shuffled.sort().values)
    assert not torch.allclose(learned, shuffled)


def test_what_settles_is_no_longer_held_back_by_lambda() -> None:
    """At a large λ the primary stays where it is; without it the last steps are the first ones."""
    w = double(testbed="chain", horizon=12)
    ends = []
    for lam, settle in ((50.0, 0), (50.0, 2), (0.0, 0)):
        loop = replace(SMALL, max_steps=2)
        run = barfi.recipe(
            w.task.replaced(carry=Carry()), blend="primary", lam=lam, settle=settle, loop=loop
        )
        *_, last = run
        ends.append(acting(last.policy).logits.detach().clone())
    assert torch.equal(ends[1], ends[2]) and not torch.equal(ends[0], ends[2])


def test_a_blend_does_not_learn_while_it_settles() -> None:
    w = double(testbed="chain", horizon=12)
    carry: Any = Carry()
    loop = replace(SMALL, max_steps=4)
    for _ in barfi.recipe(
        w.task.replaced(carry=carry), inner_warmup=1, period=2, settle=3, loop=loop
    ):
        pass
    start = barfi.Blend(table_of(w)[0], table_of(w)[1], acting(w.task.reference).process, keep=1.0)
    assert torch.equal(carry.state()["kept"]["mix"]["phi"], start.phi.detach())


def test_a_ticket_s_outcome_has_levels_and_its_turns_can_be_farmed() -> None:
    w = world(testbed="ticket", pairs=20)
    process, names = acting(w.task.reference).process, w.task.rewards.names
    table = dict(zip(names, table_of(w), strict=True))
    submit, edit = process.actions.index("submit"), process.actions.index("edit")
    levels = {n.split(", ")[1]: float(table["outcome"][s, submit]) for s, n in _cells(process)}
    assert levels == {"none": 0.25, "wrong": 0.5, "right": 1.0}
    assert float(table["outcome"].sum()) == float(table["outcome"][:, submit].sum())
    # three rewards a turn for editing once a file is known: more than three outcomes in all
    known = process.states.index("1 files, none")
    turn = sum(float(table[n][known, edit]) for n in names[1:])
    assert turn * process.horizon == pytest.approx(3.0)
    assert not table["format"][:, process.actions.index("chat")].any()


def _cells(process: Any) -> list[tuple[int, str]]:
    return [(s, n) for s, n in enumerate(process.states) if n != "end"]


def test_gated_rewards_pay_turns_by_the_episode_s_outcome_or_by_another_s() -> None:
    w = world(testbed="ticket", pairs=20)
    x = w.task.reference.sample(w.task.prompts, 8, Rng(3))
    arguments = {"process": gated_rewards.CHANNELS, "weight": 2.0, "loop": SMALL}

    def paid(**more: Any) -> Tensor:
        task = w.task.replaced(carry=Carry())
        step = next(gated_rewards.recipe(task, **arguments, **more))
        assert step.reward is not None
        return step.reward(x)

    outcome, *turns = w.task.rewards(x)
    bonus = 2.0 * torch.stack(turns).sum(0)
    is_open = outcome >= 0.5
    assert 0 < int(is_open.sum()) < is_open.numel()
    torch.testing.assert_close(paid(), torch.where(is_open, outcome + bonus, outcome))
    torch.testing.assert_close(paid(accumulate=False), outcome + bonus)
    moved = torch.roll(is_open, 1, dims=1)
    torch.testing.assert_close(paid(permute=True), torch.where(moved, outcome + bonus, outcome))
    below = paid(step_gates=(2.0, 2.0))  # no sum of a channel reaches 2: the first alone counts
    torch.testing.assert_close(below, torch.where(is_open, outcome + 2 * turns[0], outcome))
    with pytest.raises(InputError, match="--step-gates"):
        paid(step_gates=(0.5,))
