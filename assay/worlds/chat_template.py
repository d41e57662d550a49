"""What a chat template writes around a completion: the tokens that end it, and its beginning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from assay.errors import InputError
from assay.models.template_limits import rendered

log = logging.getLogger("assay")


def own_ends(model: Any, size: int) -> list[int]:
    """The tokens that end a completion, by a model's own generation settings.

    Args:
        model: Whatever has a `config` and maybe a `generation_config`.
        size: Tokens of the model.

    Raises:
        InputError: One of them is none of the model's tokens.
    """
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    own = getattr(model.config, "eos_token_id", None) if own is None else own
    ends = [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]
    for end in ends:
        if type(end) is not int or not 0 <= end < size:
            raise InputError(
                f"the model's settings give {end!r} as eos_token_id, and its tokens are "
                f"numbers from 0 to {size - 1}; mend generation_config.json, or config.json if the "
                "model has no such file"
            )
    return ends


def end_tokens(tokenizer: Any, ends: Sequence[int], *, chat: bool) -> list[int]:
    """The token ids that end a completion, the chat template's own first.

    A model with several end tokens is trained on the one that its template writes after what an
    assistant says, so that training data ends as the model's own completions do.

    Args:
        tokenizer: The tokenizer, with its template.
        ends: The model's end tokens.
        chat: Whether the template is used.

    Returns:
        The same ids.

    Raises:
        InputError: The template refuses a question and an answer.
    """
    if not chat or len(ends) < 2:
        return list(ends)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        text = rendered(tokenizer, turns)
    except Exception as why:  # a template is a program, and can raise anything
        raise InputError(
            "the chat template refuses a question and an answer "
            f"({' '.join(str(why).split())[:100]}); give --chat false"
        ) from why
    tail = tokenizer(text.rpartition("b")[2], add_special_tokens=False, verbose=False)["input_ids"]
    first = next((i for i in tail if i in ends), ends[0])
    return [first, *(e for e in ends if e != first)]


def warn_without_generation_prompt(tokenizer: Any) -> None:
    """Warn if the template does not end a prompt with what it writes before an assistant's text.

    Completions, and those of pairs and demonstrations, then begin without that text. A template
    that writes nothing there is correct as it is.
    """
    question = [{"role": "user", "content": "a question"}]
    both = [*question, {"role": "assistant", "content": "its answer"}]
    try:
        begun, plain, whole = (
            rendered(tokenizer, turns, add_generation_prompt=now)
            for turns, now in ((question, True), (question, False), (both, False))
        )
    except (
        Exception
    ):  # a template is a program; what it refuses is an error where a prompt meets it
        return
    before = whole[len(begun) :].partition("its answer")[0]
    if begun == plain and whole.startswith(begun) and before.strip():
        log.warning(
            "the chat template has no generation prompt: it writes %r before an assistant's text, "
            "and completions here begin without it; use a template with add_generation_prompt",
            before,
        )
