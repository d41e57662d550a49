"""Check weights after loading: none is missing or NaN, and each that the model ignores is named."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from assay.engine.plural import counted
from assay.errors import InputError

log = logging.getLogger("assay")
_LAYER = re.compile(r"\.\d+\.")  # a weight of one of many layers has its number in its name


def same_shapes(info: Mapping[str, Any], what: str) -> None:
    """Check that the files' weights have the shapes that the configuration says.

    Args:
        info: What `from_pretrained(…, output_loading_info=True, ignore_mismatched_sizes=True)`
            returned beside the model.
        what: The beginning of the message.

    Raises:
        InputError: One has another shape.
    """
    for name, there, wanted in sorted(info["mismatched_keys"]):
        raise InputError(
            f"{what}, and its files hold {name} as {_by(there)} where config.json says "
            f"{_by(wanted)}; give the config.json that was saved with the weights"
        )


def all_there(info: Mapping[str, Any], what: str) -> None:
    """Check that a model's files hold all its weights: transformers draws missing ones at random.

    Args:
        info: As for `same_shapes`.
        what: The beginning of the message.

    Raises:
        InputError: Weights are missing.
    """
    if lacks := sorted(info["missing_keys"]):
        raise InputError(
            f"{what}, and its files lack {_some(lacks)}, so that random numbers would stand in; "
            "give a folder that was saved with all its weights, the head included"
        )


def has_layers(config: Any, what: str) -> None:
    """Check that a model has a layer: transformers opens one of 0 or -1 layers without an error.

    Args:
        config: The model's.
        what: The beginning of the message.

    Raises:
        InputError: It has none.
    """
    inner = config.get_text_config()
    layers = getattr(inner, "num_hidden_layers", None)
    if isinstance(layers, int) and layers < 1:
        name = inner.attribute_map.get("num_hidden_layers", "num_hidden_layers")
        raise InputError(
            f"{what}, and its config.json says {name} is {layers}, so that no layer is there; give "
            "the config.json that was saved with the weights, or another model"
        )


def whole_base(model: Any, info: Mapping[str, Any], base: str) -> None:
    """Check that a base that gets a new head has all other weights in its files.

    Args:
        model: The base, with a head or without.
        info: As for `same_shapes`.
        base: Its name, for the message.

    Raises:
        InputError: It has no layer, or a weight that is not the head's, nor a pooler's, is missing
            or of another shape: random numbers would stand in for it.
    """
    has_layers(model.config, f"'{base}' should be a base")
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    what = f"'{base}' should be a base with all its weights"
    other = [m for m in info["mismatched_keys"] if m[0].startswith(prefix)]
    same_shapes({"mismatched_keys": other}, what)
    missing = (k for k in info["missing_keys"] if k.startswith(prefix) and "pooler" not in k)
    if lacks := sorted(missing):
        raise InputError(
            f"{what}, and its files lack {_some(lacks)}, so that random numbers would stand in; "
            "give a folder that was saved with all its weights"
        )
    say_left_over((k for k in info["unexpected_keys"] if _LAYER.search(k)), base)


def say_left_over(names: Iterable[str], model: str) -> None:
    """Warn of weights in the files that the model has no place for.

    Args:
        names: The weights' names.
        model: The model, for the message.
    """
    if over := sorted(names):
        log.warning(
            "%s: its files hold %s that a model of this config.json has no place for (%s): they "
            "are not used",
            model,
            counted(len(over), "weight"),
            _some(over),
        )


@torch.no_grad()
def check_finite(model: Any, what: str) -> None:
    """Check every weight of a model for NaN and infinity.

    Args:
        model: The model.
        what: The beginning of the message.

    Raises:
        InputError: A weight holds one.
    """
    bad = [
        name
        for name, p in model.named_parameters()
        if p.is_floating_point()
        and not p.is_meta
        and p.numel()
        and not bool(torch.stack(torch.aminmax(p.detach())).isfinite().all())
    ]
    if bad:
        raise InputError(
            f"{what}, and its weights hold NaN or infinity ({_some(bad)}); give a model that was "
            "saved before its training failed, or in float32 or bfloat16 where float16 overflowed"
        )


def all_tokens(model: Any, tokenizer: Any, base: str) -> None:
    """Check that a base has an embedding for every token that its tokenizer makes.

    A padding token may be beyond them: no text holds it.

    Args:
        model: The base.
        tokenizer: Its tokenizer.
        base: Its name, for the message.

    Raises:
        InputError: The tokenizer makes tokens that the model does not know.
    """
    size = model.get_input_embeddings().num_embeddings
    beyond = [i for i in tokenizer.get_vocab().values() if i >= size]
    if [i for i in beyond if i != tokenizer.pad_token_id]:
        raise InputError(
            f"'{base}' has a tokenizer of {max(beyond) + 1} tokens and a model of {size}: they do "
            "not belong together; give the tokenizer that was saved with it"
        )


def _some(names: list[str]) -> str:
    """The first names of several."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _by(shape: Iterable[int]) -> str:
    """A shape as people write it."""
    return "×".join(map(str, shape)) or "a single number"
