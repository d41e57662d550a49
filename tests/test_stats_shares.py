"""Exact intervals of a share: what they cover, by enumeration, and how the rule judges by them."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom
from test_evidence_rule import result

from assay.core import Claim
from assay.errors import InputError
from assay.evidence import rule
from assay.evidence.result import _check_parts
from assay.stats.intervals import bounds
from assay.stats.proportions import exact_share, share_at_any_time

P = [k / 200 for k in range(1, 200)]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 5, 30])
def test_an_exact_interval_covers_every_probability(n: int, level: float) -> None:
    """The chance that it lies above p is at most (1 − level)/2, and the same below."""
    ends = [exact_share(k, n, level) for k in range(n + 1)]
    tail = (1 - level) / 2 + 1e-12
    for p in P:
        chance = binom.pmf(range(n + 1), n, p)
        assert sum(c for c, (low, _) in zip(chance, ends, strict=True) if low > p) <= tail
        assert sum(c for c, (_, high) in zip(chance, ends, strict=True) if high < p) <= tail


def test_an_exact_interval_ends_where_the_chance_of_what_was_seen_is_its_tail() -> None:
    low, high = exact_share(27, 30, 0.99)
    assert binom.sf(26, 30, low) == pytest.approx(0.005)
    assert binom.cdf(27, 30, high) == pytest.approx(0.005)
    assert exact_share(0, 9)[0] == 0 and exact_share(9, 9)[1] == 1


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.95])
def test_an_interval_at_any_time_is_rarely_ever_wrong(p: float) -> None:
    """By enumeration of all sequences of 80, looked at after each; the fixed one fails there."""
    ever = {}
    for name, find in (("any time", share_at_any_time), ("fixed", exact_share)):
        alive = torch.ones(1, dtype=torch.float64)  # by hits, without a miss of p so far
        for n in range(1, 81):
            alive = torch.cat([alive * (1 - p), alive.new_zeros(1)]) + torch.cat(
                [alive.new_zeros(1), alive * p]
            )
            for hits in range(n + 1):
                low, high = find(hits, n)
                if not low <= p <= high:
                    alive[hits] = 0
        ever[name] = 1 - float(alive.sum())
    assert 0 < ever["any time"] <= 0.05 < ever["fixed"]


def test_shares_at_any_time_are_wider_and_mirror() -> None:
    for hits, n in ((0, 10), (3, 10), (30, 30)):
        low, high = share_at_any_time(hits, n, 0.9)
        inner = exact_share(hits, n, 0.9)
        assert low <= inner[0] and inner[1] <= high
        assert share_at_any_time(n - hits, n, 0.9) == pytest.approx((1 - high, 1 - low))


def of(ones: list[float], **more: object) -> dict[str, object]:
    """A result whose part "all" is 0 or 1, beside a control that holds."""
    effects = [{"all": x, "over": 1 + 0.01 * (k % 3)} for k, x in enumerate(ones)]
    least = {"all": 0.95, "over": 0.0}
    return rule.judged(result(effects, least=least, control=["over"], **more))


def test_thirty_ones_of_thirty_do_not_show_a_share_of_95_percent() -> None:
    assert bounds([1.0] * 30)[1] == 1.0  # Student's interval is a point
    few, many = of([1.0] * 30, shares=["all"]), of([1.0] * 110, shares=["all"])
    assert few["verdict"] == rule.UNDECIDED and "“all” decides" in str(few["why"])
    assert many["verdict"] == rule.HOLDS
    assert of([1.0] * 30)["verdict"] == rule.HOLDS  # what the rule said of it before
    assert of([0.0, 1.0] * 30, shares=["all"])["verdict"] == rule.FAILS
    part = few["parts"][0]  # type: ignore[index]
    assert (part["low"], part["high"]) == exact_share(30, 30, 0.975)
    assert part["mean"] == 1.0 and part["sees"] is None


def test_what_a_share_sees_is_seen_in_four_of_five_experiments() -> None:
    part = of([1.0] * 110, shares=["all"])["parts"][0]  # type: ignore[index]
    enough = [k for k in range(111) if exact_share(k, 110, 0.975)[0] > 0.95]
    assert binom.sf(enough[0] - 1, 110, part["sees"]) == pytest.approx(0.8)


def test_a_share_that_was_extended_is_judged_at_any_time() -> None:
    part = of([1.0] * 30, shares=["all"], numbered=list(range(100, 120)))["parts"][0]  # type: ignore[index]
    assert (part["low"], part["high"]) == share_at_any_time(30, 30, 0.975)


@pytest.mark.parametrize("value", [0.5, None])
def test_a_share_of_something_else_is_refused(value: float | None) -> None:
    claim = Claim("s", arms={}, shares=("all",))
    found = {"name": "mine", "effects": [{"all": 1.0}]}
    _check_parts(found, claim)
    found["effects"] = [{"all": value} if value is not None else {"other": 1.0}]
    with pytest.raises(InputError, match="'all' is 0 or 1 on each seed, and it is"):
        _check_parts(found, claim)
