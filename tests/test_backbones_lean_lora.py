"""LoRA in fewer passes over memory: peft's numbers, and its gradients."""

from __future__ import annotations

from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import torch
from families import FAMILIES, model, tokenizer
from torch import Tensor

from assay.core import Rng
from assay.models.backbones import lean_lora
from assay.models.backbones.lean_lora import _Lora, lean, plain_layers, with_change
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens

peft = pytest.importorskip("peft", reason="the lora extra is not installed")


def policy(family: str, *, dtype: torch.dtype = torch.float64, **lora: Any) -> Causal:
    """A policy whose adapter is off its first weights, so that it changes the model."""
    from assay.models.backbones.adapters import Adapted, Base

    known = tokenizer()
    plain = {"r": 4, "target_modules": "all-linear", "fan_in_fan_out": family == "gpt2"}
    whole = model(family, vocabulary=len(known), dtype=dtype)
    base = Base(whole, peft.LoraConfig(**{**plain, **lora}), Rng(3))
    out = Causal(Adapted(base), Tokens(known, size=len(known)), max_tokens=8).copy()
    with torch.no_grad():
        for i, p in enumerate(out.parameters()):
            p.add_(0.1 * Rng(0)("move", i).normal(torch.arange(p.numel())).view_as(p))
    return out


def parts(of: Causal) -> tuple[list[Any], str]:
    return of.backbone._base[0].layers, of.backbone.name


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_and_gradients_are_peft_s(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of = policy(family)
    ask = of.vocabulary.prompts(["the old mill", "please tell me about the gate and the pond"])
    x = of.sample(ask, 3, Rng(1))
    found = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(lean_lora, "plain_layers", lambda layers, name: [])
        of.zero_grad()
        logp = of.logp(x)
        logp.square().sum().backward()
        drawn = of.sample(ask, 3, Rng(1)).logp
        found.append([drawn, logp.detach(), *(p.grad.clone() for p in of.parameters())])  # type: ignore[union-attr]
    for fast, theirs in zip(*found, strict=True):
        torch.testing.assert_close(fast, theirs, rtol=1e-9, atol=1e-10)
    assert all(bool(t.any()) for t in found[0])


def test_linear_layers_of_float32_and_float64_are_computed_so() -> None:
    layers, name = parts(policy("llama"))
    assert len(plain_layers(layers, name)) == len(layers) > 4
    assert not plain_layers(layers, "another")
    with lean(layers, name):
        assert all("forward" in layer.__dict__ for layer in layers)
    with lean(layers, None):
        assert not any("forward" in layer.__dict__ for layer in layers)
    assert not any("forward" in layer.__dict__ for layer in layers)


def test_other_kinds_compute_as_peft_has_it() -> None:
    """A scale by √r is another scale alone; a magnitude of its own is another kind."""
    layers, name = parts(policy("qwen2", use_rslora=True))
    assert any(layer.base_layer.bias is not None for layer in layers)
    assert len(plain_layers(layers, name)) == len(layers)
    assert not plain_layers(*parts(policy("qwen2", use_dora=True)))


def test_rounded_weights_and_gpt2_s_are_left_to_peft() -> None:
    for of in (policy("llama", dtype=torch.bfloat16), policy("gpt2")):
        assert not plain_layers(*parts(of)), "bfloat16, or a convolution"


def test_the_change_is_added_once_while_completions_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = policy("llama")
    layers, name = parts(of)
    before = {layer: layer.base_layer.weight.clone() for layer in layers}
    added = with_change(layers, name)
    assert added is not None
    for layer in layers:
        expected = before[layer] + layer.get_delta_weight(name)
        torch.testing.assert_close(added[layer], expected, rtol=1e-12, atol=1e-12)
    ask = of.vocabulary.prompts(["the old mill"])
    calls: list[int] = []
    own = _Lora.apply
    monkeypatch.setattr(_Lora, "apply", lambda *given: calls.append(1) or own(*given))
    of.sample(ask, 2, Rng(1))
    assert not calls, "each token is one product a layer"
    monkeypatch.setattr(lean_lora, "all_bytes", lambda device: 0)
    assert with_change(layers, name) is None
    of.sample(ask, 2, Rng(1))
    assert calls, "there was no room for a copy"
    assert all(torch.equal(layer.base_layer.weight, before[layer]) for layer in layers)


def test_what_is_drawn_does_not_depend_on_the_memory_that_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step keeps what it has freed, so that a run that goes on has more of it than one that was
    never killed; with and without copies of weights, sums differ in their last bits.
    """
    from assay.engine import passes

    of = policy("llama", dtype=torch.float32)
    ask = of.vocabulary.prompts(["the old mill", "please tell me about the gate and the pond"])
    found = []
    for free in (0, 1 << 50):
        memory = psutil.virtual_memory()._replace(available=free)
        monkeypatch.setattr(passes.psutil, "virtual_memory", lambda memory=memory: memory)
        found.append(of.sample(ask, 8, Rng(1)).logp)
    assert torch.equal(*found)
    monkeypatch.setattr(lean_lora, "all_bytes", lambda device: 0)
    assert not torch.equal(found[0], of.sample(ask, 8, Rng(1)).logp), "without copies they differ"


def test_copies_are_let_go() -> None:
    of = policy("llama")
    of.sample(of.vocabulary.prompts(["the old mill"]), 2, Rng(1))
    assert of.backbone.computes_with.lean.args[-1] is None


def test_it_is_differentiable_twice() -> None:
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    x, a, b = (some(*s).requires_grad_() for s in ((3, 5), (2, 5), (4, 2)))
    w, bias = some(4, 5), some(4)

    def of(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = _Lora.apply(x, w, bias, a, b, 2.0)
        return out

    torch.testing.assert_close(of(x, a, b), x @ w.mT + bias + 2 * x @ a.mT @ b.mT)
    assert torch.autograd.gradcheck(of, (x, a, b))
    assert torch.autograd.gradgradcheck(of, (x, a, b))
