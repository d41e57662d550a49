"""Members against each other: what must hold of best-of-n by one that the others read."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from torch import Tensor

from assay.audits.members import parting
from assay.errors import InputError


def normal(rho: float, *, M: int = 3, B: int = 200, N: int = 64, seed: int = 0) -> Tensor:
    """Members with correlation rho."""
    g = torch.Generator().manual_seed(seed)
    shared = torch.randn(B, N, generator=g, dtype=torch.float64)
    own = torch.randn(M, B, N, generator=g, dtype=torch.float64)
    return math.sqrt(rho) * shared + math.sqrt(1 - rho) * own


def test_it_is_the_mean_over_all_subsets() -> None:
    """By hand: every subset of n of 5 completions, every member that chooses, every prompt."""
    x = normal(0.5, M=3, B=4, N=5)
    found = parting(x, draws=10)
    z = x - x.mean(-1, keepdim=True)
    z = z / z.var(-1).mean(-1).sqrt()[:, None, None]
    for k, n in enumerate(found.ns):
        chooser, others = [], []
        for i, b in itertools.product(range(3), range(4)):
            for subset in itertools.combinations(range(5), n):
                best = max(subset, key=lambda c: float(z[i, b, c]))
                chooser.append(z[i, b, best])
                others.append(sum(z[j, b, best] for j in range(3) if j != i) / 2)
        assert float(found.chooser.mean[k]) == pytest.approx(float(sum(chooser)) / len(chooser))
        assert float(found.others.mean[k]) == pytest.approx(float(sum(others)) / len(others))


def test_normal_members_keep_their_correlation() -> None:
    """others / chooser is ρ at every n, so they never part; the intervals hold it."""
    for rho in (0.2, 0.8):
        found = parting(normal(rho, B=400))
        assert bool((found.ratio.low[1:] < rho).all() and (rho < found.ratio.high[1:]).all())
        assert found.parts_at is None
        assert float(found.correlation.mean) == pytest.approx(rho, abs=0.02)
        assert "do not part" in found.lines()[-1]


def test_intervals_hold_the_correlation_as_often_as_they_say() -> None:
    held = []
    for seed in range(60):
        found = parting(normal(0.5, B=40, N=16, seed=seed), draws=400, level=0.8)
        held.append(bool(found.ratio.low[-1] < 0.5 < found.ratio.high[-1]))
    assert 0.6 < sum(held) / len(held) < 0.95


def test_who_errs_alone_at_the_top_parts() -> None:
    """Members that agree but for one completion in 30, which each likes by itself."""
    x = normal(0.9, B=300, N=128)
    g = torch.Generator().manual_seed(1)
    x = x + 6.0 * (torch.rand(x.shape, generator=g) < 1 / 30)
    found = parting(x)
    assert found.parts_at is not None and found.parts_at <= 32
    assert float(found.ratio.mean[-1]) < float(found.ratio.mean[1]) / 2
    assert float(found.spread.mean[-1]) > 2 * float(found.spread.mean[0])
    assert f"part at n = {found.parts_at}" in found.lines()[-1]


def test_units_and_order_do_not_matter() -> None:
    x = normal(0.5)
    offset = torch.arange(200, dtype=torch.float64)[:, None]
    scale = torch.tensor([1.0, 100.0, 0.01])[:, None, None]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    one, other = parting(x), parting((scale * (x + offset))[..., order])
    for name in ("chooser", "others", "spread"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            torch.testing.assert_close(a, b)


def test_one_member_is_never_its_own_witness() -> None:
    """What the others say of member 0's choice does not depend on member 0's scale of errors: with
    independent others it is nothing, however much member 0 gains.
    """
    found = parting(normal(0.0), proxy=0)
    assert float(found.chooser.mean[-1]) > 2
    assert float(found.others.low[-1]) < 0 < float(found.others.high[-1])


def test_gains_begin_at_nothing_and_the_chooser_s_grows() -> None:
    found = parting(normal(0.5))
    assert float(found.d[0]) == 0 and abs(float(found.chooser.mean[0])) < 1e-9
    assert bool((found.chooser.mean.diff() > 0).all()) and bool((found.d.diff() > 0).all())
    bound = [math.sqrt(math.log(n) - (n - 1) / n) for n in found.ns]
    assert bool((found.d <= torch.tensor(bound, dtype=torch.float64) + 1e-9).all())
    assert found.d[3].item() == pytest.approx(bound[3], abs=0.02)


def test_repeated_completions_cost_less_kl() -> None:
    """Two distinct completions in equal parts: best-of-n goes to one of them, log 2 and no more."""
    x = (torch.arange(64) % 2).double().expand(2, 10, 64)
    found = parting(x)
    assert float(found.d[-1]) ** 2 == pytest.approx(math.log(2), rel=1e-6)


def test_absent_completions_are_as_if_they_were_not_there() -> None:
    x = normal(0.5, B=30, N=16)
    padded = torch.cat([x, x.new_full((3, 30, 5), torch.nan)], -1)
    half = padded.clone()
    half[1, :, 16] = 7.0  # only one member scored it
    one, two, three = parting(x), parting(padded), parting(half)
    torch.testing.assert_close(one.ratio.mean, two.ratio.mean, equal_nan=True)
    torch.testing.assert_close(one.d, three.d)
    assert (one.left_out, three.left_out) == (0, 30)
    assert "30 completions are left out" in three.lines()[-1]


def test_prompts_of_unequal_size_count_where_they_can() -> None:
    x = normal(0.5, B=30, N=16)
    x[:, 20:, 4:] = torch.nan
    x[:, 29, 1:] = torch.nan
    found = parting(x)
    assert found.ns == (1, 2, 4, 8, 16) and found.prompts == 29 and found.completions == (4, 16)
    assert bool(torch.isfinite(found.others.mean).all())


def test_the_record_is_json() -> None:
    record = json.loads(json.dumps(parting(normal(0.5, B=10)).record(), allow_nan=False))
    assert record["ratio"]["mean"][0] is None and record["members"] == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x[:1], "at least 2 reward models"),
        (lambda x: x[..., :1], "no prompt has two completions"),
        (lambda x: x.index_fill(2, torch.tensor([3]), torch.inf), "scores completion 3"),
        (lambda x: torch.stack([x[0], torch.full_like(x[0], 0.1)]), "reward model 1 gives all"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parting(change(normal(0.5, B=4, N=8)))


def test_the_proxy_must_be_a_member() -> None:
    with pytest.raises(InputError, match="numbered from 0"):
        parting(normal(0.5, B=4, N=8), proxy=3)
