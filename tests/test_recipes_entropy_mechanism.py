"""Entropy moves by minus a covariance; which tokens are held, and what holding does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small import BANDIT, _built
from test_contract import SMALL, drive

from assay.errors import InputError
from assay.formulas.entropy_mechanism import clip_cov, covariances, entropy_drift, held, top_cov
from assay.recipes import entropy_mechanism
from assay.stats.entropy_law import fit_entropy_law

F = torch.float64
G = torch.Generator().manual_seed(0)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    p = logits.log_softmax(-1)
    return -(p.exp() * p).sum(-1)


@pytest.mark.parametrize("natural", [False, True])
def test_the_covariance_is_the_entropy_s_derivative(natural: bool) -> None:
    """Against autograd: the derivative of H along the step of the (natural) policy gradient."""
    z = torch.randn(6, 9, dtype=F, generator=G).requires_grad_()
    r = torch.randn(6, 9, dtype=F, generator=G)
    (gradient,) = torch.autograd.grad((z.softmax(-1) * r).sum(), z)
    p = z.detach().softmax(-1)
    step = r - (p * r).sum(-1, keepdim=True) if natural else gradient
    (slope,) = torch.autograd.grad(entropy(z).sum(), z)
    found = entropy_drift(z.detach().log_softmax(-1), r, natural=natural)
    torch.testing.assert_close(found, (slope * step).sum(-1))


def test_the_mean_of_the_tokens_parts_is_the_covariance() -> None:
    logp, a = -torch.rand(2, 3, 4, dtype=F, generator=G), torch.randn(2, 3, 1, dtype=F, generator=G)
    mask = torch.rand(2, 3, 4, generator=G) < 0.7
    cov = covariances(logp, a, mask)
    expected = np.cov(logp[mask].numpy(), a.expand(2, 3, 4)[mask].numpy(), ddof=0)[0, 1]
    assert float(cov[mask].mean()) == pytest.approx(expected)
    assert bool((cov[~mask] == -torch.inf).all())


def test_who_is_picked() -> None:
    cov = torch.tensor([[[0.5, 1.5, 2.0, 9.0, -torch.inf]]], dtype=F)
    u = torch.tensor([[[0.0, 0.9, 0.1, 0.0, 0.0]]], dtype=F)

    def places(picked: torch.Tensor) -> list[int]:
        return [int(i) for i in picked.flatten().nonzero()]

    assert places(clip_cov(cov, u)) == [2], "at least one, inside (1, 5), of the smallest u"
    assert places(clip_cov(cov, u, share=1.0)) == [1, 2]
    assert places(top_cov(cov)) == [3] and places(top_cov(cov, share=0.5)) == [2, 3]
    assert places(top_cov(cov, share=1.0)) == [0, 1, 2, 3], "never a masked one"
    assert not clip_cov(cov, u, share=0.0).any() and not clip_cov(cov, u, low=10.0).any()
    with pytest.raises(ValueError, match="share is 2"):
        top_cov(cov, share=2.0)


def test_the_penalty_has_no_gradient_before_the_first_move_and_then_pulls_back() -> None:
    old = torch.full((1, 1, 2), -1.0, dtype=F)
    zero, picked = torch.zeros(1, 1, 1, dtype=F), torch.tensor([[[True, False]]])
    for moved, pull in ((0.0, 0.0), (0.3, 1.0), (-0.3, -1.0)):
        logp = (old + moved).requires_grad_()
        (g,) = torch.autograd.grad(held(logp, old, zero, picked).sum(), logp)
        assert g[0, 0].tolist() == [pull, 0.0]


LOOP = replace(SMALL, epochs=2, mini_batch_size=3)


def last(**given: Any) -> dict[str, Any]:
    return drive(entropy_mechanism, _built("table", json.dumps(BANDIT)), given, loop=LOOP)[-2]


def test_what_is_held_changes_the_run_and_is_counted() -> None:
    none, some = last(share=0.0), last(share=0.2, cov_low=0.1)
    other = last(share=0.2, cov_low=0.1, shuffled=True)
    kl, without = last(method="kl", share=0.2), last(method="kl", share=0.2, beta=0.0)
    assert none["stats"]["cov/held"] == 0 < some["stats"]["cov/held"] <= 0.2
    assert len({r["gold"] for r in (none, some, other, kl)}) == 4
    assert without["gold"] == none["gold"], "no ratio leaves (0, 2), so that both are −A·ρ"
    for given, said in (({"method": "x"}, "--method is 'x'"), ({"share": 2.0}, "--share is 2.0")):
        with pytest.raises(InputError, match=said):
            last(**given)


def test_the_law_is_found_in_noise_and_its_intervals_cover() -> None:
    rng, hits = np.random.default_rng(0), np.zeros(3)
    H = np.linspace(1.2, 0.6, 12)
    for _ in range(400):
        law = fit_entropy_law(H, -0.3 * np.exp(H) + 1.1 + 0.02 * rng.standard_normal(12))
        _, low, high = law.predict(0.1)
        new = -0.3 * np.exp(0.1) + 1.1 + 0.02 * rng.standard_normal()
        inside = (law.a_interval[0] < 0.3 < law.a_interval[1], law.b_interval[0] < 1.1)
        hits += (inside[0], inside[1] and law.b_interval[1] > 1.1, low < new < high)
    assert (np.abs(hits / 400 - 0.95) < 0.035).all(), hits / 400
    exact = fit_entropy_law(H, -0.3 * np.exp(H) + 1.1)
    assert (exact.a, exact.b) == pytest.approx((0.3, 1.1))
    for bad in (([1.0, 2.0], [1.0, 2.0]), ([1.0] * 3, [1.0] * 3), ([1.0, 2.0, np.nan], [1.0] * 3)):
        with pytest.raises(ValueError, match="at least 3|one entropy|not finite"):
            fit_entropy_law(*bad)
