"""Distance covariance and its kin: a plain double centring, what independence means, gradients
where 0/0 lies in wait.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from assay.core import Rng
from assay.formulas.dependence import (
    distance_correlation,
    distance_covariance,
    distances,
    joint_distance_covariance,
    kendall,
    pearson,
)


def draw(name: str, *shape: int) -> Tensor:
    count = torch.Size(shape).numel()
    return Rng(5)(name).normal(torch.arange(count), dtype=torch.float64).reshape(shape)


X, Z = draw("x", 3, 17, 2), draw("z", 3, 17, 1)
DEPENDENT = torch.cat([X[..., :1].square() + 0.1 * Z, Z], -1)


def by_hand(x: Tensor, z: Tensor, unbiased: bool) -> float:
    """Both statistics, entry by entry, as the definitions read."""
    n = len(x)
    total = 0.0
    tables = []
    for v in (x, z):
        d = [[float((v[i] - v[j]).norm()) for j in range(n)] for i in range(n)]
        row, whole = [sum(r) for r in d], sum(map(sum, d))
        if unbiased:
            tables.append(
                [
                    [
                        0.0
                        if i == j
                        else d[i][j] - (row[i] + row[j]) / (n - 2) + whole / ((n - 1) * (n - 2))
                        for j in range(n)
                    ]
                    for i in range(n)
                ]
            )
        else:
            tables.append(
                [
                    [d[i][j] - (row[i] + row[j]) / n + whole / n**2 for j in range(n)]
                    for i in range(n)
                ]
            )
    for i, j in itertools.product(range(n), repeat=2):
        total += tables[0][i][j] * tables[1][i][j]
    return total / (n * (n - 3)) if unbiased else total / n**2


@pytest.mark.parametrize("unbiased", [False, True])
def test_it_is_the_plain_double_centring(unbiased: bool) -> None:
    got = distance_covariance(X, DEPENDENT, unbiased=unbiased)
    assert got.tolist() == pytest.approx(
        [by_hand(X[s], DEPENDENT[s], unbiased) for s in range(3)], abs=1e-12
    )


@pytest.mark.parametrize("unbiased", [False, True])
def test_a_judge_s_value_does_not_depend_on_the_others_and_the_order_of_answers_is_nothing(
    unbiased: bool,
) -> None:
    whole = distance_covariance(X, DEPENDENT, unbiased=unbiased)
    assert torch.allclose(distance_covariance(X[1], DEPENDENT[1], unbiased=unbiased), whole[1])
    turn = Rng(1)("turn").permutation(17)
    assert torch.allclose(
        distance_covariance(X[:, turn], DEPENDENT[:, turn], unbiased=unbiased), whole
    )
    assert (
        torch.allclose(distance_covariance(X, DEPENDENT[:, turn], unbiased=unbiased), whole)
        is False
    )


def test_without_dependence_the_unbiased_one_averages_to_0_and_the_biased_one_does_not() -> None:
    x, z = draw("many x", 4000, 6, 1), draw("many z", 4000, 6, 1)
    u, v = distance_covariance(x, z, unbiased=True), distance_covariance(x, z)
    assert abs(float(u.mean())) < 4 * float(u.std()) / 4000**0.5
    assert float(v.min()) >= 0
    a, b = (
        float(distances(y).sum()) / (4000 * 6 * 5) for y in (x, z)
    )  # between different observations
    assert float(v.mean()) == pytest.approx(
        5 / 36 * a * b, rel=0.03
    )  # (n−1)/n² of their product, at n = 6


def test_a_parabola_is_seen_here_and_not_by_pearson() -> None:
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    assert abs(float(pearson(x, x.square()))) < 1e-12
    assert float(distance_correlation(x[:, None], x[:, None].square())) > 0.2
    assert float(distance_correlation(x[:, None], -3 * x[:, None] + 2)) == pytest.approx(1)
    assert float(
        distance_correlation(x[:, None], -3 * x[:, None] + 2, unbiased=True)
    ) == pytest.approx(1)


def test_units_and_origins() -> None:
    base = distance_covariance(X, Z)
    assert torch.allclose(distance_covariance(-5 * X + 3, 2 * Z), 10 * base)
    assert torch.allclose(distance_correlation(-5 * X + 3, 2 * Z), distance_correlation(X, Z))


def test_two_points_by_hand() -> None:
    """Distances 2 and 3: centred they are −1, +1 and −3/2, +3/2 everywhere, so the mean product is
    3/2.
    """
    x, z = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [4.0]])
    assert float(distance_covariance(x, z)) == pytest.approx(1.5)


def test_constants_give_0_and_gradients_are_finite_everywhere() -> None:
    for x in (
        torch.zeros(8, 1, dtype=torch.float64),
        torch.tensor([0.0, 0, 1, 1, 2, 2, 2, 3], dtype=torch.float64)[:, None],
    ):
        for f in (distance_covariance, distance_correlation):
            for unbiased in (False, True):
                x = x.detach().requires_grad_()
                out = f(x, Z[0, :8], unbiased=unbiased)
                (slope,) = torch.autograd.grad(out, x)
                assert bool(torch.isfinite(slope).all()) and bool(torch.isfinite(out))
    assert float(pearson(torch.ones(5), torch.arange(5.0))) == 0


def test_gradients_are_right() -> None:
    x = X[0].clone().requires_grad_()
    for unbiased in (False, True):
        torch.autograd.gradcheck(lambda v, u=unbiased: distance_covariance(v, Z[0], unbiased=u), x)
        torch.autograd.gradcheck(lambda v, u=unbiased: distance_correlation(v, Z[0], unbiased=u), x)
    torch.autograd.gradcheck(lambda v: pearson(v, Z[0, :, 0]), X[0, :, 0].clone().requires_grad_())


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
def test_joint_dependence_of_two_is_theirs_and_of_three_counts_the_pairs(c: float) -> None:
    assert torch.allclose(joint_distance_covariance([X, Z], c=c), distance_covariance(X, Z))
    w = draw("w", 3, 17, 1)
    pairs = distance_covariance(X, Z) + distance_covariance(X, w) + distance_covariance(Z, w)
    at = [joint_distance_covariance([X, Z, w], c=k) for k in (c, 2 * c)]
    assert torch.allclose(at[1] - at[0], c * pairs)  # c·pairs + third order


def test_joint_dependence_sees_what_no_pair_shows() -> None:
    """Three signs of which the third is the product of the others: every pair is independent, all
    three are not.
    """
    a, b = torch.tensor([1.0, 1, -1, -1]), torch.tensor([1.0, -1, 1, -1])
    parts = [v.repeat(5)[:, None] for v in (a, b, a * b)]
    for one, other in itertools.combinations(parts, 2):
        assert float(distance_covariance(one, other)) == pytest.approx(0, abs=1e-6)
    assert float(joint_distance_covariance(parts).abs()) > 0.5


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        distance_covariance(X[:, :3], Z[:, :3], unbiased=True)
    with pytest.raises(ValueError, match="at least 2"):
        joint_distance_covariance([X])


@pytest.mark.parametrize("unbiased", [False, True])
def test_against_the_dcor_package(unbiased: bool) -> None:
    dcor = pytest.importorskip("dcor", reason="the peer is not installed here")
    covariance = dcor.u_distance_covariance_sqr if unbiased else dcor.distance_covariance_sqr
    correlation = dcor.u_distance_correlation_sqr if unbiased else dcor.distance_correlation_sqr
    for s in range(3):
        x, z = X[s].numpy(), DEPENDENT[s].numpy()
        assert float(distance_covariance(X[s], DEPENDENT[s], unbiased=unbiased)) == pytest.approx(
            covariance(x, z), abs=1e-12
        )
        assert float(distance_correlation(X[s], DEPENDENT[s], unbiased=unbiased)) == pytest.approx(
            correlation(x, z), abs=1e-12
        )


def test_kendall_is_the_share_of_pairs_in_one_order_less_those_in_the_other() -> None:
    """Of scipy, where nothing is tied; a tied pair counts nothing; monotone maps change nothing."""
    from scipy.stats import kendalltau

    a, b = draw("ka", 4, 9), draw("kb", 4, 9)
    expected = [kendalltau(x.numpy(), y.numpy()).statistic for x, y in zip(a, b, strict=True)]
    assert kendall(a, b).tolist() == pytest.approx(expected)
    assert torch.equal(kendall(a.exp(), b), kendall(a, b))
    assert kendall(a, -a).tolist() == [-1.0] * 4
    tied = torch.tensor([0.0, 0.0, 1.0])
    assert float(kendall(tied, torch.tensor([0.0, 1.0, 2.0]))) == pytest.approx(2 / 3)
