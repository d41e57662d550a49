"""Prompts and completions as Python values: texts, or conversations as lists of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.prompt_cells import PromptCells
from assay.data.scored import completed
from assay.data.turns import Turn, Turns
from assay.errors import InputError

_REPLY = Turn("assistant", "")  # a text is the assistant's


def given_texts(
    prompts: Sequence[Any], completions: Sequence[Any]
) -> tuple[list[str], list[str], list[Turns | None]]:
    """Read prompts with their completions as a file's cells are read.

    Args:
        prompts: Texts, or lists of messages.
        completions: One text, or list of messages, a prompt.

    Returns:
        (the prompts as text, the completions as text, the prompts' turns; None where a prompt is
        plain text).

    Raises:
        InputError: There are not as many of both, or an entry is neither text nor messages.

    Example:
        >>> given_texts([[{"role": "user", "content": "Hi"}]], ["Hello!"])
        (['Hi'], ['Hello!'], [(Turn(role='user', content='Hi', more=''),)])
    """
    for name, value in (("prompts", prompts), ("completions", completions)):
        if isinstance(value, str) or not hasattr(value, "__len__"):
            raise InputError(f"{name} is a {type(value).__name__}; give a list, one entry a row")
    if len(prompts) != len(completions):
        raise InputError(
            f"there are {len(prompts):,} prompts and {len(completions):,} completions; give one "
            "completion for each prompt, and a prompt as often as it has completions"
        )
    layout = Layout("scored", {"prompt": "prompts", "response": "completions"}, ())
    asks, said, turns = list[str](), list[str](), list[Turns | None]()
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        faults = Faults("", False, drops=False)
        cells, row = PromptCells(layout, faults), {"prompts": _list(prompt)}
        ask = cells.prompt(i, row)
        reply = cells.cell(i, {"completions": _list(completion)}, "completions")
        both = None
        if ask is not None and reply is not None:
            alone = reply.turns is None and ask.turns is None
            if alone or not any(t.role == "assistant" for t in reply.turns or (_REPLY,)):
                both = ask, reply  # what another program calls a completion is taken as one
            else:
                both = completed(i, "completions", ask, reply, faults)
        if both is None:
            fault = faults.shown[0]
            raise InputError(f"{fault.column}[{i}]: {fault.found}; {fault.cure}")
        asks.append(both[0].text)
        said.append(both[1].text)
        turns.append(both[0].turns)
    return asks, said, turns


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
