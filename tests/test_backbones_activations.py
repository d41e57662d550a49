"""What a pass shows beside its last states: what transformers shows, and what modules give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, MORE, exact, model, never_rounded
from torch import Tensor

from assay.core import InputError, Rng
from assay.models.backbones.activation_hooks import _Shown, noted
from assay.models.backbones.activations import KINDS, own_activations
from assay.models.backbones.completion_passes import by_group, row_by_row
from assay.models.backbones.llama import Config, Llama
from assay.models.backbones.pretrained import Pretrained


def groups(B: int = 2, N: int = 2, T: int = 5, P: int = 4) -> tuple[Tensor, ...]:
    """Prompts padded on the left and completions that end early."""
    g = torch.Generator().manual_seed(3)
    prompt = torch.randint(3, 60, (B, P), generator=g)
    completion = torch.randint(3, 60, (B, N, T), generator=g)
    ask = torch.arange(P) >= torch.randint(0, P, (B, 1), generator=g)
    keep = torch.arange(T) < torch.randint(1, T + 1, (B, N, 1), generator=g)
    keep[0, 0] = True
    return prompt, ask, completion, keep


def by_rows(rows: tuple[Tensor, ...]) -> Any:
    """Yield each completion's own tokens after its prompt, and where its states are looked up."""
    prompt, ask, completion, keep = rows
    for b in range(len(prompt)):
        for n in range(keep.shape[1]):
            asked, own = prompt[b][ask[b]], completion[b, n][keep[b, n]]
            yield b, n, torch.cat([asked, own])[None], len(asked) - 1, len(own)


def states_of(packed: Tensor, before: Tensor, sizes: list[int], b: int, n: int, own: int) -> Any:
    return packed[before[b, n, : own + 1]].split(sizes, -1)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt2"])
@pytest.mark.parametrize("how", [row_by_row, by_group])
def test_every_layer_s_state_is_that_of_transformers(
    family: str, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtype, near = exact(family)
    never_rounded(monkeypatch)
    body, rows = Pretrained(model(family, dtype=dtype, layers=3)), groups()
    shown = _Shown(body, "layers")
    with torch.no_grad():
        packed, before = how(shown, *rows)
        assert shown.sizes == [32, 32, 32]
        for b, n, tokens, at, own in by_rows(rows):
            want = body.model(input_ids=tokens, output_hidden_states=True).hidden_states[1:]
            found = states_of(packed, before, shown.sizes, b, n, own)
            for a, w in zip(found, want, strict=True):
                torch.testing.assert_close(a, w[0, at:], atol=near, rtol=near)


@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_activations_are_alike_in_rows_and_in_groups_and_no_hook_stays(family: str) -> None:
    body, rows = Pretrained(model(family)), groups()
    given = list[Any]()
    with torch.no_grad():
        for how in (row_by_row, by_group):
            shown = _Shown(body, "activations")
            packed, before = how(shown, *rows)
            given.append([packed[before][torch.nn.functional.pad(rows[3], (1, 0), value=True)]])
            given[-1].append(shown.sizes)
    torch.testing.assert_close(given[0][0], given[1][0], atol=2e-5, rtol=1e-4)
    assert given[0][1] == given[1][1]
    # no sum between parallel blocks, which share a normed input or have one each; no norm before
    # a block that norms what it adds
    each = {"gpt_neox": 5, "cohere2": 4, "olmo2": 4}.get(family, 6)
    assert given[0][1] == [2, 8, 2 + 2 * each, 32]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in body.model.modules())


def test_hooks_are_removed_when_a_pass_fails() -> None:
    body = Pretrained(model("llama"))
    with pytest.raises(RuntimeError, match="ended"), noted(body.model, "activations"):
        raise RuntimeError("ended")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in body.model.modules())


