"""The backbone: transformers' numbers both ways; padding never matters; packing, caching and
stacking equal the plain pass.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from assay.core.rng import Rng
from assay.errors import InputError
from assay.models.backbones.attention import shapes
from assay.models.backbones.llama import Config, Llama, Stack
from assay.models.backbones.matmul import product

CONFIG = Config(vocabulary=23, width=24, layers=2, heads=4, kv_heads=2, inner=40)
EXACT = {"rtol": 0.0, "atol": 1e-12}


def rows(R: int = 5, S: int = 9) -> tuple[Tensor, Tensor]:
    """Token rows of different lengths, padded on the left, on the right, and not at all."""
    tokens = torch.randint(0, CONFIG.vocabulary, (R, S))
    keep = torch.ones(R, S, dtype=torch.bool)
    keep[1, :4], keep[2, 5:], keep[3, :1] = False, False, False
    return tokens, keep


def ragged(B: int = 3, N: int = 4, P: int = 5, T: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prompts padded on the left; answers of 0 … T tokens padded on the right."""
    prompt, answer = (
        torch.randint(0, CONFIG.vocabulary, (B, P)),
        torch.randint(0, CONFIG.vocabulary, (B, N, T)),
    )
    length = torch.arange(B * N).reshape(B, N) % (T + 1)
    return (
        prompt,
        torch.arange(P) >= torch.tensor([0, 2, 4])[:B, None],
        answer,
        torch.arange(T) < length[..., None],
    )


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_what_we_write_and_we_read_what_it_writes(
    tmp_path: Path, tied: bool
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    ours = Llama(Config(23, 24, 2, 4, 2, 40, rope=500.0, eps=1e-6, tied=tied), Rng(1))
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert {n for n, _ in theirs.named_parameters()} == set(ours.state_dict())
    tokens, keep = rows()
    theirs.save_pretrained(tmp_path / "theirs")
    again = Llama.from_pretrained(tmp_path / "theirs")
    assert again.config == ours.config
    with torch.no_grad():
        want = theirs(
            tokens,
            attention_mask=keep.long(),
            position_ids=(keep.long().cumsum(-1) - 1).clamp(min=0),
        ).logits
        for model in (ours, again):
            torch.testing.assert_close(
                model.logits(model.hidden(tokens, keep))[keep], want[keep], rtol=0, atol=1e-5
            )


def test_the_gradient_is_that_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    ours = Llama(CONFIG, Rng(1)).double()
    ours.save_pretrained(tmp_path)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    tokens = torch.randint(0, 23, (3, 7))
    ours.logits(ours.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool))).logsumexp(
        -1
    ).sum().backward()
    theirs(tokens).logits.logsumexp(-1).sum().backward()
    for name, p in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, p.grad, rtol=1e-5, atol=1e-6)


def test_padding_and_neighbours_never_matter() -> None:
    model = Llama(CONFIG, Rng(1)).double()
    tokens, keep = rows()
    whole = model.hidden(tokens, keep)
    for r in range(len(tokens)):
        alone = tokens[r][keep[r]][None]
        torch.testing.assert_close(
            whole[r][keep[r]],
            model.hidden(alone, torch.ones_like(alone, dtype=torch.bool))[0],
            **EXACT,
        )
    other = torch.where(keep, tokens, (tokens + 1) % 23)
    assert torch.equal(model.hidden(other, keep)[keep], whole[keep])


def test_a_token_sees_none_that_comes_after_it() -> None:
    model = Llama(CONFIG, Rng(1)).double()
    tokens, keep = torch.randint(0, 23, (2, 8)), torch.ones(2, 8, dtype=torch.bool)
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 23
    a, b = model.hidden(tokens, keep), model.hidden(changed, keep)
    assert torch.equal(a[:, :5], b[:, :5])
    assert (a[:, 5:] != b[:, 5:]).any(-1).all()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("B", [1, 3])
