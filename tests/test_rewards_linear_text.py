"""Features of text and the linear solvers, against plain dense algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from assay.formulas.pairwise import bradley_terry, centring
from assay.rewards.features import features, skeleton
from assay.rewards.linear_solvers import (
    bradley_terry_optimum,
    counted_rows,
    linear_scores,
    resampled,
    ridge_within_prompts,
)


def design(rows: int, columns: int) -> tuple[Any, torch.Tensor]:
    full = torch.randn(rows, columns) * (torch.rand(rows, columns) < 0.4)
    return sparse.csr_array(full.numpy()), full


def test_counted_columns_multiply_like_their_matrix() -> None:
    x = counted_rows(torch.tensor([[0, 2, 2], [1, -1, -1], [-1, -1, -1]]), 4)
    full = torch.tensor([[1.0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    w = torch.randn(4, 2)
    assert torch.equal(torch.from_numpy(x.toarray()), full)
    assert torch.allclose(linear_scores(x, w), full @ w)
    assert torch.allclose(linear_scores(full, w), full @ w)


@pytest.mark.parametrize("dense", [False, True])
def test_ridge_within_prompts_is_ridge_on_all_pairs_of_a_prompt(dense: bool) -> None:
    x, full = design(24, 10)
    group, score = torch.arange(24) % 4, torch.randn(24)
    counts = torch.tensor([[1.0, 2.0], [1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    w = ridge_within_prompts(
        full if dense else x, score, group, ridge=0.7, counts=counts, tolerance=1e-6
    )
    for m in range(2):
        wide = full.double().clone().requires_grad_(False)
        a, b = 0.7 * torch.eye(10).double(), torch.zeros(10).double()
        for g in range(4):
            rows = (group == g).nonzero()[:, 0]
            for i in rows:
                for j in rows:
                    d, s = wide[i] - wide[j], float(score[i] - score[j])
                    k = float(counts[g, m]) / (2 * len(rows))
                    a, b = a + k * d[:, None] * d, b + k * d * s
        assert torch.allclose(w[:, m].double(), torch.linalg.solve(a, b), atol=1e-4)


@pytest.mark.parametrize("dense", [False, True])
def test_the_optimum_of_bradley_terry_has_no_gradient_left(dense: bool) -> None:
    x, full = design(30, 8)
    pairs, p, margin = (
        torch.arange(30).view(-1, 2),
        torch.rand(15) * 0.5 + 0.5,
        torch.randn(15) * 0.1,
    )
    counts = torch.randint(0, 3, (15, 2)).float()
    w = bradley_terry_optimum(
        full if dense else x,
        pairs,
        p=p,
        margin=margin,
        ridge=0.3,
        counts=counts,
        smoothing=0.1,
        centre=0.05,
        tolerance=1e-6,
    )
    free = w.double().clone().requires_grad_(True)
    s = full.double() @ free
    first, second = s[pairs[:, 0]].T, s[pairs[:, 1]].T
    each = bradley_terry(
        first, second, p=p.double(), margin=margin.double(), smoothing=0.1
    ) + 0.05 * centring(first, second)
    loss = (counts.T.double() * each).sum() + 0.15 * free.square().sum()
    assert (
        torch.autograd.grad(loss, free)[0].abs().max() < 1e-3
    )  # of about 10 at the start; float32


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("p", "apart"), [(0.5, 1), (1.0, 0)], ids=["ties", "the same texts"])
def test_pairs_that_say_nothing_leave_the_weights_at_0(p: float, apart: int) -> None:
    x, _ = design(30, 8)
    first = torch.arange(15)
    w = bradley_terry_optimum(
        x,
        torch.stack([first, first + apart], 1),
        p=torch.full((15,), p),
        margin=torch.zeros(15),
        ridge=1e-3,
        counts=torch.ones(15, 1),
    )
    assert torch.equal(w, torch.zeros(8, 1))


def test_resamples() -> None:
    g = torch.Generator().manual_seed(0)
    out = resampled(10, 5, "leave-out", g)
    assert bool((out.sum(0) == 8).all()) and bool((out.sum(1) == 4).all())
    assert bool((resampled(10, 3, "bootstrap", g).sum(0) == 10).all()) and bool(
        (resampled(10, 1, "leave-out", g) == 1).all()
    )


def test_features_of_a_row_depend_on_the_row_alone() -> None:
    texts = ["# Title\n\n* **Bold:** yes", "", "plain words here", "😀 99 Problems"]
    every = features(["ask"] * 4, texts)
    for i, text in enumerate(texts):
        one = features(["ask"], [text])
        for block in ("words", "layout"):
            mine, alone = getattr(every, block)[[i]], getattr(one, block)
            assert np.array_equal(mine.indices, alone.indices)
            assert np.array_equal(mine.data, alone.data)
        assert np.array_equal(every.style[i], one.style[0])
    assert np.isfinite(every.style).all()


def test_layout_sees_form_and_not_subject() -> None:
    assert list(skeleton("the cat sat\n- A dog")) == ["w", "\n", "-", " ", "W", " ", "w"] or list(
        skeleton("x")
    ) == ["w"]
    assert list(skeleton("some cats eat")) == list(skeleton("any dogs run fast")) == ["w"]
    assert list(skeleton("**Dogs:** 12")) != list(skeleton("**Dogs**: 12"))


def test_hashes_are_the_same_on_every_machine() -> None:
    counted = features(["a"], ["hello world"]).words
    assert counted.indices.tolist() == [115461, 167695, 260679] and counted.data.sum() == 3


def test_a_lone_surrogate_is_counted_as_a_replacement() -> None:
    one, two = features(["a"] * 2, ["x \ud800 y", "x ? y"]).words.toarray()
    assert np.array_equal(one, two)
