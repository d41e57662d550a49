"""What the literature proves, on tables where every expectation is a sum: if one of these fails, a
formula is wrong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from assay.core import Rng
from assay.engine.descend import descend
from assay.engine.optimiser import Optimiser
from assay.formulas.advantage import leave_one_out
from assay.formulas.divergence import (
    best_of_n_bound,
    best_of_n_estimate,
    best_of_n_exact,
    best_of_n_pmf,
    k1,
)
from assay.formulas.pairwise import dpo, ipo
from assay.formulas.reduce import per_completion
from assay.formulas.surrogate import reinforce
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import LinearReward


def normal(name: str, *shape: int, scale: float = 1.0) -> Tensor:
    place = torch.arange(math.prod(shape))
    return scale * Rng(0)(name).normal(place, dtype=torch.float64).reshape(shape)


def probs(policy: TablePolicy) -> Tensor:
    return policy.logits.detach().softmax(-1)


def value(policy: TablePolicy, reference: TablePolicy, score: Tensor, beta: float) -> Tensor:
    """E r − β·KL a context, exact: every decision is drawn alike."""
    lp, lq = policy.logits.log_softmax(-1), reference.logits.log_softmax(-1)
    return policy.length * (lp.exp() * (score - beta * (lp - lq))).sum(-1)


# ---- the KL-regularised optimum


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("beta", [0.1, 1.0, 7.0])
def test_gibbs_is_the_optimum_and_its_value_is_beta_log_z(beta: float, length: int) -> None:
    """J(π) = β log Z − β·KL(π‖Gibbs) for every π: the whole landscape, not only its top."""
    reference, score = TablePolicy(normal("reference", 3, 6), length=length), normal("score", 3, 6)
    gibbs = reference.tilted(score, beta=beta)
    top = beta * reference.log_partition(score, beta=beta)
    torch.testing.assert_close(value(gibbs, reference, score, beta), top)
    prompts = reference.prompts(torch.arange(3))
    for trial in range(20):
        other = TablePolicy(
            gibbs.logits + normal(f"trial {trial}", 3, 6, scale=0.1 * trial), length=length
        )
        gap = beta * length * other.kl_per_decision(gibbs, prompts)
        torch.testing.assert_close(value(other, reference, score, beta), top - gap)
        assert (gap >= 0).all() and (trial == 0 or (gap > 0).all())


def test_the_partition_of_answers_is_that_of_their_decisions() -> None:
    """Z over all 4³ whole answers, each with its own reward and probability."""
    reference, score = TablePolicy(normal("reference", 1, 4), length=3), normal("score", 1, 4)
    answers = torch.tensor(list(itertools.product(range(4), repeat=3)))
    probability = reference.logits.log_softmax(-1)[0][answers].sum(-1).exp()
    tilted = probability * (score[0][answers].sum(-1) / 0.7).exp()
    torch.testing.assert_close(reference.log_partition(score, beta=0.7)[0], tilted.sum().log())
    mine = reference.tilted(score, beta=0.7).logits.log_softmax(-1)[0][answers].sum(-1).exp()
    torch.testing.assert_close(mine, tilted / tilted.sum())


def test_policy_gradient_with_kl_in_the_reward_ends_at_gibbs() -> None:
    """At Gibbs r − β·log(π/π₀) is one number for all answers, so leave-one-out advantages are 0 and
    sampling adds no noise.
    """
    reference = TablePolicy(normal("reference", 2, 5))
    score, beta = normal("score", 2, 5), 0.5
    reward = LinearReward(score[None], ("r",))
    policy = reference.copy()
    opt = Optimiser([policy.logits], lr=0.1, clip=math.inf)
    prompts = reference.prompts(torch.arange(2))
    for t in range(250):
        x = policy.sample(prompts, 64, Rng(0)("sample", t))
        paid = reward(x)[0] - beta * k1(x.logp, reference.logp(x)).sum(-1).detach()
        A = leave_one_out(paid, x.present)
        descend(
            opt,
            lambda rows, i, A=A: reinforce(policy.logp(rows), A[i, :, None]),
            x,
            reduce=per_completion,
        )
    gibbs = probs(reference.tilted(score, beta=beta))
    assert (
        float((probs(policy) - gibbs).abs().max())
        < 1e-3
        < 0.1
        < float((probs(reference) - gibbs).abs().max())
    )


def test_leave_one_out_is_unbiased_and_the_group_mean_is_short_by_one_over_n() -> None:
    """E over all 4³ groups of three answers, against ∇E r; with the mean of all as baseline the
    gradient is (n−1)/n of it.
    """
    logits, score = normal("logits", 4).requires_grad_(), normal("score", 4)
    true = torch.autograd.grad((logits.softmax(-1) * score).sum(), logits)[0]
    groups = torch.tensor(list(itertools.product(range(4), repeat=3)))
    lp = logits.log_softmax(-1)[groups]
    weight = lp.sum(-1).exp().detach()
    paid, here = score[groups], torch.ones_like(groups, dtype=torch.bool)
    for A, share in ((leave_one_out(paid, here), 1.0), (paid - paid.mean(-1, keepdim=True), 2 / 3)):
        loss = (weight[:, None] * reinforce(lp[..., None], A[..., None])[..., 0]).sum() / 3
        torch.testing.assert_close(
            -torch.autograd.grad(loss, logits, retain_graph=True)[0], share * true
        )


# ---- preference losses


def test_dpo_on_soft_labels_of_all_pairs_is_gibbs() -> None:
    reference, score, beta = TablePolicy(normal("reference", 1, 6)), normal("score", 6), 0.3
    first, second = torch.triu_indices(6, 6, 1)
    p = torch.sigmoid(score[first] - score[second])
    logits = reference.logits.detach().clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [logits], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )
    start = reference.logits.log_softmax(-1).detach()[0]

    def loss() -> Tensor:
        solver.zero_grad()
        ratio = logits.log_softmax(-1)[0] - start
        total = dpo(ratio[first], ratio[second], beta=beta, p=p).mean()
        total.backward()
        return total

    solver.step(loss)
    gap = logits.detach().softmax(-1) - probs(reference.tilted(score[None], beta=beta))
    assert float(gap.abs().max()) < 1e-3


def margins(
    loss: Callable[[Tensor, Tensor], Tensor], steps: tuple[int, ...], lr: float
) -> list[float]:
    """The log-ratio margin of a two-answer table under gradient descent on one hard label."""
    ratio, out = torch.zeros(2, dtype=torch.float64, requires_grad=True), []
    for t in range(1, max(steps) + 1):
        (gradient,) = torch.autograd.grad(loss(*ratio.log_softmax(-1)), ratio)
        ratio = (ratio - lr * gradient).detach().requires_grad_()
        if t in steps:
            out.append(float((ratio[0] - ratio[1]).detach()))
    return out


def test_on_hard_labels_dpo_grows_like_log_t_and_ipo_settles() -> None:
    """DPO: dm/dt = 2βη·σ(−βm), so βm = log t + const and every doubling adds log 2. IPO stops at
    1/(2τ).
    """
    beta = 0.5
    m = margins(lambda w, l: dpo(w, l, beta=beta), (1000, 2000, 4000), lr=0.5)
    assert m[0] > 5
    assert [beta * (m[1] - m[0]), beta * (m[2] - m[1])] == pytest.approx(
        [math.log(2)] * 2, abs=0.01
    )
    for tau in (0.1, 0.5):
        early, late = margins(lambda w, l, tau=tau: ipo(w, l, tau=tau), (500, 1000), lr=0.02)
        assert early == pytest.approx(1 / (2 * tau), abs=1e-3) and late == pytest.approx(
            early, abs=1e-3
        )


# ---- best of n


def test_the_law_of_best_of_n_by_enumeration() -> None:
    """All 4ⁿ pools, ties shared among the winners: the table's law, its reward and its KL."""
    reference = TablePolicy(normal("reference", 1, 4))
    p = probs(reference)[0]
    for score in (normal("score", 4), torch.tensor([1.0, 0.0, 1.0, 0.5], dtype=torch.float64)):
        for n in (1, 2, 3, 5):
            pools = torch.tensor(list(itertools.product(range(4), repeat=n)))
            chance = p[pools].prod(-1)
            best = score[pools] == score[pools].amax(-1, keepdim=True)
            law = torch.stack(
                [(chance * (best & (pools == v)).sum(-1) / best.sum(-1)).sum() for v in range(4)]
            )
            mine = reference.best_of_n(score[None], n)
            torch.testing.assert_close(probs(mine)[0], law)
            torch.testing.assert_close((law * score).sum(), (chance * score[pools].amax(-1)).sum())
            kl = mine.kl_per_decision(
                reference, reference.prompts(torch.zeros(1, dtype=torch.int64))
            )[0]
            torch.testing.assert_close(kl.detach(), (law * (law / p).log()).sum())
            torch.testing.assert_close(kl.detach(), best_of_n_exact(p, score, n))


