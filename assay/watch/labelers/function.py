"""A Python function as a labeler: `FILE.py:name`, called as name(prompts, first, second, **columns)
and returning a list of labels.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from assay.errors import InputError
from assay.watch.labelers.questions import Label, Question, parse_label


class FunctionLabeler:
    """Asks a Python function.

    A call that raises is made again after a pause that doubles. When the last try fails, its pairs
    stay without a label and the record says why. A result that cannot be read ends the run,
    because another call would not mend a slip in a file.

    Args:
        function: `function(prompts, first, second, **columns)` returns one label for each pair, see
            `parse_label`. It receives the columns that it names, or all if it takes `**`.
        name: Its name in the record.
        at_once: Pairs in one call. With 1, each label is written down before the next is paid for.
        tries: Calls for the same pairs in all.
        pause: Seconds before the second try.
    """

    waits = False

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        at_once: int = 1,
        tries: int = 5,
        pause: float = 0.1,
    ):
        self.function, self.name = function, name
        self.at_once, self.tries, self.pause = at_once, tries, pause
        parameters = inspect.signature(function).parameters.values()
        self.takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.takes = {p.name for p in parameters}

    def __call__(self, questions: Sequence[Question]) -> Iterator[Label]:
        """Label the questions in order, `at_once` in each call.

        Raises:
            InputError: The function returned another number of labels, or one that is no label.
        """
        for start in range(0, len(questions), self.at_once):
            some = list(questions[start : start + self.at_once])
            values, why = self._call(some)
            if values is None:
                yield from (Label(q, None, why) for q in some)
                continue
            if len(values) != len(some):
                raise InputError(
                    f"{self.name} gave {len(values)} labels for {len(some)} pairs; it must give "
                    "one for each"
                )
            for i, (q, value) in enumerate(zip(some, values, strict=True)):
                where = f"label {i + 1} of {len(values)} from {self.name}"
                yield Label(q, parse_label(value, where))

    def _call(self, some: list[Question]) -> tuple[list[Any] | None, str]:
        """What the function returns; None and the last error after the last try."""
        names = {name for q in some for name in q.columns}
        if not self.takes_all:
            names &= self.takes
        columns = {name: [q.columns.get(name) for q in some] for name in sorted(names)}
        why = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                values = self.function(
                    [q.prompt for q in some],
                    [q.first for q in some],
                    [q.second for q in some],
                    **columns,
                )
                return list(values), ""
            except Exception as error:  # a user's function may raise anything; the record says what
                why = f"{type(error).__name__}: {error}"
        return None, why
