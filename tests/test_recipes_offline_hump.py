"""Direct alignment over-optimises as Gao's forms say: one short run that turns, fitted."""

from __future__ import annotations

from dataclasses import replace

from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.recipes import direct_alignment
from assay.stats.curve_fit import fit
from assay.stats.effects import drop, rise
from assay.stats.readings import path
from assay.worlds import table


def test_a_run_that_turns_is_fitted_by_the_rl_form() -> None:
    world = table.world(pairs=200, noise=0.3, seed=2)
    loop = replace(world.loop, max_steps=300, seed=2)
    readings = list(
        measure(
            direct_alignment.recipe,
            world,
            loop=loop,
            arguments={"loss": "ipo", "beta": 0.02},
            config=MeasureConfig(eval_steps=10),
        )
    )
    assert rise(readings) > 0.3
    assert drop(readings) > 0.3
    curve = [r for r in readings if r["tag"] != "best"]
    d, gold = path(curve)
    fits = {
        form: fit([(d, gold - gold[0], None)], form, resamples=50) for form in ("rl", "best-of-n")
    }
    rl, quadratic = fits["rl"], fits["best-of-n"]
    assert rl is not None
    assert quadratic is not None
    top = float(d[gold.argmax()])
    for found in (rl, quadratic):
        assert found.d_peak is not None
        assert abs(found.d_peak - top) < 0.5 * top, "the fitted peak is near the measured one"
    assert curve[-1]["stats"]["logps/chosen"] < curve[1]["stats"]["logps/chosen"], (
        "the chosen answers' own likelihood falls"
    )
