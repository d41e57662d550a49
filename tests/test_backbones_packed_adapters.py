"""Packed groups under adapters: the same values and gradients as row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, MORE, model, tokenizer

from assay.core import Rng
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens

peft = pytest.importorskip("peft", reason="the lora extra is not installed")


def reference(family: str, *, checkpointing: bool, **lora: Any) -> Causal:
    from assay.models.backbones.adapters import Adapted, Base

    tokens = tokenizer()
    plain = {"r": 4, "target_modules": "all-linear", "fan_in_fan_out": family == "gpt2"}
    base = Base(
        model(family, vocabulary=len(tokens)),
        peft.LoraConfig(**{**plain, **lora}),
        Rng(3),
        checkpointing=checkpointing,
    )
    return Causal(Adapted(base), Tokens(tokens, size=len(tokens)), max_tokens=8).frozen()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_two_adapters_have_the_gradients_of_the_plain_pass(
    family: str, checkpointing: bool
) -> None:
    """The other one is on when the first one's backward pass begins."""
    base = reference(family, checkpointing=checkpointing)
    pretrained = base.backbone.computes_with
    assert pretrained.plain_because == ""
    ask = base.vocabulary.prompts(["the old mill", "please tell me about the gate and the pond"])
    x = base.sample(ask, 3, Rng(1))
    found = []
    for because in ("", "to compare"):
        pretrained.plain_because = because
        policies = [base.copy(), base.copy()]
        for k, policy in enumerate(policies):
            with torch.no_grad():
                for i, p in enumerate(policy.parameters()):
                    p.add_(0.1 * Rng(k)("move", i).normal(torch.arange(p.numel())).view_as(p))
        values = [policy.logp(x) for policy in policies]
        sum(v.square().sum() for v in values).backward()
        found.append(
            [v.detach() for v in values]
            + [p.grad.clone() for policy in policies for p in policy.parameters()]
        )
    for shared, plain in zip(*found, strict=True):
        assert (shared - plain).abs().max() < 2e-4 * max(1.0, float(plain.abs().max()))
    assert len(found[0]) > 4 and all(bool(t.any()) for t in found[0])
