"""Where the prompt of a dialogue ends and its completion begins, and what a prompt column repeats
of it.
"""

from __future__ import annotations

from assay.data.turns import Turn, Turns


def parted(turns: Turns) -> tuple[Turns, Turns, Turns]:
    """Part a dialogue that holds its completion.

    The completion is all that the assistant says and calls after the last turn of the user, with
    the tools' replies between.

    Args:
        turns: The dialogue.

    Returns:
        (the prompt, the completion, the turns after the assistant's last one, which belong to
        neither). Without a turn of the assistant the completion is empty.
    """
    rest, after = trimmed(turns)
    last = max((i for i, t in enumerate(rest) if t.role in ("user", "system")), default=-1)
    return rest[: last + 1], rest[last + 1 :], after


def trimmed(turns: Turns) -> tuple[Turns, Turns]:
    """Part off the turns after the assistant's last one: nothing that the assistant decides comes
    after them.
    """
    end = max((i for i, t in enumerate(turns) if t.role == "assistant"), default=-1) + 1
    return turns[:end], turns[end:]


def is_plain(reply: Turns) -> bool:
    """Whether a completion is one turn of the assistant that holds its text alone."""
    return len(reply) == 1 and reply[0].role == "assistant" and not reply[0].more


def contains(whole: Turns, some: Turns) -> bool:
    """Whether turns stand in a dialogue one after the other, blanks at their ends aside."""
    a, b = _bare(whole), _bare(some)
    return any(a[i : i + len(b)] == b for i in range(len(a) - len(b) + 1))


def same(one: Turns, other: Turns) -> bool:
    """Whether two dialogues say the same, blanks at the ends of turns aside."""
    return _bare(one) == _bare(other)


def joined(prompt: Turns, dialogue: Turns) -> Turns | None:
    """One prompt of a prompt column and the turns that the completions share.

    Many files repeat the prompt column in the dialogue: nothing is to stand twice.

    Args:
        prompt: The prompt column's turns.
        dialogue: The turns that both completions begin with.

    Returns:
        The prompt; None where the two do not go together.

    Example:
        >>> ask, system = Turn("user", "Hi"), Turn("system", "Be brief.")
        >>> joined((ask,), (system, ask)) == (system, ask)
        True
    """
    if not dialogue or not prompt:
        return prompt or dialogue
    if contains(dialogue, prompt):
        return with_tools(prompt, dialogue)
    if contains(prompt[-len(dialogue) :], dialogue):
        return prompt
    a, b = _bare(prompt), _bare(dialogue)
    for k in range(min(len(a), len(b)) - 1, 0, -1):
        if a[-k:] == b[:k]:
            return (*prompt, *dialogue[k:])
    if prompt[0].role == "system" and dialogue[0].role != "system" and len(prompt) > 1:
        inner = joined(prompt[1:], dialogue)
        return None if inner is None else (prompt[0], *inner)
    if all(t.role == "system" for t in dialogue) and prompt[0].role != "system":
        return (*dialogue, *prompt)
    asked, begins = prompt[-1].role, dialogue[0].role
    goes_on = begins in ("assistant", "tool") if asked != "assistant" else begins != "system"
    return (*prompt, *dialogue) if goes_on or asked == "system" != begins else None


def uncopied(prompt: Turns, *completions: Turns) -> Turns:
    """A prompt column's turns without those that are a copy of a completion.

    Args:
        prompt: The prompt column's turns.
        *completions: The dialogues of the completions, each with its prompt.

    Returns:
        The turns before the copy, such as a system turn.
    """
    for whole in [x for turns in completions for x in (turns, trimmed(turns)[0]) if x]:
        start = len(prompt) - len(whole)
        if start >= 0 and same(prompt[start:], whole):
            return prompt[:start]
    return prompt


def answered(prompt: Turns, shared: Turns) -> tuple[Turns, Turns]:
    """Part off a third completion from a prompt column that holds one.

    Args:
        prompt: The prompt column's turns.
        shared: The turns that both completions begin with.

    Returns:
        (the prompt, the turns that answer it). They are empty unless the column ends with the
        assistant's turn, and the turns before that are the shared ones.
    """
    before, reply, after = parted(prompt)
    ends = before[-len(shared) :] if shared else ()
    asks = bool(ends) and (contains(shared, before) or same(ends, shared))
    if after or not asks or contains(shared, prompt):
        return prompt, ()
    return before, reply


def unsaid(prompt: Turns, *completions: str) -> Turns:
    """A prompt column's turns without the assistant's last one, if a completion says the same."""
    last = prompt[-1].content.strip() if is_plain(prompt[-1:]) else None
    same_text = last in [text.strip() for text in completions]
    return prompt[:-1] if len(prompt) > 1 and same_text else prompt


def with_tools(prompt: Turns, dialogue: Turns) -> Turns:
    """A dialogue, with the schemas of the prompt's first turn on its own first."""
    tools = prompt[0].extras().get("tools") if prompt else None
    if tools is None or not dialogue or "tools" in dialogue[0].extras():
        return dialogue
    return (dialogue[0].with_more(tools=tools), *dialogue[1:])


def _bare(turns: Turns) -> list[Turn]:
    """Turns without blanks at their ends, and without the schemas that a tools column adds."""
    bare = list[Turn]()
    for t in turns:
        bare.append(Turn(t.role, t.content.strip(), _without_tools(t)))
    return bare


def _without_tools(turn: Turn) -> str:
    if '"tools"' not in turn.more:
        return turn.more
    extras = turn.extras()
    extras.pop("tools", None)
    return Turn(turn.role, "").with_more(**extras).more
