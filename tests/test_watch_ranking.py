"""Which checkpoint is the best: a curve with one peak through all comparisons, and what it asks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from assay.errors import InputError
from assay.formulas.strengths import (
    Curves,
    best_kept,
    curve_root,
    curves,
    dips,
    informative,
    run_shares,
    strengths,
)
from assay.watch.detector import Detector
from assay.watch.ranking import Ranking

F64 = torch.float64
t = torch.tensor


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def exact(curve: Callable[[int], float], looks: int, each: float) -> Ranking:
    """Every look against the reference and against the look six before it, as often as it wins."""
    r = Ranking()
    for look in range(looks):
        for other in {-1, max(-1, look - 6)}:
            p = sigmoid(curve(look) - (curve(other) if other >= 0 else 0.0))
            r.pairs.append([float(look), float(other), each, each * p])
    return r


def hill(look: int) -> float:
    return 1.5 - 0.01 * (look - 11) ** 2


def test_strengths_by_hand() -> None:
    """Two points, no prior to speak of: s = logit of the win rate, with its binomial variance."""
    fit = strengths(t([1]), t([0]), t([4000.0]), t([3000.0]), t([[0.0], [100.0]], dtype=F64))
    draws = fit.draws(torch.linspace(-2, 2, 5, dtype=F64)[:, None])
    assert float(draws[2, 1]) == pytest.approx(math.log(3), abs=1e-3) and not draws[:, 0].any()
    assert float(draws[3, 1] - draws[2, 1]) == pytest.approx(750**-0.5, rel=1e-2)


def test_without_labels_the_posterior_is_the_prior() -> None:
    x = torch.linspace(0, 1, 6, dtype=F64)
    root = curve_root(x, height=1.0, bend=1.0)
    none = t([], dtype=F64)
    fit = strengths(none.long(), none.long(), none, none, root)
    assert fit.log_evidence == 0
    assert torch.allclose(fit.draws(torch.eye(5, dtype=F64)), root.mT)
    # covariance with the last point, where x log x is 0, and w's beside it
    assert torch.allclose((root @ root.mT)[:, -1], x + x**2 * (3 - x) / 6, atol=1e-8)


def test_the_prior_is_of_the_run_and_not_of_its_number_of_looks() -> None:
    shares = (torch.linspace(0, 1, n, dtype=F64) for n in (11, 101))
    few, many = (curve_root(x, height=1.0, bend=2.0) for x in shares)
    assert torch.allclose(few @ few.mT, (many @ many.mT)[::10, ::10], atol=1e-6)


def test_gaos_law_is_in_the_prior_in_any_unit_of_distance() -> None:
    """d(α − β log d) has no residual on the root's directions, however far the run goes."""
    for far in (0.7, 9.0):
        d = torch.linspace(0, far, 8, dtype=F64)
        law = torch.cat([d[:1], d[1:] * (0.2 - 0.3 * d[1:].log())])
        root = curve_root(d / far, height=1e4, bend=1e-3)
        u = torch.linalg.lstsq(root, law).solution
        assert torch.allclose(root @ u, law, atol=1e-6) and float(u.square().sum()) < 1e-4


def test_shares_of_a_run_by_its_distance() -> None:
    """√KL, the highest so far; even steps keep equal distances apart; the reference is at 0."""
    x = run_shares(t([0.3, 1.0, 4.0, 3.0, 9.0], dtype=F64), even=0.0)
    assert torch.allclose(x, t([0, 1 / 3, 2 / 3, 2 / 3, 1], dtype=F64))
    x = run_shares(t([0.0, 1.0, -0.1, 1.0], dtype=F64))
    assert (x.diff() > 0).all() and float(x[0]) == 0 and float(x[-1]) == pytest.approx(1)
    assert torch.equal(run_shares(torch.zeros(5)), torch.linspace(0, 1, 5, dtype=F64))
    assert run_shares(torch.zeros(0)).shape == (0,)


def test_dips_are_what_is_not_one_hill() -> None:
    s = t([[0.0, 1.0, 3.0, 2.0], [0.0, 1.0, 0.5, 2.0], [0.0, -1.0, -0.5, -2.0]], dtype=F64)
    assert dips(s, s.argmax(1)).tolist() == [0.0, 0.5, 0.5]


def test_best_kept_counts_runs_and_not_heights() -> None:
    """Point 1 is nine tenths of the best in all three; point 2 is the best in one, and by far."""
    s = t([[0.0, 1.0, 0.8], [0.0, 1.0, 0.8], [0.0, 2.8, 3.0]], dtype=F64)
    of = Curves(s, torch.full((3,), 1 / 3, dtype=F64))
    assert best_kept(of, torch.arange(3)) == 1
    assert best_kept(of, t([0, 2])) == 2
    assert best_kept(of, torch.arange(3), share=0.5) == 1  # as likely as 2, and higher on average


def test_what_tells_most_is_what_differs_between_the_places_of_the_peak() -> None:
    """Two hills: 0 and 3 say which, 1 and 2 are even in both; alone, a point has no pair."""
    s = t([[0.0, 2.0, 2.1, -3.0], [0.0, 2.1, 2.0, 1.0]], dtype=F64)
    of = Curves(s, torch.full((2,), 0.5, dtype=F64))
    assert set(informative(of, torch.arange(4))) == {0, 3}
    assert informative(of, t([2])) == (2, 2)


def test_with_exact_labels_the_peak_is_found() -> None:
    r = exact(hill, 24, 2000.0)
    assert abs(r.best(None, 23) - 11) <= 1
    assert r.best([0, 9, 20], 23) == 9
    a, b = r.next_pair(None, 23)
    assert a != b and a != 11


