"""Readers of what comes with models: folders, adapter configurations, chat templates."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from families import CHAT, tokenizer
from safetensors.torch import save_file

from assay.data import model_folder
from assay.data.messages import Unreadable, turns_of
from assay.data.turns import Turn
from assay.errors import InputError
from assay.models.backbones import adapter_config
from assay.models.chat import Chat
from assay.models.text_encoder import TextEncoder
from assay.records.input_digests import base_of
from fuzz import rows
from fuzz.harness import Target

_CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "vocab_size": 307,
    "eos_token_id": [1, 2],
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "quantization_config": {"bits": 4},
}
_ADAPTER = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "base",
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.1,
    "target_modules": ["q_proj", "v_proj"],
    "modules_to_save": None,
    "bias": "none",
    "init_lora_weights": True,
    "rank_pattern": {"q_proj": 4},
    "peft_version": "0.18.0",
}
_INDEX = {"metadata": {"total_size": 8}, "weight_map": {"a.weight": "model.safetensors"}}


@functools.cache
def _weights() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_file({"a.weight": torch.ones(2)}, Path(folder) / "x")
        return (Path(folder) / "x").read_bytes()


def _folder(name: str) -> Callable[[bytes, Path], None]:
    """What a model's folder is told to lack, with one of its files damaged."""

    def call(data: bytes, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(_CONFIG))
        (folder / "model.safetensors").write_bytes(_weights())
        (folder / name).write_bytes(data)
        said = model_folder.fault(folder)
        model_folder.lacking(folder, "no tokenizer"), base_of(str(folder))
        if said:
            raise InputError(said)

    return call


def _adapter(data: bytes, folder: Path) -> None:
    (folder / "adapter_config.json").write_bytes(data)
    config = adapter_config.read(str(folder))
    adapter_config.fits(config, torch.nn.ModuleDict({"q_proj": torch.nn.Linear(2, 2)}))
    adapter_config.drawn_anew(config)


_ASKS = [
    (Turn("user", "Hi"),),
    (Turn("system", "be brief"), Turn("user", "Hi <|end|>"), Turn("assistant", "Hello")),
]
_TEMPLATES = [
    CHAT,
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}" + CHAT,
    "{% macro say(m) %}{{ m.role ~ ': ' ~ m.content | trim }}{% endmacro %}"
    "{% for m in messages %}{{ say(m) }}{% endfor %}{{ tools | tojson if tools else '' }}",
    "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}{%- endfor -%}",
    "{{ raise_exception('no') }}{{ messages.__class__ }}{{ strftime_now('%Y') }}",
]


def _template(data: bytes, folder: Path) -> None:
    """A template that came with a model, and what it makes of two conversations."""
    own = tokenizer()
    own.chat_template = data.decode("utf-8", "replace")
    try:
        chat = Chat(own)
        for turns in _ASKS:
            hidden = chat.hidden(turns)
            chat.note(turns, chat.text(turns, hidden), hidden)
        assert isinstance(chat.opens, str)
    finally:
        own.chat_template = CHAT


@functools.cache
def _encoder() -> TextEncoder:
    return TextEncoder(tokenizer())


def _spoken(data: bytes, folder: Path) -> None:
    """Messages of people as tokens."""
    try:
        found = json.loads(data)
        turns = turns_of(found)
    except Unreadable as why:
        raise InputError(str(why)) from why
    except (ValueError, RecursionError) as why:
        raise InputError("no messages") from why
    encoder = _encoder()
    text = encoder.chat.text(turns, encoder.chat.hidden(turns))
    encoder.rendered(text, encoder.chat.hidden(turns))


def _talks() -> list[bytes]:
    found: list[Any] = [
        r[k] for held in rows.KINDS.values() for r in held for k in ("messages", "chosen") if k in r
    ]
    return [json.dumps(v).encode() for v in found if not isinstance(v, str)]


def _json(value: Any) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(value).encode()]


MODELS = [
    Target("config.json of a model", "json", _json(_CONFIG), _folder("config.json")),
    Target(
        "an index of weights", "json", _json(_INDEX), _folder("model.safetensors.index.json"), 0.5
    ),
    Target("weights of a model", "tensors", lambda: [_weights()], _folder("model.safetensors")),
    Target("an adapter's configuration", "json", _json(_ADAPTER), _adapter),
    Target("a chat template", "text", lambda: [t.encode() for t in _TEMPLATES], _template, 0.5),
    Target("messages", "json", _talks, _spoken, 0.5),
]