def test_the_bound_holds_and_the_estimate_is_the_better_of_the_two() -> None:
    """K = 50 answers: the bound goes on growing as log n, KL stops at −log π₀(best), the estimate
    follows it.
    """
    for trial in range(20):
        p = normal(f"trial {trial}", 50).softmax(-1)
        score = normal(f"score {trial}", 50)
        for n in (64, 1024):
            exact, bound = float(best_of_n_exact(p, score, n)), float(best_of_n_bound(n))
            law = probs(TablePolicy(p.log()[None]).best_of_n(score[None], n))[0]
            estimate = float((law * best_of_n_estimate(p.log(), n)).sum())
            assert exact <= bound + 1e-12 and abs(estimate - exact) < abs(bound - exact)
        last = float(best_of_n_exact(p, score, 10**6))
        assert last == pytest.approx(-float(p[score.argmax()].log()), abs=1e-6)
    assert float(best_of_n_bound(64)) == pytest.approx(3.175, abs=5e-4)
    assert float(best_of_n_bound(1024)) == pytest.approx(5.932, abs=5e-4)


def test_with_two_levels_of_reward_kl_is_log_two_whatever_n() -> None:
    """Half of the mass is right: best of 64 conditions on being right, log 2 = 0.693 nats; the
    bound says 3.17.
    """
    p, score = (
        torch.full((10,), 0.1, dtype=torch.float64),
        torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(5),
    )
    assert float(best_of_n_exact(p, score, 64)) == pytest.approx(math.log(2), abs=1e-9)
    law = probs(TablePolicy(p.log()[None]).best_of_n(score[None], 64))[0]
    torch.testing.assert_close(law, score / 5)


