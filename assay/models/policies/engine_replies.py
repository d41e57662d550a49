"""An engine's completions as token ids of this model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from assay.errors import InputError
from assay.models.policies.stop_strings import Stops
from assay.models.samplers.engine import Completion
from assay.models.tokenizer import Tokens


class Drawn(NamedTuple):
    """A completion as a policy keeps it.

    Attributes:
        ids: Its tokens.
        ended: Whether it ended by itself.
        logps: The engine's log-probabilities of its tokens; None where it returned none.
    """

    ids: list[int]
    ended: bool
    logps: tuple[float, ...] | None = None


def check_known(ids: Sequence[int], vocabulary: Stops, name: str) -> None:
    """Refuse tokens that the model does not have.

    Args:
        ids: A completion.
        vocabulary: The model's.
        name: The engine's.

    Raises:
        InputError: A token is not the model's.
    """
    if max(ids, default=0) >= len(vocabulary):
        raise InputError(
            f"{name} drew the token {max(ids)}, and this model knows {len(vocabulary)}: its "
            "tokenizer is another; serve the model that --model names"
        )


def encoded(said: Completion, vocabulary: Stops, name: str) -> tuple[Completion, bool]:
    """Return a completion with its ids, and whether they are those that were generated.

    As far as one can tell: as text they are the same, they are as many as the engine counted, and
    no mark stands for bytes that made no character.

    Args:
        said: A completion, with ids or as text alone.
        vocabulary: The model's.
        name: The engine's.

    Raises:
        InputError: A token is not the model's.
    """
    if said.ids is not None:
        check_known(said.ids, vocabulary, name)
        return said, True
    ids = tuple(
        vocabulary.tokenizer(said.text, add_special_tokens=False, verbose=False)["input_ids"]
    )
    full = (
        said.full and said.tokens != len(ids) + 1
    )  # an end token that was the last one allowed is called cut by some
    many = said.tokens is None or said.tokens in (len(ids), len(ids) + (not full))
    same = many and "\ufffd" not in said.text and Tokens.decode(vocabulary, ids) == said.text
    return replace(said, ids=ids, full=full), same
