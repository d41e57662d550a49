"""The errors a user can cause. The command line prints their one sentence and exits 2, without a
traceback.
"""

from __future__ import annotations


class InputError(ValueError):
    """Something a user gave is wrong: which file, row and column, what was found, what to do, in
    one sentence.
    """


class Missing(InputError):
    """A recipe asked for a part that its world does not have; the message names the flag that
    supplies it.
    """


class NotFinite(ArithmeticError):
    """A number that had to be finite is not: a reward, a loss or a gradient. The run ends with exit
    code 1.
    """


class Collapsed(Exception):
    """Training has died, and the run was told to stop (--on-collapse stop). The message says what
    was seen, since which step, and what to do; exit code 4.
    """


class Waiting(Exception):
    """Labels are still out. The message says where to fill them in; exit code 3, and the run goes
    on with --resume.
    """


class NotWritten(InputError, OSError):
    """The system refused to write a file: the disk is full, a quota or a limit is reached, or the
    place is read-only. What is on the disk stays whole. `errno` and `filename` are the system's.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
