"""A Llama as a folder, in the format of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.models.backbones.attention import Config, shapes


def write(folder: Path, config: Config, weights: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors.

    Args:
        folder: Made where it does not exist.
        config: The sizes.
        weights: By transformers' names.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, config, weights)


def _write(folder: Path, c: Config, weights: Mapping[str, Tensor]) -> None:
    kind = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    said = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocabulary,
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "intermediate_size": c.inner,
        "head_dim": c.head,
        "rope_theta": c.rope,
        "rms_norm_eps": c.eps,
        "tie_word_embeddings": c.tied,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "max_position_embeddings": 2048,
        "torch_dtype": kind,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    save_file(
        {k: v.detach().contiguous() for k, v in weights.items()},
        str(folder / "model.safetensors"),
        metadata={"format": "pt"},
    )


def read(folder: Path) -> tuple[Config, dict[str, Tensor]]:
    """Read a plain Llama's sizes and weights.

    Args:
        folder: Holds config.json and model.safetensors.

    Raises:
        InputError: A file is missing or damaged, or the model is of another kind.
    """
    path = folder / "config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        rotary = said.get("rope_parameters") or {}
        scaled = said.get("rope_scaling") or (rotary.get("rope_type", "default") != "default")
        if (
            said["model_type"] != "llama"
            or scaled
            or said.get("attention_bias")
            or said.get("mlp_bias")
        ):
            raise InputError(
                f"{path} is of another kind than a plain Llama (model_type "
                f"'{said['model_type']}'); this loader knows no biases and no scaled rotary "
                "positions"
            )
        config = Config(
            said["vocab_size"],
            said["hidden_size"],
            said["num_hidden_layers"],
            said["num_attention_heads"],
            said.get("num_key_value_heads") or said["num_attention_heads"],
            said["intermediate_size"],
            rope=rotary.get("rope_theta", said.get("rope_theta", 10000.0)),
            eps=said["rms_norm_eps"],
            tied=said["tie_word_embeddings"],
        )
        found = load_file(str(path.with_name("model.safetensors")))
    except (
        OSError,
        json.JSONDecodeError,
        UnicodeError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        SafetensorError,
    ) as why:
        raise InputError(
            f"{folder} does not hold a readable model ({type(why).__name__}: {str(why)[:80]}); "
            "it needs config.json and model.safetensors of one Llama"
        ) from why
    want = shapes(config)
    wrong = [n for n, s in want.items() if n not in found or tuple(found[n].shape) != s]
    if wrong:
        raise InputError(
            f"{path.with_name('model.safetensors')} and its config.json disagree about "
            f"'{wrong[0]}'; save the model again"
        )
    return config, {n: found[n] for n in want}
