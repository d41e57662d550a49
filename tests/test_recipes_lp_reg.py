"""Lp-Reg: what is plausible, who is picked, where the pull leads, and what a run holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world
from test_loops_own_logp import task as half

from assay.core import Loop
from assay.errors import InputError
from assay.formulas.low_probability import least, plausible, shielded, unlikely
from assay.recipes import lp_reg

F = torch.float64


def test_the_proxy_raises_what_it_keeps_by_one_over_the_mass_that_is_kept() -> None:
    p = torch.tensor([0.6, 0.3, 0.09, 0.01], dtype=F)
    found = plausible(p.log(), threshold=0.1).exp()
    torch.testing.assert_close(found, torch.tensor([0.6, 0.3, 0.09, 0.0], dtype=F) / 0.99)
    torch.testing.assert_close(plausible(p.log(), threshold=0.0).exp(), p)
    assert plausible(p.log(), threshold=1.0).exp().tolist() == [1.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="threshold is 2"):
        plausible(p.log(), threshold=2.0)


def test_the_least_likely_are_picked_and_fewer_than_two_are_none() -> None:
    logp = torch.tensor([[[-1.0, -5.0, -3.0, -2.0, -9.0]]])
    among = torch.tensor([[[True, True, True, True, False]]])
    assert unlikely(logp, among, share=0.5)[0, 0].tolist() == [False, True, True, False, False]
    assert not unlikely(logp, among, share=0.49).any()
    assert torch.equal(unlikely(logp, among, share=1.0), among)
    with pytest.raises(ValueError, match="share is 2"):
        unlikely(logp, among, share=2.0)


def test_a_share_of_all_tokens_picks_those_among_it_that_can_be() -> None:
    """The paper's percentile is the batch's, the released code's that of the bad tokens."""
    logp = torch.tensor([[[-9.0, -8.0, -7.0, -1.0, -2.0, -3.0]]])
    whole = torch.ones(1, 1, 6, dtype=torch.bool)
    bad = torch.tensor([[[True, False, False, True, True, True]]])
    assert unlikely(logp, bad, share=0.5, of=whole)[0, 0].tolist() == [True] + [False] * 5
    assert unlikely(logp, bad, share=0.5)[0, 0].tolist() == [True] + [False] * 4 + [True]
    assert torch.equal(unlikely(logp, bad, share=1.0, of=whole), bad)
    assert torch.equal(least(logp, bad, count=9), bad) and not least(logp, bad, count=0).any()


def test_the_gradient_of_k3_is_that_of_the_kl_over_the_tokens_that_are_drawn() -> None:
    p = torch.tensor([0.6, 0.3, 0.09, 0.01], dtype=F)
    proxy = plausible(p.log(), threshold=0.1)
    z = p.log().requires_grad_()
    logp, zero = z.log_softmax(-1), torch.zeros(1, 1, 3, dtype=F)
    each = shielded(
        logp[None, None, :3], logp[:3].detach()[None, None], zero, proxy[None, None, :3]
    )
    # what has no proxy has the derivative 1: π_proxy is 0
    drawn = (p[:3] * each[0, 0]).sum() + p[3] * logp[3]
    (found,) = torch.autograd.grad(drawn, z, retain_graph=True)
    (kl,) = torch.autograd.grad(-(proxy.exp() * logp).sum(), z)
    torch.testing.assert_close(found, kl)


def test_the_control_holds_as_many_tokens_as_the_method() -> None:
    """It picked among what has no proxy too, and what it picked is cut off less often."""
    loop = replace(SMALL, max_steps=1, batch_size=6, num_generations=8)

    def held(**given: Any) -> float:
        runs = drive(lp_reg, small_world(lp_reg), {"share": 0.5, **given}, loop=loop)
        found: float = next(r["stats"]["lp/held"] for r in runs if "lp/held" in r["stats"])
        return found

    some = held(threshold=0.3)
    assert 0 < some == held(threshold=0.3, shuffled=True)
    assert held(share_of="all", share=0.3) != held(share=0.3)
    with pytest.raises(InputError, match="--share-of is 'good'"):
        held(share_of="good")


def test_the_pull_rests_at_the_proxy_and_without_it_is_the_plain_loss() -> None:
    proxy = torch.full((1, 1, 1), 0.2, dtype=F).log()
    zero = torch.zeros(1, 1, 1, dtype=F)
    for p in (0.05, 0.2, 0.4):
        logp = torch.full((1, 1, 1), p, dtype=F).log().requires_grad_()
        (g,) = torch.autograd.grad(shielded(logp, logp.detach(), zero, proxy).sum(), logp)
        assert float(g) == pytest.approx(1 - 0.2 / p), "towards the proxy, from both sides"
        (g,) = torch.autograd.grad(
            shielded(logp, logp.detach(), zero - 1.5, proxy, beta=0.0).sum(), logp
        )
        assert float(g) == pytest.approx(1.5), "−A·ρ at ρ = 1"
    with pytest.raises(ValueError, match="beta is -1"):
        shielded(proxy, proxy, zero, proxy, beta=-1.0)


def test_in_half_precision_a_proxy_that_cuts_nothing_pulls_at_nothing() -> None:
    """Decoding and scoring round apart there; with κ = 0 the proxy is the policy itself."""
    loop = Loop(max_steps=1, batch_size=2, num_generations=3)

    def stats(**given: Any) -> dict[str, Any]:
        return dict(next(lp_reg.recipe(half(torch.bfloat16), beta=100.0, loop=loop, **given)).stats)

    plain, held = stats(share=0.0), stats(share=1.0, threshold=0.0)
    assert held["lp/held"] > 0 == held["lp/cut"]
    assert held["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-6)


LOOP = replace(SMALL, epochs=2, mini_batch_size=3, learning_rate=0.01)


def last(**given: Any) -> dict[str, Any]:
    return drive(lp_reg, small_world(lp_reg), given, loop=LOOP)[-2]


@pytest.mark.full
def test_what_is_held_changes_the_run_and_is_counted() -> None:
    none, some = last(share=0.0), last(share=0.5)
    other, weak = last(share=0.5, shuffled=True), last(share=0.5, beta=0.0)
    assert none["stats"]["lp/held"] == 0 < some["stats"]["lp/held"] < 0.5
    assert 0 < some["stats"]["lp/cut"] < 0.2
    every = last(share=1.0, threshold=0.0)["stats"]
    assert every["lp/cut"] == 0 < every["lp/held"] < 0.9, "of bad completions alone"
    norms = {r["stats"]["grad_norm"] for r in (none, some, other)}
    assert len(norms) == 3
    assert weak["stats"]["grad_norm"] == pytest.approx(none["stats"]["grad_norm"])
    for given, said in (({"share": 2.0}, "--share is 2.0"), ({"beta": -1.0}, "--beta -1.0")):
        with pytest.raises(InputError, match=said):
            last(**given)
