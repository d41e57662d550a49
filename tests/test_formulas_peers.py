"""Losses and advantages against those of TRL and verl, on one ragged batch.

The peers' numbers are written out here from their definitions, row by row and token by token, so
that none of the library's own parts can be wrong on both sides: TRL's GRPOTrainer (`loss_type`,
`importance_sampling_level`, `scale_rewards`, `multi_objective_aggregation`) and verl's
`core_algos` (`agg_loss`, policy losses, advantage estimators). Values and gradients are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import fmean, stdev

import pytest
import torch
from torch import Tensor

from assay.formulas.advantage import (
    decoupled,
    group_centred,
    group_standardised,
    leave_one_out,
    returns_to_go,
    whiten,
)
from assay.formulas.divergence import k2, k3
from assay.formulas.entropy_mechanism import clip_cov, covariances, held, top_cov
from assay.formulas.reduce import (
    constant_length,
    per_completion,
    per_completion_token,
    per_token,
)
from assay.formulas.sequence_ratio import (
    clipped_weight,
    geometric_mean,
    sequence_clipped,
    soft_gate,
)
from assay.formulas.surrogate import clipped

LENGTHS = torch.tensor([[7, 2, 5], [1, 6, 3]])
B, N, T = 2, 3, 7
MASK = torch.arange(T) < LENGTHS[..., None]
PRESENT = MASK.any(-1)
REWARD = torch.tensor([[1.0, 0.0, 0.3], [0.0, 0.0, 2.0]], dtype=torch.float64)
ROWS = [(b, n) for b in range(B) for n in range(N)]


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """log π, log π_old `[B,N,T]` with ratios on both sides of every bound, and A `[B,N,1]`."""
    g = torch.Generator().manual_seed(3)
    old = -2 * torch.rand(B, N, T, generator=g, dtype=torch.float64) - 0.1
    moved = old + 0.5 * torch.randn(B, N, T, generator=g, dtype=torch.float64)
    logp = torch.where(MASK, moved, 0.0).requires_grad_()
    return logp, torch.where(MASK, old, 0.0), group_standardised(REWARD, PRESENT)[..., None]


def tokens(logp: Tensor, old: Tensor, A: Tensor) -> list[list[tuple[Tensor, Tensor, Tensor]]]:
    """The peers' flat batch: for each completion, its tokens' log π, log π_old and A."""
    return [
        [(logp[b, n, t], old[b, n, t], A[b, n, 0]) for t in range(int(LENGTHS[b, n]))]
        for b, n in ROWS
    ]


def grpo(p: Tensor, o: Tensor, a: Tensor, low: float = 0.2, high: float = 0.2) -> Tensor:
    r = (p - o).exp()
    return -torch.minimum(r * a, torch.clamp(r, 1 - low, 1 + high) * a)


def cispo(p: Tensor, o: Tensor, a: Tensor) -> Tensor:
    return -torch.clamp((p - o).exp(), max=1.5).detach() * a * p


def sapo(p: Tensor, o: Tensor, a: Tensor) -> Tensor:
    tau = 1.0 if a > 0 else 1.05
    return -torch.sigmoid(tau * ((p - o).exp() - 1)) * 4 / tau * a


def whole(one: Callable[[Tensor, Tensor], Tensor], rows: list) -> list:  # type: ignore[type-arg]
    """A loss of a completion's mean log-ratio and A, repeated for each of its tokens."""
    means = [torch.stack([p - o for p, o, _ in row]).mean() for row in rows]
    return [[one(m, row[0][2])] * len(row) for m, row in zip(means, rows, strict=True)]


def trl_sequence(m: Tensor, a: Tensor) -> Tensor:
    s = m.exp()
    return -torch.minimum(s * a, torch.clamp(s, 0.95, 1.08) * a)


def each(one: Callable[..., Tensor], rows: list) -> list:  # type: ignore[type-arg]
    return [[one(*token) for token in row] for row in rows]


def sequence_mean_token_mean(rows: list) -> Tensor:  # type: ignore[type-arg]
    """TRL's grpo and sapo, verl's seq-mean-token-mean."""
    return torch.stack([torch.stack(row).mean() for row in rows]).mean()


def token_mean(rows: list) -> Tensor:  # type: ignore[type-arg]
    """TRL's bnpo, dapo and cispo, verl's token-mean."""
    return torch.stack([x for row in rows for x in row]).mean()


def sequence_mean_token_sum(rows: list) -> Tensor:  # type: ignore[type-arg]
    """verl's seq-mean-token-sum."""
    return torch.stack([torch.stack(row).sum() for row in rows]).mean()


