"""Laws of a loss: each comes back from its own points, and only it foretells what it made."""

from __future__ import annotations

import numpy as np
import pytest

from assay.stats.rival_laws import LAWS, Law, extrapolation_errors, fitted_law, slope

X = np.geomspace(100, 25600, 9)
MADE = {
    "power": Law("power", 0.3, 4.0, 0.4),
    "exponential": Law("exponential", 0.3, 0.5, 1 / 2000),
    "logarithm": Law("logarithm", 0.0, 0.9, 0.05),
    "constant": Law("constant", 0.0, 0.69, 0.0),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_comes_back_and_foretells_its_own_points_best(name: str) -> None:
    y = MADE[name](X)
    floor = None if name in ("logarithm", "constant") else 0.3
    found = fitted_law(name, X, y, floor=floor)
    assert found(X) == pytest.approx(y, rel=4e-3)  # rates are 1 % apart
    errors = extrapolation_errors(X, y, floor=floor)
    assert errors[name] < 1e-3
    rivals = {k: v for k, v in errors.items() if k != name}
    if name != "constant":  # of which every other law is a case
        assert min(rivals.values()) > 10 * errors[name]


def test_an_unknown_floor_is_found() -> None:
    found = fitted_law("power", X, MADE["power"](X))
    assert (found.rate, found.floor) == pytest.approx((0.4, 0.3), abs=0.02)
    wrong = extrapolation_errors(X, MADE["power"](X), floor=0.0)
    assert wrong["power"] > 0.01, "a floor that is left out shows at the sizes that are left out"


def test_sizes_that_are_held_out_have_no_say() -> None:
    y = MADE["power"](X)
    spoilt = np.concatenate([y[:-2], [9.0, 9.0]])
    before, after = (extrapolation_errors(X, v, floor=0.3)["power"] for v in (y, spoilt))
    assert after == pytest.approx(float(np.abs(9.0 - y[-2:]).mean()), abs=2e-3) and before < 1e-3
    mixed = np.random.default_rng(0).permutation(len(X))
    assert extrapolation_errors(X[mixed], y[mixed], floor=0.3)["power"] == pytest.approx(before)


def test_a_law_asks_for_points_above_the_floor() -> None:
    with pytest.raises(ValueError, match="three sizes"):
        fitted_law("power", [1, 2], [3, 2])
    with pytest.raises(ValueError, match="above its floor"):
        fitted_law("power", [1, 2, 3], [0.5, 0.4, 0.3], floor=0.35)


def test_a_slope_is_per_e_fold() -> None:
    assert slope([1, np.e, np.e**2], [3, 5, 7]) == pytest.approx(2)
