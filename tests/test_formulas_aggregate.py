"""Judges to one score: identical judges, free constants a prompt, the published traps, what absence
may not do.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.formulas import aggregate

AGGREGATORS = {
    "mean": aggregate.mean,
    "worst": aggregate.worst,
    "uncertainty_weighted": lambda s: aggregate.uncertainty_weighted(s, lam=0.5),
    "uncertainty_weighted 0": lambda s: aggregate.uncertainty_weighted(s, lam=0),
    "quantile .3": lambda s: aggregate.quantile(s, q=0.3),
    "median": lambda s: aggregate.quantile(s, q=0.5),
    "weighted_sum": lambda s: aggregate.weighted_sum(s, torch.eye(s.shape[0], dtype=s.dtype)[0]),
}


@pytest.fixture(params=AGGREGATORS)
def combine(request):
    return AGGREGATORS[request.param]


@pytest.mark.parametrize("scale", [1e-30, 0.1, 1e30])
@pytest.mark.parametrize("M", [1, 2, 5, 7])
def test_identical_judges_give_that_judge_to_the_last_bit(combine, M, scale):
    """Also one judge alone: the single-proxy curve is the ensemble of one."""
    judge = torch.randn(3, 4) * scale
    scores = judge.expand(M, 3, 4)
    assert torch.equal(combine(scores), judge)
    assert (aggregate.spread(scores) == 0).all()


def test_two_aggregators_differ_where_judges_do():
    scores = torch.randn(5, 8, 6)
    outs = {name: f(scores) for name, f in AGGREGATORS.items() if name != "uncertainty_weighted 0"}
    names = list(outs)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert not torch.allclose(outs[a], outs[b]), (a, b)


def test_permuting_judges_changes_nothing_and_permuting_answers_permutes(combine, request):
    scores = torch.randn(5, 3, 6, dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(
        combine(scores[:, :, order]), combine(scores)[:, order], rtol=0, atol=1e-14
    )
    if request.node.callspec.params["combine"] != "weighted_sum":  # its judges have names
        torch.testing.assert_close(combine(scores[[4, 2, 0, 1, 3]]), combine(scores))


def test_conservatism_is_ordered():
    scores = torch.randn(5, 10, 6)
    mean = aggregate.mean(scores)
    assert (aggregate.worst(scores) <= aggregate.quantile(scores, q=0.25)).all()
    assert (aggregate.worst(scores) <= mean).all() and (
        aggregate.uncertainty_weighted(scores, lam=0.5) <= mean
    ).all()
    assert torch.equal(aggregate.quantile(scores, q=0), aggregate.worst(scores))
    assert torch.equal(aggregate.quantile(scores, q=1), scores.amax(0))


def test_the_variance_is_the_populations():
    """Scores 1 and 3: variance 1 (÷ M), not 2 (÷ M−1)."""
    scores = torch.tensor([1.0, 3.0])[:, None, None]
    assert float(aggregate.uncertainty_weighted(scores, lam=0.5)) == 2 - 0.5 * 1
    assert float(aggregate.spread(scores)) == 1


def test_lambda_0_is_exactly_the_mean():
    """The published trap: a falsy weight that falls through to a default of 1."""
    scores = torch.randn(5, 4, 3) * 10
    assert torch.equal(aggregate.uncertainty_weighted(scores, lam=0.0), aggregate.mean(scores))
    assert not torch.equal(aggregate.uncertainty_weighted(scores, lam=1.0), aggregate.mean(scores))


@given(q=st.floats(0, 1), M=st.integers(1, 7))
def test_a_quantile_is_torchs_linear_one(q, M):
    scores = torch.randn(M, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(M))
    torch.testing.assert_close(
        aggregate.quantile(scores, q=q), torch.quantile(scores, q, dim=0), rtol=0, atol=1e-12
    )


class TestTheFreeConstant:
    """Bradley–Terry leaves each member a constant a prompt."""

    scores = torch.randn(5, 2000, 50, generator=torch.Generator().manual_seed(0))
    shifted = scores + 2 * torch.randn(5, 2000, 1, generator=torch.Generator().manual_seed(1))
    present = torch.ones(2000, 50, dtype=torch.bool)

    def same_best(self, combine, a, b) -> float:
        return float((combine(a).argmax(-1) == combine(b).argmax(-1)).float().mean())

    def test_the_mean_ignores_it_and_the_others_do_not(self):
        assert self.same_best(aggregate.mean, self.scores, self.shifted) > 0.999
        for name in ("worst", "uncertainty_weighted"):
            assert self.same_best(AGGREGATORS[name], self.scores, self.shifted) < 0.3

    def test_after_centring_all_of_them_do(self):
        a, b = (aggregate.centred(s.double(), self.present) for s in (self.scores, self.shifted))
        for combine in AGGREGATORS.values():
            assert self.same_best(combine, a, b) > 0.999


class TestCentring:
    def test_mean_zero_over_present_answers_and_absent_ones_have_no_part(self):
        scores, present = torch.randn(3, 4, 6, dtype=torch.float64), torch.rand(4, 6) < 0.6
        out = aggregate.centred(scores, present)
        torch.testing.assert_close(
            out.sum(-1), torch.zeros(3, 4, dtype=torch.float64), rtol=0, atol=1e-12
        )
        for garbage in (torch.nan, 1e30, -torch.inf):
            assert torch.equal(
                aggregate.centred(torch.where(present, scores, garbage), present), out
            )

    def test_equal_scores_and_nobody_present_give_zeros(self):
        assert (
            aggregate.centred(torch.full((2, 1, 7), 0.1), torch.ones(1, 7, dtype=torch.bool)) == 0
        ).all()
        assert (
            aggregate.centred(torch.full((2, 1, 7), torch.nan), torch.zeros(1, 7, dtype=torch.bool))
            == 0
        ).all()


def test_finite_at_extremes(combine):
    scores = torch.tensor([[[1e30, -1e30, 1e30]], [[-1e30, -1e30, 1e30]]])
    assert combine(scores).isfinite().all() and aggregate.spread(scores).isfinite().all()


def test_uncertainty_weighting_is_unbounded_below():
    """So what clips must come after it."""
    scores = torch.tensor([[[100.0]], [[-100.0]]])
    assert float(aggregate.uncertainty_weighted(scores, lam=0.5)) == -5000


class TestObjectives:
    scores = torch.tensor([[[1.0, 2.0]], [[10.0, torch.nan]], [[torch.nan, torch.nan]]])

    def test_an_objective_that_does_not_apply_has_no_part(self):
        assert aggregate.weighted_sum(self.scores, torch.tensor([1.0, 0.5, 7.0])).tolist() == [
            [6.0, 2.0]
        ]
        assert aggregate.weighted_sum(self.scores[2:], torch.tensor([1.0])).isnan().all()

    def test_weights_may_differ_a_prompt(self):
        s = torch.arange(8.0).reshape(2, 2, 2)
        out = aggregate.weighted_sum(s, torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        assert out.tolist() == [[0.0, 1.0], [12.0, 14.0]]

    def test_ensembles_do_not_swallow_a_missing_member(self, combine, request):
        if request.node.callspec.params["combine"] != "weighted_sum":
            assert (
                combine(self.scores[:2])[0, 1].isnan()
                and not combine(self.scores[:2])[0, 0].isnan()
            )


def test_a_quantile_outside_0_1_is_refused():
    with pytest.raises(ValueError, match="q is 1.5"):
        aggregate.quantile(torch.zeros(2, 1, 1), q=1.5)