def over_a_constant(rows: list) -> Tensor:  # type: ignore[type-arg]
    """TRL's dr_grpo with max_completion_length 11."""
    return torch.stack([x for row in rows for x in row]).sum() / (len(rows) * 11)


def geo_mean(rows: list) -> Tensor:  # type: ignore[type-arg]
    """verl's geo_mean with clip ratios .4: log-ratios held against the sign of A."""
    losses = []
    for row in rows:
        a = row[0][2]
        bound = (
            (lambda d: torch.clamp(d, max=0.4)) if a > 0 else (lambda d: torch.clamp(d, min=-0.4))
        )
        losses.append(-a * torch.stack([bound(p - o) for p, o, _ in row]).mean().exp())
    return torch.stack(losses).mean()


Reduced = Callable[[Tensor], Tensor]
Unreduced = Callable[[Tensor, Tensor, Tensor], Tensor]
Peer = Callable[[list], Tensor]  # type: ignore[type-arg]
CASES: dict[str, tuple[Unreduced, Reduced, Peer]] = {
    "trl grpo": (
        clipped,
        per_completion_token,
        lambda rows: sequence_mean_token_mean(each(grpo, rows)),
    ),
    "trl dapo, verl vanilla with clip-higher": (
        partial(clipped, high=0.28),
        per_token,
        lambda rows: token_mean(each(partial(grpo, high=0.28), rows)),
    ),
    "trl dr_grpo": (
        clipped,
        partial(constant_length, length=11),
        lambda rows: over_a_constant(each(grpo, rows)),
    ),
    "verl seq-mean-token-sum": (
        clipped,
        per_completion,
        lambda rows: sequence_mean_token_sum(each(grpo, rows)),
    ),
    "trl and verl cispo": (
        partial(clipped_weight, high=0.5),
        per_token,
        lambda rows: token_mean(each(cispo, rows)),
    ),
    "trl and verl sapo": (
        soft_gate,
        per_completion_token,
        lambda rows: sequence_mean_token_mean(each(sapo, rows)),
    ),
    "trl and verl gspo": (
        partial(sequence_clipped, mask=MASK, low=0.05, high=0.08),
        per_completion_token,
        lambda rows: sequence_mean_token_mean(whole(trl_sequence, rows)),
    ),
    "verl gspo through each token": (
        partial(sequence_clipped, mask=MASK, low=0.05, high=0.08, token=True),
        per_completion_token,
        lambda rows: sequence_mean_token_mean(whole(trl_sequence, rows)),
    ),
    "verl geo_mean": (partial(geometric_mean, mask=MASK), per_completion_token, geo_mean),
}


@pytest.mark.parametrize("name", CASES)
def test_a_loss_and_its_gradient_are_the_peer_s(name: str) -> None:
    loss, reduce, peer = CASES[name]
    logp, old, A = batch()
    mine = (reduce(MASK) * torch.where(MASK, loss(logp, old, A), 0.0)).sum()
    theirs = peer(tokens(logp, old, A))
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(x, logp)[0] for x in (mine, theirs)))


def test_the_batch_is_beyond_every_bound_somewhere() -> None:
    logp, old, A = batch()
    rho = (logp - old).exp()[MASK]
    a = A.expand_as(logp)[MASK]
    for beyond in (rho > 1.5, (rho > 1.28) & (a > 0), (rho < 0.8) & (a < 0)):
        assert beyond.any() and not beyond.all()


def test_trl_and_verl_s_kl_in_the_loss() -> None:
    """TRL's per_token_kl and verl's low_var_kl are k3; verl's mse is k2."""
    logp, ref, _ = batch()
    logp = logp.detach()
    for mine, theirs in (
        (k3, lambda p, q: math.exp(q - p) - (q - p) - 1),
        (k2, lambda p, q: 0.5 * (p - q) ** 2),
    ):
        found = (per_token(MASK) * mine(logp, ref)).sum()
        flat = [theirs(float(p), float(q)) for p, q in zip(logp[MASK], ref[MASK], strict=True)]
        assert float(found) == pytest.approx(fmean(flat), rel=1e-12)


def test_advantages_of_groups() -> None:
    """scale_rewards group and none; RLOO; verl has 1e-6 where TRL has 1e-4."""
    for b in range(B):
        r = REWARD[b].tolist()
        for eps in (1e-4, 1e-6):
            found = group_standardised(REWARD, PRESENT, eps=eps)[b].tolist()
            assert found == pytest.approx([(x - fmean(r)) / (stdev(r) + eps) for x in r])
        found = group_centred(REWARD, PRESENT)[b].tolist()
        assert found == pytest.approx([x - fmean(r) for x in r])
        found = leave_one_out(REWARD, PRESENT)[b].tolist()
        rest = [(sum(r) - x) / (N - 1) for x in r]
        assert found == pytest.approx([x - y for x, y in zip(r, rest, strict=True)])


