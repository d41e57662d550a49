"""Imitation of an expert: its weight over time, and which objective each weight of tokens has."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from assay.formulas.expert import expert_weight, warmup_cosine, weighted_imitation

MU = {"warmup": 10, "decay": 40, "peak": 0.9, "valley": 0.05}


def test_the_weight_rises_linearly_and_falls_by_a_cosine() -> None:
    mu = [warmup_cosine(step=t, **MU) for t in range(80)]  # type: ignore[arg-type]
    assert mu[0] == 0 and mu[5] == pytest.approx(0.45) and mu[10] == pytest.approx(0.9)
    assert mu[30] == pytest.approx((0.9 + 0.05) / 2)  # half of the cosine
    # a quarter: (1 + cos 45°)/2 of the way, which a straight line would not give
    assert mu[20] == pytest.approx(0.05 + 0.85 * (1 + math.sqrt(0.5)) / 2)
    assert mu[50:] == [0.05] * 30 and all(a >= b for a, b in pairwise(mu[10:]))
    assert warmup_cosine(step=0, warmup=0, decay=0, peak=0.5, valley=0.1) == 0.1
    with pytest.raises(ValueError, match="0 ≤ valley ≤ peak ≤ 1"):
        warmup_cosine(step=0, warmup=0, decay=0, peak=0.1, valley=0.5)


@pytest.mark.parametrize(
    ("kind", "potential"),
    [("one", torch.log), ("p", lambda p: p), ("p(1-p)", lambda p: p - p**2 / 2)],
)
def test_each_weight_follows_the_gradient_of_its_own_objective(kind, potential) -> None:
    """φ·∇log p is ∇F(p): F = log p, p, and p − p²/2."""
    logits = torch.linspace(-4, 4, 15, dtype=torch.float64).reshape(3, 5).requires_grad_()
    logp = logits.log_softmax(-1)
    (mine,) = torch.autograd.grad(
        weighted_imitation(logp, expert_weight(logp, kind=kind))[:, 1].sum(),
        logits,
        retain_graph=True,
    )
    (theirs,) = torch.autograd.grad(-potential(logp.exp()[:, 1]).sum(), logits)
    assert torch.allclose(mine, theirs, atol=1e-12)


def test_the_weight_of_a_token_is_largest_where_the_policy_is_unsure() -> None:
    p = torch.tensor([1e-6, 0.2, 0.5, 0.8, 1 - 1e-6], dtype=torch.float64)
    phi = expert_weight(p.log())
    assert torch.allclose(phi, p * (1 - p), rtol=1e-9)
    assert phi.max() == phi[2] == 0.25 and torch.allclose(phi, phi.flip(0))
    with pytest.raises(ValueError, match="one of one, p, p"):
        expert_weight(p.log(), kind="1-p")
