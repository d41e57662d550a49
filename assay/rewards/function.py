"""What a judge is given, and rewards that are Python functions.

**One contract holds for all who judge**: reward and gold functions, labelers, LLM judges, people.

- *The prompt* is that of the prompts' file, before any chat template. So it stands in the record.
- *Text by default.* Reward and gold functions follow TRL: where the file holds conversations,
  `prompts` are lists of messages, and so are `completions`. Everybody else reads a conversation as
  a transcript.
- *Messages if asked for.* A function with a parameter `messages` gets each prompt as a list of
  messages there (a text is one message of the user). `prompts` and `completions` are then texts.
- *Columns.* Every other column of the file, one value a row: a function gets those that its
  parameters name, or all if it takes `**columns`. Reward servers and people get all; an LLM judge
  reads the prompt alone.
- *A trial call.* Each function is called once with the first prompt of the file, twice, and two
  short stand-in completions before a model is loaded, so that its errors come at once. It must
  bear that.

A reward or gold function is called as name(prompts, completions, **columns), the signature of TRL
and its kin, or once a completion if it has verl's (`assay.rewards.signatures`). It returns one
number a completion, or None where it does not apply, in any of the shapes of
`assay.rewards.returned`. It may be `async`. A labeler is called as name(prompts, first, second,
**columns), see `assay.watch.labelers.function`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core.prompt_texts import messages
from assay.data.turns import Turns
from assay.errors import InputError
from assay.registry.catalogue import nearest
from assay.registry.functions import awaited, described
from assay.rewards.returned import numbers
from assay.rewards.signatures import adapted


class FunctionReward:
    """A function as a reward of texts.

    Attributes:
        function: The function. It gets the columns that its parameters name, or all of them if it
            takes **columns.
        names: The function's name.
        needs: The columns that the function cannot do without.

    Raises:
        InputError: The function does not take prompts and completions by these names.
    """

    kind, partial = "function", True
    names: tuple[str, ...]

    def __init__(self, function: Callable[..., Any], name: str):
        self.function, self.names = function, (name,)
        self._call = adapted(function, name)
        takes = _parameters(self._call, name)
        self.open = any(p.kind is p.VAR_KEYWORD for p in takes)
        self.takes = {p.name for p in takes}
        several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        self.needs = {p.name for p in takes if p.default is p.empty and p.kind not in several}
        self.needs -= {"prompts", "completions", "messages"}

    def to(self, device: torch.device) -> FunctionReward:
        """Return itself: the function decides where it computes."""
        return self

    def possible(
        self,
        columns: Mapping[str, Sequence[Any]],
        places: Collection[int],
        flag: str,
        file: str,
    ) -> None:
        """Check that the file has the columns that the function needs.

        Args:
            columns: The file's columns.
            places: The rows that prompts are drawn from.
            flag: The flag that named the reward, for the message.
            file: The file's name, for the message.

        Raises:
            InputError: A column that the function needs is missing.
        """
        for name in sorted(self.needs - columns.keys()):
            raise InputError(
                f"--{flag}: reward {self.names[0]} needs a column '{name}', and {file} "
                f"{has(name, columns)}; add it, rename one with --columns, or give '{name}' a "
                "default"
            )

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "1 R"]:
        """Call the function.

        Args:
            prompts: R prompts as text.
            responses: R responses.
            turns: The conversation of each prompt, or None where it is plain text.
            columns: The other columns of the file, one value a response.

        Returns:
            One score a response, NaN where the function returned None.

        Raises:
            InputError: The function raised, or returned anything but one finite number or None a
                response.
        """
        if not prompts:
            return torch.zeros(1, 0)
        turns = turns or [None] * len(prompts)
        given = {k: list(v) for k, v in (columns or {}).items() if self.open or k in self.takes}
        asks, said = list(prompts), list(responses)
        if "messages" in self.takes:
            given["messages"] = [messages(p, t) for p, t in zip(prompts, turns, strict=True)]
        else:
            asks, said = _conversations(prompts, responses, turns)
        try:
            found = self._call(prompts=asks, completions=said, **given)
            if inspect.isawaitable(found):
                found = awaited(found)
        except InputError:
            raise
        except (Exception, SystemExit) as why:  # a user's function may raise anything
            raise InputError(
                f"reward {self.names[0]} raised {described(why, self.function)}; repair the "
                "function, or return None for what it cannot score"
            ) from why
        return torch.tensor([numbers(found, len(prompts), self.names[0])])


def has(name: str, columns: Collection[str]) -> str:
    """What a file without a column has in its place, as the end of a sentence.

    Example:
        >>> has("answer", ["topic"])
        'has topic'
    """
    near = nearest(name, columns)
    there = ", ".join(sorted(columns)) or "no other columns"
    return f"has {there}{near if 'did you mean' in near else ''}"


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """The function's parameters, if it can be called with prompts=… and completions=…."""
    try:
        signature = inspect.signature(function)
    except ValueError as why:  # of a builtin
        raise InputError(
            f"reward {name} does not say what it takes; wrap it as score(prompts, completions, "
            "**columns)"
        ) from why
    takes = list(signature.parameters.values())
    named = {p.name for p in takes if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    lacking = {"prompts", "completions"} - named
    if any(p.kind is p.VAR_KEYWORD for p in takes):
        lacking = set()
    if lacking or any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in takes):
        shown = ", ".join(str(p) for p in takes)
        by_place = any(p.kind is p.POSITIONAL_ONLY for p in takes)
        raise InputError(
            f"reward {name} takes ({shown}{', /' if by_place else ''}); write it as "
            "score(prompts, completions, **columns), because it is called with these names"
        )
    return takes


def _conversations(
    prompts: Sequence[str], responses: Sequence[str], turns: Sequence[Turns | None]
) -> tuple[list[Any], list[Any]]:
    """Return texts, or lists of messages where a prompt is a conversation."""
    asks: list[Any] = [
        p if t is None else messages(p, t) for p, t in zip(prompts, turns, strict=True)
    ]
    said: list[Any] = [
        r if t is None else [{"role": "assistant", "content": r}]
        for r, t in zip(responses, turns, strict=True)
    ]
    return asks, said
