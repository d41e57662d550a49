"""Laws of training curves: planted constants come back, and predictions stand beside no law."""

from __future__ import annotations

import numpy as np
import pytest

from assay.stats.scaling_laws import (
    NO_BATCH,
    CriticalBatch,
    LossLaw,
    TrainingRun,
    critical_batch,
    least_steps,
    log_error,
    loss_law,
    persistence,
    shuffled_sizes,
    steps_to,
    token_law,
)

STEPS = np.geomspace(20, 2000, 20)
BATCH = CriticalBatch(np.log(60.0), 3.0)
LAW = LossLaw(np.log(3e5), 0.15, np.log(150.0), 0.6, BATCH)


def run(size: float, batch: float, law: LossLaw = LAW) -> TrainingRun:
    return TrainingRun(size, batch, STEPS, law(size, batch, STEPS))


SMALL = [run(n, 16) for n in (600, 1500, 4000)] + [run(10000, b) for b in (4, 16, 64)]


def test_the_loss_solves_its_own_equation() -> None:
    """L = (N_c/N)^α_N + (S_c/S_min)^α_S with S_min = S/(1 + B_crit(L)/B), as printed."""
    loss = LAW(4000, 16, STEPS)
    least = STEPS / (1 + 60.0 / loss**3.0 / 16)
    assert least == pytest.approx(least_steps(STEPS, 16, BATCH(loss)))
    assert loss == pytest.approx((3e5 / 4000) ** 0.15 + (150.0 / least) ** 0.6, rel=1e-9)
    assert bool((np.diff(loss) < 0).all()) and bool((LAW(4000, 64, STEPS) < loss).all())
    assert LAW(4000, 1e12, np.array([1e12])) == pytest.approx(LAW.least(4000), rel=1e-3)


def test_planted_constants_come_back_and_foretell_a_larger_model() -> None:
    critical = critical_batch(SMALL[-3:])
    assert critical.power == pytest.approx(3.0, abs=0.35)
    at = np.array(critical.levels)
    assert np.array(critical.found) == pytest.approx(BATCH(at), rel=0.1)
    law = loss_law(SMALL, BATCH)
    assert (law.log_n, law.alpha_n, law.log_s, law.alpha_s) == pytest.approx(
        (LAW.log_n, LAW.alpha_n, LAW.log_s, LAW.alpha_s), rel=0.02
    )
    big = run(40000, 64)
    found = log_error(loss_law(SMALL, critical)(big.size, big.batch, STEPS), big.loss)
    rivals = [
        persistence(SMALL, big.batch, STEPS),
        loss_law(SMALL, NO_BATCH)(big.size, big.batch, STEPS),
        token_law(SMALL)(big.size, big.batch, STEPS),
        loss_law(shuffled_sizes(SMALL), critical)(big.size, big.batch, STEPS),
    ]
    assert all(log_error(r, big.loss) > 2 * found for r in rivals)


def test_a_world_of_tokens_is_found_by_the_law_of_tokens() -> None:
    """The rival can win: here the loss depends on tokens alone, and not on their batches."""

    def curve(size: float, batch: float) -> TrainingRun:
        loss = 1.0 + 20 * size**-0.3 + 6 * (batch * STEPS) ** -0.25
        return TrainingRun(size, batch, STEPS, loss)

    small = [curve(n, 16) for n in (600, 1500, 4000)] + [curve(10000, b) for b in (4, 16, 64)]
    big = curve(40000, 64)
    ours = loss_law(small, critical_batch(small[-3:]))
    assert log_error(token_law(small)(40000, 64, STEPS), big.loss) < 1e-3
    assert log_error(ours(40000, 64, STEPS), big.loss) > 2e-3


def test_batches_that_buy_nothing_have_no_critical_batch() -> None:
    same = [TrainingRun(600, b, STEPS, LAW(600, 1e9, STEPS)) for b in (4, 16, 64)]
    found = critical_batch(same)
    assert found is NO_BATCH or max(found.found) < 1e-3
    assert critical_batch(same[:1]) is NO_BATCH
    assert least_steps(STEPS, 4, NO_BATCH(STEPS)) == pytest.approx(STEPS)


def test_steps_to_a_loss_are_interpolated_and_never_extrapolated() -> None:
    r = TrainingRun(1, 1, np.array([10.0, 100.0]), np.array([4.0, 1.0]))
    assert steps_to(r, 2.0) == pytest.approx(10**1.5)
    assert np.isnan(steps_to(r, 0.5)) and np.isnan(steps_to(r, 5.0))


def test_persistence_is_the_largest_run_and_sizes_are_shuffled_among_runs() -> None:
    assert persistence(SMALL, 50, STEPS) == pytest.approx(SMALL[-1].loss)
    mixed = shuffled_sizes(SMALL)
    assert sorted({r.size for r in mixed}) == sorted({r.size for r in SMALL})
    assert all(m.size != r.size and m.loss is r.loss for m, r in zip(mixed, SMALL, strict=True))
