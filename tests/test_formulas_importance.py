"""Importance weights for an engine's completions: exact where nothing is clipped, bounded where it
is.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from assay.formulas.importance import (
    MODES,
    effective_share,
    importance_ratio,
    importance_weights,
)

B, N, T = 3, 4, 6


def batch(scale: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    p = -torch.rand(B, N, T, generator=rng, dtype=torch.float64) * 3
    q = p + scale * torch.randn(B, N, T, generator=rng, dtype=torch.float64)
    mask = torch.rand(B, N, T, generator=rng) < 0.8
    return p, q, mask


@pytest.mark.parametrize("mode", MODES)
def test_equal_log_probabilities_weigh_one(mode: str) -> None:
    p, _, mask = batch()
    assert torch.equal(importance_weights(p, p, mask, mode=mode), torch.ones_like(p))


def test_without_clipping_the_expectation_is_the_learner_s() -> None:
    """Over all completions of two tokens of three, weighed by q·w: E_q[w·f] = E_π[f], and the
    token's ratio, which knows nothing of the other tokens, misses it.
    """
    rng = torch.Generator().manual_seed(1)
    first, then = (
        torch.randn(2, 3, generator=rng, dtype=torch.float64),
        torch.randn(2, 3, 3, generator=rng, dtype=torch.float64),
    )
    whole = list(itertools.product(range(3), range(3)))
    logp = torch.stack(
        [
            torch.stack([first.log_softmax(-1)[k, a], then.log_softmax(-1)[k, a, b]])
            for k in (0, 1)
            for a, b in whole
        ]
    ).view(2, 1, 9, 2)
    p, q = logp
    mask = torch.ones_like(p, dtype=torch.bool)
    f = torch.randn(9, generator=rng, dtype=torch.float64)
    truth = float((p.sum(-1).exp()[0] * f).sum())
    found = {
        mode: float(
            (
                q.sum(-1).exp()[0]
                * importance_weights(p, q, mask, mode=mode, high=1e9)[0, :, 0]
                * f
            ).sum()
        )
        for mode in ("sequence_truncate", "token_truncate")
    }
    assert found["sequence_truncate"] == pytest.approx(truth, abs=1e-12)
    assert abs(found["token_truncate"] - truth) > 1e-3


def test_the_four_modes_as_trl_writes_them() -> None:
    p, q, mask = batch(1.5)
    gap = (p - q) * mask
    token, sequence = gap.exp(), gap.sum(-1, keepdim=True).exp().expand_as(gap)
    for mode in MODES:
        rho = sequence if mode.startswith("sequence") else token
        want = (
            rho.clamp(0.4, 3.0)
            if mode.endswith("truncate")
            else rho.masked_fill((rho > 3.0) | (rho < 0.4), 0.0)
        )
        got = importance_weights(p, q, mask, mode=mode, low=0.4, high=3.0)
        assert torch.allclose(got[mask], want[mask], rtol=1e-12)
        assert float(got[mask].max()) <= 3.0
        assert not torch.equal(got[mask], rho[mask]), "something is clipped here"


def test_masked_places_weigh_one_and_no_gradient_passes() -> None:
    p, q, mask = batch()
    p.requires_grad_(True)
    q = torch.where(mask, q, torch.nan)
    w = importance_weights(p, q, mask, mode="token_truncate")
    assert not w.requires_grad and torch.equal(w[~mask], torch.ones_like(w[~mask]))
    ratio = importance_ratio(p, q, mask)
    assert torch.allclose(ratio[mask], (p - q).exp()[mask].detach())


def test_what_is_not_known_or_out_of_range_is_refused() -> None:
    p, q, mask = batch()
    with pytest.raises(ValueError, match="is NaN, so there is no ratio"):
        importance_weights(p, torch.full_like(q, torch.nan), mask)
    for how in ({"mode": "tokens"}, {"low": 1.2}, {"high": 0.9}, {"low": -0.1}):
        with pytest.raises(ValueError, match="the mode is one of token_truncate"):
            importance_weights(p, q, mask, **how)  # type: ignore[arg-type]


def test_the_effective_share() -> None:
    here = torch.ones(5, dtype=torch.bool)
    assert effective_share(torch.full((5,), 2.5), here) == pytest.approx(1.0)
    assert effective_share(torch.tensor([1.0, 0, 0, 0, 0]), here) == pytest.approx(0.2)
    assert effective_share(torch.zeros(5), here) == 0.0
    assert effective_share(torch.tensor([1.0, 7, 7, 7, 7]), torch.eye(5)[0] > 0) == 1.0
    assert math.isnan(effective_share(torch.ones(5), ~here))
