"""The words that data files have for the better one of two completions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

BOTH_BAD, UNSTABLE = "both bad", "judge disagrees with itself"
FIRST_WORDS = (
    *("a", "first", "response a", "model a", "answer a", "output a", "completion a"),
    *("assistant a", "option a", "conversation a"),
)
SECOND_WORDS = (
    *("b", "second", "response b", "model b", "answer b", "output b", "completion b"),
    *("assistant b", "option b", "conversation b"),
)
FIRST_NUMBERED = ("response 1", "model 1", "output 1", "answer 1", "completion 1", "assistant 1")
SECOND_NUMBERED = ("response 2", "model 2", "output 2", "answer 2", "completion 2", "assistant 2")
TIES = (
    *("tie", "draw", "equal", "both", "same", "both good", "bothgood", "both are good"),
    *("tie (bothgood)", "tie (both good)"),
)
BAD = ("tie (bothbad)", "tie (both bad)", "bothbad", "both bad", "both are bad", "neither")
INCONSISTENT = ("tie (inconsistent)",)  # MT-Bench: the judge named another one in the other order
MODELS = (
    ("model_a", "model_b"),
    ("model_1", "model_2"),
    ("model1", "model2"),
    ("model_0", "model_1"),
    ("generator_1", "generator_2"),
)
_BETTER = re.compile(r" (?:wins|won|is (?:(?:slightly|much|significantly) )?(?:better|preferred))$")
_COMPARED = re.compile(r"([ab12])([<>=]{1,3})([ab12])")


def zero_based(first: str, second: str) -> bool:
    """Whether two columns are counted from 0, as response_0 and response_1 are."""
    return first.endswith("0") and second.endswith("1")


def one_based(first: str, second: str) -> bool:
    """Whether two columns are counted from 1, as response_1 and response_2 are."""
    return first.endswith("1") and second.endswith("2")


def of_word(text: str, first: str, second: str, row: Mapping[str, Any]) -> tuple[float, str] | None:
    """Read a verdict that is a word.

    Args:
        text: The cell.
        first: The column of the first completion.
        second: The column of the second completion.
        row: The row, whose models the word can name.

    Returns:
        (the probability that the first one is better, the kind of tie to count apart or ""); None
        for a word that is not known.

    Example:
        >>> of_word("[[A]]", "response_a", "response_b", {})
        (1.0, '')
        >>> of_word("tie (bothbad)", "response_a", "response_b", {})
        (0.5, 'both bad')
    """
    raw = text.strip()
    for name, p in ((first, 1.0), (second, 0.0)):
        if raw.lower() == name.lower():
            return p, ""
    bracketed = raw.startswith("[[") and raw.endswith("]]")
    word = re.sub(r"[\s_-]+", " ", raw[2:-2] if bracketed else raw).strip().lower()
    if bracketed and word == "c":  # MT-Bench's word for a tie
        return 0.5, ""
    word = _BETTER.sub("", word)
    numbered = not zero_based(first, second)  # beside response_0, response_1 is the second one
    for words, numbers, p in (
        (FIRST_WORDS, FIRST_NUMBERED, 1.0),
        (SECOND_WORDS, SECOND_NUMBERED, 0.0),
    ):
        if word in words or (numbered and word in numbers):
            return p, ""
    for ties, kind in ((TIES, ""), (BAD, BOTH_BAD), (INCONSISTENT, UNSTABLE)):
        if word in ties:
            return 0.5, kind
    return _compared(word) or _named(raw, first, second, row)


def _compared(word: str) -> tuple[float, str] | None:
    """A>B, A>>B, A=B and the like."""
    found = _COMPARED.fullmatch(word.replace(" ", ""))
    if not found:
        return None
    sides, sign = (found[1] + found[3]), set(found[2])
    if sides not in ("ab", "ba", "12", "21") or len(sign) != 1:
        return None
    if sign == {"="}:
        return 0.5, ""
    return float((sides in ("ab", "12")) == (sign == {">"})), ""


def _named(raw: str, first: str, second: str, row: Mapping[str, Any]) -> tuple[float, str] | None:
    """The name of the better one's model, or its own text."""
    pairs: Sequence[tuple[str, str]] = (*MODELS, (first, second))
    for one, two in pairs:
        here = [isinstance(c, str) and c.strip() == raw for c in (row.get(one), row.get(two))]
        if any(here):
            return None if all(here) else (float(here[0]), "")
    return None
