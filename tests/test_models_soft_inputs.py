"""Soft thoughts of transformers models: equal in value and gradient to a plain pass over rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import model, never_rounded, tokenizer

from assay.core import Rng, Samples
from assay.errors import InputError
from assay.formulas.soft_thinking import gumbel_logp, soft_mixture
from assay.models.backbones.adapters import Adapted, Base
from assay.models.backbones.pretrained import Pretrained
from assay.models.backbones.soft_inputs import check_reads
from assay.models.policies.causal import Causal
from assay.models.policies.soft_thinking import SoftThinking, Thoughts
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.samplers.soft_decoding import IDS, NOISY

FAMILIES = ("llama", "gpt2", "qwen2", "gemma3_text")  # the last one scales its embeddings
THOUGHTS = Thoughts(4, "?", top_k=4, temperature=0.7)


def words(stop: tuple[str, ...] = ()) -> Stops:
    return Stops(tokenizer(), size=307, stop=stop)


def thinker(backbone: Any, form: str = "joint") -> SoftThinking:
    how = Thoughts(4, "?", top_k=4, temperature=0.7, form=form)
    return SoftThinking.of(Causal(backbone, words(), max_tokens=7), how)


def drawn(policy: SoftThinking) -> Samples:
    prompts = words().prompts(["the old mill", "what is the weather like in the morning"])
    with torch.no_grad():
        return policy.sample(prompts, 3, Rng(1))


def by_hand(net: Any, x: Samples, barred: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities of one completion at a time, by the model's own pass over embeddings."""
    layer, out = net.get_input_embeddings(), []
    for b in range(x.mask.shape[0]):
        prompt = x.prompts.tokens[b][x.prompts.mask[b]]
        for n in range(x.mask.shape[1]):
            count = int(x.mask[b, n].sum())
            read, soft = [layer(prompt)], []
            for t in range(count):
                noisy, ids = x.extra[NOISY][b, n, t], x.extra[IDS][b, n, t]
                soft.append(bool((noisy > -torch.inf).any()))
                row = layer(x.action[b, n, t])
                if soft[-1]:
                    row = soft_mixture(noisy, layer(ids), temperature=0.7)
                read.append(row[None])
            # some families scale what their layer returned, others scale in the layer
            logits = net(inputs_embeds=torch.cat(read)[None]).logits[0, len(prompt) - 1 : -1]
            logits[:, list(barred)] = -torch.inf
            logp = logits.log_softmax(-1)
            for t in range(count):
                if not soft[t]:
                    out.append(logp[t, x.action[b, n, t]])
                    continue
                noisy, ids = x.extra[NOISY][b, n, t], x.extra[IDS][b, n, t]
                kept = logp[t, ids].masked_fill(noisy == -torch.inf, -torch.inf).log_softmax(-1)
                out.append(gumbel_logp(noisy[None], kept[None], form="joint")[0])
    return torch.stack(out)


@pytest.mark.parametrize("family", FAMILIES)
def test_soft_thoughts_equal_a_plain_pass_in_value_and_gradient(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_rounded(monkeypatch)
    net = model(family, dtype=torch.float64)
    policy = thinker(Pretrained(net))
    x = drawn(policy)
    soft = (x.extra[NOISY] > -torch.inf).any(-1)[:, :, : x.mask.shape[2]]
    assert soft.sum() > 8 and (x.mask & ~soft).sum() > 4
    policy.requires_grad_(True)
    weight = torch.randn(int(x.mask.sum()), dtype=torch.float64)
    found = []
    for logp in (policy.logp(x)[x.mask], by_hand(net, x, policy.vocabulary.barred)):
        net.zero_grad()
        (logp * weight).sum().backward()
        found.append((logp.detach(), [p.grad.clone() for p in net.parameters()]))
    (mine, slopes), (right, plain) = found
    torch.testing.assert_close(mine, right, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x.logp[x.mask], right, rtol=1e-9, atol=1e-9)
    for a, b in zip(slopes, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)
    with torch.no_grad():
        tokens = Causal(policy.backbone, policy.vocabulary, max_tokens=7).states(x)[0]
        assert float((tokens - policy.states(x)[0]).abs().max()) > 1e-3


def test_an_adapter_thinks_and_its_base_is_the_reference() -> None:
    from peft import LoraConfig

    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    base = Base(model("llama"), config, Rng(0))
    reference = thinker(Adapted(base))
    policy = reference.copy()
    for p in policy.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x = drawn(policy)
    logp = policy.logp(x)
    torch.testing.assert_close(logp.detach(), x.logp, rtol=1e-4, atol=1e-4)
    logp.sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in policy.parameters())
    assert float((reference.logp(x) - x.logp).abs().max()) > 1e-2
    assert float(policy.kl(reference, x).min()) > 0


def test_what_cannot_think_is_refused() -> None:
    backbone = Pretrained(model("llama"))
    with pytest.raises(InputError, match="leave --stop out"):
        SoftThinking.of(Stopping(backbone, words(("x",))), THOUGHTS)
    with pytest.raises(InputError, match="--think-end is 'no such word'"):
        SoftThinking.of(Causal(backbone, words()), Thoughts(4, "no such word"))
    inner = backbone.model.base_model

    def hashed(_: Any, args: Any, named: dict[str, Any]) -> Any:  # a table of each token's own
        known = torch.zeros(307).index_fill(0, named["input_ids"].flatten(), 1.0)
        return args, {**named, "position_ids": named["position_ids"] + int(known.sum())}

    inner.register_forward_pre_hook(hashed, with_kwargs=True)
    with pytest.raises(InputError, match="reads tokens in more places than one"):
        check_reads(backbone)
