"""Multipliers go the right way, static weights are static, and a search inside a run is paid for
and survives a kill.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_world
from test_contract import SMALL, drive, loop_of, timeless
from verdicts.curves import run

from assay.core import Carry, InputError, Loop, Step
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.formulas.multipliers import scheduled, stepped, weights
from assay.loops.constrained import MODES
from assay.recipes import constrained, constrained_search
from assay.recipes.constrained import recipe
from assay.records.runs import Run
from assay.stats.proxy_points import held_gold, off

V, THETA, U = (torch.tensor(x).double() for x in ([0.2, 1.5], [1.0, 1.0], [0.3, -0.4, 0.1]))


def test_a_violated_constraint_raises_its_weight_and_a_met_one_lowers_it() -> None:
    for mode in ("mu", "xi", "all"):
        u, _ = stepped(
            U,
            torch.zeros(3).double(),
            torch.cat([V - THETA, torch.tensor([0.0]).double()]),
            mode=mode,
            rate=0.1,
        )
        before, after = (weights(w, V, THETA, mode=mode, weight=0.5)[0] for w in (U, u))
        assert after[0] > before[0] and after[1] < before[1]


def test_the_kl_s_own_multiplier_rises_above_its_limit() -> None:
    for kl, rises in ((9.0, True), (1.0, False)):
        u, _ = stepped(
            U,
            torch.zeros(3).double(),
            torch.cat([V - THETA, torch.tensor([5.0 - kl]).double()]),
            mode="all",
            rate=0.1,
        )
        assert (
            weights(u, V, THETA, mode="all", weight=0.5)[1]
            > weights(U, V, THETA, mode="all", weight=0.5)[1]
        ) == rises


def test_rounding_is_no_signal_before_the_first_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is the reference still; standardised, a last digit would be a whole advantage."""
    from assay.loops import constrained as under

    exact = under.reference_kl
    found = []
    for size in (0.0, 1e-12):

        def rounded(task: Any, x: Any, size: float = size) -> torch.Tensor:
            noise = task.rng("rounding").normal(torch.arange(x.mask.numel()))
            return exact(task, x) + size * noise.view(x.mask.shape) * x.mask

        monkeypatch.setattr(under, "reference_kl", rounded)
        for baseline in ("critic", "group"):
            task = small_world(constrained).task.replaced(carry=Carry())
            step: Any = next(recipe(task, baseline=baseline, loop=replace(SMALL, max_steps=1)))
            found.append([p.detach().clone() for p in step.policy.parameters()])
    for a, b in ((0, 2), (1, 3)):
        assert all(torch.equal(x, y) for x, y in zip(found[a], found[b], strict=True))


def test_the_dual_step_is_the_gradient_of_its_loss() -> None:
    """u ← u − lr·∂/∂u Σ s(u)(v̂ − θ), the first time, when there is no momentum yet."""
    for mode, squash in (("mu", torch.sigmoid), ("xi", torch.tanh)):
        u = U.clone().requires_grad_(True)
        over = torch.cat([V - THETA, torch.zeros(1).double()])
        (g,) = torch.autograd.grad((squash(u) * over).sum(), u)
        torch.testing.assert_close(
            stepped(U, torch.zeros(3).double(), over, mode=mode, rate=0.1)[0], U - 0.1 * g
        )


def test_weights_by_hand() -> None:
    s, kl = weights(U, V, THETA, mode="sat", weight=0.9)
    assert s.tolist() == pytest.approx([0.9, 0.0]) and kl == pytest.approx(
        0.2
    )  # the second is above its point
    s, kl = weights(U, V, torch.tensor([0.9, 1.2]).double(), mode="fixed", weight=0.5)
    assert s.tolist() == pytest.approx([0.9, 1.0]) and kl == pytest.approx(0.1)
    s, kl = weights(-U, V, THETA, mode="xi", weight=0.5)
    assert float(s[0]) < 0 and kl == pytest.approx(
        2 - float(s.sum())
    )  # pushed back, and KL weighs more


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_moves(mode: str) -> None:
    assert (
        drive(
            constrained,
            small_world(constrained),
            {"mode": mode, "start": 1.0, "weight": 0.8, "schedule": [0.5, 0.9]},
        )[-2]["kl"]
        > 1e-6
    )


def test_a_limited_multiplier_comes_back_and_one_that_wound_up_does_not() -> None:
    """After 50 steps below its point u is far out; 20 steps above it have to lower the weight."""
    weight = {}
    for limit in (0.0, 1.5):
        u, velocity = torch.zeros(1).double(), torch.zeros(1).double()
        for t in range(70):
            over = torch.tensor([-1.0 if t < 50 else 0.5]).double()
            u, velocity = stepped(u, velocity, over, mode="xi", rate=1.0, limit=limit)
        weight[limit] = float(torch.tanh(u))
    assert weight[0.0] > 0.8 and weight[1.5] < 0


