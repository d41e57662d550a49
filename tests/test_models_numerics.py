"""bfloat16 with float32 weights behind it, layers computed again, micro-batches: what saves memory
changes no number.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from families import FAMILIES, exact, model, tokenizer
from peak import peak

from assay.core import InputError, Loop, Rng, Samples
from assay.engine.descend import descend, micro_batches
from assay.formulas.reduce import per_completion
from assay.formulas.token_logps import LogitTransform
from assay.models.backbones.mixed_precision import MasterWeights
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.policies.conditioned import Conditioned
from assay.models.tokenizer import Tokens

ASKS = ["the old mill", "please tell me about the gate", "what?", "it rains"]


def reference(family: str, dtype: torch.dtype, *, lora: int = 0, again: bool = False) -> Causal:
    """Weights that bfloat16 can hold, so that every dtype begins at the same model."""
    tokens = tokenizer()
    made = model(family, vocabulary=len(tokens), dtype=torch.bfloat16).to(dtype)
    backbone: Any = Pretrained(made, checkpointing=again)
    if lora:
        peft = pytest.importorskip("peft", reason="the lora extra is not installed")
        from assay.models.backbones.adapters import Adapted, Base

        config = peft.LoraConfig(
            r=lora,
            lora_alpha=2 * lora,
            target_modules="all-linear",
            fan_in_fan_out=family == "gpt2",
        )
        backbone = Adapted(Base(made, config, Rng(3), checkpointing=again))
    return Causal(backbone, Tokens(tokens, size=len(tokens)), max_tokens=9).frozen()


def drawn(of: Causal, n: int = 2) -> Samples:
    return of.sample(of.vocabulary.prompts(ASKS), n, Rng(1))


def taught(policy: Causal, x: Samples, steps: int, lr: float) -> Causal:
    opt = Loop(learning_rate=lr).optimiser(policy)
    for _ in range(steps):
        descend(opt, lambda rows, i: -policy.logp(rows), x, reduce=per_completion)
    return policy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_in_bfloat16_starts_as_its_reference_bit_for_bit(family: str) -> None:
    base = reference(family, torch.bfloat16)
    policy = base.copy()
    x = drawn(policy)
    assert torch.equal(policy.logp(x), base.logp(x)) and float(policy.kl(base, x).abs().max()) == 0
    assert x.logp.dtype == policy.logp(x).dtype == torch.float32, (
        "three digits of a log-probability would make every ratio wrong"
    )
    assert (x.logp - policy.logp(x)).abs().max() < 0.1
    assert {p.dtype for p in policy.parameters()} == {torch.float32} and {
        p.dtype for p in base.parameters()
    } == {torch.bfloat16}
    assert list(policy.state_dict()) == list(base.state_dict())


@pytest.mark.parametrize("lora", [0, 4])
def test_a_reading_of_a_copy_in_bfloat16_has_no_kl(lora: int) -> None:
    """Passes that draw and passes that read round differently, and a KL of both is never 0."""
    base = reference("llama", torch.bfloat16, lora=lora)
    policy = base.copy()
    prompts = policy.vocabulary.prompts(ASKS)
    x, kl = policy.sample_and_kl(base, prompts, 2, Rng(1))
    assert torch.equal(x.action, drawn(policy).action)
    assert float(kl.abs().max()) == 0


def test_many_tiny_steps_in_bfloat16_follow_those_in_float32() -> None:
    """At a learning rate of 1e-6, bfloat16 weights of 0.1 stand still: a step is a hundredth of
    what they can tell apart.
    """
    x = drawn(reference("llama", torch.float32))
    way = {}
    for dtype in (torch.float32, torch.bfloat16):
        base = reference("llama", dtype)
        policy = taught(base.copy(), x, 60, 1e-6)
        way[dtype] = torch.cat(
            [
                (a.detach() - b.float()).flatten()
                for a, b in zip(policy.parameters(), base.parameters(), strict=True)
            ]
        )
    a, b = way[torch.float32], way[torch.bfloat16]
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.9
    assert 0.8 < float(b.norm() / a.norm()) < 1.25
    naive = reference("llama", torch.bfloat16)
    naive.requires_grad_(True)
    before = [p.detach().clone() for p in naive.parameters()]
    taught(naive, x, 60, 1e-6)
    stood = (
        torch.cat([(p == q).flatten() for p, q in zip(naive.parameters(), before, strict=True)])
        .float()
        .mean()
    )
    assert float(stood) > 0.9, (
        "this is the trap; if it has gone, the float32 weights are not needed"
    )


def test_bfloat16_learns_what_float32_learns_and_copies_keep_the_fine_weights() -> None:
    base = reference("qwen2", torch.bfloat16)
    x = drawn(base)
    policy = taught(base.copy(), x, 25, 1e-3)
    wide = taught(reference("qwen2", torch.float32).copy(), x, 25, 1e-3)
    gain = [float((p.logp(x) - base.logp(x)).detach().sum(-1).mean()) for p in (policy, wide)]
    assert gain[1] > 1 and abs(gain[0] / gain[1] - 1) < 0.1
    twin = policy.copy()
    assert all(
        torch.equal(p, q) for p, q in zip(policy.parameters(), twin.parameters(), strict=True)
    )
    taught(twin, x, 2, 1e-3)
    assert not torch.equal(twin.logp(x), policy.logp(x))
    twin.load_state_dict(policy.state_dict())
    assert torch.equal(twin.logp(x), policy.logp(x)), "loaded weights are computed with at once"
    plain = Causal(Pretrained(policy.backbone.merged()), base.vocabulary, max_tokens=9)
    assert torch.equal(plain.logp(x), policy.logp(x))


def test_adapters_on_a_bfloat16_base_are_float32() -> None:
    base = reference("llama", torch.bfloat16, lora=4)
    policy = base.copy()
    x = drawn(policy)
    assert {p.dtype for p in policy.parameters()} == {
        torch.float32
    } and x.logp.dtype == torch.float32
    assert torch.equal(policy.logp(x), base.logp(x))
    before = [p.detach().clone() for p in policy.parameters()]
    taught(policy, x, 2, 1e-6)
    assert any(not torch.equal(p, q) for p, q in zip(policy.parameters(), before, strict=True))


@pytest.mark.parametrize("kind", ["bfloat16", "lora"])
def test_exchanged_weights_are_refused_and_never_silently_left_out(kind: str) -> None:
    base = reference(
        "llama",
        torch.bfloat16 if kind == "bfloat16" else torch.float32,
        lora=4 if kind == "lora" else 0,
    )
    policy = Conditioned(base, 2)
    ask = base.vocabulary.prompts(ASKS[:2])
    ask.extra["condition"] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    x = policy.sample(ask, 2, Rng(1))
    with pytest.raises(InputError, match="exchanged weights"):
        policy.logp(x)


@pytest.mark.parametrize("kind", ["whole", "lora", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_in_blocks_are_those_of_the_logits(family: str, kind: str) -> None:
    dtype, near = (torch.bfloat16, 2e-5) if kind == "bfloat16" else exact(family)
    policy = reference(family, dtype, lora=3 if kind == "lora" else 0).copy(
        temperature=0.8, min_tokens=3
    )
    x = drawn(policy)
    hidden, place = policy.states(x)
    taken = x.action[x.mask]
    law = LogitTransform(
        temperature=0.8,
        suppressed=policy.vocabulary.barred,
        suppressed_early=policy.vocabulary.ends,
    )
    mine = policy.backbone.token_logps(hidden, taken, law, place < 3)
    assert (
        mine - policy.log_probs(hidden, place).gather(1, taken[:, None])[:, 0]
    ).abs().max() < near
    mine.sum().backward()
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in policy.parameters())


def gradients(of: Causal, x: Samples, between: Any = None) -> Iterator[torch.Tensor]:
    loss = (of.logp(x) * (1 + torch.arange(x.mask.shape[2]))).sum()
    if between is not None:
        between()
    loss.backward()
    for p in of.parameters():
        assert p.grad is not None
        yield p.grad


@pytest.mark.parametrize("lora", [0, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_computed_again_give_the_same_gradients(family: str, lora: int) -> None:
    """With an adapter's trap: another adapter is on when the layers are computed again."""
    dtype, near = exact(family)
    found = []
    for again in (False, True):
        base = reference(family, dtype, lora=lora, again=again)
        policy, other = base.copy(), base.copy()
        with torch.no_grad():
            for i, p in enumerate(policy.parameters()):
                p.add_(0.1 * Rng(9)("move", i).normal(torch.arange(p.numel())).view_as(p).to(p))
        x = drawn(base)
        found.append([*gradients(policy, x, functools.partial(other.logp, x))])
    assert all(
        (a - b).abs().max() <= 100 * near * max(1.0, float(a.abs().max()))
        for a, b in zip(*found, strict=True)
    )
    assert any(float(a.abs().max()) > 0 for a in found[0])