def test_shared_prompts_equal_the_plain_pass_and_its_gradient(B: int, kv_heads: int) -> None:
    model = Llama(Config(23, 24, 2, 4, kv_heads, 40), Rng(1)).double()
    prompt, prompt_keep, answer, keep = ragged(B)
    hidden, before = model.hidden_states(prompt, prompt_keep, answer, keep)
    (N, T), P = answer.shape[1:], prompt.shape[1]
    wide = torch.cat([prompt[:, None].expand(B, N, P), answer], -1).flatten(0, 1)
    wide_keep = torch.cat([prompt_keep[:, None].expand(B, N, P), keep], -1).flatten(0, 1)
    plain = model.hidden(wide, wide_keep).view(B, N, P + T, -1)
    counted = torch.arange(T + 1) <= keep.sum(
        -1, keepdim=True
    )  # entries up to the one after the last token
    torch.testing.assert_close(hidden[before][counted], plain[:, :, P - 1 :][counted], **EXACT)
    last = plain.gather(
        2, (P - 1 + keep.sum(-1))[..., None, None].expand(-1, -1, 1, CONFIG.width)
    ).expand(-1, -1, T + 1, -1)
    torch.testing.assert_close(hidden[before][~counted], last[~counted], **EXACT)
    weight = torch.randn(B, N, T + 1, CONFIG.width, dtype=torch.float64)
    gradients = [
        torch.autograd.grad(
            (x * weight)[counted].sum(), list(model.parameters()), retain_graph=True
        )
        for x in (hidden[before], plain[:, :, P - 1 :])
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_cache_equals_the_plain_pass_whatever_leaves_or_is_doubled() -> None:
    model = Llama(CONFIG, Rng(1)).double()
    prompt, prompt_keep, answer, _ = ragged()
    owner = torch.tensor([2, 0, 0, 1])
    hidden, cache = model.prefill(
        prompt, prompt_keep, owner, room=1
    )  # too little room: the cache grows
    torch.testing.assert_close(hidden, model.hidden(prompt, prompt_keep)[:, -1], **EXACT)
    keep = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    model.extend(cache, answer[0, :, :2], keep)
    cache.select(torch.tensor([3, 1, 1, 2]))
    last = model.extend(cache, answer[0, :, 2:3], torch.ones(4, 1, dtype=torch.bool))[:, 0]
    for r, old in enumerate((3, 1, 1, 2)):
        line = torch.cat(
            [
                prompt[owner[old]][prompt_keep[owner[old]]],
                answer[0, old, :2][keep[old]],
                answer[0, r, 2:3],
            ]
        )[None]
        torch.testing.assert_close(
            last[r], model.hidden(line, torch.ones_like(line, dtype=torch.bool))[0, -1], **EXACT
        )


@pytest.mark.parametrize(("heads", "kv"), [(1, 1), (4, 2), (6, 1)])
def test_one_column_after_another_equals_the_whole_row(heads: int, kv: int) -> None:
    """With holes, rows that leave or are doubled, wide columns in between, and far beyond the room
    that was asked for.
    """
    model = Llama(Config(12, 4 * heads, 2, heads, kv, 16), Rng(1)).double()
    owner, draw = [0, 1, 1], torch.Generator().manual_seed(1)
    seen = [[5], [4, 6, 7], [4, 6, 7]]
    _, cache = model.prefill(
        torch.tensor([[0, 0, 5], [4, 6, 7]]),
        torch.tensor([[0, 0, 1], [1, 1, 1]]).bool(),
        torch.tensor(owner),
        1,
    )
    for t in range(40):
        shape = len(seen), (1, 1, 3, 1)[t % 4]
        tokens, keep = (
            torch.randint(3, 12, shape, generator=draw),
            torch.rand(shape, generator=draw) < 0.7,
        )
        out = model.extend(cache, tokens, keep)
        for r, s in keep.nonzero().tolist():
            seen[r].append(int(tokens[r, s]))
            line = torch.tensor([seen[r]])
            torch.testing.assert_close(
                out[r, s], model.hidden(line, torch.ones_like(line).bool())[0, -1], **EXACT
            )
        if t % 7 == 3:
            rows = torch.randint(0, len(seen), (4,), generator=draw)
            cache.select(rows)
            seen = [list(seen[i]) for i in rows]


@pytest.mark.parametrize("own_rows", [False, True])
def test_a_stack_equals_its_members(own_rows: bool) -> None:
    stack = Stack(CONFIG, 3, Rng(4)).double()
    tokens, keep = rows()
    if own_rows:
        tokens, keep = (torch.stack([x, x.flip(0), x.roll(1, 0)]) for x in (tokens, keep))
    out = stack.hidden(tokens, keep)
    grads = torch.autograd.grad(
        out[keep.expand(3, -1, -1)].square().sum(), list(stack.parameters())
    )
    for m in range(3):
        t, k = (tokens[m], keep[m]) if own_rows else (tokens, keep)
        single = stack.member(m)
        begun = Llama(CONFIG, Rng(4)("member", m)).state_dict()
        assert all(torch.equal(v.float(), begun[n]) for n, v in single.state_dict().items())
        hidden = single.hidden(t, k)
        torch.testing.assert_close(out[m][k], hidden[k], **EXACT)
        for whole, alone in zip(
            grads,
            torch.autograd.grad(hidden[k].square().sum(), list(single.parameters())),
            strict=True,
        ):
            torch.testing.assert_close(whole[m], alone, rtol=1e-10, atol=1e-11)


def test_first_weights_are_functions_of_the_address_alone() -> None:
    before = torch.get_rng_state()
    a, b, c = Llama(CONFIG, Rng(1)), Llama(CONFIG, Rng(1)), Llama(CONFIG, Rng(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert {n: tuple(p.shape) for n, p in a.named_parameters()} == shapes(CONFIG)
    name = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(a.get_parameter(name), b.get_parameter(name))
    assert not torch.equal(a.get_parameter(name), c.get_parameter(name))


def test_what_is_no_plain_llama_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="width 24 cannot have 5 heads"):
        Config(23, 24, 2, 5, 5, 40)
    with pytest.raises(InputError, match="does not hold a readable model"):
        Llama.from_pretrained(tmp_path)
    Llama(CONFIG, Rng(1)).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**said, "model_type": "gpt2"}))
    with pytest.raises(InputError, match="model_type 'gpt2'"):
        Llama.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**said, "intermediate_size": 41}))
    with pytest.raises(InputError, match="disagree about 'model.layers.0.mlp.gate_proj.weight'"):
        Llama.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(said))
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="does not hold a readable model"):
        Llama.from_pretrained(tmp_path)


def test_the_product_and_its_first_and_second_gradients_are_the_plain_ones() -> None:
    """In float32, where another library than torch's usual one may do it; strided inputs are as
    good as others.
    """
    x, w = torch.randn(7, 5).T.requires_grad_(True), torch.randn(9, 7).requires_grad_(True)
    results = []
    for f in (product, lambda x, w: x @ w.T):
        y = f(x, w).tanh()
        first = torch.autograd.grad(y.square().sum(), (x, w), create_graph=True)
        second = torch.autograd.grad(sum(g.sin().sum() for g in first), (x, w))
        results.append((y, first, second))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    assert torch.equal(product(x.double(), w.double()), x.double() @ w.double().T)
    assert product(x[:0], w).shape == (0, 9)
