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


def marked_note(chat: Chat, rows: Iterable[tuple[int, str, Sequence[str]]]) -> str | None:
    """Say how many rows hold special tokens written out.

    Args:
        chat: The encoder's.
        rows: Each row's number, its prompt and its completions.

    Returns:
        The sentence; None where no row holds one.
    """
    total = held = already = 0
    looks = {"prompt": 0, "completion": 0}
    first: tuple[str, int] | None = None
    for row, prompt, completions in rows:
        total += 1
        already += isinstance(prompt, Templated)
        found = [m for t in (prompt, *completions) if (m := _mark(chat, t)) is not None]
        if not found:
            continue
        held += 1
        first = first or (found[0], row)
        looks["prompt"] += _looks(chat, prompt)
        looks["completion"] += any(_looks(chat, t) for t in completions)
    if first is None:
        return None
    many = "row holds" if held == 1 else "rows hold"
    parts = [part for part, n in looks.items() if 2 * n > total]
    whole = ["prompt", *parts] if parts and already == total else parts
    again = f"; these look templated already; pass --templated {','.join(whole)}" if parts else ""
    return (
        f"{held:,} {many} special tokens written out ({first[0]!r} first in row {first[1]}); "
        f"they are encoded as text{again}"
    )


def _mark(chat: Chat, text: str) -> str | None:
    """The first mark that stands written out in a text, or None."""
    return None if isinstance(text, Templated) else chat.marks.first(text)


def _looks(chat: Chat, text: str) -> bool:
    """Whether a text holds marks that the template writes."""
    if _mark(chat, text) is None:
        return False
    return not chat.written.isdisjoint(chat.marks.all(text))


def unread_notes(chat: Chat, *, template: bool = True) -> list[str]:
    """Say what the template had no place for since the last call, and what it wrote already.

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
    if chat.opened:
        notes.append(
            f"{counted(len(chat.opened), 'row')} with completions that begin with "
            f"{chat.opens.strip()!r}, which the chat template's generation prompt writes already; "
            "it is written once"
        )
        chat.opened.clear()
    return notes
