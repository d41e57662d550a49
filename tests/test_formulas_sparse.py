"""Token weights of a preference loss: which KL, limits, padding, MaPO's rescaling."""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas import pairwise, sparse
from assay.formulas.divergence import kl_full

F64 = torch.float64


@pytest.fixture
def tokens():
    """Log-probabilities, KL, weights and mask of 4 pairs of up to 5 tokens."""
    g = torch.Generator().manual_seed(3)

    def draw():
        return torch.rand(4, 2, 5, dtype=F64, generator=g)

    logp, ref, kl, m = -3 * draw(), -3 * draw(), draw(), draw()
    mask = torch.arange(5) < torch.tensor([[5, 3], [2, 5], [1, 4], [5, 5]])[..., None]
    return logp, ref, kl, m, mask


def loss(logp, ref, kl, m_u, m_d, mask, **how):
    u, d = sparse.reward_part(logp, ref, m_u, mask), sparse.kl_part(kl, m_d, mask)
    return sparse.sparse_po(*u.unbind(1), *d.unbind(1), **{"beta": 0.7, **how})


def test_the_inner_sum_is_minus_the_forward_kl_and_not_the_reverse_one():
    """By hand: π₀ = (.9, .1), π = (.5, .5)."""
    p, q = torch.tensor([0.5, 0.5], dtype=F64).log(), torch.tensor([0.9, 0.1], dtype=F64).log()
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    reverse = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert sparse.forward_kl(p, q).item() == pytest.approx(forward, abs=1e-12)
    assert abs(forward - reverse) > 0.1 and kl_full(p, q).item() == pytest.approx(reverse)
    inner = (q.exp() * (p - q)).sum()  # the sum as the paper prints it
    one = torch.ones(1, dtype=F64)
    d = sparse.kl_part(sparse.forward_kl(p, q)[None], one, torch.tensor([True]))
    torch.testing.assert_close(d, inner)


def test_the_gradient_of_the_forward_kl_in_logits_is_pi_minus_reference():
    z, q = torch.randn(6, dtype=F64, requires_grad=True), torch.randn(6, dtype=F64).log_softmax(-1)
    sparse.forward_kl(z.log_softmax(-1), q).backward()
    torch.testing.assert_close(z.grad, z.softmax(-1).detach() - q.exp())


def test_what_the_reference_excludes_costs_nothing_and_what_the_policy_alone_excludes_all():
    q = torch.tensor([0.5, 0.5, 0.0], dtype=F64).log()
    z = torch.tensor([0.1, 0.4, -torch.inf], dtype=F64, requires_grad=True)
    kl = sparse.forward_kl(z.log_softmax(-1), q)
    kl.backward()
    assert kl.isfinite() and z.grad.isfinite().all()
    wide = torch.zeros(3, dtype=F64).log_softmax(-1)
    assert sparse.forward_kl(z.detach().log_softmax(-1), wide) == torch.inf


def test_weights_of_one_and_zero_are_dpo(tokens):
    logp, ref, kl, m, mask = tokens
    ratio = torch.where(mask, logp - ref, 0.0).sum(-1)
    dpo = pairwise.dpo(ratio[:, 0], ratio[:, 1], beta=0.7)
    one, none = torch.ones_like(m), torch.zeros_like(m)
    torch.testing.assert_close(loss(logp, ref, kl, one, none, mask), dpo)
    torch.testing.assert_close(loss(logp, ref, kl, one, m, mask, kl_weight=0.0), dpo)


def test_all_weights_one_are_the_token_level_form(tokens):
    """TDPO₁: −log σ(β·u − β·[D(rejected) − D(chosen)]), D the forward KL along a completion."""
    logp, ref, kl, m, mask = tokens
    ratio, D = (torch.where(mask, x, 0.0).sum(-1) for x in (logp - ref, kl))
    u, delta = ratio[:, 0] - ratio[:, 1], 0.7 * (D[:, 1] - D[:, 0])
    want = -torch.nn.functional.logsigmoid(0.7 * u - delta)
    torch.testing.assert_close(loss(logp, ref, kl, *[torch.ones_like(m)] * 2, mask), want)
    assert not torch.allclose(want, -torch.nn.functional.logsigmoid(0.7 * u + delta))


def test_no_weights_are_log_2_and_their_gradient_is_none(tokens):
    logp, ref, kl, m, mask = tokens
    logp = logp.requires_grad_()
    none = torch.zeros_like(m)
    out = loss(logp, ref, kl, none, none, mask)
    out.sum().backward()
    torch.testing.assert_close(out.detach(), torch.full((4,), math.log(2), dtype=F64))
    assert not logp.grad.any()


def test_a_weight_scales_its_own_token_alone(tokens):
    logp, ref, _, m, mask = tokens
    twice = m.clone()
    twice[0, 0, 1] *= 2
    a, b = (sparse.reward_part(logp, ref, w, mask) for w in (m, twice))
    more = (m * (logp - ref))[0, 0, 1]
    torch.testing.assert_close(b - a, torch.zeros(4, 2, dtype=F64).index_put(
        (torch.tensor(0), torch.tensor(0)), more))  # fmt: skip


def test_exchanging_completions_and_labels_changes_nothing(tokens):
    logp, ref, kl, m, mask = tokens
    p = torch.tensor([1.0, 0.3, 0.5, 0.9], dtype=F64)
    other = [x.flip(1) for x in (logp, ref, kl, m, m, mask)]
    torch.testing.assert_close(loss(logp, ref, kl, m, m, mask, p=p), loss(*other, p=1 - p))


