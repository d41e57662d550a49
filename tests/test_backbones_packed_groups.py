"""A prompt that is computed once for its completions gives what it gives beside each of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from families import FAMILIES, MORE, model, never_rounded, tokenizer
from hypothesis import given
from hypothesis import strategies as st

from assay.core import Prompts, Samples
from assay.engine.passes import saved_bytes
from assay.models.backbones.completion_passes import by_group, pieces, row_by_row
from assay.models.backbones.packed_groups import PackedGroups
from assay.models.backbones.pretrained import Pretrained
from assay.models.backbones.shared_pass import NAME, attending
from assay.models.micro_batch import pass_bytes
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens

SHAPES = [(3, 4, 9, 5), (2, 3, 3, 11), (1, 1, 4, 4), (4, 1, 6, 3)]  # B, N, T, P


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    never_rounded(monkeypatch)


def backbone(family: str, **how: Any) -> Pretrained:
    return Pretrained(model(family, dtype=torch.float64, layers=2), **how)


def groups(B: int, N: int, T: int, P: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Prompts padded on the left and completions that end early, one of them at once."""
    g = torch.Generator().manual_seed(seed)
    prompt = torch.randint(3, 300, (B, P), generator=g)
    completion = torch.randint(3, 300, (B, N, T), generator=g)
    ask = torch.arange(P) >= torch.randint(0, P, (B, 1), generator=g)
    keep = torch.arange(T) < torch.randint(1, T + 1, (B, N, 1), generator=g)
    keep[0, 0] = True
    keep[-1, -1] = keep[-1, -1] & (B * N == 1)
    return prompt, ask, completion, keep


def value_and_gradient(of: Pretrained, how: Any, rows: tuple[torch.Tensor, ...]) -> list[Any]:
    packed, before = how(of, *rows)
    read = packed[before]  # what each decision follows
    torch.manual_seed(7)
    weight = torch.randn(read.shape, dtype=read.dtype) * torch.nn.functional.pad(
        rows[3], (1, 0), value=True
    ).unsqueeze(-1)
    of.zero_grad()
    (read * weight).sum().backward()
    return [
        read.detach(),
        {n: p.grad.clone() for n, p in of.named_parameters() if p.grad is not None},
    ]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_value_and_gradient_are_those_of_the_plain_pass(family: str, checkpointing: bool) -> None:
    of = backbone(family, checkpointing=checkpointing)
    assert of.plain_because == ""
    for k, shape in enumerate(SHAPES):
        rows = groups(*shape, seed=k)
        (a, g), (b, h) = (value_and_gradient(of, way, rows) for way in (row_by_row, by_group))
        kept = torch.nn.functional.pad(rows[3], (1, 0), value=True)
        assert (a - b)[kept].abs().max() < 1e-11 * float(a.abs().max())
        assert g.keys() == h.keys()
        for name, slope in g.items():
            assert (slope - h[name]).abs().max() <= 1e-10 * max(1.0, float(slope.abs().max())), name


@pytest.mark.parametrize(
    ("family", "said"), [("gpt_oss", "NotImplementedError"), ("lfm2", "kind conv")]
)
def test_a_family_that_cannot_share_is_computed_the_plain_way(
    family: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    of = Pretrained(model(family, layers=2))
    with caplog.at_level("INFO", "assay"):
        assert said in of.plain_because
    assert f"once for each completion: {of.plain_because}" in caplog.text
    rows = groups(2, 3, 4, 5)
    with torch.no_grad():
        (a, at), (b, to) = of.hidden_states(*rows), row_by_row(of, *rows)
    assert torch.equal(a[at], b[to])


def test_layers_that_see_in_chunks_are_known_by_the_configuration() -> None:
    of = backbone("llama")
    of.model.config.layer_types = ["full_attention", "chunked_attention"]
    assert of.plain_because == "its layers are of kind chunked_attention"


def test_a_window_that_the_layers_do_not_pass_on_is_noticed() -> None:
    """Two small groups are shorter than any real window, so that numbers cannot show it."""
    of = backbone("llama")
    of.model.config.sliding_window = 4096
    assert of.plain_because == "its layers do not say how far each sees"


def test_the_configuration_is_as_it_was_after_a_pass_even_if_it_fails() -> None:
    of = backbone("llama")
    was = of.model.config._attn_implementation
    by_group(of, *groups(2, 2, 3, 4))
    assert of.model.config._attn_implementation == was != NAME
    rows = groups(2, 2, 3, 4)
    plan, broken = PackedGroups(*rows[1::2]), of.model.model.layers[1]
    broken.mlp.forward = lambda x: x[:, :1, :3]
    with pytest.raises(RuntimeError, match="size"):
        of.groups(plan.packed(*rows[::2]), plan)
    assert of.model.config._attn_implementation == was


def test_passes_without_gradient_hold_a_bounded_number_of_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of, rows = backbone("llama"), groups(4, 5, 6, 7)
    seen: list[int] = []
    inner = of.groups
    monkeypatch.setattr(of, "groups", lambda t, g: (seen.append(len(t)), inner(t, g))[1])
    with torch.no_grad():
        whole, at = by_group(of, *rows)
        monkeypatch.setattr("assay.engine.passes.TOKENS", 15)
        seen.clear()
        parts, to = by_group(of, *rows)
    assert len(seen) > 4 and max(seen) <= 15
    kept = torch.nn.functional.pad(rows[3], (1, 0), value=True)
    assert (whole[at] - parts[to])[kept].abs().max() < 1e-12


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(0, 9), min_size=3, max_size=3)),
        max_size=6,
    ),
    st.integers(1, 40),
)
def test_pieces_hold_every_completion_once_and_no_more_than_fits(
    rows: list[tuple[int, list[int]]], size: int
) -> None:
    prompts, completions = [r[0] for r in rows], [r[1] for r in rows]
    seen = [
        (b, n)
        for some, among in pieces(prompts, completions, size)
        for b in range(len(rows))[some]
        for n in range(3)[among]
    ]
    assert seen == [(b, n) for b in range(len(rows)) for n in range(3)]
    for some, among in pieces(prompts, completions, size):
        held = sum(prompts[some]) + sum(sum(own[among]) for own in completions[some])
        one = len(prompts[some]) == 1 and len(range(3)[among]) == 1
        assert held <= size or one


