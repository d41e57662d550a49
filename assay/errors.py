"""The errors a user can cause. The command line prints their one sentence and exits 2, without a
traceback.
"""

from __future__ import annotations

from typing import Any

from assay.safe_text import visible

LONGEST = 1000  # characters of a sentence, whatever it quotes


def sentence(text: str) -> str:
    """Return a message on one line and of bounded length, whatever it quotes of a file.

    Args:
        text: The message.

    Returns:
        The message with line ends as spaces. Of one that is too long, the middle is left out: what
        it is about stands at the beginning, and what to do at the end.

    Example:
        >>> sentence("x.csv has no column 'a\\nb'; rename it")
        "x.csv has no column 'a b'; rename it"
    """
    line = text if text.splitlines() in ([], [text]) else " ".join(text.split())
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} … {line[3 - half :]}"


class _Sentence(Exception):
    """An error whose sentence may quote what others wrote: every character of it is shown."""

    def __str__(self) -> str:
        return visible(self.args[0]) if len(self.args) == 1 else visible(super().__str__())


class InputError(_Sentence, ValueError):
    """Something a user gave is wrong: which file, row and column, what was found, what to do, in
    one sentence.
    """

    def __str__(self) -> str:
        return sentence(super().__str__())


class Missing(InputError):
    """A recipe asked for a part that its world does not have; the message names the flag that
    supplies it.
    """


class NotFinite(_Sentence, ArithmeticError):
    """A number that had to be finite is not: a reward, a loss or a gradient. The run ends with exit
    code 1.

    Attributes:
        run: The run as far as it came, from `assay.train`.
    """

    run: Any = None


class ProcessLost(_Sentence, RuntimeError):
    """Another process of the launch has ended or does not answer; exit code 1."""


class Collapsed(_Sentence):
    """Training has died, and the run was told to stop (--on-collapse stop). The message says what
    was seen, since which step, and what to do; exit code 4.

    Attributes:
        run: The run as far as it came, from `assay.train`.
    """

    run: Any = None


class Waiting(_Sentence):
    """Labels are still out. The message says where to fill them in; exit code 3, and the run goes
    on with --resume.
    """


class NotWritten(InputError, OSError):
    """The system refused to write a file: the disk is full, a quota or a limit is reached, or the
    place is read-only. What is on the disk stays whole. `errno` and `filename` are the system's.
    """

    def __str__(self) -> str:
        return sentence(visible(self.args[0])) if self.args else ""
