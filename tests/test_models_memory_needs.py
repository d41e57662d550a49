"""Sums of memory are those of real models: their parameters, what autograd saves, and a cache."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import Rng
from assay.engine.passes import saved_bytes
from assay.models.backbones.layer_progress import layers_of
from assay.models.backbones.pretrained import Pretrained
from assay.models.memory_needs import Plan, Shape, llama, needs

sys.path.insert(0, str(Path(__file__).parent.parent / "docs" / "tools"))
import memory

SIZES: dict[str, int] = {
    "hidden": 48, "intermediate": 80, "layers": 3, "heads": 4, "kv_heads": 2, "head": 16,
    "vocabulary": 256,
}  # fmt: skip


def model_of(tied: bool = True, **more: int) -> Any:
    """A model of these sizes, without weights where it is large."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {**SIZES, **more}
    config = LlamaConfig(
        vocab_size=size["vocabulary"],
        hidden_size=size["hidden"],
        intermediate_size=size["intermediate"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["kv_heads"],
        head_dim=size["head"],
        tie_word_embeddings=tied,
        max_position_embeddings=2048,
    )
    with torch.device("meta" if size["hidden"] > 1000 else "cpu"), torch.random.fork_rng():
        return LlamaForCausalLM(config)


def shape(tied: bool = True, **more: int) -> Shape:
    return llama(**{**SIZES, **more}, tied=tied)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_the_models(tied: bool) -> None:
    model, said = model_of(tied), shape(tied)
    assert said.parameters == sum(p.numel() for p in model.parameters())
    layers = layers_of(model)
    assert said.layers == len(layers)
    assert said.layer == sum(p.numel() for p in layers[0].parameters())
    large = {"hidden": 4096, "intermediate": 14336, "layers": 2, "heads": 32, "kv_heads": 8,
             "head": 128, "vocabulary": 128256}  # fmt: skip
    found = sum(p.numel() for p in model_of(tied, **large).parameters())
    assert llama(**large, tied=tied).parameters == found


def test_adapters_are_pefts() -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    config = peft.LoraConfig(r=16, target_modules="all-linear")
    adapted = peft.get_peft_model(model_of(), config)
    found = sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    assert shape().adapted == found


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_activations_are_what_autograd_saves(half: bool, again: bool) -> None:
    """Of packed groups, per token and layer: differences of two lengths and of two depths. What the
    embedding and the last norm save is a layer's fortieth, and is counted nowhere.
    """

    def saved(tokens: int, layers: int) -> int:
        model = model_of(layers=layers).to(torch.bfloat16 if half else torch.float32)
        backbone = Pretrained(model, checkpointing=again)
        assert not backbone.plain_because
        ids, kept = torch.arange(tokens)[None] % 256, torch.ones(1, tokens, dtype=torch.bool)
        given = ids[:, :1], kept[:, :1], ids[None, :, 1:], kept[None, :, 1:]
        return saved_bytes(lambda: backbone.hidden_states(*given)[0], backbone.parameters())

    more = [saved(n, 3) - saved(n, 1) for n in (900, 300)]
    plan = Plan(half=half, recomputed=again)
    a, b = (needs(shape(), replace(plan, learned=n)).activations for n in (600, 0))
    said = (a - b) / 600
    if again:  # of one layer, too, which is not saved but made on the way back
        said -= shape().saved[1 if half else 0] / shape().layers
    assert said / 3 == pytest.approx((more[0] - more[1]) / 600 / 2, rel=0.02)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_activations_of_adapters_are_what_autograd_saves(half: bool, again: bool) -> None:
    """The base is frozen, so that less is saved in float32; in bfloat16 adapters are given float32
    copies, and more is.
    """
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    from assay.models.backbones.adapters import Adapted, Base

    def saved(tokens: int, layers: int) -> int:
        model = model_of(layers=layers).to(torch.bfloat16 if half else torch.float32)
        lora = peft.LoraConfig(r=16, target_modules="all-linear")
        base = Base(model, lora, Rng(0), checkpointing=again)
        backbone = Adapted(base, adapter=True).requires_grad_(True)
        ids, kept = torch.arange(tokens)[None] % 256, torch.ones(1, tokens, dtype=torch.bool)
        given = ids[:, :1], kept[:, :1], ids[None, :, 1:], kept[None, :, 1:]
        return saved_bytes(lambda: backbone.hidden_states(*given)[0])

    more = [saved(n, 3) - saved(n, 1) for n in (900, 300)]
    plan = Plan(kind="LoRA", half=half, recomputed=again)
    a, b = (needs(shape(), replace(plan, learned=n)).activations for n in (600, 0))
    said = (a - b) / 600
    if again:
        said -= shape().adapted_saved[1 if half else 0] / shape().layers
    assert said / 3 == pytest.approx((more[0] - more[1]) / 600 / 2, rel=0.02)


def test_keys_and_values_are_a_caches() -> None:
    model = model_of()
    backbone = Pretrained(model)
    assert backbone.key_bytes == 4 * shape().keys
    out = model(torch.arange(7)[None], use_cache=True).past_key_values
    held = sum(layer.keys.numel() + layer.values.numel() for layer in out.layers)
    assert held == 7 * shape().keys


def test_processes_divide_what_is_divided() -> None:
    whole = Plan(processes=1, learned=0, generated=0)
    for kind in ("all weights", "LoRA"):
        one, eight = (needs(shape(), replace(whole, kind=kind, processes=W)) for W in (1, 8))
        adapters = shape().adapted if kind == "LoRA" else 0
        assert eight.state - 16 * adapters <= (one.state - 16 * adapters) / 8 + 20
        assert eight.gathered > 0 == one.gathered and eight.whole == 4 * shape().parameters
    assert needs(shape(), whole).state == 20 * shape().parameters
    half = needs(shape(), replace(whole, half=True))
    assert half.state == 20 * shape().parameters  # a rounded copy, and a reference of half the size


def test_the_pages_tables_are_these() -> None:
    page = memory.PAGE.read_text(encoding="utf-8")
    assert memory.written(page) == page, "run: python docs/tools/memory.py"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_measuring_process_that_fails_says_why(tmp_path: Path, processes: int) -> None:
    words = ["dpo", "--model", str(tmp_path), "--pairs", "none.jsonl"]
    with pytest.raises(SystemExit) as why:
        memory.peaks(words, processes, tmp_path)
    first, *each = str(why.value).splitlines()
    assert first.startswith("assay run dpo --model") and 1 <= len(each) <= processes
    assert "process 0 of" in each[0] and "ended with 2: assay: " in each[0]
    assert "none.jsonl" in each[0]


def test_a_process_that_the_system_ended_is_told_with_its_signal(tmp_path: Path) -> None:
    note = tmp_path / "stderr"
    note.write_bytes(b"loading\xff\n\n")
    assert memory.ended(-9, note) == "was ended by SIGKILL (memory may be full): loading\ufffd"
    note.write_bytes(b"")
    assert memory.ended(1, note) == "ended with 1: it wrote nothing"


def test_a_model_of_another_family_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"n_head": 2}', encoding="utf-8")
    with pytest.raises(SystemExit, match="has no num_attention_heads; give a model of Llama's"):
        memory.shape_of(tmp_path)