def test_two_threads_may_share_a_model() -> None:
    """The pass changes the model's configuration: each waits for the other."""
    of, rows = backbone("llama"), groups(3, 4, 9, 5)
    with torch.no_grad():
        right, at = by_group(of, *rows)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: without_gradient(of, rows), range(40)))
    assert all(torch.equal(right[at], f) for f in found)


def without_gradient(of: Pretrained, rows: tuple[torch.Tensor, ...]) -> torch.Tensor:
    with torch.no_grad():
        packed, at = by_group(of, *rows)
    return packed[at]


def test_a_prompt_may_have_no_completions() -> None:
    of = backbone("llama")
    prompt = torch.arange(3, 11).view(2, 4)
    none = torch.zeros(2, 0, 3, dtype=torch.long)
    packed, before = by_group(of, prompt, torch.ones_like(prompt).bool(), none, none.bool())
    assert len(packed) == 8 and before.shape == (2, 0, 4)


def test_parts_of_a_model_keep_the_attention_that_each_was_given() -> None:
    from transformers import LlavaConfig

    of = backbone("llama")
    parts = LlavaConfig(attn_implementation={"": "sdpa", "vision_config": "eager"})
    assert parts.vision_config._attn_implementation == "eager"
    held, of.model.config = of.model.config, parts
    with attending(of.model, PackedGroups(*groups(1, 1, 2, 2)[1::2])):
        assert parts.vision_config._attn_implementation == NAME
    of.model.config = held
    assert parts._attn_implementation == "sdpa"
    assert parts.text_config._attn_implementation is None
    assert parts.vision_config._attn_implementation == "eager"


def test_sinks_are_noticed_beside_units_that_dwarf_the_others() -> None:
    """In large models a few units of the last norm are a hundred times the others."""
    large = model("gpt_oss", dtype=torch.bfloat16, layers=2)
    with torch.no_grad():
        for layer in large.model.layers:
            out, norms = layer.self_attn.o_proj, (layer.input_layernorm,)
            for part in (out.weight, out.bias, layer.mlp.experts.down_proj[0].T):
                part[3] = 0.0
            layer.mlp.experts.down_proj[..., 3] = layer.mlp.experts.down_proj_bias[..., 3] = 0.0
            for norm in (*norms, layer.post_attention_layernorm):
                norm.weight[3] = 0.0
                norm.weight *= 3.0
        large.model.embed_tokens.weight[:, 3] = large.model.norm.weight[3] = 20.0
        large.lm_head.weight[:, 3] = 0.0
    of = Pretrained(large)
    assert of.plain_because


def test_short_prompts_are_not_padded_to_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.engine.passes.TOKENS", 100)
    of, (prompt, _, completion, keep) = backbone("llama"), groups(9, 2, 3, 60)
    ask = torch.zeros(9, 60, dtype=torch.bool)
    ask[4], ask[:, -4:] = True, True
    seen: list[tuple[int, ...]] = []
    inner = of.groups
    monkeypatch.setattr(of, "groups", lambda t, g: (seen.append(g.shape), inner(t, g))[1])
    with torch.no_grad():
        (a, at), (b, to) = (
            way(of, prompt, ask, completion, keep) for way in (row_by_row, by_group)
        )
    assert all(B * P <= 100 for B, _, _, P in seen)
    kept = torch.nn.functional.pad(keep, (1, 0), value=True)
    assert (a[at] - b[to])[kept].abs().max() < 1e-11


def test_what_somebody_has_laid_around_a_layer_is_there_after_a_checkpointed_pass() -> None:
    of = backbone("llama", checkpointing=True)
    layer, seen = of.model.model.layers[0], []
    inner = layer.forward
    layer.forward = lambda *given, **named: (seen.append(1), inner(*given, **named))[1]
    assert of.plain_because == ""
    seen.clear()
    by_group(of, *groups(2, 2, 3, 4))
    by_group(of, *groups(2, 2, 3, 4))
    assert len(seen) == 2


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3_text"])
@pytest.mark.parametrize(("P", "N", "T"), [(110, 16, 16), (20, 4, 60), (100, 4, 10)])
def test_the_memory_of_a_pass_is_as_it_is_estimated(family: str, P: int, N: int, T: int) -> None:
    """Prompts whose keys are laid beside each completion's own, and groups that are one row."""
    tokens = tokenizer()
    computes = Pretrained(model(family, vocabulary=len(tokens), layers=2))
    policy = Causal(computes, Tokens(tokens, size=len(tokens)), max_tokens=T)
    once, each = pass_bytes(policy, P, T, N)
    prompt, completion = torch.full((1, P), 9), torch.full((1, N, T), 9)
    ask, keep = torch.ones_like(prompt).bool(), torch.ones_like(completion).bool()
    x = Samples(
        Prompts(prompt, ask, torch.zeros(1).long()),
        completion,
        keep,
        ~keep,
        torch.zeros(1, N, T),
        torch.ones(1, N).bool(),
    )
    held = saved_bytes(lambda: policy.logp(x), computes.parameters())
    assert 0.8 * held < once + N * each < 1.35 * held
