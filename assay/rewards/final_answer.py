"""A reward of 1 where a completion's final answer is the right one in a column, else 0.

It is given as `answer:COLUMN`, for problems that are reasoned about before they are answered. The
final answer of a text is, in this order: the content of its last `\\boxed{…}`; what follows its
last `####`, as in GSM8K, unless that is a heading; what follows its last "answer is", "answer:" or
a line's "A:"; its last number. The column may hold the answer alone, or a whole solution that marks
it in one of the first three ways. A completion that has none of the four scores 0.

Numbers are equal if they have the same value, whatever units stand around them ($1,200.00, 1200
dollars, 2400/2, \\frac{2400}{2}, 1.2e3); a percent sign is a unit. Other mathematics is compared as
it is written, without blanks: x^2+1 is not 1+x^2. Texts are compared as by `match:COLUMN`.

A text that says several answers is judged by its last, so that listing them earns nothing.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Any

from assay.rewards.exact_match import ExactMatch, normal

PREFIX = "answer:"
# What is longer is compared as it is written: a completion may have a million digits, or 1e99999.
LONGEST, LARGEST = 50, 30  # characters of a number, and its exponent
_PLAIN = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
_FIND = re.compile(
    r"(?P<sign>(?<![\w)\]}])[+-])?"
    rf"(?:(?P<whole>\d+)[ ]+(?=\d+/\d))?(?P<top>{_PLAIN})(?P<exponent>[eE][+-]?\d+)?"
    rf"(?:[ ]?/[ ]?(?P<bottom>{_PLAIN}))?"
)
_TOLD = re.compile(
    r"\banswer(?:(?:[ \t]+\w+){0,4}?[ \t]+is\b[ \t*_]*:?|[ \t*_]*[:=])|^[ \t]*a[ \t]*:", re.M | re.I
)
_FRAC = re.compile(rf"\\[dt]?frac\{{\s*(-?{_PLAIN})\s*\}}\{{\s*({_PLAIN})\s*\}}")
_WORDS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\{([^{}]*)\}")
_DRESS = re.compile(r"\\left|\\right|\\[!,; ()\[\]]|\\(?=[$%])|[$€£¥]|\*\*")
_SQUARED = re.compile(r"(?<=[a-zA-Z]{2})\^[23]\b")  # units, cm^2; x^2 is no unit
_MATHS = re.compile(r"[\\^_{}()\[\]]")


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
        return {t for v in texts if (t := self._of_cell(v))}

    def said(self, response: str) -> str:
        """Return a response's final answer in normal form, "" where it gives none."""
        return final_answer(response)

    @staticmethod
    def _of_cell(text: str) -> str:
        """A cell that marks no answer and has no quantity alone is the answer as a whole."""
        return _marked(_readable(text)) or _quantity(_readable(text), alone=True) or _text(text)


def final_answer(text: str) -> str:
    """Return the final answer of a solution, in the form in which equal answers are the same text.

    Args:
        text: A solution.

    Returns:
        A number as a fraction in lowest terms, other answers in a normal form, or "" where the
        solution gives no answer.

    Example:
        >>> final_answer("She sold 48 / 2 = 24 in May. #### $72.00")
        '72'
        >>> final_answer("So the answer is 3/4 of a cake.")
        '3/4'
        >>> final_answer(r"Both roots are real: \\boxed{1 \\pm x}")
        '1\\\\pmx'
    """
    plain = _readable(text)
    found = _marked(plain)
    if found:
        return found
    numbers = list(_FIND.finditer(plain))
    return _value(numbers[-1]) if numbers else ""


def _marked(plain: str) -> str:
    """The answer that a text marks as such, in normal form; "" where it marks none."""
    boxed = _boxed(plain)
    if boxed is not None:
        inside = boxed.rpartition("=")[2]
        return _quantity(inside, alone=True) or _text(inside)
    if "####" in plain:
        line, _, after = plain.rpartition("####")[2].strip().partition("\n")
        if not after.strip() or _FIND.match(_undressed(line)):  # else it is a heading
            return _quantity(line) or _text(line)
    places = [m.end() for m in _TOLD.finditer(plain)]
    line = plain[places[-1] :].strip().partition("\n")[0] if places else ""
    sentence = re.split(r"\.(?:\s|$)", line)[0]
    return _quantity(sentence.rpartition("=")[2]) or _text(sentence)


def _readable(text: str) -> str:
    """A text in compatibility form, but with its exponents raised and its fractions divided."""

    def one(c: str) -> str:
        kind = unicodedata.decomposition(c)
        plain = unicodedata.normalize("NFKC", c)
        if kind.startswith(("<super>", "<sub>")):
            return ("^" if kind.startswith("<super>") else "_") + plain
        return f" {plain}".replace("\u2044", "/") if kind.startswith("<fraction>") else plain

    return "".join(one(c) if c > "\x7f" else c for c in text).replace("−", "-")


def _boxed(text: str) -> str | None:
    """Return the content of the last \\boxed{…}, or None if there is none."""
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    depth, begin = 1, at + len("\\boxed{")
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if not depth:
            return text[begin:i]
    return None


def _undressed(piece: str) -> str:
    """An answer without what only formats it: dollar signs, \\text, \\left; \\frac{a}{b} is a/b."""
    piece = _WORDS.sub(r" \1 ", _FRAC.sub(r"\1/\2", piece))
    piece = _DRESS.sub("", piece).strip()
    return re.sub(r"\([^()0-9]*\)", "", piece).strip() or piece


def _quantity(piece: str, *, alone: bool = False) -> str:
    """The first number of an answer, "" where it is something else than a number with a unit.

    Args:
        piece: The answer.
        alone: It must be the only number, with nothing written to it: no 2x, and no (1, 2).
    """
    piece = _undressed(piece)
    found = _FIND.search(piece)
    if found is None:
        return ""
    before, after = piece[: found.start()], _SQUARED.sub("", piece[found.end() :])
    if _MATHS.search(before + after):
        return ""
    if alone and (_FIND.search(after) or before[-1:].isalnum() or after[:1].isalnum()):
        return ""
    return _value(found)


def _value(found: re.Match[str]) -> str:
    """A number as a fraction in lowest terms, or as it is written where that would not end."""
    top, bottom = found["top"].replace(",", ""), (found["bottom"] or "1").replace(",", "")
    exponent = found["exponent"] or "e0"
    long = max(len(top), len(bottom), len(found["whole"] or "")) > LONGEST or len(exponent) > 5
    if long or abs(int(exponent[1:])) > LARGEST or not Fraction(bottom):
        return "".join(found[0].split())
    value = Fraction(found["whole"] or 0) + Fraction(top + exponent) / Fraction(bottom)
    return str(-value if found["sign"] == "-" else value)


def _text(piece: str) -> str:
    """An answer that is no number, in normal form; brackets around it do not count."""
    plain = normal(_undressed(piece))
    if len(plain) > 2 and plain[0] + plain[-1] in ("()", "[]") and plain.count(plain[0]) == 1:
        plain = plain[1:-1].strip()
    return "".join(plain.split()) if _MATHS.search(plain) else plain
