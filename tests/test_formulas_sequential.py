"""Sequential evidence: its meaning by exact enumeration, then values that are derived in sight."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.formulas import e_detectors
from assay.formulas import sequential as seq
from assay.stats.agreement import flip_rate

F64 = torch.float64
RATES = torch.tensor([0.45, 0.40, 0.30, 0.20], dtype=F64)


def evidence(labels, starts, lams, *, null, prior, step=e_detectors.shiryaev_roberts):
    """The e-process after each label: capital of bets begun, plus the mass not yet started. A look
    begins at each of `starts`.
    """
    J = lams.shape[-1]
    log_s, out, begun = torch.full((J,), -math.inf, dtype=F64), [], 0
    for i, x in enumerate(labels):
        start = math.log(prior[begun] / J) if i in starts else -math.inf
        begun += i in starts
        pay = seq.log_pays(torch.tensor([x], dtype=F64), lams, null=null)[:, 0]
        log_s = step(log_s, pay, torch.full((J,), start, dtype=F64))
        out.append(float(log_s.exp().sum() + prior[begun:].sum()))
    return out


@pytest.mark.parametrize("step", [e_detectors.shiryaev_roberts, e_detectors.cusum])
@pytest.mark.parametrize("delta", [0.0, 0.05])
def test_no_stopping_rule_beats_the_null(step, delta):
    """Under the worst null the expectation is at most 1 at every stopping time: by backward
    induction over all paths of ten labels, with the best rule there is, looks whose length depends
    on the labels, and wins drawn at the margin.
    """
    null = seq.null_mean(delta=delta)
    lams, prior = seq.bets(RATES, null=null), seq.start_prior(looks=4)

    def best(path, log_s, begun, left):
        """The largest expectation of the e-process over stopping rules, from here."""
        value = float(log_s.exp().sum() + prior[begun:].sum())
        if len(path) == 10:
            return value
        fresh = left == 0
        starts = begun < 4 and fresh
        length = (
            1 + (sum(path) % 3) if fresh else left
        )  # predictable: the next look's length is decided by the past's labels
        after = 0.0
        for x, chance in ((1, null), (0, 1 - null)):
            pay = seq.log_pays(torch.tensor([x], dtype=F64), lams, null=null)[:, 0]
            start = math.log(prior[begun] / 4) if starts else -math.inf
            after += chance * best(
                [*path, x],
                step(log_s, pay, torch.full((4,), start, dtype=F64)),
                begun + starts,
                length - 1,
            )
        return max(value, after)

    assert best([], torch.full((4,), -math.inf, dtype=F64), 0, 0) <= 1 + 1e-9


@pytest.mark.parametrize(
    "shape", [[0.5] * 8, [0.5, 0.6, 0.7, 0.8, 0.5, 0.5, 0.9, 0.5], [0.9, 0.5] * 4]
)
def test_ville_by_enumeration(shape):
    """The exact chance of ever reaching 1/α over all 2⁸ outcomes of a run that has not turned is at
    most α.
    """
    lams, prior = seq.bets(RATES, null=0.5), seq.start_prior(looks=8, kind="early")
    seen = 0.0
    for alpha in (0.7, 0.5, 0.2):
        chance = 0.0
        for path in itertools.product((0, 1), repeat=8):
            if max(evidence(path, set(range(8)), lams, null=0.5, prior=prior)) >= 1 / alpha:
                chance += math.prod(p if x else 1 - p for x, p in zip(path, shape, strict=True))
        assert chance <= alpha
        seen = max(seen, chance)
    assert seen > 0  # the test can see an alarm


def test_a_pay_is_the_likelihood_ratio():
    """λ = (m − q)/(m(1 − m)): with outcomes 0 and 1 the pay is q/m and (1 − q)/(1 − m)."""
    for m in (0.5, 0.45):
        pay = seq.log_pays(
            torch.tensor([1.0, 0.0], dtype=F64), seq.bets(RATES, null=m), null=m
        ).exp()
        assert torch.allclose(pay, torch.stack([RATES / m, (1 - RATES) / (1 - m)], -1))
        assert torch.allclose(m * pay[:, 0] + (1 - m) * pay[:, 1], torch.ones(4, dtype=F64))


def test_known_values():
    """Two lost labels in one look, rates .3 and .2 with half the capital each, prior ½: S = ¼(1.4²
    + 1.6²) = 1.13.
    """
    rates = torch.tensor([0.3, 0.2], dtype=F64)
    got = evidence([0, 0], {0}, seq.bets(rates, null=0.5), null=0.5, prior=seq.start_prior(looks=2))
    assert got[-1] == pytest.approx(0.25 * (1.4**2 + 1.6**2) + 0.5)


def test_bets_stay_solvent():
    """No outcome, control or weight within their bounds takes a pay to 0, at the largest bet."""
    for c, w in ((0.0, 1.0), (0.7, 1.0), (-2.0, 2.0)):
        lam = seq.largest_bet(torch.tensor(c), null=0.45, weight=w)[None]
        u = torch.tensor([-math.copysign(w, c)], dtype=F64)
        worst = seq.log_pays(
            torch.ones(1, dtype=F64),
            lam,
            null=0.45,
            control=u,
            c=c,
            weight=torch.tensor([w], dtype=F64),
        )
        assert float(worst.exp()) == pytest.approx(0.01)


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_order_within_a_look_and_monotone(labels, random):
    lam = seq.bets(RATES, null=0.5)
    total = lambda xs: seq.log_pays(torch.tensor(xs, dtype=F64), lam, null=0.5).sum(-1)
    mixed = list(labels)
    random.shuffle(mixed)
    assert torch.allclose(total(labels), total(mixed))
    i = random.randrange(len(labels))
    assert bool(
        (
            total([*labels[:i], min(1.0, labels[i] + 0.5), *labels[i + 1 :]])
            <= total(labels) + 1e-12
        ).all()
    )


def test_cusum_is_never_above_shiryaev_roberts():
    labels = (torch.rand(60) < 0.4).double().tolist()
    lam, prior = seq.bets(RATES, null=0.5), seq.start_prior(looks=60)
    both = [
        evidence(labels, set(range(60)), lam, null=0.5, prior=prior, step=s)
        for s in (e_detectors.cusum, e_detectors.shiryaev_roberts)
    ]
    assert all(a <= b + 1e-9 for a, b in zip(*both, strict=True))


def test_a_control_costs_no_validity():
    """With any slope c the pay's expectation at the null is 1, whatever the proxy: exactly, over
    answers with values and proxies dependent at will, an even and an uneven choice of the one to
    label.
    """
    z = torch.tensor(
        [[0.1, 0.9, 0.4], [0.8, 0.2, 0.5]], dtype=F64
    )  # two groups of three candidates
    x = torch.tensor(
        [[0.0, 1.0, 0.5], [1.0, 0.0, 0.5]], dtype=F64
    )  # their outcomes: mean ½ in each
    lam = torch.tensor([0.4], dtype=F64)
    for spread in (
        torch.ones(2, 3, dtype=F64),
        torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.1]], dtype=F64),
    ):
        share = 0.5 / 3 + 0.5 * spread / spread.sum(-1, keepdim=True)
        for c in (0.0, 0.8, -1.0):
            for b in range(2):
                w = 1 / (3 * share[b])
                u = seq.control(z[b], z[b].expand(3, 3), w)
                pay = seq.log_pays(x[b], lam, null=0.5, control=u, c=c, weight=w)[0].exp()
                assert float((share[b] * pay).sum()) == pytest.approx(1.0)


def test_a_shared_pool_would_cost_validity():
    """Why each label has its own group: with one pool mean for both of a look's labels the
    product's expectation exceeds 1.
    """
    got, n = 0.0, 0
    for pool in itertools.product(
        (0, 1), repeat=3
    ):  # three candidates, outcome = proxy, fair coins; two are labeled
        z = torch.tensor(pool, dtype=F64)
        u = z - z.mean()
        pays = 1 + 1.0 * (0.5 - z + u)
        got, n = got + float(pays[0] * pays[1]), n + 1
    assert got / n > 1.01


def test_choice_is_as_often_as_its_weight_says():
    spread = torch.tensor([0.0, 1.0, 3.0], dtype=F64)
    u = (torch.arange(12000, dtype=F64) + 0.5) / 12000
    index, weight = seq.choice(spread.expand(12000, 3), u)
    for k, pi in enumerate((0.5 / 3, 0.5 / 3 + 0.125, 0.5 / 3 + 0.375)):
        assert float((index == k).double().mean()) == pytest.approx(pi, abs=1e-3)
        assert float(weight[index == k][0]) == pytest.approx(1 / (3 * pi))
    assert float(weight.mean()) == pytest.approx(1.0, abs=1e-3)
    assert bool((weight <= 2).all())
    assert float(seq.choice(torch.zeros(3, dtype=F64), torch.tensor(0.5, dtype=F64))[1]) == 1.0


def test_fit_control_finds_the_slope_and_forgets_chance():
    g = torch.Generator().manual_seed(3)
    u = torch.rand(4000, generator=g, dtype=F64) - 0.5
    x = (torch.rand(4000, generator=g, dtype=F64) < 0.5 + 0.8 * u).double()
    sums = lambda y, u: [
        torch.tensor(float(len(y)), dtype=F64),
        y.sum(),
        (y * y).sum(),
        (y * u).sum(),
        (u * u).sum(),
    ]
    c, explained = seq.fit_control(*sums(x - 0.5, u))
    assert float(c) == pytest.approx(0.8, abs=0.06)
    assert float(explained) == pytest.approx(0.64 / 12 / 0.25, abs=0.03)  # c²·Var(u)/Var(x)
    c, explained = seq.fit_control(*sums(x[:4] - 0.5, u[:4]))
    assert abs(float(c)) < 0.5 and float(explained) < 0.5
    assert [float(v) for v in seq.fit_control(*torch.zeros(5, dtype=F64))] == [0.0, 0.0]


def test_flips():
    assert float(seq.flipped(torch.tensor(0.3, dtype=F64), flip=0.2)) == pytest.approx(0.38)
    assert float(seq.unflipped(torch.tensor(0.38, dtype=F64), flip=0.2)) == pytest.approx(0.3)
    rate, least = flip_rate(disagree=320, twice=1000)  # 2·.2·.8 = .32
    assert rate == pytest.approx(0.2) and 0.1 < least < 0.2
    assert flip_rate(disagree=9, twice=10)[0] == 0.49
    assert seq.null_mean(delta=0.05, flip=0.2) == pytest.approx(0.47)
    with pytest.raises(ValueError, match="flip is 0.5"):
        seq.unflipped(torch.tensor(0.4), flip=0.5)
    with pytest.raises(ValueError, match="labeled twice disagree"):
        flip_rate(disagree=3, twice=2)


def test_priors_and_deepening():
    assert float(seq.start_prior(looks=7).sum()) == pytest.approx(1)
    assert float(seq.start_prior(looks=7, kind="early").sum()) == pytest.approx(1)
    assert seq.start_prior(looks=3, kind="open").tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 12])
    moves = seq.deepening(J=4, rate=0.25)
    assert torch.allclose(moves.sum(-1), torch.ones(4, dtype=F64))
    s = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=F64)
    assert torch.allclose(
        seq.deepened(s.log(), moves).exp(), torch.tensor([0.3, 0.325, 0.225, 0.15], dtype=F64)
    )
    assert float(seq.deepened(torch.full((4,), -math.inf, dtype=F64), moves).max()) == -math.inf
    with pytest.raises(ValueError, match="uniform, early or open"):
        seq.start_prior(looks=3, kind="late")


# ---- confidence sequences
