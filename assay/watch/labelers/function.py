"""A Python function as a labeler: `FILE.py:name`, or a function that is at hand.

It is called as name(prompts, first, second, **columns) with lists and returns a list, one label a
pair: 1 or "first", 0 or "second", 0.5 or "tie", or the chance that the first is better. A function
whose first parameter is called `prompt` is called as name(prompt, first, second, **columns) with
the texts of one pair and returns one label. Labels may be numbers of Python, numpy or torch, bools
or words. It may be `async`.

Prompts are texts as in their file (a conversation is a transcript), and completions are texts. The
parameter `messages` and the file's other columns are as for reward functions, see
`assay.rewards.function`; `row` is the prompt's place in the file. It must bear a trial call with
stand-in completions before the run begins.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from assay.core.prompt_texts import messages
from assay.errors import InputError
from assay.registry.functions import awaited, described
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

    Raises:
        InputError: The function does not take a prompt and two completions.
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
        parameters = list(inspect.signature(function).parameters.values())
        self.takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        places = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        if len(places) < 3 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise InputError(
                f"the labeler {name} takes {inspect.signature(function)}; it must take the "
                "prompts, the first completions and the second ones, in this order"
            )
        self.single = places[:1] == ["prompt"]
        self.at_once = 1 if self.single else at_once
        self.takes = {p.name for p in parameters} - set(places[:3])
        self.own = set(places[:3])  # columns of these names would be given twice

    def __call__(self, questions: Sequence[Question]) -> Iterator[Label]:
        """Label the questions in order, `at_once` in each call.

        Raises:
            InputError: The function returned another number of labels, or one that is no label.
        """
        for start in range(0, len(questions), self.at_once):
            some = list(questions[start : start + self.at_once])
            found, why = self._tried(some)
            if why is not None:
                said = f"{type(why).__name__}: {why}"
                yield from (Label(q, None, said) for q in some)
                continue
            *others, last = self._labels(found, some)
            yield from (replace(label, more=True) for label in others)
            yield last

    def once(self, question: Question) -> Label:
        """One call without a second try, for the question or, where a call has several pairs, for
        the question twice.

        Raises:
            InputError: The function raises, or returns no label.
        """
        try:
            some = [question] * min(2, self.at_once)
            found = self._call(some)
        except (Exception, SystemExit) as why:  # a user's function may raise anything
            raise InputError(
                f"the labeler {self.name} raised {described(why, self.function)}; repair the "
                "function"
            ) from why
        return self._labels(found, some)[0]

    def _tried(self, some: list[Question]) -> tuple[Any, Exception | None]:
        """What the function returns, or the last error after the last try."""
        last: Exception | None = None
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                return self._call(some), None
            except Exception as error:  # a user's function may raise anything; the record says what
                last = error
        return None, last

    def _call(self, some: list[Question]) -> Any:
        names = {name for q in some for name in q.columns} - self.own - {"messages"}
        if not self.takes_all:
            names &= self.takes
        columns = {name: [q.columns.get(name) for q in some] for name in sorted(names)}
        if "messages" in self.takes:
            columns["messages"] = [
                messages(q.prompt, None) if q.messages is None else q.messages for q in some
            ]
        lists = [[q.prompt for q in some], [q.first for q in some], [q.second for q in some]]
        if self.single:
            found = self.function(*(x[0] for x in lists), **{k: v[0] for k, v in columns.items()})
        else:
            found = self.function(*lists, **columns)
        return awaited(found) if inspect.isawaitable(found) else found

    def _labels(self, found: Any, some: list[Question]) -> list[Label]:
        """What the function returned, as labels."""
        if hasattr(found, "tolist"):  # numpy's and torch's arrays; one number becomes a number
            found = found.tolist()
        if len(some) == 1 and isinstance(found, (bool, int, float, str)):
            found = [found]  # one pair was asked about, so one label can only be its own
        if not isinstance(found, (list, tuple)):
            raise InputError(
                f"{self.name} returned {str(found)[:40]!r} (a {type(found).__name__}) for "
                f"{_counted(len(some), 'pair')}; return a list with one label for each pair: 1 or "
                "'first', 0 or 'second', 0.5 or 'tie'"
            )
        if len(found) != len(some):
            raise InputError(
                f"{self.name} gave {_counted(len(found), 'label')} for "
                f"{_counted(len(some), 'pair')}; it must give one for "
                "each"
            )
        return [
            Label(q, parse_label(value, f"label {i + 1} of {len(found)} from {self.name}"))
            for i, (q, value) in enumerate(zip(some, found, strict=True))
        ]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
