"""Intervals of shares, calibration and splits by length and margin, by the laws they must obey."""

from __future__ import annotations

import doctest
import importlib
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit

from assay.stats.calibration import calibration
from assay.stats.margins import agreement, by_length, by_margin, disagreement
from assay.stats.proportions import clustered_share, wilson


@pytest.mark.parametrize("name", ["proportions", "calibration", "margins"])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"assay.stats.{name}")).failed == 0


def test_all_right_is_no_certainty() -> None:
    few, many = (clustered_share(np.ones(n), np.arange(n)) for n in (20, 200))
    assert few is not None and many is not None
    assert few.mean == few.high == 1 and few.low is not None and many.low is not None
    assert 0.7 < few.low < 0.9 < many.low < 1
    none = clustered_share(np.zeros(20), np.arange(20))
    assert none is not None and none.high == pytest.approx(1 - few.low)


def test_copies_of_a_cluster_s_comparisons_tell_nothing_new() -> None:
    draw = np.random.default_rng(0)
    right = draw.integers(0, 2, 40).astype(float)
    once = clustered_share(right, np.arange(40))
    copied = clustered_share(np.repeat(right, 9), np.repeat(np.arange(40), 9))
    weighted = clustered_share(
        np.repeat(right, 9), np.repeat(np.arange(40), 9), np.full(360, 1 / 9)
    )
    assert once is not None and copied is not None and weighted is not None
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert (weighted.low, weighted.high) == pytest.approx((once.low, once.high))
    assert (copied.n, copied.clusters) == (360, 40)
    one = clustered_share([1, 0, 1], [7, 7, 7])
    assert one is not None and one.low is None and str(one) == "0.667"
    assert clustered_share([], []) is None


@pytest.mark.parametrize(("prompts", "p", "size"), [(20, 0.9, 1), (40, 0.7, 5), (30, 0.97, 3)])
def test_the_interval_covers_the_truth_as_often_as_it_says(
    prompts: int, p: float, size: int
) -> None:
    """Prompts have shares of their own, so that their comparisons are alike."""
    draw, covered, rounds = np.random.default_rng(1), 0, 600
    for _ in range(rounds):
        own = draw.beta(4 * p, 4 * (1 - p), prompts)
        right = draw.random((prompts, size)) < own[:, None]
        share = clustered_share(right.ravel(), np.repeat(np.arange(prompts), size))
        assert share is not None and share.low is not None and share.high is not None
        covered += share.low <= p <= share.high
    assert covered / rounds > 0.93


def test_the_ends_of_wilson_s_interval_at_none_of_ten() -> None:
    """Brown, Cai and DasGupta (2001): 0 of 10 has the upper end z²/(n + z²)."""
    z = 1.959964
    assert wilson(0.0, 10) == pytest.approx((0, z * z / (10 + z * z)))


def test_calibration_agrees_with_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss, log_loss

    draw = np.random.default_rng(2)
    m = draw.normal(size=400)
    first = draw.random(400) < expit(2 * m)  # the reward is half as sure as it should be
    found = calibration(np.where(first, m, -m))
    q = expit(m)
    assert found.brier == pytest.approx(brier_score_loss(first, q))
    assert found.log_loss == pytest.approx(log_loss(first, q))
    assert sum(b.count for b in found.bins) == 400
    sure, right = expit(np.abs(m)), first == (m > 0)
    observed, predicted = calibration_curve(right, 2 * sure - 1, n_bins=5)
    assert [b.observed for b in found.bins] == pytest.approx(observed)
    assert [2 * b.predicted - 1 for b in found.bins] == pytest.approx(predicted)
    assert all(b.observed > b.predicted for b in found.bins[1:])
    better = calibration(np.where(first, 2 * m, -2 * m))
    assert better.error < found.error and better.log_loss < found.log_loss


def test_without_knowledge_the_losses_are_those_of_a_coin() -> None:
    found = calibration(np.zeros(4))
    assert (found.error, found.brier) == (0, 0.25)
    assert found.log_loss == pytest.approx(np.log(2))
    half = calibration([3.0], p=[0.5])
    assert half.log_loss == pytest.approx((np.logaddexp(0, 3) + np.logaddexp(0, -3)) / 2)


def test_length_says_the_same_of_a_reward_that_is_length() -> None:
    draw = np.random.default_rng(3)
    d = draw.integers(1, 60, 300) * np.where(draw.random(300) < 0.55, 1, -1)
    split = by_length(d / 10, d, np.arange(300))
    assert split.longer is not None and split.shorter is not None
    assert (split.longer.mean, split.shorter.mean, split.correlation) == (1, 0, 1)
    assert split.scores_longer == 1
    assert split.bias == pytest.approx(1 - (d > 0).mean()) and split.bias_low is not None
    assert split.bias_low > 0 and "favours longer completions" in str(split)
    fair = by_length(draw.normal(size=300), d, np.arange(300))
    assert "No clear length bias" in str(fair) and fair.bias_low is not None
    short = by_length(-d / 10, d, np.arange(300))
    assert "favours shorter completions" in str(short) and short.correlation == -1
    assert "cannot be told" in str(by_length([1.0, 2.0], [3, 4], [0, 1]))
    assert "equal length" in str(by_length([1.0, 2.0], [0, 0], [0, 1]))


@pytest.mark.parametrize("own", [0.0, 2.0])
def test_a_length_bias_is_seldom_found_where_there_is_none(own: float) -> None:
    """Six pairs a prompt of both kinds; with `own`, each prompt favours a length by itself."""
    draw, found, rounds = np.random.default_rng(5), 0, 400
    prompt = np.repeat(np.arange(60), 6)
    for _ in range(rounds):
        d = draw.choice([-1, 1], 360)
        leaning = own * np.repeat(draw.normal(size=60), 6) * d
        split = by_length(draw.normal(0.5, 1, 360) + leaning, d, prompt)
        assert split.bias_low is not None and split.bias_high is not None
        found += split.bias_low > 0 or split.bias_high < 0
    assert found / rounds < 0.08


def test_parts_by_margin_hold_every_pair_once_and_in_order() -> None:
    m = np.random.default_rng(4).normal(1, 2, 101)
    parts = by_margin(m, np.arange(101))
    assert len(parts) == 4 and sum(p.accuracy.n for p in parts) == 101
    assert all(a.high < b.low for a, b in pairwise(parts))
    whole = sum(p.accuracy.mean * p.accuracy.n for p in parts) / 101
    assert whole == pytest.approx(agreement(m).mean())
    assert len(by_margin(np.ones(9) + 1e-9 * np.arange(9), np.arange(9))) == 1


def test_members_that_agree_and_members_that_do_not() -> None:
    assert disagreement([[1.0, -1.0]]) is None
    same = disagreement([[1.0, -2.0]] * 3)
    assert same is not None and (same.split, same.pairwise, same.spread) == (0, 0, 0)
    one = disagreement([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    assert one is not None and one.split == 0.5 and one.pairwise == pytest.approx(1 / 3)
