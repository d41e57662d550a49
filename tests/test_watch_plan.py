"""The plan of labels: it lasts for all looks, opens its reserve to evidence alone, leaves an ample
budget as it was, and says what it can find.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.watch import WatchConfig
from assay.watch.detector import Detector
from assay.watch.outlook import FALLS, RUNS, chances, outlook, simulate
from assay.watch.plan import SLACK, Plan
from assay.watch.summary import summary


def plan(labels: int, looks: int, **more: Any) -> Plan:
    return WatchConfig(budget=labels, **more).plan(looks, None)


@given(
    st.integers(1, 700),
    st.integers(1, 120),
    st.lists(st.booleans(), min_size=120, max_size=120),
    st.sampled_from([0, 3, 50]),
)
def test_every_look_has_its_share_whatever_gathers(
    labels: int, looks: int, gathers: list[bool], calm: int
) -> None:
    """Calm labels are the same at the first look and the last, whatever alerts cost on the way."""
    p = plan(labels, looks, calm=calm)
    left, bought = labels, []
    for look in range(looks):
        n = p.at_look(look, left, gathers=gathers[look])
        assert n >= p.calm and (n <= p.alert)
        bought.append(n)
        left -= n
    assert left >= 0 and p.calm * looks + p.reserve <= labels
    if labels < looks:
        assert sum(bought) == labels and max(bought) == 1
        gaps = [b - a for a, b in pairwise([i for i, n in enumerate(bought) if n])]
        assert not gaps or max(gaps) - min(gaps) <= 1
    else:
        assert min(bought) >= 1


@pytest.mark.parametrize("looks", [6, 30, 100])
def test_an_ample_budget_buys_what_it_always_bought(looks: int) -> None:
    """With the default budget the calm and the alert level are those that the bench measures."""
    p = plan(550, looks)
    assert p.calm == WatchConfig().labels_per_look(looks) and not p.tight
    assert p.alert == WatchConfig().make_detector(looks).schedule.alert
    large = plan(5000, looks)
    assert [large.at_look(k, 5000 - 32 * k, gathers=True) for k in range(looks)] == [
        p.alert
    ] * looks


def test_prompts_bound_the_plan_like_the_budget_does() -> None:
    assert Plan(550, 64, 20, 1, 20, 32).labels == 64 and Plan(550, 64, 20, 8, 20, 32).labels == 8
    assert plan(64, 20).calm == Plan(550, 64, 20, 1, 20, 32).calm == 2


def test_a_tight_reserve_opens_to_evidence_and_not_to_the_clock() -> None:
    """A run that says nothing (one win, one loss a look) gathers the prior's mass, which is no
    reason to spend.
    """
    d = Detector(looks=20)
    opened = {"loose": 0, "tight": 0}
    for look in range(20):
        opened["loose"] += d.gathers()
        opened["tight"] += d.gathers(SLACK)
        d.update(look, [1.0, 0.0])
    assert opened["tight"] == 0 < opened["loose"]
    for look in range(20, 26):
        d.update(look, [0.0] * 4)
    assert d.gathers(SLACK)


def test_the_simulation_is_the_detector() -> None:
    """With the same outcomes both ring at the same look, having bought the same labels."""
    config = WatchConfig(budget=90)
    p, settings = config.plan(12, None), config.make_detector(12).settings
    runs = 8
    bought, alarm = simulate(p, settings, np.full((runs, 12), 0.3))
    from assay.core.rng import Rng

    rng = Rng(0)("outlook")
    for r in range(runs):
        d, left = config.make_detector(12), p.labels
        for look in range(12):
            n = p.at_look(look, left, gathers=d.gathers(SLACK if p.tight else None))
            draws = rng("labels", look).uniform(torch.tensor([[r]]), torch.arange(n)).numpy()[0]
            d.update(look, [])
            for x in draws < 0.3:
                d.update(look, [float(x)])
                left -= 1
                if d.alarmed >= 0:
                    break
            assert p.labels - left == bought[r, : look + 1].sum(), (r, look)
            if d.alarmed >= 0:
                break
        assert d.alarmed == alarm[r]
    assert 0 < (alarm >= 0).sum() < runs


def test_a_run_that_has_not_turned_is_seldom_stopped_under_any_plan() -> None:
    """The guarantee, where labels are few and the reserve opens by evidence."""
    for labels, looks in ((24, 6), (64, 20), (200, 24), (550, 100)):
        config = WatchConfig(budget=labels)
        settings = config.make_detector(looks).settings
        worst = np.full((400, looks), 0.5 - settings.delta)
        _, alarm = simulate(config.plan(looks, None), settings, worst)
        assert (alarm >= 0).mean() <= 0.05


def test_more_labels_find_more_and_the_default_finds_a_large_fall() -> None:
    def found(labels: int) -> list[float]:
        config = WatchConfig(budget=labels)
        return [
            c.found
            for c in chances(config.plan(20, None), config.make_detector(20).settings, FALLS)
        ]

    few, some, many = found(24), found(120), found(550)
    assert few[2] < 0.5 < some[2] < 1.0 and many[1] > 0.9 and many[2] > 0.95
    assert all(a <= b for a, b in zip(some, many, strict=True)) and RUNS >= 200


def test_what_it_can_find_is_said_in_sentences() -> None:
    config = WatchConfig(budget=550)
    settings = config.make_detector(20).settings
    ample = outlook(config.plan(20, None), settings)
    assert ample.warning == [] and len(ample.sentences) == 2
    assert ample.sentences[0] == (
        "watch: 550 labels for 20 looks: 20 a look, and 150 in reserve for looks at which evidence "
        "of a fall gathers (up to 32 at one)"
    )
    assert re.search(
        r"falls in the middle of the run to a win rate of 0.40, 0.30 and 0.20 are found before its "
        r"end in \d+ %, \d+ % and \d+ % of runs$",
        ample.sentences[1],
    )
    small = outlook(config.plan(20, 24), settings)
    assert (
        "(the budget is 550; there are 24 fresh prompts, and each is used once)"
        in small.sentences[0]
    )
    assert "too few to find even a large fall" in small.warning[0]
    assert "more fresh prompts" in small.warning[0] and "budget" not in small.warning[0]
    both = outlook(WatchConfig(budget=30).plan(20, 24), settings)
    assert "a larger budget (--watch.budget) and more fresh prompts" in both.warning[0]
    rare = outlook(WatchConfig(alert=4, calm=4).plan(2, None), config.make_detector(2).settings)
    assert "in most runs; look more often (--eval-steps)" in rare.warning[0]
    none = outlook(WatchConfig(group=8).plan(20, 4), settings)
    assert "there is no label for 20 looks" in none.sentences[0]


FOUND = {
    "word": "cannot_tell", "against": [0], "best": 0, "back": 0, "win": None, "low": 0.0,
    "high": 1.0, "labels": 200, "unusable": 0, "of": 200, "bought": 0, "notes": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"labels": 0}, "cannot tell: no label was bought, 0 of 200 labels spent"),
        ({"unusable": 200}, "cannot tell: no label so far could be used, 200 of 200"),
        ({"against": [10, 20], "best": 20}, "no label yet that compares with steps 10 to 20, the"),
        ({"win": 0.4}, "win rate 0.40 [0.00, 1.00] against the reference, from earlier looks, 200"),
        (
            {"win": 0.4, "bought": 4, "word": "go_on"},
            "go on: win rate 0.40 [0.00, 1.00] against the",
        ),
        ({"best": 30, "word": "go_on"}, "go on: step 30 is the best so far, 200 of 200"),
    ],
)
def test_a_verdict_is_true(more: dict[str, Any], said: str) -> None:
    assert said in summary({**FOUND, **more})
