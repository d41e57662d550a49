"""What the formats share: fields of a body, and scores as bare numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assay.serve.item import BadRequest, Item, Score, Unscored

# What tokenizers of chat models decode at the end of a completion (and pad it with).
ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<|end|>",
    "<|return|>",
    "<|eot|>",
    "<end_of_turn>",
    "<eos>",
    "<pad>",
    "</s>",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
)
_ANY = "|".join(map(re.escape, ENDS))
_END, _PADDING = re.compile(rf"(?:\s*(?:{_ANY}))+\s*\Z"), re.compile(rf"(?:{_ANY})+")


def fields(body: Any, form: str) -> Mapping[str, Any]:
    """Return a body's fields.

    Args:
        body: The request's JSON.
        form: What was expected, for the message.

    Raises:
        BadRequest: It is no object.
    """
    if not isinstance(body, Mapping):
        raise BadRequest(f"the body is {kind(body)}; send {form}")
    return body


def texts(value: Any, name: str, form: str) -> list[str]:
    """Return a text, or a list of texts, as a list.

    Args:
        value: The field's value.
        name: The field's name.
        form: What was expected, for the message.

    Raises:
        BadRequest: It is something else.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise BadRequest(f"'{name}' is {kind(value)}; send {form}")
    for i, one in enumerate(value):
        if not isinstance(one, str):
            raise BadRequest(f"'{name}', entry {i}, is {kind(one)}; send {form}")
    return value


def whole(value: Any, name: str, form: str, who: str) -> list[Item]:
    """Read whole texts, which hold prompt and completion.

    Args:
        value: A text or a list of texts.
        name: The field's name.
        form: What was expected, for the message.
        who: Who sends such requests, for the message.

    Raises:
        BadRequest: It holds token ids, an empty text, or something else.
    """
    if isinstance(value, list) and value and all(map(_ids, value)):
        raise BadRequest(
            f"'{name}' holds token ids, and this server has no tokenizer of the model that made "
            f"them; send the text, as {who} does"
        )
    found = texts(value, name, form)
    for i, text in enumerate(found):
        if not text:
            raise BadRequest(f"'{name}', entry {i}, is empty; send prompt and completion as text")
    return [Item("", "", {}, text) for text in found]


def numbers(scores: Sequence[Score]) -> list[float]:
    """Return every score's value.

    Raises:
        Unscored: One has none.
    """
    out = []
    for i, score in enumerate(scores):
        value = score.value
        if score.error:
            raise Unscored(f"completion {i} has no score: {score.error}")
        if value is None:
            raise Unscored(
                f"the reward does not apply to completion {i}, and this format cannot say so; "
                "post to /v1/score, which answers null",
                status=422,
            )
        if not math.isfinite(value):
            raise Unscored(f"completion {i} has the score {value}, which JSON cannot hold")
        out.append(float(value))
    return out


def without_end(completion: str) -> str:
    """Return a completion without the end-of-turn markers that were decoded with it.

    Example:
        >>> without_end("four.<|im_end|>\\n"), without_end("four.\\n")
        ('four.', 'four.\\n')
    """
    return _END.sub("", completion)


def without_padding(text: str) -> str:
    """Return a text without the padding before it and the end-of-turn markers behind it.

    Example:
        >>> without_padding("</s></s>2+2?4</s>")
        '2+2?4'
    """
    begun = _PADDING.match(text)
    return without_end(text if begun is None else text[begun.end() :])


def model_of(body: Any) -> str:
    """Return the model's name that a request gave; "assay" if it gave none."""
    named = body.get("model")
    if named is not None and not isinstance(named, str):
        raise BadRequest(f"'model' is {kind(named)}; send a text or leave it out")
    return named or "assay"


def kind(value: Any) -> str:
    """Name a JSON value's type, as a person who writes JSON calls it.

    Example:
        >>> kind(None), kind({}), kind(3), kind(True)
        ('null', 'an object', 'a number', 'a boolean')
    """
    if value is None:
        return "null"
    names = {bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _ids(value: Any) -> bool:
    """Whether this is a token id, or a list of them."""
    if isinstance(value, list):
        return bool(value) and all(map(_ids, value))
    return isinstance(value, int) and not isinstance(value, bool)
