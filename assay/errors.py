"""The errors a user can cause. The command line prints their one sentence and exits 2, without a
traceback.
"""

from __future__ import annotations

from assay.safe_text import visible


class _Sentence(Exception):
    """An error whose sentence may quote what others wrote: every character of it is shown."""

    def __str__(self) -> str:
        return visible(self.args[0]) if len(self.args) == 1 else visible(super().__str__())


class InputError(_Sentence, ValueError):
    """Something a user gave is wrong: which file, row and column, what was found, what to do, in
    one sentence.
    """


class Missing(InputError):
    """A recipe asked for a part that its world does not have; the message names the flag that
    supplies it.
    """


class NotFinite(_Sentence, ArithmeticError):
    """A number that had to be finite is not: a reward, a loss or a gradient. The run ends with exit
    code 1.
    """


class Waiting(_Sentence):
    """Labels are still out. The message says where to fill them in; exit code 3, and the run goes
    on with --resume.
    """


class NotWritten(InputError, OSError):
    """The system refused to write a file: the disk is full, a quota or a limit is reached, or the
    place is read-only. What is on the disk stays whole. `errno` and `filename` are the system's.
    """

    def __str__(self) -> str:
        return visible(self.args[0]) if self.args else ""
