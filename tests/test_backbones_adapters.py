"""Adapters: one base in memory, the reference is the base with them off, and each policy owns its
adapter alone.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, exact, model, tokenizer

from assay.core import Rng
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens

peft = pytest.importorskip("peft", reason="the lora extra is not installed")


def reference(family: str = "llama", **lora: Any) -> Causal:
    from assay.models.backbones.adapters import Adapted, Base

    tokens = tokenizer()
    plain = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": "all-linear",
        "fan_in_fan_out": family == "gpt2",
    }
    config = peft.LoraConfig(**{**plain, **lora})
    base = Base(model(family, vocabulary=len(tokens), dtype=exact(family)[0]), config, Rng(3))
    return Causal(Adapted(base), Tokens(tokens, size=len(tokens)), max_tokens=8).frozen()


def moved(policy: Causal, by: float = 0.3) -> Causal:
    with torch.no_grad():
        for i, p in enumerate(policy.parameters()):
            p.add_(by * Rng(9)("move", i).normal(torch.arange(p.numel())).view_as(p).to(p))
    return policy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_is_the_reference_and_a_moved_one_is_not(family: str) -> None:
    base = reference(family)
    policy = base.copy()
    ask = base.vocabulary.prompts(["the old mill", "please tell me about the gate and the pond"])
    x = policy.sample(ask, 3, Rng(1))
    at_start = base.logp(x)
    assert (policy.logp(x).detach() - at_start).abs().max() < exact(family)[1]
    moved(policy)
    assert (policy.logp(x).detach() - at_start).abs().max() > 1e-3
    assert torch.equal(base.logp(x), at_start), "the reference did not move"
    y = policy.sample(ask, 3, Rng(1))
    assert (policy.logp(y).detach() - y.logp).abs().max() < exact(family)[1]


def test_an_adapter_s_first_weights_do_not_depend_on_torch_s_global_stream() -> None:
    """Another process, or a resumed run, makes the same adapter at another point of the stream."""
    made = []
    for seed in (1, 2):
        base = reference()
        torch.manual_seed(seed)
        made.append(base.copy().state_dict())
    assert made[0] and all(torch.equal(made[1][k], v) for k, v in made[0].items())


def test_policies_do_not_share_an_adapter_and_gradients_stay_in_it() -> None:
    base = reference()
    a, b = moved(base.copy()), base.copy()
    x = a.sample(base.vocabulary.prompts(["the old mill"]), 3, Rng(1))
    before = b.logp(x).detach()
    loss = a.logp(x).sum() + 0 * base.logp(x).sum()
    b.logp(x)  # another adapter is on when the gradient is taken
    grads = torch.autograd.grad(loss, list(a.parameters()), allow_unused=True)
    assert all(g is not None for g in grads) and any(float(g.abs().max()) > 0 for g in grads)
    assert torch.equal(b.logp(x).detach(), before)
    assert (
        not list(base.parameters()) and len(list(a.parameters())) == len(list(b.parameters())) > 0
    )
    c = a.copy()
    assert torch.allclose(c.logp(x), a.logp(x))
    moved(c)
    assert not torch.allclose(c.logp(x), a.logp(x))


def test_state_is_the_adapter_alone_and_comes_back() -> None:
    base = reference()
    policy = moved(base.copy())
    x = policy.sample(base.vocabulary.prompts(["the old mill"]), 3, Rng(1))
    state = {k: v.clone() for k, v in policy.state_dict().items()}
    whole = sum(p.numel() for p in base.backbone._base[0].plain.parameters())
    assert 0 < sum(v.numel() for v in state.values()) < whole / 2
    other = reference().copy()
    other.load_state_dict(state)
    assert torch.allclose(other.logp(x), policy.logp(x), atol=1e-9)


def test_first_weights_are_by_address_and_torch_s_stream_is_left_alone() -> None:
    before = torch.get_rng_state()
    a, b = reference().copy(), reference().copy()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_merged_is_the_policy_as_a_plain_model() -> None:
    base = reference()
    policy = moved(base.copy())
    x = policy.sample(base.vocabulary.prompts(["the old mill"]), 2, Rng(1))
    from assay.models.backbones.pretrained import Pretrained

    plain = Causal(Pretrained(policy.backbone.merged()), base.vocabulary, max_tokens=8)
    assert torch.allclose(plain.logp(x), policy.logp(x), atol=1e-9)
    unmoved = Causal(Pretrained(base.backbone.merged()), base.vocabulary, max_tokens=8)
    assert torch.allclose(base.logp(x), unmoved.logp(x))


def test_dora_passes_through() -> None:
    base = reference(use_dora=True)
    policy = moved(base.copy(), 0.05)
    x = policy.sample(base.vocabulary.prompts(["the old mill"]), 2, Rng(1))
    assert (policy.logp(x).detach() - x.logp).abs().max() < 1e-9 and not torch.allclose(
        policy.logp(x), base.logp(x)
    )
