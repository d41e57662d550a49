"""Prompts behind an instruction, for policies that are asked twice about one completion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from assay.core import EncodesText, Prompts, PromptTexts, require
from assay.data.turns import Turn
from assay.errors import InputError
from assay.models.text_encoder import Templated

Turns = tuple[Turn, ...]


def instructed(policy: Any, prompts: Prompts, instruction: str, *, by: str) -> Prompts:
    """Encode each prompt again with an instruction before it.

    In a conversation it goes before what the user says last, and through the chat template; in a
    world of words it stands before the prompt's words.

    Args:
        policy: Encodes the prompts of a world that does not itself.
        prompts: B prompts.
        instruction: The text.
        by: Who needs it, for messages: a recipe's name.

    Returns:
        The prompts, of the same rows.

    Raises:
        InputError: The policy reads no text, or a chat template wrote the prompts already.
    """
    read, rows = prompts.decode, prompts.row.tolist()
    if isinstance(read, PromptTexts) and read.encode is not None:
        if any(isinstance(read.texts[r], Templated) for r in rows):
            raise InputError(
                f"{by} puts an instruction into prompts, and a chat template wrote these already "
                "(--templated prompt); give conversations or plain texts"
            )
        made = read.encode(
            [f"{instruction}\n\n{read.texts[r]}" for r in rows],
            [_told(read.turns[r], instruction) for r in rows],
        )
    else:
        texts = [f"{instruction} {text}" for text in prompts.text()]
        made = require(policy, EncodesText, by).encode(texts, [[""]] * len(texts)).prompts
    return replace(made, row=prompts.row, extra=prompts.extra).to(prompts.tokens.device)


def _told(turns: Turns | None, instruction: str) -> Turns | None:
    if turns is None:
        return None
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    if last < 0:
        return (*turns, Turn("user", instruction))
    said = turns[last]._replace(content=f"{instruction}\n\n{turns[last].content}")
    return (*turns[:last], said, *turns[last + 1 :])
