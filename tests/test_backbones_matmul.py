"""Products that are fused where nobody asks for a gradient give what the plain ones give, and
memory that was never written is never read.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from assay.core.rng import Rng
from assay.models.backbones import matmul
from assay.models.backbones.attention import Config, rms_norm
from assay.models.backbones.llama import Llama
from assay.models.backbones.matmul import gated, plus, product


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_products_are_the_plain_ones(dtype: torch.dtype) -> None:
    rng = Rng(3)
    x, gate, up, down, rest = (
        rng(name).normal(torch.arange(r)[:, None], torch.arange(c)).to(dtype)
        for name, r, c in (
            ("x", 37, 24),
            ("gate", 40, 24),
            ("up", 40, 24),
            ("down", 24, 40),
            ("rest", 37, 24),
        )
    )
    before = rest.clone()
    with torch.no_grad():
        fast = plus(gated(x, gate, up), down, rest)
    slow = plus(gated(x, gate, up), down, rest)
    want = rest + (F.silu(x @ gate.mT) * (x @ up.mT)) @ down.mT
    torch.testing.assert_close(fast, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))
    torch.testing.assert_close(slow, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))
    assert torch.equal(rest, before)  # the sum is a new tensor


def test_products_of_nothing() -> None:
    with torch.no_grad():
        assert gated(torch.zeros(0, 4), torch.ones(6, 4), torch.ones(6, 4)).shape == (0, 6)
        assert plus(torch.zeros(0, 4), torch.ones(6, 4), torch.zeros(0, 6)).shape == (0, 6)


def test_gradients_are_those_of_plain_torch() -> None:
    rng = Rng(4)
    x, gate, up = (
        rng(name).normal(torch.arange(r)[:, None], torch.arange(8)).requires_grad_()
        for name, r in (("x", 5), ("gate", 7), ("up", 7))
    )
    mine = torch.autograd.grad(gated(x, gate, up).square().sum(), (x, gate, up))
    plain = torch.autograd.grad((F.silu(x @ gate.mT) * (x @ up.mT)).square().sum(), (x, gate, up))
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert product(x, gate).requires_grad


@pytest.mark.parametrize("what", ["gated", "norm"])
def test_gradients_of_gradients_are_those_of_plain_torch(what: str) -> None:
    """Fits that look a step ahead differentiate the gradient; what a pass keeps for itself must not
    cut that off.
    """
    rng = Rng(5)
    x, gate, up = (
        rng(name).normal(torch.arange(r)[:, None], torch.arange(8)).requires_grad_()
        for name, r in (("x", 5), ("gate", 11), ("up", 11))
    )

    def second(f: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = torch.autograd.grad(f(*inputs).pow(3).sum(), inputs, create_graph=True)
        return (*first, *torch.autograd.grad(sum((g**2).sum() for g in first), inputs))

    mine = (
        second(gated, x, gate, up)
        if what == "gated"
        else second(lambda x: rms_norm(x, eps=1e-5), x)
    )
    plain = (
        second(lambda x, a, b: F.silu(x @ a.mT) * (x @ b.mT), x, gate, up)
        if what == "gated"
        else second(lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5), x)
    )
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.detach().abs().max()))


def test_a_cache_reads_nothing_that_was_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory may hold anything, NaN too, and 0 · NaN is NaN: columns that are read at weight
    0 are 0.
    """
    backbone = Llama(Config(11, 16, 2, 2, 1, 24), Rng(0))
    prompt, keep = torch.tensor([[3, 4], [5, 6]]), torch.ones(2, 2, dtype=torch.bool)

    def walked() -> list[torch.Tensor]:
        hidden, cache = backbone.prefill(prompt, keep, torch.tensor([0, 0, 1]), 6)
        out = [hidden]
        for t in range(3):
            rows = len(cache.length)
            out.append(
                backbone.extend(
                    cache, torch.full((rows, 1), 7 + t), torch.ones(rows, 1, dtype=torch.bool)
                )
            )
            cache.select(torch.arange(rows - 1) if t == 0 else torch.arange(rows))
        return out

    plain, empty = walked(), torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda self, *a, **k: empty(self, *a, **k).fill_(torch.nan)
    )
    for a, b in zip(plain, walked(), strict=True):
        assert torch.isfinite(b).all()
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(300,), (2, 200), (7,)])
def test_a_linear_layer_is_torch_s_own(shape: tuple[int, ...], bias: bool) -> None:
    layer, g = torch.nn.Linear(9, 5, bias=bias), torch.Generator().manual_seed(0)
    x = torch.randn(*shape, 9, generator=g, requires_grad=True)
    weight = torch.randn(*shape, 5, generator=g)
    found = []
    for how in (matmul.linear, torch.nn.functional.linear):
        layer.zero_grad()
        x.grad = None
        out = how(x, layer.weight, layer.bias)
        (out * weight).sum().backward()
        found.append([out.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())])
    for mine, own in zip(*found, strict=True):
        assert (mine - own).abs().max() < 1e-4 * max(1.0, float(own.abs().max()))


def test_a_model_s_linear_layers_are_its_own_again_after_a_pass() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    replaced = model[2].forward = lambda x: x  # somebody else's, which stays
    x = torch.randn(300, 4)

    def fails() -> None:
        with matmul.linears(model):
            assert "forward" in model[0].__dict__ and model[2].forward is replaced
            own = torch.nn.functional.linear(x, *model[0].parameters())
            assert (model[0](x) - own).abs().max() < 1e-5
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert "forward" not in model[0].__dict__ and model[2].forward is replaced


def test_autocast_and_few_rows_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "product", None)
    w = torch.randn(3, 4)
    assert matmul.linear(torch.randn(matmul.ROWS - 1, 4), w).shape == (matmul.ROWS - 1, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert matmul.linear(torch.randn(300, 4), w).dtype == torch.bfloat16
    assert matmul.linear(torch.randn(300, 4).double(), w.double()).dtype == torch.float64


def test_weights_that_say_how_they_multiply_are_left_to_do_so() -> None:
    """As torchao's do: what they store is not what they mean."""

    class Doubled(torch.Tensor):
        @classmethod
        def __torch_function__(cls, f, types, given=(), named=None):  # type: ignore[no-untyped-def]
            if f is torch.nn.functional.linear:
                x, w, *rest = given
                return f(x, 2 * w.as_subclass(torch.Tensor), *rest, **(named or {}))
            return super().__torch_function__(f, types, given, named or {})

    layer = torch.nn.Linear(8, 8, bias=False).requires_grad_(False)
    right = 2 * layer.weight
    layer.weight = torch.nn.Parameter(layer.weight.as_subclass(Doubled), requires_grad=False)
    x = torch.randn(300, 8)
    with matmul.linears(layer):
        assert (layer(x) - x @ right.T).abs().max() < 1e-5
