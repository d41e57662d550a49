"""Learned weights of tokens: one norm and a head a layer, a mixer, dropout by address."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assay.core import Rng
from assay.formulas.sparse import layer_mask
from assay.loops.token_masks import TokenMask, numbers


def masks_of(layers: int, mixed: bool, dropout: float = 0.0) -> tuple[TokenMask, list[Tensor]]:
    states = list(torch.randn(layers, 6, 2, 8, 5, dtype=torch.float64))
    return TokenMask(states, Rng(3), mixed=mixed, dropout=dropout), states


def no_numbers(n: int) -> Tensor:
    raise AssertionError("without dropout nothing is drawn")


def test_of_one_layer_and_mixer_one_the_mask_is_the_last_layer_s_on_a_normed_state() -> None:
    (both, states), (last, _) = masks_of(1, True), masks_of(1, False)
    both.mixer.data.fill_(1)
    normed = torch.nn.functional.layer_norm(states[0], (5,))
    torch.testing.assert_close(both(states, no_numbers), last([normed], no_numbers))
    assert not torch.allclose(both(states, no_numbers), last(states, no_numbers))
    both.mixer.data.fill_(-1)
    assert not both(states, no_numbers).any(), "below 0 the mixer gives no weight"


def test_all_layers_share_one_norm_and_each_has_its_head() -> None:
    mask, states = masks_of(3, True)
    with torch.no_grad():
        mask.scale.copy_(torch.rand(5))
        mask.shift.copy_(torch.rand(5))
    each = [
        torch.relu(torch.nn.functional.layer_norm(h, (5,), mask.scale, mask.shift) @ w + b)
        for h, w, b in zip(states, mask.weight, mask.bias, strict=True)
    ]
    want = sum(a * m for a, m in zip(mask.mixer, each, strict=True))
    torch.testing.assert_close(mask(states, no_numbers), torch.relu(want))
    assert len(mask.decayed()) == 2 and len(list(mask.parameters())) == 5
    for seed in range(20):  # none begins with weights that nothing can change
        assert (TokenMask(states, Rng(seed), mixed=True, dropout=0).mixer > 0).all()


@pytest.mark.parametrize("mixed", [True, False])
def test_dropout_keeps_the_mean_and_drops_by_the_numbers_it_is_given(mixed: bool) -> None:
    mask, states = masks_of(2, mixed, dropout=0.25)
    rng = Rng(7)

    def drawn(n: int) -> Tensor:
        return numbers(rng, torch.arange(6), torch.ones(6, 2, 8, dtype=torch.bool), n)

    u = drawn(2 if not mixed else 3)
    assert torch.equal(mask(states, drawn) == 0, drops(mask, states, u)) and (u < 0.25).any()
    whole, total = masks_of(2, mixed)[0](states, no_numbers), torch.zeros(())
    for seed in range(300):
        rng = Rng(seed)
        total = total + mask(states, drawn).detach() / 300
    assert (total - whole).mean().abs() < 0.05 * whole.mean()


def drops(mask: TokenMask, states: list[Tensor], u: Tensor) -> Tensor:
    """Where the weight is 0: its own number is below the share, or the ReLU's are."""
    whole = TokenMask(states, Rng(3), mixed=mask.mixed, dropout=0.0)
    if not mask.mixed:
        return (whole(states, no_numbers) == 0) | (u[..., 1] < 0.25)
    each = layer_mask(
        [torch.nn.functional.layer_norm(h, (5,)) for h in states], whole.weight, whole.bias
    )
    return ((each * (u[..., :2] >= 0.25)).sum(-1) == 0) | (u[..., 2] < 0.25)


@pytest.mark.parametrize("mixed", [True, False])
def test_no_head_begins_with_weights_of_zero_everywhere(mixed: bool) -> None:
    """On few tokens that are much alike half of all draws would; padding does not count."""
    like = torch.tensor([2.0, -1.0, 0.5, 0.0])
    states = [torch.stack([like, like + 0.01, torch.zeros(4)])[None, None] for _ in range(2)]
    for seed in range(30):
        mask = TokenMask(states, Rng(seed), mixed=mixed, dropout=0.0)
        assert (mask(states, no_numbers)[0, 0, :2] > 0).any()
    first = [TokenMask(states, Rng(s), mixed=mixed, dropout=0.0).weight for s in range(30)]
    assert torch.stack(first).mean().abs() < 0.1, "both signs are drawn"
