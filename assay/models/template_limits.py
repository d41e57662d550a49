"""Renders chat templates within bounds: a template is a program, and need not end.

transformers runs templates in Jinja's sandbox, which lets no attribute of Python through and no
range above 100,000; nested loops and texts that double are still free. So a rendering is
interrupted when it takes too long or the process grows too much. One operation cannot be
interrupted. A power of two large numbers stands in no real template, and is refused by the
template's text; a text that one operation multiplies, replaces or joins may take more memory than
the bound, up to the machine's.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]

SECONDS = 10.0  # for one rendering; real ones take a millisecond
GROWTH = 2 << 30  # bytes that the process may grow by meanwhile
DIGITS = 6  # of a number in a template: it can be a width or a factor
_PERIOD = 0.1  # seconds between two looks


class TooMuch(Exception):
    """A template takes more time or memory than it may; the text says what."""


def rendered(tokenizer: Any, messages: list[dict[str, Any]], **how: Any) -> str:
    """Write a conversation by a tokenizer's chat template.

    Args:
        tokenizer: Of transformers, with a chat template.
        messages: The conversation.
        how: Arguments of `apply_chat_template`.

    Returns:
        What the template writes.

    Raises:
        TooMuch: It takes more time or memory than it may, or would.
        Exception: Whatever the template raises.
    """
    own = getattr(tokenizer, "chat_template", None) or ""
    for source in own.values() if isinstance(own, dict) else (own,):
        if wrong := excess(str(source)):
            raise TooMuch(wrong)
    with _watched():
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **how))


@functools.lru_cache(64)
def excess(source: str) -> str:
    """Why a template could hold the interpreter in a single operation.

    Args:
        source: The template.

    Returns:
        A clause; "" where it could not.

    Example:
        >>> excess("{{ 9 ** 9 ** 9 }}"), excess("{{ dict(**x) }}"), excess("9 ** 9")
        ('it computes a power (**)', '', '')
    """
    import jinja2

    before = ""
    try:
        for _, kind, text in jinja2.Environment().lex(source):
            if kind == "operator" and text == "**" and before not in ("(", ","):
                return "it computes a power (**)"
            if kind == "integer" and len(text.replace("_", "")) > DIGITS:
                return f"it has the number {text[:20]}, of more than {DIGITS} digits"
            before = before if kind == "whitespace" else text
    except jinja2.TemplateSyntaxError:  # the renderer says so, with the place
        return ""
    return ""


class _Watch:
    """What is rendered in one thread."""

    def __init__(self) -> None:
        self.thread, self.end = threading.get_ident(), time.monotonic() + SECONDS
        self.most: int | None = None  # known after the first look
        self.why = ""


_LOCK, _OPEN = threading.Condition(), list[_Watch]()
_WATCHER: list[threading.Thread] = []


@contextmanager
def _watched() -> Iterator[None]:
    """Raise TooMuch in this thread once the block takes too much."""
    watch = _Watch()
    with _LOCK:
        _OPEN.append(watch)
        if not _WATCHER or not _WATCHER[0].is_alive():  # a fork has no threads
            _WATCHER[:] = [threading.Thread(target=_look, name="assay-templates", daemon=True)]
            _WATCHER[0].start()
        _LOCK.notify()  # costs nothing while the watcher is between two looks
    try:
        yield
    except TooMuch as why:
        raise TooMuch(watch.why or str(why)) from None
    finally:
        with _LOCK:
            _OPEN.remove(watch)
            if watch.why:  # an interruption that has not come yet would come after the block
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(watch.thread), None)
    if watch.why:
        raise TooMuch(watch.why)


def _look() -> None:
    """Interrupt renderings that take too much, for ever; sleep while there are none."""
    process = psutil.Process()
    while True:
        with _LOCK:
            while not _OPEN:
                _LOCK.wait()
        time.sleep(_PERIOD)  # most renderings are over by then
        with _LOCK:
            now, size = time.monotonic(), process.memory_info().rss if _OPEN else 0
            for watch in _OPEN:
                watch.most = watch.most or size + GROWTH
                late = now > watch.end
                if late or size > watch.most:
                    watch.why = (
                        f"it takes more than {SECONDS:g} seconds"
                        if late
                        else f"it takes more than {GROWTH:,} bytes of memory"
                    )
                    _interrupt(watch.thread)


def _interrupt(thread: int) -> None:
    """Raise TooMuch in a thread, before its next operation."""
    error = ctypes.py_object(TooMuch)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
