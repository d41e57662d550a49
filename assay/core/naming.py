"""A completion in a few words, for a message or a record that points at it."""

from __future__ import annotations

from typing import Any

from assay.errors import Missing

LONGEST = 200  # characters of a prompt or of a completion


def sample_of(samples: Any, b: int, n: int) -> dict[str, Any]:
    """Name one completion.

    Args:
        samples: The batch.
        b: Its row in the batch.
        n: Which of the prompt's completions.

    Returns:
        "row" of the prompt in its file or world, "completion_index", and the texts "prompt" and
        "completion", shortened; None where the world has no words.
    """
    row = int(samples.prompts.row[b])
    prompt: str | None
    completion: str | None
    try:
        one = samples[slice(b, b + 1)]
        prompt, completion = shortened(one.prompts.text()[0]), shortened(one.text()[0][n])
    except Missing:
        prompt = completion = None
    return {"row": row, "completion_index": n, "prompt": prompt, "completion": completion}


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text of at most so many characters, as UTF-8 can hold it.

    Example:
        >>> shortened("a b c d", longest=5)
        'a b …'
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def named(sample: dict[str, Any]) -> str:
    """A completion in a sentence.

    Example:
        >>> named({"row": 3, "completion_index": 1, "prompt": "Why?", "completion": "No."})
        "completion 1 of prompt 3 ('Why?' → 'No.')"
    """
    words = f"completion {sample['completion_index']} of prompt {sample['row']}"
    if sample["prompt"] is None:
        return words
    asked, said = shortened(sample["prompt"], 60), shortened(sample["completion"], 80)
    return f"{words} ({asked!r} → {said!r})"