def backward(policy: Causal, x: Samples) -> None:
    policy.logp(x).sum().backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("lora", [0, 3])
def test_layers_computed_again_need_less_memory(lora: int) -> None:
    most = []
    for again in (False, True):
        tokens = tokenizer()
        made = model("llama", vocabulary=len(tokens), layers=8)
        backbone: Any = Pretrained(made, checkpointing=again)
        if lora:
            peft = pytest.importorskip("peft", reason="the lora extra is not installed")
            from assay.models.backbones.adapters import Adapted, Base

            backbone = Adapted(
                Base(
                    made,
                    peft.LoraConfig(r=lora, target_modules="all-linear"),
                    Rng(3),
                    checkpointing=again,
                )
            )
        policy = Causal(backbone, Tokens(tokens, size=len(tokens)), max_tokens=24).frozen().copy()
        x = policy.sample(policy.vocabulary.prompts(ASKS * 4), 4, Rng(1))
        most.append(peak(functools.partial(backward, policy, x)))
    assert most[1] < 0.4 * most[0]


@pytest.mark.parametrize("how", ["whole", "lora", "again"])
def test_eight_passes_of_one_row_are_one_pass_of_eight(how: str) -> None:
    made = []
    for rows in (0, 1):
        policy = reference(
            "qwen2", torch.float64, lora=3 if how == "lora" else 0, again=how == "again"
        ).copy()
        x = policy.sample(policy.vocabulary.prompts(ASKS * 2), 2, Rng(1))
        with micro_batches(rows):
            taught(policy, x, 3, 1e-3)
        made.append([p.detach() for p in policy.parameters()])
    assert all((a - b).abs().max() < 1e-9 for a, b in zip(*made, strict=True))


def test_micro_batches_in_bfloat16_add_up_in_float32() -> None:
    policy = reference("qwen2", torch.bfloat16).copy()
    assert isinstance(policy.backbone, MasterWeights)
    x = policy.sample(policy.vocabulary.prompts(ASKS * 2), 2, Rng(1))
    sums: list[torch.Tensor] = []

    def kept(norm: torch.Tensor) -> None:  # the gradients alone, and no update
        found = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
        sums.append(torch.cat(found))

    for rows in (0, 1):
        opt = Loop(learning_rate=1e-3).optimiser(policy)
        opt.step = kept  # type: ignore[method-assign]
        with micro_batches(rows):
            descend(opt, lambda some, i: -policy.logp(some), x, reduce=per_completion)
    assert sums[0].dtype == torch.float32
    assert float((sums[0] - sums[1]).norm() / sums[0].norm()) < 0.02
