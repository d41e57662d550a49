"""Bases of reward models: their tokenizer, model, padding token and template, each explicit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from assay.data import hub
from assay.data.opening import opening
from assay.errors import InputError
from assay.registry.live import opened

PAD = "<|pad|>"
DIVIDED = "AutoModelForSequenceClassification"  # rewards that may be divided over processes
_POSITIONS_FROM_2 = ("roberta", "xlm-roberta", "camembert")  # two positions are for padding


@dataclass(frozen=True)
class Template:
    """How prompt and completion become one text.

    Attributes:
        form: "pair" (the tokenizer's own pair of sequences, as in BERT), "chat" (the tokenizer's
            chat template) or "plain" (prompt, a blank line, completion, end-of-text).
        max_length: The longest row, in tokens.
        segments: Whether the model wants to know which of the pair a token belongs to.
    """

    form: str
    max_length: int
    segments: bool

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)


# classes whose weights this process does not read, because it gets its part of them from another
_unread: ContextVar[tuple[str, ...]] = ContextVar("unread", default=())


@contextmanager
def unread(*kinds: str) -> Iterator[None]:
    """Open models of these classes without their weights, within the block.

    Args:
        kinds: Names of transformers' Auto classes.
    """
    before = _unread.set(kinds)
    try:
        yield
    finally:
        _unread.reset(before)


def open_tokenizer(base: str | Path) -> Any:
    """Open a base's tokenizer; code that comes with it is run only within `trusting(True)`.

    Raises:
        InputError: The base has no tokenizer, or one that would run code.
    """
    tokenizer = getattr(opened(base), "tokenizer", None)
    if tokenizer is not None:
        return copy.deepcopy(tokenizer)  # a caller may add a padding token
    with opening(str(base), f"'{base}' should name a model", weights=False) as how:
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(str(base), **how)
        except Exception as why:  # transformers and the hub raise many types for one thing
            raise hub.refused(str(base), f"{base} gives no tokenizer", why) from why


def open_model(kind: str, base: str | Path, **arguments: Any) -> Any:
    """Open a model by transformers' Auto class, from safetensors only, in float32, dropout off.

    Args:
        kind: The class's name.
        base: A folder or a name on the hub.
        arguments: Further arguments of `from_pretrained`.

    Returns:
        The model, or (model, info) where `output_loading_info` asks for it.

    Raises:
        InputError: There is no such model, or it is an encoder-decoder.
    """
    if kind in _unread.get():
        arguments["device_map"] = {"": "meta"}
    with opening(str(base), f"'{base}' should name a model") as how:
        import transformers

        try:
            with torch.random.fork_rng():  # what the base lacks is drawn from a global stream
                found = getattr(transformers, kind).from_pretrained(
                    str(base), use_safetensors=True, dtype=torch.float32, **how, **arguments
                )
        except Exception as why:
            raise hub.refused(str(base), f"{base} gives no model", why) from why
    model = found[0] if isinstance(found, tuple) else found
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"{base} is an encoder-decoder; give an encoder or a decoder")
    model.eval()
    return found


def template_for(tokenizer: Any, config: Any, max_length: int) -> Template:
    """Choose the form that fits a tokenizer, and a limit that its model can hold.

    Args:
        tokenizer: The model's.
        config: The model's.
        max_length: The longest row in tokens; the tokenizer or the configuration may lower it.
    """
    pair = tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None
    form = "pair" if pair else "chat" if getattr(tokenizer, "chat_template", None) else "plain"
    room = [max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = 2 if getattr(config, "model_type", "") in _POSITIONS_FROM_2 else 0
        room.append(positions - offset)
    if 0 < tokenizer.model_max_length < 10**9:
        room.append(int(tokenizer.model_max_length))
    segments = (
        form == "pair"
        and "token_type_ids" in tokenizer.model_input_names
        and getattr(config, "type_vocab_size", 0) > 1
    )
    return Template(form, min(room), segments)


def dedicated_pad(tokenizer: Any, model: Any) -> str | None:
    """Give a decoder a padding token of its own, if it has none or pads with its end-of-text.

    A classification head reads the last token that is not padding, and would read the wrong one.

    Args:
        tokenizer: The tokenizer; it is changed.
        model: The model; its embeddings grow.

    Returns:
        What was done, for the user; None if nothing was.
    """
    said = None
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        why = (
            "no padding token"
            if tokenizer.pad_token_id is None
            else "padding with the end-of-text token"
        )
        tokenizer.add_special_tokens({"pad_token": PAD})
        grown = f"'{PAD}' was added, and the embeddings grew to {len(tokenizer)}"
        said = f"the tokenizer has {why}: {grown}"
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng():
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with (
            torch.no_grad()
        ):  # its row is never attended to; zeros keep the fit from depending on a global stream
            model.get_input_embeddings().weight[tokenizer.pad_token_id].zero_()
    model.config.pad_token_id = tokenizer.pad_token_id
    return said
