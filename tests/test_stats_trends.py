"""Agreement and short series by hand: what the hints and the agreement of labels are made of."""

from __future__ import annotations

import math

import pytest

from assay.stats.agreement import cohen_kappa, raw_agreement
from assay.stats.trends import against_start, slopes, spread


def test_agreement_by_hand() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement .7, chance .5, so κ = .4."""
    pairs = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    assert raw_agreement(pairs) == pytest.approx(0.7) and cohen_kappa(pairs) == pytest.approx(0.4)
    assert raw_agreement([]) is None and cohen_kappa([]) is None and cohen_kappa([(1, 1)]) is None


def test_spread_is_that_of_a_population() -> None:
    assert spread([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == pytest.approx(2.0)
    assert spread([3.0]) is None and spread([]) is None and spread([1.0, 1.0]) == 0


def test_a_series_against_its_start() -> None:
    assert against_start([1.0, 2.0, 3.0, 7.0], 3) == (7.0, 2.0)
    assert against_start([1.0, 2.0, 3.0], 3) is None


def test_slopes_over_uneven_steps() -> None:
    points = [(0.0, 9.0), (0.0, 0.0), (10.0, 3.0), (20.0, 4.0), (25.0, 5.0), (40.0, 24.0)]
    late, early = slopes(points) or (math.nan, math.nan)
    assert late == pytest.approx(20 / 20) and early == pytest.approx(4 / 20)
    assert slopes(points[:4]) is None and slopes([(1.0, float(i)) for i in range(5)]) is None