def whitened(flat: list[float]) -> list[float]:
    """verl's masked_whiten over all tokens, ÷ n where it has ÷ (n − 1)."""
    s = math.sqrt(fmean([(x - fmean(flat)) ** 2 for x in flat]))
    return [(x - fmean(flat)) / s for x in flat]


def test_reinforce_plus_plus_and_its_baseline() -> None:
    """verl: token rewards −β·k1 and the outcome at the end, returns to go, whitened by tokens; and
    the group's mean taken from the outcome, at each token, whitened.
    """
    logp, ref, _ = batch()
    logp = logp.detach()
    beta, paid, flat = 0.1, torch.zeros(B, N, T, dtype=torch.float64), []
    for b, n in ROWS:
        end = int(LENGTHS[b, n])
        each_ = [-beta * float(logp[b, n, t] - ref[b, n, t]) for t in range(end)]
        each_[-1] += float(REWARD[b, n])
        paid[b, n, :end] = torch.tensor(each_, dtype=torch.float64)
        flat += [sum(each_[t:]) for t in range(end)]
    found = whiten(returns_to_go(paid, MASK), MASK)[MASK].tolist()
    assert found == pytest.approx(whitened(flat))

    flat = [
        float(REWARD[b, n] - REWARD[b].mean()) for b, n in ROWS for _ in range(int(LENGTHS[b, n]))
    ]
    wide = group_centred(REWARD, PRESENT)[..., None].expand(B, N, T)
    assert whiten(wide, MASK)[MASK].tolist() == pytest.approx(whitened(flat))


def test_trl_s_normalize_then_sum() -> None:
    """GDPO: each reward standardised in its group, the weighted sum whitened over the batch."""
    second = torch.tensor([[0.0, 5.0, 9.0], [3.0, 1.0, 2.0]], dtype=torch.float64)
    w = (1.0, 0.5)
    found = whiten(decoupled(torch.stack([REWARD, second]), PRESENT, weights=w), PRESENT)
    flat = []
    for b, n in ROWS:
        groups = [(r[b].tolist(), c) for r, c in zip((REWARD, second), w, strict=True)]
        flat.append(sum(c * (g[n] - fmean(g)) / (stdev(g) + 1e-4) for g, c in groups))
    assert found.flatten().tolist() == pytest.approx(whitened(flat))

    gone = second.clone()  # nanmean, nanstd and nansum
    gone[0, 1], gone[1] = torch.nan, torch.nan
    found = decoupled(torch.stack([REWARD, gone]), PRESENT, weights=w)
    alone = decoupled(REWARD[None], PRESENT)
    torch.testing.assert_close(found[1], alone[1])
    assert float(found[0, 1]) == float(alone[0, 1])
    known = [0.0, 9.0]
    z = [0.5 * (x - fmean(known)) / (stdev(known) + 1e-4) for x in known]
    assert (found - alone)[0, [0, 2]].tolist() == pytest.approx(z)


def test_verl_s_kl_cov_and_clip_cov() -> None:
    """kl_cov: the tokens of the largest covariance, and |log-ratio| added on them alone. clip_cov:
    as many of those between the bounds, whose loss is 0.
    """
    logp, old, A = batch()
    wide, share = A.expand_as(logp), 0.2
    a, p, o = wide[MASK], logp.detach()[MASK], old[MASK]
    cov = (a - a.mean()) * (p - p.mean())
    count = max(1, int(len(cov) * share))
    largest = set(cov.sort(descending=True).indices[:count].tolist())
    mine = covariances(logp.detach(), wide, MASK)
    torch.testing.assert_close(mine[MASK], cov)
    picked = top_cov(mine, share=share)
    assert set(picked[MASK].nonzero()[:, 0].tolist()) == largest
    loss = held(logp, old, A, picked, beta=0.7)[MASK]
    r = (p - o).exp()
    theirs = [
        -a[i] * r[i] + (0.7 * (p[i] - o[i]).abs() if i in largest else 0.0) for i in range(len(a))
    ]
    torch.testing.assert_close(loss.detach(), torch.stack(theirs))

    low, high = float(cov.quantile(0.4)), float(cov.max())
    u = torch.rand(B, N, T, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = clip_cov(mine, u, share=share, low=low, high=high)[MASK]
    assert int(chosen.sum()) == count and bool(((cov > low) & (cov < high))[chosen].all())
