"""Raters without a truth: exact frequencies give exact rates, EM agrees with the closed form, and
copies mislead both.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.formulas.noise import audit, corrected, dawid_skene, three_raters

rate = st.floats(0.05, 0.4)


def votes_of(
    prior: float, hit: list[float], alarm: list[float], scale: int = 4_000_000
) -> tuple[Tensor, Tensor]:
    """All eight patterns and how often each comes, in exact proportion."""
    patterns = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    chance = torch.zeros(8, dtype=torch.float64)
    for p, rates in ((prior, hit), (1 - prior, alarm)):
        r = torch.tensor(rates, dtype=torch.float64)
        chance += p * torch.where(patterns > 0, r, 1 - r).prod(1)
    return patterns, (chance * scale).round().long()


@settings(max_examples=20)
@given(
    prior=st.floats(0.2, 0.8),
    miss=st.lists(rate, min_size=3, max_size=3),
    alarm=st.lists(rate, min_size=3, max_size=3),
)
def test_exact_frequencies_give_the_rates_back(
    prior: float, miss: list[float], alarm: list[float]
) -> None:
    hit = [1 - m for m in miss]
    patterns, counts = votes_of(prior, hit, alarm, scale=200_000)
    found = three_raters(patterns.repeat_interleave(counts, 0).float())
    assert float(found.prior) == pytest.approx(prior, abs=5e-3)
    assert found.hit.tolist() == pytest.approx(
        hit, abs=5e-3
    ) and found.alarm.tolist() == pytest.approx(alarm, abs=5e-3)


def test_expectation_maximisation_agrees_where_the_solution_is_inside() -> None:
    patterns, counts = votes_of(0.6, [0.9, 0.75, 0.7], [0.2, 0.15, 0.3], scale=20_000)
    votes = patterns.repeat_interleave(counts, 0)
    closed, em = three_raters(votes.float()), dawid_skene(votes, classes=2)
    assert float(em.prior[1]) == pytest.approx(float(closed.prior), abs=1e-4)
    assert em.confusion[:, 1, 1].tolist() == pytest.approx(closed.hit.tolist(), abs=1e-4)
    assert torch.allclose(em.posterior.sum(1), torch.ones(len(votes), dtype=torch.float64))


def test_turning_both_classes_round_turns_the_answer_round() -> None:
    patterns, counts = votes_of(0.7, [0.9, 0.8, 0.75], [0.1, 0.2, 0.3], scale=50_000)
    votes = patterns.repeat_interleave(counts, 0).float()
    a, b = three_raters(votes), three_raters(1 - votes)
    assert float(a.prior) == pytest.approx(1 - float(b.prior))
    assert a.hit.tolist() == pytest.approx((1 - b.alarm).tolist())


def test_raters_who_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"covariances of the three raters .* must be above 0"):
        three_raters(
            torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
        )


def test_a_missing_vote_is_no_vote_and_three_classes_come_back() -> None:
    truth = torch.randint(3, (6000,))
    confusion = torch.tensor([[0.8, 0.1, 0.1], [0.15, 0.75, 0.1], [0.05, 0.15, 0.8]])
    votes = torch.stack([torch.multinomial(confusion[truth], 1)[:, 0] for _ in range(4)], 1)
    votes = torch.where(torch.rand(votes.shape) < 0.2, -1, votes)
    found = dawid_skene(votes, classes=3)
    assert torch.allclose(found.confusion, confusion.double().expand(4, 3, 3), atol=0.06)
    assert float((found.posterior.argmax(1) == truth).double().mean()) > 0.85
    with pytest.raises(ValueError, match="votes lie in 0 … 1"):
        dawid_skene(votes, classes=2)


def test_a_rater_who_copies_is_believed() -> None:
    """What the docstring warns of: the copied rater looks better than it is, and nothing in three
    votes shows it.
    """
    truth = torch.rand(20000) < 0.6
    own = (truth[:, None] ^ (torch.rand(20000, 3) < 0.3)).long()
    copied = torch.stack([own[:, 0], own[:, 0], own[:, 2]], 1)
    assert float(three_raters(own.float()).hit[0]) == pytest.approx(0.7, abs=0.04)
    assert float(three_raters(copied.float()).hit[0]) > 0.9


@settings(max_examples=20)
@given(
    shares=st.lists(st.floats(0.05, 1.0), min_size=6, max_size=6),
    errors=st.lists(rate, min_size=6, max_size=6),
    each=st.booleans(),
)
def test_the_noise_matrix_is_undone(shares: list[float], errors: list[float], each: bool) -> None:
    """Three classes, two decisions: push shares through a matrix, and they come back."""
    joint = torch.tensor(shares, dtype=torch.float64).reshape(3, 2)
    joint = joint / joint.sum()
    wrong = torch.tensor(errors, dtype=torch.float64).reshape(2, 3)
    T = torch.diag_embed(1 - wrong) + torch.stack(
        [torch.stack([w.roll(k + 1) * 0 + w[k] / 2 for k in range(3)]) for w in wrong]
    ) * (1 - torch.eye(3))
    T = T if each else T[:1].expand(2, 3, 3)
    assert torch.allclose(T.sum(-1), torch.ones_like(T[..., 0]))
    seen = torch.einsum("dkv,kd->vd", T, joint)
    back = corrected(seen, T if each else T[0])
    assert torch.allclose(back, joint, atol=1e-9)
    assert torch.allclose(back.sum(0), seen.sum(0)), "each decision keeps its share"


def test_an_audit_by_hand() -> None:
    """Of the truly better 30 of 40 are chosen, of the others 20 of 60: 70 right, apart by 5/12."""
    found = audit(torch.tensor([[0.40, 0.20], [0.10, 0.30]], dtype=torch.float64))
    assert float(found.accuracy) == pytest.approx(0.7)
    assert float(found.gap) == pytest.approx(30 / 40 - 20 / 60)


def test_votes_that_say_nothing_are_no_error_and_correct_nothing_below_zero() -> None:
    useless = torch.full((2, 2), 0.5, dtype=torch.float64)
    back = corrected(torch.tensor([[0.1, 0.4], [0.3, 0.2]]), useless)
    assert bool((back >= 0).all()) and float(back.sum()) == pytest.approx(1.0)
