"""The sampled forms of Nash mirror prox: expected gradients are exact, limits, who plays whom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Loop, Task
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.formulas.divergence import kl_full
from assay.formulas.games import geometric_mixture, proximal_step, regularised_nash
from assay.formulas.mirror_descent import proximal_reward
from assay.models.policies.table import TablePolicy
from assay.recipes import nash_mp
from assay.records.runs import Run
from assay.rewards.general_preference import SkewPreference
from assay.worlds.table import world

RPS = torch.tensor([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]], dtype=torch.float64)
MU = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
RIVAL = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)
ANCHOR = torch.tensor([0.3, 0.1, 0.6], dtype=torch.float64)


def task() -> Task:
    reference = TablePolicy(MU.log()[None], length=1).requires_grad_(False)
    return Task(
        prompts=reference.prompts(torch.arange(4)),
        reference=reference,
        preference=SkewPreference(RPS - 0.5, link="linear"),
    )


def probs(policy: Any) -> Tensor:
    found: Tensor = policy.logits[0].detach().double().softmax(-1)
    return found


def objective(logp: Tensor, q: Tensor, anchor: Tensor, *, eta: float, tau: float) -> Tensor:
    """What a proximal step maximises: ⟨π, q⟩ − τ·KL(π‖μ) − KL(π‖anchor)/η."""
    pi = logp.exp()
    value = pi @ q - tau * (pi * (logp - MU.log())).sum()
    return value - (pi * (logp - anchor.log())).sum() / eta if eta else value


# ---- the reward of a draw


@pytest.mark.parametrize(("eta", "tau"), [(2.0, 0.1), (0.5, 0.0), (0.0, 0.3)])
def test_the_policy_gradient_of_the_reward_is_the_gradient_of_the_proximal_step(
    eta: float, tau: float
) -> None:
    z = torch.tensor([0.2, -0.4, 0.9]).double().requires_grad_(True)
    logp, q = z.log_softmax(-1), RPS @ RIVAL
    with torch.no_grad():
        r = proximal_reward(q, logp - MU.log(), logp - ANCHOR.log(), eta=eta, tau=tau)
    (sampled,) = torch.autograd.grad((logp.exp().detach() * r * logp).sum(), z, retain_graph=True)
    (exact,) = torch.autograd.grad(objective(logp, q, ANCHOR, eta=eta, tau=tau), z)
    torch.testing.assert_close(sampled, exact)
    assert float(exact.abs().max()) > 0.01


@pytest.mark.parametrize(("eta", "tau"), [(2.0, 0.1), (0.5, 0.0), (10.0, 0.01)])
def test_after_the_exact_step_every_draw_has_the_same_reward(eta: float, tau: float) -> None:
    q = RPS @ RIVAL
    step = proximal_step(ANCHOR.log(), q, MU.log(), eta=eta, tau=tau)
    r = proximal_reward(q, step - MU.log(), step - ANCHOR.log(), eta=eta, tau=tau)
    torch.testing.assert_close(r, r[:1].expand(3))


def test_around_an_anchor_that_stands_self_play_rests_at_the_implicit_step() -> None:
    """π = prox(anchor, P(· ≻ π)); the look-ahead's rounds go there, each nearer than the last."""
    eta, tau = 2.0, 0.1
    mixed = geometric_mixture(ANCHOR, MU, weight=eta * tau / (1 + eta * tau))
    rest = regularised_nash(RPS, mixed, tau=tau + 1 / eta).log()
    r = proximal_reward(RPS @ rest.exp(), rest - MU.log(), rest - ANCHOR.log(), eta=eta, tau=tau)
    torch.testing.assert_close(r, r[:1].expand(3), atol=1e-9, rtol=0)
    at, away = ANCHOR.log(), []
    for _ in range(4):
        at = proximal_step(ANCHOR.log(), RPS @ at.exp(), MU.log(), eta=eta, tau=tau)
        away.append(float(kl_full(rest, at)))
    assert away == sorted(away, reverse=True) and away[1] < away[0] / 5


def test_a_reward_without_its_anchor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"eta is 2\.0"):
        proximal_reward(MU, MU, eta=2.0, tau=0.1)
    with pytest.raises(ValueError, match=r"tau -0\.1"):
        proximal_reward(MU, MU, MU, eta=2.0, tau=-0.1)


# ---- what the recipe's updates climb


