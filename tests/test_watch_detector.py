"""The detector, label by label. test_watch_detector_runs.py has its runs by the thousand."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch

from assay.errors import InputError
from assay.watch.detector import Detector, Schedule

F64 = torch.float64


def fed(d, looks, seed=0, fall=lambda t: 0.5, n=8):
    g = torch.Generator().manual_seed(seed)
    for t in looks:
        d.update(t, (torch.rand(n, generator=g) < fall(t)).double())
    return d


def material(look, seed):
    """A look's labels with all that may come with them."""
    g = torch.Generator().manual_seed(1000 * seed + look)
    pool = torch.rand(6, 5, generator=g, dtype=F64)
    weights = torch.tensor([1.0, 2.0, 0.7, 1.5, 1.0, 0.6], dtype=F64)
    x = (torch.rand(6, generator=g, dtype=F64) < pool[:, 0]).double()
    x[0] = 0.5
    return x, pool[:, 0], pool, weights


def test_parts_and_order_of_a_look_change_nothing():
    whole, parts = (Detector(looks=20, weight=2.0, deepen=0.1) for _ in range(2))
    for t in range(8):
        x, z, pool, w = material(t, 1)
        whole.update(t, x, proxy=z, pool=pool, weights=w)
        order = list(range(6))
        random.Random(t).shuffle(order)
        for piece in (order[:1], order[1:4], [], order[4:]):
            parts.update(t, x[piece], proxy=z[piece], pool=pool[piece], weights=w[piece])
    assert parts.log_evidence == pytest.approx(whole.log_evidence, abs=1e-9)
    assert parts.log_rise == pytest.approx(whole.log_rise, abs=1e-9)
    assert (
        parts.verdict().win == pytest.approx(whole.verdict().win) and parts.since() == whole.since()
    )
    assert parts.peak() == whole.peak()


def test_monotone_in_evidence():
    """A label turned from lost to tie, or tie to won, never raises the evidence of a fall in that
    look.
    """
    for i in range(6):
        for value in (0.0, 0.5):
            x, z, pool, _ = material(3, 2)
            low, high = Detector(), Detector()
            for t in range(3):
                for d in (low, high):
                    d.update(
                        t, *material(t, 2)[:1], proxy=material(t, 2)[1], pool=material(t, 2)[2]
                    )
            x[i] = value
            low.update(3, x, proxy=z, pool=pool)
            x[i] = value + 0.5
            high.update(3, x, proxy=z, pool=pool)
            assert high.log_evidence <= low.log_evidence and high.log_rise >= low.log_rise


def test_state_round_trip():
    """Saved in the middle of a look, through JSON, and gone on with: every later number is the same
    to the last bit.
    """
    straight, resumed = (
        Detector(delta=0.02, flip=0.1, looks=30, weight=2.0, schedule=Schedule(budget=400))
        for _ in range(2)
    )
    for t in range(12):
        x, z, pool, w = material(t, 3)
        for d in (straight, resumed):
            d.update(t, x[:3], proxy=z[:3], pool=pool[:3], weights=w[:3])
        resumed = Detector.resumed(json.loads(json.dumps(resumed.state())))
        for d in (straight, resumed):
            d.update(t, x[3:], proxy=z[3:], pool=pool[3:], weights=w[3:])
            if t == 5:
                d.promoted(5)
    straight.settle(3, 1, [1.0, 0.0])
    resumed.settle(3, 1, [1.0, 0.0])
    assert straight.state() == resumed.state() and straight.verdict() == resumed.verdict()
    assert straight.next_pair() == resumed.next_pair()
    with pytest.raises(InputError, match="version 0"):
        Detector.resumed({"version": 0})