def by_hand(llama: Any, tokens: Tensor) -> dict[str, dict[str, Tensor]]:
    """The means of a transformers Llama, computed from its own modules one after another."""
    of, found = llama.model, {kind: dict[str, Tensor]() for kind in KINDS}
    x, heads = of.embed_tokens(tokens), list[Tensor]()
    found["residual"]["embedding"] = x
    angles = of.rotary_emb(x, torch.arange(tokens.shape[1])[None])
    for i, layer in enumerate(of.layers):
        attention = layer.self_attn
        hook = attention.o_proj.register_forward_pre_hook(lambda m, given: heads.append(given[0]))
        y = layer.input_layernorm(x)
        added = attention(y, position_embeddings=angles, attention_mask=None, is_causal=True)[0]
        hook.remove()
        middle = x + added
        z = layer.post_attention_layernorm(middle)
        inner = layer.mlp.act_fn(layer.mlp.gate_proj(z)) * layer.mlp.up_proj(z)
        more = layer.mlp.down_proj(inner)
        x = middle + more
        found["feed-forward"][f"{i}.inner"] = inner
        q, k, v = (getattr(attention, f"{p}_proj")(y) for p in "qkv")
        found["attention"] |= {f"{i}.q": q, f"{i}.k": k, f"{i}.v": v, f"{i}.heads": heads[-1]}
        found["residual"] |= {
            f"{i}.normed": y,
            f"{i}.normed_middle": z,
            f"{i}.attention": added,
            f"{i}.middle": middle,
            f"{i}.feed_forward": more,
            f"{i}.output": x,
        }
    found["residual"]["last_norm"] = of.norm(x)
    return {k: {n: t[0].mean(-1) for n, t in each.items()} for k, each in found.items()}


def test_means_are_those_of_the_model_s_own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    never_rounded(monkeypatch)
    body = Pretrained(model("llama", dtype=torch.float64))
    tokens = torch.arange(5, 14)[None]
    with torch.no_grad(), noted(body.model, "activations") as notes:
        last = body.rows(tokens, torch.ones_like(tokens, dtype=torch.bool))
    notes.mean("residual", "last_norm", last)
    with torch.no_grad():
        want = by_hand(body.model, tokens)
    for kind in KINDS:
        assert notes.means[kind].keys() == want[kind].keys()
        for name, x in want[kind].items():
            torch.testing.assert_close(notes.means[kind][name][0], x, msg=f"{kind} {name}")


def test_our_llama_shows_what_its_transformers_copy_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries carry the factor 1/√d here, and rotated queries and keys are here alone."""
    from transformers import LlamaForCausalLM

    never_rounded(monkeypatch)
    own = Llama(Config(60, 16, 3, heads=4, kv_heads=2, inner=24), Rng(1)).double()
    for name, p in own.named_parameters():  # norms that do nothing would hide a forgotten one
        if "norm" in name:
            p.data = 1 + 0.3 * torch.randn_like(p)
    own.save_pretrained(tmp_path)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    copy, rows = Pretrained(theirs), groups()
    for show in ("layers", "activations"):
        packed, before, sizes = own_activations(own, show, *rows)
        others, to, their_sizes = copy.activations(show, *rows)
        seen = torch.nn.functional.pad(rows[3], (1, 0), value=True)
        mine = packed[before][seen].split(sizes, -1)
        others = others[to][seen].split(their_sizes, -1)
        if show == "layers":
            assert sizes == their_sizes == [16, 16, 16]
        else:
            assert (sizes, their_sizes) == ([3, 18, 20, 16], [3, 12, 20, 16])
            kept = mine[1].unflatten(-1, (3, 6))[..., [0, 1, 4, 5]] * torch.tensor([2, 1, 1, 1])
            assert (mine[1].unflatten(-1, (3, 6))[..., 2] - kept[..., 0] / 2).abs().max() > 1e-3
            mine = (mine[0], kept.flatten(-2), sort(mine[2]), mine[3])
            others = (others[0], others[1], sort(others[2]), others[3])
        for a, b in zip(mine, others, strict=True):
            torch.testing.assert_close(a, b)


def sort(x: Tensor) -> Tensor:
    """Residual means are noted in another order; which is which is tested above."""
    return x.sort(-1).values


def test_an_unknown_layer_is_named() -> None:
    body = Pretrained(model("llama"))
    body.model.model.layers[1].mlp.last = body.model.model.layers[1].mlp.down_proj
    del body.model.model.layers[1].mlp.down_proj
    with pytest.raises(InputError, match=r"LlamaMLP has no down projection.*use --masks shared"):
        body.activations("activations", *groups())
    assert not any(m._forward_hooks for m in body.model.modules())


def test_half_precision_shows_float32_and_compiled_layers_are_not_asked() -> None:
    body, rows = Pretrained(model("llama", dtype=torch.bfloat16)), groups()
    body.compiled = True
    for show in ("layers", "activations"):
        packed, _, _ = body.activations(show, *rows)
        assert packed.dtype == torch.float32 and not packed.requires_grad and body.compiled
