"""Sentences on what an encoder met in a file: special tokens written out, and what was not read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assay.engine.plural import counted
from assay.errors import InputError
from assay.models.chat import Chat
from assay.models.text_encoder import Templated

PARTS = ("prompt", "chosen", "rejected", "completion")


def parts_templated(value: Sequence[str]) -> frozenset[str]:
    """Check the names of the parts that a chat template wrote already.

    Args:
        value: Some of prompt, chosen, rejected, completion; "response" is another name of the last.

    Raises:
        InputError: There is no such part.

    Example:
        >>> sorted(parts_templated(["prompt", "completion"]))
        ['chosen', 'completion', 'prompt', 'rejected']
    """
    given = {"completion" if v == "response" else v for v in value}
    wrong = sorted(given - set(PARTS))
    if wrong:
        raise InputError(f"--templated is '{wrong[0]}'; give some of {', '.join(PARTS)}")
    return frozenset(given | ({"chosen", "rejected"} if "completion" in given else set()))


def as_written(text: str, part: str, templated: frozenset[str]) -> str:
    """Return a part of a row as a text to encode.

    Args:
        text: The text.
        part: Which part it is.
        templated: The parts that a chat template wrote already.
    """
    return Templated(text) if part in templated else text


def marked_note(
    chat: Chat, rows: Iterable[tuple[int, str, Sequence[str]]], one: str = "row"
) -> str | None:
    """Say how many rows hold special tokens written out.

    Args:
        chat: The encoder's.
        rows: Each row's number, its prompt and its completions.
        one: What a row is called.

    Returns:
        The sentence; None where no row holds one.
    """
    total = held = looks = 0
    first: tuple[str, int] | None = None
    for row, prompt, completions in rows:
        total += 1
        texts = [t for t in (prompt, *completions) if not isinstance(t, Templated)]
        found = next((m for t in texts if (m := chat.marks.first(t)) is not None), None)
        if found is None:
            continue
        held += 1
        first = first or (found, row)
        if not isinstance(prompt, Templated):
            looks += not chat.written.isdisjoint(chat.marks.all(prompt))
    if first is None:
        return None
    many = f"{one} holds" if held == 1 else f"{one}s hold"
    again = "; these look templated already; pass --templated prompt" if 2 * looks > total else ""
    return (
        f"{held:,} {many} special tokens written out ({first[0]!r} first in {one} {first[1]}); "
        f"they are encoded as text{again}"
    )


def unread_notes(chat: Chat, *, template: bool = True) -> list[str]:
    """Say what the chat template had no place for since the last call.

    Args:
        chat: The encoder's.
        template: Whether the template was used at all.
    """
    why = "the chat template has no place for" if template else "text without a template leaves out"
    notes = [
        f"{why} {name}: {counted(len(places), 'row')}; not read"
        for name, places in chat.unread.items()
    ]
    chat.unread.clear()
    return notes