def test_words_schedule_and_budget():
    d = Detector(schedule=Schedule(calm=4, alert=32, budget=60))
    assert d.wants(0) == 4 and d.verdict().word == "cannot_tell"  # not a single label yet
    v = d.update(0, [1.0, 1.0, 0.0, 0.5])
    assert (
        v.word == "go_on" and v.labels == 4 and "go on" in str(v) and v.win == pytest.approx(0.625)
    )
    assert d.update(1, []).word == "cannot_tell"  # the labeler failed at this look
    v = d.update(2, [0.0] * 9)
    assert v.word == "cannot_tell" and d.wants(3) == 32  # evidence gathers
    v = d.update(3, [0.0] * 32)
    assert v.word == "stop" and d.wants(4) == 0 and d.labels == 45 and v.since <= 2 and v.high < 0.5
    assert "the reference was better" in str(v)
    assert d.update(4, [1.0] * 10).word == "stop"  # an alarm stays
    assert Detector(schedule=Schedule(budget=6)).update(0, [1.0] * 4).labels == 4
    short = Detector(schedule=Schedule(budget=6))
    short.update(0, [1.0] * 4)
    assert short.wants(1) == 2


def test_the_interval_covers_the_stretch_that_was_chosen():
    """Win rate .7, then .3: the interval since the look the detector picks holds the true average
    of that stretch in ≥ 95 % of 60 runs at every look asked (it holds for all stretches at once, so
    it is wide).
    """
    missed = 0
    for seed in range(60):
        d = fed(Detector(looks=30), range(12), seed, lambda t: 0.7 if t < 6 else 0.3)
        v = d.verdict()
        truth = sum(0.7 if t < 6 else 0.3 for t in range(v.since, 12)) / (12 - v.since)
        missed += not v.low <= truth <= v.high
    assert missed <= 3


def test_flips_are_undone():
    d = Detector(flip=0.2)
    d.update(0, [1.0] * 38 + [0.0] * 62)
    assert d.win_rate(0)[0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alpha": 0}, "alpha is 0"),
        ({"delta": 0.5}, "delta is 0.5"),
        ({"prior": "late"}, "prior is late"),
        ({"rates": ()}, "rates"),
        ({"flip": 0.1, "flip_least": 0.2}, "flip_least is 0.2"),
        ({"rates": (0.48,), "delta": 0.05}, "rates"),
        ({"weight": 0.5}, "weight is 0.5"),
    ],
)
def test_impossible_settings(arguments, says):
    with pytest.raises(InputError, match=says):
        Detector(**arguments)


def test_impossible_labels():
    d = Detector()
    d.update(3, [1.0])
    for bad, says in (([math.nan], "nan"), ([1.2], "1.2"), (torch.ones(1, 1), "shape")):
        with pytest.raises(InputError, match=says):
            d.update(4, bad)
    with pytest.raises(InputError, match="look 2 came after look 3"):
        d.update(2, [1.0])
    with pytest.raises(InputError, match="without its pool"):
        d.update(4, [1.0], proxy=[0.5])
    with pytest.raises(InputError, match="weights"):
        d.update(4, [1.0], weights=[1.5])
    with pytest.raises(InputError, match="among looks"):
        d.peak(among=[9])
    assert d.labels == 1


def test_a_useless_proxy_costs_at_most_its_trust():
    """Whatever the proxy says, evidence is never below that of labels alone by more than log 1/(1 −
    trust).
    """
    for seed in range(5):
        with_, without = Detector(looks=40), Detector(looks=40)
        for t in range(25):
            x, z, pool, _ = material(t, seed)
            z = pool[:, 0] = torch.where(
                torch.tensor(t < 12), z, 1 - z
            )  # it turns round in the middle
            with_.update(t, x, proxy=z, pool=pool)
            without.update(t, x)
            assert with_.log_evidence >= without.log_evidence + math.log(0.25) - 1e-9


def test_each_label_may_compare_with_a_policy_of_its_own():
    """Evidence hears of outcomes alone; strengths, of who was compared with whom."""
    one, many = Detector(looks=20), Detector(looks=20)
    for look in range(10):
        x = [1.0, 0.0, 1.0, 1.0]
        one.update(look, x)
        many.update(look, x, against=[-1, look - 1, look - 1, max(-1, look - 5)])
    assert one.log_evidence == many.log_evidence and one.log_rise == many.log_rise
    assert sum(p[2] for p in many.ranking.pairs) == 40 and [
        p for p in many.ranking.pairs if p[0] == 9
    ] == [
        [9, -1, 1, 1],
        [9, 8, 2, 1],
        [9, 4, 1, 1],
    ]
    with pytest.raises(InputError, match="name one of −1 to 10"):
        many.update(10, [1.0], against=[11])
