"""Weights by a network: they go to the member that knows, row by row where the features tell."""

from __future__ import annotations

import pytest
import torch

from assay.core import Rng
from assay.formulas.quantile import aggregated, pinball
from assay.rewards.quantile_network import GLOBAL, LOCAL, fitted, out_of_fold, weights

LEVELS = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
EDGES = torch.tensor([-0.1, 0.0, 0.1], dtype=torch.float64)


def specialists(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two members; each knows the truth on its own half of the rows, as the first feature tells."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.randn(2, n, dtype=torch.float64, generator=draw)
    noise = torch.randn(2, n, dtype=torch.float64, generator=draw)
    first = torch.where(x > 0, y, noise[0])[:, None] + EDGES
    second = torch.where(x > 0, noise[1], y)[:, None] + EDGES
    return torch.stack([first, second]), torch.stack([x, noise[0] * 0], 1), y


def test_local_weights_find_the_specialist_and_global_ones_cannot() -> None:
    q, features, y = specialists(400, 0)
    fresh, where, truth = specialists(2000, 1)
    loss = {}
    for kind in (LOCAL, GLOBAL):
        network = fitted(q, features, y, LEVELS, Rng(0), kind=kind, decay=1e-4)
        w = weights(network, where, 2)
        assert torch.allclose(w.sum(0), torch.ones_like(w[0]))
        loss[kind] = float(pinball(aggregated(fresh, w), truth, LEVELS).mean())
        if kind == GLOBAL:
            assert torch.allclose(w, w[:, :1].expand_as(w)), "no row differs from another"
    assert loss[LOCAL] < 0.5 * loss[GLOBAL]


def test_the_member_that_always_knows_gets_nearly_all() -> None:
    draw = torch.Generator().manual_seed(0)
    y = torch.randn(300, dtype=torch.float64, generator=draw)
    bad = torch.randn(300, 3, dtype=torch.float64, generator=draw).sort(-1).values
    q = torch.stack([y[:, None] + EDGES, bad])
    network = fitted(q, torch.zeros(300, 1), y, LEVELS, Rng(0), kind=GLOBAL, decay=1e-4)
    assert float(weights(network, torch.zeros(1, 1), 2)[0].min()) > 0.9


def test_members_alike_keep_equal_weights_and_a_fit_repeats_bit_for_bit() -> None:
    q, features, y = specialists(100, 2)
    alike = q[:1].expand(2, -1, -1)
    network = fitted(alike, features, y, LEVELS, Rng(0))
    assert weights(network, features, 2).flatten().tolist() == pytest.approx([0.5] * 600, abs=1e-3)
    again, once = (fitted(q, features, y, LEVELS, Rng(0)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(again, once, strict=True))


def test_out_of_fold_predictions_have_not_seen_their_row() -> None:
    """A member that is noise predicts held-out rows no better than the median does."""
    draw = torch.Generator().manual_seed(0)
    y = torch.randn(40, dtype=torch.float64, generator=draw)
    x = torch.cat([torch.ones(1, 40, 1), torch.randn(1, 40, 12, generator=draw)], -1).double()
    held = out_of_fold(x, y, LEVELS, Rng(0))[0]
    flat = y.quantile(LEVELS).expand(40, 3)
    assert float(pinball(held, y, LEVELS).mean()) > float(pinball(flat, y, LEVELS).mean())