def test_a_curve_that_rises_ends_at_its_last_look() -> None:
    assert exact(lambda look: 0.08 * (look + 1), 24, 200.0).best(None, 23) >= 22


def test_a_run_that_loses_from_its_first_step_goes_back_to_the_reference() -> None:
    assert exact(lambda look: -0.3 * (look + 1), 12, 200.0).best(None, 11) == -1


def test_a_flat_curve_and_no_label_at_all_still_name_a_look() -> None:
    assert -1 <= exact(lambda look: 0.0, 12, 20.0).best(None, 11) <= 11
    assert -1 <= Ranking().best(None, 11) <= 11
    assert Ranking().best(None, -1) == -1 and Ranking().next_pair(None, -1) == (-1, -1)
    with pytest.raises(InputError, match="among looks"):
        Ranking().best([9], 3)


def test_the_shape_of_the_fall_says_where_a_small_rise_ended() -> None:
    """A rise of .06 nats that no label can show, then a fall of 1.2: with 430 labels the rule never
    goes back into the fall, and seldom all the way to the reference.
    """
    true = [0.0, *(0.06 - 0.0055 * (look - 2) ** 2 for look in range(18))]
    back = []
    for seed in range(12):
        rng, r = np.random.default_rng(seed), Ranking()
        for look in range(18):
            for _ in range(24):
                other = int(rng.integers(-1, min(2, look)))
                won = float(rng.random() < sigmoid(true[look + 1] - true[other + 1]))
                r.add(look, [other], [won], look)
        back.append(r.best(None, 17))
    assert max(back) <= 5 and sum(k >= 0 for k in back) >= 8


def test_the_order_of_labels_changes_no_bit() -> None:
    r, other = exact(hill, 24, 5.0), Ranking()
    other.pairs = [r.pairs[i] for i in np.random.default_rng(0).permutation(len(r.pairs))]
    assert torch.equal(r._curve(None, 23)[0].strengths, other._curve(None, 23)[0].strengths)
    assert r.best(None, 23) == other.best(None, 23) and r.next_pair(None, 23) == other.next_pair(
        None, 23
    )


def test_a_resumed_detector_draws_the_same_curve() -> None:
    d, rng = Detector(looks=30), np.random.default_rng(0)
    for look in range(24):
        x = (rng.random(13) < sigmoid(hill(look))).astype(float).tolist()
        d.update(look, x, kl=0.1 * (look + 1) ** 2)
    d.settle(20, -1, [1.0, 0.0, 0.5])
    again = Detector.resumed(json.loads(json.dumps(d.state())))
    assert again.peak() == d.peak() and again.next_pair() == d.next_pair()
    one, two = (x.ranking._curve(None, x.look)[0] for x in (d, again))
    assert torch.equal(one.strengths, two.strengths) and torch.equal(one.weights, two.weights)


def test_what_chooses_the_checkpoint_is_no_evidence() -> None:
    """Comparisons that are settled change neither evidence nor alarm, and do change the choice."""
    one, two, rng = Detector(looks=30), Detector(looks=30), np.random.default_rng(0)
    for look in range(24):
        x = (rng.random(13) < sigmoid(hill(look))).astype(float).tolist()
        one.update(look, x)
        two.update(look, x)
        two.settle(look, -1, [0.0] * 30)
        assert one.log_evidence == two.log_evidence and one.alarmed == two.alarmed
    assert one.peak() > two.peak() == -1


def test_draws_weigh_the_shape() -> None:
    """Nearly all weight lies on curves with one peak, and every look may be it."""
    none, z = t([], dtype=F64), torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))
    x = torch.linspace(0, 1, 6, dtype=F64)
    c = curves(none.long(), none.long(), none, none, x, z.double())
    top = c.strengths.argmax(1)
    assert float(c.weights @ dips(c.strengths, top)) < 0.02
    assert all(float(c.weights[top == k].sum()) > 0.02 for k in range(6))


def test_kl_says_where_on_the_law_a_look_is() -> None:
    """Gao's law with its peak at √KL = 1, looks that go faster and faster: told their KL, the rule
    keeps .89 of the peak's gain, and .65 by even steps, with the same labels.
    """
    d = [0.1 * 1.35**look for look in range(14)]
    true = [0.0, *(x * (0.22 - 0.22 * math.log(x)) for x in d)]
    kept = {False: 0.0, True: 0.0}
    for seed in range(16):
        rng = np.random.default_rng(seed)
        r = {told: Ranking() for told in kept}
        r[True].kl = {look: x * x for look, x in enumerate(d)}
        for look in range(14):
            for _ in range(24):
                other = int(rng.integers(-1, min(3, look)))
                won = float(rng.random() < sigmoid(true[look + 1] - true[other + 1]))
                for ranking in r.values():
                    ranking.add(look, [other], [won], look)
        for told, ranking in r.items():
            kept[told] += true[ranking.best(None, 13) + 1] / max(true) / 16
    assert kept[True] > 0.8 and kept[True] > kept[False] + 0.1, kept


def test_a_kl_that_is_not_known_for_every_look_is_not_used() -> None:
    r, other = exact(hill, 24, 20.0), exact(hill, 24, 20.0)
    other.kl = {look: 1.0 + look for look in range(23)}
    assert torch.equal(r._curve(None, 23)[0].strengths, other._curve(None, 23)[0].strengths)
    other.kl[23] = math.nan
    assert torch.equal(r._curve(None, 23)[0].strengths, other._curve(None, 23)[0].strengths)
    other.kl[23] = 24.0
    assert not torch.equal(r._curve(None, 23)[0].strengths, other._curve(None, 23)[0].strengths)