def test_a_schedule_is_linear_between_its_weights() -> None:
    for at, want in ((0.0, 0.2), (0.25, 0.4), (0.5, 0.6), (1.0, 0.0)):
        s, kl = scheduled([0.2, 0.6, 0.0], at=at, N=2)
        assert s.tolist() == pytest.approx([want, want]) and kl == pytest.approx(2 - 2 * want)
    assert scheduled([0.3], at=0.5, N=2)[0].tolist() == pytest.approx([0.3, 0.3])


def test_stopping_ends_with_the_checkpoint_that_labels_prefer() -> None:
    """Of the labeled checkpoints the last policy is the best, and each look is paid for."""
    world, loop = small_world(constrained), replace(SMALL, max_steps=8)
    read = drive(constrained, world, {"mode": "stop", "weight": 1.0, "vertices": 4}, loop=loop)
    curve = [r for r in read if r["tag"] != "best"]
    assert [r["labels"] for r in curve] == [0, 0, 24, 24, 48, 48, 72, 72, 96]
    golds = [r["gold"] for r in curve]
    assert golds[8] in [pytest.approx(g) for g in (golds[2], golds[4], golds[6])] or golds[8] > 0


def test_off_is_the_distance_from_the_points_at_the_end() -> None:
    stats = [{"value/0": 9.0, "point/0": 0.0}] * 3 + [{"value/0": 1.5, "point/0": 1.0}]
    assert off([{"tag": "", "stats": s} for s in stats]) == pytest.approx(0.5)


def test_settings_that_do_not_hold_are_charged_where_weights_follow_points() -> None:
    told = [{"value/0": 3.0, "point/0": 1.0, "weight/0": w} for w in (0.5, 0.6)]
    curve = run([0.0, 1.0])
    moving = [{**r, "stats": s} for r, s in zip(curve, told, strict=False)]
    fixed = [{**r, "stats": told[0]} for r in curve[:2]]
    assert held_gold(moving) == pytest.approx(1.0 - 10 * 1.75) and held_gold(fixed) == 1.0


def test_a_search_says_how_many_vertices_it_reached_and_waits_for_the_first() -> None:
    """No vertex is reached within so few steps, unless any distance counts as reached."""
    for tolerance, share, labels in ((1e-9, 0.0, [0, 0, 0, 24]), (1e9, 1.0, [0, 24, 48, 48])):
        how = {"search": 1, "warmup": 2, "vertices": 2, "tolerance": tolerance}
        loop = replace(loop_of(constrained_search), max_steps=3)
        read = drive(constrained_search, small_world(constrained_search), how, loop=loop)
        curve = [r for r in read if r["tag"] != "best"]
        assert [r["labels"] for r in curve] == labels
        assert curve[-1]["stats"]["near"] == share


def test_components_circle_their_points() -> None:
    """Gradient play circles, and slowly; a further point is followed further, and beyond it the
    weights go down.
    """
    found = {}
    for point in (0.3, 0.6):
        task = small_world(constrained).task.replaced(carry=Carry())
        steps = list(
            recipe(
                task,
                points=[point, point],
                dual=1.0,
                loop=Loop(max_steps=120, batch_size=8, num_generations=24, learning_rate=0.03),
            )
        )
        stats = [s.stats for s in steps if isinstance(s, Step)]
        values = [s["value/0"] for s in stats]
        assert min(values) < point < max(values)
        found[point] = sum(values[60:]) / 60
        if point == 0.6:
            assert stats[-1]["weight/0"] < 0.3 < max(s["weight/0"] for s in stats)
    assert found[0.3] + 0.3 < found[0.6]


def test_a_search_is_paid_for_and_resumes(tmp_path: Path) -> None:
    world, loop = small_world(constrained), replace(SMALL, max_steps=9)
    arguments = {"search": 2, "vertices": 4}
    whole = drive(constrained, world, arguments, loop=loop, run=Run.create(tmp_path / "whole", {}))
    assert [r["labels"] for r in whole if r["tag"] != "best"] == [
        0,
        0,
        24,
        24,
        48,
        48,
        72,
        72,
        96,
        96,
    ]
    points = [(r["stats"]["point/0"], r["stats"]["point/1"]) for r in whole[1:-1]]
    assert (
        points[0] == (1.0, 1.0)
        and points[2] == (1.5, 1.0)
        and points[4] == (1.0, 1.5)
        and points[8] in set(points[:8:2])
    )
    kept = Run.create(tmp_path / "r", {})
    half = measure(
        recipe,
        world,
        arguments=arguments,
        loop=loop,
        config=MeasureConfig(eval_steps=1, save_steps=5, eval_generations=16),
        run=kept,
    )
    for _ in range(8):
        next(half)
    half.close()
    drive(
        constrained,
        world,
        arguments,
        loop=loop,
        run=Run.open(tmp_path / "r"),
        resume=True,
        save_steps=5,
    )
    assert timeless(Run.open(tmp_path / "r").readings()) == timeless(
        Run.open(tmp_path / "whole").readings()
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"mode": "nu"}, "--mode is 'nu'"), ({"points": [1.0]}, "--points has 1 values")],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        next(
            iter(
                recipe(
                    small_world(constrained).task.replaced(carry=Carry()), loop=SMALL, **arguments
                )
            )
        )