def test_best_of_n_wins_n_times_in_n_plus_one() -> None:
    """P(best of n beats a fresh draw) = n/(n+1) without ties; on K equal answers n/(n+1) + O(1/K)
    with ties counted half.
    """
    K = 400
    score, reference = (
        torch.arange(K, dtype=torch.float64)[None],
        TablePolicy(torch.zeros(1, K, dtype=torch.float64)),
    )
    rank = (torch.arange(K, dtype=torch.float64) + 0.5) / K
    for n in (1, 4, 16):
        law = probs(reference.best_of_n(score, n))[0]
        assert float((law * rank).sum()) == pytest.approx(n / (n + 1), abs=n / (4 * K**2) * 4)


@pytest.mark.parametrize("n", [2, 8, 64, 1024])
@pytest.mark.parametrize("V", [3, 20, 100])
def test_the_expected_estimate_of_best_of_n_lies_between_the_kl_and_the_bound(
    V: int, n: int
) -> None:
    """Where nothing ties: so that "nearer than the bound" in expectation is no finding."""
    g = torch.Generator().manual_seed(V * n)
    for _ in range(10):
        pmf = torch.rand(V, generator=g, dtype=torch.float64).pow(4)
        pmf, r = pmf / pmf.sum(), torch.randperm(V, generator=g).double()
        found = float((best_of_n_pmf(pmf, r, n) * best_of_n_estimate(pmf.log(), n)).sum())
        assert float(best_of_n_exact(pmf, r, n)) - 1e-9 <= found
        assert found <= float(best_of_n_bound(n)) + 1e-9
