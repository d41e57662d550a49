"""Numbers of things in sentences."""

from __future__ import annotations


def counted(n: int, what: str) -> str:
    """A number of things in words.

    Args:
        n: How many there are.
        what: One of them.

    Example:
        >>> counted(1, "member"), counted(2000, "reading")
        ('1 member', '2,000 readings')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"
