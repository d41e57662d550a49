"""A Python function as a labeler: `FILE.py:name`, called as name(prompts, first, second, **columns)
→ list of labels.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.registry.catalogue import nearest
from assay.watch.labelers.questions import Answer, Question, preference


def load(spec: str) -> Callable[..., Any]:
    """The function that `FILE.py:name` names. Raises InputError where there is none."""
    file, colon, name = spec.rpartition(":")
    path = Path(file)
    if not colon or not name.isidentifier() or path.suffix != ".py":
        raise InputError(f"--watch is '{spec}'; a function is named as FILE.py:name")
    if not path.is_file():
        raise InputError(f"there is no file {file}, in which --watch looks for the function {name}")
    about = importlib.util.spec_from_file_location(f"assay_labeler_{path.stem}", path)
    assert about is not None and about.loader is not None
    module = importlib.util.module_from_spec(about)
    sys.modules[about.name] = module
    try:
        about.loader.exec_module(module)
    except Exception as why:
        raise InputError(f"{file} cannot be imported ({type(why).__name__}: {why})") from why
    found = getattr(module, name, None)
    if not callable(found):
        defined = [k for k, v in vars(module).items() if inspect.isfunction(v)]
        raise InputError(f"{file} has no function {name}{nearest(name, defined)}")
    return found  # type: ignore[no-any-return]


class Function:
    """Asks a function about `at_once` pairs a call; with 1, each label is written down before the
    next is asked for.

    A call that raises is made again, up to `tries` times with a pause that doubles; then its pairs
    stay without a label, and why is in the record. A reply that cannot be read ends the run: a slip
    in a file is not chance.
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
        self.function, self.name, self.at_once, self.tries, self.pause = (
            function,
            name,
            at_once,
            tries,
            pause,
        )
        takes = inspect.signature(function).parameters.values()
        self.open = any(p.kind is p.VAR_KEYWORD for p in takes)
        self.takes = {p.name for p in takes}

    def __call__(self, asked: Sequence[Question]) -> Iterator[Answer]:
        for start in range(0, len(asked), self.at_once):
            some = list(asked[start : start + self.at_once])
            said, why = self._said(some)
            if said is None:
                yield from (Answer(q, None, why) for q in some)
                continue
            if len(said) != len(some):
                raise InputError(
                    f"{self.name} gave {len(said)} labels for {len(some)} pairs; it must give one "
                    "for each"
                )
            for i, (q, value) in enumerate(zip(some, said, strict=True)):
                yield Answer(q, preference(value, f"label {i + 1} of {len(said)} from {self.name}"))

    def _said(self, some: list[Question]) -> tuple[list[Any] | None, str]:
        names = (
            {name for q in some for name in q.columns}
            if self.open
            else {n for q in some for n in q.columns} & self.takes
        )
        columns = {name: [q.columns.get(name) for q in some] for name in sorted(names)}
        why = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                said = self.function(
                    [q.prompt for q in some],
                    [q.first for q in some],
                    [q.second for q in some],
                    **columns,
                )
                return list(said), ""
            except Exception as error:  # whatever a user's function raises: it is asked again, and the last word is kept
                why = f"{type(error).__name__}: {error}"
        return None, why
