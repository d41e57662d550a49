"""Parts of a record that code reads by name, with their types; other entries are allowed."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, GetPydanticSchema, with_config

# pydantic reads typing's own TypedDict only from Python 3.12 on
from typing_extensions import TypedDict

from assay.records.result import Text, Whole

Number = Whole | float | bool | None  # a whole number stays one
Numbers = dict[Text, Number]
Value = Number | Text
Values = dict[Text, Value | list[Value | list[Value]] | dict[Text, Value]]  # settings by name
_STRICT = ConfigDict(strict=True, extra="allow")


@with_config(_STRICT)
class LoopRecord(TypedDict):
    """The Loop's fields that code reads by name; the others are allowed.

    Attributes:
        max_steps: Steps of the whole run.
        seed: The run's seed.
        learning_rate: The step size; None for the optimiser's own.
    """

    max_steps: NotRequired[Whole]
    seed: NotRequired[Whole]
    learning_rate: NotRequired[float | None]


@with_config(_STRICT)
class PaperRecord(TypedDict):
    """A paper.

    Attributes:
        title: Its title.
        authors: Its authors.
        year: The year.
        url: Where it is.
    """

    title: NotRequired[Text | None]
    authors: NotRequired[Text | None]
    year: NotRequired[Whole | Text | None]
    url: NotRequired[Text | None]


@with_config(_STRICT)
class Named(TypedDict):
    """A world or a fit, with its arguments beside its name.

    Attributes:
        name: Its name or path.
        seed: Its seed.
    """

    name: NotRequired[Text]
    seed: NotRequired[Whole | None]


def _typed(kind: Any) -> GetPydanticSchema:
    """Check a dict as if it were of a TypedDict: code that writes records makes plain dicts."""
    return GetPydanticSchema(lambda _, handler: handler.generate_schema(kind))


LoopEntries = Annotated[dict[str, Any], _typed(LoopRecord)]
PaperEntries = Annotated[dict[str, Any], _typed(PaperRecord)]
NamedEntries = Annotated[dict[str, Any], _typed(Named)]
