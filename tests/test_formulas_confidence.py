"""Confidence sequences: they cover at all times, and a proxy narrows them."""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas import confidence as cs

F64 = torch.float64


def paths(p, n, runs, seed=0):
    return (torch.rand(runs, n, generator=torch.Generator().manual_seed(seed)) < p).double()


@pytest.mark.parametrize("interval", [cs.hedged, cs.empirical_bernstein])
@pytest.mark.parametrize("p", [0.5, 0.2])
def test_a_sequence_covers_at_all_times(interval, p):
    """The running intersection holds the mean in all but α of the runs: 120 runs of 150 outcomes, α
    = .1, binomial bound.
    """
    missed = 0
    for x in paths(p, 150, 120, seed=int(p * 10)):
        low, high = interval(x, alpha=0.1)
        missed += not low <= p <= high
        assert high - low < 0.5
    assert missed <= 22  # P(Binomial(120, .1) > 22) = .0013


def test_the_average_of_falling_win_rates_is_covered():
    """`average` holds the average of p₁ … p_n at every sixth n, though p falls from .7 to .2
    meanwhile.
    """
    p = torch.linspace(0.7, 0.2, 120, dtype=F64)
    x = (torch.rand(120, 120, generator=torch.Generator().manual_seed(5), dtype=F64) < p).double()
    n = torch.arange(1, 121, dtype=F64)
    low, high = cs.average(x.cumsum(1)[:, 5::6], n[5::6].expand(120, 20), log_level=math.log(10))
    truth = (p.cumsum(0) / n)[5::6]
    missed = ((low > truth) | (high < truth)).any(1).sum()
    assert int(missed) <= 22  # P(Binomial(120, .1) > 22) = .0013
    assert float((high - low)[:, -1].mean()) < 0.35


def test_average_by_hand():
    """One outcome, level so low that nothing is excluded; many, and the ends close in on the mean
    from both sides, symmetric.
    """
    low, high = cs.average(torch.tensor(1.0), torch.tensor(1.0), log_level=math.log(20))
    assert (float(low), float(high)) == (0.0, 1.0)
    a, b = cs.average(
        torch.tensor([300.0, 700.0]), torch.tensor([1000.0, 1000.0]), log_level=math.log(20)
    )
    assert (
        float(a[0]) == pytest.approx(1 - float(b[1]), abs=1e-9)
        and 0.23 < float(a[0]) < 0.3 < float(b[0]) < 0.37
    )


def test_a_proxy_narrows_the_interval():
    """The prediction-powered sequence at correlation .8 and a fixed slope is narrower than labels
    alone, and still covers.
    """
    g = torch.Generator().manual_seed(2)
    u = torch.rand(400, generator=g, dtype=F64) - 0.5
    x = (torch.rand(400, generator=g, dtype=F64) < 0.5 + u).double()
    plain = cs.hedged(x, alpha=0.05)
    helped = cs.hedged(x, alpha=0.05, control=u, c=torch.full((400,), 1.0, dtype=F64))
    assert helped[1] - helped[0] < plain[1] - plain[0] and helped[0] <= 0.5 <= helped[1]
