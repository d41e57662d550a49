"""MDPO: its fixed points on a table, in float64, and what the recipe's constants do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from small import BANDIT, _built
from test_contract import SMALL, drive

from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.mirror_descent import mirror_step, off_policy_proximal, proximal
from assay.recipes import mdpo

F = torch.float64
OLD = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=F).log()
Q = torch.tensor([0.2, 0.0, 1.0, 0.7], dtype=F)


def expected(theta: torch.Tensor, t: float) -> torch.Tensor:
    """E over π_k of the on-policy loss, all four actions enumerated."""
    p = theta.log_softmax(-1)
    kl = kl_full(p, OLD).expand(1, 4, 1)
    A = (Q - OLD.exp() @ Q)[None, :, None]
    each = proximal(p[None, :, None], OLD[None, :, None], A, kl, step_size=t)
    return (OLD.exp() * each[0, :, 0]).sum()


@pytest.mark.parametrize("t", [0.3, 1.0, 3.0])
def test_many_updates_end_at_the_step_of_mirror_descent(t: float) -> None:
    theta = OLD.clone().requires_grad_()
    for _ in range(1500):
        (g,) = torch.autograd.grad(expected(theta, t), theta)
        theta = (theta - t * g).detach().requires_grad_()
    torch.testing.assert_close(
        theta.softmax(-1), mirror_step(OLD, Q, step_size=t).exp(), atol=1e-4, rtol=0
    )


def test_the_first_update_is_the_policy_gradient_s_whatever_the_step() -> None:
    theta = OLD.clone().requires_grad_()
    (plain,) = torch.autograd.grad(-(theta.softmax(-1) @ Q), theta)
    for t in (0.01, 1.0, 1e9):
        (g,) = torch.autograd.grad(expected(theta, t), theta)
        torch.testing.assert_close(g, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("c", "lam"), [(1.0, 0.2), (0.5, 0.5), (0.7, 0.0)])
def test_the_off_policy_form_has_its_closed_minimiser(c: float, lam: float) -> None:
    best = (OLD * (c - lam) / c + Q / c).log_softmax(-1).requires_grad_()
    value = off_policy_proximal(best.log_softmax(-1), OLD, Q, c=c, lam=lam)
    (g,) = torch.autograd.grad(value, best)
    assert g.abs().max() < 1e-12, "the gradient vanishes there"
    for seed in range(5):
        other = best.detach() + torch.randn(4, generator=torch.Generator().manual_seed(seed))
        assert off_policy_proximal(other.log_softmax(-1), OLD, Q, c=c, lam=lam) > value
    if c == lam:  # soft actor-critic: the policy before is not read
        assert value == off_policy_proximal(best, OLD.flip(0), Q, c=c, lam=lam)


def test_a_small_step_holds_the_policy_back_and_it_falls_to_nothing() -> None:
    world, loop = _built("table", json.dumps(BANDIT)), replace(SMALL, epochs=5)

    def kl(**given: float) -> list[float]:
        return [r["kl"] for r in drive(mdpo, world, given, loop=loop) if r["tag"] != "best"]

    held, free = kl(step_size=0.03)[-1], kl(step_size=1e9)[-1]
    assert 0 < held < free / 4
    stats = [(r["stats"] or {}).get("mdpo/step_size") for r in drive(mdpo, world, loop=loop)]
    assert [s for s in stats if s is not None][:4] == [1.0, 0.75, 0.5, 0.25]


def test_directions_differ_and_what_means_nothing_is_refused() -> None:
    world, loop = _built("table", json.dumps(BANDIT)), replace(SMALL, epochs=3)
    both = [drive(mdpo, world, {"direction": d}, loop=loop)[-2]["kl"] for d in mdpo.DIRECTIONS]
    assert both[0] != both[1]
    for given in ({"direction": "up"}, {"step_size": 0.0}):
        with pytest.raises(InputError, match="--direction is 'up'|--step-size is 0.0"):
            drive(mdpo, world, given, loop=loop)
    with pytest.raises(ValueError, match="c is 0.1 and lam is 0.2"):
        off_policy_proximal(OLD, OLD, Q, c=0.1, lam=0.2)