def rivals(form: str, inner: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who played whom at each update, every expected gradient held against the exact one.

    What opponents win is made exact for the policy that drew them, which is told by their
    log-probabilities; the learner's completions are enumerated by its own.
    """
    eta, tau, game = 2.0, 0.1, task()
    here, found = sys.modules["assay.recipes.nash_mp"], []
    seen: dict[str, Tensor] = {}
    real = here.update

    def exactly(_: Task, x: Any, others: Any) -> Tensor:
        logp = torch.full((3,), float("nan")).double()
        logp[others.action.flatten()] = others.logp.flatten()
        assert not bool(logp.isnan().any()), "an arm was not drawn: draw more opponents"
        seen["rival"] = logp.exp()
        return ((RPS - 0.5) @ logp.exp())[x.action[..., 0]]

    def spied(opt: Any, loss: Any, x: Any, loop: Loop, rng: Any, **how: Any) -> Any:
        inside = run.gi_frame.f_locals
        known = {n: inside[n] for n in ("policy", "anchor", "ahead")}
        mover, learner = next((n, p) for n, p in known.items() if p.logits is opt.parameters[0])
        z = learner.logits[0].detach().clone().requires_grad_(True)
        logp, anchor = z.log_softmax(-1), probs(known["anchor"])
        each = loss(x, slice(None))[..., 0]  # −A·log π of each completion
        A = torch.full((3,), float("nan")).double()
        A[x.action[..., 0].flatten()] = (-each / learner.logp(x)[..., 0]).detach().flatten()
        assert not bool(A.isnan().any()), "an arm was not drawn: draw more completions"
        (mine,) = torch.autograd.grad((logp.exp().detach() * A * logp).sum(), z, retain_graph=True)
        q = RPS @ seen["rival"]
        (exact,) = torch.autograd.grad(objective(logp, q, anchor, eta=eta, tau=tau), z)
        torch.testing.assert_close(mine, exact, rtol=1e-6, atol=1e-9)
        same = [n for n, p in known.items() if torch.allclose(probs(p), seen["rival"])]
        if form == "moving":  # two names of one policy there
            assert known["ahead"] is known["policy"]
            same.remove("ahead")
        found.append(f"{mover} against {'/'.join(same)}")
        return real(opt, loss, x, loop, rng, **how)

    monkeypatch.setattr(here, "win_rates", exactly)
    monkeypatch.setattr(here, "update", spied)
    loop = Loop(max_steps=steps, batch_size=4, num_generations=64, learning_rate=0.05)
    run: Any = nash_mp.recipe(game, eta=eta, tau=tau, form=form, inner=inner, loop=loop)
    assert len(list(run)) == steps
    return found


def test_the_moving_form_plays_itself_and_its_expected_gradient_is_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *rest = rivals("moving", 1, 4, monkeypatch)
    assert first == "policy against policy/anchor"  # they begin as one
    assert rest == ["policy against policy"] * 3


def test_the_steps_form_looks_ahead_and_its_expected_gradient_is_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = rivals("steps", 2, 8, monkeypatch)
    assert found[5:] == ["ahead against policy/anchor", *["policy against ahead"] * 2]
    assert found[2:4] == ["policy against ahead"] * 2


# ---- limits


def last(**constants: Any) -> Tensor:
    loop = Loop(max_steps=5, batch_size=4, num_generations=8, learning_rate=0.1)
    *_, step = nash_mp.recipe(task(), loop=loop, **constants)
    return probs(step.policy)


def test_an_average_that_stands_adds_its_pull_to_the_reference_s() -> None:
    """With target_rate 0 the anchor stays μ, and 1/η is more τ; at 1 it exerts none."""
    still = last(tau=0.1, eta=2.0, target_rate=0.0)
    torch.testing.assert_close(still, last(tau=0.6, eta=0.0))
    torch.testing.assert_close(last(target_rate=1.0, eta=2.0), last(eta=0.0))
    assert float((still - last(tau=0.1, eta=2.0, target_rate=0.3)).abs().max()) > 1e-3


def test_around_a_moving_average_self_play_comes_nearer_than_without() -> None:
    """Rock-paper-scissors with τ = .03, where plain regularised self-play still turns."""
    w = world(testbed="game", tau=0.03, seed=3)
    loop = Loop(max_steps=90, batch_size=8, num_generations=8, learning_rate=0.1)

    def mean_kl(rate: float) -> float:
        assert w.facts is not None
        run = nash_mp.recipe(
            w.task.replaced(carry=None), tau=0.03, eta=1.0, target_rate=rate, loop=loop
        )
        kl = [w.facts(s.policy)["nash_kl"] for s in run if s.policy]
        return sum(kl[60:]) / 30

    near, without = mean_kl(0.1), mean_kl(1.0)
    assert near < without / 5, (near, without)


def test_the_steps_form_killed_and_resumed_is_the_uninterrupted_run(tmp_path: Path) -> None:
    w = world(testbed="game", prompts=8)
    loop = Loop(max_steps=7, batch_size=4, num_generations=4, learning_rate=0.1)

    def run(**how: Any) -> Any:
        config = MeasureConfig(eval_steps=1, save_steps=2, eval_generations=8)
        own = {"form": "steps", "inner": 2}
        return measure(nash_mp.recipe, w, arguments=own, loop=loop, config=config, **how)

    def readings(at: Path) -> list[dict[str, Any]]:
        return [{**r, "seconds": 0} for r in Run.open(at).readings()]

    list(run(run=Run.create(tmp_path / "whole", {})))
    cut = run(run=Run.create(tmp_path / "cut", {}))
    while next(cut)["step"] < 3:  # in the middle of an iteration, after a save at its half
        pass
    cut.close()
    rest = list(run(run=Run.open(tmp_path / "cut"), resume=True))
    assert 0 < len(rest) < 8
    assert readings(tmp_path / "cut") == readings(tmp_path / "whole")


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(InputError, match="--form is 'soft'; it is one of moving, steps"):
        list(nash_mp.recipe(task(), form="soft", loop=Loop(max_steps=1)))
    with pytest.raises(InputError, match="--target-rate is 1.5"):
        list(nash_mp.recipe(task(), target_rate=1.5, loop=Loop(max_steps=1)))
