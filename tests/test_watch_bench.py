"""The watch's bench: what it calls a peak, a win rate and a share kept, on runs made by hand; and
that merging loses nothing.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from assay.watch.config import WatchConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
ceilings, replay, simulated = (
    importlib.import_module(f"bench.watch.{name}") for name in ("ceilings", "replay", "simulated")
)


def run(
    level: np.ndarray, *, answers: int = 40, noise: float = 1.0, exact: bool = True, seed: int = 0
) -> replay.Kept:
    rng = np.random.default_rng(seed)
    gold = (level[:, None, None] + noise * rng.standard_normal((len(level), 16, answers))).astype(
        np.float32
    )
    return replay.Kept(
        {},
        gold,
        np.repeat(gold[:, None], 2, 1),
        {"kl": 0.05 * np.arange(len(level)) ** 2.0},
        level if exact else gold.mean((1, 2), dtype=float),
        exact,
    )


HILL = np.concatenate([np.linspace(0, 1.5, 16), np.linspace(1.4, -2.0, 25)])


def test_the_watch_is_driven_as_it_stands() -> None:
    """A run that falls far is stopped after its peak, and what is gone back to keeps most of the
    gain; one that rises is not.
    """
    kept = run(HILL)
    out = replay.watch(kept, 1, WatchConfig())
    assert (
        out.alarm > 16
        and kept.kind() == ("turns", kept.kind()[1])
        and 16 < kept.kind()[1] <= out.alarm
    )
    assert replay.shares(kept)[out.back["gone back to"]] > 0.8 and out.labels < out.settled <= 550
    steady = run(np.linspace(0, 1.5, 41))
    assert steady.kind()[0] == "steady" and replay.watch(steady, 1, WatchConfig()).alarm == 0


def test_answers_are_drawn_as_often_as_they_win() -> None:
    kept = run(HILL)
    drawn = replay.Recorded(kept, 3).sample(30, 30, 15, 0, 20_000, 0)
    won = np.mean([(np.sign(d.samples[0] - d.samples[1]) + 1) / 2 for d in drawn])
    assert (
        won == pytest.approx(kept.p(30, 15), abs=0.015)
        and drawn[0].swapped == drawn[0].samples[::-1]
    )


def test_answers_that_were_not_judged_are_drawn_where_no_scores_are_asked_for() -> None:
    kept = run(HILL)
    kept.judges = kept.judges[..., :4]
    few = replay.Recorded(kept, 3, scored=True).sample(30, 30, 15, 0, 500, 0)
    assert {int(d.completion) for d in few} == {0, 1, 2, 3} and few[0].scores is not None
    every = replay.Recorded(kept, 3).sample(30, 30, 15, 0, 500, 0)
    assert len({int(d.completion) for d in every}) == 40 and every[0].scores is None


def test_a_rule_that_is_told_the_curves_knows_its_own_by_its_labels() -> None:
    """Two hills; labels that win as often as on the second lead to the second's top, and what is
    asked next tells them apart.
    """
    early = run(np.concatenate([np.linspace(0, 1.5, 6), np.linspace(1.4, -2.0, 35)]))
    wins, shares = (np.concatenate(x) for x in zip(*map(ceilings.curves, (early, run(HILL)))))
    told = ceilings.Told(wins, shares, places=True)
    a, b = told.next_pair(None, 39)
    seen = wins[:, a + 1, b + 1]
    assert seen.max() - seen.min() > 0.2
    for look in range(40):
        told.pairs.append([float(look), -1.0, 40.0, 40.0 * run(HILL).p(look + 1, 0)])
    assert told.belief()[len(ceilings.STRETCHES) :].sum() > 0.99
    assert replay.shares(run(HILL))[told.best(None, 39) + 1] >= 0.9


def test_an_interval_over_runs_holds_their_mean() -> None:
    found = ceilings.scored([1.0, 1.0, 0.0, 0.5])
    assert found["kept"] == 0.625 and found["interval"][0] < 0.625 < found["interval"][1]


def test_the_highest_of_many_noisy_means_is_too_high() -> None:
    """Forty checkpoints that are all better than the first by .2: measured on other answers the
    peak's gain is about that.
    """
    level = np.concatenate([[0.0], np.full(40, 0.2)])
    crossed, highest = [], []
    for seed in range(10):
        kept = run(level, answers=8, noise=2.0, exact=False, seed=seed)
        gain = kept.level - kept.level[0]
        crossed.append(gain.mean() / replay.shares(kept).mean())
        highest.append(gain.max())
    assert abs(np.mean(crossed) - 0.2) < 0.15 < np.mean(highest) - 0.2


def test_the_checkpoint_that_is_hardest_to_beat() -> None:
    assert abs(replay.by_wins(run(HILL, answers=200)) - 15) <= 2


def test_a_part_made_again_leaves_the_others() -> None:
    old = {
        "runs": 10,
        "cell": 4,
        "detector": [{"name": "e-CUSUM"}],
        "nulls": [1],
        "traps": [2],
        "jitter": [],
        "rivals": [3],
    }
    new = {
        "runs": 10,
        "cell": 4,
        "detector": [{"name": "16 labels a look"}],
        "nulls": [],
        "rivals": [],
        "jitter": [5],
    }
    found = simulated.merged(old, new)
    assert [r["name"] for r in found["detector"]] == ["16 labels a look", "e-CUSUM"]
    assert (found["nulls"], found["traps"], found["jitter"], found["rivals"]) == (
        [1],
        [2],
        [5],
        [3],
    )
    with pytest.raises(ValueError, match="of 10 nulls and 4 runs"):
        simulated.merged(old, {**new, "cell": 5})