def test_padding_never_matters(tokens):
    logp, ref, kl, m, mask = tokens
    junk = [torch.where(mask, x, torch.full_like(x, 9.0)) for x in (logp, ref, kl, m)]
    nan = [torch.where(mask, x, torch.full_like(x, torch.nan)) for x in (logp, ref, kl, m)]
    want = loss(logp, ref, kl, m, m, mask)
    for a, b, c, w in (junk, nan):
        torch.testing.assert_close(loss(a, b, c, w, w, mask), want)
        torch.testing.assert_close(sparse.mass(w, mask), sparse.mass(m, mask))


def test_mass_is_a_sum_over_tokens():
    m, mask = torch.tensor([[0.5, 0.0, 2.0]]), torch.tensor([[True, True, False]])
    assert sparse.mass(m, mask).tolist() == [0.5]


def test_rescaling_knows_nothing_of_scale_and_shift_so_z_normalising_changes_nothing():
    h, mask = torch.randn(3, 6, 4, dtype=F64), torch.rand(3, 6) < 0.8
    mask[:, :2] = True
    w = sparse.rescaled(h, mask)
    torch.testing.assert_close(w, sparse.rescaled(5 * h - 2, mask))
    for row in range(3):  # as it is printed: z-normalised first
        own = h[row, mask[row]]
        z = (own - own.mean(0)) / own.std(0)
        want = (z - z.amin(0)) / (z.amax(0) - z.amin(0))
        torch.testing.assert_close(w[row, mask[row]], want)
    assert (w.amax(-2) == 1).all() and (w[~mask] == 0).all()
    assert all((w[r, mask[r]].amin(0) == 0).all() for r in range(3))


def test_mapo_averages_activations_of_a_kind_first_and_then_kinds():
    """Two kinds of one and of three activations weigh alike."""
    one, three = torch.randn(2, 5, 1, dtype=F64), torch.randn(2, 5, 3, dtype=F64)
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    w = sparse.activation_mask([one, three], mask)
    a, b = sparse.rescaled(one, mask), sparse.rescaled(three, mask)
    torch.testing.assert_close(w, (a[..., 0] + b.sum(-1) / 3) / 2)
    assert not torch.allclose(w, torch.cat([a, b], -1).mean(-1))
    assert ((w >= 0) & (w <= 1)).all() and (w[~mask] == 0).all() and (w[mask] > 0).any()
    torch.testing.assert_close(sparse.activation_mask([one], mask), a[..., 0])


def test_mapo_weights_of_tokens_that_are_alike_are_one_and_carry_no_gradient():
    h = torch.ones(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    w = sparse.activation_mask([h], mask)
    assert w.tolist() == [[1, 1, 0], [1, 0, 0]] and not w.requires_grad
    assert sparse.activation_mask([h], torch.zeros(2, 3, dtype=torch.bool)).sum() == 0


def test_a_layer_s_number_is_its_own_head_on_its_own_state():
    h, w, b = torch.randn(3, 2, 5, 4, dtype=F64), torch.randn(3, 4, dtype=F64), torch.randn(3)
    each = sparse.layer_mask(list(h), w, b.double())
    for layer in range(3):
        want = (h[layer] * w[layer]).sum(-1) + b[layer].double()
        torch.testing.assert_close(each[..., layer], want.clamp(min=0))
    assert (each == 0).any() and (each > 0).any()


def test_a_mixed_mask_is_never_negative_and_of_one_layer_it_is_that_layer_s():
    each, mixer = torch.rand(2, 5, 3, dtype=F64), torch.tensor([0.5, -1.0, 0.2], dtype=F64)
    m = sparse.mixed_mask(each, mixer)
    torch.testing.assert_close(
        m, (0.5 * each[..., 0] - each[..., 1] + 0.2 * each[..., 2]).clamp(min=0)
    )
    assert (m == 0).any() and (m > 0).any()
    one = torch.ones(1, dtype=F64)
    torch.testing.assert_close(sparse.mixed_mask(each[..., :1], one), each[..., 0])


def test_weights_at_other_places_keep_sparsity_and_mass_of_each_completion():
    m, mask = torch.relu(torch.randn(50, 8, dtype=F64)), torch.rand(50, 8) < 0.7
    moved = sparse.at_other_places(m, mask, torch.rand(50, 8))
    for a, b, k in zip(m, moved, mask, strict=True):
        assert sorted(a[k].tolist()) == sorted(b[k].tolist())
    assert (moved[~mask] == 0).all() and not torch.equal(moved, torch.where(mask, m, 0.0))
    as_they_stand = torch.arange(8).expand(50, 8) / 9
    torch.testing.assert_close(
        sparse.at_other_places(m, mask, as_they_stand), torch.where(mask, m, 0.0)
    )


def test_the_gradient_of_moved_weights_goes_to_the_token_that_made_them():
    m = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    mask = torch.tensor([True, True, True])
    moved = sparse.at_other_places(m, mask, torch.tensor([0.9, 0.1, 0.5]))  # order 1, 2, 0
    assert moved.tolist() == [2.0, 3.0, 1.0]
    (moved * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert m.grad.tolist() == [100.0, 1.0, 10.0]
