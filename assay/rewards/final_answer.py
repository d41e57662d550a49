"""A reward of 1 where a completion's final answer is the right one in a column, else 0.

It is given as `answer:COLUMN`, for problems that are reasoned about before they are answered. The
final answer of a text is, in this order: what its last `\\boxed{…}` holds; what follows its last
`####`, as in GSM8K; what follows its last "answer is", "answer:" or a line's "A:"; its last
number. The column may hold the answer alone or a whole solution, which is read in the same way.
Numbers are equal if they have the same value, whatever stands around them ($1,200.00, 1200 dollars,
2400/2); texts are compared as `match:COLUMN` compares them. A completion that has none of these
scores 0.

A text that says several answers is judged by its last, so that listing them earns nothing.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Any

from assay.rewards.exact_match import ExactMatch, normal

PREFIX = "answer:"
_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?|[+-]?\.\d+"
_FIND = re.compile(_NUMBER)
_TOLD = re.compile(r"\banswer(?:(?:\s+\w+){0,4}?\s+is\b\s*:?|\s*[:=])|^\s*a\s*:", re.M | re.I)


class FinalAnswer(ExactMatch):
    """The reward of one column.

    Attributes:
        column: The column that holds the right answers, or solutions that end with them.
    """

    prefix = PREFIX

    def accepted(self, cell: Any) -> set[str]:
        """Return the answers that a cell accepts, in normal form; none where it holds none."""
        some = cell if isinstance(cell, (list, tuple)) else [cell]
        kinds = (str, int, float)
        texts = [str(v) for v in some if isinstance(v, kinds) and not isinstance(v, bool)]
        return {t for v in texts if (t := self.said(v) or normal(v))}

    def said(self, response: str) -> str:
        """Return a response's final answer in normal form, "" where it gives none."""
        return final_answer(response)


def final_answer(text: str) -> str:
    """Return the final answer of a solution, in the form in which equal answers are the same text.

    Args:
        text: A solution.

    Returns:
        A number as a fraction in lowest terms, a text in the normal form of `match:COLUMN`, or ""
        where the solution gives no answer.

    Example:
        >>> final_answer("She sold 48 / 2 = 24 in May. #### $72.00")
        '72'
        >>> final_answer("So the answer is 3/4 of a cake.")
        '3/4'
    """
    plain = unicodedata.normalize("NFKC", text).replace("−", "-")
    boxed = _boxed(plain)
    if boxed is not None:
        return _value(boxed) or normal(boxed)
    if "####" in plain:
        rest = plain.rpartition("####")[2].strip()
        line = rest.splitlines()[0] if rest else ""
        return _value(line) or normal(line)
    places = [m.end() for m in _TOLD.finditer(plain)]
    line = plain[places[-1] :].partition("\n")[0].strip() if places else ""
    if line:
        sentence = re.split(r"\.(?:\s|$)", line)[0]
        return _value(sentence.rpartition("=")[2]) or normal(sentence)
    numbers = _FIND.findall(plain)
    return _value(numbers[-1]) if numbers else ""


def _boxed(text: str) -> str | None:
    """What the last \\boxed{…} holds, braces matched; None where there is none."""
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    depth, begin = 1, at + len("\\boxed{")
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if not depth:
            return text[begin:i]
    return None


def _value(text: str) -> str:
    """The first number of a text, as a fraction in lowest terms; "" where it has none."""
    found = _FIND.search(text)
    if found is None:
        return ""
    top, _, bottom = found[0].replace(",", "").replace(" ", "").partition("/")
    below = Fraction(bottom or 1)
    return str(Fraction(top) / below) if below else ""
