"""Escape hostile text for HTML and Markdown, and write numbers for people."""

from __future__ import annotations

import html
import math
import re
from typing import Any

from assay.safe_text import parts, visible


def safe(text: Any) -> str:
    """Text for an element or a quoted attribute of HTML or SVG."""
    return html.escape(visible(text), quote=True)


def marked(text: Any) -> str:
    """Text for an element, with each invisible character spelled out in a span of its own."""
    return "".join(
        f'<span class="hidden-char">{part}</span>' if hidden else html.escape(part, quote=True)
        for hidden, part in parts(text)
    )


def link(url: str) -> str | None:
    """The address to link to; None unless it is http, https or arXiv."""
    arxiv = re.fullmatch(r"arXiv:([0-9A-Za-z.\-/]+)", url)
    if arxiv:
        return f"https://arxiv.org/abs/{arxiv[1]}"
    return url if re.fullmatch(r"https?://[!-~]+", url) else None


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def number(x: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number as a person reads it.

    Args:
        x: The number; "–" stands for None, infinity and NaN.
        digits: Significant digits; there are at most three decimals.
        sign: Put + before a positive number.
    """
    if x is None or not math.isfinite(x):
        return "–"
    places = 0 if x == 0 else max(0, min(3, digits - 1 - math.floor(math.log10(abs(x)))))
    text = f"{x:,.{places}f}" if abs(x) < 1e7 else f"{x:.2e}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return (
        (("+" if sign and float(text.replace(",", "")) > 0 else "") + text)
        .replace("-", "−")
        .replace(",", "\u2009")
    )


def count(x: float | None) -> str:
    """A whole number in groups of three digits; "–" for None."""
    return f"{x:,.0f}".replace(",", "\u2009") if x is not None and x == int(x) else number(x)


def spread(x: float | None, half: float | None, *, sign: bool = False) -> str:
    """A number with the half-width of its interval, both with the same decimals.

    Args:
        x: The number; a dash stands for None and for what is not finite.
        half: The half-width; None leaves it out.
        sign: Write a plus before what is above 0.
    """
    if x is None or not math.isfinite(x):
        return "–"
    if half is None or not math.isfinite(half):
        return (
            f"{x:{'+' if sign else ''}.2f}".replace("-", "−")
            if 0.01 <= abs(x) < 1e4 or x == 0
            else number(x, sign=sign)
        )
    places = max(0, 1 - math.floor(math.log10(half))) if half >= 1e-4 else 2
    return f"{x:{'+' if sign else ''},.{places}f} ± {half:,.{places}f}".replace("-", "−").replace(
        ",", "\u2009"
    )


def prose(text: str) -> str:
    """Text in which Markdown has no effect, except for code between backticks."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_<>\[\]|])", r"\\\1", p) for p in pieces)
