"""What can be wrong with a request to a server, and with its reply."""

from __future__ import annotations

from assay.errors import InputError


class Unavailable(Exception):
    """A try failed and another may succeed: the server was busy, slow, gone or sent garbage.

    Args:
        why: What happened, for a sentence.
        wait: Seconds that the server asked for (Retry-After); None if it named none.
        said: The beginning of the reply, on one line; "" where none came.
    """

    def __init__(self, why: str, wait: float | None = None, said: str = ""):
        super().__init__(why)
        self.wait, self.said = wait, said


class Garbled(Unavailable):
    """A reply came whole, and it is no answer: not JSON, or of another shape.

    Args:
        why: What happened, for a sentence.
        said: The beginning of the reply, on one line.
        shape: What `read` said of its shape; "" where it is not JSON.
    """

    def __init__(self, why: str, said: str, shape: str):
        super().__init__(why, said=said)
        self.shape = shape


class Refused(InputError):
    """The server refuses the request, and another try would not help.

    Args:
        sentence: What was refused and what to do.
        code: The HTTP status.
        said: The beginning of the reply, on one line.
    """

    def __init__(self, sentence: str, code: int, said: str):
        super().__init__(sentence)
        self.code, self.said = code, said


def on_one_line(raw: bytes) -> str:
    """Return the text of a reply without control characters, because a terminal shows it.

    Example:
        >>> on_one_line(b"no field\\x1b[2J completions")
        'no field [2J completions'
    """
    return "".join(c if c.isprintable() else " " for c in raw.decode("utf-8", "replace"))
